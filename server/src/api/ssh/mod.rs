//! `/api/ssh`: what SSH servers offer, and how that changed.

mod changes;
mod export;

use std::net::IpAddr;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use changes::{SshChangeStatus, SshConfigChange, SshPosture};

use super::{
    ApiRouter, Json, Page, Path, Problem, Query, at_least, common::filter_text, lax_bool, scans::start,
};
use crate::{
    auth::{Access, Caller, Permission},
    state::AppState,
    store::ssh::{self as store, SshAudit, SshFilter, SshLatest},
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::InventoryRead), routes!(list_ssh_hosts))
        .route(Access::Needs(Permission::InventoryRead), routes!(show_ssh_history))
        .route(Access::Needs(Permission::ScansRun), routes!(recheck_ssh_host))
        .merge(export::routes())
}

/// Which servers. The filters look at the newest audit of each.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct SshQuery {
    /// Audited in one network.
    network_id: Option<i64>,
    /// Takes passwords.
    #[serde(deserialize_with = "lax_bool")]
    #[param(value_type = Option<bool>)]
    password_enabled: Option<bool>,
    /// Takes keyboard-interactive log-ins.
    #[serde(deserialize_with = "lax_bool")]
    #[param(value_type = Option<bool>)]
    keyboard_interactive_enabled: Option<bool>,
    /// Part of the version.
    ssh_version: Option<String>,
    /// Servers to skip.
    offset: Option<i64>,
    /// Servers at most, 1-200; left out, 50.
    limit: Option<i64>,
}

/// Which port of the server.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// The port; left out, 22.
    port: Option<u16>,
    /// Audits to skip.
    offset: Option<i64>,
    /// Audits at most, 1-200; left out, 50.
    limit: Option<i64>,
}

/// An SSH server.
#[derive(Debug, Serialize, ToSchema)]
struct SshHost {
    #[serde(flatten)]
    audit: SshAudit,
    /// The scan that audited it last.
    last_scan_id: i64,
    /// When that was.
    last_scanned: DateTime<Utc>,
    /// How it compares with the audit before; null for the first.
    change_status: Option<SshChangeStatus>,
    /// What changed since the audit before.
    changes: Vec<SshConfigChange>,
}

/// SSH servers.
#[derive(Debug, Serialize, ToSchema)]
struct SshHostList {
    /// By address and port.
    hosts: Vec<SshHost>,
    /// How many the filter finds.
    total: i64,
}

/// The audits of one server.
#[derive(Debug, Serialize, ToSchema)]
struct SshHistory {
    /// Its address.
    #[schema(value_type = String)]
    host_ip: IpAddr,
    /// Its port.
    port: u16,
    /// Newest first.
    history: Vec<SshAudit>,
    /// How many there are.
    total: i64,
}

/// A scan that was asked for.
#[derive(Debug, Serialize, ToSchema)]
struct SshRecheck {
    /// Number of the scan.
    scan_id: i64,
    /// The network scanned.
    network_id: i64,
    /// The server's address.
    #[schema(value_type = String)]
    host_ip: IpAddr,
    /// Its port.
    port: u16,
    /// `planned`.
    status: &'static str,
    /// In words.
    message: String,
}

impl From<SshLatest> for SshHost {
    fn from(latest: SshLatest) -> Self {
        let changes = latest.has_before.then(|| changes::compare(&before(&latest), &posture(&latest.now)));
        Self {
            last_scan_id: latest.now.scan_id,
            last_scanned: latest.now.timestamp,
            audit: latest.now,
            change_status: changes.as_deref().map(changes::status),
            changes: changes.unwrap_or_default(),
        }
    }
}

fn posture(audit: &SshAudit) -> SshPosture {
    SshPosture {
        publickey: audit.publickey_enabled,
        password: audit.password_enabled,
        keyboard_interactive: audit.keyboard_interactive_enabled,
        weak_ciphers: weak_names(audit.supported_ciphers.as_ref()).map(str::to_owned).collect(),
        weak_kex: weak_names(audit.kex_algorithms.as_ref()).map(str::to_owned).collect(),
        version: audit.ssh_version.clone(),
    }
}

