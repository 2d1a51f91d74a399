//! `/api/policy`: all rules on one page, the global ones and those of the networks.

use axum::{extract::State, http::StatusCode};
use portreeve_model::Transport;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    ApiRouter, Json, Path, Problem, Query,
    common::Created,
    networks,
    networks::rules::{add_network_rule, check_rule},
    present,
};
use crate::{
    audit::{Actor, Entry},
    auth::{Access, Caller, Permission},
    state::AppState,
    store::rules::{self as store, PolicyRule, RuleFields, RuleType},
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::InventoryRead), routes!(list_policy))
        .route(Access::Needs(Permission::PolicyManage), routes!(create_rule))
        .route(Access::Needs(Permission::PolicyManage), routes!(update_rule, delete_rule))
}

/// Which rules.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PolicyQuery {
    /// The rules that count in one network: its own and the global ones.
    network_id: Option<i64>,
}

/// Rules.
#[derive(Debug, Serialize, ToSchema)]
struct Policy {
    /// Global ones first, then by network and port.
    rules: Vec<PolicyRule>,
    /// How many there are.
    total: usize,
}

/// A rule to be made.
#[derive(Debug, Deserialize, ToSchema)]
struct RuleCreate {
    /// The network; left out, every network.
    #[serde(default)]
    network_id: Option<i64>,
    /// One address; left out, all.
    #[serde(default)]
    ip: Option<String>,
    /// `80`, `80-443`, or `*` for all.
    port: String,
    /// `tcp`, `udp` or `sctp`; left out, all.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    protocol: Option<Transport>,
    /// Whether it allows or blocks; left out, `allow`.
    #[serde(default = "allow")]
    rule_type: RuleType,
    /// Why the rule is there; a global rule without one gets `Manual rule`.
    #[serde(default)]
    description: Option<String>,
}

/// What to change of a rule. What is left out stays; `null` empties what can be empty.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[expect(
    clippy::option_option,
    reason = "a field that is left out and one that is null mean different things"
)]
struct RuleUpdate {
    /// One address; null or empty for all.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    ip: Option<Option<String>>,
    /// `80`, `80-443`, or `*` for all.
    port: Option<String>,
    /// `tcp`, `udp` or `sctp`; null for all.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    protocol: Option<Option<Transport>>,
    /// Whether it allows or blocks.
    rule_type: Option<RuleType>,
    /// Why the rule is there. A global rule must have one.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
}

fn allow() -> RuleType {
    RuleType::Allow
}

/// Which of the two kinds of rules a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Global,
    Network,
}

impl Scope {
    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "global" => Ok(Self::Global),
            "network" => Ok(Self::Network),
            _ => Err(Problem::bad_request("Invalid scope. Use 'global' or 'network'.")),
        }
    }
}

/// Lists rules: global ones first, then those of the networks by name and port.
#[utoipa::path(get, path = "/api/policy", tag = "rules", params(PolicyQuery), responses((status = 200, body = Policy)))]
async fn list_policy(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PolicyQuery>,
) -> Result<Json<Policy>, Problem> {
    let rules = store::policy(&state.pool, caller.visible_networks(), query.network_id).await?;
    Ok(Json(Policy { total: rules.len(), rules }))
}

/// Makes a rule, of a network or of the whole installation.
#[utoipa::path(post, path = "/api/policy", tag = "rules", request_body = RuleCreate,
    responses((status = 201, body = PolicyRule), (status = 404, description = "No such network"),
              (status = 422, description = "Wrong input")))]
async fn create_rule(
    State(state): State<AppState>,
    caller: Caller,
    Json(body): Json<RuleCreate>,
) -> Result<Created<PolicyRule>, Problem> {
    let RuleCreate { network_id, ip, port, protocol, rule_type, description } = body;
    let mut fields = check_rule(ip.as_deref(), &port, protocol, rule_type, description.as_deref())?;
    let mut tx = state.pool.begin().await?;
    let rule_id = match network_id {
        Some(network_id) => {
            networks::find(&state, &caller, network_id).await?;
            add_network_rule(&mut tx, &state, &caller, network_id, &fields).await?.id
        }
        None => {
            check_global(&caller)?;
            fields.description = described(fields.description).or_else(|| Some("Manual rule".to_owned()));
            let rule_id = store::add_global(&mut *tx, &fields, Some(caller.user_id)).await?;
            let entry = Entry::new("global_rule.create").target("global_rule", rule_id).detail(told(&fields));
            entry.record(&mut tx, Actor::caller(&caller), state.clock.now()).await?;
            rule_id
        }
    };
    tx.commit().await?;
    let scope = if network_id.is_some() { Scope::Network } else { Scope::Global };
    Ok(Created(find(&state, &caller, scope, rule_id).await?))
}

