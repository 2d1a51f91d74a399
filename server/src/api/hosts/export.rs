//! `/api/hosts/export/csv`: hosts as a table.

use axum::{extract::State, response::Response};
use chrono::SecondsFormat;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::{
    api::{ApiRouter, Problem, Query, common::csv_file, lax_bool},
    auth::{Access, Caller, Permission},
    export::Csv,
    state::AppState,
    store::hosts::{self as store, HostFilter, HostSort},
};

/// Lines of the table.
const MOST_ROWS: i64 = 100_000;

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::InventoryRead), routes!(export_hosts_csv))
}

/// Which hosts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// Seen in one network.
    network_id: Option<i64>,
    /// Answers a ping.
    #[serde(deserialize_with = "lax_bool")]
    #[param(value_type = Option<bool>)]
    status: Option<bool>,
}

/// Downloads hosts as CSV, in order of address; at most 100000.
#[utoipa::path(get, path = "/api/hosts/export/csv", tag = "exports",
    params(ExportQuery),
    responses((status = 200, content_type = "text/csv", body = String)))]
async fn export_hosts_csv(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let filter = HostFilter {
        network_id: query.network_id,
        is_pingable: query.status,
        is_up: None,
        range: None,
        ip_search: None,
        search: None,
        sort: HostSort::Ip,
        descending: false,
        offset: 0,
        limit: MOST_ROWS,
    };
    let (hosts, _) = store::list(&state.pool, caller.visible_networks(), &filter).await?;
    let columns = ["IP", "Hostname", "Status", "OS Guess", "First Seen", "Last Seen", "Open Ports Count"];
    let mut csv = Csv::with_columns(&columns);
    for host in hosts {
        csv.value(host.ip).text(host.hostname.as_deref().unwrap_or_default());
        csv.value(match host.is_pingable {
            Some(true) => "Up",
            Some(false) => "Down",
            None => "Unknown",
        });
        csv.text(host.os.as_deref().unwrap_or_default());
        csv.value(host.first_seen_at.to_rfc3339_opts(SecondsFormat::Secs, true));
        csv.value(host.last_seen_at.to_rfc3339_opts(SecondsFormat::Secs, true));
        csv.value(host.open_port_count);
        csv.end_row();
    }
    Ok(csv_file(&format!("hosts_{}.csv", state.clock.now().format("%Y%m%d_%H%M%S")), csv))
}

#[cfg(test)]
mod tests {
    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn hosts_are_a_table_in_order_of_address() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        lab.host(office, "10.99.0.10").await;
        let nine = lab.host(office, "10.99.0.9").await;
        sqlx::query("update hosts set hostname = '+evil', is_pingable = null where id = $1")
            .bind(nine)
            .execute(app.pool())
            .await
            .unwrap();
        let viewer = app.login(Role::Viewer).await;
        let reply = viewer.get("/api/hosts/export/csv").await;
        assert_eq!(
            reply.header("content-disposition"),
            Some("attachment; filename=hosts_20260101_000000.csv")
        );
        let expected = "IP,Hostname,Status,OS Guess,First Seen,Last Seen,Open Ports Count\r\n\
            10.99.0.9,'+evil,Unknown,,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z,0\r\n\
            10.99.0.10,,Up,,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z,0\r\n";
        assert_eq!(reply.text(), expected);
        let up = viewer.get(&format!("/api/hosts/export/csv?network_id={office}&status=true")).await;
        assert_eq!(up.text().lines().count(), 2);
    }
}
