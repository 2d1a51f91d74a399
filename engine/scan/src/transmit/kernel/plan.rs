//! What part of a scan the generator carries, as its programs need it: all but SCTP, through one device.

use std::{net::IpAddr, ops::Range};

use super::{frame::Family, tables::Neighbors};
use crate::{
    network::{NextHop, Paths},
    probe::{Mould, Payloads},
    space::{ProbeKind, ProbeSpace, Target},
};

/// Addresses in a row, by number and as addresses, that go the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Number of the first address among all targets.
    pub(super) start: u64,
    /// The first address, where it is carried: its lower half, over IPv4 all of it.
    pub(super) first: u64,
    /// The last one.
    pub(super) last: u64,
    /// The upper half that all of them have; 0 over IPv4.
    pub(super) upper: u64,
    /// Place among the plan's ways; `None` if others carry it, or nobody.
    pub(super) way: Option<u16>,
}

/// How the probes of a kind are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recipe {
    /// Place among the plan's moulds.
    pub(super) mould: u16,
    /// 0 where there is none.
    pub(super) port: u16,
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
    /// Place of the first kind that is carried.
    pub(super) first_kind: u64,
    /// For that and all behind it, up to the last that is carried; `None` if others carry it.
    pub(super) recipes: Vec<Option<Recipe>>,
    /// What frames are made from, each once.
    pub(super) moulds: Vec<Mould>,
    /// Cover the addresses from the first that is carried to the last without a gap.
    pub(super) segments: Vec<Segment>,
    /// The numbers of those addresses.
    pub(super) hosts: Range<u64>,
    /// The scan's numbers of the ways that are taken.
    pub(super) ways: Vec<usize>,
    /// Numbers of the addresses on the link, from the first to the last.
    pub(super) on_link: Option<(u64, u64)>,
}

impl Plan {
    /// Ways that one generator keeps; targets beyond go without it.
    const MAX_WAYS: usize = 64;
    /// Instructions that all moulds may take; kinds beyond go without the generator.
    const MAX_INSTRUCTIONS: usize = 24_000;

    /// What of `space` can leave through the device with this number.
    pub(super) fn new(space: &ProbeSpace, payloads: &Payloads, paths: &Paths, device: usize) -> Self {
        let targets = space.targets();
        let mut plan = Self::of_space(space, payloads);
        let blocks = paths.blocks().filter_map(|block| Some((targets.index_of(block.0)?, block)));
        let mut blocks: Vec<_> = blocks.collect();
        blocks.sort_unstable_by_key(|(start, _)| *start);
        for (start, (first, last, way)) in blocks {
            let way = plan.take(paths, way, device, first);
            let on_link = way.is_some_and(|way| plan.is_on_link(paths, way));
            plan.add(start, (first, last), way, on_link);
        }
        plan.trim();
        plan
    }

    /// Adds addresses, from this number on and behind all that were added before, and whether they are on the link.
    pub(super) fn add(
        &mut self,
        start: u64,
        (first, last): (IpAddr, IpAddr),
        way: Option<u16>,
        on_link: bool,
    ) {
        self.leave_out(start);
        let from = self.on_link.map_or(start, |(from, _)| from);
        let end = start + (number(last) - number(first)) as u64 + 1;
        // The table for IPv4 is refused as a whole if it is too large; a network of IPv6 need not be in it.
        let way = way.filter(|_| !on_link || first.is_ipv4() || end - from <= Neighbors::MOST);
        if on_link && way.is_some() {
            self.on_link = Some((from, end - 1));
        }
        let mut first = number(first);
        while self.hosts.end < end {
            let upper_end = first | u128::from(u64::MAX);
            let piece = u128::min(upper_end, number(last));
            let (start, upper) = (self.hosts.end, (first >> 64) as u64);
            self.segments.push(Segment { start, first: first as u64, last: piece as u64, upper, way });
            self.hosts.end += (piece - first) as u64 + 1;
            // Behind the very last address there is nothing, and the loop ends.
            first = piece.saturating_add(1);
        }
    }

    /// Leaves out what is not carried before the first address that is, and behind the last.
    pub(super) fn trim(&mut self) {
        let is_carried = |segment: &Segment| segment.way.is_some();
        let first = self.segments.iter().position(is_carried).unwrap_or(self.segments.len());
        let end = self.segments.iter().rposition(is_carried).map_or(first, |last| last + 1);
        self.hosts.end = self.segments.get(end).map_or(self.hosts.end, |next| next.start);
        self.segments.truncate(end);
        self.segments.drain(..first);
        self.hosts.start = self.segments.first().map_or(self.hosts.end, |segment| segment.start);
    }

