//! "Expected": rules made from alerts, so that the same is not raised again.

use std::collections::{BTreeMap, HashSet};

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    find,
    triage::{by, changed, find_all, publish_all},
};
use crate::{
    api::{ApiRouter, Json, Path, Problem, common::body_text, policy::check_global},
    audit::{Actor, Entry},
    auth::{Access, Caller, Permission},
    input::RulePorts,
    state::AppState,
    store::{
        alerts::{self as store, Alert},
        rules::{self, RuleFields, RuleType},
    },
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::PolicyManage), routes!(expect_alert))
        .route(Access::Needs(Permission::PolicyManage), routes!(allow_alerts_globally))
        .route(Access::Needs(Permission::PolicyManage), routes!(allow_alerts_in_network))
}

/// Where a rule is to count.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RuleScope {
    /// In every network: silences all alerts about the port. Leaves other ports alone.
    Global,
    /// In the alert's network: the port joins the network's allowlist. A host that no rule allowed anything
    /// on so far then has an allowlist, and its other open ports are outside of it.
    Network,
}

/// That what an alert tells of is as it should be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
struct AlertExpected {
    /// Left out: `network` for `not_allowed`, where there is an allowlist to add to; else `global`.
    scope: Option<RuleScope>,
    /// Why; becomes the rule's description.
    reason: Option<String>,
}

/// The rule that was written and the alert it settled.
#[derive(Debug, Serialize, ToSchema)]
struct AlertExpectedResponse {
    /// Acknowledged now.
    alert: Alert,
    /// Where the rule counts.
    scope: RuleScope,
    /// Number of the rule; of the one that was there, if it was.
    rule_id: i64,
    /// Whether the rule is new.
    rule_created: bool,
}

/// Alerts whose ports are to be allowed.
#[derive(Debug, Deserialize, ToSchema)]
struct AlertsAllow {
    /// Numbers of the alerts.
    alert_ids: Vec<i64>,
    /// Why; becomes the rules' description.
    reason: String,
}

/// What became of them.
#[derive(Debug, Default, Serialize, ToSchema)]
struct AlertsAllowed {
    /// Rules written; one for each address and port.
    whitelisted_count: usize,
    /// Alerts acknowledged now or before.
    acknowledged_ids: Vec<i64>,
    /// There is no such alert.
    missing_ids: Vec<i64>,
    /// Alerts no rule could be made from, and why.
    errors: Vec<String>,
}

/// Says that what an alert tells of is as it should be: writes the rule that allows it and acknowledges
/// the alert.
#[utoipa::path(post, path = "/api/alerts/{alert_id}/expected", tag = "alerts", request_body = AlertExpected,
    params(("alert_id" = i64, Path, description = "Number of the alert")),
    responses((status = 200, body = AlertExpectedResponse), (status = 404, description = "No such alert"),
              (status = 400, description = "The alert is not about a port that a rule could allow")))]
async fn expect_alert(
    State(state): State<AppState>,
    caller: Caller,
    Path(alert_id): Path<i64>,
    Json(body): Json<AlertExpected>,
) -> Result<Json<AlertExpectedResponse>, Problem> {
    let alert = find(&state, &caller, alert_id).await?;
    let reason = body.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    let reason = reason.map_or_else(|| format!("Expected: alert {alert_id}"), str::to_owned);
    body_text("reason", &reason, 1, 10_000)?;
    let scope = body.scope.unwrap_or(match alert.kind.as_str() {
        "not_allowed" => RuleScope::Network,
        _ => RuleScope::Global,
    });
    let fields = rule_from(&alert, &reason).map_err(Problem::bad_request)?;
    let network_id = rule_network(&alert, scope).map_err(Problem::bad_request)?;
    if scope == RuleScope::Global {
        check_global(&caller)?;
    }

    let mut tx = state.pool.begin().await?;
    let (rule_id, rule_created) = write_rule(&mut tx, &caller, network_id, &fields).await?;
    let who = by(&state, &caller);
    store::acknowledge(&mut tx, &[alert_id], who).await?;
    let detail = json!({ "rule_id": rule_id, "scope": scope, "reason": reason });
    store::record_allowed(&mut tx, &[alert_id], who, &detail).await?;
    record_audit(&mut tx, &state, &caller, &[rule_id], scope, &[alert_id]).await?;
    tx.commit().await?;
    let Json(alert) = changed(&state, &caller, alert_id).await?;
    Ok(Json(AlertExpectedResponse { alert, scope, rule_id, rule_created }))
}

/// Allows the ports of several alerts in every network, and acknowledges the alerts.
#[utoipa::path(post, path = "/api/alerts/bulk-whitelist-global", tag = "alerts", request_body = AlertsAllow,
    responses((status = 200, body = AlertsAllowed), (status = 400, description = "No numbers, or no reason")))]
