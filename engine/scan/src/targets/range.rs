//! Ranges of addresses, and what is left of some after others are taken out.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Addresses of one family from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressRange {
    /// IPv4.
    V4 {
        /// Lowest address.
        first: Ipv4Addr,
        /// Highest address.
        last: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Lowest address.
        first: Ipv6Addr,
        /// Highest address.
        last: Ipv6Addr,
    },
}

impl AddressRange {
    /// The range from `first` to `last`; `None` if the families differ or `last` is lower.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => Some(Self::V4 { first, last }),
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => Some(Self::V6 { first, last }),
            _ => None,
        }
    }

    /// How many addresses; saturates for the whole of IPv6.
    pub fn len(self) -> u128 {
        let (first, last) = self.bounds();
        (last - first).saturating_add(1)
    }

    /// Whether the address lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4 { first, last }, IpAddr::V4(address)) => (first..=last).contains(&address),
            (Self::V6 { first, last }, IpAddr::V6(address)) => (first..=last).contains(&address),
            _ => false,
        }
    }

    /// Never: a range holds at least one address.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// First and last as numbers.
    fn bounds(self) -> (u128, u128) {
        match self {
            Self::V4 { first, last } => (u128::from(first.to_bits()), u128::from(last.to_bits())),
            Self::V6 { first, last } => (first.to_bits(), last.to_bits()),
        }
    }
}

impl fmt::Display for AddressRange {
    /// As a block where it is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last): (IpAddr, IpAddr) = match *self {
            Self::V4 { first, last } => (first.into(), last.into()),
            Self::V6 { first, last } => (first.into(), last.into()),
        };
        let bits = if first.is_ipv4() { 32 } else { 128 };
        let (low, high) = self.bounds();
        let length = self.len();
        match length {
            1 => write!(f, "{first}"),
            _ if length.is_power_of_two() && low.trailing_zeros() >= length.trailing_zeros() => {
                write!(f, "{first}/{}", bits - length.trailing_zeros())
            }
            u128::MAX if low == 0 && high == u128::MAX => f.write_str("::/0"),
            _ => write!(f, "{first}-{last}"),
        }
    }
}

/// Sorted ranges without overlap or adjacency, by family, as numbers with both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RangeList {
    pub(super) v4: Vec<(u128, u128)>,
    pub(super) v6: Vec<(u128, u128)>,
}

impl RangeList {
    pub(super) fn from_ranges(ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        let mut list = Self::default();
        for range in ranges {
            match range {
                AddressRange::V4 { .. } => list.v4.push(range.bounds()),
                AddressRange::V6 { .. } => list.v6.push(range.bounds()),
            }
        }
        list.v4 = merged(list.v4);
        list.v6 = merged(list.v6);
        list
    }

    /// Takes every address of `other` out.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.v4 = difference(&self.v4, &other.v4);
        self.v6 = difference(&self.v6, &other.v6);
    }
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// `minuend` without `subtrahend`; both sorted and disjoint.
fn difference(minuend: &[(u128, u128)], subtrahend: &[(u128, u128)]) -> Vec<(u128, u128)> {
    let mut left = Vec::with_capacity(minuend.len());
    for &(first, last) in minuend {
        let mut first = first;
        let mut used_up = false;
        let from = subtrahend.partition_point(|&(_, end)| end < first);
        for &(hole_first, hole_last) in subtrahend.iter().skip(from).take_while(|&&(hole, _)| hole <= last) {
            if hole_first > first {
                left.push((first, hole_first - 1));
            }
            if hole_last >= last {
                used_up = true;
                break;
            }
            first = hole_last + 1;
        }
        if !used_up {
            left.push((first, last));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined() {
        assert_eq!(merged(vec![(5, 9), (0, 4), (20, 30), (25, 26)]), [(0, 9), (20, 30)]);
        assert_eq!(merged(vec![(0, u128::MAX), (7, 8)]), [(0, u128::MAX)]);
    }

    #[test]
    fn holes_split_cut_and_swallow() {
        assert_eq!(difference(&[(0, 9)], &[(3, 4)]), [(0, 2), (5, 9)]);
        assert_eq!(difference(&[(0, 9), (20, 29)], &[(8, 21)]), [(0, 7), (22, 29)]);
        assert_eq!(difference(&[(5, 9)], &[(0, 20)]), []);
        assert_eq!(difference(&[(0, u128::MAX)], &[(0, 0), (u128::MAX, u128::MAX)]), [(1, u128::MAX - 1)]);
    }

    #[test]
    fn shown_as_a_block_where_it_is_one() {
        let shown = |first: &str, last: &str| {
            AddressRange::new(first.parse().expect("address"), last.parse().expect("address"))
                .expect("range")
                .to_string()
        };
        assert_eq!(shown("10.0.0.0", "10.0.0.255"), "10.0.0.0/24");
        assert_eq!(shown("10.0.0.1", "10.0.0.2"), "10.0.0.1-10.0.0.2");
        assert_eq!(shown("fd00::1", "fd00::1"), "fd00::1");
        assert_eq!(shown("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "::/0");
    }
}
