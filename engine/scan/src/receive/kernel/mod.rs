//! Replies judged in the kernel: a program on the device checks their cookies before any stack sees them.
//!
//! What answers a probe becomes a record in a ring buffer; what only pretends to is counted and dropped where it
//! arrives, so that a flood of forged replies costs next to nothing; all else goes its usual way, where the packet
//! ring still waits for UDP, ICMP, IPv6 and whatever has options of its own.
//!
//! The stack does not see SYN-ACKs, so it does not reset them either: as with the other backends the scan sends
//! nothing but its probes.
//!
//! The program is held by a link: it leaves the device when the scan ends, however it ends.

mod program;

use std::{io, net::Ipv4Addr, sync::atomic::Ordering::Relaxed, time::Duration};

use self::program::{Count, Ingredients};
use super::{Classifier, DropCause, Tally};
use crate::{
    cookie::{CookieKey, SourcePorts},
    sys::bpf::{Link, Program, RingBuffer, SharedArray, XdpMode, clock_ns},
    transmit::Stopwatch,
};

/// A program on a device, and the records that it leaves.
pub(crate) struct KernelReceiver {
    ring: RingBuffer,
    counts: SharedArray,
    /// Counts that were reported already.
    reported: [u64; Count::ALL.len()],
    _link: Link,
}

impl KernelReceiver {
    /// Room for 100,000 replies: a thirtieth of a second at 3 million a second.
    const RING_BYTES: u32 = 8 << 20;

    /// Puts the program on the device with this number: in the driver, or in front of the stack where the driver
    /// cannot. Replies count if they come to one of our addresses and ports.
    pub(crate) fn attach(
        device: u32,
        ours: &[Ipv4Addr],
        ports: SourcePorts,
        key: &CookieKey,
    ) -> io::Result<Self> {
        let ring = RingBuffer::new("pr_replies", Self::RING_BYTES)?;
        let counts = SharedArray::new("pr_counts", 1, Count::ALL.len() as u32)?;
        let ingredients = Ingredients { ours, ports, key, ring: &ring, counts: &counts };
        let program = Program::load("pr_receive", program::emit(&ingredients))?;
        let link = Link::attach(&program, device, XdpMode::Native).or_else(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => Err(error),
            _ => Link::attach(&program, device, XdpMode::Generic),
        })?;
        Ok(Self { ring, counts, reported: [0; Count::ALL.len()], _link: link })
    }

    /// Takes in every reply that is there; returns how many there were.
    pub(super) fn take_ready(&mut self, classifier: Classifier<'_>, tally: &Tally, time: Stopwatch) -> usize {
        // When the scan began, by the clock of the records.
        let start_ns = clock_ns().saturating_sub(time.elapsed().as_nanos() as u64);
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
