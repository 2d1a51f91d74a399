//! Alerts as people read and triage them. Raising them belongs to the rules.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool};
use utoipa::ToSchema;

use super::{Scope, contains_pattern};
use crate::input::AddressRange;

/// Something that someone must look at.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct Alert {
    /// Number of the alert.
    pub id: i64,
    /// What it is about, as `new_port`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `critical`, `high`, `medium` or `info`, as of now: `info` once acknowledged.
    pub severity: String,
    /// The network; null when it is about the whole installation.
    pub network_id: Option<i64>,
    /// Its name.
    pub network_name: Option<String>,
    /// The scan that raised it.
    pub scan_id: Option<i64>,
    /// The agent it is about.
    pub agent_id: Option<i64>,
    /// The endpoint it is about.
    pub global_open_port_id: Option<i64>,
    /// The address it is about.
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    /// The port it is about.
    pub port: Option<i32>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Option<String>,
    /// What happened.
    pub message: String,
    /// Why it was raised: the rule, the values compared.
    #[schema(value_type = Object)]
    pub detail: Value,
    /// How many times it was raised while open.
    pub raised_count: i32,
    /// The last time.
    pub last_raised_at: DateTime<Utc>,
    /// Whether somebody has seen to it.
    pub acknowledged: bool,
    /// When.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Who.
    pub acknowledged_by: Option<i64>,
    /// That user's address.
    pub acknowledged_by_email: Option<String>,
    /// Whose it is.
    pub assigned_to_user_id: Option<i64>,
    /// That user's address.
    pub assigned_to_email: Option<String>,
    /// `open`, `in_progress` or `resolved`.
    pub resolution_status: String,
    /// When it was resolved.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Out of the way until then.
    pub snoozed_until: Option<DateTime<Utc>>,
    /// When it was raised first.
    pub created_at: DateTime<Utc>,
    /// The host behind the address.
    pub host_id: Option<i64>,
    /// Its name.
    pub hostname: Option<String>,
    /// What people say of it.
    pub user_comment: Option<String>,
    /// Comments on the alert.
    pub comment_count: i64,
}

/// Something that happened to an alert.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct AlertHistoryEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// `raised`, `acknowledged`, `assigned` …
    pub kind: String,
    /// Who did it; null for the server.
    pub user_id: Option<i64>,
    /// That user's address.
    pub user_email: Option<String>,
    /// The values before and after.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// A comment on an alert.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct AlertComment {
    /// Number of the comment.
    pub id: i64,
    /// The alert.
    pub alert_id: i64,
    /// The author; null when the account is gone.
    pub user_id: Option<i64>,
    /// The author's address at that time.
    pub user_email: String,
    /// The words.
    pub comment: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it was last edited.
    pub updated_at: DateTime<Utc>,
}

/// Who does something to alerts, and when.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// The user.
    pub user_id: i64,
    /// The user's address.
    pub email: &'a str,
    /// When.
    pub at: DateTime<Utc>,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlertSort {
    /// The newest first.
    #[default]
    Newest,
    /// The most serious first, then the newest.
    Severity,
}

/// Which alerts a list shows.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter<'a> {
    /// Of one type.
    pub kind: Option<&'a str>,
    /// Of one network.
    pub network_id: Option<i64>,
    /// Whether acknowledged.
    pub acknowledged: Option<bool>,
    /// About these addresses.
    pub range: Option<AddressRange>,
    /// Raised from here on.
    pub from: Option<DateTime<Utc>>,
    /// Raised up to here.
    pub to: Option<DateTime<Utc>>,
    /// As serious as this.
    pub severity: Option<&'a str>,
    /// In this state.
    pub resolution_status: Option<&'a str>,
    /// Assigned to this user.
    pub assigned_to: Option<i64>,
    /// Neither acknowledged, resolved nor snoozed now.
    pub needs_attention: bool,
    /// About this port.
    pub port: Option<u16>,
    /// Of one scan.
    pub scan_id: Option<i64>,
    /// Of one host.
    pub host_id: Option<i64>,
    /// Part of address, host name, network or message.
    pub search: Option<&'a str>,
    /// Order.
    pub sort: AlertSort,
    /// How many to skip.
    pub offset: i64,
    /// How many at most.
    pub limit: i64,
}

