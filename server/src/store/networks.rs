//! Networks: what is scanned, by whom, when and how.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgExecutor, PgPool, types::Json};
use utoipa::ToSchema;

use super::Scope;

/// A network with what a list shows beside it.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct Network {
    /// Number of the network.
    pub id: i64,
    /// Name, unique without regard to case.
    pub name: String,
    /// Block or address, as typed.
    pub cidr: String,
    /// Whether the block is IPv6.
    pub is_ipv6: bool,
    /// Ports, as `22,80,8000-8100,U:53,!25`.
    pub port_spec: String,
    /// Addresses, blocks and ranges that are never sent to.
    pub exclude: Vec<String>,
    /// The agent that scans it; null when its agent was deleted.
    pub scanner_id: Option<i64>,
    /// That agent's name.
    pub scanner_name: Option<String>,
    /// Cron line; null for scans by hand only.
    pub scan_schedule: Option<String>,
    /// The zone the schedule is meant in.
    pub time_zone: String,
    /// When the schedule fires next.
    pub next_run_at: Option<DateTime<Utc>>,
    /// Packets per second; null leaves it to the agent.
    pub scan_rate: Option<i32>,
    /// Seconds after which a scan is given up; null for 3600.
    pub scan_timeout: Option<i32>,
    /// Milliseconds to wait for an answer; null for 1500.
    pub port_timeout: Option<i32>,
    /// Times an unanswered probe is sent again.
    pub retries: i16,
    /// `masscan` or `nmap`; kept for OPM's agents.
    pub scanner_type: String,
    /// `tcp`, `udp` or `both`.
    pub scan_protocol: String,
    /// Whether services are identified.
    pub identify: bool,
    /// Whether SSH servers are audited.
    pub ssh_audit: bool,
    /// Whether TLS servers are asked for all versions they take and their JARM fingerprint.
    pub tls_audit: bool,
    /// Whether host discovery may be run.
    pub host_discovery_enabled: bool,
    /// Jobs a scan is cut into.
    pub shards: i16,
    /// Which alert types are on; null for the defaults.
    #[schema(value_type = Option<Object>)]
    pub alert_config: Option<Value>,
    /// Zone of trust, as `dmz`.
    pub zone: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last edited.
    pub updated_at: DateTime<Utc>,
    /// Alerts that are neither acknowledged nor resolved.
    pub open_alert_count: i64,
    /// The newest scan that is planned or running.
    pub active_scan_id: Option<i64>,
    /// The last completed scan of the whole network.
    pub last_scan_id: Option<i64>,
    /// When that scan was completed.
    pub last_scan_at: Option<DateTime<Utc>>,
    /// Ports it found open.
    pub last_scan_open_ports: Option<i32>,
}

/// The fields a user sets; see [`Network`] for their meaning.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is the one of the same name in Network")]
pub struct NetworkFields {
    pub name: String,
    pub cidr: String,
    pub port_spec: String,
    pub exclude: Vec<String>,
    pub scanner_id: Option<i64>,
    pub scan_schedule: Option<String>,
    pub time_zone: String,
    pub next_run_at: Option<DateTime<Utc>>,
    pub scan_rate: Option<i32>,
    pub scan_timeout: Option<i32>,
    pub port_timeout: Option<i32>,
    pub retries: i16,
    pub scanner_type: String,
    pub scan_protocol: String,
    pub identify: bool,
    pub ssh_audit: bool,
    pub tls_audit: bool,
    pub host_discovery_enabled: bool,
    pub shards: i16,
    pub alert_config: Option<Value>,
    pub zone: Option<String>,
}

/// Writes a query that reads networks, with the given end.
macro_rules! select_networks {
    ($name:literal, $end:literal) => {
        concat!(
            "-- ",
            $name,
            "
select n.id, n.name, n.cidr, family(n.block) = 6 as is_ipv6, n.port_spec, n.exclude,
       n.agent_id as scanner_id, a.name as scanner_name, n.scan_schedule, n.time_zone, n.next_run_at,
       n.scan_rate, n.scan_timeout, n.port_timeout, n.retries, n.scanner_type, n.scan_protocol,
       n.identify, n.ssh_audit, n.tls_audit, n.host_discovery_enabled, n.shards, n.alert_config, n.zone,
       n.created_at, n.updated_at,
       (select count(*) from alerts
         where network_id = n.id and not acknowledged and resolution_status <> 'resolved') as open_alert_count,
       (select max(id) from scans
         where network_id = n.id and kind = 'scan' and status in ('planned', 'running')) as active_scan_id,
       last.id as last_scan_id, last.completed_at as last_scan_at, last.open_ports as last_scan_open_ports
  from networks n
  left join agents a on a.id = n.agent_id
  left join lateral (
       select id, completed_at, open_ports from scans
        where network_id = n.id and status = 'completed' and kind = 'scan' and target_address is null
        order by completed_at desc limit 1) last on true
",
            $end
        )
    };
}

