//! The notation of targets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{AddressRange, TargetError};

/// Reads every target of a line: addresses, blocks (`10.0.0.0/24`; host bits are ignored) and ranges
/// (`10.0.0.1-10.0.0.50`, `10.0.0.1-50`), separated by blanks or commas, up to a `#`.
pub fn parse_line(line: &str) -> Result<Vec<AddressRange>, TargetError> {
    let line = line.split('#').next().unwrap_or_default();
    line.split([',', ' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).map(parse_word).collect()
}

fn parse_word(text: &str) -> Result<AddressRange, TargetError> {
    if let Some((address, prefix)) = text.split_once('/') {
        return parse_block(text, address, prefix);
    }
    if let Some((first, last)) = text.split_once('-') {
        return parse_range(text, first, last);
    }
    let address = parse_address(text, text)?;
    AddressRange::new(address, address).ok_or_else(|| malformed(text))
}

fn parse_block(text: &str, address: &str, prefix: &str) -> Result<AddressRange, TargetError> {
    let address = parse_address(text, address)?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    if prefix.is_empty() || !prefix.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(malformed(text));
    }
    let too_long = || TargetError::PrefixLength { text: text.to_owned(), max };
    let length: u32 = prefix.parse().map_err(|_| too_long())?;
    if length > u32::from(max) {
        return Err(too_long());
    }
    Ok(match address {
        IpAddr::V4(address) => {
            let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
            let first = address.to_bits() & !hosts;
            AddressRange::V4 { first: first.into(), last: Ipv4Addr::from_bits(first | hosts) }
        }
        IpAddr::V6(address) => {
            let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
            let first = address.to_bits() & !hosts;
            AddressRange::V6 { first: first.into(), last: Ipv6Addr::from_bits(first | hosts) }
        }
    })
}

fn parse_range(text: &str, first: &str, last: &str) -> Result<AddressRange, TargetError> {
    let first = parse_address(text, first)?;
    let last = match (first, last.parse::<u8>()) {
        (IpAddr::V4(first), Ok(octet)) => {
            let [a, b, c, _] = first.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, octet))
        }
        _ => parse_address(text, last)?,
    };
    if first.is_ipv4() != last.is_ipv4() {
        return Err(malformed(text));
    }
    AddressRange::new(first, last).ok_or_else(|| TargetError::Backwards { text: text.to_owned() })
}

/// An address; IPv4 written inside IPv6 (`::ffff:10.0.0.1`) is IPv4.
fn parse_address(text: &str, address: &str) -> Result<IpAddr, TargetError> {
    address.parse().map(|address: IpAddr| address.to_canonical()).map_err(|_| malformed(text))
}

fn malformed(text: &str) -> TargetError {
    TargetError::Malformed { text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> Vec<String> {
        parse_line(line).expect("valid").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_notation() {
        assert_eq!(shown("10.0.0.7"), ["10.0.0.7"]);
        assert_eq!(shown("10.0.0.7/24"), ["10.0.0.0/24"]);
        assert_eq!(shown("0.0.0.0/0"), ["0.0.0.0/0"]);
        assert_eq!(shown("10.0.0.1-50"), ["10.0.0.1-10.0.0.50"]);
        assert_eq!(shown("10.0.0.255-10.0.1.0"), ["10.0.0.255-10.0.1.0"]);
        assert_eq!(shown("fd00::1-fd00::f"), ["fd00::1-fd00::f"]);
        assert_eq!(shown("fd00::99/120, ::1"), ["fd00::/120", "::1"]);
        assert_eq!(shown("::ffff:10.0.0.1"), ["10.0.0.1"]);
        assert_eq!(shown("  # nothing"), Vec::<String>::new());
        assert_eq!(shown("10.0.0.1\t10.0.0.2 # two"), ["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn errors_name_the_text() {
        for text in [
            "10.0.0",
            "10.0.0.256",
            "host.example",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.9-1",
            "10.0.0.1-fd00::1",
            "1-2",
            "10.0.0.1-",
            "10.0.0.0/4294967297",
            "fe80::1%eth0",
        ] {
            let error = parse_line(text).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
