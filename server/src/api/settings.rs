//! `/api/settings`: values that count for the whole installation.

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{ApiRouter, Json, Problem};
use crate::{
    alerts::config::{MAX_EXPIRING_DAYS, MAX_EXPIRING_TIMES, SshAlertDefaults, TlsAlertDefaults},
    audit::{Actor, Entry},
    auth::{Access, Caller, Permission},
    input::parse_version,
    state::AppState,
    store::settings::{self as store, SSH_ALERT_DEFAULTS, TLS_ALERT_DEFAULTS},
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::SettingsManage), routes!(show_ssh_alert_defaults))
        .route(Access::Needs(Permission::SettingsManage), routes!(update_ssh_alert_defaults))
        .route(Access::Needs(Permission::SettingsManage), routes!(show_tls_alert_defaults))
        .route(Access::Needs(Permission::SettingsManage), routes!(update_tls_alert_defaults))
}

/// What to change. What is left out or `null` stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
struct SshAlertDefaultsUpdate {
    /// Passwords or keyboard-interactive log-ins are taken.
    ssh_insecure_auth: Option<bool>,
    /// A cipher is weak.
    ssh_weak_cipher: Option<bool>,
    /// A host key is weak.
    ssh_weak_host_key: Option<bool>,
    /// A key exchange is weak.
    ssh_weak_kex: Option<bool>,
    /// A message authentication is weak.
    ssh_weak_mac: Option<bool>,
    /// The software is older than the threshold.
    ssh_outdated_version: Option<bool>,
    /// The settings became weaker than before.
    ssh_config_regression: Option<bool>,
    /// A version as `8.0.0`.
    ssh_version_threshold: Option<String>,
}

/// Shows which SSH findings raise alerts by default.
#[utoipa::path(get, path = "/api/settings/ssh-alert-defaults", tag = "settings",
    responses((status = 200, body = SshAlertDefaults)))]
async fn show_ssh_alert_defaults(State(state): State<AppState>) -> Result<Json<SshAlertDefaults>, Problem> {
    Ok(Json(store::ssh_alert_defaults(&state.pool).await?))
}

/// Changes which SSH findings raise alerts by default.
#[utoipa::path(put, path = "/api/settings/ssh-alert-defaults", tag = "settings",
    request_body = SshAlertDefaultsUpdate,
    responses((status = 200, body = SshAlertDefaults), (status = 422, description = "Not a version")))]
async fn update_ssh_alert_defaults(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<SshAlertDefaultsUpdate>,
) -> Result<Json<SshAlertDefaults>, Problem> {
    if let Some(given) = body.ssh_version_threshold.as_deref().filter(|text| parse_version(text).is_none()) {
        let message = format!("{given:?} is not a version; write it as 8.0.0");
        return Err(Problem::invalid_value(&["body", "ssh_version_threshold"], message, given));
    }
    let before = store::ssh_alert_defaults(&state.pool).await?;
    let after = SshAlertDefaults {
        ssh_insecure_auth: body.ssh_insecure_auth.unwrap_or(before.ssh_insecure_auth),
        ssh_weak_cipher: body.ssh_weak_cipher.unwrap_or(before.ssh_weak_cipher),
        ssh_weak_host_key: body.ssh_weak_host_key.unwrap_or(before.ssh_weak_host_key),
        ssh_weak_kex: body.ssh_weak_kex.unwrap_or(before.ssh_weak_kex),
        ssh_weak_mac: body.ssh_weak_mac.unwrap_or(before.ssh_weak_mac),
        ssh_outdated_version: body.ssh_outdated_version.unwrap_or(before.ssh_outdated_version),
        ssh_config_regression: body.ssh_config_regression.unwrap_or(before.ssh_config_regression),
        ssh_version_threshold: body.ssh_version_threshold.unwrap_or(before.ssh_version_threshold),
    };
    keep(&state, &caller, SSH_ALERT_DEFAULTS, json!(after)).await?;
    Ok(Json(after))
}

/// What to change. What is left out or `null` stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
struct TlsAlertDefaultsUpdate {
    /// A certificate has run out.
    tls_expired: Option<bool>,
    /// A certificate runs out within one of the days below.
    tls_expiring: Option<bool>,
    /// Days before a certificate's end, each 1-365, one to ten of them.
    tls_expiring_days: Option<Vec<u16>>,
    /// A server takes forbidden versions of TLS, or its certificate is weak.
    tls_weak: Option<bool>,
}

/// Shows which TLS findings raise alerts by default.
#[utoipa::path(get, path = "/api/settings/tls-alert-defaults", tag = "settings",
    responses((status = 200, body = TlsAlertDefaults)))]
async fn show_tls_alert_defaults(State(state): State<AppState>) -> Result<Json<TlsAlertDefaults>, Problem> {
    Ok(Json(store::tls_alert_defaults(&state.pool).await?))
}