async fn allow_alerts_globally(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<AlertsAllow>,
) -> Result<Json<AlertsAllowed>, Problem> {
    allow(&state, &caller, &body, RuleScope::Global).await
}

/// Allows the ports of several alerts in the network of each, and acknowledges the alerts.
#[utoipa::path(post, path = "/api/alerts/bulk-whitelist-network", tag = "alerts", request_body = AlertsAllow,
    responses((status = 200, body = AlertsAllowed), (status = 400, description = "No numbers, or no reason")))]
async fn allow_alerts_in_network(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<AlertsAllow>,
) -> Result<Json<AlertsAllowed>, Problem> {
    allow(&state, &caller, &body, RuleScope::Network).await
}

async fn allow(
    state: &AppState,
    caller: &Caller,
    body: &AlertsAllow,
    scope: RuleScope,
) -> Result<Json<AlertsAllowed>, Problem> {
    if scope == RuleScope::Global {
        check_global(caller)?;
    }
    let (alerts, missing_ids) = find_all(state, caller, &body.alert_ids).await?;
    let reason = body.reason.trim();
    if reason.is_empty() {
        return Err(Problem::bad_request("reason is required for whitelisting"));
    }
    body_text("reason", reason, 1, 10_000)?;
    let mut result = AlertsAllowed { missing_ids, ..AlertsAllowed::default() };
    let wanted = wanted_rules(&alerts, scope, reason, &mut result.errors);

    let mut tx = state.pool.begin().await?;
    let mut rule_ids = Vec::new();
    for (network_id, fields) in wanted {
        let (rule_id, created) = write_rule(&mut tx, caller, network_id, &fields).await?;
        if created {
            rule_ids.push(rule_id);
        }
    }
    result.whitelisted_count = rule_ids.len();
    result.acknowledged_ids = alerts.iter().map(|alert| alert.id).collect();
    let who = by(state, caller);
    store::acknowledge(&mut tx, &result.acknowledged_ids, who).await?;
    let detail = json!({ "scope": scope, "reason": reason });
    store::record_allowed(&mut tx, &result.acknowledged_ids, who, &detail).await?;
    record_audit(&mut tx, state, caller, &rule_ids, scope, &result.acknowledged_ids).await?;
    tx.commit().await?;
    publish_all(state, &alerts);
    Ok(Json(result))
}

