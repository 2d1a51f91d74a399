//! Where to: text in, a set of addresses out from which everything forbidden has been taken.
//!
//! ```
//! use portreeve_scan::TargetSetBuilder;
//!
//! let targets = TargetSetBuilder::new().include("10.0.0.0/24")?.exclude("10.0.0.5")?.build()?;
//! assert_eq!(targets.len(), 255);
//! assert!(!targets.contains("10.0.0.5".parse().unwrap()));
//! # Ok::<(), portreeve_scan::TargetError>(())
//! ```

mod gate;
mod low;
mod parse;
mod range;
mod reserved;
mod set;

pub use parse::parse_line;
pub use range::AddressRange;
pub use set::TargetSet;

pub(crate) use gate::Gate;
use range::RangeList;

/// Why targets cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The text is neither an address, nor a block, nor a range.
    #[error("{text:?} is not a target; write an address, a block (10.0.0.0/24) or a range (10.0.0.1-50)")]
    Malformed {
        /// The text.
        text: String,
    },
    /// A prefix longer than the address.
    #[error("{text:?}: the prefix length must be at most {max}")]
    PrefixLength {
        /// The text.
        text: String,
        /// 32 or 128.
        max: u8,
    },
    /// The range's end is before its start.
    #[error("{text:?} ends before it starts; write the lower address first")]
    Backwards {
        /// The text.
        text: String,
    },
    /// An IPv6 block too large to be tried address by address.
    #[error(
        "{text} holds more addresses than can be tried; name IPv6 blocks of /{min_prefix} or smaller, of which the low \
         addresses are tried, or the hosts themselves"
    )]
    TooLarge {
        /// The range.
        text: String,
        /// The shortest prefix accepted.
        min_prefix: u8,
    },
    /// All blocks together are too many.
    #[error("the targets hold more than 2^40 addresses; name fewer or smaller IPv6 blocks")]
    TooMany,
    /// Nothing is left to be scanned.
    #[error(
        "nothing is left to scan: every address named is excluded or reserved (RFC 6890); reserved ranges \
         can be allowed expressly"
    )]
    Empty,
    /// No target was named.
    #[error("no targets; name at least one address, block or range")]
    NoTargets,
}

/// Collects what is to be scanned and what is not. Order does not matter: exclusions always win.
#[derive(Clone, Debug, Default)]
pub struct TargetSetBuilder {
    included: Vec<AddressRange>,
    excluded: Vec<AddressRange>,
    allow_reserved: bool,
    sampled: Vec<AddressRange>,
}

impl TargetSetBuilder {
    /// The shortest IPv6 prefix that is tried address by address: 2³² addresses, as many as IPv4 has.
    pub const MIN_IPV6_PREFIX: u8 = 96;

    /// Nothing included, nothing excluded, reserved ranges left out.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds targets: one or more addresses, blocks or ranges, separated by blanks or commas; text after `#` is
    /// a comment. Of IPv6 blocks of /48 to /95 only the low addresses are taken, see [`Self::sampled`].
    pub fn include(mut self, text: &str) -> Result<Self, TargetError> {
        for range in parse_line(text)? {
            if range.len() <= 1 << (128 - Self::MIN_IPV6_PREFIX) {
                self.included.push(range);
                continue;
            }
            let too_large =
                || TargetError::TooLarge { text: range.to_string(), min_prefix: low::SHORTEST_PREFIX };
            self.included.extend(low::counters(range).ok_or_else(too_large)?);
            self.sampled.push(range);
        }
        Ok(self)
    }

    /// The IPv6 blocks of which only the low addresses are tried: 0-fff hex of a network, 0-ff hex of each of the
    /// first 256 networks of a larger block. Whoever named them should be told.
    pub fn sampled(&self) -> &[AddressRange] {
        &self.sampled
    }

    /// Takes addresses out, in the same notation. Blocks of any size are welcome here.
    pub fn exclude(mut self, text: &str) -> Result<Self, TargetError> {
        self.excluded.extend(parse_line(text)?);
        Ok(self)
    }

    /// Whether ranges that the IANA registries of special-purpose addresses set aside (multicast,
    /// documentation, broadcast …) may be scanned. Loopback, private, shared and link-local ranges may be in
    /// any case: whoever names them means them.
    pub fn allow_reserved(mut self, allow: bool) -> Self {
        self.allow_reserved = allow;
        self
    }

