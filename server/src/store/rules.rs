//! Port rules, of one network and of the whole installation.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use portreeve_model::Transport;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgExecutor};
use utoipa::ToSchema;

use super::Scope;
use crate::input::RulePorts;

/// Whether a rule allows or blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum RuleType {
    /// Expected to be open.
    Allow,
    /// Must not be open.
    Block,
}

/// A rule of one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, FromRow)]
pub struct PortRule {
    /// Number of the rule.
    pub id: i64,
    /// The network it belongs to.
    pub network_id: i64,
    /// One address; null for all.
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    /// `80`, `80-443` or `*`.
    pub port: String,
    /// `tcp`, `udp` or `sctp`; null for all.
    pub protocol: Option<String>,
    /// Whether it allows or blocks.
    pub rule_type: RuleType,
    /// Why the rule is there.
    pub description: Option<String>,
}

/// A rule of a network or of the whole installation, as the policy page lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, FromRow)]
pub struct PolicyRule {
    /// Number of the rule, unique within its scope only.
    pub id: i64,
    /// The network it belongs to; null for a global rule.
    pub network_id: Option<i64>,
    /// The network's name, or `Global`.
    pub network_name: String,
    /// One address; null for all.
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    /// `80`, `80-443` or `*`.
    pub port: String,
    /// `tcp`, `udp` or `sctp`; null for all.
    pub protocol: Option<String>,
    /// Whether it allows or blocks.
    pub rule_type: RuleType,
    /// Why the rule is there.
    pub description: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who made it; null when the account is gone.
    pub created_by: Option<i64>,
}

/// What a user says in a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleFields {
    /// One address; `None` for all.
    pub address: Option<IpAddr>,
    /// Which ports.
    pub ports: RulePorts,
    /// Of which transport; `None` for all.
    pub transport: Option<Transport>,
    /// Whether it allows or blocks.
    pub rule_type: RuleType,
    /// Why the rule is there.
    pub description: Option<String>,
}

/// The rules of one network, oldest first.
pub async fn of_network(db: impl PgExecutor<'_>, network_id: i64) -> sqlx::Result<Vec<PortRule>> {
    sqlx::query_as(
        "-- rules_of_network
         select id, network_id, address as ip, port, transport as protocol, rule_type, description
           from port_rules where network_id = $1 order by id",
    )
    .bind(network_id)
    .fetch_all(db)
    .await
}

