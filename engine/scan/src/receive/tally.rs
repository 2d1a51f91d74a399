//! What the stages of a scan know together of one stretch: who answered, how often, and what goes out as an event.

use std::{
    ops::Range,
    sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release, SeqCst},
    },
    time::Duration,
};

use portreeve_model::{HostReason, HostSighting, Observation, PortState, Reason, SynAckTraits};

use super::{Common, DropCause, Seen, TallyMemory, memory::Stamps};
use crate::{
    Event, Page, Permutation,
    checkpoint::{Checkpoint, Mark, restore},
    loss::Histories,
    space::{ProbeKind, ProbeSpace, Target},
};

/// A validated reply to one of our probes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) target: Target,
    /// Which attempt it answers, where the reply tells.
    pub(crate) attempt: Option<u8>,
    pub(crate) state: PortState,
    pub(crate) reason: Reason,
    /// Whether the target itself sent it, not a router on the way.
    pub(crate) from_target: bool,
    pub(crate) ttl: Option<u8>,
    pub(crate) rtt_us: Option<u32>,
    pub(crate) syn_ack: Option<SynAckTraits>,
}

/// Answers of closed ports that a program in the kernel has noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Of targets that had not answered before, by the attempt that they answer.
    pub(crate) first_answers: [u64; Histories::ATTEMPTS],
    /// Of others.
    pub(crate) duplicate: u64,
    /// Of targets that are not in the stretch.
    pub(crate) late: u64,
    /// The longest that one took, in microseconds; 0 if no times are kept.
    pub(crate) slowest_us: u32,
}

/// Which answers are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Ports that answered, but not as open.
    pub(crate) closed: bool,
    /// Ports at all; without, only hosts are reported.
    pub(crate) ports: bool,
}

/// The shared state of one stretch of a scan. No locks: the transmit loop reads it for every probe.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) common: Common,
    wanted: Wanted,
    order: Permutation,
    /// The positions this is about.
    stretch: Range<u64>,
    /// Places in the stretch whose target has answered.
    pub(crate) answered: Seen,
    answered_count: AtomicU64,
    /// When each target was probed last, where memory allows.
    sent_at: Option<Stamps>,
    /// Targets whose first answer came to attempt 0, 1, 2 …: TCP only, whose answers are not rate-limited.
    first_answers: [AtomicU64; Histories::ATTEMPTS],
    /// The longest round-trip time of any answer, in microseconds; 0 as long as none is known.
    slowest_us: AtomicU32,
    stopped: AtomicBool,
    /// Where the probes are: the position, above it the attempt, and how many targets have been asked.
    reached: AtomicU64,
    asked: AtomicU64,
    /// Replies that have events to make: how many were begun, and how many are done.
    reports_begun: AtomicU64,
    reports_done: AtomicU64,
}

impl Tally {
    /// The most positions that one tally can be about.
    pub(crate) const MAX_STRETCH: u64 = Seen::EXACT_LIMIT;
    /// Up to this many targets have their round-trip times measured: 16 MiB.
    pub(super) const TIMED_TARGETS: u64 = 1 << 22;
    /// Bits of [`Self::sent_at`] that hold the attempt.
    pub(crate) const ATTEMPT_BITS: u32 = 2;
    /// Bits of [`Self::reached`] that hold the position: orders are shorter than 2⁵⁸.
    const POSITION_BITS: u32 = 60;
    /// How often a moment without events is looked for, 100 µs apart.
    const LOOKS_FOR_QUIET: u32 = 2_000;
    /// Numbers of a page of bits, as a power of two.
    pub(crate) const PAGE_SHIFT: i32 = (Page::WORDS * u64::BITS as usize).ilog2() as i32;
    /// Times are kept modulo 2³⁰ µs, about 18 minutes; no answer takes as long.
    pub(crate) const TIME_MASK: u32 = (1 << (u32::BITS - Self::ATTEMPT_BITS)) - 1;

    /// Nobody of this stretch of the order has answered yet.
    pub(crate) fn new(
        order: Permutation,
        stretch: Range<u64>,
        wanted: Wanted,
        common: Common,
        memory: Option<&TallyMemory>,
    ) -> Self {
        let targets = stretch.end - stretch.start;
        Self {
            common,
            wanted,
            order,
            stretch,
            answered: Seen::in_memory(targets, memory.map(|memory| &memory.answered)),
            sent_at: Stamps::new(targets, memory),
            answered_count: AtomicU64::new(0),
            first_answers: Default::default(),
            slowest_us: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
            reached: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            reports_begun: AtomicU64::new(0),
            reports_done: AtomicU64::new(0),
        }
    }

