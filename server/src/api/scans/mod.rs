//! `/api/scans`: runs, what each of them found, and how two of them differ.

mod cancel;
mod diff;
mod export;
mod logs;
pub(super) mod start;

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{ApiRouter, Json, Page, Path, Problem, Query, lax_bool};
use crate::{
    audit::{Actor, Entry},
    auth::{Access, Caller, Permission},
    state::AppState,
    store::{
        scans::{self as store, Scan, ScanFilter, ScanPort, ScanSettings},
        ssh::{self, SshAudit},
    },
};

/// Ports that one answer carries.
pub(super) const MOST_PORTS: i64 = 10_000;

const STATUSES: [&str; 5] = ["planned", "running", "completed", "failed", "cancelled"];

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::InventoryRead), routes!(list_scans))
        .route(Access::Needs(Permission::InventoryRead), routes!(latest_scans_by_network))
        .route(Access::Needs(Permission::InventoryRead), routes!(show_scan))
        .route(Access::Needs(Permission::ScansRun), routes!(delete_scan))
        .route(Access::Needs(Permission::InventoryRead), routes!(list_scan_ports))
        .route(Access::Needs(Permission::InventoryRead), routes!(list_scan_ssh))
        .route(Access::Needs(Permission::ScansRun), routes!(set_scan_visibility))
        .merge(cancel::routes())
        .merge(diff::routes())
        .merge(export::routes())
        .merge(logs::routes())
}

/// Which scans.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Of one network.
    network_id: Option<i64>,
    /// In one state: `planned`, `running`, `completed`, `failed` or `cancelled`.
    status: Option<String>,
    /// `scan` (default), `discovery` or `all`.
    kind: Option<String>,
    /// With the hidden ones.
    #[serde(default, deserialize_with = "lax_bool")]
    #[param(value_type = Option<bool>)]
    include_hidden: Option<bool>,
    /// Scans to skip.
    offset: Option<i64>,
    /// Scans at most, 1-200; left out, 50.
    limit: Option<i64>,
}

/// Scans.
#[derive(Debug, Serialize, ToSchema)]
struct ScanList {
    /// Newest first.
    scans: Vec<Scan>,
    /// How many the filter finds.
    total: i64,
}

/// The last completed scan of one network.
#[derive(Debug, Serialize, ToSchema)]
struct LatestScan {
    /// The network.
    network_id: i64,
    /// Null when there is none yet.
    scan: Option<Scan>,
}

/// The last completed scan of each network.
#[derive(Debug, Serialize, ToSchema)]
struct LatestScanList {
    /// Newest network first.
    latest_scans: Vec<LatestScan>,
}

/// A scan with what it found.
#[derive(Debug, Serialize, ToSchema)]
struct ScanDetail {
    #[serde(flatten)]
    scan: Scan,
    #[serde(flatten)]
    settings: ScanSettings,
    /// Open ports by address and port, at most 10000; the rest through `/api/scans/{scan_id}/ports`.
    open_ports: Vec<ScanPort>,
    /// How many there are in all.
    open_ports_total: i64,
    /// What SSH servers offered, at most 1000.
    ssh_scan_results: Vec<SshAudit>,
}

/// Ports of a scan.
#[derive(Debug, Serialize, ToSchema)]
struct ScanPortList {
    /// By address and port.
    ports: Vec<ScanPort>,
    /// How many there are.
    total: i64,
}

/// SSH servers of a scan.
#[derive(Debug, Serialize, ToSchema)]
struct ScanSshList {
    /// By address and port, at most 1000.
    ssh_results: Vec<SshAudit>,
}

/// Whether lists leave a scan out.
#[derive(Debug, Deserialize, ToSchema)]
struct ScanVisibility {
    /// Left out.
    hidden: bool,
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PortsQuery {
    /// Ports to skip.
    offset: Option<i64>,
    /// Ports at most, 1-10000; left out, 50.
    limit: Option<i64>,
}

/// Lists scans, newest first.
#[utoipa::path(get, path = "/api/scans", tag = "scans",
    params(ListQuery),
    responses((status = 200, body = ScanList)))]