fn before(latest: &SshLatest) -> SshPosture {
    SshPosture {
        publickey: latest.before_publickey.unwrap_or_default(),
        password: latest.before_password.unwrap_or_default(),
        keyboard_interactive: latest.before_keyboard_interactive.unwrap_or_default(),
        weak_ciphers: weak_names(latest.before_ciphers.as_ref()).map(str::to_owned).collect(),
        weak_kex: weak_names(latest.before_kex.as_ref()).map(str::to_owned).collect(),
        version: latest.before_version.clone(),
    }
}

/// The names of the weak ones in a list of `{name, is_weak, …}`.
fn weak_names(algorithms: Option<&Value>) -> impl Iterator<Item = &str> {
    let algorithms = algorithms.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let weak = |algorithm: &&Value| algorithm.get("is_weak").and_then(Value::as_bool) == Some(true);
    algorithms.iter().filter(weak).filter_map(|algorithm| algorithm.get("name")?.as_str())
}

/// Lists SSH servers with their newest audit and what changed since the one before.
#[utoipa::path(get, path = "/api/ssh/hosts", tag = "ssh",
    params(SshQuery),
    responses((status = 200, body = SshHostList)))]
async fn list_ssh_hosts(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<SshQuery>,
) -> Result<Json<SshHostList>, Problem> {
    let page = Page::new(query.offset, query.limit, 200)?;
    let filter = SshFilter {
        network_id: query.network_id,
        password_enabled: query.password_enabled,
        keyboard_interactive_enabled: query.keyboard_interactive_enabled,
        version: filter_text("ssh_version", query.ssh_version.as_deref())?,
        address: None,
        offset: page.offset,
        limit: page.limit,
    };
    let (hosts, total) = store::latest(&state.pool, caller.visible_networks(), &filter).await?;
    Ok(Json(SshHostList { hosts: hosts.into_iter().map(Into::into).collect(), total }))
}

/// Lists the audits of one SSH server, newest first.
#[utoipa::path(get, path = "/api/ssh/hosts/{host_ip}", tag = "ssh",
    params(("host_ip" = String, Path, description = "Address of the server"), HistoryQuery),
    responses((status = 200, body = SshHistory), (status = 404, description = "Never audited")))]
async fn show_ssh_history(
    State(state): State<AppState>,
    caller: Caller,
    Path(host_ip): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<SshHistory>, Problem> {
    let page = Page::new(query.offset, query.limit, 200)?;
    let port = port_or_22(query.port)?;
    let none = || Problem::not_found(format!("No SSH scan results found for host {host_ip}:{port}"));
    let address: IpAddr = host_ip.parse().map_err(|_| none())?;
    let scope = caller.visible_networks();
    let (history, total) = store::history(&state.pool, scope, address, port, page.offset, page.limit).await?;
    if total == 0 {
        return Err(none());
    }
    Ok(Json(SshHistory { host_ip: address, port, history, total }))
}

/// Scans the host of an SSH server again.
#[utoipa::path(post, path = "/api/ssh/hosts/{host_ip}/recheck", tag = "ssh",
    params(("host_ip" = String, Path, description = "Address of the server"), HistoryQuery),
    responses((status = 200, body = SshRecheck), (status = 400, description = "No address"),
              (status = 404, description = "No such host, or no network holds it")))]
