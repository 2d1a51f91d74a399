//! `/api/networks/{network_id}/scan` and `/discover-hosts`: starting runs.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::find;
use crate::{
    api::{ApiRouter, Path, Problem, common::Created, scans::start},
    auth::{Access, Caller, Permission},
    state::AppState,
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::ScansRun), routes!(scan_network))
        .route(Access::Needs(Permission::ScansRun), routes!(discover_hosts))
}

/// A scan that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScanTriggered {
    /// Number of the scan.
    pub scan_id: i64,
    /// The network scanned.
    pub network_id: i64,
    /// `planned`.
    pub status: &'static str,
    /// `manual`.
    pub trigger_type: &'static str,
    /// In words.
    pub message: String,
}

impl ScanTriggered {
    pub(in crate::api) fn new(scan_id: i64, network_id: i64, message: impl Into<String>) -> Self {
        Self { scan_id, network_id, status: "planned", trigger_type: "manual", message: message.into() }
    }
}

/// A search for hosts that was asked for.
#[derive(Debug, Serialize, ToSchema)]
struct DiscoveryTriggered {
    /// Number of the scan.
    scan_id: i64,
    /// In words.
    message: &'static str,
}

/// Starts a scan of a network.
#[utoipa::path(post, path = "/api/networks/{network_id}/scan", tag = "networks",
    params(("network_id" = i64, Path, description = "Number of the network")),
    responses((status = 201, body = ScanTriggered), (status = 404, description = "No such network")))]
async fn scan_network(
    State(state): State<AppState>,
    caller: Caller,
    Path(network_id): Path<i64>,
) -> Result<Created<ScanTriggered>, Problem> {
    find(&state, &caller, network_id).await?;
    let scan_id = start::scan(&state, &caller, network_id, None).await?;
    Ok(Created(ScanTriggered::new(scan_id, network_id, "Scan triggered successfully")))
}

/// Starts a search for hosts in a network.
#[utoipa::path(post, path = "/api/networks/{network_id}/discover-hosts", tag = "networks",
    params(("network_id" = i64, Path, description = "Number of the network")),
    responses((status = 201, body = DiscoveryTriggered), (status = 404, description = "No such network"),
              (status = 400, description = "Host discovery is disabled for this network")))]
async fn discover_hosts(
    State(state): State<AppState>,
    caller: Caller,
    Path(network_id): Path<i64>,
) -> Result<Created<DiscoveryTriggered>, Problem> {
    if !find(&state, &caller, network_id).await?.host_discovery_enabled {
        return Err(Problem::bad_request("Host discovery is disabled for this network"));
    }
    let scan_id = start::discovery(&state, &caller, network_id).await?;
    Ok(Created(DiscoveryTriggered { scan_id, message: "Host discovery scan scheduled" }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{api::fixtures::Lab, auth::Role, live::Event, test_support::TestApp};

    #[tokio::test]
    async fn a_scan_is_planned_with_its_job_and_told() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let mut events = app.state().live.subscribe();
        let operator = app.login(Role::Operator).await;
        let reply = operator.post(&format!("/api/networks/{office}/scan"), Value::Null).await;
        let started = reply.assert_status(201).json();
        let scan_id = &started["scan_id"];
        assert_eq!(
            started,
            json!({ "scan_id": scan_id, "network_id": office, "status": "planned", "trigger_type": "manual",
                    "message": "Scan triggered successfully" })
        );
        let scan = operator.get(&format!("/api/scans/{scan_id}")).await.json();
        assert_eq!((&scan["status"], &scan["triggered_by"]), (&json!("planned"), &json!(operator.user_id())));
        assert_eq!(scan["parameters"]["port_spec"], "1-1024");
        let jobs: i64 = sqlx::query_scalar("select count(*) from jobs where state = 'queued'")
            .fetch_one(app.pool())
            .await
            .unwrap();
        assert_eq!(jobs, 1);
        assert!(
            matches!(events.try_recv().unwrap().as_ref(), Event::Scan(event) if event.status == "planned")
        );
        app.assert_audited(&["scan.start"]).await;
    }

    #[tokio::test]
    async fn a_search_for_hosts_can_be_forbidden() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let operator = app.login(Role::Operator).await;
        let path = format!("/api/networks/{office}/discover-hosts");
        let started = operator.post(&path, Value::Null).await.assert_status(201).json();
        assert_eq!(started["message"], "Host discovery scan scheduled");
        let own = operator.get(&format!("/api/networks/{office}/host-discovery-scans")).await.json();
        assert_eq!(own["scans"][0]["id"], started["scan_id"]);
        operator
            .put(&format!("/api/networks/{office}"), json!({ "host_discovery_enabled": false }))
            .await
            .assert_status(200);
        operator
            .post(&path, Value::Null)
            .await
            .assert_problem(400, "Host discovery is disabled for this network");
    }

    #[tokio::test]
    async fn nobody_scans_what_is_not_theirs_or_has_no_agent() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (mine, other) =
            (lab.network("Mine", "10.99.0.0/24").await, lab.network("Other", "10.99.1.0/24").await);
        let limited = app.login_limited(Role::Operator, &[mine]).await;
        let path = |id: i64| format!("/api/networks/{id}/scan");
        limited.post(&path(other), Value::Null).await.assert_problem(404, "Network not found");
        app.login(Role::Analyst).await.post(&path(mine), Value::Null).await.assert_status(403);
        limited.put(&format!("/api/networks/{mine}"), json!({ "scanner_id": null })).await.assert_status(200);
        let detail = "No agent is assigned to this network; choose one in its settings";
        limited.post(&path(mine), Value::Null).await.assert_problem(400, detail);
    }
}
