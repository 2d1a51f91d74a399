//! What part of a scan the generator carries, as its programs need it: TCP over IPv4 through one device.

use std::net::IpAddr;

use crate::{
    network::{NextHop, Paths},
    space::ProbeSpace,
};

/// Addresses in a row, by number and as addresses, that go the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Number of the first address among all targets.
    pub(super) start: u64,
    /// The first address, where it is carried.
    pub(super) first: u32,
    /// The last one.
    pub(super) last: u32,
    /// Place among the plan's ways; `None` if others carry it, or nobody.
    pub(super) way: Option<u16>,
}

/// What the generator carries.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Addresses of both families, carried or not.
    pub(super) addresses: u64,
    /// IPv4 addresses, which come first.
    pub(super) v4_addresses: u64,
    /// Kinds of probes, carried or not.
    pub(super) kinds: u64,
    /// Place of the first TCP port among the kinds.
    pub(super) first_tcp: u64,
    /// The TCP ports, in their order.
    pub(super) ports: Vec<u16>,
    /// Cover the IPv4 addresses without a gap.
    pub(super) segments: Vec<Segment>,
    /// The scan's numbers of the ways that are taken.
    pub(super) ways: Vec<usize>,
    /// Numbers of the addresses on the link, from the first to the last.
    pub(super) on_link: Option<(u64, u64)>,
}

impl Plan {
    /// Ways that one generator keeps; targets beyond go without it.
    const MAX_WAYS: usize = 64;

    /// What of `space` can leave through the device with this number.
    pub(super) fn new(space: &ProbeSpace, paths: &Paths, device: usize) -> Self {
        let targets = space.targets();
        let mut plan = Self::of_space(space);
        let mut next = 0;
        for (first, last, way) in paths.blocks() {
            let (IpAddr::V4(first), IpAddr::V4(last)) = (first, last) else { continue };
            let Some(start) = targets.index_of(first.into()) else { continue };
            plan.leave_out(next, start);
            let (first, last) = (first.to_bits(), last.to_bits());
            let way = plan.take(paths, way, device);
            plan.segments.push(Segment { start, first, last, way });
            next = start + u64::from(last - first) + 1;
            if way.is_some_and(|way| plan.is_on_link(paths, way)) {
                let from = plan.on_link.map_or(start, |(from, _)| from);
                plan.on_link = Some((from, next - 1));
            }
        }
        plan.leave_out(next, plan.v4_addresses);
        plan
    }

    /// A plan for the ports of `space` that carries no address yet.
    pub(super) fn of_space(space: &ProbeSpace) -> Self {
        let targets = space.targets();
        let (first_tcp, ports) = space.tcp_ports();
        Self {
            addresses: targets.count(),
            v4_addresses: targets.count_v4(),
            kinds: space.kinds().len() as u64,
            first_tcp,
            ports,
            segments: Vec::new(),
            ways: Vec::new(),
            on_link: None,
        }
    }

    /// Whether every target of the space is carried.
    pub(super) fn is_whole(&self) -> bool {
        let ports = self.ports.len() as u64 == self.kinds && self.v4_addresses == self.addresses;
        ports && self.segments.iter().all(|segment| segment.way.is_some())
    }

    /// Whether anything is carried.
    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty() || self.ways.is_empty()
    }

    /// Whether the host with this number is carried.
    pub(super) fn reaches(&self, host: u64) -> bool {
        let place = self.segments.partition_point(|segment| segment.start <= host);
        let segment = place.checked_sub(1).and_then(|place| self.segments.get(place));
        host < self.v4_addresses && segment.is_some_and(|segment| segment.way.is_some())
    }

    /// The lowest port.
    pub(super) fn first_port(&self) -> u16 {
        self.ports.first().copied().unwrap_or_default()
    }

    /// Whether the ports follow each other without a gap.
    pub(super) fn is_port_run(&self) -> bool {
        let last = self.ports.last().copied().unwrap_or_default();
        usize::from(last - self.first_port()) + 1 == self.ports.len()
    }

    /// The place of a way among ours, if it leads through the device.
    fn take(&mut self, paths: &Paths, way: usize, device: usize) -> Option<u16> {
        let found = paths.ways().get(way)?;
        if found.device != device || !found.source.is_ipv4() || matches!(found.next, NextHop::Kernel { .. }) {
            return None;
        }
        let place = self.ways.iter().position(|&known| known == way);
        if place.is_none() && self.ways.len() < Self::MAX_WAYS {
            self.ways.push(way);
        }
        place.or_else(|| self.ways.iter().position(|&known| known == way)).map(|place| place as u16)
    }

    fn is_on_link(&self, paths: &Paths, way: u16) -> bool {
        let way = self.ways.get(usize::from(way)).and_then(|&way| paths.ways().get(way));
        way.is_some_and(|way| matches!(way.next, NextHop::OnLink { .. }))
    }

    /// Addresses from number `from` to before `until` that there is no way to.
    fn leave_out(&mut self, from: u64, until: u64) {
        if from < until {
            self.segments.push(Segment { start: from, first: 0, last: 0, way: None });
        }
    }
}