async fn recheck_ssh_host(
    State(state): State<AppState>,
    caller: Caller,
    Path(host_ip): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<SshRecheck>, Problem> {
    let port = port_or_22(query.port)?;
    let host_ip = start::address(&host_ip)?;
    let network_id = start::network_of_host(&state, &caller, host_ip).await?;
    let scan_id = start::scan(&state, &caller, network_id, Some(host_ip)).await?;
    let message = format!("SSH security recheck triggered for {host_ip}:{port}");
    Ok(Json(SshRecheck { scan_id, network_id, host_ip, port, status: "planned", message }))
}

fn port_or_22(port: Option<u16>) -> Result<u16, Problem> {
    let port = port.unwrap_or(22);
    at_least("query", "port", i64::from(port), 1)?;
    Ok(port)
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
    async fn servers_show_their_newest_audit_and_what_changed() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let first = lab.scan(office, "completed").await;
        lab.ssh(office, first, "10.99.0.10", "OpenSSH_9.2", false, &[]).await;
        lab.ssh(office, first, "10.99.0.9", "OpenSSH_9.2", true, &["3des-cbc"]).await;
        lab.pass(60);
        let second = lab.scan(office, "completed").await;
        lab.ssh(office, second, "10.99.0.9", "OpenSSH_9.6", false, &["arcfour"]).await;
        let viewer = app.login(Role::Viewer).await;
        let listed = viewer.get("/api/ssh/hosts").await.assert_status(200).json();
        assert_times_are_utc(&listed);
        assert_eq!(listed["total"], 2);
        let (nine, ten) = (&listed["hosts"][0], &listed["hosts"][1]);
        assert_eq!((&nine["host_ip"], &nine["last_scan_id"]), (&json!("10.99.0.9"), &json!(second)));
        assert_eq!((&nine["change_status"], &ten["change_status"]), (&json!("degraded"), &Value::Null));
        let fields: Vec<_> = nine["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["field"].as_str().unwrap())
            .collect();
        assert_eq!(fields, ["password_enabled", "has_weak_ciphers", "has_weak_ciphers", "ssh_version"]);
        for (query, total) in [
            ("password_enabled=true", 0),
            ("password_enabled=false", 2),
            ("ssh_version=9.6", 1),
            ("keyboard_interactive_enabled=true", 0),
            ("limit=1&offset=1", 2),
        ] {
            assert_eq!(
                viewer.get(&format!("/api/ssh/hosts?{query}")).await.json()["total"],
                total,
                "{query}"
            );
        }

        let history = viewer.get("/api/ssh/hosts/10.99.0.9").await.assert_status(200).json();
        assert_eq!((&history["total"], &history["history"][0]["scan_id"]), (&json!(2), &json!(second)));
        viewer
            .get("/api/ssh/hosts/10.99.0.9?port=23")
            .await
            .assert_problem(404, "No SSH scan results found for host 10.99.0.9:23");
        viewer
            .get("/api/ssh/hosts/banana")
            .await
            .assert_problem(404, "No SSH scan results found for host banana:22");
        viewer.get("/api/ssh/hosts/10.99.0.9?port=0").await.assert_status(422);
    }

    #[tokio::test]
    async fn another_network_never_hides_an_audit() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (mine, other) =
            (lab.network("Mine", "10.99.0.0/24").await, lab.network("Other", "10.99.0.0/16").await);
        let own = lab.scan(mine, "completed").await;
        lab.ssh(mine, own, "10.99.0.9", "OpenSSH_9.2", true, &[]).await;
        lab.pass(1);
        let newer = lab.scan(other, "completed").await;
        lab.ssh(other, newer, "10.99.0.9", "OpenSSH_9.6", false, &[]).await;
        let viewer = app.login(Role::Viewer).await;
        let of_mine = viewer.get(&format!("/api/ssh/hosts?network_id={mine}")).await.json();
        assert_eq!(
            (&of_mine["total"], &of_mine["hosts"][0]["ssh_version"]),
            (&json!(1), &json!("OpenSSH_9.2"))
        );
        let limited = app.login_limited(Role::Viewer, &[mine]).await;
        let seen = limited.get("/api/ssh/hosts").await.json();
        assert_eq!(
            (&seen["hosts"][0]["ssh_version"], &seen["hosts"][0]["change_status"]),
            (&json!("OpenSSH_9.2"), &Value::Null)
        );
        assert_eq!(limited.get("/api/ssh/hosts/10.99.0.9").await.json()["total"], 1);
    }

    #[tokio::test]
    async fn a_server_is_checked_again_by_those_who_may_scan() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        lab.host(office, "10.99.0.9").await;
        let path = "/api/ssh/hosts/10.99.0.9/recheck?port=2222";
        let reply = app.login(Role::Operator).await.post(path, Value::Null).await.assert_status(200).json();
        assert_eq!(
            reply,
            json!({ "scan_id": reply["scan_id"], "network_id": office, "host_ip": "10.99.0.9", "port": 2222,
                    "status": "planned", "message": "SSH security recheck triggered for 10.99.0.9:2222" })
        );
        app.login(Role::Viewer).await.post(path, Value::Null).await.assert_status(403);
    }
}
