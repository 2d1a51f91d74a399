//! `/api/networks`: what is scanned, by whom, when and how.

mod draft;
pub(super) mod rules;
mod scans;
pub(super) mod start;

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub use draft::{NetworkCreate, NetworkUpdate};

use super::{ApiRouter, Json, OnConstraint, Page, Path, Problem, Query, common::Created};
use crate::{
    audit::{Actor, Entry},
    auth::{Access, Caller, Permission},
    input::{is_public, parse_network},
    state::AppState,
    store::networks as store,
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::InventoryRead), routes!(list_networks))
        .route(Access::Needs(Permission::NetworksManage), routes!(create_network))
        .route(Access::Needs(Permission::InventoryRead), routes!(show_network))
        .route(Access::Needs(Permission::NetworksManage), routes!(update_network))
        .route(Access::Needs(Permission::NetworksManage), routes!(delete_network))
        .merge(rules::routes())
        .merge(scans::routes())
        .merge(start::routes())
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Networks to skip.
    offset: Option<i64>,
    /// Networks at most, 1-10000; left out, 10000.
    limit: Option<i64>,
}

/// A network.
#[derive(Debug, Serialize, ToSchema)]
pub struct NetworkResponse {
    #[serde(flatten)]
    network: store::Network,
    /// Whether it holds addresses that belong to somebody on the Internet: ask before scanning it.
    is_public: bool,
}

impl From<store::Network> for NetworkResponse {
    fn from(network: store::Network) -> Self {
        let is_public = parse_network(&network.cidr).is_ok_and(|block| is_public(&block));
        Self { network, is_public }
    }
}

/// Networks.
#[derive(Debug, Serialize, ToSchema)]
struct NetworkList {
    /// Newest first.
    networks: Vec<NetworkResponse>,
    /// How many there are.
    total: i64,
}

/// Lists the networks that the caller may see, newest first.
#[utoipa::path(get, path = "/api/networks", tag = "networks",
    params(ListQuery),
    responses((status = 200, body = NetworkList)))]
async fn list_networks(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<NetworkList>, Problem> {
    let page = Page::new(query.offset, query.limit.or(Some(10_000)), 10_000)?;
    let (networks, total) =
        store::list(&state.pool, caller.visible_networks(), page.offset, page.limit).await?;
    Ok(Json(NetworkList { networks: networks.into_iter().map(Into::into).collect(), total }))
}

/// Makes a network.
#[utoipa::path(post, path = "/api/networks", tag = "networks", request_body = NetworkCreate,
    responses((status = 201, body = NetworkResponse), (status = 400, description = "Name taken, or no such agent"),
              (status = 422, description = "Wrong input")))]
async fn create_network(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<NetworkCreate>,
) -> Result<Created<NetworkResponse>, Problem> {
    // A network is made for everyone who sees all; a limited user would not even see it.
    if caller.visible_networks().is_some() {
        return Err(Problem::forbidden(
            "Your account is limited to certain networks; it cannot make new ones",
        ));
    }
    let now = state.clock.now();
    let fields = body.check(now)?;
    check_agent(&state, fields.scanner_id).await?;
    let mut tx = state.pool.begin().await?;
    let id = store::create(&mut *tx, &fields).await.on_constraint("networks_name_key", name_taken)?;
    let entry = Entry::new("network.create").target("network", id);
    let detail = json!({ "name": fields.name, "cidr": fields.cidr, "port_spec": fields.port_spec });
    entry.detail(detail).record(&mut tx, Actor::caller(&caller), now).await?;
    tx.commit().await?;
    Ok(Created(read(&state, &caller, id).await?))
}

/// Shows one network.
#[utoipa::path(get, path = "/api/networks/{network_id}", tag = "networks",
    params(("network_id" = i64, Path, description = "Number of the network")),
    responses((status = 200, body = NetworkResponse), (status = 404, description = "No such network")))]
async fn show_network(
    State(state): State<AppState>,
    caller: Caller,
    Path(network_id): Path<i64>,
) -> Result<Json<NetworkResponse>, Problem> {
    Ok(Json(read(&state, &caller, network_id).await?))
}

/// Changes a network. What is left out stays as it is.
#[utoipa::path(put, path = "/api/networks/{network_id}", tag = "networks", request_body = NetworkUpdate,
    params(("network_id" = i64, Path, description = "Number of the network")),
    responses((status = 200, body = NetworkResponse), (status = 400, description = "Name taken, or no such agent"),
              (status = 404, description = "No such network"), (status = 422, description = "Wrong input")))]
