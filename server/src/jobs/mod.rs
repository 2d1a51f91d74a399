//! The life of a scan: planned, cut into jobs, worked on by agents, and what follows from its end.
//!
//! ```text
//! scan:  planned → running → completed | failed | cancelled
//! job:   queued → leased → done | failed | cancelled
//! ```
//!
//! A scan runs from the first lease (or an OPM agent's claim) to the end of its last job. Only a completed scan closes
//! ports, marks hosts as gone and raises alerts: what an incomplete one did not see may well be there.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use portreeve_model::{
    SafeText,
    protocol::{Job, JobKind, JobShard, JobSummary},
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

pub mod lease;
pub mod ports;
pub mod reaper;

use self::{
    lease::server_line,
    ports::{ProbedPorts, ProbedRange},
};
use crate::{
    alerts,
    input::AddressRange,
    live::{AlertEvent, Event, Live},
    store::{
        jobs as store,
        scan_lifecycle::{self as scans, NetworkPlan, NewScan, Probed, RunningScan, ScanEnd, ScanLine},
    },
};

/// Seconds until a scan is given up, where its network does not say.
const DEFAULT_TIMEOUT_SECONDS: i32 = 3600;
/// Milliseconds to wait for an answer, where the network does not say.
const DEFAULT_PROBE_TIMEOUT_MS: i32 = 1500;
/// An agent's estimate of its misses up to which its silence about a port is believed at once.
const RELIABLE_MISS_ESTIMATE: f32 = 0.01;

/// Why a scan exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Somebody asked for it.
    Manual,
    /// Its time had come.
    Scheduled,
}

/// A scan to be planned.
#[derive(Clone, Copy, Debug)]
pub struct ScanRequest {
    /// Of which network.
    pub network_id: i64,
    /// Ports, or hosts only.
    pub kind: JobKind,
    /// One host instead of the whole network.
    pub target: Option<IpAddr>,
    /// Why.
    pub trigger: Trigger,
    /// The user who asked for it.
    pub triggered_by: Option<i64>,
}

/// Why a scan cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Nobody is there to do it.
    #[error("No agent is assigned to this network; choose one in its settings")]
    NoAgent,
    /// The network's ports are not understood.
    #[error("The port specification of this network is not understood: {0}")]
    Ports(String),
    /// There is no such network.
    #[error("Network not found")]
    UnknownNetwork,
}

/// The settings a scan runs with, kept with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// As the user typed it.
    pub port_spec: String,
    /// `tcp`, `udp` or `both`.
    pub scan_protocol: String,
    /// The ports that means: none for a discovery.
    pub ports: Vec<ProbedRange>,
    /// Never sent to.
    pub exclude: Vec<String>,
    /// Packets per second.
    pub rate_pps: Option<u32>,
}

/// Plans a scan and puts its jobs in the queue; returns its number. The caller commits, and then
/// [tells open pages](Event::Scan), which also wakes agents that wait for work.
pub async fn plan(
    db: &mut PgConnection,
    request: &ScanRequest,
    now: DateTime<Utc>,
) -> Result<i64, PlanError> {
    let network =
        scans::network_plan(&mut *db, request.network_id).await?.ok_or(PlanError::UnknownNetwork)?;
    let agent_id = network.agent_id.ok_or(PlanError::NoAgent)?;
    let ports = match request.kind {
        JobKind::Discovery => None,
        JobKind::Scan => {
            Some(ProbedPorts::parse(&network.port_spec, &network.scan_protocol).map_err(PlanError::Ports)?)
        }
    };
    let parameters = Parameters {
        port_spec: network.port_spec.clone(),
        scan_protocol: network.scan_protocol.clone(),
        ports: ports.as_ref().map(|ports| ports.ranges().to_vec()).unwrap_or_default(),
        exclude: network.exclude.clone(),
        rate_pps: network.scan_rate.map(i32::unsigned_abs),
    };
    let scan = NewScan {
        network_id: network.id,
        agent_id: Some(agent_id),
        kind: kind_name(request.kind),
        trigger: match request.trigger {
            Trigger::Manual => "manual",
            Trigger::Scheduled => "scheduled",
        },
        triggered_by: request.triggered_by,
        target: request.target,
        parameters: &serde_json::to_value(&parameters).unwrap_or_default(),
    };
    let scan_id = scans::insert(&mut *db, &scan, now).await?;
    if network.agent_kind.as_deref() == Some("portreeve") {
        let spec = ports.map(|ports| ports.to_spec()).unwrap_or_default();
        store::insert(&mut *db, &cut(&network, request, scan_id, &spec, now), now).await?;
    }
    Ok(scan_id)
}

