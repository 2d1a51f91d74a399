//! `/api/alerts/export/csv`: alerts as a table.

use axum::{extract::State, response::Response};
use chrono::SecondsFormat;
use utoipa_axum::routes;

use super::AlertsQuery;
use crate::{
    api::{ApiRouter, Page, Problem, Query, common::csv_file},
    auth::{Access, Caller, Permission},
    export::Csv,
    state::AppState,
    store::alerts as store,
};

/// Lines of the table.
const MOST_ROWS: i64 = 100_000;

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::InventoryRead), routes!(export_alerts_csv))
}

/// Downloads alerts as CSV, with the filters of the list; the newest 100000.
#[utoipa::path(get, path = "/api/alerts/export/csv", tag = "exports",
    params(AlertsQuery),
    responses((status = 200, content_type = "text/csv", body = String), (status = 422, description = "Wrong filter")))]
async fn export_alerts_csv(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<AlertsQuery>,
) -> Result<Response, Problem> {
    let filter = query.filter(Page { offset: 0, limit: MOST_ROWS })?;
    let now = state.clock.now();
    let (alerts, _) = store::list(&state.pool, caller.visible_networks(), &filter, now).await?;
    let mut csv = Csv::with_columns(&["Alert Type", "IP", "Port", "Network", "Status", "Created At"]);
    for alert in alerts {
        csv.value(&alert.kind).value(alert.ip.map(|ip| ip.to_string()).unwrap_or_default());
        csv.value(alert.port.map(|port| port.to_string()).unwrap_or_default());
        csv.text(alert.network_name.as_deref().unwrap_or_default());
        csv.value(if alert.acknowledged { "Acknowledged" } else { "Open" });
        csv.value(alert.created_at.to_rfc3339_opts(SecondsFormat::Secs, true));
        csv.end_row();
    }
    Ok(csv_file(&format!("alerts_{}.csv", now.format("%Y%m%d_%H%M%S")), csv))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn alerts_are_a_table_with_the_filters_of_the_list() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("=Office", "10.99.0.0/24").await;
        let done = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        lab.alert(None, "blocked", "critical", "fd99::1", 23).await;
        let analyst = app.login(Role::Analyst).await;
        analyst.put(&format!("/api/alerts/{done}/acknowledge"), Value::Null).await.assert_status(200);
        let all = analyst.get("/api/alerts/export/csv").await;
        assert_eq!(
            all.header("content-disposition"),
            Some("attachment; filename=alerts_20260101_000000.csv")
        );
        let expected = "Alert Type,IP,Port,Network,Status,Created At\r\n\
            blocked,fd99::1,23,,Open,2026-01-01T00:00:00Z\r\n\
            new_port,10.99.0.9,22,'=Office,Acknowledged,2026-01-01T00:00:00Z\r\n";
        assert_eq!(all.text(), expected);
        assert_eq!(
            analyst
                .get("/api/alerts/export/csv?acknowledged=true&type=new_port")
                .await
                .text()
                .lines()
                .count(),
            2
        );
        analyst.get("/api/alerts/export/csv?type=high").await.assert_status(422);
    }
}
