//! `/api/hosts`: machines, and what people say of them.

mod export;
mod overview;
mod rescan;

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    ApiRouter, Json, Page, Path, Problem, Query,
    common::{address_range, at_most_items, descending, filter_text, optional_body_text},
    lax_bool, present,
};
use crate::{
    audit::{Actor, Entry},
    auth::{Access, Caller, Permission},
    state::AppState,
    store::{
        hosts::{self as store, Host, HostChange, HostFilter, HostSort},
        ports::{self, Port},
    },
};

/// Hosts that one call may name.
const MOST_HOSTS: usize = 10_000;
const CRITICALITIES: [&str; 4] = ["low", "normal", "high", "critical"];

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::InventoryRead), routes!(list_hosts))
        .route(Access::Needs(Permission::InventoryRead), routes!(show_host))
        .route(Access::Needs(Permission::InventoryWrite), routes!(update_host, delete_host))
        .route(Access::Needs(Permission::InventoryRead), routes!(list_host_ports))
        .route(Access::Needs(Permission::InventoryWrite), routes!(delete_hosts))
        .merge(export::routes())
        .merge(overview::routes())
        .merge(rescan::routes())
}

/// Which hosts, in which order.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct HostsQuery {
    /// Seen in one network.
    network_id: Option<i64>,
    /// Answers a ping.
    #[serde(deserialize_with = "lax_bool")]
    #[param(value_type = Option<bool>)]
    is_pingable: Option<bool>,
    /// Answered the last run that looked for it.
    #[serde(deserialize_with = "lax_bool")]
    #[param(value_type = Option<bool>)]
    is_up: Option<bool>,
    /// A block (`192.0.2.0/24`) or a range (`192.0.2.10-192.0.2.50`).
    ip_range: Option<String>,
    /// Part of the address.
    ip_search: Option<String>,
    /// Part of address, names, hardware address, maker, comment or owner.
    search: Option<String>,
    /// `ip`, `hostname`, `first_seen_at`, `last_seen_at` (default) or `open_port_count`.
    sort_by: Option<String>,
    /// `asc` or `desc`.
    sort_dir: Option<String>,
    /// Hosts to skip.
    offset: Option<i64>,
    /// Hosts at most, 1-10000; left out, 50.
    limit: Option<i64>,
}

/// Hosts.
#[derive(Debug, Serialize, ToSchema)]
struct HostList {
    /// In the order asked for.
    hosts: Vec<Host>,
    /// How many the whole filter finds.
    total: i64,
    /// How many it finds without `is_pingable`.
    total_count: i64,
    /// Of those, how many answer a ping.
    pingable_count: i64,
}

/// Ports of a host.
#[derive(Debug, Serialize, ToSchema)]
struct HostPortList {
    /// Open now, by port number.
    ports: Vec<Port>,
    /// How many there are.
    total: usize,
}

/// What people say of a host. A field left out stays; `null` empties it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[expect(
    clippy::option_option,
    reason = "a field that is left out and one that is null mean different things"
)]
struct HostUpdate {
    /// What people say of it.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    user_comment: Option<Option<String>>,
    /// Its name; emptied, the next name that is found will do.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    hostname: Option<Option<String>>,
    /// A name given by people.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    label: Option<Option<String>>,
    /// Who is responsible.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    owner: Option<Option<String>>,
    /// Zone of trust.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    zone: Option<Option<String>>,
    /// `low`, `normal`, `high` or `critical`.
    criticality: Option<String>,
    /// Whether people vouch for it.
    is_trusted: Option<bool>,
}

/// Hosts to be forgotten.
#[derive(Debug, Deserialize, ToSchema)]
struct HostsDelete {
    /// Numbers of the hosts.
    host_ids: Vec<i64>,
}

/// What became of them.
#[derive(Debug, Serialize, ToSchema)]
struct HostsDeleted {
    /// Those that were there.
    deleted_ids: Vec<i64>,
    /// How many.
    deleted_count: usize,
}

impl HostUpdate {
    fn check(self) -> Result<HostChange, Problem> {
        for (name, value, most) in [
            ("user_comment", &self.user_comment, 10_000),
            ("hostname", &self.hostname, 255),
            ("label", &self.label, 255),
            ("owner", &self.owner, 255),
            ("zone", &self.zone, 64),
        ] {
            optional_body_text(name, value.as_ref().and_then(Option::as_deref), most)?;
        }
        if let Some(given) = self.criticality.as_deref().filter(|given| !CRITICALITIES.contains(given)) {
            let message = "criticality must be low, normal, high or critical";
            return Err(Problem::invalid_value(&["body", "criticality"], message, given));
        }
        let change = HostChange {
            hostname: self.hostname,
            user_comment: self.user_comment,
            label: self.label,
            owner: self.owner,
            zone: self.zone,
            criticality: self.criticality,
            is_trusted: self.is_trusted,
        };
        if change == HostChange::default() {
            return Err(Problem::bad_request("No fields to update"));
        }
        Ok(change)
    }
}

