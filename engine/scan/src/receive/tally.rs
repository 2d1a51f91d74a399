//! What the stages of a running scan know together: who answered, how often, and what goes out as an event.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crossbeam_channel::Sender;
use portreeve_model::{HostReason, HostSighting, MacAddress, Observation, PortState, Reason, SynAckTraits};

use super::{DropCause, Drops, Seen};
use crate::{
    Clock, Control, Event,
    space::{ProbeKind, Target},
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

/// Which answers are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Ports that answered, but not as open.
    pub(crate) closed: bool,
    /// Ports at all; without, only hosts are reported.
    pub(crate) ports: bool,
}

/// What outlasts the phases of a scan.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) control: Control,
    pub(crate) drops: Arc<Drops>,
    pub(crate) clock: Clock,
    pub(crate) events: Sender<Event>,
    /// Hosts that were met, by their number.
    pub(crate) hosts: Arc<Seen>,
}

impl Common {
    /// Reports a host, once.
    pub(crate) fn meet_host(&self, host: u64, address: IpAddr, reason: HostReason, mac: Option<MacAddress>) {
        if self.hosts.insert(host) {
            self.control.add_host();
            self.send(Event::Host(self.sighting(address, reason, mac)));
        }
    }

    fn sighting(&self, address: IpAddr, reason: HostReason, mac: Option<MacAddress>) -> HostSighting {
        let seen_at_ms = self.clock.now();
        HostSighting {
            address,
            reason,
            mac,
            mac_vendor: None,
            hostname: None,
            ttl: None,
            rtt_us: None,
            seen_at_ms,
        }
    }

    /// Hands an event over. The channel is bounded: whoever is slow to take events slows the receiver, and what
    /// the kernel drops then is counted. A closed channel means that the scan is being abandoned.
    fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

/// The shared state of one phase of a scan. No locks: the transmit loop reads it for every probe.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) common: Common,
    wanted: Wanted,
    answered: Seen,
    answered_count: AtomicU64,
    /// When each target was probed last, where memory allows: microseconds and attempt.
    sent_at: Option<Box<[AtomicU32]>>,
    /// Targets whose first answer came to attempt 0, 1, 2 …: TCP only, whose answers are not rate-limited.
    first_answers: [AtomicU64; Self::ATTEMPTS],
    stopped: AtomicBool,
}

impl Tally {
    /// Up to this many targets have their round-trip times measured: 16 MiB.
    const TIMED_TARGETS: u64 = 1 << 22;
    /// Bits of [`Self::sent_at`] that hold the attempt.
    const ATTEMPT_BITS: u32 = 2;
    /// Times are kept modulo 2³⁰ µs, about 18 minutes; no answer takes as long.
    const TIME_MASK: u32 = (1 << (u32::BITS - Self::ATTEMPT_BITS)) - 1;
    /// Attempts that are counted apart; later ones count with the last.
    const ATTEMPTS: usize = 16;

    /// An empty tally for `targets` targets.
    pub(crate) fn new(targets: u64, wanted: Wanted, common: Common) -> Self {
        Self {
            common,
            wanted,
            answered: Seen::new(targets),
            sent_at: (targets <= Self::TIMED_TARGETS)
                .then(|| (0..targets).map(|_| AtomicU32::new(0)).collect()),
            answered_count: AtomicU64::new(0),
            first_answers: Default::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Takes a reply in: once for each target, the first one counts.
    pub(crate) fn take(&self, reply: &Reply) {
        self.common.control.add_received();
        if reply.from_target {
            self.meet_host(reply);
        }
        if !self.answered.insert(reply.target.index) {
            self.common.drops.add(DropCause::Duplicate, 1);
            return;
        }
        self.answered_count.fetch_add(1, Relaxed);
        self.count_attempt(reply);
        self.report_port(reply);
    }

    /// Whether the target needs no (further) probe.
    #[inline]
    pub(crate) fn is_answered(&self, target: &Target) -> bool {
        self.answered.contains(target.index)
            || (!self.wanted.ports && self.common.hosts.contains(target.host))
    }

    /// Whether nobody is left to wait for, after `asked` targets at `hosts` addresses were probed.
    pub(crate) fn is_settled(&self, asked: u64, hosts: u64) -> bool {
        let hosts_left = !self.wanted.ports && self.common.control.progress().hosts >= hosts;
        hosts_left || self.answered_count.load(Relaxed) >= asked
    }

    /// Notes that a probe leaves.
    #[inline]
    pub(crate) fn stamp(&self, target: &Target, attempt: u8, now_us: u64) {
        if let Some(cell) = self.sent_at.as_deref().and_then(|cells| cells.get(target.index as usize)) {
            let time = now_us as u32 & Self::TIME_MASK;
            cell.store(time << Self::ATTEMPT_BITS | u32::from(attempt) & 0b11, Relaxed);
        }
    }

    /// How long a reply took. None if it answers another attempt than the last: its time is gone (Karn and
    /// Partridge 1987).
    pub(crate) fn round_trip_us(&self, reply: &Reply, received_at: Duration) -> Option<u32> {
        let stamp = self.sent_at.as_deref()?.get(reply.target.index as usize)?.load(Relaxed);
        if u32::from(reply.attempt?) & 0b11 != stamp & 0b11 {
            return None;
        }
        Some((received_at.as_micros() as u32).wrapping_sub(stamp >> Self::ATTEMPT_BITS) & Self::TIME_MASK)
    }

    /// Whether silent targets can be told from others: then retries go to them alone.
    pub(crate) fn is_exact(&self) -> bool {
        self.answered.is_exact()
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

    /// The share of answering targets that never answered, from those that answered only when asked again.
    ///
    /// If a probe or its answer is lost with probability p, independently, of M targets that would answer M(1-p)
    /// answer the first attempt and M·p(1-p) the second: their quotient is p, and p to the number of attempts
    /// is missed altogether. None before a second attempt was made.
    pub(crate) fn miss_estimate(&self, attempts: u8) -> Option<f32> {
        if attempts < 2 {
            return None;
        }
        let [first, second, ..] = &self.first_answers;
        let (first, second) = (first.load(Relaxed) as f32, second.load(Relaxed) as f32);
        if first == 0.0 {
            return None;
        }
        Some((second / first).min(1.0).powi(i32::from(attempts)))
    }

    fn meet_host(&self, reply: &Reply) {
        let common = &self.common;
        if common.hosts.insert(reply.target.host) {
            common.control.add_host();
            let reason = match reply.target.kind {
                ProbeKind::Echo => HostReason::EchoReply,
                ProbeKind::Tcp(_) | ProbeKind::Udp(_) => HostReason::PortReply,
            };
            let sighting = common.sighting(reply.target.address, reason, None);
            common.send(Event::Host(HostSighting { ttl: reply.ttl, rtt_us: reply.rtt_us, ..sighting }));
        }
    }

    fn count_attempt(&self, reply: &Reply) {
        let (Some(attempt), ProbeKind::Tcp(_)) = (reply.attempt, reply.target.kind) else { return };
        if let Some(counter) = self.first_answers.get(usize::from(attempt).min(Self::ATTEMPTS - 1)) {
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