async fn list_scans(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<ScanList>, Problem> {
    let page = Page::new(query.offset, query.limit, 200)?;
    let status = query.status.as_deref();
    if status.is_some_and(|status| !STATUSES.contains(&status)) {
        return Err(one_of("status", status, &STATUSES));
    }
    let kind = match query.kind.as_deref() {
        None | Some("scan") => Some("scan"),
        Some("discovery") => Some("discovery"),
        Some("all") => None,
        other => return Err(one_of("kind", other, &["scan", "discovery", "all"])),
    };
    let filter = ScanFilter {
        network_id: query.network_id,
        kind,
        status,
        include_hidden: query.include_hidden.unwrap_or(false),
        offset: page.offset,
        limit: page.limit,
    };
    let (scans, total) = store::list(&state.pool, caller.visible_networks(), &filter).await?;
    Ok(Json(ScanList { scans, total }))
}

/// 422: a choice that is none.
pub(super) fn one_of(name: &str, given: Option<&str>, choices: &[&str]) -> Problem {
    let quoted: Vec<_> = choices.iter().map(|choice| format!("'{choice}'")).collect();
    let expected = match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.join(""),
    };
    Problem::invalid(vec![super::FieldError {
        r#type: "enum".into(),
        loc: vec!["query".into(), name.into()],
        msg: format!("Input should be {expected}"),
        input: given.into(),
    }])
}

/// Shows the last completed scan of each whole network.
#[utoipa::path(get, path = "/api/scans/latest-by-network", tag = "scans",
    responses((status = 200, body = LatestScanList)))]
async fn latest_scans_by_network(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<LatestScanList>, Problem> {
    let scope = caller.visible_networks();
    let (networks, _) = crate::store::networks::list(&state.pool, scope, 0, 10_000).await?;
    let scans = store::latest_completed(&state.pool, scope).await?;
    let mut by_network: std::collections::HashMap<_, _> =
        scans.into_iter().map(|scan| (scan.network_id, scan)).collect();
    let latest_scans = networks
        .iter()
        .map(|network| LatestScan { network_id: network.id, scan: by_network.remove(&network.id) })
        .collect();
    Ok(Json(LatestScanList { latest_scans }))
}

/// Shows a scan with what it found.
#[utoipa::path(get, path = "/api/scans/{scan_id}", tag = "scans",
    params(("scan_id" = i64, Path, description = "Number of the scan")),
    responses((status = 200, body = ScanDetail), (status = 404, description = "No such scan")))]
async fn show_scan(
    State(state): State<AppState>,
    caller: Caller,
    Path(scan_id): Path<i64>,
) -> Result<Json<ScanDetail>, Problem> {
    let scan = find(&state, &caller, scan_id).await?;
    let settings = store::settings(&state.pool, scan_id).await?.ok_or_else(not_found)?;
    let open_ports = store::ports(&state.pool, scan_id, None, 0, MOST_PORTS).await?;
    let open_ports_total = store::count_ports(&state.pool, scan_id).await?;
    let ssh_scan_results = ssh::of_scan(&state.pool, scan_id).await?;
    Ok(Json(ScanDetail { scan, settings, open_ports, open_ports_total, ssh_scan_results }))
}

/// Lists the ports a scan found open, by address and port.
#[utoipa::path(get, path = "/api/scans/{scan_id}/ports", tag = "scans",
    params(("scan_id" = i64, Path, description = "Number of the scan"), PortsQuery),
    responses((status = 200, body = ScanPortList), (status = 404, description = "No such scan")))]
async fn list_scan_ports(
    State(state): State<AppState>,
    caller: Caller,
    Path(scan_id): Path<i64>,
    Query(query): Query<PortsQuery>,
) -> Result<Json<ScanPortList>, Problem> {
    let page = Page::new(query.offset, query.limit, MOST_PORTS)?;
    find(&state, &caller, scan_id).await?;
    let ports = store::ports(&state.pool, scan_id, None, page.offset, page.limit).await?;
    let total = store::count_ports(&state.pool, scan_id).await?;
    Ok(Json(ScanPortList { ports, total }))
}

/// Lists the SSH servers a scan audited.
#[utoipa::path(get, path = "/api/scans/{scan_id}/ssh", tag = "scans",
    params(("scan_id" = i64, Path, description = "Number of the scan")),
    responses((status = 200, body = ScanSshList), (status = 404, description = "No such scan")))]
