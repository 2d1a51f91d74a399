//! What a scan hands out.

use std::time::Duration;

use portreeve_model::{HostSighting, Observation};

use crate::{Checkpoint, SuspiciousHost};

/// Something a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// How far the scan is, if [`crate::ScanConfig::checkpoint_every`] asks for it. All that was found until then
    /// came before it.
    Checkpoint(Box<Checkpoint>),
    /// A port and its state.
    Port(Observation),
    /// A host that answered; once for each host.
    Host(HostSighting),
    /// A host on which so much is open that it means nothing: no more open ports of it come after this.
    Suspicious(SuspiciousHost),
}

/// What a scan amounts to.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanReport {
    /// The backends used, as `ring` or `ring+raw-ip`.
    pub backend: String,
    /// Probes sent, repeats and questions for hardware addresses included.
    pub probes_sent: u64,
    /// Addresses × ports of this shard.
    pub targets: u64,
    /// Of those, how many answered, open or not.
    pub answered: u64,
    /// Addresses in the scan, over all shards.
    pub addresses: u64,
    /// Open ports found.
    pub open_ports: u64,
    /// Hosts found.
    pub hosts: u64,
    /// What was received and not used, and what was not sent, by cause; causes that did not occur are left out.
    pub drops: Vec<(&'static str, u64)>,
    /// Packets a second while probes left for the first time.
    pub send_rate_pps: u32,
    /// From the first probe to the last reply waited for.
    pub duration: Duration,
    /// Share of the answering targets that was probably missed, 0-1. Estimated from what only answered when
    /// asked again (removal method: Zippin 1956), so there is none without retries.
    pub miss_estimate: Option<f32>,
    /// The share missed is at most this, 19 times in 20.
    pub miss_bound: Option<f32>,
    /// Share of the probes to answering targets that went unanswered, 0-1: lost on the way, or their answers.
    pub loss_estimate: Option<f32>,
    /// Hosts on which so much is open that it means nothing, by address. Their open ports beyond the first few were
    /// counted, but not reported.
    pub suspicious_hosts: Vec<SuspiciousHost>,
    /// Position of the probe order up to which every target was probed.
    pub checkpoint: u64,
    /// Whether it ran to its end; false when cancelled.
    pub completed: bool,
}
