//! A door for the benches to what this crate keeps private; built with the feature `pieces` only.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use portreeve_wire::{ip, ipv4, tcp};

use crate::{
    PacketsPerSecond, Permutation, PortSet, TargetSet,
    cookie::{CookieKey, SourcePorts},
    pace::Pace,
    receive::Classifier,
    space::ProbeSpace,
};

const KEY: CookieKey = CookieKey::new([1, 2]);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const FIRST_PORT: u16 = 40_000;

/// From a position of the order to a target and the cookie of its probe.
pub struct Generator {
    order: Permutation,
    space: ProbeSpace,
    position: u64,
}

impl Generator {
    /// Over these targets, round and round.
    pub fn new(targets: TargetSet, ports: &PortSet) -> Self {
        let space = ProbeSpace::ports(targets, ports);
        Self { order: Permutation::new(space.len(), 42), space, position: 0 }
    }

    /// The next target's address, port and cookie.
    #[inline]
    pub fn next_probe(&mut self) -> Option<(IpAddr, u16, u32)> {
        let index = self.order.at(self.position);
        self.position = (self.position + 1) % self.space.len();
        let target = self.space.target(index?)?;
        let (_, port) = target.kind.port()?;
        let cookie = KEY.syn((OURS.into(), FIRST_PORT), (target.address, port));
        Some((target.address, port, cookie))
    }
}

/// The judge of what arrives, and packets to judge.
pub struct Judge {
    space: ProbeSpace,
    source_ports: SourcePorts,
    target: (Ipv4Addr, u16),
}

impl Judge {
    /// Of a scan of these targets, which have to include `target`.
    pub fn new(targets: TargetSet, ports: &PortSet, target: (Ipv4Addr, u16)) -> Option<Self> {
        let source_ports = SourcePorts::new(FIRST_PORT, 16)?;
        Some(Self { space: ProbeSpace::ports(targets, ports), source_ports, target })
    }

    /// The target's SYN-ACK (or RST), as an IP packet; `forged` carries a wrong cookie.
    pub fn reply(&self, open: bool, forged: bool) -> Option<Vec<u8>> {
        let (theirs, port) = self.target;
        let cookie = KEY.syn((OURS.into(), FIRST_PORT), (theirs.into(), port));
        let segment = tcp::Header {
            source_port: port,
            destination_port: FIRST_PORT,
            sequence: tcp::SeqNumber(7),
            acknowledgement: tcp::SeqNumber(cookie.wrapping_add(if forged { 2 } else { 1 })),
            flags: if open { tcp::Flags::SYN | tcp::Flags::ACK } else { tcp::Flags::RST | tcp::Flags::ACK },
            window: 64_240,
            options: tcp::SynOptions::default(),
        };
        let network = ipv4::Header {
            source: theirs,
            destination: OURS,
            hop_limit: 60,
            protocol: ip::Protocol::TCP,
            payload_len: segment.len() as u16,
        };
        let mut packet = vec![0; 128];
        let head = network.emit(&mut packet).ok()?;
        let tail = segment.emit(packet.get_mut(head..)?, theirs.into(), OURS.into()).ok()?;
        packet.truncate(head + tail);
        Some(packet)
    }

    /// Whether a packet is a reply to this scan.
    #[inline]
    pub fn accepts(&self, packet: &[u8]) -> bool {
        let classifier = Classifier { space: &self.space, key: KEY, ports: self.source_ports };
        classifier.classify(packet).is_ok()
    }
}

/// The schedule of probes, on a clock that the caller moves.
pub struct Schedule {
    pace: Pace,
    now: Duration,
}

impl Schedule {
    /// At a rate.
    pub fn new(rate: PacketsPerSecond) -> Self {
        Self { pace: Pace::new(rate, Duration::ZERO), now: Duration::ZERO }
    }

    /// Lets time pass, then asks for as many probes as may leave; at most 64.
    #[inline]
    pub fn grant_after(&mut self, time: Duration) -> u64 {
        self.now += time;
        self.pace.grant(self.now, 64)
    }
}
