//! How far a scan is, and the switch that stops it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

/// What a scan is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing yet.
    #[default]
    Preparing,
    /// Asking attached networks for hardware addresses.
    Resolving,
    /// Looking for hosts.
    Discovering,
    /// Probing for the first time.
    Probing,
    /// Probing again what did not answer.
    Retrying,
    /// Everything is sent.
    Waiting,
    /// Over.
    Done,
}

impl Phase {
    const ALL: [Self; 7] = [
        Self::Preparing,
        Self::Resolving,
        Self::Discovering,
        Self::Probing,
        Self::Retrying,
        Self::Waiting,
        Self::Done,
    ];

    /// The phase in words for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "Preparing",
            Self::Resolving => "Resolving neighbours",
            Self::Discovering => "Looking for hosts",
            Self::Probing => "Probing",
            Self::Retrying => "Probing silent targets again",
            Self::Waiting => "Waiting for last replies",
            Self::Done => "Done",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A moment of a running scan.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Probes sent, repeats and questions for hardware addresses included.
    pub probes_sent: u64,
    /// Probes to be sent without repeats, in this shard and phase.
    pub probes_total: u64,
    /// Probes dealt with in the first pass: sent, or left out because the host is known to be away.
    pub probes_done: u64,
    /// Validated replies.
    pub received: u64,
    /// Open ports found.
    pub open_ports: u64,
    /// Hosts found.
    pub hosts: u64,
    /// Packets a second at the moment.
    pub rate_pps: u32,
    /// Share of the answering targets that are probably still missing, 0-1, once it can be estimated.
    pub miss_estimate: Option<f32>,
}

/// A handle on a scan: cheap to clone, shared between threads.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cancelled: AtomicBool,
    phase: AtomicU8,
    probes_sent: AtomicU64,
    probes_total: AtomicU64,
    probes_done: AtomicU64,
    received: AtomicU64,
    open_ports: AtomicU64,
    hosts: AtomicU64,
    rate_pps: AtomicU32,
    /// The bits of an `f32`, plus one; 0 is "not known".
    miss_estimate: AtomicU32,
}

impl Control {
    /// A handle for one scan.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the scan to stop; it does within a second, and reports what it has.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Relaxed);
    }

    /// Whether somebody asked it to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Relaxed)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let state = &*self.0;
        Progress {
            phase: Phase::ALL.get(usize::from(state.phase.load(Relaxed))).copied().unwrap_or_default(),
            probes_sent: state.probes_sent.load(Relaxed),
            probes_total: state.probes_total.load(Relaxed),
            probes_done: state.probes_done.load(Relaxed),
            received: state.received.load(Relaxed),
            open_ports: state.open_ports.load(Relaxed),
            hosts: state.hosts.load(Relaxed),
            rate_pps: state.rate_pps.load(Relaxed),
            miss_estimate: state.miss_estimate.load(Relaxed).checked_sub(1).map(f32::from_bits),
        }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Relaxed);
    }

    /// A new phase, of which nothing is done yet.
    pub(crate) fn begin(&self, phase: Phase, probes_total: u64) {
        self.0.probes_done.store(0, Relaxed);
        self.0.probes_total.store(probes_total, Relaxed);
        self.set_phase(phase);
    }

    pub(crate) fn set_rate(&self, rate_pps: u32) {
        self.0.rate_pps.store(rate_pps, Relaxed);
    }

    pub(crate) fn set_miss_estimate(&self, estimate: f32) {
        self.0.miss_estimate.store(estimate.abs().to_bits().saturating_add(1), Relaxed);
    }

    pub(crate) fn add_sent(&self, probes: u64) {
        self.0.probes_sent.fetch_add(probes, Relaxed);
    }

    pub(crate) fn add_done(&self, probes: u64) {
        self.0.probes_done.fetch_add(probes, Relaxed);
    }

    pub(crate) fn add_received(&self, count: u64) {
        self.0.received.fetch_add(count, Relaxed);
    }

    pub(crate) fn add_open_port(&self) {
        self.0.open_ports.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_host(&self) {
        self.0.hosts.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_one_state() {
        let control = Control::new();
        let other = control.clone();
        assert_eq!(other.progress(), Progress::default());
        control.set_phase(Phase::Waiting);
        control.set_miss_estimate(0.0);
        control.cancel();
        assert!(other.is_cancelled());
        assert_eq!(other.progress().phase, Phase::Waiting);
        assert_eq!(other.progress().miss_estimate, Some(0.0));
    }

    #[test]
    fn every_phase_is_found_by_its_number() {
        for phase in Phase::ALL {
            let control = Control::new();
            control.set_phase(phase);
            assert_eq!(control.progress().phase, phase);
        }
    }
}
