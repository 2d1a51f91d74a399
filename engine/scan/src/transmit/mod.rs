//! Probes out: the ways they can leave, behind one trait.

mod choose;
mod connect;
mod frames;
mod kernel;
mod lanes;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

pub(crate) use choose::{Refusal, Request, Sender, choose};
pub(crate) use connect::ConnectTransmit;
pub(crate) use lanes::lanes;

use crate::{
    Permutation, ScanError,
    ceilings::Ceilings,
    checkpoint::Mark,
    cookie::{CookieKey, SourcePorts},
    network::Paths,
    pace::Pace,
    probe::{Payloads, ROW},
    receive::{KernelReceiver, Tally},
    space::{ProbeSpace, Target},
    sys::bpf::clock_ns,
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

/// Makes the frames of passes by itself, past the loop that fills a [`crate::sys::FrameSink`]: in the kernel, say.
pub(crate) trait Generator: Send {
    /// How much of a pass it can send.
    fn share(&self, pass: &Pass<'_>) -> Share;

    /// Sends one probe to every target of its share at these positions of the pass that is still wanted, in order
    /// and at pace, until the end or until the scan is cancelled. Returns the first position that it may not have
    /// dealt with. Counts positions as done if its share is all of the pass.
    fn send(
        &mut self,
        pass: &mut Pass<'_>,
        positions: Range<u64>,
        facts: &Facts<'_>,
    ) -> Result<u64, ScanError>;

    /// The receiving end that came with it, once.
    fn take_receiver(&mut self) -> Option<KernelReceiver>;
}

/// How much of a pass a generator sends.
#[derive(Clone)]
pub(crate) enum Share {
    All,
    Nothing,
    /// Those targets that it carries.
    Part(Carried),
}

/// Whether a generator sends the probes to a target.
pub(crate) type Carried = Arc<dyn Fn(&Target) -> bool + Send + Sync>;

impl Share {
    /// What is carried, if it is a part.
    pub(crate) fn part(&self) -> Option<Carried> {
        match self {
            Self::All | Self::Nothing => None,
            Self::Part(carried) => Some(Arc::clone(carried)),
        }
    }
}

/// What frames are made of, besides the pass. Hardware addresses are known by then.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) payloads: &'a Payloads,
    pub(crate) key: &'a CookieKey,
    pub(crate) ports: SourcePorts,
    /// What generators send in this pass.
    pub(crate) carried: &'a [Carried],
}

/// One round of probes: which positions of the order, and what decides whether each is sent.
pub(crate) struct Pass<'a> {
    pub(crate) space: &'a ProbeSpace,
    /// What is left: the start moves on.
    pub(crate) positions: Range<u64>,
    /// From 0.
    pub(crate) attempt: u8,
    pub(crate) pace: &'a mut Pace,
    pub(crate) ceilings: &'a mut Ceilings,
    /// A target that was taken and could not be sent to.
    pub(crate) put_back: Option<(u64, Target)>,
    pub(crate) tally: &'a Tally,
    pub(crate) time: Stopwatch,
    /// Hosts that are left out.
    pub(crate) skip_host: &'a (dyn Fn(u64) -> bool + Sync),
    /// Targets that had been asked before this pass.
    pub(crate) asked: u64,
    /// Targets that a probe was sent to.
    pub(crate) sent: u64,
    /// Which of several lanes this is the pass of, and how many of the targets the others have been told of.
    pub(crate) lane: Option<LaneFloor<'a>>,
    pub(crate) told: u64,
    pub(crate) ahead: Ahead,
}

/// The numbers of the targets at the positions ahead, which cost less in a row than one by one.
#[derive(Debug)]
pub(crate) struct Ahead {
    first: u64,
    numbers: [u64; ROW],
    count: usize,
}

impl Ahead {
    pub(crate) const fn new() -> Self {
        Self { first: 0, numbers: [0; ROW], count: 0 }
    }

    /// The number of the target at `position`; positions come in their order, most of them one after the other.
    #[inline]
    fn number(&mut self, position: u64, order: &Permutation) -> Option<u64> {
        let place = position.wrapping_sub(self.first);
        if place < self.count as u64 {
            return self.numbers.get(place as usize).copied();
        }
        self.first = position;
        self.count = order.fill(position, &mut self.numbers);
        self.numbers.first().copied().filter(|_| self.count > 0)
    }
}

/// Where one of several lanes is, among the others.
#[derive(Clone, Copy)]
pub(crate) struct LaneFloor<'a> {
    /// What each lane has dealt with up to.
    pub(crate) floors: &'a [AtomicU64],
    /// Targets that all of them have sent to.
    pub(crate) sent: &'a AtomicU64,
    pub(crate) number: usize,
}

