//! The figures of the first page.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgExecutor};
use utoipa::ToSchema;

use super::Scope;

/// How much there is.
#[derive(Clone, Debug, Default, Serialize, ToSchema, FromRow)]
pub struct Totals {
    /// Networks.
    pub networks: i64,
    /// Hosts.
    pub hosts: i64,
    /// Hosts that answered the last run that looked for them.
    pub hosts_up: i64,
    /// Ports open now.
    pub open_ports: i64,
}

/// Whether an agent is there.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct AgentState {
    /// Number.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Heard of in the last minutes.
    pub online: bool,
    /// When it was last heard of.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// Its version.
    pub version: Option<String>,
}

/// Whether a network is watched as it should be.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct NetworkState {
    /// Number.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Cron line; null for scans by hand only.
    pub scan_schedule: Option<String>,
    /// When it is due next.
    pub next_run_at: Option<DateTime<Utc>>,
    /// The last completed scan of the whole network.
    pub last_scan_id: Option<i64>,
    /// When that was completed.
    pub last_scan_at: Option<DateTime<Utc>>,
    /// Share of open ports it probably missed, 0-1, where it could be estimated.
    pub miss_estimate: Option<f32>,
    /// Why what is shown of it cannot be trusted: `no_agent`, `agent_offline`, `overdue`, `last_scan_failed`,
    /// `never_scanned`, `misses`. Empty when it can.
    pub reasons: Vec<String>,
}

/// When things are late.
#[derive(Clone, Copy, Debug)]
pub struct Late {
    /// An agent not heard of since then is offline.
    pub agents_before: DateTime<Utc>,
    /// A network due before then and not scanned is overdue.
    pub networks_before: DateTime<Utc>,
    /// A larger estimated share of missed ports is worth telling.
    pub misses_above: f32,
}

/// Counts networks, hosts and open ports.
pub async fn totals(db: impl PgExecutor<'_>, scope: Scope<'_>) -> sqlx::Result<Totals> {
    sqlx::query_as(
        "-- dashboard_totals
         select (select count(*) from networks where $1::bigint[] is null or id = any($1)) as networks,
                hosts.hosts, hosts.hosts_up,
                (select count(*) from ports
                  where closed_at is null and ($1::bigint[] is null or network_id = any($1))) as open_ports
           from (select count(*) as hosts, count(*) filter (where is_up) as hosts_up from hosts h
                  where $1::bigint[] is null or exists (
                        select from host_networks where host_id = h.id and network_id = any($1))) hosts",
    )
    .bind(scope)
    .persistent(false)
    .fetch_one(db)
    .await
}

/// The agents that work for networks of the scope; without a limit, all of them.
pub async fn agents(db: impl PgExecutor<'_>, scope: Scope<'_>, late: Late) -> sqlx::Result<Vec<AgentState>> {
    sqlx::query_as(
        "-- dashboard_agents
         select id, name, coalesce(last_seen_at >= $2, false) as online, last_seen_at, version from agents a
          where revoked_at is null
            and ($1::bigint[] is null or exists (select from networks where agent_id = a.id and id = any($1)))
          order by online, lower(name)",
    )
    .bind(scope)
    .bind(late.agents_before)
    .fetch_all(db)
    .await
}

/// How far each network of the scope can be trusted, by name.
pub async fn networks(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    late: Late,
) -> sqlx::Result<Vec<NetworkState>> {
    sqlx::query_as(
        "-- dashboard_networks
         select n.id, n.name, n.scan_schedule, n.next_run_at, last.id as last_scan_id,
                last.completed_at as last_scan_at, last.miss_estimate,
                array_remove(array[
                    case when n.agent_id is null then 'no_agent' end,
                    case when a.last_seen_at is null and n.agent_id is not null or a.last_seen_at < $2
                         then 'agent_offline' end,
                    case when n.next_run_at < $3 or exists (
                              select from alerts where network_id = n.id and kind = 'scan_missed'
                                 and not acknowledged and resolution_status <> 'resolved') then 'overdue' end,
                    case when ended.status = 'failed' then 'last_scan_failed' end,
                    case when last.id is null then 'never_scanned' end,
                    case when last.miss_estimate > $4 then 'misses' end], null) as reasons
           from networks n
           left join agents a on a.id = n.agent_id
           left join lateral (
                select id, completed_at, miss_estimate from scans
                 where network_id = n.id and status = 'completed' and kind = 'scan' and target_address is null
                 order by completed_at desc limit 1) last on true
           left join lateral (
                select status from scans
                 where network_id = n.id and kind = 'scan' and target_address is null
                   and status in ('completed', 'failed')
                 order by id desc limit 1) ended on true
          where $1::bigint[] is null or n.id = any($1)
          order by lower(n.name)",
    )
    .bind(scope)
    .bind(late.agents_before)
    .bind(late.networks_before)
    .bind(late.misses_above)
    .fetch_all(db)
    .await
}
