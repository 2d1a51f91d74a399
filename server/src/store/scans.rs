//! Scans as people read them. Their life-cycle is written elsewhere, with the jobs.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgExecutor, PgPool};
use utoipa::ToSchema;

use super::Scope;

/// A run of a network's scan.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct Scan {
    /// Number of the scan.
    pub id: i64,
    /// The network scanned.
    pub network_id: i64,
    /// Its name.
    pub network_name: String,
    /// The agent that works on it; null when it was deleted or any agent may.
    pub scanner_id: Option<i64>,
    /// Its name.
    pub scanner_name: Option<String>,
    /// `scan`, or `discovery` for a search for hosts only.
    pub kind: String,
    /// `planned`, `running`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// `manual` or `scheduled`.
    pub trigger_type: String,
    /// Who asked for it.
    pub triggered_by: Option<i64>,
    /// One host instead of the whole network.
    #[schema(value_type = Option<String>)]
    pub target_ip: Option<IpAddr>,
    /// Left out of lists unless asked for.
    pub hidden: bool,
    /// When it was asked for.
    pub queued_at: DateTime<Utc>,
    /// When an agent took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended, unless cancelled.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it was cancelled.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// Who cancelled it.
    pub cancelled_by: Option<i64>,
    /// That user's address.
    pub cancelled_by_email: Option<String>,
    /// Why it failed.
    pub error_message: Option<String>,
    /// 0-100.
    pub progress_percent: Option<f32>,
    /// What it is doing.
    pub progress_message: Option<String>,
    /// Probes sent so far, repeats included.
    pub probes_sent: i64,
    /// Probes to send in all; 0 while unknown.
    pub probes_total: i64,
    /// Packets per second right now.
    pub rate_pps: i32,
    /// Open ports found.
    pub port_count: i32,
    /// Hosts found.
    pub hosts_discovered: i32,
    /// Share of open ports that were probably missed, 0-1, where it could be estimated.
    pub miss_estimate: Option<f32>,
}

/// What only one scan's own page shows.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct ScanSettings {
    /// The settings it ran with.
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// What it amounted to: probes, drops by cause, duration, suspicious hosts.
    #[schema(value_type = Option<Object>)]
    pub summary: Option<Value>,
}

/// A port that one run found open.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema, FromRow)]
pub struct ScanPort {
    /// The host's address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// Port number.
    #[sqlx(try_from = "i32")]
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Time to live of the answer.
    pub ttl: Option<i16>,
    /// First words of the service.
    pub banner: Option<String>,
    /// Name of the service.
    pub service_guess: Option<String>,
    /// Product, as `OpenSSH`.
    pub product: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Hardware address.
    pub mac_address: Option<String>,
    /// Maker of the interface.
    pub mac_vendor: Option<String>,
    /// When the network first saw it open.
    pub first_seen_at: DateTime<Utc>,
    /// When this run saw it.
    pub last_seen_at: DateTime<Utc>,
}

/// A line of a scan's log.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct ScanLog {
    /// Number of the line, for `after_id`.
    pub id: i64,
    /// When.
    pub timestamp: DateTime<Utc>,
    /// `info`, `warning` or `error`.
    pub level: String,
    /// What happened.
    pub message: String,
}

/// Which scans a list shows.
#[derive(Clone, Debug, Default)]
pub struct ScanFilter<'a> {
    /// Of one network.
    pub network_id: Option<i64>,
    /// Of one kind.
    pub kind: Option<&'a str>,
    /// In one state.
    pub status: Option<&'a str>,
    /// With the hidden ones.
    pub include_hidden: bool,
    /// How many to skip.
    pub offset: i64,
    /// How many at most.
    pub limit: i64,
}

/// Writes a query that reads scans, with the given end.
macro_rules! select_scans {
    ($name:literal, $end:literal) => {
        concat!(
            "-- ",
            $name,
            "
select s.id, s.network_id, n.name as network_name, s.agent_id as scanner_id, a.name as scanner_name,
       s.kind, s.status, s.trigger_type, s.triggered_by, s.target_address as target_ip, s.hidden, s.queued_at,
       s.started_at, s.completed_at, s.cancelled_at, s.cancelled_by, u.email as cancelled_by_email,
       s.error_message, s.progress_percent, s.progress_message, s.probes_sent, s.probes_total, s.rate_pps,
       s.open_ports as port_count, s.hosts_discovered, s.miss_estimate
  from scans s
  join networks n on n.id = s.network_id
  left join agents a on a.id = s.agent_id
  left join users u on u.id = s.cancelled_by
",
            $end
        )
    };
}

/// Scans, newest first, and how many the filter finds.
pub async fn list(db: &PgPool, scope: Scope<'_>, filter: &ScanFilter<'_>) -> sqlx::Result<(Vec<Scan>, i64)> {
    let rows = sqlx::query_as(select_scans!(
        "list_scans",
        "where ($1::bigint[] is null or s.network_id = any($1)) and ($2::bigint is null or s.network_id = $2)
           and ($3::text is null or s.kind = $3) and ($4::text is null or s.status = $4) and ($5 or not s.hidden)
         order by s.id desc offset $6 limit $7"
    ))
    .bind(scope)
    .bind(filter.network_id)
    .bind(filter.kind)
    .bind(filter.status)
    .bind(filter.include_hidden)
    .bind(filter.offset)
    .bind(filter.limit)
    .persistent(false)
    .fetch_all(db)
    .await?;
    let total = sqlx::query_scalar(
        "-- count_scans
         select count(*) from scans s
          where ($1::bigint[] is null or s.network_id = any($1)) and ($2::bigint is null or s.network_id = $2)
            and ($3::text is null or s.kind = $3) and ($4::text is null or s.status = $4) and ($5 or not s.hidden)",
    )
    .bind(scope)
    .bind(filter.network_id)
    .bind(filter.kind)
    .bind(filter.status)
    .bind(filter.include_hidden)
    .persistent(false)
    .fetch_one(db)
    .await?;
    Ok((rows, total))
}