async fn update_network(
    State(state): State<AppState>,
    caller: Caller,
    Path(network_id): Path<i64>,
    Json(body): Json<NetworkUpdate>,
) -> Result<Json<NetworkResponse>, Problem> {
    let now = state.clock.now();
    let before = find(&state, &caller, network_id).await?;
    let agent_before = before.scanner_id;
    let fields = body.apply(before, now)?;
    if fields.scanner_id != agent_before {
        check_agent(&state, fields.scanner_id).await?;
    }
    let mut tx = state.pool.begin().await?;
    let updated = store::update(&mut *tx, network_id, &fields, now).await;
    if !updated.on_constraint("networks_name_key", name_taken)? {
        return Err(not_found());
    }
    let entry = Entry::new("network.update").target("network", network_id);
    let detail = json!({ "name": fields.name, "cidr": fields.cidr, "port_spec": fields.port_spec,
                         "schedule": fields.scan_schedule, "rate": fields.scan_rate });
    entry.detail(detail).record(&mut tx, Actor::caller(&caller), now).await?;
    tx.commit().await?;
    Ok(Json(read(&state, &caller, network_id).await?))
}

/// Deletes a network with its rules, scans, ports and alerts.
#[utoipa::path(delete, path = "/api/networks/{network_id}", tag = "networks",
    params(("network_id" = i64, Path, description = "Number of the network")),
    responses((status = 204, description = "Deleted"), (status = 404, description = "No such network")))]