async fn list_scan_ssh(
    State(state): State<AppState>,
    caller: Caller,
    Path(scan_id): Path<i64>,
) -> Result<Json<ScanSshList>, Problem> {
    find(&state, &caller, scan_id).await?;
    Ok(Json(ScanSshList { ssh_results: ssh::of_scan(&state.pool, scan_id).await? }))
}

/// Leaves a scan out of lists, or shows it again.
#[utoipa::path(patch, path = "/api/scans/{scan_id}/visibility", tag = "scans", request_body = ScanVisibility,
    params(("scan_id" = i64, Path, description = "Number of the scan")),
    responses((status = 200, body = Scan), (status = 404, description = "No such scan")))]
async fn set_scan_visibility(
    State(state): State<AppState>,
    caller: Caller,
    Path(scan_id): Path<i64>,
    Json(body): Json<ScanVisibility>,
) -> Result<Json<Scan>, Problem> {
    find(&state, &caller, scan_id).await?;
    store::set_hidden(&state.pool, scan_id, body.hidden).await?;
    Ok(Json(find(&state, &caller, scan_id).await?))
}

/// Deletes a scan with its ports and logs. An agent that still works on it drops what is left.
///
/// Alerts it raised stay: they are about the network, not about the run.
#[utoipa::path(delete, path = "/api/scans/{scan_id}", tag = "scans",
    params(("scan_id" = i64, Path, description = "Number of the scan")),
    responses((status = 204, description = "Deleted"), (status = 404, description = "No such scan")))]