/// The name of a kind of work.
pub const fn kind_name(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Discovery => "discovery",
        JobKind::Scan => "scan",
    }
}

/// Cuts a scan into its jobs: the same probes in the same order for all, each does its part of them.
fn cut(
    network: &NetworkPlan,
    request: &ScanRequest,
    scan_id: i64,
    ports: &str,
    now: DateTime<Utc>,
) -> Vec<store::NewJob> {
    let count = if request.target.is_some() { 1 } else { u32::from(network.shards.unsigned_abs()).max(1) };
    let seed: u64 = rand::random();
    let job = |index| Job {
        job_id: job_id(now),
        scan_id,
        network_id: network.id,
        kind: request.kind,
        targets: vec![request.target.map_or_else(|| network.block.to_string(), |target| target.to_string())],
        exclude: network.exclude.clone(),
        ports: ports.to_owned(),
        // The rate is the network's, not each agent's.
        rate_pps: network.scan_rate.map(|rate| (rate.unsigned_abs() / count).max(1)),
        timeout_seconds: network.scan_timeout.unwrap_or(DEFAULT_TIMEOUT_SECONDS).unsigned_abs(),
        probe_timeout_ms: network.port_timeout.unwrap_or(DEFAULT_PROBE_TIMEOUT_MS).unsigned_abs(),
        identify: network.identify,
        ssh_audit: network.ssh_audit,
        tls_audit: network.tls_audit,
        seed,
        shard: JobShard { index, count },
    };
    let agent_id = if count == 1 { network.agent_id } else { None };
    (0..count).map(|index| store::NewJob { job: job(index), agent_id }).collect()
}

/// A number that sorts by time (RFC 9562 5.7).
fn job_id(now: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}

/// What open pages are to be told once a transaction is committed.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// The scan as it is now.
    pub line: Option<ScanLine>,
    /// Alerts that were raised.
    pub alerts: Vec<AlertEvent>,
}

impl News {
    /// Tells them.
    pub fn publish(self, live: &Live) {
        if let Some(line) = self.line {
            live.publish(Event::Scan(line.into()));
        }
        for alert in self.alerts {
            live.publish(Event::Alert(alert));
        }
    }
}

/// Why a scan cannot be cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// It has ended.
    #[error("Scan is not running")]
    NotRunning,
}

/// Cancels a scan that is planned or running. Agents at work on it learn of it when they next renew their lease, stop and
/// hand in what they have.
pub async fn cancel(
    db: &mut PgConnection,
    scan_id: i64,
    user_id: Option<i64>,
    now: DateTime<Utc>,
) -> Result<News, CancelError> {
    if !scans::cancel(&mut *db, scan_id, user_id, now).await? {
        return Err(CancelError::NotRunning);
    }
    store::cancel_queued(&mut *db, scan_id, now).await?;
    let line = server_line("warning", "Scan cancelled by user request", now);
    scans::append_logs(&mut *db, scan_id, &[line]).await?;
    Ok(News { line: scans::line(&mut *db, scan_id).await?, alerts: Vec::new() })
}

/// Ends the unfinished scans that an agent was to do: it is about to be removed.
pub async fn abandon(db: &mut PgConnection, agent_id: i64, now: DateTime<Utc>) -> sqlx::Result<Vec<News>> {
    let mut news = Vec::new();
    for scan_id in scans::unfinished_of_agent(&mut *db, agent_id).await? {
        store::cancel_queued(&mut *db, scan_id, now).await?;
        if let Some(scan) = scans::lock(&mut *db, scan_id).await? {
            let error = Some("The agent that worked on this scan was removed.");
            news.push(
                end_scan(&mut *db, &scan, &ScanEnd { status: "failed", error, summary: None }, now).await?,
            );
        }
    }
    Ok(news)
}

