//! A scan from plan to end: what moves its status, and what follows from its end.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use portreeve_model::protocol::JobSummary;
use sqlx::{PgConnection, PgExecutor, types::Json};

use crate::{input::AddressRange, jobs::ports::ProbedRange, live::ScanEvent};

/// What a scan of a network needs to know of it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct NetworkPlan {
    /// The network.
    pub id: i64,
    /// The agent it is assigned to.
    pub agent_id: Option<i64>,
    /// `opm` or `portreeve`.
    pub agent_kind: Option<String>,
    /// The addresses, as an agent takes them.
    pub block: ipnet::IpNet,
    /// As typed.
    pub cidr: String,
    /// As typed.
    pub port_spec: String,
    /// `tcp`, `udp` or `both`.
    pub scan_protocol: String,
    /// Never sent to.
    pub exclude: Vec<String>,
    /// Packets per second.
    pub scan_rate: Option<i32>,
    /// Seconds.
    pub scan_timeout: Option<i32>,
    /// Milliseconds.
    pub port_timeout: Option<i32>,
    /// Say what answers.
    pub identify: bool,
    /// Audit SSH servers.
    pub ssh_audit: bool,
    /// Audit TLS servers.
    pub tls_audit: bool,
    /// Jobs to cut the scan into.
    pub shards: i16,
}

/// The network, locked against changes while a scan is planned.
pub async fn network_plan(db: &mut PgConnection, network_id: i64) -> sqlx::Result<Option<NetworkPlan>> {
    sqlx::query_as(
        "-- network_plan
        select n.id, n.agent_id, a.kind as agent_kind, n.block::inet as block, n.cidr, n.port_spec, n.scan_protocol,
               n.exclude, n.scan_rate, n.scan_timeout, n.port_timeout, n.identify, n.ssh_audit, n.tls_audit,
               n.shards
        from networks n left join agents a on a.id = n.agent_id
        where n.id = $1
        for share of n",
    )
    .bind(network_id)
    .fetch_optional(db)
    .await
}

/// A scan to be written.
#[derive(Clone, Debug)]
pub struct NewScan<'a> {
    /// Its network.
    pub network_id: i64,
    /// Who is to work on it.
    pub agent_id: Option<i64>,
    /// `scan` or `discovery`.
    pub kind: &'a str,
    /// `manual` or `scheduled`.
    pub trigger: &'a str,
    /// Who asked for it.
    pub triggered_by: Option<i64>,
    /// One host instead of the whole network.
    pub target: Option<IpAddr>,
    /// The settings it runs with.
    pub parameters: &'a serde_json::Value,
}

/// Writes a planned scan and returns its number.
pub async fn insert(db: impl PgExecutor<'_>, scan: &NewScan<'_>, now: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- insert_scan
        insert into scans (network_id, agent_id, kind, trigger_type, triggered_by, target_address, parameters, queued_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8) returning id",
    )
    .bind(scan.network_id)
    .bind(scan.agent_id)
    .bind(scan.kind)
    .bind(scan.trigger)
    .bind(scan.triggered_by)
    .bind(scan.target)
    .bind(scan.parameters)
    .bind(now)
    .fetch_one(db)
    .await
}

/// The line of a scan that open pages show.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct ScanLine {
    /// The scan.
    pub id: i64,
    /// Its network.
    pub network_id: i64,
    /// Its status.
    pub status: String,
    /// 0-100.
    pub progress_percent: Option<f32>,
    /// What it is at.
    pub progress_message: Option<String>,
    /// Open ports found.
    pub open_ports: i32,
    /// Probes sent.
    pub probes_sent: i64,
    /// Probes to be sent.
    pub probes_total: i64,
    /// Packets per second.
    pub rate_pps: i32,
}

impl From<ScanLine> for ScanEvent {
    fn from(line: ScanLine) -> Self {
        Self {
            scan_id: line.id,
            network_id: line.network_id,
            status: line.status,
            progress_percent: line.progress_percent,
            progress_message: line.progress_message,
            open_ports: line.open_ports.into(),
            probes_sent: line.probes_sent,
            probes_total: line.probes_total,
            rate_pps: line.rate_pps.into(),
        }
    }
}

