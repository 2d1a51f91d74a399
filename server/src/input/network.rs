//! The addresses of a network: a CIDR block or one address.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// Reads a CIDR block, with a prefix length or an IPv4 netmask, or one address.
///
/// Bits right of the prefix may be set (`192.0.2.77/24`); they are kept, as typed.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let trimmed = text.trim();
    trimmed
        .parse::<IpNet>()
        .ok()
        .or_else(|| trimmed.parse::<IpAddr>().ok().map(IpNet::from))
        .or_else(|| with_netmask(trimmed))
        .ok_or_else(|| {
            format!("Invalid CIDR format: '{trimmed}' does not appear to be an IPv4 or IPv6 network")
        })
}

fn with_netmask(text: &str) -> Option<IpNet> {
    let (address, mask) = text.split_once('/')?;
    let net = Ipv4Net::with_netmask(address.parse().ok()?, mask.parse::<Ipv4Addr>().ok()?).ok()?;
    Some(IpNet::V4(net))
}

/// Whether any address of the network belongs to somebody on the Internet: not private, shared,
/// loopback, link-local, documentation or benchmarking space (RFC 6890).
///
/// The user interface asks for a typed confirmation before it scans such a network.
pub fn is_public(network: &IpNet) -> bool {
    const NOT_PUBLIC: [&str; 15] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "::1/128",
        "2001:db8::/32",
        "fc00::/7",
        "fe80::/10",
    ];
    let network = network.trunc();
    !NOT_PUBLIC.iter().filter_map(|block| block.parse::<IpNet>().ok()).any(|block| block.contains(&network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_addresses_and_netmasks_are_read() {
        for (text, expected) in [
            ("10.99.0.8/29", "10.99.0.8/29"),
            ("192.0.2.77/24", "192.0.2.77/24"),
            ("192.0.2.77", "192.0.2.77/32"),
            ("10.0.0.0/255.255.0.0", "10.0.0.0/16"),
            (" fd99::10/127 ", "fd99::10/127"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn anything_else_is_named_in_the_error() {
        for text in ["10.0.0.0/99", "banana", "", "10.0.0/8", "10.0.0.0/255.0.255.0", "10.0.0.1-10.0.0.9"] {
            let error = parse_network(text).unwrap_err();
            assert_eq!(
                error,
                format!("Invalid CIDR format: '{text}' does not appear to be an IPv4 or IPv6 network")
            );
        }
    }

    #[test]
    fn a_block_is_public_unless_it_lies_within_reserved_space() {
        for text in ["10.1.2.0/24", "192.168.0.7/32", "fd99::/64", "127.0.0.1/32", "fe80::1/64"] {
            assert!(!is_public(&text.parse().unwrap()), "{text}");
        }
        for text in ["8.8.8.0/24", "10.0.0.0/7", "0.0.0.0/0", "2a00::/16", "::/0"] {
            assert!(is_public(&text.parse().unwrap()), "{text}");
        }
    }
}
