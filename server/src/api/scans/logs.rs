//! `/api/scans/{scan_id}/logs`: what an agent said while it worked.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::find;
use crate::{
    api::{ApiRouter, Json, Page, Path, Problem, Query},
    auth::{Access, Caller, Permission},
    state::AppState,
    store::scans::{self as store, ScanLog},
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::InventoryRead), routes!(list_scan_logs))
}

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LogsQuery {
    /// Only lines after this one: to follow a log, ask with the highest id seen.
    after_id: Option<i64>,
    /// Lines to skip.
    offset: Option<i64>,
    /// Lines at most, 1-200; left out, 50.
    limit: Option<i64>,
}

/// Lines of a log.
#[derive(Debug, Serialize, ToSchema)]
struct ScanLogList {
    /// Oldest first.
    logs: Vec<ScanLog>,
    /// How many the whole log has.
    total: i64,
}

/// Lists the lines of a scan's log, oldest first.
#[utoipa::path(get, path = "/api/scans/{scan_id}/logs", tag = "scans",
    params(("scan_id" = i64, Path, description = "Number of the scan"), LogsQuery),
    responses((status = 200, body = ScanLogList), (status = 404, description = "No such scan")))]
async fn list_scan_logs(
    State(state): State<AppState>,
    caller: Caller,
    Path(scan_id): Path<i64>,
    Query(query): Query<LogsQuery>,
) -> Result<Json<ScanLogList>, Problem> {
    let page = Page::new(query.offset, query.limit, 200)?;
    find(&state, &caller, scan_id).await?;
    let after_id = query.after_id.unwrap_or(0);
    let (logs, total) = store::logs(&state.pool, scan_id, after_id, page.offset, page.limit).await?;
    Ok(Json(ScanLogList { logs, total }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn a_log_is_paged_and_can_be_followed() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let scan = lab.scan(lab.network("Office", "10.99.0.0/24").await, "running").await;
        let mut ids = Vec::new();
        for message in ["one", "two", "three"] {
            ids.push(lab.log(scan, message).await);
        }
        let viewer = app.login(Role::Viewer).await;
        let path = format!("/api/scans/{scan}/logs");
        let page = viewer.get(&format!("{path}?limit=1&offset=1")).await.json();
        assert_eq!((&page["total"], &page["logs"][0]["message"]), (&json!(3), &json!("two")));
        assert_eq!(page["logs"][0]["timestamp"], "2026-01-01T00:00:00Z");
        let rest = viewer.get(&format!("{path}?after_id={}", ids[1])).await.json();
        assert_eq!(rest["logs"].as_array().unwrap().len(), 1);
        assert_eq!(rest["logs"][0]["message"], "three");
        viewer.get(&format!("{path}?limit=500")).await.assert_status(422);
    }
}
