//! What part of a scan the generator carries, as its programs need it: all but SCTP, over IPv4, through one device.

use std::net::IpAddr;

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
    /// The first address, where it is carried.
    pub(super) first: u32,
    /// The last one.
    pub(super) last: u32,
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
    /// Instructions that all moulds may take; kinds beyond go without the generator.
    const MAX_INSTRUCTIONS: usize = 24_000;

    /// What of `space` can leave through the device with this number.
    pub(super) fn new(space: &ProbeSpace, payloads: &Payloads, paths: &Paths, device: usize) -> Self {
        let targets = space.targets();
        let mut plan = Self::of_space(space, payloads);
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

    /// A plan for the kinds of `space` that carries no address yet.
    pub(super) fn of_space(space: &ProbeSpace, payloads: &Payloads) -> Self {
        let targets = space.targets();
        let mut moulds = Moulds::default();
        let recipes: Vec<_> = space.kinds().iter().map(|&kind| moulds.recipe(kind, payloads)).collect();
        let first = recipes.iter().position(Option::is_some).unwrap_or(recipes.len());
        let end = recipes.iter().rposition(Option::is_some).map_or(first, |last| last + 1);
        Self {
            addresses: targets.count(),
            v4_addresses: targets.count_v4(),
            kinds: recipes.len() as u64,
            first_kind: first as u64,
            recipes: recipes.get(first..end).unwrap_or_default().to_vec(),
            moulds: moulds.known,
            segments: Vec::new(),
            ways: Vec::new(),
            on_link: None,
        }
    }

    /// Whether every target of the space is carried.
    pub(super) fn is_whole(&self) -> bool {
        let kinds = self.recipes.len() as u64 == self.kinds && !self.has_gaps();
        let addresses = self.v4_addresses == self.addresses;
        kinds && addresses && self.segments.iter().all(|segment| segment.way.is_some())
    }

    /// Whether nothing is carried.
    pub(super) fn is_empty(&self) -> bool {
        self.recipes.is_empty() || self.ways.is_empty()
    }

    /// Whether the probe to a target is carried.
    pub(super) fn carries(&self, target: &Target) -> bool {
        let place = (target.index / self.addresses).checked_sub(self.first_kind);
        let recipe = place.and_then(|place| self.recipes.get(place as usize));
        recipe.is_some_and(Option::is_some) && self.reaches(target.host)
    }

    /// Whether there is a way to the host with this number.
    fn reaches(&self, host: u64) -> bool {
        let place = self.segments.partition_point(|segment| segment.start <= host);
        let segment = place.checked_sub(1).and_then(|place| self.segments.get(place));
        host < self.v4_addresses && segment.is_some_and(|segment| segment.way.is_some())
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

/// The moulds of a plan while it is made.
#[derive(Default)]
struct Moulds {
    known: Vec<Mould>,
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
        let most = if matches!(mould, Mould::Datagram(_)) { 100 } else { 300 };
        let instructions = self.instructions + most + payloads.bytes_in(mould) / 2;
        if instructions > Plan::MAX_INSTRUCTIONS {
            return None;
        }
        self.instructions = instructions;
        self.known.push(mould);
        Some(self.known.len() - 1)
    }
}