/// Changes which TLS findings raise alerts by default.
#[utoipa::path(put, path = "/api/settings/tls-alert-defaults", tag = "settings",
    request_body = TlsAlertDefaultsUpdate,
    responses((status = 200, body = TlsAlertDefaults), (status = 422, description = "Not a list of days")))]
async fn update_tls_alert_defaults(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<TlsAlertDefaultsUpdate>,
) -> Result<Json<TlsAlertDefaults>, Problem> {
    let days = body.tls_expiring_days.map(|mut days| {
        days.sort_unstable_by(|one, other| other.cmp(one));
        days.dedup();
        days
    });
    let is_fit = |days: &Vec<u16>| {
        (1..=MAX_EXPIRING_TIMES).contains(&days.len())
            && days.iter().all(|day| (1..=MAX_EXPIRING_DAYS).contains(day))
    };
    if let Some(given) = days.as_ref().filter(|days| !is_fit(days)) {
        let message = format!("one to {MAX_EXPIRING_TIMES} days between 1 and {MAX_EXPIRING_DAYS}");
        return Err(Problem::invalid_value(&["body", "tls_expiring_days"], message, json!(given)));
    }
    let before = store::tls_alert_defaults(&state.pool).await?;
    let after = TlsAlertDefaults {
        tls_expired: body.tls_expired.unwrap_or(before.tls_expired),
        tls_expiring: body.tls_expiring.unwrap_or(before.tls_expiring),
        tls_expiring_days: days.unwrap_or(before.tls_expiring_days),
        tls_weak: body.tls_weak.unwrap_or(before.tls_weak),
    };
    keep(&state, &caller, TLS_ALERT_DEFAULTS, json!(after)).await?;
    Ok(Json(after))
}

async fn keep(state: &AppState, caller: &Caller, key: &'static str, value: Value) -> Result<(), Problem> {
    let now = state.clock.now();
    let mut tx = state.pool.begin().await?;
    store::put(&mut *tx, key, &value, caller.user_id, now).await?;
    let entry = Entry::new("settings.update").target("setting", key).detail(value);
    entry.record(&mut tx, Actor::caller(caller), now).await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{auth::Role, test_support::TestApp};

    const PATH: &str = "/api/settings/ssh-alert-defaults";

    #[tokio::test]
    async fn settings_are_changed_field_by_field() {
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        let fresh = json!({ "ssh_insecure_auth": true, "ssh_weak_cipher": false, "ssh_weak_kex": false,
            "ssh_weak_mac": false, "ssh_weak_host_key": false,
            "ssh_outdated_version": false, "ssh_config_regression": true, "ssh_version_threshold": "8.0.0" });
        assert_eq!(admin.get(PATH).await.json(), fresh);
        let body =
            json!({ "ssh_weak_kex": true, "ssh_insecure_auth": null, "ssh_version_threshold": "9.2p1" });
        let changed = admin.put(PATH, body).await.assert_status(200).json();
        let mut expected = fresh;
        expected["ssh_weak_kex"] = json!(true);
        expected["ssh_version_threshold"] = json!("9.2p1");
        assert_eq!((&changed, &admin.get(PATH).await.json()), (&expected, &expected));
        app.assert_audited(&["settings.update"]).await;
    }

    #[tokio::test]
    async fn wrong_values_and_weaker_roles_are_refused() {
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        admin.put(PATH, json!({ "ssh_version_threshold": "banana" })).await.assert_status(422);
        admin.put(PATH, json!({ "ssh_weak_kex": "sometimes" })).await.assert_status(422);
        app.login(Role::Operator).await.get(PATH).await.assert_problem(403, "Admin access required");
    }

    #[tokio::test]
    async fn days_before_a_certificates_end_are_kept_in_order() {
        const PATH: &str = "/api/settings/tls-alert-defaults";
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        let mut expected = json!({ "tls_expired": true, "tls_expiring": true,
            "tls_expiring_days": [30, 7, 1], "tls_weak": true });
        assert_eq!(admin.get(PATH).await.json(), expected);
        let body = json!({ "tls_weak": false, "tls_expiring_days": [7, 60, 7] });
        admin.put(PATH, body).await.assert_status(200);
        expected["tls_weak"] = json!(false);
        expected["tls_expiring_days"] = json!([60, 7]);
        assert_eq!(admin.get(PATH).await.json(), expected);
        for wrong in [json!([]), json!([0]), json!([366]), json!([-1]), json!((1..=11).collect::<Vec<_>>())] {
            admin.put(PATH, json!({ "tls_expiring_days": wrong })).await.assert_status(422);
        }
        app.login(Role::Operator).await.put(PATH, json!({ "tls_weak": true })).await.assert_status(403);
        app.assert_audited(&["settings.update"]).await;
    }
}
