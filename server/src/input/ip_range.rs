//! The `ip_range` filter of lists: `192.168.1.0/24` or `192.168.1.10-192.168.1.50`.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use thiserror::Error;

/// Addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// The lowest address.
    pub first: IpAddr,
    /// The highest address.
    pub last: IpAddr,
}

/// The text is neither a CIDR block nor a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("Invalid ip_range; expected CIDR (e.g., 192.168.1.0/24) or range (e.g., 192.168.1.10-192.168.1.50)")]
pub struct InvalidRange;

impl FromStr for AddressRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Some((first, last)) = text.split_once('-') {
            let first: IpAddr = first.trim().parse().map_err(|_| InvalidRange)?;
            let last: IpAddr = last.trim().parse().map_err(|_| InvalidRange)?;
            let same_family = first.is_ipv4() == last.is_ipv4();
            return if same_family && first <= last { Ok(Self { first, last }) } else { Err(InvalidRange) };
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { first: address, last: address });
        }
        let net: IpNet = text.parse().map_err(|_| InvalidRange)?;
        Ok(Self { first: net.network(), last: net.broadcast() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> Result<(String, String), InvalidRange> {
        text.parse::<AddressRange>().map(|range| (range.first.to_string(), range.last.to_string()))
    }

    #[test]
    fn blocks_ranges_and_single_addresses_are_read() {
        let pair = |first: &str, last: &str| Ok((first.to_owned(), last.to_owned()));
        assert_eq!(range("10.99.0.77/24"), pair("10.99.0.0", "10.99.0.255"));
        assert_eq!(range("10.99.0.10 - 10.99.0.11"), pair("10.99.0.10", "10.99.0.11"));
        assert_eq!(range("fd99::10-fd99::20"), pair("fd99::10", "fd99::20"));
        assert_eq!(range("fd99::/126"), pair("fd99::", "fd99::3"));
        assert_eq!(range("10.0.0.1"), pair("10.0.0.1", "10.0.0.1"));
    }

    #[test]
    fn nonsense_mixed_families_and_backward_ranges_are_refused() {
        for text in ["banana", "", "-", "10.0.0.1-", "10.0.0.0/33", "10.0.0.9-10.0.0.1", "10.0.0.1-fd99::1"] {
            assert_eq!(range(text), Err(InvalidRange), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<AddressRange>();
        }
    }
}
