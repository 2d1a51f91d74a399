//! Everything that a scan probes, numbered: target `probe × addresses + address`.

use std::net::IpAddr;

use portreeve_model::Transport;

use crate::{PortSet, TargetSet};

/// What is asked of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ProbeKind {
    /// ICMP or ICMPv6 echo request.
    Echo,
    /// TCP SYN to a port.
    Tcp(u16),
    /// UDP datagram to a port.
    Udp(u16),
}

impl ProbeKind {
    /// The port and its transport, if a port is probed.
    pub(crate) fn port(self) -> Option<(Transport, u16)> {
        match self {
            Self::Echo => None,
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
    /// Ports that are most often open, asked where a host's being there is in question.
    const PING_PORTS: [u16; 5] = [22, 80, 135, 443, 445];

    /// Every port of `ports` at every address.
    pub(crate) fn ports(targets: TargetSet, ports: &PortSet) -> Self {
        let tcp = ports.tcp().map(ProbeKind::Tcp);
        Self::of_kinds(targets, tcp.chain(ports.udp().map(ProbeKind::Udp)).collect())
    }

    /// What shows whether a host is there: an echo request and a few common ports.
    pub(crate) fn discovery(targets: TargetSet) -> Self {
        let ports = Self::PING_PORTS.into_iter().map(ProbeKind::Tcp);
        Self::of_kinds(targets, ports.chain([ProbeKind::Echo]).collect())
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
        let ports = "22,80,443,U:53".parse().expect("ports");
        let space = ProbeSpace::ports(targets.expect("targets"), &ports);
        assert_eq!(space.len(), 12 * 4);
        for index in 0..space.len() {
            let target = space.target(index).expect("in range");
            assert_eq!(space.find(target.address, target.kind), Some(target));
        }
        assert_eq!(space.target(space.len()), None);
        assert_eq!(space.find("10.0.0.9".parse().expect("address"), ProbeKind::Tcp(22)), None);
        assert_eq!(space.find("10.0.0.1".parse().expect("address"), ProbeKind::Tcp(53)), None);
    }
}
