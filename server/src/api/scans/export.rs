//! `/api/scans/{scan_id}/export/csv`: a scan's open ports as a table.

use axum::{extract::State, response::Response};
use chrono::SecondsFormat;
use utoipa_axum::routes;

use super::find;
use crate::{
    api::{ApiRouter, Path, Problem, common::csv_file},
    auth::{Access, Caller, Permission},
    export::Csv,
    state::AppState,
    store::scans as store,
};

/// Lines of the table.
const MOST_ROWS: i64 = 1_000_000;

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::InventoryRead), routes!(export_scan_csv))
}

/// Downloads a scan's open ports as CSV.
#[utoipa::path(get, path = "/api/scans/{scan_id}/export/csv", tag = "exports",
    params(("scan_id" = i64, Path, description = "Number of the scan")),
    responses((status = 200, content_type = "text/csv", body = String), (status = 404, description = "No such scan")))]
async fn export_scan_csv(
    State(state): State<AppState>,
    caller: Caller,
    Path(scan_id): Path<i64>,
) -> Result<Response, Problem> {
    find(&state, &caller, scan_id).await?;
    let mut csv = Csv::with_columns(&["IP", "Port", "Protocol", "Service", "First Seen", "Last Seen"]);
    for port in store::ports(&state.pool, scan_id, None, 0, MOST_ROWS).await? {
        csv.value(port.ip).value(port.port).value(&port.protocol);
        csv.text(port.service_guess.as_deref().unwrap_or_default());
        csv.value(port.first_seen_at.to_rfc3339_opts(SecondsFormat::Secs, true));
        csv.value(port.last_seen_at.to_rfc3339_opts(SecondsFormat::Secs, true));
        csv.end_row();
    }
    Ok(csv_file(&format!("scan_{scan_id}_{}.csv", state.clock.now().format("%Y%m%d_%H%M%S")), csv))
}

#[cfg(test)]
mod tests {
    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn a_scan_is_a_table_that_no_spreadsheet_runs() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let scan = lab.scan(office, "completed").await;
        lab.port(office, scan, "10.99.0.10", 22, "ssh").await;
        lab.port(office, scan, "10.99.0.9", 80, "=cmd|'/C calc'!A0").await;
        let reply = app.login(Role::Viewer).await.get(&format!("/api/scans/{scan}/export/csv")).await;
        assert_eq!(reply.header("content-type"), Some("text/csv; charset=utf-8"));
        let name = format!("attachment; filename=scan_{scan}_20260101_000000.csv");
        assert_eq!(reply.header("content-disposition"), Some(name.as_str()));
        let expected = "IP,Port,Protocol,Service,First Seen,Last Seen\r\n\
            10.99.0.9,80,tcp,'=cmd|'/C calc'!A0,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z\r\n\
            10.99.0.10,22,tcp,ssh,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z\r\n";
        assert_eq!(reply.text(), expected);
    }
}
