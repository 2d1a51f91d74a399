//! What an agent and a server say to each other, beside the contract kept for OPM's agents.
//!
//! The agent calls, the server never does: long poll for work, so that an agent needs no open port.
//!
//! | call (under [`BASE_PATH`]) | body → answer |
//! |---|---|
//! | `POST /enroll` | [`EnrollRequest`] → [`EnrollResponse`]; the token is used up |
//! | `POST /hello` | [`Hello`] → [`HelloResponse`]; on start and every [`HelloResponse::hello_seconds`] |
//! | `POST /lease?wait_seconds=N` | [`LeaseRequest`] → 200 [`LeasedJob`], or 204 when nothing came within N ≤ 30 s |
//! | `POST /jobs/{job_id}/renew` | [`RenewRequest`] → [`RenewResponse`] |
//! | `PUT /jobs/{job_id}/batches/{number}` | NDJSON of [`Record`], `Content-Encoding: zstd` or none, header [`LEASE_HEADER`] → [`BatchResponse`] |
//! | `POST /jobs/{job_id}/logs` | [`LogsRequest`] → 204 |
//! | `POST /jobs/{job_id}/finish` | [`FinishRequest`] → 204 |
//!
//! Every call but `/enroll` carries `Authorization: Bearer <credential>`. Batches are numbered from 0 in
//! each job and are idempotent: sending one again changes nothing. Finishing is idempotent too.
//!
//! Answers an agent acts on: 401 – the credential was revoked, stop; 409 – the lease is lost (it ran
//! out and the job went to another agent, or the scan was cancelled): drop what is left of the job; 413 – split the
//! batch; 422 – the batch is malformed: keep it aside, go on; 429 and 5xx – try again with back-off.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{HostProfile, HostSighting, Observation, SafeText, Service, Timestamp};

/// Where the server keeps these routes.
pub const BASE_PATH: &str = "/api/agent/v1";

/// Carries the lease token with every batch.
pub const LEASE_HEADER: &str = "portreeve-lease";

/// Bounds that both sides keep; the server refuses what goes beyond.
#[derive(Clone, Copy, Debug)]
pub struct Limits;

impl Limits {
    /// Records in one batch.
    pub const BATCH_RECORDS: usize = 10_000;
    /// Bytes of one batch, decompressed.
    pub const BATCH_BYTES: usize = 16 << 20;
    /// Bytes of one record's line.
    pub const RECORD_BYTES: usize = 256 << 10;
    /// Log lines in one call.
    pub const LOG_LINES: usize = 1_000;
    /// The longest wait for a lease, in seconds.
    pub const LEASE_WAIT_SECONDS: u32 = 30;
}

/// Asks for a credential of one's own, with a token that an operator made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrollRequest {
    /// The one-time token.
    pub token: String,
    /// Name to be shown; made unique by the server if taken.
    pub name: String,
    /// Version of the agent.
    pub version: String,
}

/// The agent's identity from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrollResponse {
    /// The agent's number (OPM: scanner id).
    pub agent_id: i64,
    /// The name it got.
    pub name: String,
    /// Bearer credential; shown this once.
    pub credential: String,
}

/// One network interface of the scanner host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentInterface {
    /// Name, as `eth0`.
    pub name: SafeText,
    /// Attached networks, as `192.0.2.7/24`.
    pub networks: Vec<SafeText>,
}

/// What the agent is and can do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hello {
    /// Version of the agent.
    pub version: String,
    /// Host name of the scanner host.
    pub hostname: SafeText,
    /// Transmit backends that work here, best first.
    pub backends: Vec<String>,
    /// Interfaces and the networks they are attached to: offered in the set-up, never scanned unasked.
    pub interfaces: Vec<AgentInterface>,
    /// The highest rate this host allows; no server can raise it.
    pub max_rate_pps: Option<u32>,
}

/// How the server wants to be called.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HelloResponse {
    /// The server's clock, so that the agent can see how far its own is off.
    pub server_time_ms: Timestamp,
    /// Say hello again after so many seconds.
    pub hello_seconds: u32,
}

/// Asks for work.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseRequest {
    /// Jobs that could be started right now; 0 gets none.
    pub free_slots: u32,
}

/// A part of a scan that one agent works on: `index` of `count`, by ranges of the permutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobShard {
    /// From 0.
    pub index: u32,
    /// At least 1.
    pub count: u32,
}

/// What kind of work a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Find hosts only.
    Discovery,
    /// Find open ports, and what answers there.
    Scan,
}