async fn delete_scan(
    State(state): State<AppState>,
    caller: Caller,
    Path(scan_id): Path<i64>,
) -> Result<StatusCode, Problem> {
    let scan = find(&state, &caller, scan_id).await?;
    let mut tx = state.pool.begin().await?;
    if !store::delete(&mut *tx, scan_id).await? {
        return Err(not_found());
    }
    let entry = Entry::new("scan.delete").target("scan", scan_id);
    let entry = entry.detail(json!({ "network_id": scan.network_id, "status": scan.status }));
    entry.record(&mut tx, Actor::caller(&caller), state.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The scan, unless there is none that the caller may see.
async fn find(state: &AppState, caller: &Caller, id: i64) -> Result<Scan, Problem> {
    store::find(&state.pool, caller.visible_networks(), id).await?.ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::not_found("Scan not found")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        api::fixtures::{Lab, assert_times_are_utc},
        auth::Role,
        test_support::TestApp,
    };

    #[tokio::test]
    async fn scans_are_listed_newest_first_and_counted() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (office, plant) =
            (lab.network("Office", "10.99.0.0/24").await, lab.network("Plant", "10.99.1.0/24").await);
        let first = lab.scan(office, "completed").await;
        let second = lab.scan(plant, "failed").await;
        let hidden = lab.scan(office, "completed").await;
        let viewer = app.login(Role::Viewer).await;
        let operator = app.login(Role::Operator).await;
        let path = format!("/api/scans/{hidden}/visibility");
        viewer.patch(&path, json!({ "hidden": true })).await.assert_status(403);
        let changed = operator.patch(&path, json!({ "hidden": true })).await.assert_status(200).json();
        assert_eq!(changed["hidden"], true);

        let ids = |reply: Value| -> Vec<i64> {
            reply["scans"].as_array().unwrap().iter().map(|scan| scan["id"].as_i64().unwrap()).collect()
        };
        let listed = viewer.get("/api/scans").await.json();
        assert_times_are_utc(&listed);
        assert_eq!((&listed["total"], ids(listed.clone())), (&json!(2), vec![second, first]));
        assert_eq!(listed["scans"][0]["network_name"], "Plant");
        assert_eq!(ids(viewer.get("/api/scans?include_hidden=yes").await.json()), [hidden, second, first]);
        assert_eq!(ids(viewer.get(&format!("/api/scans?network_id={office}")).await.json()), [first]);
        assert_eq!(ids(viewer.get("/api/scans?status=failed").await.json()), [second]);
        let page = viewer.get("/api/scans?limit=1&offset=1").await.json();
        assert_eq!((&page["total"], ids(page.clone())), (&json!(2), vec![first]));
        assert_eq!(ids(viewer.get(&format!("/api/networks/{office}/scans")).await.json()), [hidden, first]);

        viewer.get("/api/scans?limit=201").await.assert_status(422);
        viewer.get("/api/scans?status=odd").await.assert_status(422);
        viewer.get("/api/scans?kind=odd").await.assert_status(422);
    }

    #[tokio::test]
    async fn discoveries_have_their_own_list() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let discovery = lab.scan(office, "completed").await;
        sqlx::query("update scans set kind = 'discovery', hosts_discovered = 3 where id = $1")
            .bind(discovery)
            .execute(app.pool())
            .await
            .unwrap();
        let viewer = app.login(Role::Viewer).await;
        assert_eq!(viewer.get("/api/scans").await.json()["total"], 0);
        assert_eq!(viewer.get("/api/scans?kind=all").await.json()["total"], 1);
        let own = viewer.get(&format!("/api/networks/{office}/host-discovery-scans")).await.json();
        assert_eq!(
            (&own["scans"][0]["id"], &own["scans"][0]["hosts_discovered"]),
            (&json!(discovery), &json!(3))
        );
    }

    #[tokio::test]
    async fn the_latest_scan_is_of_the_whole_network_and_not_hidden() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (office, plant) =
            (lab.network("Office", "10.99.0.0/24").await, lab.network("Plant", "10.99.1.0/24").await);
        let good = lab.scan(office, "completed").await;
        lab.pass(1);
        for change in ["hidden = true", "target_address = '10.99.0.1'", "kind = 'discovery'"] {
            let scan = lab.scan(office, "completed").await;
            let sql = format!("update scans set {change} where id = {scan}");
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(app.pool()).await.unwrap();
        }
        lab.scan(office, "failed").await;
        let latest = app.login(Role::Viewer).await.get("/api/scans/latest-by-network").await.json();
        let latest = latest["latest_scans"].as_array().unwrap().clone();
        assert_eq!((&latest[0]["network_id"], &latest[0]["scan"]), (&json!(plant), &Value::Null));
        assert_eq!((&latest[1]["network_id"], &latest[1]["scan"]["id"]), (&json!(office), &json!(good)));
    }

    #[tokio::test]
    async fn a_scan_shows_what_it_found() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let scan = lab.scan(office, "completed").await;
        lab.port(office, scan, "10.99.0.10", 443, "https").await;
        lab.port(office, scan, "10.99.0.9", 22, "ssh").await;
        lab.ssh(office, scan, "10.99.0.9", "OpenSSH_9.2p1", true, &["3des-cbc"]).await;
        let viewer = app.login(Role::Viewer).await;
        let shown = viewer.get(&format!("/api/scans/{scan}")).await.json();
        assert_times_are_utc(&shown);
        assert_eq!(shown["open_ports_total"], 2);
        assert_eq!(
            (&shown["open_ports"][0]["ip"], &shown["open_ports"][1]["ip"]),
            (&json!("10.99.0.9"), &json!("10.99.0.10"))
        );
        assert_eq!(shown["ssh_scan_results"][0]["supported_ciphers"][0]["name"], "3des-cbc");
        assert_eq!((&shown["parameters"], &shown["port_count"]), (&json!({}), &json!(2)));
        let ports = viewer.get(&format!("/api/scans/{scan}/ports?limit=1&offset=1")).await.json();
        assert_eq!((&ports["total"], &ports["ports"][0]["port"]), (&json!(2), &json!(443)));
        assert_eq!(
            viewer.get(&format!("/api/scans/{scan}/ssh")).await.json()["ssh_results"][0]["host_ip"],
            "10.99.0.9"
        );
        viewer.get("/api/scans/999").await.assert_problem(404, "Scan not found");
    }

    #[tokio::test]
    async fn deleting_a_scan_keeps_what_is_known_and_its_alerts() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let scan = lab.scan(office, "running").await;
        lab.port(office, scan, "10.99.0.9", 22, "ssh").await;
        let alert = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        sqlx::query("update alerts set scan_id = $1").bind(scan).execute(app.pool()).await.unwrap();
        let operator = app.login(Role::Operator).await;
        let path = format!("/api/scans/{scan}");
        app.login(Role::Analyst).await.delete(&path).await.assert_status(403);
        operator.delete(&path).await.assert_status(204);
        operator.delete(&path).await.assert_problem(404, "Scan not found");
        assert_eq!(operator.get("/api/ports").await.json()["total"], 1);
        assert_eq!(operator.get(&format!("/api/alerts/{alert}")).await.json()["scan_id"], Value::Null);
        app.assert_audited(&["scan.delete"]).await;
    }
}
