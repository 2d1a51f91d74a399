//! Probes out: the ways they can leave, behind one trait.

mod choose;
mod connect;
mod frames;

use std::{
    ops::Range,
    time::{Duration, Instant, SystemTime},
};

pub(crate) use choose::{Refusal, Request, Sender, choose};
pub(crate) use connect::ConnectTransmit;

use crate::{
    ScanError,
    cookie::{CookieKey, SourcePorts},
    network::Paths,
    pace::Pace,
    probe::Payloads,
    receive::Tally,
    space::{ProbeSpace, Target},
};

/// A way for probes to leave. A backend gets a whole pass, not single frames, so that one which makes its
/// frames elsewhere (in the kernel, on another core) fits as well.
pub(crate) trait Transmit: Send {
    /// Sends one probe to every target of the pass that is still wanted, in order and at pace, until the end or
    /// until the scan is cancelled. Returns the first position that was not dealt with.
    fn send_pass(&mut self, pass: &mut Pass<'_>) -> Result<u64, ScanError>;

    /// Whether every answer was waited for when [`Transmit::send_pass`] returns.
    fn settles_itself(&self) -> bool;
}

/// Makes the frames of a pass by itself, past the loop that fills a [`crate::sys::FrameSink`]: in the kernel, say.
pub(crate) trait Generator: Send {
    /// Sends probes to the targets of the pass from its first position on, in order and at pace, as far as it
    /// can, and returns the first position that was not dealt with: the loop goes on from there. A pass that is
    /// nothing for this generator (some targets go through another device than number `device`, say) it leaves
    /// alone, by returning its first position.
    fn send_pass(&mut self, device: usize, pass: &mut Pass<'_>, facts: &Facts<'_>) -> Result<u64, ScanError>;
}

/// What frames are made of, besides the pass. Hardware addresses are known by then.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) payloads: &'a Payloads,
    pub(crate) key: &'a CookieKey,
    pub(crate) ports: SourcePorts,
}

/// One round of probes: which positions of the order, and what decides whether each is sent.
pub(crate) struct Pass<'a> {
    pub(crate) space: &'a ProbeSpace,
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
        let target = self.tally.target(position, self.space)?;
        let settled = self.tally.is_answered(position, target.host) || (self.skip_host)(target.host);
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
pub(crate) struct Stopwatch {
    start: Instant,
    /// The same moment by the system's clock, since the Unix epoch.
    start_epoch: Duration,
}

impl Stopwatch {
    /// Begins now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the kernel stamps received frames with the system's clock"
    )]
    pub(crate) fn start() -> Self {
        let start_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_epoch }
    }

    /// Since the beginning.
    #[inline]
    pub(crate) fn elapsed(self) -> Duration {
        self.start.elapsed()
    }

    /// The moment that the system's clock showed these nanoseconds since the Unix epoch. If that cannot be, since
    /// the clock was set meanwhile, it is now.
    pub(crate) fn at_epoch_ns(self, time_ns: u64) -> Duration {
        let elapsed = self.elapsed();
        match Duration::from_nanos(time_ns).checked_sub(self.start_epoch) {
            Some(since) if since <= elapsed => since,
            _ => elapsed,
        }
    }
}
