//! Replies judged in the kernel: a program on the device checks their cookies before any stack sees them.
//!
//! What answers a probe becomes a record in a ring buffer, or, if all it says is that a port is closed and nobody asks
//! for closed ports, a bit in the tally ([`ledger`]); what only pretends to is counted and dropped where it
//! arrives, so that a flood of forged replies costs next to nothing; all else goes its usual way, where the packet
//! ring still waits for UDP, ICMP and whatever has options or extension headers of its own.
//!
//! The stack does not see SYN-ACKs, so it does not reset them either: as with the other backends the scan sends
//! nothing but its probes.
//!
//! The program is held by a link: it leaves the device when the scan ends, however it ends.

mod ledger;
mod program;

use std::{io, net::IpAddr, sync::atomic::Ordering::Relaxed, time::Duration};

pub(crate) use self::ledger::Ledger;
use self::program::{Count, Ingredients};
use super::{Classifier, DropCause, Tally};
use crate::{
    cookie::{CookieKey, SourcePorts},
    sys::bpf::{Link, Program, RingBuffer, SharedArray, XdpMode},
    transmit::Stopwatch,
};

/// A program on a device, and the records that it leaves.
pub(crate) struct KernelReceiver {
    ring: RingBuffer,
    counts: SharedArray,
    /// Counts that were reported already.
    reported: [u64; Count::ALL.len()],
    ledger: Option<Ledger>,
    _link: Link,
}

impl KernelReceiver {
    /// Room for 100,000 replies: a thirtieth of a second at 3 million a second.
    const RING_BYTES: u32 = 8 << 20;
    /// Puts the program on the device with this number: in the driver, or in front of the stack where the driver
    /// cannot. Replies count if they come to one of our addresses and ports. With a ledger closed ports are noted there.
    pub(crate) fn attach(
        device: u32,
        ours: &[IpAddr],
        ports: SourcePorts,
        key: &CookieKey,
        ledger: Option<Ledger>,
    ) -> io::Result<Self> {
        // Closed ports are noted over IPv4 alone.
        let notes_all = ledger.as_ref().filter(|_| ours.iter().all(IpAddr::is_ipv4));
        let ring = RingBuffer::new("pr_replies", notes_all.map_or(Self::RING_BYTES, Self::ring_bytes))?;
        let counts = SharedArray::new("pr_counts", 1, Count::ALL.len() as u32)?;
        let ingredients =
            Ingredients { ours, ports, key, ring: &ring, counts: &counts, ledger: ledger.as_ref() };
        let program = Program::load("pr_receive", program::emit(&ingredients))?;
        let link = Link::attach(&program, device, XdpMode::Native).or_else(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => Err(error),
            _ => Link::attach(&program, device, XdpMode::Generic),
        })?;
        Ok(Self { ring, counts, reported: [0; Count::ALL.len()], ledger, _link: link })
    }

    /// Where closed ports take no room: enough for the first answer of every host, and for the open ports of a tenth of a
    /// second. The memory counts twice, being mapped so.
    fn ring_bytes(ledger: &Ledger) -> u32 {
        let records = ledger.hosts().saturating_mul(64).next_power_of_two();
        records.clamp(2 << 20, u64::from(Self::RING_BYTES)) as u32
    }

    /// From here on closed ports are noted for this tally, if it is of the space that the ledger is about.
    pub(super) fn begin(&mut self, classifier: Classifier<'_>, tally: &Tally, time: Stopwatch) {
        if let Some(ledger) = &mut self.ledger {
            ledger.open(classifier.space, tally, time);
        }
    }

    /// Nothing is noted any more, and all that was has been counted.
    pub(super) fn end(&mut self, tally: &Tally) {
        if let Some(ledger) = &mut self.ledger {
            ledger.close(tally);
        }
    }

    /// Takes in every reply that is there; returns how many there were.
    pub(super) fn take_ready(&mut self, classifier: Classifier<'_>, tally: &Tally, time: Stopwatch) -> usize {
        // When the scan began, by the clock of the records.
        let start_ns = time.start_ns();
        if let Some(ledger) = &mut self.ledger {
            ledger.count(tally);
        }
        self.ring.take_ready(|record| {
            let Some((time_ns, packet)) = record.split_first_chunk::<8>() else { return };
            let received_at = Duration::from_nanos(u64::from_ne_bytes(*time_ns).saturating_sub(start_ns));
            match classifier.classify(packet) {
                Ok(reply) => tally.take(reply, Some(received_at)),
                Err(cause) => tally.common.drops.add(cause, 1),
            }
        })
    }

    /// Reports what the program dropped since the last time.
    pub(super) fn count_dropped(&mut self, tally: &Tally) {
        for (place, count) in Count::ALL.into_iter().enumerate() {
            let (Some(counter), Some(reported)) = (self.counts.get(place), self.reported.get_mut(place))
            else {
                continue;
            };
            let now = counter.load(Relaxed);
            tally.common.drops.add(count.cause(), now - *reported);
            *reported = now;
        }
    }
}

impl Count {
    fn cause(self) -> DropCause {
        match self {
            Self::Full => DropCause::KernelRing,
            Self::UnexpectedFlags => DropCause::UnexpectedFlags,
            Self::WrongCookie => DropCause::WrongCookie,
        }
    }
}

#[cfg(test)]
mod tests;
