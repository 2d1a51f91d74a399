//! `/api/scans/{scan_id}/cancel`: calling a run off.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{find, start};
use crate::{
    api::{ApiRouter, Json, Path, Problem},
    auth::{Access, Caller, Permission},
    state::AppState,
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::ScansRun), routes!(cancel_scan))
}

/// A cancelled scan.
#[derive(Debug, Serialize, ToSchema)]
struct ScanCancelled {
    /// Number of the scan.
    scan_id: i64,
    /// `cancelled`.
    status: &'static str,
    /// When.
    cancelled_at: DateTime<Utc>,
    /// Who.
    cancelled_by: i64,
    /// In words.
    message: &'static str,
}

/// Cancels a scan that waits or runs. What was found so far is kept.
#[utoipa::path(post, path = "/api/scans/{scan_id}/cancel", tag = "scans",
    params(("scan_id" = i64, Path, description = "Number of the scan")),
    responses((status = 200, body = ScanCancelled), (status = 404, description = "No such scan"),
              (status = 409, description = "It is over already")))]
async fn cancel_scan(
    State(state): State<AppState>,
    caller: Caller,
    Path(scan_id): Path<i64>,
) -> Result<Json<ScanCancelled>, Problem> {
    find(&state, &caller, scan_id).await?;
    let Some(cancelled_at) = start::cancel(&state, &caller, scan_id).await? else {
        return Err(Problem::conflict("Scan is not running"));
    };
    Ok(Json(ScanCancelled {
        scan_id,
        status: "cancelled",
        cancelled_at,
        cancelled_by: caller.user_id,
        message: "Scan cancelled successfully",
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn planned_and_running_scans_are_cancelled_others_are_over() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let operator = app.login(Role::Operator).await;
        let planned =
            operator.post(&format!("/api/networks/{office}/scan"), Value::Null).await.json()["scan_id"]
                .clone();
        let running = lab.scan(office, "running").await;
        for scan in [planned, json!(running)] {
            let path = format!("/api/scans/{scan}/cancel");
            let reply = operator.post(&path, Value::Null).await.assert_status(200).json();
            assert_eq!(
                reply,
                json!({ "scan_id": scan, "status": "cancelled", "cancelled_at": "2026-01-01T00:00:00Z",
                        "cancelled_by": operator.user_id(), "message": "Scan cancelled successfully" })
            );
            let shown = operator.get(&format!("/api/scans/{scan}")).await.json();
            assert_eq!(
                (&shown["status"], &shown["cancelled_by_email"]),
                (&json!("cancelled"), &json!(operator.email()))
            );
            let logs = operator.get(&format!("/api/scans/{scan}/logs")).await.json();
            assert_eq!(logs["logs"][0]["message"], "Scan cancelled by user request");
            operator.post(&path, Value::Null).await.assert_problem(409, "Scan is not running");
        }
        let queued: i64 = sqlx::query_scalar("select count(*) from jobs where state = 'queued'")
            .fetch_one(app.pool())
            .await
            .unwrap();
        assert_eq!(queued, 0);
        operator.post("/api/scans/444/cancel", Value::Null).await.assert_problem(404, "Scan not found");
        app.login(Role::Analyst)
            .await
            .post(&format!("/api/scans/{running}/cancel"), Value::Null)
            .await
            .assert_status(403);
    }
}
