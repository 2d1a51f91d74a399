//! What OPM's agents ask and tell.

use std::{collections::BTreeMap, net::IpAddr};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

/// A planned scan as OPM's agents see it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct OpmJob {
    /// Its network.
    pub network_id: i64,
    /// As typed.
    pub cidr: String,
    /// As typed.
    pub port_spec: String,
    /// Packets per second.
    pub scan_rate: Option<i32>,
    /// `masscan` or `nmap`.
    pub scanner_type: String,
    /// Seconds.
    pub scan_timeout: Option<i32>,
    /// Milliseconds.
    pub port_timeout: Option<i32>,
    /// `tcp`, `udp` or `both`.
    pub scan_protocol: String,
    /// Whether the network is of IPv6.
    pub is_ipv6: bool,
    /// One host instead of the whole network.
    pub target: Option<IpAddr>,
}

/// The oldest planned scan of each of an agent's networks on which nothing runs. A claim names only the network, so
/// that offering more than one would let an agent work with one scan's settings under another's number.
pub async fn jobs(db: impl PgExecutor<'_>, agent_id: i64) -> sqlx::Result<Vec<OpmJob>> {
    sqlx::query_as(
        "-- opm_jobs
        select n.id as network_id, n.cidr, n.port_spec, n.scan_rate, n.scanner_type, n.scan_timeout, n.port_timeout,
               n.scan_protocol, family(n.block) = 6 as is_ipv6, s.target_address::inet as target
        from networks n
        cross join lateral (
            select id, target_address from scans
            where network_id = n.id and kind = 'scan' and status = 'planned' order by id limit 1
        ) s
        where n.agent_id = $1
            and not exists (select from scans r where r.network_id = n.id and r.kind = 'scan' and r.status = 'running')
        order by s.id",
    )
    .bind(agent_id)
    .fetch_all(db)
    .await
}

/// Whether a scan of the network runs.
pub async fn is_running(db: impl PgExecutor<'_>, network_id: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "-- is_network_scanned
        select exists (select from scans where network_id = $1 and kind = 'scan' and status = 'running')",
    )
    .bind(network_id)
    .fetch_one(db)
    .await
}

/// Claims the oldest planned scan of a network that is the agent's; returns its number. The scan is the claiming agent's
/// from now on, whoever it was planned for, and needs no job.
pub async fn claim(
    db: &mut PgConnection,
    network_id: i64,
    agent_id: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<i64>> {
    let scan_id: Option<i64> = sqlx::query_scalar(
        "-- claim_opm_scan
        with planned as (
            select s.id from scans s join networks n on n.id = s.network_id
            where s.network_id = $1 and n.agent_id = $2 and s.kind = 'scan' and s.status = 'planned'
            order by s.id limit 1
            for update of s skip locked
        )
        update scans s set status = 'running', started_at = $3, agent_id = $2
        from planned p where s.id = p.id returning s.id",
    )
    .bind(network_id)
    .bind(agent_id)
    .bind(now)
    .fetch_optional(&mut *db)
    .await?;
    if let Some(scan_id) = scan_id {
        delete_jobs(db, scan_id).await?;
    }
    Ok(scan_id)
}

async fn delete_jobs(db: impl PgExecutor<'_>, scan_id: i64) -> sqlx::Result<()> {
    sqlx::query(
        "-- delete_jobs_of_scan
        delete from jobs where scan_id = $1",
    )
    .bind(scan_id)
    .execute(db)
    .await?;
    Ok(())
}

/// The status of a scan that is the agent's.
pub async fn status(
    db: impl PgExecutor<'_>,
    scan_id: i64,
    agent_id: i64,
    kind: &str,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "-- opm_scan_status
        select status from scans where id = $1 and agent_id = $2 and kind = $3",
    )
    .bind(scan_id)
    .bind(agent_id)
    .bind(kind)
    .fetch_optional(db)
    .await
}

/// Notes how far a running scan is; false if it is not the agent's or does not run.
pub async fn set_progress(
    db: impl PgExecutor<'_>,
    scan_id: i64,
    agent_id: i64,
    percent: f32,
    message: Option<&str>,
) -> sqlx::Result<bool> {
    let result = sqlx::query(
        "-- set_opm_progress
        update scans set progress_percent = $3, progress_message = $4
        where id = $1 and agent_id = $2 and kind = 'scan' and status = 'running'",
    )
    .bind(scan_id)
    .bind(agent_id)
    .bind(percent)
    .bind(message)
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// A planned discovery as OPM's agents see it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct OpmDiscovery {
    /// The scan.
    pub scan_id: i64,
    /// Its network.
    pub network_id: i64,
    /// As typed.
    pub cidr: String,
    /// Whether the network is of IPv6.
    pub is_ipv6: bool,
}

/// Planned discoveries of an agent, oldest first.
pub async fn discoveries(db: impl PgExecutor<'_>, agent_id: i64) -> sqlx::Result<Vec<OpmDiscovery>> {
    sqlx::query_as(
        "-- opm_discoveries
        select s.id as scan_id, n.id as network_id, n.cidr, family(n.block) = 6 as is_ipv6
        from scans s join networks n on n.id = s.network_id
        where s.agent_id = $1 and s.kind = 'discovery' and s.status = 'planned'
        order by s.id",
    )
    .bind(agent_id)
    .fetch_all(db)
    .await
}

/// Claims a planned discovery.
pub async fn claim_discovery(
    db: &mut PgConnection,
    scan_id: i64,
    agent_id: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<OpmDiscovery>> {
    let claimed = sqlx::query_as(
        "-- claim_opm_discovery
        update scans s set status = 'running', started_at = $3
        from networks n
        where s.id = $1 and s.agent_id = $2 and s.kind = 'discovery' and s.status = 'planned' and n.id = s.network_id
        returning s.id as scan_id, n.id as network_id, n.cidr, family(n.block) = 6 as is_ipv6",
    )
    .bind(scan_id)
    .bind(agent_id)
    .bind(now)
    .fetch_optional(&mut *db)
    .await?;
    delete_jobs(db, scan_id).await?;
    Ok(claimed)
}

/// Names that are known of a network's hosts, by address.
pub async fn known_hostnames(
    db: impl PgExecutor<'_>,
    network_id: i64,
) -> sqlx::Result<BTreeMap<IpAddr, String>> {
    let rows: Vec<(IpAddr, String)> = sqlx::query_as(
        "-- known_hostnames
        select h.address::inet, h.hostname from hosts h join host_networks n on n.host_id = h.id
        where n.network_id = $1 and h.hostname is not null",
    )
    .bind(network_id)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().collect())
}

/// Addresses of a network with open ports.
pub async fn addresses_with_open_ports(
    db: impl PgExecutor<'_>,
    network_id: i64,
) -> sqlx::Result<Vec<IpAddr>> {
    sqlx::query_scalar(
        "-- addresses_with_open_ports
        select distinct address::inet from ports where network_id = $1 and closed_at is null order by 1",
    )
    .bind(network_id)
    .fetch_all(db)
    .await
}