/// Adds a rule to a network.
pub async fn add_to_network(
    db: impl PgExecutor<'_>,
    network_id: i64,
    rule: &RuleFields,
    user_id: Option<i64>,
) -> sqlx::Result<PortRule> {
    sqlx::query_as(
        "-- add_network_rule
         insert into port_rules
               (network_id, address, port, port_first, port_last, transport, rule_type, description, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         returning id, network_id, address as ip, port, transport as protocol, rule_type, description",
    )
    .bind(network_id)
    .bind(rule.address)
    .bind(rule.ports.to_string())
    .bind(i32::from(rule.ports.low))
    .bind(i32::from(rule.ports.high))
    .bind(rule.transport.map(Transport::as_str))
    .bind(rule.rule_type)
    .bind(&rule.description)
    .bind(user_id)
    .fetch_one(db)
    .await
}

/// Removes all rules of a network.
pub async fn clear_network(db: impl PgExecutor<'_>, network_id: i64) -> sqlx::Result<()> {
    sqlx::query("-- clear_network_rules\n delete from port_rules where network_id = $1")
        .bind(network_id)
        .execute(db)
        .await?;
    Ok(())
}

/// Removes a rule of a network; false when the network has none of that number.
pub async fn remove_from_network(
    db: impl PgExecutor<'_>,
    network_id: i64,
    rule_id: i64,
) -> sqlx::Result<bool> {
    let done =
        sqlx::query("-- remove_network_rule\n delete from port_rules where id = $1 and network_id = $2")
            .bind(rule_id)
            .bind(network_id)
            .execute(db)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Adds a global rule, which must have a description, and returns its number.
pub async fn add_global(
    db: impl PgExecutor<'_>,
    rule: &RuleFields,
    user_id: Option<i64>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- add_global_rule
         insert into global_port_rules
               (address, port, port_first, port_last, transport, rule_type, description, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         returning id",
    )
    .bind(rule.address)
    .bind(rule.ports.to_string())
    .bind(i32::from(rule.ports.low))
    .bind(i32::from(rule.ports.high))
    .bind(rule.transport.map(Transport::as_str))
    .bind(rule.rule_type)
    .bind(&rule.description)
    .bind(user_id)
    .fetch_one(db)
    .await
}

/// Writes a rule anew; false when there is none of that number. `network_id`: `None` for a global rule.
pub async fn update(
    db: impl PgExecutor<'_>,
    network_id: Option<i64>,
    rule_id: i64,
    rule: &RuleFields,
) -> sqlx::Result<bool> {
    let statement = match network_id {
        Some(_) => {
            "-- update_network_rule
             update port_rules
                set address = $3, port = $4, port_first = $5, port_last = $6, transport = $7, rule_type = $8,
                    description = $9
              where id = $1 and network_id = $2"
        }
        None => {
            "-- update_global_rule
             update global_port_rules
                set address = $3, port = $4, port_first = $5, port_last = $6, transport = $7, rule_type = $8,
                    description = $9
              where id = $1 and $2::bigint is null"
        }
    };
    let done = sqlx::query(statement)
        .bind(rule_id)
        .bind(network_id)
        .bind(rule.address)
        .bind(rule.ports.to_string())
        .bind(i32::from(rule.ports.low))
        .bind(i32::from(rule.ports.high))
        .bind(rule.transport.map(Transport::as_str))
        .bind(rule.rule_type)
        .bind(&rule.description)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes a global rule; false when there is none of that number.
pub async fn remove_global(db: impl PgExecutor<'_>, rule_id: i64) -> sqlx::Result<bool> {
    let done = sqlx::query("-- remove_global_rule\n delete from global_port_rules where id = $1")
        .bind(rule_id)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether the very same rule, whatever its description, is there already.
pub async fn same_exists(
    db: impl PgExecutor<'_>,
    network_id: Option<i64>,
    rule: &RuleFields,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "-- same_rule
         select id from port_rules
          where network_id = $1 and address is not distinct from $2::inet and port_first = $3 and port_last = $4
            and transport is not distinct from $5 and rule_type = $6
         union all
         select id from global_port_rules
          where $1 is null and address is not distinct from $2::inet and port_first = $3 and port_last = $4
            and transport is not distinct from $5 and rule_type = $6
         limit 1",
    )
    .bind(network_id)
    .bind(rule.address)
    .bind(i32::from(rule.ports.low))
    .bind(i32::from(rule.ports.high))
    .bind(rule.transport.map(Transport::as_str))
    .bind(rule.rule_type)
    .fetch_optional(db)
    .await
}

/// Writes a query over both kinds of rules, with the given condition and end.
macro_rules! select_policy {
    ($name:literal, $end:literal) => {
        concat!(
            "-- ",
            $name,
            "
select * from (
    select id, null::bigint as network_id, 'Global' as network_name, address as ip, port,
           transport as protocol, rule_type, description, created_at, created_by, port_first
      from global_port_rules
    union all
    select r.id, r.network_id, n.name, r.address, r.port, r.transport, r.rule_type, r.description,
           r.created_at, r.created_by, r.port_first
      from port_rules r join networks n on n.id = r.network_id
     where $1::bigint[] is null or r.network_id = any($1)) rule
",
            $end
        )
    };
}

/// Global rules first, then those of networks by name and port; `network_id` leaves other networks' out.
pub async fn policy(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    network_id: Option<i64>,
) -> sqlx::Result<Vec<PolicyRule>> {
    sqlx::query_as(select_policy!(
        "list_policy",
        "where $2::bigint is null or network_id is null or network_id = $2
         order by network_id is not null, lower(network_name), network_id, port_first, id"
    ))
    .bind(scope)
    .bind(network_id)
    .fetch_all(db)
    .await
}

/// One rule, by scope and number.
pub async fn find(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    global: bool,
    rule_id: i64,
) -> sqlx::Result<Option<PolicyRule>> {
    sqlx::query_as(select_policy!("find_rule", "where id = $2 and (network_id is null) = $3"))
        .bind(scope)
        .bind(rule_id)
        .bind(global)
        .fetch_optional(db)
        .await
}