/// The line of a scan.
pub async fn line(db: impl PgExecutor<'_>, scan_id: i64) -> sqlx::Result<Option<ScanLine>> {
    sqlx::query_as(
        "-- scan_line
        select id, network_id, status, progress_percent, progress_message, open_ports, probes_sent, probes_total, rate_pps
        from scans where id = $1",
    )
    .bind(scan_id)
    .fetch_optional(db)
    .await
}

/// A scan on its way to the end.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct RunningScan {
    /// The scan.
    pub id: i64,
    /// Its network.
    pub network_id: i64,
    /// `scan` or `discovery`.
    pub kind: String,
    /// Its status.
    pub status: String,
    /// `manual` or `scheduled`.
    pub trigger_type: String,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When its agent was through.
    pub completed_at: Option<DateTime<Utc>>,
    /// The addresses it is for.
    pub block: ipnet::IpNet,
    /// The settings it runs with.
    pub parameters: Json<crate::jobs::Parameters>,
    /// The network's name.
    pub network_name: String,
    /// When a scan of the whole network was first completed.
    pub first_scanned_at: Option<DateTime<Utc>>,
    /// The whole network, not one host of it.
    pub is_whole: bool,
    /// The network's alert settings.
    pub alert_config: Option<serde_json::Value>,
}

/// The scan, locked: of the jobs that end at the same time, one ends the scan.
pub async fn lock(db: &mut PgConnection, scan_id: i64) -> sqlx::Result<Option<RunningScan>> {
    sqlx::query_as(
        "-- lock_scan
        select s.id, s.network_id, s.kind, s.status, s.trigger_type, s.started_at, s.completed_at,
               coalesce(s.target_address::inet, n.block::inet) as block, s.parameters, n.name as network_name, n.alert_config,
               n.first_scanned_at, s.target_address is null as is_whole
        from scans s join networks n on n.id = s.network_id
        where s.id = $1
        for update of s",
    )
    .bind(scan_id)
    .fetch_optional(db)
    .await
}

/// The scans an agent has not finished, and those of a single job that wait for it.
pub async fn unfinished_of_agent(db: impl PgExecutor<'_>, agent_id: i64) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(
        "-- unfinished_scans_of_agent
        select s.id from scans s
        where s.agent_id = $1 and s.status in ('planned', 'running')
            and not exists (select from jobs j where j.scan_id = s.id and j.agent_id is null)
        order by s.id",
    )
    .bind(agent_id)
    .fetch_all(db)
    .await
}

/// How a scan ended.
#[derive(Clone, Debug)]
pub struct ScanEnd<'a> {
    /// `completed`, `failed` or `cancelled`.
    pub status: &'a str,
    /// Why it failed.
    pub error: Option<&'a str>,
    /// What it amounts to, where an agent told.
    pub summary: Option<&'a JobSummary>,
}

/// Ends a running scan. A scan that was cancelled stays cancelled, but learns when its agent was through.
pub async fn end(
    db: impl PgExecutor<'_>,
    scan_id: i64,
    end: &ScanEnd<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let miss_estimate =
        end.summary.and_then(|summary| summary.miss_estimate).map(|share| share.clamp(0.0, 1.0));
    let probes_sent = end.summary.map(|summary| i64::try_from(summary.probes_sent).unwrap_or(i64::MAX));
    let hosts = end.summary.map(|summary| i32::try_from(summary.hosts).unwrap_or(i32::MAX));
    let result = sqlx::query(
        "-- end_scan
        update scans set
            status = case status when 'cancelled' then status else $2 end,
            error_message = coalesce($3, error_message), completed_at = $4, rate_pps = 0,
            started_at = coalesce(started_at, $4),
            progress_percent = case when $2 = 'completed' and status <> 'cancelled' then 100 else progress_percent end,
            progress_message = case when $2 = 'completed' and status <> 'cancelled' then 'Scan complete' else progress_message end,
            open_ports = (select count(*) from scan_ports where scan_id = $1),
            summary = coalesce($5, summary), miss_estimate = coalesce($6, miss_estimate),
            probes_sent = coalesce($7, probes_sent), hosts_discovered = greatest(hosts_discovered, coalesce($8, 0))
        where id = $1 and status in ('planned', 'running', 'cancelled')",
    )
    .bind(scan_id)
    .bind(end.status)
    .bind(end.error)
    .bind(now)
    .bind(end.summary.map(Json))
    .bind(miss_estimate.filter(|share| share.is_finite()))
    .bind(probes_sent)
    .bind(hosts)
    .execute(db)
    .await?;
    super::one_row(&result)
}