    /// The set: sorted, without overlaps, exclusions and reserved ranges taken out.
    pub fn build(self) -> Result<TargetSet, TargetError> {
        if self.included.is_empty() {
            return Err(TargetError::NoTargets);
        }
        let reserved = if self.allow_reserved { Vec::new() } else { reserved::ranges() };
        let forbidden = RangeList::from_ranges(self.excluded.into_iter().chain(reserved));
        let mut left = RangeList::from_ranges(self.included);
        left.subtract(&forbidden);
        TargetSet::from_list(&left, Gate::new(&forbidden))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::IpAddr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exclusions_win_in_any_order() {
        let targets = TargetSetBuilder::new()
            .exclude("10.0.0.4-10.0.0.6")
            .and_then(|builder| builder.include("10.0.0.0/29, 10.0.0.5"))
            .and_then(TargetSetBuilder::build)
            .expect("valid");
        let left: Vec<String> = targets.iter().map(|address| address.to_string()).collect();
        assert_eq!(left, ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.7"]);
    }

    #[test]
    fn reserved_ranges_go_unless_allowed() {
        let everything = || TargetSetBuilder::new().include("0.0.0.0/0").expect("valid");
        let targets = everything().build().expect("not empty");
        for reserved in ["0.0.0.1", "192.0.2.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "203.0.113.9"] {
            assert!(!targets.contains(reserved.parse().expect("address")), "{reserved}");
        }
        for usable in ["10.0.0.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "8.8.8.8", "192.168.1.1"] {
            assert!(targets.contains(usable.parse().expect("address")), "{usable}");
        }
        assert_eq!(everything().allow_reserved(true).build().expect("not empty").len(), 1 << 32);
    }

    #[test]
    fn says_so_when_nothing_is_left() {
        assert!(matches!(TargetSetBuilder::new().build(), Err(TargetError::NoTargets)));
        let multicast = TargetSetBuilder::new().include("224.0.0.0/4").expect("valid").build();
        assert!(matches!(multicast, Err(TargetError::Empty)));
    }

    #[test]
    fn large_ipv6_blocks_are_refused_as_targets_and_taken_as_exclusions() {
        let refused = TargetSetBuilder::new().include("fd00::/47").expect_err("too large");
        assert!(
            refused.to_string().contains("fd00::/47") && refused.to_string().contains("/48"),
            "{refused}"
        );
        let low = TargetSetBuilder::new().include("fd00::/64 10.0.0.0/30").expect("sampled");
        assert_eq!(low.sampled().iter().map(ToString::to_string).collect::<Vec<_>>(), ["fd00::/64"]);
        assert_eq!(low.build().expect("valid").len(), 4096 + 4);
        let targets = TargetSetBuilder::new()
            .include("fd00::/96, fd01::1")
            .and_then(|builder| builder.exclude("fd00::/16"))
            .and_then(TargetSetBuilder::build)
            .expect("valid");
        assert_eq!(targets.iter().collect::<Vec<_>>(), ["fd01::1".parse::<IpAddr>().expect("address")]);
    }

    proptest! {
        #[test]
        fn the_set_is_the_difference(
            included in prop::collection::vec((0_u32..400, 1_u32..60), 1..12),
            excluded in prop::collection::vec((0_u32..400, 1_u32..60), 0..12),
        ) {
            let address = |offset: u32| IpAddr::from((0x0a00_0000 + offset).to_be_bytes());
            let members = |ranges: &[(u32, u32)]| -> BTreeSet<IpAddr> {
                ranges.iter().flat_map(|&(start, len)| (start..start + len).map(address)).collect()
            };
            let text = |ranges: &[(u32, u32)]| -> String {
                let piece = |&(start, len): &(u32, u32)| format!("{}-{}", address(start), address(start + len - 1));
                ranges.iter().map(piece).collect::<Vec<_>>().join(" ")
            };
            let expected: Vec<IpAddr> = members(&included).difference(&members(&excluded)).copied().collect();
            let built = TargetSetBuilder::new()
                .include(&text(&included))
                .and_then(|builder| builder.exclude(&text(&excluded)))
                .and_then(TargetSetBuilder::build);
            match built {
                Ok(targets) => {
                    prop_assert_eq!(targets.iter().collect::<Vec<_>>(), expected.clone());
                    for (index, address) in expected.iter().enumerate() {
                        prop_assert_eq!(targets.index_of(*address), Some(index as u64));
                    }
                }
                Err(TargetError::Empty) => prop_assert!(expected.is_empty()),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text: String) {
            let _ = TargetSetBuilder::new().include(&text).and_then(TargetSetBuilder::build);
        }
    }
}