    /// A plan for the kinds of `space` that carries no address yet.
    pub(super) fn of_space(space: &ProbeSpace, payloads: &Payloads) -> Self {
        let targets = space.targets();
        let (addresses, v4_addresses) = (targets.count(), targets.count_v4());
        let families = usize::from(v4_addresses > 0) + usize::from(addresses > v4_addresses);
        let mut moulds = Moulds { families, ..Moulds::default() };
        let recipes: Vec<_> = space.kinds().iter().map(|&kind| moulds.recipe(kind, payloads)).collect();
        let first = recipes.iter().position(Option::is_some).unwrap_or(recipes.len());
        let end = recipes.iter().rposition(Option::is_some).map_or(first, |last| last + 1);
        Self {
            addresses,
            v4_addresses,
            kinds: recipes.len() as u64,
            first_kind: first as u64,
            recipes: recipes.get(first..end).unwrap_or_default().to_vec(),
            moulds: moulds.known,
            segments: Vec::new(),
            hosts: 0..0,
            ways: Vec::new(),
            on_link: None,
        }
    }

    /// Whether every target of the space is carried.
    pub(super) fn is_whole(&self) -> bool {
        let kinds = self.recipes.len() as u64 == self.kinds && !self.has_gaps();
        let kinds = kinds && self.families().all(|family| self.lacks(family).is_none());
        kinds
            && self.hosts == (0..self.addresses)
            && self.segments.iter().all(|segment| segment.way.is_some())
    }