/// How serious an alert is now, for the alias `a`.
macro_rules! severity_now {
    () => {
        "case when a.acknowledged then 'info'
              when a.port is not null and exists (
                   select from global_port_rules r
                    where r.rule_type = 'block' and (r.address is null or r.address = a.address)
                      and a.port between r.port_first and r.port_last
                      and (r.transport is null or r.transport = a.transport)) then 'critical'
              else a.severity end"
    };
}

/// The condition of [`AlertFilter`], for the aliases `a`, `n` and `h` and parameters $1 to $16.
macro_rules! alert_condition {
    () => {
        concat!(
            "
       ($1::bigint[] is null or a.network_id = any($1))
   and ($2::text is null or a.kind = $2) and ($3::bigint is null or a.network_id = $3)
   and ($4::bool is null or a.acknowledged = $4)
   and ($5::inet is null or a.address between $5 and $6)
   and ($7::timestamptz is null or a.created_at >= $7) and ($8::timestamptz is null or a.created_at <= $8)
   and ($9::text is null or ",
            severity_now!(),
            " = $9)
   and ($10::text is null or a.resolution_status = $10)
   and ($11::bigint is null or a.assigned_to_user_id = $11)
   and ($12::timestamptz is null or (not a.acknowledged and a.resolution_status <> 'resolved'
        and (a.snoozed_until is null or a.snoozed_until <= $12)))
   and ($13::int is null or a.port = $13) and ($14::bigint is null or a.scan_id = $14)
   and ($15::bigint is null or a.host_id = $15
        or a.address in (select address from hosts where id = $15))
   and ($16::text is null or host(a.address) ilike $16 or h.hostname ilike $16 or n.name ilike $16
        or a.message ilike $16)
"
        )
    };
}

/// Writes a query that reads the alerts a subquery chose.
macro_rules! select_alerts {
    ($name:literal, $order:expr, $($chosen:expr),+) => {
        concat!("-- ", $name, "
select a.id, a.kind, ", severity_now!(), " as severity, a.network_id, n.name as network_name, a.scan_id, a.agent_id,
       a.global_port_id as global_open_port_id, a.address as ip, a.port, a.transport as protocol, a.message,
       a.detail, a.raised_count, a.last_raised_at, a.acknowledged, a.acknowledged_at, a.acknowledged_by,
       k.email as acknowledged_by_email, a.assigned_to_user_id, u.email as assigned_to_email,
       a.resolution_status, a.resolved_at, a.snoozed_until, a.created_at, h.id as host_id, h.hostname,
       h.user_comment, (select count(*) from alert_comments where alert_id = a.id) as comment_count
  from (select a.* from alerts a
          left join networks n on n.id = a.network_id
          left join hosts h on h.address = a.address
         where ", $($chosen),+, ") a
  left join networks n on n.id = a.network_id
  left join hosts h on h.address = a.address
  left join users u on u.id = a.assigned_to_user_id
  left join users k on k.id = a.acknowledged_by
 order by ", $order)
    };
}

const NEWEST: &str = select_alerts!(
    "list_alerts",
    "a.created_at desc, a.id desc",
    alert_condition!(),
    " order by a.created_at desc, a.id desc offset $17 limit $18"
);
macro_rules! by_severity {
    () => {
        concat!(
            "array_position(array['critical', 'high', 'medium', 'info'], ",
            severity_now!(),
            "), a.created_at desc, a.id desc"
        )
    };
}
const MOST_SERIOUS: &str = select_alerts!(
    "list_alerts_by_severity",
    by_severity!(),
    alert_condition!(),
    " order by ",
    by_severity!(),
    " offset $17 limit $18"
);

/// Alerts in the order asked for, and how many the filter finds.
pub async fn list(
    db: &PgPool,
    scope: Scope<'_>,
    filter: &AlertFilter<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<(Vec<Alert>, i64)> {
    let search = filter.search.map(contains_pattern);
    let statement = match filter.sort {
        AlertSort::Newest => NEWEST,
        AlertSort::Severity => MOST_SERIOUS,
    };
    let rows = sqlx::query_as(statement)
        .bind(scope)
        .bind(filter.kind)
        .bind(filter.network_id)
        .bind(filter.acknowledged)
        .bind(filter.range.map(|range| range.first))
        .bind(filter.range.map(|range| range.last))
        .bind(filter.from)
        .bind(filter.to)
        .bind(filter.severity)
        .bind(filter.resolution_status)
        .bind(filter.assigned_to)
        .bind(filter.needs_attention.then_some(now))
        .bind(filter.port.map(i32::from))
        .bind(filter.scan_id)
        .bind(filter.host_id)
        .bind(&search)
        .bind(filter.offset)
        .bind(filter.limit)
        .persistent(false)
        .fetch_all(db)
        .await?;
    let total = sqlx::query_scalar(concat!(
        "-- count_alerts
         select count(*) from alerts a
           left join networks n on n.id = a.network_id
           left join hosts h on h.address = a.address
          where ",
        alert_condition!()
    ))
    .bind(scope)
    .bind(filter.kind)
    .bind(filter.network_id)
    .bind(filter.acknowledged)
    .bind(filter.range.map(|range| range.first))
    .bind(filter.range.map(|range| range.last))
    .bind(filter.from)
    .bind(filter.to)
    .bind(filter.severity)
    .bind(filter.resolution_status)
    .bind(filter.assigned_to)
    .bind(filter.needs_attention.then_some(now))
    .bind(filter.port.map(i32::from))
    .bind(filter.scan_id)
    .bind(filter.host_id)
    .bind(&search)
    .persistent(false)
    .fetch_one(db)
    .await?;
    Ok((rows, total))
}

/// One alert, if it is in the scope.
pub async fn find(db: impl PgExecutor<'_>, scope: Scope<'_>, id: i64) -> sqlx::Result<Option<Alert>> {
    sqlx::query_as(select_alerts!(
        "find_alert",
        "a.id",
        "a.id = $2 and ($1::bigint[] is null or a.network_id = any($1))"
    ))
    .bind(scope)
    .bind(id)
    .fetch_optional(db)
    .await
}

/// The given alerts of the scope, by number.
pub async fn find_all(db: impl PgExecutor<'_>, scope: Scope<'_>, ids: &[i64]) -> sqlx::Result<Vec<Alert>> {
    sqlx::query_as(select_alerts!(
        "find_alerts",
        "a.id",
        "a.id = any($2) and ($1::bigint[] is null or a.network_id = any($1))"
    ))
    .bind(scope)
    .bind(ids)
    .fetch_all(db)
    .await
}

/// What happened to an alert, in order, the newest 500.
pub async fn history(db: impl PgExecutor<'_>, alert_id: i64) -> sqlx::Result<Vec<AlertHistoryEntry>> {
    sqlx::query_as(
        "-- alert_history
         select at, kind, user_id, user_email, detail from (
                select * from alert_events where alert_id = $1 order by id desc limit 500) newest
          order by id",
    )
    .bind(alert_id)
    .fetch_all(db)
    .await
}

/// Writes down that something was done to alerts.
async fn record(
    db: &mut PgConnection,
    ids: &[i64],
    by: By<'_>,
    kind: &str,
    detail: &Value,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- record_alert_events
         insert into alert_events (alert_id, at, user_id, user_email, kind, detail)
         select id, $2, $3, $4, $5, $6 from unnest($1::bigint[]) as id",
    )
    .bind(ids)
    .bind(by.at)
    .bind(by.user_id)
    .bind(by.email)
    .bind(kind)
    .bind(detail)
    .execute(db)
    .await?;
    Ok(())
}

/// Acknowledges those of the alerts that are open, and returns their numbers.
pub async fn acknowledge(db: &mut PgConnection, ids: &[i64], by: By<'_>) -> sqlx::Result<Vec<i64>> {
    let changed: Vec<i64> = sqlx::query_scalar(
        "-- acknowledge_alerts
         update alerts set acknowledged = true, acknowledged_at = $2, acknowledged_by = $3, snoozed_until = null
          where id = any($1) and not acknowledged
         returning id",
    )
    .bind(ids)
    .bind(by.at)
    .bind(by.user_id)
    .fetch_all(&mut *db)
    .await?;
    record(db, &changed, by, "acknowledged", &Value::Object(serde_json::Map::default())).await?;
    Ok(changed)
}

/// Opens an acknowledged alert again. Fails on `alerts_one_open` when the same is open under another number.
pub async fn reopen(db: &mut PgConnection, id: i64, by: By<'_>) -> sqlx::Result<()> {
    let changed: Vec<i64> = sqlx::query_scalar(
        "-- reopen_alert
         update alerts set acknowledged = false, acknowledged_at = null, acknowledged_by = null
          where id = $1 and acknowledged
         returning id",
    )
    .bind(id)
    .fetch_all(&mut *db)
    .await?;
    record(db, &changed, by, "reopened", &Value::Object(serde_json::Map::default())).await
}

/// Gives an alert to a user, or takes it from everyone.
pub async fn assign(
    db: &mut PgConnection,
    id: i64,
    user: Option<(i64, &str)>,
    by: By<'_>,
) -> sqlx::Result<()> {
    let changed: Vec<i64> = sqlx::query_scalar(
        "-- assign_alert
         update alerts set assigned_to_user_id = $2
          where id = $1 and assigned_to_user_id is distinct from $2
         returning id",
    )
    .bind(id)
    .bind(user.map(|(user_id, _)| user_id))
    .fetch_all(&mut *db)
    .await?;
    let (kind, detail) = match user {
        Some((user_id, email)) => ("assigned", serde_json::json!({ "user_id": user_id, "email": email })),
        None => ("unassigned", serde_json::json!({})),
    };
    record(db, &changed, by, kind, &detail).await
}

/// Writes how far the work on an alert has come.
pub async fn set_status(db: &mut PgConnection, id: i64, status: &str, by: By<'_>) -> sqlx::Result<()> {
    let before: Option<String> = sqlx::query_scalar(
        "-- set_alert_status
         with before as (select id, resolution_status from alerts where id = $1 for update)
         update alerts a
            set resolution_status = $2, resolved_at = case when $2 = 'resolved' then $3 end
           from before
          where a.id = before.id and a.resolution_status <> $2
         returning before.resolution_status",
    )
    .bind(id)
    .bind(status)
    .bind(by.at)
    .fetch_optional(&mut *db)
    .await?;
    let Some(before) = before else { return Ok(()) };
    let detail = serde_json::json!({ "from": before, "to": status });
    record(db, &[id], by, "status_changed", &detail).await
}

/// Puts an alert out of the way until a time, or brings it back.
pub async fn snooze(
    db: &mut PgConnection,
    id: i64,
    until: Option<DateTime<Utc>>,
    by: By<'_>,
) -> sqlx::Result<()> {
    let changed: Vec<i64> = sqlx::query_scalar(
        "-- snooze_alert
         update alerts set snoozed_until = $2
          where id = $1 and snoozed_until is distinct from $2
         returning id",
    )
    .bind(id)
    .bind(until)
    .fetch_all(&mut *db)
    .await?;
    let kind = if until.is_some() { "snoozed" } else { "unsnoozed" };
    record(db, &changed, by, kind, &serde_json::json!({ "until": until })).await
}

/// Writes down that a rule was made from an alert.
pub async fn record_allowed(
    db: &mut PgConnection,
    ids: &[i64],
    by: By<'_>,
    rule: &Value,
) -> sqlx::Result<()> {
    record(db, ids, by, "allowed", rule).await
}

/// The comments on an alert, oldest first.
pub async fn comments(db: impl PgExecutor<'_>, alert_id: i64) -> sqlx::Result<Vec<AlertComment>> {
    sqlx::query_as(
        "-- alert_comments
         select id, alert_id, user_id, user_email, comment, created_at, updated_at from alert_comments
          where alert_id = $1 order by created_at, id limit 1000",
    )
    .bind(alert_id)
    .fetch_all(db)
    .await
}

/// One comment on an alert.
pub async fn find_comment(
    db: impl PgExecutor<'_>,
    alert_id: i64,
    id: i64,
) -> sqlx::Result<Option<AlertComment>> {
    sqlx::query_as(
        "-- find_alert_comment
         select id, alert_id, user_id, user_email, comment, created_at, updated_at from alert_comments
          where alert_id = $1 and id = $2",
    )
    .bind(alert_id)
    .bind(id)
    .fetch_optional(db)
    .await
}

/// Adds a comment.
pub async fn add_comment(
    db: impl PgExecutor<'_>,
    alert_id: i64,
    comment: &str,
    by: By<'_>,
) -> sqlx::Result<AlertComment> {
    sqlx::query_as(
        "-- add_alert_comment
         insert into alert_comments (alert_id, user_id, user_email, comment, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $5)
         returning id, alert_id, user_id, user_email, comment, created_at, updated_at",
    )
    .bind(alert_id)
    .bind(by.user_id)
    .bind(by.email)
    .bind(comment)
    .bind(by.at)
    .fetch_one(db)
    .await
}

/// Writes a comment anew.
pub async fn edit_comment(
    db: impl PgExecutor<'_>,
    id: i64,
    comment: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<AlertComment> {
    sqlx::query_as(
        "-- edit_alert_comment
         update alert_comments set comment = $2, updated_at = $3 where id = $1
         returning id, alert_id, user_id, user_email, comment, created_at, updated_at",
    )
    .bind(id)
    .bind(comment)
    .bind(at)
    .fetch_one(db)
    .await
}

/// Deletes a comment.
pub async fn delete_comment(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<()> {
    sqlx::query("-- delete_alert_comment\n delete from alert_comments where id = $1")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// Open alerts by severity as of now.
#[derive(Clone, Debug, Default, Serialize, ToSchema, FromRow)]
pub struct OpenAlerts {
    /// Must be looked at first.
    pub critical: i64,
    /// New, or an invitation to attackers.
    pub high: i64,
    /// To be tidied up.
    pub medium: i64,
    /// For the record.
    pub info: i64,
    /// All of them.
    pub total: i64,
    /// Out of the way for now, in none of the other counts.
    pub snoozed: i64,
    /// Assigned to the one who asks.
    pub assigned_to_me: i64,
}

/// Counts what needs attention.
pub async fn count_open(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    user_id: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<OpenAlerts> {
    sqlx::query_as(concat!(
        "-- count_open_alerts
         select count(*) filter (where awake and severity = 'critical') as critical,
                count(*) filter (where awake and severity = 'high') as high,
                count(*) filter (where awake and severity = 'medium') as medium,
                count(*) filter (where awake and severity = 'info') as info,
                count(*) filter (where awake) as total,
                count(*) filter (where not awake) as snoozed,
                count(*) filter (where awake and assigned_to_user_id = $2) as assigned_to_me
           from (select (a.snoozed_until is null or a.snoozed_until <= $3) as awake, a.assigned_to_user_id, ",
        severity_now!(),
        " as severity
                   from alerts a
                  where not a.acknowledged and a.resolution_status <> 'resolved'
                    and ($1::bigint[] is null or a.network_id = any($1))) open"
    ))
    .bind(scope)
    .bind(user_id)
    .bind(now)
    .fetch_one(db)
    .await
}
