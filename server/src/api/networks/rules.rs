//! `/api/networks/{network_id}/rules`: what is allowed and forbidden in one network.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::routes;

use portreeve_model::Transport;

use super::find;
use crate::{
    api::{
        ApiRouter, Json, Path, Problem,
        common::{Created, at_most_items, optional_body_text},
    },
    audit::{Actor, Entry},
    auth::{Access, Caller, Permission},
    input::{parse_rule_address, parse_rule_ports},
    state::AppState,
    store::rules::{self as store, PortRule, RuleFields, RuleType},
};

/// Rules that one call may bring.
const MOST_RULES: usize = 10_000;

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::InventoryRead), routes!(list_network_rules))
        .route(Access::Needs(Permission::PolicyManage), routes!(create_network_rule))
        .route(Access::Needs(Permission::PolicyManage), routes!(replace_network_rules))
        .route(Access::Needs(Permission::PolicyManage), routes!(delete_network_rule))
}

/// A rule to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct PortRuleCreate {
    /// One address; left out, all.
    #[serde(default)]
    ip: Option<String>,
    /// `80`, `80-443`, or `*` for all.
    port: String,
    /// `tcp`, `udp` or `sctp`; left out, all.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    protocol: Option<Transport>,
    /// Whether it allows or blocks.
    rule_type: RuleType,
    /// Why the rule is there.
    #[serde(default)]
    description: Option<String>,
}

/// All rules of a network.
#[derive(Debug, Deserialize, ToSchema)]
struct PortRuleReplace {
    /// They take the place of those that were there.
    rules: Vec<PortRuleCreate>,
}

/// Rules of a network.
#[derive(Debug, Serialize, ToSchema)]
struct PortRuleList {
    /// Oldest first.
    rules: Vec<PortRule>,
    /// How many there are.
    total: usize,
}

impl PortRuleList {
    fn new(rules: Vec<PortRule>) -> Json<Self> {
        Json(Self { total: rules.len(), rules })
    }
}

impl PortRuleCreate {
    fn check(&self) -> Result<RuleFields, Problem> {
        check_rule(self.ip.as_deref(), &self.port, self.protocol, self.rule_type, self.description.as_deref())
    }
}

/// The fields to store, or what is wrong with them.
pub(in crate::api) fn check_rule(
    ip: Option<&str>,
    port: &str,
    transport: Option<Transport>,
    rule_type: RuleType,
    description: Option<&str>,
) -> Result<RuleFields, Problem> {
    let address =
        parse_rule_address(ip).map_err(|error| Problem::invalid_value(&["body", "ip"], error, ip))?;
    let ports =
        parse_rule_ports(port).map_err(|error| Problem::invalid_value(&["body", "port"], error, port))?;
    optional_body_text("description", description, 10_000)?;
    Ok(RuleFields { address, ports, transport, rule_type, description: description.map(str::to_owned) })
}

/// Lists the rules of a network, oldest first.
#[utoipa::path(get, path = "/api/networks/{network_id}/rules", tag = "rules",
    params(("network_id" = i64, Path, description = "Number of the network")),
    responses((status = 200, body = PortRuleList), (status = 404, description = "No such network")))]
async fn list_network_rules(
    State(state): State<AppState>,
    caller: Caller,
    Path(network_id): Path<i64>,
) -> Result<Json<PortRuleList>, Problem> {
    find(&state, &caller, network_id).await?;
    Ok(PortRuleList::new(store::of_network(&state.pool, network_id).await?))
}

/// Adds a rule to a network.
#[utoipa::path(post, path = "/api/networks/{network_id}/rules", tag = "rules", request_body = PortRuleCreate,
    params(("network_id" = i64, Path, description = "Number of the network")),
    responses((status = 201, body = PortRule), (status = 404, description = "No such network"),
              (status = 422, description = "Wrong input")))]
async fn create_network_rule(
    State(state): State<AppState>,
    caller: Caller,
    Path(network_id): Path<i64>,
    Json(body): Json<PortRuleCreate>,
) -> Result<Created<PortRule>, Problem> {
    let fields = body.check()?;
    find(&state, &caller, network_id).await?;
    let mut tx = state.pool.begin().await?;
    let rule = add_network_rule(&mut tx, &state, &caller, network_id, &fields).await?;
    tx.commit().await?;
    Ok(Created(rule))
}

/// Adds a rule to a network and writes down who did it.
pub(in crate::api) async fn add_network_rule(
    db: &mut PgConnection,
    state: &AppState,
    caller: &Caller,
    network_id: i64,
    fields: &RuleFields,
) -> Result<PortRule, Problem> {
    let rule = store::add_to_network(&mut *db, network_id, fields, Some(caller.user_id)).await?;
    let entry = Entry::new("network_rule.create").target("network", network_id).detail(json!(rule));
    entry.record(db, Actor::caller(caller), state.clock.now()).await?;
    Ok(rule)
}

