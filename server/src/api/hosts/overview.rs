//! `/api/hosts/{host_id}/overview`: everything about one host on one page.

use axum::extract::State;
use chrono::{DateTime, Utc};
use portreeve_model::VoteReason;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::find;
use crate::{
    api::{ApiRouter, Json, Path, Problem},
    auth::{Access, Caller, Permission},
    state::AppState,
    store::{
        alerts::{self, Alert, AlertFilter},
        changes::{self, Change, ChangeFilter},
        hosts::{self as store, Host, HostAddress, HostIdentifier, NetworkInfo},
        ports::{self, HostAnnouncement, Port},
        scans::{self, Scan},
        ssh::{self, SshFilter, SshLatest},
    },
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::InventoryRead), routes!(show_host_overview))
}

/// What an SSH server offered last, in short.
#[derive(Debug, Serialize, ToSchema)]
struct HostSsh {
    /// Its port.
    port: u16,
    /// Software version.
    ssh_version: Option<String>,
    /// Logs in by public key.
    publickey_enabled: bool,
    /// Logs in by password.
    password_enabled: bool,
    /// Logs in by keyboard-interactive questions.
    keyboard_interactive_enabled: bool,
    /// Whether a cipher is weak.
    has_weak_ciphers: bool,
    /// Whether a key exchange is weak.
    has_weak_kex: bool,
    /// When that was.
    last_scanned: DateTime<Utc>,
}

impl From<SshLatest> for HostSsh {
    fn from(SshLatest { now, .. }: SshLatest) -> Self {
        Self {
            port: now.port,
            ssh_version: now.ssh_version,
            publickey_enabled: now.publickey_enabled,
            password_enabled: now.password_enabled,
            keyboard_interactive_enabled: now.keyboard_interactive_enabled,
            has_weak_ciphers: now.has_weak_ciphers,
            has_weak_kex: now.has_weak_kex,
            last_scanned: now.timestamp,
        }
    }
}

/// Everything about one host.
#[derive(Debug, Serialize, ToSchema)]
struct HostOverview {
    /// The host.
    host: Host,
    /// Ports open now, by port number.
    ports: Vec<Port>,
    /// Networks it was seen in, the most exact first.
    networks: Vec<NetworkInfo>,
    /// Alerts that are not acknowledged, newest first, at most 100.
    alerts: Vec<Alert>,
    /// How many were acknowledged.
    acknowledged_alert_count: i64,
    /// The SSH server on the lowest port; null without any.
    ssh: Option<HostSsh>,
    /// All SSH servers, by port, at most 20.
    ssh_servers: Vec<HostSsh>,
    /// Scans that looked at it, newest first, at most 10.
    recent_scans: Vec<Scan>,
    /// What changed, newest first, at most 100; more through `/api/changes?host_id=`.
    timeline: Vec<Change>,
    /// Addresses it has and had, those in use first.
    addresses: Vec<HostAddress>,
    /// Evidence of who it is.
    identifiers: Vec<HostIdentifier>,
    /// Why it is taken for the device it is taken for.
    #[schema(value_type = Vec<VoteReason>)]
    device_reasons: Value,
    /// What its services say of it, by port, at most 50.
    announcements: Vec<HostAnnouncement>,
    /// Why its risk is what it is.
    #[schema(value_type = Vec<Object>)]
    risk_reasons: Value,
}

/// Shows everything about one host.
#[utoipa::path(get, path = "/api/hosts/{host_id}/overview", tag = "hosts",
    params(("host_id" = i64, Path, description = "Number of the host")),
    responses((status = 200, body = HostOverview), (status = 404, description = "No such host")))]
