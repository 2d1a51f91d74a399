//! Why something received was not used.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use portreeve_wire::Malformed;

macro_rules! drop_causes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// A cause. One line in this list is all that a new one needs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum DropCause {
            $($(#[$doc])* $variant,)+
            /// Not the packet that it pretends to be.
            Malformed(Malformed),
        }

        /// The names of the causes, without the malformed ones, in the order of their counters.
        const NAMES: &[&str] = &[$($name,)+];

        impl DropCause {
            /// The cause's counter.
            fn counter(self) -> usize {
                #[derive(Clone, Copy)]
                enum Place { $($variant,)+ }
                match self {
                    $(Self::$variant => Place::$variant as usize,)+
                    Self::Malformed(cause) => NAMES.len() + cause.index(),
                }
            }
        }
    };
}

drop_causes! {
    /// Answered before: a repeat by the network, or the answer to another attempt.
    Duplicate = "duplicate",
    /// A piece of a larger packet; no answer to a probe needs to be cut.
    Fragment = "fragment",
    /// Received by the kernel and lost for want of room.
    KernelRing = "kernel-ring-full",
    /// An answer to a probe of an earlier part of the scan, after the wait for it was over.
    Late = "late",
    /// A probe that was not sent: its address is not a target. The last gate; anything but 0 is a fault.
    NotAllowed = "not-allowed",
    /// A probe that was not sent: the target's version of IP has no such probe.
    NotApplicable = "not-applicable",
    /// Right in form, from an address or port that was not asked.
    NotATarget = "not-a-target",
    /// A probe that was not sent: nobody on the link has the address, or its gateway is silent.
    NoNeighbor = "no-neighbor",
    /// A probe that was not sent: the kernel knows no way there.
    NoRoute = "no-route",
    /// To a port that is none of this scan's.
    OtherPort = "other-port",
    /// Neither TCP, UDP, SCTP nor ICMP.
    OtherProtocol = "other-protocol",
    /// A probe that the kernel would not take.
    SendRefused = "send-refused",
    /// A local socket failed in a way that says nothing about the target.
    SocketError = "socket-error",
    /// An SCTP chunk that answers no INIT.
    UnexpectedChunk = "unexpected-chunk",
    /// A TCP segment that answers no SYN.
    UnexpectedFlags = "unexpected-flags",
    /// An ICMP message that answers no probe.
    UnexpectedIcmp = "unexpected-icmp",
    /// Without our cookie: a stray, or forged.
    WrongCookie = "wrong-cookie",
}

/// The causes that are of probes which were not sent; all others are of what was received.
pub const UNSENT: &[&str] = &["no-neighbor", "no-route", "not-allowed", "not-applicable", "send-refused"];

impl From<Malformed> for DropCause {
    fn from(cause: Malformed) -> Self {
        Self::Malformed(cause)
    }
}

/// A counter for each cause.
#[derive(Debug)]
pub(crate) struct Drops(Box<[AtomicU64]>);

impl Default for Drops {
    fn default() -> Self {
        Self((0..NAMES.len() + Malformed::ALL.len()).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Drops {
    pub(crate) fn add(&self, cause: DropCause, count: u64) {
        if let Some(counter) = self.0.get(cause.counter()) {
            counter.fetch_add(count, Relaxed);
        }
    }

    /// The causes that occurred.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let names = NAMES.iter().copied().chain(Malformed::ALL.iter().map(|cause| cause.as_str()));
        let counts = names.zip(&self.0).map(|(name, count)| (name, count.load(Relaxed)));
        counts.filter(|&(_, count)| count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_counted_apart() {
        let drops = Drops::default();
        drops.add(DropCause::Duplicate, 3);
        drops.add(DropCause::WrongCookie, 1);
        drops.add(Malformed::IpVersion.into(), 2);
        assert_eq!(
            drops.counts(),
            [("duplicate", 3), ("wrong-cookie", 1), (Malformed::IpVersion.as_str(), 2)]
        );
    }

    #[test]
    fn names_are_sorted_so_that_a_double_shows() {
        let mut causes: Vec<&str> = NAMES.to_vec();
        causes.sort_unstable();
        causes.dedup();
        assert_eq!(causes.len(), NAMES.len());
        assert!(UNSENT.iter().all(|name| NAMES.contains(name)));
    }
}