/// Changes a rule.
#[utoipa::path(patch, path = "/api/policy/{scope}/{rule_id}", tag = "rules", request_body = RuleUpdate,
    params(("scope" = String, Path, description = "`global` or `network`"),
           ("rule_id" = i64, Path, description = "Number of the rule")),
    responses((status = 200, body = PolicyRule), (status = 400, description = "No such scope"),
              (status = 404, description = "No such rule"), (status = 422, description = "Wrong input")))]
async fn update_rule(
    State(state): State<AppState>,
    caller: Caller,
    Path((scope, rule_id)): Path<(String, i64)>,
    Json(body): Json<RuleUpdate>,
) -> Result<Json<PolicyRule>, Problem> {
    let scope = Scope::parse(&scope)?;
    let rule = writable(&state, &caller, scope, rule_id).await?;
    let fields = changed(&rule, body, scope)?;
    let mut tx = state.pool.begin().await?;
    if !store::update(&mut *tx, rule.network_id, rule_id, &fields).await? {
        return Err(not_found(scope));
    }
    let entry = match rule.network_id {
        Some(network_id) => Entry::new("network_rule.update").target("network", network_id),
        None => Entry::new("global_rule.update").target("global_rule", rule_id),
    };
    entry.detail(told(&fields)).record(&mut tx, Actor::caller(&caller), state.clock.now()).await?;
    tx.commit().await?;
    Ok(Json(find(&state, &caller, scope, rule_id).await?))
}

/// Removes a rule.
#[utoipa::path(delete, path = "/api/policy/{scope}/{rule_id}", tag = "rules",
    params(("scope" = String, Path, description = "`global` or `network`"),
           ("rule_id" = i64, Path, description = "Number of the rule")),
    responses((status = 204, description = "Removed"), (status = 400, description = "No such scope"),
              (status = 404, description = "No such rule")))]