/// Lists hosts.
#[utoipa::path(get, path = "/api/hosts", tag = "hosts",
    params(HostsQuery),
    responses((status = 200, body = HostList), (status = 400, description = "Wrong range or order")))]
async fn list_hosts(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<HostsQuery>,
) -> Result<Json<HostList>, Problem> {
    let page = Page::new(query.offset, query.limit, 10_000)?;
    let sort = match query.sort_by.as_deref() {
        None => HostSort::LastSeenAt,
        Some(text) => HostSort::parse(text).ok_or_else(|| Problem::bad_request("Invalid sort_by value"))?,
    };
    let filter = HostFilter {
        network_id: query.network_id,
        is_pingable: query.is_pingable,
        is_up: query.is_up,
        range: address_range(query.ip_range.as_deref())?,
        ip_search: filter_text("ip_search", query.ip_search.as_deref())?,
        search: filter_text("search", query.search.as_deref())?,
        sort,
        descending: descending(query.sort_dir.as_deref(), query.sort_by.is_none())?,
        offset: page.offset,
        limit: page.limit,
    };
    let (hosts, counts) = store::list(&state.pool, caller.visible_networks(), &filter).await?;
    let store::HostCounts { total, total_count, pingable_count } = counts;
    Ok(Json(HostList { hosts, total, total_count, pingable_count }))
}

/// Shows one host.
#[utoipa::path(get, path = "/api/hosts/{host_id}", tag = "hosts",
    params(("host_id" = i64, Path, description = "Number of the host")),
    responses((status = 200, body = Host), (status = 404, description = "No such host")))]
async fn show_host(
    State(state): State<AppState>,
    caller: Caller,
    Path(host_id): Path<i64>,
) -> Result<Json<Host>, Problem> {
    Ok(Json(find(&state, &caller, host_id).await?))
}

/// Writes what people say of a host.
#[utoipa::path(patch, path = "/api/hosts/{host_id}", tag = "hosts", request_body = HostUpdate,
    params(("host_id" = i64, Path, description = "Number of the host")),
    responses((status = 200, body = Host), (status = 400, description = "Nothing to change"),
              (status = 404, description = "No such host"), (status = 422, description = "Wrong input")))]
async fn update_host(
    State(state): State<AppState>,
    caller: Caller,
    Path(host_id): Path<i64>,
    Json(body): Json<HostUpdate>,
) -> Result<Json<Host>, Problem> {
    let change = body.check()?;
    find(&state, &caller, host_id).await?;
    store::update(&state.pool, host_id, &change).await?;
    Ok(Json(find(&state, &caller, host_id).await?))
}

/// Forgets a host. Its ports stay, and it comes back when it is seen again.
#[utoipa::path(delete, path = "/api/hosts/{host_id}", tag = "hosts",
    params(("host_id" = i64, Path, description = "Number of the host")),
    responses((status = 204, description = "Forgotten"), (status = 404, description = "No such host")))]
async fn delete_host(
    State(state): State<AppState>,
    caller: Caller,
    Path(host_id): Path<i64>,
) -> Result<StatusCode, Problem> {
    let deleted = delete(&state, &caller, &[host_id]).await?;
    if deleted.is_empty() { Err(not_found()) } else { Ok(StatusCode::NO_CONTENT) }
}

/// Forgets several hosts.
#[utoipa::path(post, path = "/api/hosts/bulk-delete", tag = "hosts", request_body = HostsDelete,
    responses((status = 200, body = HostsDeleted)))]
async fn delete_hosts(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<HostsDelete>,
) -> Result<Json<HostsDeleted>, Problem> {
    at_most_items("host_ids", body.host_ids.len(), MOST_HOSTS)?;
    let deleted_ids = delete(&state, &caller, &body.host_ids).await?;
    Ok(Json(HostsDeleted { deleted_count: deleted_ids.len(), deleted_ids }))
}

/// Lists the ports of a host that are open now.
#[utoipa::path(get, path = "/api/hosts/{host_id}/ports", tag = "hosts",
    params(("host_id" = i64, Path, description = "Number of the host")),
    responses((status = 200, body = HostPortList), (status = 404, description = "No such host")))]