    /// Goes on where a checkpoint of this stretch says.
    pub(crate) fn restore(&self, checkpoint: &Checkpoint) {
        let from = checkpoint.position.saturating_sub(self.stretch.start);
        restore(&self.common.hosts, &checkpoint.hosts);
        let before = restore(&self.answered, &checkpoint.answered);
        // Who was asked after the mark and has answered will not be asked again, and counts as asked.
        let beyond = checkpoint.answered.iter().map(|page| page.count_from(from)).sum();
        let beyond: u64 = if checkpoint.attempt == 0 { beyond } else { 0 };
        self.answered_count.store(before, Relaxed);
        self.asked.store(checkpoint.asked + beyond, Relaxed);
        for (count, &restored) in self.first_answers.iter().zip(&checkpoint.histories().first_answers) {
            count.store(restored, Relaxed);
        }
    }

    /// Notes how far the probes are.
    #[inline]
    pub(crate) fn reach(&self, mark: Mark) {
        self.asked.store(mark.asked, Relaxed);
        self.reached.store(u64::from(mark.attempt) << Self::POSITION_BITS | mark.position, Release);
    }

    /// How far the probes are.
    pub(crate) fn mark(&self) -> Mark {
        let reached = self.reached.load(Acquire);
        let position = (reached & ((1 << Self::POSITION_BITS) - 1)).max(self.stretch.start);
        Mark { attempt: (reached >> Self::POSITION_BITS) as u8, position, asked: self.asked.load(Relaxed) }
    }

    /// Whether this memory holds the bits, and answers of closed ports are of no interest beyond them.
    pub(crate) fn is_in(&self, memory: &TallyMemory) -> bool {
        !self.wanted.closed && self.answered.is_in(&memory.answered)
    }

    /// Whether it is about ports, not only about hosts.
    pub(crate) fn is_of_ports(&self) -> bool {
        self.wanted.ports
    }

    /// Waits a while for a moment in which no event is being made; false if there was none.
    pub(crate) fn await_reports(&self) -> bool {
        let is_quiet = || {
            let done = self.reports_done.load(Acquire);
            done == self.reports_begun.load(SeqCst)
        };
        (0..Self::LOOKS_FOR_QUIET).any(|_| {
            let quiet = is_quiet();
            if !quiet {
                std::thread::sleep(Duration::from_micros(100));
            }
            quiet
        })
    }

    /// The positions this is about.
    pub(crate) fn stretch(&self) -> Range<u64> {
        self.stretch.clone()
    }

    /// The order that the positions are of.
    #[inline]
    pub(crate) fn order(&self) -> &Permutation {
        &self.order
    }

    /// The target at a position of the order.
    #[inline]
    pub(crate) fn target(&self, position: u64, space: &ProbeSpace) -> Option<Target> {
        space.target(self.order.at(position)?)
    }

    /// Takes a reply in that arrived at `received_at`: once for each target, the first one counts.
    pub(crate) fn take(&self, mut reply: Reply, received_at: Option<Duration>) {
        self.common.control.add_received(1);
        if let Some(received_at) = received_at {
            reply.rtt_us = self.round_trip_us(&reply, received_at);
        }
        if let Some(rtt_us) = reply.rtt_us {
            self.slowest_us.fetch_max(rtt_us.max(1), Relaxed);
        }
        // Whoever waits for what is being reported has to see this before the marks that are set below.
        let reports = reply.state == PortState::Open
            || self.wanted.closed
            || !self.common.hosts.contains(reply.target.host);
        if reports {
            self.reports_begun.fetch_add(1, SeqCst);
        }
        self.note(&reply);
        if reports {
            self.reports_done.fetch_add(1, Release);
        }
    }

    /// Takes in what a program in the kernel has noted by itself: it has set the bits, here they are counted.
    pub(crate) fn take_noted(&self, noted: &Noted) {
        let answers: u64 = noted.first_answers.iter().sum();
        self.common.control.add_received(answers + noted.duplicate + noted.late);
        self.common.drops.add(DropCause::Duplicate, noted.duplicate);
        self.common.drops.add(DropCause::Late, noted.late);
        for (count, &more) in self.first_answers.iter().zip(&noted.first_answers) {
            count.fetch_add(more, Relaxed);
        }
        self.slowest_us.fetch_max(noted.slowest_us, Relaxed);
        self.answered_count.fetch_add(answers, Relaxed);
    }