async fn delete_network(
    State(state): State<AppState>,
    caller: Caller,
    Path(network_id): Path<i64>,
) -> Result<StatusCode, Problem> {
    let network = find(&state, &caller, network_id).await?;
    let mut tx = state.pool.begin().await?;
    if !store::delete(&mut *tx, network_id).await? {
        return Err(not_found());
    }
    let entry = Entry::new("network.delete").target("network", network_id);
    let detail = json!({ "name": network.name, "cidr": network.cidr });
    entry.detail(detail).record(&mut tx, Actor::caller(&caller), state.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The network, unless there is none that the caller may see.
pub(super) async fn find(state: &AppState, caller: &Caller, id: i64) -> Result<store::Network, Problem> {
    store::find(&state.pool, caller.visible_networks(), id).await?.ok_or_else(not_found)
}

/// 404.
pub(super) fn not_found() -> Problem {
    Problem::not_found("Network not found")
}

async fn read(state: &AppState, caller: &Caller, id: i64) -> Result<NetworkResponse, Problem> {
    Ok(find(state, caller, id).await?.into())
}

async fn check_agent(state: &AppState, agent_id: Option<i64>) -> Result<(), Problem> {
    match agent_id {
        Some(id) if !store::agent_exists(&state.pool, id).await? => {
            Err(Problem::bad_request("Scanner not found"))
        }
        _ => Ok(()),
    }
}

fn name_taken() -> Problem {
    Problem::bad_request("A network with this name already exists")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        api::fixtures::{Lab, assert_times_are_utc},
        auth::Role,
        test_support::TestApp,
    };

    fn office(agent_id: i64) -> Value {
        json!({ "name": "Office", "cidr": "10.99.0.8/29", "port_spec": "1-100, 2222,!25", "scanner_id": agent_id })
    }

    #[tokio::test]
    async fn a_network_is_made_read_changed_and_deleted() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let operator = app.login(Role::Operator).await;
        let made = operator.post("/api/networks", office(lab.agent_id())).await;
        made.assert_status(201);
        let made = made.json();
        assert_times_are_utc(&made);
        assert_eq!(made["port_spec"], "1-100,2222,!25");
        assert_eq!((&made["scan_timeout"], &made["port_timeout"]), (&json!(3600), &json!(1500)));
        assert_eq!((&made["scanner_type"], &made["is_ipv6"]), (&json!("masscan"), &json!(false)));
        assert_eq!((&made["is_public"], &made["scanner_name"]), (&json!(false), &json!("lab")));

        let path = format!("/api/networks/{}", made["id"]);
        assert_eq!(operator.get(&path).await.json(), made);
        let listed = operator.get("/api/networks").await.json();
        assert_eq!((&listed["total"], &listed["networks"]), (&json!(1), &json!([made])));

        operator.delete(&path).await.assert_status(204);
        operator.get(&path).await.assert_problem(404, "Network not found");
        app.assert_audited(&["network.create", "network.delete"]).await;
    }

    #[tokio::test]
    async fn null_empties_what_can_be_empty_and_leaves_the_rest() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let operator = app.login(Role::Operator).await;
        let mut body = office(lab.agent_id());
        body["scan_rate"] = json!(5000);
        body["scan_schedule"] = json!("0 3 * * *");
        body["alert_config"] = json!({ "new_port": true });
        let made = operator.post("/api/networks", body).await.json();
        assert_eq!(made["next_run_at"], "2026-01-01T03:00:00Z");

        let path = format!("/api/networks/{}", made["id"]);
        let moved = operator.put(&path, json!({ "time_zone": "Europe/Berlin" })).await.json();
        assert_eq!(moved["next_run_at"], "2026-01-01T02:00:00Z");
        let changes = json!({ "scan_rate": null, "scan_schedule": "", "alert_config": null, "name": null, "cidr": null });
        let changed = operator.put(&path, changes).await.json();
        for field in ["scan_rate", "scan_schedule", "next_run_at", "alert_config"] {
            assert_eq!(changed[field], Value::Null, "{field}");
        }
        assert_eq!((&changed["name"], &changed["cidr"]), (&json!("Office"), &json!("10.99.0.8/29")));
    }

    #[tokio::test]
    async fn all_mistakes_are_told_at_once_in_the_words_clients_know() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let operator = app.login(Role::Operator).await;
        let body = json!({ "name": "x", "cidr": "10.0.0.0/99", "port_spec": "80,,90", "scanner_id": lab.agent_id(),
            "scan_rate": 0, "scanner_type": "zmap", "scan_protocol": "sctp", "scan_schedule": "* * * *",
            "time_zone": "Berlin", "exclude": ["10.0.0.1", "banana"] });
        let reply = operator.post("/api/networks", body).await;
        reply.assert_status(422);
        let detail = reply.json()["detail"].as_array().unwrap().clone();
        let told: Vec<_> = detail
            .iter()
            .map(|error| (error["loc"][1].as_str().unwrap(), error["msg"].as_str().unwrap()))
            .collect();
        let known = [
            (
                "cidr",
                "Value error, Invalid CIDR format: '10.0.0.0/99' does not appear to be an IPv4 or IPv6 network",
            ),
            ("port_spec", "Value error, Invalid port_spec: empty segment"),
            ("scan_rate", "Value error, Scan rate must be greater than 0"),
            ("scanner_type", "Value error, Invalid scanner_type: must be one of ('masscan', 'nmap')"),
            ("scan_protocol", "Value error, Invalid scan_protocol: must be one of ('tcp', 'udp', 'both')"),
        ];
        for mistake in known {
            assert!(told.contains(&mistake), "{mistake:?} not in {told:?}");
        }
        for field in ["scan_schedule", "time_zone", "exclude"] {
            assert_eq!(told.iter().filter(|(name, _)| *name == field).count(), 1, "{field}: {told:?}");
        }
        let empty = operator.post("/api/networks", json!({})).await;
        assert_eq!(empty.assert_status(422).json()["detail"][0]["type"], "missing");
        operator.get("/api/networks/abc").await.assert_status(422);
    }

    #[tokio::test]
    async fn names_are_unique_and_agents_must_exist() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let operator = app.login(Role::Operator).await;
        operator.post("/api/networks", office(lab.agent_id())).await.assert_status(201);
        let mut twin = office(lab.agent_id());
        twin["name"] = json!("OFFICE");
        operator
            .post("/api/networks", twin.clone())
            .await
            .assert_problem(400, "A network with this name already exists");
        twin["name"] = json!("Other");
        twin["scanner_id"] = json!(99);
        operator.post("/api/networks", twin).await.assert_problem(400, "Scanner not found");
    }

    #[tokio::test]
    async fn a_list_shows_the_last_scan_of_the_whole_network_and_open_alerts() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let network = lab.network("Office", "10.99.0.0/24").await;
        let whole = lab.scan(network, "completed").await;
        lab.port(network, whole, "10.99.0.1", 22, "ssh").await;
        lab.pass(1);
        let single = lab.scan(network, "completed").await;
        sqlx::query("update scans set target_address = '10.99.0.1' where id = $1")
            .bind(single)
            .execute(app.pool())
            .await
            .unwrap();
        lab.scan(network, "failed").await;
        let running = lab.scan(network, "running").await;
        lab.alert(Some(network), "new_port", "high", "10.99.0.1", 22).await;

        let viewer = app.login(Role::Viewer).await;
        let listed = viewer.get("/api/networks").await.json()["networks"][0].clone();
        assert_eq!((&listed["last_scan_id"], &listed["last_scan_open_ports"]), (&json!(whole), &json!(1)));
        assert_eq!((&listed["active_scan_id"], &listed["open_alert_count"]), (&json!(running), &json!(1)));
        viewer.post("/api/networks", json!({})).await.assert_status(403);
    }

    #[tokio::test]
    async fn a_limited_user_sees_and_changes_only_some() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (mine, other) =
            (lab.network("Mine", "10.99.0.0/24").await, lab.network("Other", "10.99.1.0/24").await);
        let limited = app.login_limited(Role::Operator, &[mine]).await;
        let listed = limited.get("/api/networks").await.json();
        assert_eq!((&listed["total"], &listed["networks"][0]["id"]), (&json!(1), &json!(mine)));
        let path = format!("/api/networks/{other}");
        limited.get(&path).await.assert_problem(404, "Network not found");
        limited.put(&path, json!({ "name": "Taken" })).await.assert_problem(404, "Network not found");
        limited.delete(&path).await.assert_problem(404, "Network not found");
        limited.post("/api/networks", office(lab.agent_id())).await.assert_status(403);
        limited
            .put(&format!("/api/networks/{mine}"), json!({ "name": "Still mine" }))
            .await
            .assert_status(200);
    }

    #[tokio::test]
    async fn holding_finds_the_most_exact_network_first() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (wide, exact) =
            (lab.network("wide", "10.0.0.0/8").await, lab.network("exact", "10.99.0.0/16").await);
        lab.network("elsewhere", "fd99::/64").await;
        let found = super::store::holding(app.pool(), None, "10.99.3.4".parse().unwrap()).await.unwrap();
        assert_eq!(found, [exact, wide]);
    }
}