/// All networks of the scope, newest first, and how many there are.
pub async fn list(
    db: &PgPool,
    scope: Scope<'_>,
    offset: i64,
    limit: i64,
) -> sqlx::Result<(Vec<Network>, i64)> {
    let rows = sqlx::query_as(select_networks!(
        "list_networks",
        "where ($1::bigint[] is null or n.id = any($1)) order by n.id desc offset $2 limit $3"
    ))
    .bind(scope)
    .bind(offset)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let total = sqlx::query_scalar(
        "-- count_networks
         select count(*) from networks where $1::bigint[] is null or id = any($1)",
    )
    .bind(scope)
    .fetch_one(db)
    .await?;
    Ok((rows, total))
}

/// One network, if it is in the scope.
pub async fn find(db: impl PgExecutor<'_>, scope: Scope<'_>, id: i64) -> sqlx::Result<Option<Network>> {
    sqlx::query_as(select_networks!(
        "find_network",
        "where n.id = $2 and ($1::bigint[] is null or n.id = any($1))"
    ))
    .bind(scope)
    .bind(id)
    .fetch_optional(db)
    .await
}

/// Makes a network and returns its number.
pub async fn create(db: impl PgExecutor<'_>, fields: &NetworkFields) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- create_network
         insert into networks
               (name, cidr, port_spec, exclude, agent_id, scan_schedule, time_zone, next_run_at, scan_rate,
                scan_timeout, port_timeout, retries, scanner_type, scan_protocol, identify, ssh_audit,
                host_discovery_enabled, shards, alert_config, zone, tls_audit)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
         returning id",
    )
    .bind(&fields.name)
    .bind(&fields.cidr)
    .bind(&fields.port_spec)
    .bind(&fields.exclude)
    .bind(fields.scanner_id)
    .bind(&fields.scan_schedule)
    .bind(&fields.time_zone)
    .bind(fields.next_run_at)
    .bind(fields.scan_rate)
    .bind(fields.scan_timeout)
    .bind(fields.port_timeout)
    .bind(fields.retries)
    .bind(&fields.scanner_type)
    .bind(&fields.scan_protocol)
    .bind(fields.identify)
    .bind(fields.ssh_audit)
    .bind(fields.host_discovery_enabled)
    .bind(fields.shards)
    .bind(fields.alert_config.as_ref().map(Json))
    .bind(&fields.zone)
    .bind(fields.tls_audit)
    .fetch_one(db)
    .await
}

/// Writes all fields of a network; false when there is none of that number.
pub async fn update(
    db: impl PgExecutor<'_>,
    id: i64,
    fields: &NetworkFields,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "-- update_network
         update networks
            set name = $2, cidr = $3, port_spec = $4, exclude = $5, agent_id = $6, scan_schedule = $7,
                time_zone = $8, next_run_at = $9, scan_rate = $10, scan_timeout = $11, port_timeout = $12,
                retries = $13, scanner_type = $14, scan_protocol = $15, identify = $16, ssh_audit = $17,
                host_discovery_enabled = $18, shards = $19, alert_config = $20, zone = $21, updated_at = $22,
                tls_audit = $23
          where id = $1",
    )
    .bind(id)
    .bind(&fields.name)
    .bind(&fields.cidr)
    .bind(&fields.port_spec)
    .bind(&fields.exclude)
    .bind(fields.scanner_id)
    .bind(&fields.scan_schedule)
    .bind(&fields.time_zone)
    .bind(fields.next_run_at)
    .bind(fields.scan_rate)
    .bind(fields.scan_timeout)
    .bind(fields.port_timeout)
    .bind(fields.retries)
    .bind(&fields.scanner_type)
    .bind(&fields.scan_protocol)
    .bind(fields.identify)
    .bind(fields.ssh_audit)
    .bind(fields.host_discovery_enabled)
    .bind(fields.shards)
    .bind(fields.alert_config.as_ref().map(Json))
    .bind(&fields.zone)
    .bind(now)
    .bind(fields.tls_audit)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes a network with its rules, scans, ports and alerts; false when there is none of that number.
pub async fn delete(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<bool> {
    let done =
        sqlx::query("-- delete_network\n delete from networks where id = $1").bind(id).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// Whether an agent that may be given work has this number.
pub async fn agent_exists(db: impl PgExecutor<'_>, agent_id: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "-- agent_exists
         select exists (select from agents where id = $1 and revoked_at is null)",
    )
    .bind(agent_id)
    .fetch_one(db)
    .await
}

/// The networks of the scope that hold an address, the most exact first.
pub async fn holding(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    address: std::net::IpAddr,
) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(
        "-- networks_holding_address
         select id from networks
          where block >>= $2::inet and ($1::bigint[] is null or id = any($1))
          order by masklen(block) desc, id",
    )
    .bind(scope)
    .bind(address)
    .fetch_all(db)
    .await
}