/// Cancels a planned or running scan; false if it is neither.
pub async fn cancel(
    db: impl PgExecutor<'_>,
    scan_id: i64,
    user_id: Option<i64>,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let result = sqlx::query(
        "-- cancel_scan
        update scans set status = 'cancelled', cancelled_at = $3, cancelled_by = $2, rate_pps = 0,
            completed_at = case when started_at is null then $3 end
        where id = $1 and status in ('planned', 'running')",
    )
    .bind(scan_id)
    .bind(user_id)
    .bind(now)
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Makes a completed scan the one that reported what earlier scans found and nobody has been told of yet: they ended early,
/// or the port's host was called suspicious.
pub async fn adopt_findings(db: impl PgExecutor<'_>, scan: &RunningScan) -> sqlx::Result<()> {
    sqlx::query(
        "-- adopt_findings
        update ports p set first_scan_id = $1
        from scan_ports r
        where r.scan_id = $1 and p.network_id = $2 and p.address = r.address and p.port = r.port
            and p.transport = r.transport and p.closed_at is null
            and (p.first_scan_id is null or p.first_scan_id = any (array(
                select id from scans where network_id = $2 and status in ('failed', 'cancelled') and id <> $1)))",
    )
    .bind(scan.id)
    .bind(scan.network_id)
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that the network's inventory has been taken; only the first time counts.
pub async fn note_first_scan(
    db: impl PgExecutor<'_>,
    network_id: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- note_first_scan
        update networks set first_scanned_at = $2 where id = $1 and first_scanned_at is null",
    )
    .bind(network_id)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// Which of a network's ports a scan probed, and how much its silence is worth.
#[derive(Clone, Debug)]
pub struct Probed<'a> {
    /// The ports.
    pub ranges: &'a [ProbedRange],
    /// Addresses that were left out.
    pub left_out: &'a [AddressRange],
    /// Whether a host that answered at all would have answered at each open port. Otherwise, and for hosts
    /// that said nothing, a port must be missed twice in a row.
    pub reliable: bool,
}

/// Closes the ports that a completed scan probed and did not see, and returns how many.
pub async fn close_unseen(
    db: &mut PgConnection,
    scan: &RunningScan,
    probed: &Probed<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let started_at = scan.started_at.unwrap_or(now);
    let result = sqlx::query(
        "-- close_unseen_ports
        with probed as materialized (
            select * from unnest($4::text[], $5::integer[], $6::integer[]) as r(transport, first, last)
        ), left_out as materialized (
            select * from unnest($7::inet[], $8::inet[]) as e(first, last)
        ), unseen as (
            select p.id, p.misses + 1 >= 2 or $9 and h.last_seen_at >= $3 as is_closed
            from ports p left join hosts h on h.id = p.host_id
            where p.network_id = $1 and p.closed_at is null and p.last_scan_id is distinct from $2
                and p.last_seen_at < $3 and p.address <<= $10
                and exists (select from probed r where r.transport = p.transport and p.port between r.first and r.last)
                and not exists (select from left_out e where p.address between e.first and e.last)
        ), written as (
            update ports p set misses = p.misses + 1, closed_at = case when u.is_closed then $11::timestamptz end
            from unseen u where p.id = u.id
            returning p.closed_at, p.host_id, p.global_port_id, p.address, p.port, p.transport, p.service, p.product, p.version
        ), counted as (
            update hosts h set open_port_count = greatest(h.open_port_count - n.closed, 0)
            from (select host_id, count(*) as closed from written where closed_at is not null group by host_id) n
            where h.id = n.host_id
        )
        insert into changes (at, network_id, scan_id, host_id, global_port_id, kind, address, port, transport, before)
        select closed_at, $1, $2, host_id, global_port_id, 'port_closed', address, port, transport,
               jsonb_strip_nulls(jsonb_build_object('service', service, 'product', product, 'version', version))
        from written where closed_at is not null order by address, port, transport",
    )
    .bind(scan.network_id)
    .bind(scan.id)
    .bind(started_at)
    .bind(probed.ranges.iter().map(|range| range.transport.as_str()).collect::<Vec<_>>())
    .bind(probed.ranges.iter().map(|range| i32::from(range.first)).collect::<Vec<_>>())
    .bind(probed.ranges.iter().map(|range| i32::from(range.last)).collect::<Vec<_>>())
    .bind(probed.left_out.iter().map(|range| range.first).collect::<Vec<_>>())
    .bind(probed.left_out.iter().map(|range| range.last).collect::<Vec<_>>())
    .bind(probed.reliable)
    .bind(scan.block)
    .bind(now)
    .persistent(false)
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// Marks hosts as gone that a completed scan should have seen: nothing of theirs is open any more and they said nothing.
pub async fn mark_vanished(
    db: &mut PgConnection,
    scan: &RunningScan,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- mark_vanished_hosts
        with gone as (
            update hosts h set is_up = false
            from host_networks n
            where n.host_id = h.id and n.network_id = $1 and h.is_up and h.last_seen_at < $3 and h.address <<= $4
                and not exists (select from ports p where p.host_id = h.id and p.closed_at is null)
            returning h.id, h.address
        )
        insert into changes (at, network_id, scan_id, host_id, kind, address)
        select $5, $1, $2, id, 'host_vanished', address from gone order by address",
    )
    .bind(scan.network_id)
    .bind(scan.id)
    .bind(scan.started_at.unwrap_or(now))
    .bind(scan.block)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// Brings figures that ingest keeps roughly into line: hosts' open ports, the run's hardware addresses, the day's totals.
pub async fn settle_figures(
    db: &mut PgConnection,
    scan: &RunningScan,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- settle_open_port_counts
        update hosts h set open_port_count = n.open
        from (select m.host_id, (select count(distinct (p.port, p.transport)) from ports p
                                 where p.host_id = m.host_id and p.closed_at is null) as open
              from host_networks m where m.network_id = $1) n
        where h.id = n.host_id and h.open_port_count <> n.open",
    )
    .bind(scan.network_id)
    .execute(&mut *db)
    .await?;
    settle_global_ports(&mut *db, scan).await?;
    sqlx::query(
        "-- copy_mac_addresses
        update scan_ports r set mac_address = h.mac_address, mac_vendor = h.mac_vendor
        from hosts h where r.scan_id = $1 and h.address = r.address and h.mac_address is not null",
    )
    .bind(scan.id)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "-- count_network_day
        insert into network_days as d (network_id, day, open_ports, hosts, opened, closed)
        select $1, ($3::timestamptz at time zone 'UTC')::date,
               (select count(*) from ports where network_id = $1 and closed_at is null),
               (select count(*) from host_networks m join hosts h on h.id = m.host_id where m.network_id = $1 and h.is_up),
               count(*) filter (where kind in ('port_opened', 'port_reopened')), count(*) filter (where kind = 'port_closed')
        from changes where scan_id = $2
        on conflict (network_id, day) do update set open_ports = excluded.open_ports, hosts = excluded.hosts,
            opened = d.opened + excluded.opened, closed = d.closed + excluded.closed",
    )
    .bind(scan.network_id)
    .bind(scan.id)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// Tells `global_ports` once what the run saw again, so that no batch has to. Within an hour it knows already.
async fn settle_global_ports(db: &mut PgConnection, scan: &RunningScan) -> sqlx::Result<()> {
    sqlx::query(
        "-- settle_global_ports
        with seen as materialized (
            select global_port_id, host_id, last_seen_at
            from ports where network_id = $1 and closed_at is null and last_scan_id = $2
            order by address, port, transport
        )
        update global_ports g set last_seen_at = greatest(g.last_seen_at, s.last_seen_at), host_id = s.host_id
        from seen s
        where g.id = s.global_port_id
            and (g.last_seen_at < s.last_seen_at - interval '1 hour' or g.host_id is distinct from s.host_id)",
    )
    .bind(scan.network_id)
    .bind(scan.id)
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}

/// A line of a scan's log.
#[derive(Clone, Debug)]
pub struct LogRow {
    /// When.
    pub at: DateTime<Utc>,
    /// `info`, `warning` or `error`.
    pub level: &'static str,
    /// What happened.
    pub message: String,
}

/// Adds to a scan's log.
pub async fn append_logs(db: impl PgExecutor<'_>, scan_id: i64, lines: &[LogRow]) -> sqlx::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- append_scan_logs
        insert into scan_logs (scan_id, at, level, message)
        select $1, l.at, l.level, l.message
        from unnest($2::timestamptz[], $3::text[], $4::text[]) with ordinality as l(at, level, message, position)
        order by l.position",
    )
    .bind(scan_id)
    .bind(lines.iter().map(|line| line.at).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| line.level).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| line.message.as_str()).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}
