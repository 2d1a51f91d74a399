//! The last gate before the socket: what may never be sent to, apart from what the order of probes is made of.
//!
//! Exclusions and reserved ranges are subtracted before there is an order. That a fault in the arithmetic of the order
//! cannot reach them all the same, each address is looked up here again right before its frame is made, in a table that
//! is built from the exclusions alone.

use std::net::IpAddr;

use super::range::RangeList;

/// Ranges that nothing leaves for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Sorted, apart from each other, both ends included.
    v4: Box<[(u32, u32)]>,
    /// For each first byte of an address the ranges that have a part in it: from which to before which. Of most there is
    /// none, and one look says so.
    by_first_byte: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Gate {
    pub(super) fn new(forbidden: &RangeList) -> Self {
        // Numbers of IPv4 addresses: they fit.
        let v4: Box<[_]> = forbidden.v4.iter().map(|&(first, last)| (first as u32, last as u32)).collect();
        let by_first_byte = (0..=u32::from(u8::MAX)).map(|byte| {
            let (lowest, highest) = (byte << 24, byte << 24 | 0xff_ffff);
            let from = v4.partition_point(|&(_, last)| last < lowest);
            let until = v4.partition_point(|&(first, _)| first <= highest);
            (from as u32, until as u32)
        });
        Self { by_first_byte: by_first_byte.collect(), v4, v6: forbidden.v6.clone().into() }
    }

    /// Whether a frame may leave for the address.
    #[inline]
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => !covers(self.near(address.to_bits()), address.to_bits()),
            IpAddr::V6(address) => !covers(&self.v6, address.to_bits()),
        }
    }
}

impl Gate {
    /// The ranges that an address can be in.
    #[inline]
    fn near(&self, address: u32) -> &[(u32, u32)] {
        let near = self.by_first_byte.get((address >> 24) as usize);
        // A gate without a table forbids nothing.
        near.and_then(|&(from, until)| self.v4.get(from as usize..until as usize)).unwrap_or(&self.v4)
    }
}

#[inline]
fn covers<T: Copy + Ord>(ranges: &[(T, T)], number: T) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= number);
    let before = after.checked_sub(1).and_then(|place| ranges.get(place));
    before.is_some_and(|&(_, last)| number <= last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{TargetSetBuilder, targets::parse_line};

    fn gate(forbidden: &str) -> Gate {
        Gate::new(&RangeList::from_ranges(parse_line(forbidden).expect("ranges")))
    }

    #[test]
    fn borders_belong_to_what_is_forbidden() {
        let gate = gate("10.0.0.5-10.0.0.9 10.0.0.11 0.0.0.0/8 255.255.255.255 fd99::/64");
        for (text, permitted) in [
            ("0.0.0.0", false),
            ("0.255.255.255", false),
            ("1.0.0.0", true),
            ("10.0.0.4", true),
            ("10.0.0.5", false),
            ("10.0.0.9", false),
            ("10.0.0.10", true),
            ("10.0.0.11", false),
            ("255.255.255.254", true),
            ("255.255.255.255", false),
            ("fd99::", false),
            ("fd99::ffff:ffff:ffff:ffff", false),
            ("fd99:0:0:1::", true),
        ] {
            assert_eq!(gate.permits(text.parse().expect("address")), permitted, "{text}");
        }
        assert!(Gate::default().permits("10.0.0.1".parse().expect("address")));
    }

    /// Addresses by the million, against the ranges read one by one.
    #[test]
    fn random_addresses_are_judged_as_the_ranges_say() {
        let forbidden = "10.1.0.0/16 10.3.7.0-10.3.9.200 172.16.0.0/12 192.168.1.1 224.0.0.0/3";
        let (gate, ranges) = (gate(forbidden), parse_line(forbidden).expect("ranges"));
        let mut state = 1_u64;
        let mut refused = 0_u32;
        for _ in 0..4_000_000 {
            // Steele and Vigna's multiplier of a congruential generator.
            state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            let address = IpAddr::from(((state >> 32) as u32).to_be_bytes());
            let within = ranges.iter().any(|range| range.contains(address));
            assert_eq!(gate.permits(address), !within, "{address}");
            refused += u32::from(within);
        }
        assert!(refused > 100_000, "the test hits what is forbidden");
    }

    proptest! {
        #[test]
        fn no_target_is_forbidden(excluded in prop::collection::vec((0_u32..400, 1_u32..60), 0..12)) {
            let address = |offset: u32| IpAddr::from((0x0a00_0000 + offset).to_be_bytes());
            let mut builder = TargetSetBuilder::new().include("10.0.0.0-10.0.1.255").expect("valid");
            for (start, len) in excluded {
                let range = format!("{}-{}", address(start), address(start + len - 1));
                builder = builder.exclude(&range).expect("valid");
            }
            if let Ok(targets) = builder.build() {
                for offset in 0..512 {
                    let address = address(offset);
                    prop_assert_eq!(targets.contains(address), targets.gate().permits(address));
                }
            }
        }
    }
}
