//! Probes out: the ways they can leave, behind one trait.

mod connect;

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

pub(crate) use connect::ConnectTransmit;

use crate::{
    Permutation, ScanError,
    pace::Pace,
    receive::Tally,
    space::{ProbeSpace, Target},
};

/// A way for probes to leave. A backend gets a whole pass, not single frames, so that one which makes its
/// frames elsewhere (in the kernel, on another core) fits as well.
pub(crate) trait Transmit: Send {
    /// Sends one probe to every target of the pass that is still wanted, in order and at pace, until the end or
    /// until the scan is cancelled. Returns the first position that was not dealt with.
    fn send_pass(&mut self, pass: &mut Pass<'_>) -> Result<u64, ScanError>;
}

/// One round of probes: which positions of the order, and what decides whether each is sent.
pub(crate) struct Pass<'a> {
    pub(crate) space: &'a Arc<ProbeSpace>,
    pub(crate) order: &'a Permutation,
    pub(crate) positions: Range<u64>,
    /// From 0.
    pub(crate) attempt: u8,
    pub(crate) pace: &'a mut Pace,
    pub(crate) tally: &'a Tally,
    pub(crate) time: Stopwatch,
    /// Hosts that are left out.
    pub(crate) skip_host: &'a (dyn Fn(u64) -> bool + Sync),
    /// Targets that a probe was sent to.
    pub(crate) sent: u64,
}

impl Pass<'_> {
    /// The target at `position`, unless it needs no probe.
    #[inline]
    pub(crate) fn wanted(&self, position: u64) -> Option<Target> {
        let target = self.space.target(self.order.at(position)?)?;
        let settled = self.tally.is_answered(&target) || (self.skip_host)(target.host);
        (!settled).then_some(target)
    }

    /// Counts positions as done, sent or not.
    pub(crate) fn dealt_with(&self, positions: u64) {
        if self.attempt == 0 {
            self.tally.common.control.add_done(positions);
        }
    }
}

/// Time since a scan began: what pace and round-trip times are measured by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Since the beginning.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