/// One scan, if its network is in the scope.
pub async fn find(db: impl PgExecutor<'_>, scope: Scope<'_>, id: i64) -> sqlx::Result<Option<Scan>> {
    sqlx::query_as(select_scans!(
        "find_scan",
        "where s.id = $2 and ($1::bigint[] is null or s.network_id = any($1))"
    ))
    .bind(scope)
    .bind(id)
    .fetch_optional(db)
    .await
}

/// Scans that wait or run, oldest first.
pub async fn active(db: impl PgExecutor<'_>, scope: Scope<'_>) -> sqlx::Result<Vec<Scan>> {
    sqlx::query_as(select_scans!(
        "active_scans",
        "where s.status in ('planned', 'running') and ($1::bigint[] is null or s.network_id = any($1))
         order by s.status desc, s.id limit 100"
    ))
    .bind(scope)
    .fetch_all(db)
    .await
}

/// Scans that looked at a host: the newest ten, at most five of a network.
pub async fn of_host(db: impl PgExecutor<'_>, scope: Scope<'_>, host_id: i64) -> sqlx::Result<Vec<Scan>> {
    sqlx::query_as(select_scans!(
        "scans_of_host",
        "where s.id in (
                select recent.id from host_networks w
                  join hosts h on h.id = w.host_id
                 cross join lateral (
                       select id from scans
                        where network_id = w.network_id and kind = 'scan' and not hidden
                          and (target_address is null or target_address = h.address)
                        order by id desc limit 5) recent
                 where w.host_id = $2 and ($1::bigint[] is null or w.network_id = any($1)))
         order by s.id desc limit 10"
    ))
    .bind(scope)
    .bind(host_id)
    .fetch_all(db)
    .await
}

/// The last completed scan of each whole network in the scope.
pub async fn latest_completed(db: impl PgExecutor<'_>, scope: Scope<'_>) -> sqlx::Result<Vec<Scan>> {
    sqlx::query_as(select_scans!(
        "latest_completed_scans",
        "where s.id in (
                select last.id from networks w
                  cross join lateral (
                       select id from scans
                        where network_id = w.id and status = 'completed' and kind = 'scan'
                          and target_address is null and not hidden
                        order by completed_at desc limit 1) last
                 where $1::bigint[] is null or w.id = any($1))
         order by s.network_id desc"
    ))
    .bind(scope)
    .fetch_all(db)
    .await
}

/// The settings and sums of one scan.
pub async fn settings(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<Option<ScanSettings>> {
    sqlx::query_as("-- scan_settings\n select parameters, summary from scans where id = $1")
        .bind(id)
        .fetch_optional(db)
        .await
}

/// Hides a scan from lists, or shows it again; false when there is none of that number.
pub async fn set_hidden(db: impl PgExecutor<'_>, id: i64, hidden: bool) -> sqlx::Result<bool> {
    let done = sqlx::query("-- set_scan_hidden\n update scans set hidden = $2 where id = $1")
        .bind(id)
        .bind(hidden)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes a scan with its ports, logs and jobs; false when there is none of that number.
pub async fn delete(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<bool> {
    let done = sqlx::query("-- delete_scan\n delete from scans where id = $1").bind(id).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// Ports a scan found open, by address and port. `only`: one address.
pub async fn ports(
    db: impl PgExecutor<'_>,
    scan_id: i64,
    only: Option<IpAddr>,
    offset: i64,
    limit: i64,
) -> sqlx::Result<Vec<ScanPort>> {
    sqlx::query_as(
        "-- scan_ports
         select address as ip, port, transport as protocol, ttl, banner, service as service_guess, product,
                version, upper(mac_address::text) as mac_address, mac_vendor, first_seen_at, last_seen_at
           from scan_ports
          where scan_id = $1 and ($2::inet is null or address = $2)
          order by address, port, transport offset $3 limit $4",
    )
    .bind(scan_id)
    .bind(only)
    .bind(offset)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// How many ports a scan found open.
pub async fn count_ports(db: impl PgExecutor<'_>, scan_id: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar("-- count_scan_ports\n select count(*) from scan_ports where scan_id = $1")
        .bind(scan_id)
        .fetch_one(db)
        .await
}

/// Lines of a scan's log, oldest first, those after line `after_id` only.
pub async fn logs(
    db: &PgPool,
    scan_id: i64,
    after_id: i64,
    offset: i64,
    limit: i64,
) -> sqlx::Result<(Vec<ScanLog>, i64)> {
    let rows = sqlx::query_as(
        "-- scan_logs
         select id, at as timestamp, level, message from scan_logs
          where scan_id = $1 and id > $2 order by at, id offset $3 limit $4",
    )
    .bind(scan_id)
    .bind(after_id)
    .bind(offset)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let total = sqlx::query_scalar("-- count_scan_logs\n select count(*) from scan_logs where scan_id = $1")
        .bind(scan_id)
        .fetch_one(db)
        .await?;
    Ok((rows, total))
}