async fn delete_rule(
    State(state): State<AppState>,
    caller: Caller,
    Path((scope, rule_id)): Path<(String, i64)>,
) -> Result<StatusCode, Problem> {
    let scope = Scope::parse(&scope)?;
    let rule = writable(&state, &caller, scope, rule_id).await?;
    let mut tx = state.pool.begin().await?;
    let (removed, entry) = match rule.network_id {
        Some(network_id) => (
            store::remove_from_network(&mut *tx, network_id, rule_id).await?,
            Entry::new("network_rule.delete").target("network", network_id),
        ),
        None => (
            store::remove_global(&mut *tx, rule_id).await?,
            Entry::new("global_rule.delete").target("global_rule", rule_id),
        ),
    };
    if !removed {
        return Err(not_found(scope));
    }
    let entry = entry.detail(json!({ "rule_id": rule_id, "ip": rule.ip, "port": rule.port }));
    entry.record(&mut tx, Actor::caller(&caller), state.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The rule with the changes made, or what is wrong with them.
fn changed(rule: &PolicyRule, body: RuleUpdate, scope: Scope) -> Result<RuleFields, Problem> {
    let ip = body.ip.unwrap_or_else(|| rule.ip.map(|ip| ip.to_string()));
    let port = body.port.as_deref().unwrap_or(&rule.port);
    let kept = rule.protocol.as_deref().and_then(|protocol| protocol.parse().ok());
    let protocol = body.protocol.unwrap_or(kept);
    let given = body.description.is_some();
    let description = body.description.unwrap_or_else(|| rule.description.clone());
    let rule_type = body.rule_type.unwrap_or(rule.rule_type);
    let mut fields = check_rule(ip.as_deref(), port, protocol, rule_type, description.as_deref())?;
    if scope == Scope::Global {
        fields.description = described(fields.description);
        if given && fields.description.is_none() {
            let message = "a global rule needs a description: say why it is there";
            return Err(Problem::invalid_value(&["body", "description"], message, description));
        }
    }
    Ok(fields)
}

fn described(description: Option<String>) -> Option<String> {
    description.filter(|description| !description.trim().is_empty())
}

fn told(fields: &RuleFields) -> serde_json::Value {
    json!({ "ip": fields.address, "port": fields.ports.to_string(), "rule_type": fields.rule_type,
            "description": fields.description })
}

async fn find(state: &AppState, caller: &Caller, scope: Scope, id: i64) -> Result<PolicyRule, Problem> {
    let rule = store::find(&state.pool, caller.visible_networks(), scope == Scope::Global, id).await?;
    rule.ok_or_else(|| not_found(scope))
}

/// The rule, if the caller may change it.
async fn writable(state: &AppState, caller: &Caller, scope: Scope, id: i64) -> Result<PolicyRule, Problem> {
    let rule = find(state, caller, scope, id).await?;
    if scope == Scope::Global {
        check_global(caller)?;
    }
    Ok(rule)
}

/// A rule for everyone is not for someone who sees some networks only.
pub(super) fn check_global(caller: &Caller) -> Result<(), Problem> {
    match caller.visible_networks() {
        None => Ok(()),
        Some(_) => {
            Err(Problem::forbidden("Your account is limited to certain networks; use a rule of the network"))
        }
    }
}

fn not_found(scope: Scope) -> Problem {
    Problem::not_found(match scope {
        Scope::Global => "Global rule not found",
        Scope::Network => "Network rule not found",
    })
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
    async fn rules_of_all_scopes_are_listed_in_order() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (plant, office) =
            (lab.network("Plant", "10.99.1.0/24").await, lab.network("office", "10.99.0.0/24").await);
        let operator = app.login(Role::Operator).await;
        for body in [
            json!({ "network_id": plant, "port": "8000-9000", "description": "web" }),
            json!({ "network_id": office, "port": "443" }),
            json!({ "network_id": office, "port": "80", "rule_type": "block" }),
            json!({ "port": "80", "ip": "10.99.0.10" }),
        ] {
            operator.post("/api/policy", body).await.assert_status(201);
        }
        let listed = operator.get("/api/policy").await.json();
        assert_times_are_utc(&listed);
        let told: Vec<_> = listed["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| (rule["network_name"].as_str().unwrap(), rule["port"].as_str().unwrap()))
            .collect();
        assert_eq!(told, [("Global", "80"), ("office", "80"), ("office", "443"), ("Plant", "8000-9000")]);
        let global = &listed["rules"][0];
        assert_eq!(
            (&global["description"], &global["created_by"]),
            (&json!("Manual rule"), &json!(operator.user_id()))
        );
        assert_eq!(operator.get(&format!("/api/policy?network_id={plant}")).await.json()["total"], 2);
        let limited = app.login_limited(Role::Viewer, &[plant]).await;
        assert_eq!(limited.get("/api/policy").await.json()["total"], 2);
    }

    #[tokio::test]
    async fn rules_are_changed_emptied_and_removed() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let operator = app.login(Role::Operator).await;
        let body = json!({ "port": "80", "ip": "10.99.0.10", "protocol": "tcp", "description": "x" });
        let global = operator.post("/api/policy", body).await.json();
        let path = format!("/api/policy/global/{}", global["id"]);
        let changed = operator
            .patch(&path, json!({ "port": "443", "rule_type": "block" }))
            .await
            .assert_status(200)
            .json();
        assert_eq!(
            (&changed["port"], &changed["ip"], &changed["protocol"]),
            (&json!("443"), &json!("10.99.0.10"), &json!("tcp"))
        );
        let emptied = operator.patch(&path, json!({ "ip": "", "protocol": null })).await.json();
        assert_eq!(
            (&emptied["ip"], &emptied["protocol"], &emptied["rule_type"]),
            (&Value::Null, &Value::Null, &json!("block"))
        );
        operator.patch(&path, json!({ "description": " " })).await.assert_status(422);

        let own = operator.post("/api/policy", json!({ "network_id": office, "port": "22" })).await.json();
        let own = format!("/api/policy/network/{}", own["id"]);
        let described = operator.patch(&own, json!({ "description": "ssh" })).await.json();
        assert_eq!((&described["description"], &described["network_id"]), (&json!("ssh"), &json!(office)));
        operator.delete(&own).await.assert_status(204);
        operator.delete(&own).await.assert_problem(404, "Network rule not found");
        operator.delete(&path).await.assert_status(204);
        operator.patch(&path, json!({ "port": "1" })).await.assert_problem(404, "Global rule not found");
        app.assert_audited(&[
            "global_rule.create",
            "global_rule.update",
            "global_rule.update",
            "network_rule.create",
            "network_rule.update",
            "network_rule.delete",
            "global_rule.delete",
        ])
        .await;
    }

    #[tokio::test]
    async fn wrong_scopes_networks_and_rights_are_told_apart() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (mine, other) =
            (lab.network("Mine", "10.99.0.0/24").await, lab.network("Other", "10.99.1.0/24").await);
        let operator = app.login(Role::Operator).await;
        operator
            .patch("/api/policy/foo/1", json!({ "port": "1" }))
            .await
            .assert_problem(400, "Invalid scope. Use 'global' or 'network'.");
        operator
            .post("/api/policy", json!({ "network_id": 99, "port": "1" }))
            .await
            .assert_problem(404, "Network not found");
        operator.post("/api/policy", json!({ "port": "0" })).await.assert_status(422);
        let global = operator.post("/api/policy", json!({ "port": "1" })).await.json();
        let foreign = operator.post("/api/policy", json!({ "network_id": other, "port": "1" })).await.json();
        let limited = app.login_limited(Role::Admin, &[mine]).await;
        limited.post("/api/policy", json!({ "port": "1" })).await.assert_status(403);
        limited.delete(&format!("/api/policy/global/{}", global["id"])).await.assert_status(403);
        limited.delete(&format!("/api/policy/network/{}", foreign["id"])).await.assert_status(404);
        app.login(Role::Viewer)
            .await
            .delete(&format!("/api/policy/global/{}", global["id"]))
            .await
            .assert_status(403);
    }
}
