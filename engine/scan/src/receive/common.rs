//! What all stages of a scan share, from its beginning to its end.

use std::{net::IpAddr, sync::Arc};

use crossbeam_channel::{Sender, bounded};
use portreeve_model::{HostReason, HostSighting, MacAddress};

use super::{Drops, Seen};
use crate::{Clock, Control, Event};

/// What outlasts the phases of a scan.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) control: Control,
    pub(crate) drops: Arc<Drops>,
    pub(crate) clock: Clock,
    pub(crate) events: Sender<Passing>,
    /// Hosts that were met, by their number.
    pub(crate) hosts: Arc<Seen>,
}

impl Common {
    /// Whether what is found piles up because those who take it are slower. Then nothing more should be asked: the
    /// answers would be lost.
    pub(crate) fn is_behind(&self) -> bool {
        self.events.capacity().is_some_and(|room| self.events.len() > room / 2)
    }

    /// Whether those who were behind are so no longer.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.events.capacity().is_none_or(|room| self.events.len() <= room / 4)
    }

    /// Reports a host, once.
    pub(crate) fn meet_host(&self, host: u64, address: IpAddr, reason: HostReason, mac: Option<MacAddress>) {
        if self.hosts.insert(host) {
            self.control.add_host();
            self.send(Event::Host(self.sighting(address, reason, mac)));
        }
    }

    pub(super) fn sighting(
        &self,
        address: IpAddr,
        reason: HostReason,
        mac: Option<MacAddress>,
    ) -> HostSighting {
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
    pub(crate) fn send(&self, event: Event) {
        let _ = self.events.send(Passing::Event(event));
    }

    /// The hosts on which all that was asked for is open, once everything found so far has been looked at.
    pub(crate) fn hosts_to_doubt(&self) -> Vec<IpAddr> {
        let (answer, answered) = bounded(1);
        match self.events.send(Passing::HostsToDoubt(answer)) {
            Ok(()) => answered.recv().unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }
}

/// What goes from the working threads to the caller's, in its order.
#[derive(Debug)]
pub(crate) enum Passing {
    Event(Event),
    /// A question: on which hosts is all that was asked for open?
    HostsToDoubt(Sender<Vec<IpAddr>>),
}