/// Each rule once, in order of network and alert.
fn wanted_rules(
    alerts: &[Alert],
    scope: RuleScope,
    reason: &str,
    errors: &mut Vec<String>,
) -> Vec<(Option<i64>, RuleFields)> {
    let mut seen = HashSet::new();
    let mut wanted: BTreeMap<(Option<i64>, i64), RuleFields> = BTreeMap::new();
    for alert in alerts {
        match rule_network(alert, scope).and_then(|network| Ok((network, rule_from(alert, reason)?))) {
            Ok((network_id, fields)) => {
                if seen.insert((network_id, fields.clone())) {
                    wanted.insert((network_id, alert.id), fields);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    wanted.into_iter().map(|((network_id, _), fields)| (network_id, fields)).collect()
}

/// The rule that allows exactly what the alert is about.
fn rule_from(alert: &Alert, reason: &str) -> Result<RuleFields, String> {
    let about_port = matches!(alert.kind.as_str(), "new_port" | "not_allowed" | "blocked");
    let port = alert.port.and_then(|port| u16::try_from(port).ok());
    match (about_port, alert.ip, port) {
        (true, Some(address), Some(port)) => Ok(RuleFields {
            address: Some(address.to_canonical()),
            ports: RulePorts::one(port),
            transport: alert.protocol.as_deref().and_then(|protocol| protocol.parse().ok()),
            rule_type: RuleType::Allow,
            description: Some(reason.to_owned()),
        }),
        _ => Err(format!(
            "Alert {} ({}) is not about an open port, so no rule can allow it; acknowledge or snooze it",
            alert.id, alert.kind
        )),
    }
}

fn rule_network(alert: &Alert, scope: RuleScope) -> Result<Option<i64>, String> {
    match (scope, alert.network_id) {
        (RuleScope::Global, _) => Ok(None),
        (RuleScope::Network, Some(network_id)) => Ok(Some(network_id)),
        (RuleScope::Network, None) => {
            Err(format!("Alert {} has no network_id, cannot create network-specific rule", alert.id))
        }
    }
}

/// Writes the rule unless it is there; its number, and whether it is new.
async fn write_rule(
    db: &mut PgConnection,
    caller: &Caller,
    network_id: Option<i64>,
    fields: &RuleFields,
) -> Result<(i64, bool), Problem> {
    if let Some(rule_id) = rules::same_exists(&mut *db, network_id, fields).await? {
        return Ok((rule_id, false));
    }
    let user_id = Some(caller.user_id);
    let rule_id = match network_id {
        Some(network_id) => rules::add_to_network(db, network_id, fields, user_id).await?.id,
        None => rules::add_global(db, fields, user_id).await?,
    };
    Ok((rule_id, true))
}

async fn record_audit(
    db: &mut PgConnection,
    state: &AppState,
    caller: &Caller,
    rule_ids: &[i64],
    scope: RuleScope,
    alert_ids: &[i64],
) -> Result<(), Problem> {
    let detail: Value = json!({ "scope": scope, "rule_ids": rule_ids, "alert_ids": alert_ids });
    let entry = Entry::new("alert.allow").target("alert", alert_ids.first().copied().unwrap_or_default());
    entry.detail(detail).record(db, Actor::caller(caller), state.clock.now()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn expected_writes_the_rule_and_settles_the_alert() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let new_port = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        let not_allowed = lab.alert(Some(office), "not_allowed", "medium", "10.99.0.9", 22).await;
        let operator = app.login(Role::Operator).await;
        let reply = operator
            .post(&format!("/api/alerts/{new_port}/expected"), json!({ "reason": "jump host" }))
            .await;
        let reply = reply.assert_status(200).json();
        assert_eq!((&reply["scope"], &reply["rule_created"]), (&json!("global"), &json!(true)));
        assert_eq!(reply["alert"]["acknowledged"], true);
        let reply = operator.post(&format!("/api/alerts/{not_allowed}/expected"), json!({})).await.json();
        assert_eq!((&reply["scope"], &reply["rule_created"]), (&json!("network"), &json!(true)));
        let rules = operator.get(&format!("/api/networks/{office}/rules")).await.json();
        assert_eq!(
            rules["rules"],
            json!([{ "id": reply["rule_id"], "network_id": office, "ip": "10.99.0.9", "port": "22", "protocol": "tcp",
                     "rule_type": "allow", "description": format!("Expected: alert {not_allowed}") }])
        );
        let again = operator.post(&format!("/api/alerts/{new_port}/expected"), json!({})).await.json();
        assert_eq!(again["rule_created"], false);
        let history = operator.get(&format!("/api/alerts/{new_port}")).await.json()["history"].clone();
        let kinds: Vec<_> =
            history.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["acknowledged", "allowed", "allowed"]);
        app.assert_audited(&["alert.allow", "alert.allow", "alert.allow"]).await;
    }

    #[tokio::test]
    async fn what_no_rule_can_allow_is_told_and_changes_nothing() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let ssh = lab.alert(Some(office), "ssh_weak_kex", "medium", "10.99.0.9", 22).await;
        let global = lab.alert(None, "new_port", "high", "10.99.0.9", 22).await;
        let operator = app.login(Role::Operator).await;
        operator.post(&format!("/api/alerts/{ssh}/expected"), json!({})).await.assert_status(400);
        operator
            .post(&format!("/api/alerts/{global}/expected"), json!({ "scope": "network" }))
            .await
            .assert_status(400);
        assert_eq!(operator.get("/api/alerts?acknowledged=false").await.json()["total"], 2);
        app.login(Role::Analyst)
            .await
            .post(&format!("/api/alerts/{global}/expected"), json!({}))
            .await
            .assert_status(403);
    }

    #[tokio::test]
    async fn many_alerts_make_one_rule_for_each_port() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let one = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        let twin = lab.alert(None, "new_port", "high", "10.99.0.9", 22).await;
        let other = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 80).await;
        let ssh = lab.alert(Some(office), "ssh_weak_kex", "medium", "10.99.0.9", 22).await;
        let operator = app.login(Role::Operator).await;
        let body = json!({ "alert_ids": [one, twin, other, ssh, 9999], "reason": "legacy" });
        let reply = operator.post("/api/alerts/bulk-whitelist-global", body).await.assert_status(200).json();
        assert_eq!((&reply["whitelisted_count"], &reply["missing_ids"]), (&json!(2), &json!([9999])));
        assert_eq!(reply["acknowledged_ids"], json!([one, twin, other, ssh]));
        assert_eq!(reply["errors"].as_array().unwrap().len(), 1);
        let body = json!({ "alert_ids": [one, twin], "reason": "legacy" });
        let reply = operator.post("/api/alerts/bulk-whitelist-network", body).await.json();
        assert_eq!(reply["whitelisted_count"], 1);
        assert_eq!(
            reply["errors"],
            json!([format!("Alert {twin} has no network_id, cannot create network-specific rule")])
        );

        let path = "/api/alerts/bulk-whitelist-global";
        operator
            .post(path, json!({ "alert_ids": [], "reason": "x" }))
            .await
            .assert_problem(400, "alert_ids cannot be empty");
        operator
            .post(path, json!({ "alert_ids": [one], "reason": " " }))
            .await
            .assert_problem(400, "reason is required for whitelisting");
        operator.post(path, json!({ "alert_ids": [one] })).await.assert_status(422);
        operator.post(path, Value::Null).await.assert_status(422);
    }
}