async fn list_host_ports(
    State(state): State<AppState>,
    caller: Caller,
    Path(host_id): Path<i64>,
) -> Result<Json<HostPortList>, Problem> {
    find(&state, &caller, host_id).await?;
    let ports = ports::of_host(&state.pool, caller.visible_networks(), host_id).await?;
    Ok(Json(HostPortList { total: ports.len(), ports }))
}

async fn delete(state: &AppState, caller: &Caller, ids: &[i64]) -> Result<Vec<i64>, Problem> {
    let mut tx = state.pool.begin().await?;
    let deleted = store::delete(&mut *tx, caller.visible_networks(), ids).await?;
    if let Some(first) = deleted.first() {
        let entry = Entry::new("host.delete").target("host", first).detail(json!({ "host_ids": deleted }));
        entry.record(&mut tx, Actor::caller(caller), state.clock.now()).await?;
    }
    tx.commit().await?;
    Ok(deleted)
}

/// The host, unless there is none that the caller may see.
async fn find(state: &AppState, caller: &Caller, id: i64) -> Result<Host, Problem> {
    store::find(&state.pool, caller.visible_networks(), id).await?.ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::not_found("Host not found")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        api::fixtures::{Lab, assert_times_are_utc},
        auth::Role,
        test_support::{Client, TestApp},
    };

    async fn listed(client: &Client, query: &str) -> Vec<String> {
        let reply = client.get(&format!("/api/hosts?{query}")).await;
        let hosts = reply.assert_status(200).json()["hosts"].as_array().unwrap().clone();
        hosts.iter().map(|host| host["ip"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn hosts_are_sorted_filtered_and_counted() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (office, plant) =
            (lab.network("Office", "10.99.0.0/24").await, lab.network("Plant", "10.99.1.0/24").await);
        let nine = lab.host(office, "10.99.0.9").await;
        lab.pass(1);
        lab.host(office, "10.99.0.10").await;
        lab.pass(1);
        lab.host(plant, "fd99::1").await;
        sqlx::query("update hosts set is_pingable = false, hostname = 'Beta' where id = $1")
            .bind(nine)
            .execute(app.pool())
            .await
            .unwrap();
        let viewer = app.login(Role::Viewer).await;
        assert_eq!(listed(&viewer, "").await, ["fd99::1", "10.99.0.10", "10.99.0.9"]);
        assert_eq!(listed(&viewer, "sort_by=ip").await, ["10.99.0.9", "10.99.0.10", "fd99::1"]);
        assert_eq!(listed(&viewer, "sort_by=ip&sort_dir=desc&limit=1").await, ["fd99::1"]);
        assert_eq!(listed(&viewer, "sort_by=hostname").await[0], "10.99.0.9");
        assert_eq!(listed(&viewer, "sort_by=hostname&sort_dir=desc").await[0], "10.99.0.9");
        for order in ["first_seen_at", "last_seen_at", "open_port_count"] {
            assert_eq!(listed(&viewer, &format!("sort_by={order}&sort_dir=asc")).await.len(), 3);
            assert_eq!(listed(&viewer, &format!("sort_by={order}&sort_dir=desc")).await.len(), 3);
        }
        assert_eq!(listed(&viewer, &format!("network_id={plant}")).await, ["fd99::1"]);
        assert_eq!(listed(&viewer, "is_pingable=false").await, ["10.99.0.9"]);
        assert_eq!(listed(&viewer, "ip_range=10.99.0.8/31").await, ["10.99.0.9"]);
        assert_eq!(listed(&viewer, "ip_search=0.1").await, ["10.99.0.10"]);
        assert_eq!(listed(&viewer, "search=BETA").await, ["10.99.0.9"]);
        let reply = viewer.get("/api/hosts?is_pingable=false").await.json();
        assert_eq!(
            (&reply["total"], &reply["total_count"], &reply["pingable_count"]),
            (&json!(1), &json!(3), &json!(2))
        );
        assert_times_are_utc(&reply);
        viewer.get("/api/hosts?sort_by=banana").await.assert_problem(400, "Invalid sort_by value");
        viewer.get("/api/hosts?limit=10001").await.assert_status(422);
    }

    #[tokio::test]
    async fn a_host_tells_its_ports_and_networks() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let scan = lab.scan(office, "completed").await;
        lab.port(office, scan, "10.99.0.9", 443, "https").await;
        lab.port(office, scan, "10.99.0.9", 22, "ssh").await;
        let gone = lab.port(office, scan, "10.99.0.9", 23, "telnet").await;
        lab.close(gone).await;
        let host = lab.host(office, "10.99.0.9").await;
        let viewer = app.login(Role::Viewer).await;
        let shown = viewer.get(&format!("/api/hosts/{host}")).await.assert_status(200).json();
        assert_eq!(shown["seen_by_networks"], json!([office]));
        let ports = viewer.get(&format!("/api/hosts/{host}/ports")).await.json();
        assert_eq!((&ports["total"], &ports["ports"][0]["port"]), (&json!(2), &json!(22)));
        viewer.get("/api/hosts/999").await.assert_problem(404, "Host not found");
    }

    #[tokio::test]
    async fn people_write_what_they_know_and_null_empties_it() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let host = lab.host(office, "10.99.0.9").await;
        let operator = app.login(Role::Operator).await;
        let path = format!("/api/hosts/{host}");
        let body = json!({ "user_comment": "printer", "hostname": "prn1", "criticality": "high", "is_trusted": true });
        let written = operator.patch(&path, body).await.assert_status(200).json();
        assert_eq!((&written["hostname"], &written["hostname_source"]), (&json!("prn1"), &json!("user")));
        assert_eq!((&written["criticality"], &written["is_trusted"]), (&json!("high"), &json!(true)));
        let emptied = operator.patch(&path, json!({ "hostname": null })).await.json();
        assert_eq!((&emptied["hostname"], &emptied["hostname_source"]), (&Value::Null, &Value::Null));
        assert_eq!(emptied["user_comment"], "printer");
        operator.patch(&path, json!({})).await.assert_problem(400, "No fields to update");
        operator.patch(&path, json!({ "criticality": "huge" })).await.assert_status(422);
        operator.patch(&path, json!({ "hostname": "x".repeat(256) })).await.assert_status(422);
        app.login(Role::Analyst).await.patch(&path, json!({ "user_comment": "x" })).await.assert_status(403);
    }

    #[tokio::test]
    async fn hosts_are_forgotten_and_their_ports_stay() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (mine, other) =
            (lab.network("Mine", "10.99.0.0/24").await, lab.network("Other", "10.99.1.0/24").await);
        let scan = lab.scan(mine, "completed").await;
        lab.port(mine, scan, "10.99.0.9", 22, "ssh").await;
        let (own, foreign) = (lab.host(mine, "10.99.0.9").await, lab.host(other, "10.99.1.9").await);
        let limited = app.login_limited(Role::Operator, &[mine]).await;
        limited.delete(&format!("/api/hosts/{foreign}")).await.assert_problem(404, "Host not found");
        let reply = limited.post("/api/hosts/bulk-delete", json!({ "host_ids": [own, foreign, 999] })).await;
        assert_eq!(reply.assert_status(200).json(), json!({ "deleted_ids": [own], "deleted_count": 1 }));
        assert_eq!(limited.get("/api/ports").await.json()["total"], 1);
        let none = limited.post("/api/hosts/bulk-delete", json!({ "host_ids": [] })).await.json();
        assert_eq!(none["deleted_count"], 0);
        app.login(Role::Operator).await.delete(&format!("/api/hosts/{foreign}")).await.assert_status(204);
        app.assert_audited(&["host.delete", "host.delete"]).await;
    }

    #[tokio::test]
    async fn counts_and_networks_of_a_host_are_cut_to_what_one_may_see() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (mine, other) =
            (lab.network("Mine", "10.99.0.0/24").await, lab.network("Other", "10.99.0.0/16").await);
        let (one, two) = (lab.scan(mine, "completed").await, lab.scan(other, "completed").await);
        lab.port(mine, one, "10.99.0.9", 22, "ssh").await;
        lab.port(other, two, "10.99.0.9", 22, "ssh").await;
        lab.port(other, two, "10.99.0.9", 80, "http").await;
        lab.host(other, "10.99.7.7").await;
        sqlx::query("update hosts set open_port_count = 3 where address = '10.99.0.9'")
            .execute(app.pool())
            .await
            .unwrap();
        let limited = app.login_limited(Role::Viewer, &[mine]).await;
        let reply = limited.get("/api/hosts").await.json();
        assert_eq!((&reply["total"], &reply["total_count"]), (&json!(1), &json!(1)));
        let host = &reply["hosts"][0];
        assert_eq!((&host["seen_by_networks"], &host["open_port_count"]), (&json!([mine]), &json!(1)));
        let all = app.login(Role::Viewer).await.get("/api/hosts?sort_by=ip").await.json();
        assert_eq!((&all["total"], &all["hosts"][0]["open_port_count"]), (&json!(2), &json!(3)));
    }
}
