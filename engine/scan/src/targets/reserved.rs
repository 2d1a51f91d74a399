//! Ranges that no scan means to reach.

use super::{AddressRange, parse_line};

/// From the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890) and the multicast registries.
/// Left out are ranges in which real hosts of one's own live: loopback, private (RFC 1918, RFC 4193), shared
/// (RFC 6598) and link-local.
const RESERVED: [&str; 22] = [
    "0.0.0.0/8",       // this network, RFC 791
    "192.0.0.0/24",    // IETF protocol assignments, RFC 6890
    "192.0.2.0/24",    // documentation, RFC 5737
    "192.88.99.0/24",  // 6to4 relay anycast, deprecated by RFC 7526
    "198.18.0.0/15",   // benchmarking, RFC 2544
    "198.51.100.0/24", // documentation, RFC 5737
    "203.0.113.0/24",  // documentation, RFC 5737
    "224.0.0.0/4",     // multicast, RFC 5771
    "240.0.0.0/4",     // reserved, RFC 1112, and limited broadcast, RFC 919
    "::/128",          // unspecified, RFC 4291
    "::ffff:0:0:0/96", // IPv4-translated, RFC 2765
    "64:ff9b::/96",    // IPv4/IPv6 translation, RFC 6052
    "64:ff9b:1::/48",  // the same, local use, RFC 8215
    "100::/64",        // discard-only, RFC 6666
    "100:0:0:1::/64",  // dummy prefix, RFC 9780
    "2001::/23",       // IETF protocol assignments, Teredo among them, RFC 2928
    "2001:db8::/32",   // documentation, RFC 3849
    "2002::/16",       // 6to4, RFC 3056
    "3fff::/20",       // documentation, RFC 9637
    "5f00::/16",       // segment routing identifiers, RFC 9602
    "fec0::/10",       // site-local, deprecated by RFC 3879
    "ff00::/8",        // multicast, RFC 4291
];

pub(super) fn ranges() -> Vec<AddressRange> {
    RESERVED.iter().filter_map(|text| parse_line(text).ok()).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_a_block_in_its_plainest_form() {
        let shown: Vec<String> = ranges().iter().map(ToString::to_string).collect();
        let written: Vec<&str> = RESERVED.iter().map(|text| text.trim_end_matches("/128")).collect();
        assert_eq!(shown, written);
    }
}