async fn show_host_overview(
    State(state): State<AppState>,
    caller: Caller,
    Path(host_id): Path<i64>,
) -> Result<Json<HostOverview>, Problem> {
    let (pool, scope, now) = (&state.pool, caller.visible_networks(), state.clock.now());
    let host = find(&state, &caller, host_id).await?;
    let mut filter =
        AlertFilter { host_id: Some(host_id), acknowledged: Some(false), limit: 100, ..Default::default() };
    let (alerts, _) = alerts::list(pool, scope, &filter, now).await?;
    (filter.acknowledged, filter.limit) = (Some(true), 0);
    let (_, acknowledged_alert_count) = alerts::list(pool, scope, &filter, now).await?;
    let ssh_filter = SshFilter { address: Some(host.ip), limit: 20, ..SshFilter::default() };
    let (servers, _) = ssh::latest(pool, scope, &ssh_filter).await?;
    let changes = ChangeFilter { host_id: Some(host_id), limit: 100, ..ChangeFilter::default() };
    let reasons = store::reasons(pool, host_id).await?;
    let (device_reasons, risk_reasons) =
        reasons.unwrap_or_else(|| (Value::Array(vec![]), Value::Array(vec![])));
    Ok(Json(HostOverview {
        ports: ports::of_host(pool, scope, host_id).await?,
        networks: store::networks(pool, scope, host_id).await?,
        alerts,
        acknowledged_alert_count,
        ssh: servers.first().cloned().map(Into::into),
        ssh_servers: servers.into_iter().map(Into::into).collect(),
        recent_scans: scans::of_host(pool, scope, host_id).await?,
        timeline: changes::list(pool, scope, &changes).await?,
        addresses: store::addresses(pool, host_id).await?,
        identifiers: store::identifiers(pool, host_id).await?,
        device_reasons,
        announcements: ports::announcements(pool, scope, host_id).await?,
        risk_reasons,
        host,
    }))
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
    async fn everything_about_a_host_is_on_one_page() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let scan = lab.scan(office, "completed").await;
        lab.port(office, scan, "10.99.0.9", 22, "ssh").await;
        lab.port(office, scan, "10.99.0.10", 22, "ssh").await;
        lab.ssh(office, scan, "10.99.0.9", "OpenSSH_7.4", true, &["3des-cbc"]).await;
        lab.ssh(office, scan, "10.99.0.10", "OpenSSH_9.2", false, &[]).await;
        let change = lab.change(office, scan, "port_opened", "10.99.0.9", 22).await;
        lab.change(office, scan, "port_opened", "10.99.0.10", 22).await;
        let open = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        let done = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 80).await;
        lab.alert(Some(office), "new_port", "high", "10.99.0.10", 22).await;
        for _ in 0..6 {
            lab.scan(office, "failed").await;
        }
        let host = lab.host(office, "10.99.0.9").await;
        let analyst = app.login(Role::Analyst).await;
        analyst.put(&format!("/api/alerts/{done}/acknowledge"), Value::Null).await.assert_status(200);
        let shown = analyst.get(&format!("/api/hosts/{host}/overview")).await.assert_status(200).json();
        assert_times_are_utc(&shown);
        assert_eq!((&shown["host"]["id"], shown["ports"].as_array().unwrap().len()), (&json!(host), 1));
        assert_eq!(shown["networks"], json!([{ "id": office, "name": "Office", "cidr": "10.99.0.0/24" }]));
        assert_eq!(
            (&shown["alerts"][0]["id"], &shown["acknowledged_alert_count"]),
            (&json!(open), &json!(1))
        );
        assert_eq!(
            (&shown["ssh"]["ssh_version"], &shown["ssh"]["has_weak_ciphers"]),
            (&json!("OpenSSH_7.4"), &json!(true))
        );
        assert_eq!(
            (&shown["timeline"][0]["id"], shown["timeline"].as_array().unwrap().len()),
            (&json!(change), 1)
        );
        assert_eq!(shown["recent_scans"].as_array().unwrap().len(), 5);
        assert_eq!(
            (&shown["addresses"][0]["ip"], &shown["device_reasons"]),
            (&json!("10.99.0.9"), &json!([]))
        );
    }
}