/// Puts a list of rules in the place of all rules of a network.
#[utoipa::path(put, path = "/api/networks/{network_id}/rules", tag = "rules", request_body = PortRuleReplace,
    params(("network_id" = i64, Path, description = "Number of the network")),
    responses((status = 200, body = PortRuleList), (status = 404, description = "No such network"),
              (status = 422, description = "Wrong input")))]
async fn replace_network_rules(
    State(state): State<AppState>,
    caller: Caller,
    Path(network_id): Path<i64>,
    Json(body): Json<PortRuleReplace>,
) -> Result<Json<PortRuleList>, Problem> {
    at_most_items("rules", body.rules.len(), MOST_RULES)?;
    let checked = body.rules.iter().map(PortRuleCreate::check).collect::<Result<Vec<_>, _>>()?;
    find(&state, &caller, network_id).await?;
    let mut tx = state.pool.begin().await?;
    store::clear_network(&mut *tx, network_id).await?;
    let mut rules = Vec::with_capacity(checked.len());
    for fields in &checked {
        rules.push(store::add_to_network(&mut *tx, network_id, fields, Some(caller.user_id)).await?);
    }
    let entry = Entry::new("network_rule.replace").target("network", network_id);
    let entry = entry.detail(json!({ "rules": rules.len() }));
    entry.record(&mut tx, Actor::caller(&caller), state.clock.now()).await?;
    tx.commit().await?;
    Ok(PortRuleList::new(rules))
}

/// Removes a rule of a network.
#[utoipa::path(delete, path = "/api/networks/{network_id}/rules/{rule_id}", tag = "rules",
    params(("network_id" = i64, Path, description = "Number of the network"),
           ("rule_id" = i64, Path, description = "Number of the rule")),
    responses((status = 204, description = "Removed"), (status = 404, description = "No such network or rule")))]
async fn delete_network_rule(
    State(state): State<AppState>,
    caller: Caller,
    Path((network_id, rule_id)): Path<(i64, i64)>,
) -> Result<StatusCode, Problem> {
    find(&state, &caller, network_id).await?;
    let mut tx = state.pool.begin().await?;
    if !store::remove_from_network(&mut *tx, network_id, rule_id).await? {
        return Err(Problem::not_found("Port rule not found"));
    }
    let entry = Entry::new("network_rule.delete").target("network", network_id);
    let entry = entry.detail(json!({ "rule_id": rule_id }));
    entry.record(&mut tx, Actor::caller(&caller), state.clock.now()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn rules_are_added_replaced_and_removed() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let network = lab.network("Office", "10.99.0.0/24").await;
        let path = format!("/api/networks/{network}/rules");
        let operator = app.login(Role::Operator).await;
        let rule = operator
            .post(&path, json!({ "port": "23", "rule_type": "block", "description": "telnet" }))
            .await;
        rule.assert_status(201);
        assert_eq!(
            rule.json(),
            json!({ "id": rule.json()["id"], "network_id": network, "ip": null, "port": "23", "protocol": null,
                    "rule_type": "block", "description": "telnet" })
        );
        let rules = json!({ "rules": [
            { "port": "22", "rule_type": "allow", "ip": "10.99.0.10", "protocol": "tcp" },
            { "port": "ALL", "rule_type": "block" }] });
        let replaced = operator.put(&path, rules).await.assert_status(200).json();
        assert_eq!(
            (&replaced["rules"][0]["ip"], &replaced["rules"][1]["port"]),
            (&json!("10.99.0.10"), &json!("*"))
        );
        assert_eq!(operator.get(&path).await.json(), replaced);

        let one = format!("{path}/{}", replaced["rules"][0]["id"]);
        operator.delete(&one).await.assert_status(204);
        operator.delete(&one).await.assert_problem(404, "Port rule not found");
        app.assert_audited(&["network_rule.create", "network_rule.replace", "network_rule.delete"]).await;
    }

    #[tokio::test]
    async fn wrong_rules_change_nothing() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let network = lab.network("Office", "10.99.0.0/24").await;
        let path = format!("/api/networks/{network}/rules");
        let operator = app.login(Role::Operator).await;
        operator.post(&path, json!({ "port": "22", "rule_type": "allow" })).await.assert_status(201);
        for (body, msg) in [
            (
                json!({ "port": "443-80", "rule_type": "allow" }),
                "Value error, Invalid port range (start > end): 443-80",
            ),
            (
                json!({ "port": "80", "rule_type": "allow", "ip": "1.2.3" }),
                "Value error, Invalid IP address: 1.2.3",
            ),
            (json!({ "port": 80, "rule_type": "allow" }), "Input should be a valid string"),
        ] {
            let reply = operator.post(&path, body.clone()).await;
            assert_eq!(reply.assert_status(422).json()["detail"][0]["msg"], msg);
            operator.put(&path, json!({ "rules": [body] })).await.assert_status(422);
        }
        assert_eq!(operator.get(&path).await.json()["total"], 1);
        app.login(Role::Analyst)
            .await
            .post(&path, json!({ "port": "1", "rule_type": "allow" }))
            .await
            .assert_status(403);
        operator.get("/api/networks/99/rules").await.assert_problem(404, "Network not found");
    }
}
