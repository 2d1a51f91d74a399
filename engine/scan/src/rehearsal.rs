//! A scan without a network: the same order, targets, cookies and frames, and nobody who sends them.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use portreeve_model::Transport;
use portreeve_wire::{ethernet, template::Link};

use crate::{
    Permutation, ScanConfig, ScanError,
    cookie::{CookieKey, SourcePorts},
    probe::{Emitter, MAX_FRAME_BYTES, Payloads, ROW},
    space::ProbeSpace,
};

/// The probes of a scan, in their order, without a socket.
pub struct Rehearsal {
    space: ProbeSpace,
    order: Permutation,
    positions: Range<u64>,
    payloads: Payloads,
    key: CookieKey,
    ports: SourcePorts,
}

/// A probe that would be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// Where to.
    pub address: IpAddr,
    /// To which port; `None` for ICMP and acknowledgements, which look for hosts.
    pub port: Option<(Transport, u16)>,
}

impl Rehearsal {
    /// Frames would come from documentation addresses (RFC 5737, RFC 3849): none of ours is needed.
    const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const SOURCE_PORT: u16 = 40_000;

    /// The first attempt of the scan that `config` asks for.
    pub fn new(config: &ScanConfig) -> Result<Self, ScanError> {
        let targets = config.targets.clone();
        let space = if config.ports.is_empty() {
            ProbeSpace::discovery(targets, &config.host_probes)
        } else {
            ProbeSpace::ports(targets, &config.ports)
        };
        let first = config.source_port.unwrap_or(Self::SOURCE_PORT);
        Ok(Self {
            order: Permutation::new(space.len(), config.seed),
            positions: config.shard.positions(space.len()),
            payloads: Payloads::collect(&config.ports, &config.udp_payloads),
            key: CookieKey::random().map_err(ScanError::io("cannot read /dev/urandom"))?,
            ports: SourcePorts::new(first, 1).ok_or(ScanError::NoSourcePorts { first })?,
            space,
        })
    }

    /// The positions of this shard.
    pub fn positions(&self) -> Range<u64> {
        self.positions.clone()
    }

    /// The probes in their order.
    pub fn probes(&self) -> impl Iterator<Item = Rehearsed> + '_ {
        self.positions.clone().filter_map(|position| {
            let target = self.space.target(self.order.at(position)?)?;
            Some(Rehearsed { address: target.address, port: target.kind.port() })
        })
    }

    /// Makes the frames of these positions, one after the other in the same place, and returns how many there were.
    pub fn make_frames(&self, positions: Range<u64>) -> u64 {
        let link = Link::Ethernet {
            destination: ethernet::Address([2, 0, 0, 0, 0, 2]),
            source: ethernet::Address([2, 0, 0, 0, 0, 1]),
            vlan: None,
        };
        let v4 = Emitter::new(link, Self::SOURCE_V4.into(), &self.payloads);
        let v6 = Emitter::new(link, Self::SOURCE_V6.into(), &self.payloads);
        let source_port = self.ports.port(0);
        let (mut frame, mut numbers, mut cookies) = ([0; MAX_FRAME_BYTES], [0; ROW], [0; ROW]);
        let (mut targets_v4, mut targets_v6) = (Vec::with_capacity(ROW), Vec::with_capacity(ROW));
        let mut made = 0;
        for first in positions.clone().step_by(ROW) {
            let count = self.order.fill(first, &mut numbers).min((positions.end - first) as usize);
            for target in numbers.iter().take(count).filter_map(|&number| self.space.target(number)) {
                if self.space.targets().permits(target.address) {
                    if target.address.is_ipv4() { &mut targets_v4 } else { &mut targets_v6 }.push(target);
                }
            }
            for (emitter, targets) in [(&v4, &mut targets_v4), (&v6, &mut targets_v6)] {
                emitter.cookies(targets, 0, &self.key, source_port, &mut cookies);
                for (target, cookie) in targets.drain(..).zip(cookies) {
                    let written = emitter.write(black_box(&mut frame), &target, source_port, cookie as u32);
                    made += u64::from(written.is_some());
                }
            }
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{Shard, TargetSetBuilder};

    fn config(targets: &str, ports: &str) -> ScanConfig {
        let targets = TargetSetBuilder::new().include(targets).and_then(TargetSetBuilder::build);
        ScanConfig::new(targets.expect("targets"), ports.parse().expect("ports"))
    }

    #[test]
    fn shards_together_name_every_target_once() {
        let mut seen = HashSet::new();
        let mut made = 0;
        for index in 0..3 {
            let shard = Shard::new(index, 3).expect("a shard");
            let rehearsal =
                Rehearsal::new(&ScanConfig { shard, ..config("10.0.0.0/26 fd99::/124", "22,U:53,S:2905") })
                    .expect("made");
            for probe in rehearsal.probes() {
                assert!(seen.insert((probe.address, probe.port)), "{probe:?} twice");
            }
            made += rehearsal.make_frames(rehearsal.positions());
        }
        assert_eq!((seen.len(), made), (80 * 3, 80 * 3));
    }

    #[test]
    fn what_a_version_of_ip_does_not_have_is_not_made() {
        let config = ScanConfig {
            host_probes: "timestamp,icmp".parse().expect("probes"),
            ..config("10.0.0.1 fd99::1", "")
        };
        let rehearsal = Rehearsal::new(&config).expect("made");
        assert_eq!(rehearsal.probes().count(), 4);
        assert_eq!(rehearsal.make_frames(rehearsal.positions()), 3);
    }
}
