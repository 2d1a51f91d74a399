//! Everything that a scan probes, numbered: target `probe × addresses + address`.

use std::net::IpAddr;

use portreeve_model::Transport;

use crate::{HostProbes, PortSet, TargetSet};

/// What is asked of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ProbeKind {
    /// TCP segment to a port that acknowledges what was never sent.
    Ack(u16),
    /// ICMP or ICMPv6 echo request.
    Echo,
    /// SCTP INIT to a port.
    Sctp(u16),
    /// TCP SYN to a port.
    Tcp(u16),
    /// ICMP timestamp request; IPv4 only.
    Timestamp,
    /// UDP datagram to a port.
    Udp(u16),
}

impl ProbeKind {
    /// The port and its transport, if a port is probed.
    pub(crate) fn port(self) -> Option<(Transport, u16)> {
        match self {
            Self::Ack(_) | Self::Echo | Self::Timestamp => None,
            Self::Sctp(port) => Some((Transport::Sctp, port)),
            Self::Tcp(port) => Some((Transport::Tcp, port)),
            Self::Udp(port) => Some((Transport::Udp, port)),
        }
    }
}

/// One thing to be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its number.
    pub(crate) index: u64,
    /// The number of its address in the target set.
    pub(crate) host: u64,
    pub(crate) address: IpAddr,
    pub(crate) kind: ProbeKind,
}

/// All targets of a scan: addresses × probes.
#[derive(Clone, Debug)]
pub(crate) struct ProbeSpace {
    targets: TargetSet,
    /// Sorted.
    kinds: Vec<ProbeKind>,
}

impl ProbeSpace {
    /// Every port of `ports` at every address.
    pub(crate) fn ports(targets: TargetSet, ports: &PortSet) -> Self {
        let (tcp, udp) = (ports.tcp().map(ProbeKind::Tcp), ports.udp().map(ProbeKind::Udp));
        Self::of_kinds(targets, tcp.chain(udp).chain(ports.sctp().map(ProbeKind::Sctp)).collect())
    }

    /// What shows whether a host is there.
    pub(crate) fn discovery(targets: TargetSet, probes: &HostProbes) -> Self {
        Self::of_kinds(targets, probes.kinds())
    }

    /// Every one of these probes at every address.
    pub(crate) fn of_kinds(targets: TargetSet, mut kinds: Vec<ProbeKind>) -> Self {
        kinds.sort_unstable();
        kinds.dedup();
        Self { targets, kinds }
    }

    pub(crate) fn targets(&self) -> &TargetSet {
        &self.targets
    }

    /// What is asked of each address, sorted.
    pub(crate) fn kinds(&self) -> &[ProbeKind] {
        &self.kinds
    }

    /// The TCP ports, in their order, and the place of the first among the kinds.
    pub(crate) fn tcp_ports(&self) -> (u64, Vec<u16>) {
        let tcp = |kind: &ProbeKind| match kind {
            ProbeKind::Tcp(port) => Some(*port),
            _ => None,
        };
        let first = self.kinds.iter().position(|kind| tcp(kind).is_some()).unwrap_or(0);
        (first as u64, self.kinds.iter().filter_map(tcp).collect())
    }

    /// How many targets. At most 2⁴⁰ addresses × 3 · 2¹⁶ probes.
    pub(crate) fn len(&self) -> u64 {
        self.targets.count() * self.kinds.len() as u64
    }

    /// The target with this number.
    #[inline]
    pub(crate) fn target(&self, index: u64) -> Option<Target> {
        let addresses = self.targets.count();
        let kind = *self.kinds.get((index / addresses) as usize)?;
        let host = index % addresses;
        Some(Target { index, host, address: self.targets.address(host)?, kind })
    }

    /// The target that this is, if it is one.
    pub(crate) fn find(&self, address: IpAddr, kind: ProbeKind) -> Option<Target> {
        let host = self.targets.index_of(address)?;
        let probe = self.kinds.binary_search(&kind).ok()? as u64;
        Some(Target { index: probe * self.targets.count() + host, host, address, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TargetSetBuilder;

    #[test]
    fn numbers_and_targets_are_inverse() {
        let targets =
            TargetSetBuilder::new().include("10.0.0.0/29 fd00::/126").and_then(TargetSetBuilder::build);
        let ports = "22,80,443,U:53,S:2905".parse().expect("ports");
        let space = ProbeSpace::ports(targets.expect("targets"), &ports);
        assert_eq!(space.len(), 12 * 5);
        for index in 0..space.len() {
            let target = space.target(index).expect("in range");
            assert_eq!(space.find(target.address, target.kind), Some(target));
        }
        assert_eq!(space.target(space.len()), None);
        assert_eq!(space.find("10.0.0.9".parse().expect("address"), ProbeKind::Tcp(22)), None);
        assert_eq!(space.find("10.0.0.1".parse().expect("address"), ProbeKind::Tcp(53)), None);
    }
}