/// Ends a scan if all its jobs have ended.
pub async fn settle(db: &mut PgConnection, scan_id: i64, now: DateTime<Utc>) -> sqlx::Result<News> {
    let Some(scan) = scans::lock(&mut *db, scan_id).await? else { return Ok(News::default()) };
    let jobs = store::of_scan(&mut *db, scan_id).await?;
    if jobs.unfinished > 0 || !matches!(scan.status.as_str(), "running" | "cancelled") {
        return Ok(News { line: store::sum_progress(&mut *db, scan_id).await?, alerts: Vec::new() });
    }
    let summary = total(jobs.summaries.iter().map(|summary| &summary.0));
    let error = jobs.errors.join(" ");
    let status = match (jobs.cancelled, jobs.failed) {
        (0, 0) => "completed",
        (0, _) => "failed",
        _ => "cancelled",
    };
    let end = ScanEnd { status, error: (!error.is_empty()).then_some(&error), summary: Some(&summary) };
    end_scan(db, &scan, &end, now).await
}

/// Ends a scan, and does what follows from its end.
pub async fn end_scan(
    db: &mut PgConnection,
    scan: &RunningScan,
    end: &ScanEnd<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<News> {
    let mut raised = Vec::new();
    if end.status == "completed" && scan.status == "running" {
        if scan.kind == "scan" {
            scans::adopt_findings(&mut *db, scan).await?;
            close_unseen(&mut *db, scan, end.summary, now).await?;
        }
        scans::mark_vanished(&mut *db, scan, now).await?;
        raised = alerts::raise_for_scan(&mut *db, scan, now).await?;
        if scan.kind == "scan" && scan.is_whole {
            scans::note_first_scan(&mut *db, scan.network_id, now).await?;
        }
    } else if end.status == "failed" && scan.trigger_type == "scheduled" {
        raised = alerts::raise_scan_failed(&mut *db, scan, end.error, now).await?;
    }
    scans::settle_figures(&mut *db, scan, now).await?;
    scans::end(&mut *db, scan.id, end, now).await?;
    Ok(News { line: scans::line(&mut *db, scan.id).await?, alerts: raised })
}

async fn close_unseen(
    db: &mut PgConnection,
    scan: &RunningScan,
    summary: Option<&JobSummary>,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let miss_estimate = summary.and_then(|summary| summary.miss_estimate).unwrap_or(0.0);
    let Parameters { ports, exclude, .. } = &scan.parameters.0;
    let left_out: Vec<AddressRange> = exclude.iter().filter_map(|text| text.parse().ok()).collect();
    let probed =
        Probed { ranges: ports, left_out: &left_out, reliable: miss_estimate <= RELIABLE_MISS_ESTIMATE };
    scans::close_unseen(db, scan, &probed, now).await
}

/// What the jobs of a scan amount to together.
fn total<'a>(summaries: impl Iterator<Item = &'a JobSummary>) -> JobSummary {
    let mut sum = JobSummary::default();
    for one in summaries {
        if sum.backend.is_empty() {
            sum.backend = one.backend.clone();
        }
        sum.probes_sent = sum.probes_sent.saturating_add(one.probes_sent);
        sum.targets = sum.targets.saturating_add(one.targets);
        // Every shard goes over all addresses.
        sum.addresses = sum.addresses.max(one.addresses);
        sum.open_ports = sum.open_ports.saturating_add(one.open_ports);
        sum.hosts = sum.hosts.max(one.hosts);
        sum.duration_ms = sum.duration_ms.max(one.duration_ms);
        sum.miss_estimate = worse(sum.miss_estimate, one.miss_estimate);
        sum.miss_bound = worse(sum.miss_bound, one.miss_bound);
        sum.loss_estimate = worse(sum.loss_estimate, one.loss_estimate);
        for drop in &one.drops {
            match sum.drops.iter_mut().find(|known| known.cause == drop.cause) {
                Some(known) => known.count = known.count.saturating_add(drop.count),
                None => sum.drops.push(drop.clone()),
            }
        }
        sum.suspicious_hosts.extend(&one.suspicious_hosts);
    }
    sum.suspicious_hosts.sort_unstable();
    sum.suspicious_hosts.dedup();
    sum
}

/// The larger of two shares, where they are known.
fn worse(one: Option<f32>, other: Option<f32>) -> Option<f32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

/// An agent's words about a failure, cut to what a page shows.
pub fn error_text(error: Option<&SafeText>) -> Option<String> {
    error.filter(|text| !text.is_empty()).map(|text| text.as_str().to_owned())
}