    /// Marks the target and its host, and reports what is new.
    fn note(&self, reply: &Reply) {
        if reply.from_target {
            self.meet_host(reply);
        }
        let Some(place) = self.place(&reply.target) else {
            self.common.drops.add(DropCause::Late, 1);
            return;
        };
        if !self.answered.insert(place) {
            self.common.drops.add(DropCause::Duplicate, 1);
            return;
        }
        self.answered_count.fetch_add(1, Relaxed);
        self.count_attempt(reply);
        self.report_port(reply);
    }

    /// Whether a position of the stretch needs no (further) probe.
    #[inline]
    pub(crate) fn is_answered(&self, position: u64, host: u64) -> bool {
        self.answered.contains(position - self.stretch.start)
            || (!self.wanted.ports && self.common.hosts.contains(host))
    }

    /// Whether nobody is left to wait for, after `asked` targets at `hosts` addresses were probed.
    pub(crate) fn is_settled(&self, asked: u64, hosts: u64) -> bool {
        let hosts_left = !self.wanted.ports && self.common.control.progress().hosts >= hosts;
        hosts_left || self.answered_count.load(Relaxed) >= asked
    }

    /// Targets that have answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered_count.load(Relaxed)
    }

    /// At which attempts they answered, of as many as were made.
    pub(crate) fn histories(&self, attempts: u8) -> Histories {
        let count = |count: &AtomicU64| count.load(Relaxed);
        Histories { first_answers: self.first_answers.each_ref().map(count), attempts }
    }

    /// The longest time that an answer took.
    pub(crate) fn slowest_answer(&self) -> Option<Duration> {
        let slowest_us = self.slowest_us.load(Relaxed);
        (slowest_us > 0).then(|| Duration::from_micros(slowest_us.into()))
    }

    /// Notes that the probe of a position leaves.
    #[inline]
    pub(crate) fn stamp(&self, position: u64, attempt: u8, now_us: u64) {
        let place = (position - self.stretch.start) as usize;
        if let Some(cell) = self.sent_at.as_ref().and_then(|stamps| stamps.get(place)) {
            let time = now_us as u32 & Self::TIME_MASK;
            cell.store(time << Self::ATTEMPT_BITS | Self::stamp_bits(attempt) as u32, Relaxed);
        }
    }

    /// What a stamp, microseconds × 4 modulo 2³², holds of the attempt.
    pub(crate) fn stamp_bits(attempt: u8) -> u64 {
        u64::from(attempt) & ((1 << Self::ATTEMPT_BITS) - 1)
    }

    /// Where in the stretch a target is.
    fn place(&self, target: &Target) -> Option<u64> {
        let position = self.order.position_of(target.index)?;
        self.stretch.contains(&position).then(|| position - self.stretch.start)
    }

    /// How long a reply took. None if it answers another attempt than the last: its time is gone (Karn and
    /// Partridge 1987).
    fn round_trip_us(&self, reply: &Reply, received_at: Duration) -> Option<u32> {
        let place = self.place(&reply.target)? as usize;
        let stamp = self.sent_at.as_ref()?.get(place)?.load(Relaxed);
        if u32::from(reply.attempt?) & 0b11 != stamp & 0b11 {
            return None;
        }
        Some((received_at.as_micros() as u32).wrapping_sub(stamp >> Self::ATTEMPT_BITS) & Self::TIME_MASK)
    }

    /// Tells the receiving stages to end.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// Whether nothing more will be waited for.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// Reports a port that stayed silent, or that could not be asked.
    pub(crate) fn report_silent(&self, target: &Target, state: PortState, reason: Reason) {
        if let Some((transport, port)) = target.kind.port() {
            self.common.send(Event::Port(Observation {
                address: target.address,
                port,
                transport,
                state,
                reason,
                ttl: None,
                rtt_us: None,
                seen_at_ms: self.common.clock.now(),
                syn_ack: None,
            }));
        }
    }

    fn meet_host(&self, reply: &Reply) {
        let common = &self.common;
        if common.hosts.insert(reply.target.host) {
            common.control.add_host();
            let reason = match reply.target.kind {
                ProbeKind::Echo => HostReason::EchoReply,
                ProbeKind::Timestamp => HostReason::TimestampReply,
                ProbeKind::Ack(_) | ProbeKind::Sctp(_) | ProbeKind::Tcp(_) | ProbeKind::Udp(_) => {
                    HostReason::PortReply
                }
            };
            let sighting = common.sighting(reply.target.address, reason, None);
            common.send(Event::Host(HostSighting { ttl: reply.ttl, rtt_us: reply.rtt_us, ..sighting }));
        }
    }

    fn count_attempt(&self, reply: &Reply) {
        let (Some(attempt), ProbeKind::Tcp(_)) = (reply.attempt, reply.target.kind) else { return };
        if let Some(counter) = self.first_answers.get(usize::from(attempt).min(Histories::ATTEMPTS - 1)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn report_port(&self, reply: &Reply) {
        let Some((transport, port)) = reply.target.kind.port() else { return };
        if !self.wanted.ports {
            return;
        }
        if reply.state == PortState::Open {
            self.common.control.add_open_port();
        } else if !self.wanted.closed {
            return;
        }
        self.common.send(Event::Port(Observation {
            address: reply.target.address,
            port,
            transport,
            state: reply.state,
            reason: reply.reason,
            ttl: reply.ttl,
            rtt_us: reply.rtt_us,
            seen_at_ms: self.common.clock.now(),
            syn_ack: reply.syn_ack,
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam_channel::{Receiver, unbounded};
    use portreeve_model::Timestamp;

    use super::*;
    use crate::{Clock, Control, TargetSetBuilder, receive::Passing, testing::may_use_bpf};

    fn space() -> ProbeSpace {
        let targets = TargetSetBuilder::new().include("10.99.0.0/24").and_then(TargetSetBuilder::build);
        ProbeSpace::ports(targets.expect("targets"), &"1-100".parse().expect("ports"))
    }

    fn tally(stretch: Range<u64>) -> (Tally, Receiver<Passing>) {
        tally_in(stretch, None)
    }

    fn tally_in(stretch: Range<u64>, memory: Option<&TallyMemory>) -> (Tally, Receiver<Passing>) {
        let (events, found) = unbounded();
        let common = Common {
            control: Control::new(),
            drops: Arc::default(),
            clock: Clock::new(|| Timestamp(7)),
            events,
            hosts: Arc::new(Seen::new(256)),
        };
        let wanted = Wanted { closed: false, ports: true };
        (Tally::new(Permutation::new(space().len(), 3), stretch, wanted, common, memory), found)
    }

    fn reply(tally: &Tally, position: u64, attempt: u8) -> Reply {
        Reply {
            target: tally.target(position, &space()).expect("in range"),
            attempt: Some(attempt),
            state: PortState::Open,
            reason: Reason::SynAck,
            from_target: true,
            ttl: Some(64),
            rtt_us: None,
            syn_ack: None,
        }
    }

    #[test]
    fn the_first_answer_counts_and_times_are_those_of_the_last_probe() {
        let (tally, found) = tally(0..1000);
        tally.stamp(5, 0, 1_000);
        tally.take(reply(&tally, 5, 0), Some(Duration::from_micros(1_250)));
        tally.take(reply(&tally, 5, 0), Some(Duration::from_micros(1_300)));
        tally.stamp(6, 1, 5_000);
        tally.take(reply(&tally, 6, 0), Some(Duration::from_micros(5_100)));
        assert_eq!(times(&found), [Some(250), None]);
        assert_eq!(tally.common.drops.counts(), [("duplicate", 1)]);
        assert!(tally.is_answered(5, 0) && !tally.is_answered(7, 0));
        assert!(tally.is_settled(2, 256) && !tally.is_settled(3, 256));
    }

    fn times(found: &Receiver<Passing>) -> Vec<Option<u32>> {
        let times = found.try_iter().filter_map(|event| match event {
            Passing::Event(Event::Port(port)) => Some(port.rtt_us),
            _ => None,
        });
        times.collect()
    }

    /// A short stretch of a scan too long for its programs to note when they send.
    #[test]
    fn times_that_no_program_keeps_are_unknown() {
        if !may_use_bpf() {
            return;
        }
        let memory = TallyMemory::new(Tally::TIMED_TARGETS + 1, 256).expect("maps");
        let (tally, found) = tally_in(0..1000, Some(&memory));
        tally.take(reply(&tally, 5, 0), Some(Duration::from_micros(1_250)));
        assert_eq!(times(&found), [None]);
        let memory = TallyMemory::new(1000, 256).expect("maps");
        let (tally, found) = tally_in(0..1000, Some(&memory));
        tally.stamp(5, 0, 1_000);
        tally.take(reply(&tally, 5, 0), Some(Duration::from_micros(1_250)));
        assert_eq!(times(&found), [Some(250)]);
    }

    #[test]
    fn answers_to_another_stretch_are_late() {
        let (tally, found) = tally(1000..2000);
        tally.take(reply(&tally, 999, 0), None);
        tally.take(reply(&tally, 1000, 0), None);
        assert_eq!(
            found.try_iter().filter(|event| matches!(event, Passing::Event(Event::Port(_)))).count(),
            1
        );
        assert_eq!(tally.common.drops.counts(), [("late", 1)]);
    }
}