/// Work for an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Job {
    /// The job.
    pub job_id: Uuid,
    /// The scan it belongs to.
    pub scan_id: i64,
    /// The network scanned.
    pub network_id: i64,
    /// What to do.
    pub kind: JobKind,
    /// Addresses, CIDR blocks and ranges.
    pub targets: Vec<String>,
    /// Never to be sent to, whatever the targets say.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Port specification, as `22,80,8000-8100,U:53,!25`; empty for discovery.
    pub ports: String,
    /// Packets per second; the agent's own ceiling wins.
    #[serde(default)]
    pub rate_pps: Option<u32>,
    /// Give up after so many seconds and report what was found.
    pub timeout_seconds: u32,
    /// Wait for an answer so long.
    pub probe_timeout_ms: u32,
    /// Say what answers at open ports.
    pub identify: bool,
    /// Audit SSH servers: algorithms and authentication methods.
    pub ssh_audit: bool,
    /// Audit TLS servers: the versions they take and their JARM fingerprint. Off where a server does not know it.
    #[serde(default)]
    pub tls_audit: bool,
    /// Order of the probes.
    pub seed: u64,
    /// This agent's part.
    pub shard: JobShard,
}

/// A job and the right to work on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeasedJob {
    /// The work.
    pub job: Job,
    /// Proof that it is ours; every later call needs it.
    pub lease_token: Uuid,
    /// Renew at least this often, in seconds.
    pub renew_seconds: u32,
    /// The lease ends here unless renewed.
    pub lease_expires_at_ms: Timestamp,
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobProgress {
    /// 0-100.
    pub percent: f32,
    /// What it is at, for people: `Probing`, `Waiting for last replies`, `Identifying 12 of 40 services`.
    pub phase: SafeText,
    /// Probes sent, repeats included.
    pub probes_sent: u64,
    /// Probes to be sent without repeats.
    pub probes_total: u64,
    /// Open ports found.
    pub open_ports: u64,
    /// Packets per second at the moment.
    pub rate_pps: u32,
}

/// Keeps a lease and tells the progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenewRequest {
    /// From [`LeasedJob`].
    pub lease_token: Uuid,
    /// How far it is.
    pub progress: JobProgress,
}

/// The lease's new end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenewResponse {
    /// The lease ends here unless renewed again.
    pub lease_expires_at_ms: Timestamp,
    /// A user cancelled the scan: stop sending within a second, hand in what was found, finish as cancelled.
    pub cancelled: bool,
}

/// One line of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Record {
    /// A host that answered.
    Host(Box<HostSighting>),
    /// A port and its state.
    Port(Observation),
    /// What a host is, judged from all its services; sent after them.
    Profile(Box<HostProfile>),
    /// What answers at a port.
    Service(Box<Service>),
}

impl Record {
    /// The host that it is about.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Host(sighting) => sighting.address,
            Self::Port(observation) => observation.address,
            Self::Profile(profile) => profile.address,
            Self::Service(service) => service.endpoint.address,
        }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchResponse {
    /// Records stored; 0 for a repeat.
    pub stored: u64,
    /// The batch had been taken before.
    pub repeated: bool,
}

/// How serious a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// For the record.
    Info,
    /// Something to look at.
    Warning,
}

/// A line of a scan's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// When, by the agent's clock.
    pub at_ms: Timestamp,
    /// How serious.
    pub level: LogLevel,
    /// What happened.
    pub message: SafeText,
}

/// Lines for a scan's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogsRequest {
    /// From [`LeasedJob`].
    pub lease_token: Uuid,
    /// At most [`Limits::LOG_LINES`].
    pub lines: Vec<LogLine>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum JobOutcome {
    /// Stopped because a user asked; results are partial.
    Cancelled,
    /// Every target was probed.
    Completed,
    /// Stopped by an error or the time limit; results are partial.
    Failed,
}

/// A named count of frames that were received and not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DropCount {
    /// The cause, as `wrong-cookie`.
    pub cause: SafeText,
    /// How many.
    pub count: u64,
}

/// What a finished job amounts to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobSummary {
    /// Transmit backend used.
    pub backend: SafeText,
    /// Probes sent, repeats included.
    pub probes_sent: u64,
    /// Addresses × ports.
    pub targets: u64,
    /// Addresses that were in the scan.
    pub addresses: u64,
    /// Open ports found.
    pub open_ports: u64,
    /// Hosts found.
    pub hosts: u64,
    /// Share of open ports that were probably missed, 0-1, where it could be estimated.
    #[serde(default)]
    pub miss_estimate: Option<f32>,
    /// The share missed is at most this, 19 times in 20.
    #[serde(default)]
    pub miss_bound: Option<f32>,
    /// Share of the probes to answering targets that went unanswered, 0-1: lost on the way, or their answers.
    #[serde(default)]
    pub loss_estimate: Option<f32>,
    /// Frames received and not used, by cause.
    #[serde(default)]
    pub drops: Vec<DropCount>,
    /// From first probe to last reply.
    pub duration_ms: u64,
    /// Addresses on which so much answers that the answers mean nothing (SYN proxies, tarpits).
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub suspicious_hosts: Vec<IpAddr>,
}

/// Ends a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FinishRequest {
    /// From [`LeasedJob`].
    pub lease_token: Uuid,
    /// How it ended.
    pub outcome: JobOutcome,
    /// Why it failed, in a sentence for the user.
    #[serde(default)]
    pub error: Option<SafeText>,
    /// How many batches there were: the server answers 409 `batches-missing` until it has them all.
    pub batches: u32,
    /// What it amounts to.
    pub summary: JobSummary,
}
