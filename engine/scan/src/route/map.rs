//! The routes of all targets, found once and looked up for every probe.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv6Addr},
};

use super::{Route, RouteSocket};
use crate::TargetSet;

/// A number for one of the ways that targets of this scan are reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop(pub(crate) u16);

/// Which block of addresses goes which way.
#[derive(Debug, Default)]
pub(crate) struct RouteMap {
    routes: Vec<Route>,
    /// Sorted and disjoint; IPv4 in its mapped form.
    blocks: Vec<Block>,
    /// An address that there is no way to.
    unroutable: Option<IpAddr>,
}

#[derive(Debug, PartialEq, Eq)]
struct Block {
    first: u128,
    last: u128,
    hop: Hop,
}

impl RouteMap {
    /// Asks the kernel for the way to every block of the targets. Blocks without a way are left out.
    pub(crate) fn find(targets: &TargetSet, device: Option<u32>) -> io::Result<Self> {
        let mut socket = RouteSocket::open()?;
        let mut cuts = BTreeSet::new();
        for ipv4 in [true, false] {
            let destinations = socket.destinations(ipv4)?;
            cuts.extend(destinations.into_iter().flat_map(|(address, length)| bounds(address, length)));
        }
        let mut map = Self::default();
        for (first, last) in targets.ranges() {
            for (first, last) in pieces(number(first), number(last), &cuts) {
                match socket.route(address(first), device)? {
                    Some(route) => map.add(first, last, route),
                    None => map.unroutable = map.unroutable.or(Some(address(first))),
                }
            }
        }
        // IPv4 comes first among the targets, and after ::/8 as a number.
        map.blocks.sort_unstable_by_key(|block| block.first);
        Ok(map)
    }

    fn add(&mut self, first: u128, last: u128, route: Route) {
        let known = self.routes.iter().position(|known| *known == route);
        let hop = Hop(known.unwrap_or_else(|| {
            self.routes.push(route);
            self.routes.len() - 1
        }) as u16);
        match self.blocks.last_mut() {
            Some(block) if block.hop == hop && block.last.checked_add(1) == Some(first) => block.last = last,
            _ => self.blocks.push(Block { first, last, hop }),
        }
    }

    /// The ways there are.
    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// An address that there is no way to, if there is one.
    pub(crate) fn unroutable(&self) -> Option<IpAddr> {
        self.unroutable
    }

    /// The blocks that go a way: first and last address.
    pub(crate) fn blocks(&self, hop: Hop) -> impl Iterator<Item = (IpAddr, IpAddr)> + '_ {
        self.blocks
            .iter()
            .filter(move |block| block.hop == hop)
            .map(|block| (address(block.first), address(block.last)))
    }

    /// All blocks in the order of their numbers: first and last address, and the way.
    pub(crate) fn all_blocks(&self) -> impl Iterator<Item = (IpAddr, IpAddr, Hop)> + '_ {
        self.blocks.iter().map(|block| (address(block.first), address(block.last), block.hop))
    }

    /// The way to a target.
    #[inline]
    pub(crate) fn hop(&self, target: IpAddr) -> Option<Hop> {
        let number = number(target);
        let block = match self.blocks.as_slice() {
            [only] => only,
            blocks => blocks.get(blocks.partition_point(|block| block.last < number))?,
        };
        (block.first..=block.last).contains(&number).then_some(block.hop)
    }
}

/// Where a block starts and where what comes after it starts.
fn bounds(destination: IpAddr, length: u8) -> [u128; 2] {
    let length = if destination.is_ipv4() { u32::from(length) + 96 } else { u32::from(length) };
    let size_minus_1 = u128::MAX.checked_shr(length).unwrap_or(0);
    let first = number(destination) & !size_minus_1;
    [first, (first | size_minus_1).wrapping_add(1)]
}

/// A range cut where a route begins or ends.
fn pieces(first: u128, last: u128, cuts: &BTreeSet<u128>) -> impl Iterator<Item = (u128, u128)> {
    let inner = cuts.range(first..=last).copied().filter(move |&cut| cut != first);
    let starts = std::iter::once(first).chain(inner.clone());
    let ends = inner.map(|cut| cut - 1).chain(std::iter::once(last));
    starts.zip(ends)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(number: u128) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(number)).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TargetSetBuilder;

    #[test]
    fn ranges_are_cut_at_route_bounds() {
        let cuts = BTreeSet::from([5, 10, 11, 40]);
        assert_eq!(pieces(5, 12, &cuts).collect::<Vec<_>>(), [(5, 9), (10, 10), (11, 12)]);
        assert_eq!(pieces(20, 30, &cuts).collect::<Vec<_>>(), [(20, 30)]);
        assert_eq!(pieces(40, 40, &cuts).collect::<Vec<_>>(), [(40, 40)]);
    }

    #[test]
    fn bounds_of_blocks() {
        let ten = "10.0.0.0".parse().expect("address");
        let [first, after] = bounds(ten, 8);
        assert_eq!((address(first), address(after - 1)), (ten, "10.255.255.255".parse().expect("address")));
        assert_eq!(bounds("::".parse().expect("address"), 0), [0, 0]);
    }

    #[test]
    fn loopback_is_routed_and_its_broadcast_is_not() {
        let targets = TargetSetBuilder::new().include("127.0.0.1-127.0.0.9 127.255.255.255 ::1");
        let map = RouteMap::find(&targets.and_then(TargetSetBuilder::build).expect("targets"), None)
            .expect("netlink");
        let hop = |text: &str| map.hop(text.parse().expect("address"));
        assert!(hop("127.0.0.1").is_some());
        assert!(hop("127.0.0.9").is_some());
        assert_ne!(hop("::1"), hop("127.0.0.1"));
        assert_eq!(hop("127.0.0.10"), None);
        assert_eq!(hop("127.255.255.255"), None);
        assert_eq!(map.unroutable(), Some("127.255.255.255".parse().expect("address")));
        assert!(map.routes().iter().all(|route| route.local));
    }
}
