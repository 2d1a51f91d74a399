//! The addresses that are tried of an IPv6 block too large to be tried one by one.
//!
//! People and DHCPv6 servers count from the bottom (RFC 7707 4.1.2): of a /64 the interface identifiers 0-fff hex are
//! tried, `::1`, `::53` and `::443` among them, and the same number of any block down to /95; of a block of /48 to /63 the
//! first 256 /64s (or as many as there are), 0-ff hex of each. Larger blocks are refused.

use super::AddressRange;

/// Of a block that is not larger than a /64: identifiers 0 to fff hex.
const IN_NETWORK: u128 = 1 << 12;
/// Of a block of networks: identifiers 0 to ff hex of each.
const IN_EACH_NETWORK: u128 = 1 << 8;
const NETWORKS: u128 = 1 << 8;
/// Bits of an address that tell hosts of a network apart.
const HOST_BITS: u32 = 64;
/// The largest block that is sampled, by its prefix.
pub(super) const SHORTEST_PREFIX: u8 = 48;

/// The ranges to be tried of a block; `None` if it is too large for that, or no block.
pub(super) fn counters(range: AddressRange) -> Option<Vec<AddressRange>> {
    let AddressRange::V6 { first, .. } = range else { return None };
    let (first, length) = (first.to_bits(), range.len());
    let bits = length.trailing_zeros();
    if !length.is_power_of_two() || first.trailing_zeros() < bits || bits > 128 - u32::from(SHORTEST_PREFIX) {
        return None;
    }
    let low = |start: u128, count: u128| AddressRange::V6 {
        first: start.into(),
        last: (start + (count - 1)).into(),
    };
    if bits <= HOST_BITS {
        return Some(vec![low(first, IN_NETWORK.min(length))]);
    }
    let networks = NETWORKS.min(length >> HOST_BITS);
    Some((0..networks).map(|network| low(first + (network << HOST_BITS), IN_EACH_NETWORK)).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::parse_line, *};

    fn shown(text: &str) -> Option<Vec<String>> {
        let ranges = counters(parse_line(text).expect("valid")[0])?;
        Some(ranges.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn low_counters_of_networks_and_of_blocks_of_networks() {
        assert_eq!(shown("fd99::/64"), Some(vec!["fd99::/116".to_owned()]));
        assert_eq!(shown("fd99::1:0:0:0/80"), Some(vec!["fd99::1:0:0:0/116".to_owned()]));
        let blocks = shown("fd99::/62").expect("small enough");
        assert_eq!(blocks, ["fd99::/120", "fd99:0:0:1::/120", "fd99:0:0:2::/120", "fd99:0:0:3::/120"]);
        assert_eq!(shown("fd99::/48").map(|blocks| blocks.len()), Some(256));
    }

    #[test]
    fn what_is_larger_or_no_block_is_not_sampled() {
        for text in ["fd99::/47", "::/0", "fd99::1-fd99::1:0:0:0:0", "10.0.0.0/8"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
