//! `/api/hosts/{address}/rescan`: looking at one host again.

use axum::extract::State;
use utoipa_axum::routes;

use crate::{
    api::{ApiRouter, Json, Path, Problem, networks::start::ScanTriggered, scans::start},
    auth::{Access, Caller, Permission},
    state::AppState,
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::ScansRun), routes!(rescan_host))
}

/// Scans one host again, with the settings of the most exact network it belongs to.
#[utoipa::path(post, path = "/api/hosts/{host_id}/rescan", tag = "hosts",
    params(("host_id" = String, Path, description = "Address of the host")),
    responses((status = 200, body = ScanTriggered), (status = 400, description = "No address"),
              (status = 404, description = "No such host, or no network holds it")))]
async fn rescan_host(
    State(state): State<AppState>,
    caller: Caller,
    Path(address): Path<String>,
) -> Result<Json<ScanTriggered>, Problem> {
    let address = start::address(&address)?;
    let network_id = start::network_of_host(&state, &caller, address).await?;
    let scan_id = start::scan(&state, &caller, network_id, Some(address)).await?;
    Ok(Json(ScanTriggered::new(scan_id, network_id, format!("Single-host scan triggered for {address}"))))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn a_host_is_scanned_in_the_most_exact_network_that_saw_it() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let wide = lab.network("Wide", "10.99.0.0/16").await;
        lab.network("Exact", "10.99.0.0/24").await;
        let seen = lab.network("Seen", "10.99.0.0/20").await;
        lab.host(wide, "10.99.0.9").await;
        lab.host(seen, "10.99.0.9").await;
        let operator = app.login(Role::Operator).await;
        let started =
            operator.post("/api/hosts/10.99.0.9/rescan", Value::Null).await.assert_status(200).json();
        assert_eq!(
            (&started["network_id"], &started["message"]),
            (&json!(seen), &json!("Single-host scan triggered for 10.99.0.9"))
        );
        let scan = operator.get(&format!("/api/scans/{}", started["scan_id"])).await.json();
        assert_eq!((&scan["target_ip"], &scan["status"]), (&json!("10.99.0.9"), &json!("planned")));
    }

    #[tokio::test]
    async fn wrong_unknown_and_homeless_hosts_are_told_apart() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        lab.host(office, "10.98.0.1").await;
        let operator = app.login(Role::Operator).await;
        let path = |address: &str| format!("/api/hosts/{address}/rescan");
        operator.post(&path("banana"), Value::Null).await.assert_problem(400, "Invalid IP address: banana");
        operator
            .post(&path("10.99.0.99"), Value::Null)
            .await
            .assert_problem(404, "Host 10.99.0.99 not found");
        operator
            .post(&path("10.98.0.1"), Value::Null)
            .await
            .assert_problem(404, "No valid network found for host 10.98.0.1");
        app.login(Role::Analyst).await.post(&path("10.98.0.1"), Value::Null).await.assert_status(403);
    }
}