    /// The families of which addresses are carried.
    pub(super) fn families(&self) -> impl Iterator<Item = Family> + '_ {
        let has = |family| {
            self.hosts.end > self.hosts.start
                && match family {
                    Family::V4 => self.hosts.start < self.v4_addresses,
                    Family::V6 => self.hosts.end > self.v4_addresses,
                }
        };
        Family::ALL.into_iter().filter(move |&family| has(family))
    }

    /// The number of the mould of which there are no probes of this family.
    pub(super) fn lacks(&self, family: Family) -> Option<usize> {
        self.moulds.iter().position(|&mould| !family.has(mould))
    }

    /// Whether nothing is carried.
    pub(super) fn is_empty(&self) -> bool {
        self.recipes.is_empty() || self.ways.is_empty()
    }

    /// Whether the probe to a target is carried.
    pub(super) fn carries(&self, target: &Target) -> bool {
        let place = (target.index / self.addresses).checked_sub(self.first_kind);
        let recipe = place.and_then(|place| self.recipes.get(place as usize)).copied().flatten();
        let mould = recipe.and_then(|recipe| self.moulds.get(usize::from(recipe.mould)));
        mould.is_some_and(|&mould| Family::of(target.address).has(mould)) && self.reaches(target.host)
    }

    /// Whether there is a way to the host with this number.
    fn reaches(&self, host: u64) -> bool {
        let place = self.segments.partition_point(|segment| segment.start <= host);
        let segment = place.checked_sub(1).and_then(|place| self.segments.get(place));
        self.hosts.contains(&host) && segment.is_some_and(|segment| segment.way.is_some())
    }

    /// Whether others carry some of the kinds between the first and the last.
    pub(super) fn has_gaps(&self) -> bool {
        self.recipes.contains(&None)
    }

    /// The first port, if all kinds are made from one mould and their ports follow each other.
    pub(super) fn port_run(&self) -> Option<u16> {
        let first = self.recipes.first().copied().flatten()?;
        let run = (first.port..=u16::MAX).map(|port| Some(Recipe { port, ..first }));
        self.recipes.iter().copied().eq(run.take(self.recipes.len())).then_some(first.port)
    }

    /// The place of a way among ours, if it leads through the device and there are probes for an address like this.
    fn take(&mut self, paths: &Paths, way: usize, device: usize, address: IpAddr) -> Option<u16> {
        let found = paths.ways().get(way)?;
        let family = Family::of(address);
        if found.device != device
            || Family::of(found.source) != family
            || matches!(found.next, NextHop::Kernel { .. })
            || !self.moulds.iter().any(|&mould| family.has(mould))
        {
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

    /// There is no way to the addresses before this number.
    fn leave_out(&mut self, until: u64) {
        if self.hosts.end < until {
            let nowhere = Segment { start: self.hosts.end, first: 0, last: 0, upper: 0, way: None };
            self.segments.push(nowhere);
            self.hosts.end = until;
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The moulds of a plan while it is made.
#[derive(Default)]
struct Moulds {
    known: Vec<Mould>,
    /// Each has code of its own.
    families: usize,
    instructions: usize,
}

impl Moulds {
    fn recipe(&mut self, kind: ProbeKind, payloads: &Payloads) -> Option<Recipe> {
        let mould = payloads.mould(kind)?;
        let known = self.known.iter().position(|&known| known == mould);
        let place = known.or_else(|| self.add(mould, payloads))?;
        let port = match kind {
            ProbeKind::Ack(port) | ProbeKind::Sctp(port) | ProbeKind::Tcp(port) | ProbeKind::Udp(port) => {
                port
            }
            ProbeKind::Echo | ProbeKind::Timestamp => 0,
        };
        Some(Recipe { mould: place as u16, port })
    }

    /// Takes a mould up, if there is room for it.
    fn add(&mut self, mould: Mould, payloads: &Payloads) -> Option<usize> {
        // Three instructions write eight bytes; checksums and cookies take the rest.
        let most = if matches!(mould, Mould::Datagram(_)) { 120 } else { 420 };
        let instructions = self.instructions + (most + payloads.bytes_in(mould) / 2) * self.families;
        if instructions > Plan::MAX_INSTRUCTIONS {
            return None;
        }
        self.instructions = instructions;
        self.known.push(mould);
        Some(self.known.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TargetSetBuilder;

    fn blank(targets: &str) -> Plan {
        let targets = TargetSetBuilder::new().include(targets).and_then(TargetSetBuilder::build);
        let ports = "80".parse().expect("ports");
        let space = ProbeSpace::ports(targets.expect("targets"), &ports);
        Plan::of_space(&space, &Payloads::default())
    }

    fn block(first: &str, last: &str) -> (IpAddr, IpAddr) {
        (first.parse().expect("address"), last.parse().expect("address"))
    }

    #[test]
    fn a_link_of_more_addresses_than_can_be_known_is_left_to_others() {
        let mut plan = blank("10.99.1.0/24 fd99::/100 fd99:1::/124");
        plan.ways = vec![0, 1, 2];
        plan.add(0, block("10.99.1.0", "10.99.1.255"), Some(0), true);
        plan.add(256, block("fd99::", "fd99::fff:ffff"), Some(1), true);
        plan.add(256 + (1 << 28), block("fd99:1::", "fd99:1::f"), Some(2), false);
        plan.trim();
        assert_eq!(plan.on_link, Some((0, 255)));
        let carried: Vec<bool> = plan.segments.iter().map(|segment| segment.way.is_some()).collect();
        assert_eq!(carried, [true, false, true]);
        assert!(!plan.is_whole());
    }

    #[test]
    fn a_range_may_end_at_the_very_last_address() {
        let mut plan = blank("fd97::/124");
        let last =
            block("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        plan.add(0, last, Some(0), false);
        assert_eq!(plan.hosts, 0..16);
        assert_eq!(plan.segments.len(), 1);
    }

    #[test]
    fn a_range_is_cut_where_the_lower_half_of_its_addresses_runs_over() {
        let mut plan = blank("fd97::/120 fd99::ffff:ffff:ffff:fff0-fd99:0:0:1::f fd99:2::/120");
        plan.ways = vec![0];
        plan.add(0, block("fd97::", "fd97::ff"), None, false);
        plan.add(256, block("fd99::ffff:ffff:ffff:fff0", "fd99:0:0:1::f"), Some(0), false);
        plan.add(288, block("fd99:2::", "fd99:2::ff"), None, false);
        plan.trim();
        let upper = 0xfd99 << 48;
        let way = Some(0);
        assert_eq!(
            plan.segments,
            [
                Segment { start: 256, first: u64::MAX - 15, last: u64::MAX, upper, way },
                Segment { start: 272, first: 0, last: 15, upper: upper + 1, way },
            ]
        );
        assert_eq!(plan.hosts, 256..288);
        assert!(!plan.is_whole() && plan.families().eq([Family::V6]));
    }
}