impl LaneFloor<'_> {
    /// Adds what this lane has done; returns where the last of all is, and how much all have sent.
    fn add_up(&self, position: u64, sent: u64) -> (u64, u64) {
        self.rise(position);
        let last = self.floors.iter().map(|floor| floor.load(Relaxed)).min();
        (last.unwrap_or(position), self.sent.fetch_add(sent, Relaxed) + sent)
    }

    /// This lane has dealt with everything up to here.
    pub(crate) fn rise(&self, position: u64) {
        if let Some(floor) = self.floors.get(self.number) {
            floor.store(position, Relaxed);
        }
    }
}

impl Pass<'_> {
    /// The target at `position`, unless it needs no probe.
    #[inline]
    fn wanted(&mut self, position: u64) -> Option<Target> {
        let target = self.space.target(self.ahead.number(position, self.tally.order())?)?;
        (!self.is_settled(position, &target)).then_some(target)
    }

    /// Whether the target at `position` needs no probe any more.
    #[inline]
    fn is_settled(&self, position: u64, target: &Target) -> bool {
        self.tally.is_answered(position, target.host) || (self.skip_host)(target.host)
    }

    /// The next target that may be sent to now, and its position. `None` at the end of the pass, and for the
    /// moment when the ceilings hold everything back or nothing was found to need a probe for long.
    #[inline]
    pub(crate) fn take(&mut self, now: Duration) -> Option<(u64, Target)> {
        if let Some(taken) = self.put_back.take() {
            return Some(taken);
        }
        if self.ceilings.are_set() {
            return self.take_below_ceilings(now);
        }
        let end = self.positions.end.min(self.positions.start + LOOK_AHEAD);
        while self.positions.start < end {
            let position = self.advance();
            if let Some(target) = self.wanted(position) {
                return Some((position, target));
            }
        }
        None
    }

    fn take_below_ceilings(&mut self, now: Duration) -> Option<(u64, Target)> {
        while let Some(position) = self.ceilings.take_due(now) {
            let Some(target) = self.tally.target(position, self.space) else { continue };
            self.ceilings.release(&target);
            if self.is_settled(position, &target) {
                continue;
            }
            if self.ceilings.admit(&target, now) {
                return Some((position, target));
            }
            self.ceilings.hold(position, &target, now);
        }
        let end = self.positions.end.min(self.positions.start + LOOK_AHEAD);
        while self.positions.start < end {
            let position = self.positions.start;
            if let Some(target) = self.wanted(position) {
                if self.ceilings.admit(&target, now) {
                    self.advance();
                    return Some((position, target));
                }
                if !self.ceilings.hold(position, &target, now) {
                    return None;
                }
            }
            self.advance();
        }
        None
    }

    /// Gives a target back that could not be sent to.
    pub(crate) fn put_back(&mut self, position: u64, target: Target) {
        self.put_back = Some((position, target));
    }

    /// Goes one position on.
    #[inline]
    fn advance(&mut self) -> u64 {
        let position = self.positions.start;
        self.positions.start += 1;
        position
    }

    /// Whether there is anything left to do.
    pub(crate) fn is_over(&self) -> bool {
        self.positions.is_empty() && self.put_back.is_none() && self.ceilings.held() == 0
    }

    /// The first position that was not dealt with.
    pub(crate) fn reached(&self) -> u64 {
        let back = self.put_back.map(|(position, _)| position);
        let first = back.into_iter().chain(self.ceilings.first_held()).min();
        first.map_or(self.positions.start, |first| first.min(self.positions.start))
    }

    /// Tells the checkpoints how far the pass is, and which position is the first under way yet, if that is known.
    pub(crate) fn publish(&mut self, under_way: Option<u64>) {
        let reached = self.reached();
        let position = under_way.map_or(reached, |first| first.min(reached));
        let first = if self.attempt == 0 { self.sent } else { 0 };
        let (position, first) = match self.lane {
            Some(lane) => lane.add_up(position, first - std::mem::replace(&mut self.told, first)),
            None => (position, first),
        };
        self.tally.reach(Mark { attempt: self.attempt, position, asked: self.asked + first });
    }

    /// Counts positions as done, sent or not.
    pub(crate) fn dealt_with(&self, positions: u64) {
        if self.attempt == 0 {
            self.tally.common.control.add_done(positions);
        }
    }
}

/// Positions looked at in one go, where most need no probe, so that cancelling takes effect soon.
const LOOK_AHEAD: u64 = 1 << 14;

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

    /// When it began, by the monotonic clock that programs in the kernel read, in nanoseconds.
    pub(crate) fn start_ns(self) -> u64 {
        clock_ns().saturating_sub(self.elapsed().as_nanos() as u64)
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
