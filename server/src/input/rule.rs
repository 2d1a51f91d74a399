//! The two halves of a rule: which address, which ports.

use std::{fmt, net::IpAddr};

/// The ports a rule is about, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RulePorts {
    /// The lowest port.
    pub low: u16,
    /// The highest port.
    pub high: u16,
}

impl RulePorts {
    /// Every port; 0 is included so that a host finding (which has no port) can be ruled on too.
    pub const ALL: Self = Self { low: 0, high: u16::MAX };

    /// Exactly one port.
    pub const fn one(port: u16) -> Self {
        Self { low: port, high: port }
    }

    /// Whether the rule is about this port.
    pub const fn contains(self, port: u16) -> bool {
        self.low <= port && port <= self.high
    }
}

/// As a client reads it: `*`, `80` or `80-443`.
impl fmt::Display for RulePorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALL => f.write_str("*"),
            Self { low, high } if low == high => write!(f, "{low}"),
            Self { low, high } => write!(f, "{low}-{high}"),
        }
    }
}

/// Reads the ports of a rule: nothing, `*` or `ALL` for every port, else one port or one range.
pub fn parse_rule_ports(text: &str) -> Result<RulePorts, String> {
    let text = text.trim();
    if text.is_empty() || text == "*" || text.eq_ignore_ascii_case("all") {
        return Ok(RulePorts::ALL);
    }
    let (low, high) = parse_port_or_range(text)?;
    Ok(RulePorts { low, high })
}

/// Reads the address of a rule: nothing for every address, else one address in any spelling.
pub fn parse_rule_address(text: Option<&str>) -> Result<Option<IpAddr>, String> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    let address: IpAddr = text.parse().map_err(|_| format!("Invalid IP address: {text}"))?;
    Ok(Some(address.to_canonical()))
}

/// One port or one range, with the sentences OPM's clients know.
pub(super) fn parse_port_or_range(text: &str) -> Result<(u16, u16), String> {
    let typed = text.trim();
    match typed.split_once('-') {
        None => {
            let port = parse_port(typed, typed, "")?;
            Ok((port, port))
        }
        Some((low, high)) => {
            let (low, high) = (low.trim(), high.trim());
            if low.is_empty() || high.is_empty() || high.contains('-') {
                return Err(format!("Invalid port range format: {typed}"));
            }
            let (low, high) = (parse_port(low, typed, " in range")?, parse_port(high, typed, " in range")?);
            if low > high {
                return Err(format!("Invalid port range (start > end): {typed}"));
            }
            Ok((low, high))
        }
    }
}

fn parse_port(digits: &str, typed: &str, place: &str) -> Result<u16, String> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("Invalid port number{place}: {typed}"));
    }
    match digits.parse::<u16>() {
        Ok(port) if port >= 1 => Ok(port),
        _ => Err(format!("Port out of range (1-65535): {typed}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_all_ports_is_one() {
        for text in ["", "  ", "*", "ALL", "all", "All"] {
            assert_eq!(parse_rule_ports(text), Ok(RulePorts::ALL));
        }
        assert_eq!(RulePorts::ALL.to_string(), "*");
        assert!(RulePorts::ALL.contains(0) && RulePorts::ALL.contains(65535));
    }

    #[test]
    fn ports_and_ranges_round_trip() {
        for (text, shown) in [("80", "80"), (" 80 - 443 ", "80-443"), ("22-22", "22"), ("1-65535", "1-65535")]
        {
            assert_eq!(parse_rule_ports(text).unwrap().to_string(), shown);
        }
        let web = parse_rule_ports("80-443").unwrap();
        assert!(web.contains(80) && web.contains(443) && !web.contains(79) && !web.contains(444));
    }

    #[test]
    fn lists_and_nonsense_are_refused() {
        assert_eq!(parse_rule_ports("443-80").unwrap_err(), "Invalid port range (start > end): 443-80");
        assert_eq!(parse_rule_ports("80,443").unwrap_err(), "Invalid port number: 80,443");
        assert_eq!(parse_rule_ports("0").unwrap_err(), "Port out of range (1-65535): 0");
        assert_eq!(parse_rule_ports("+80").unwrap_err(), "Invalid port number: +80");
    }

    #[test]
    fn an_address_is_kept_in_its_one_spelling() {
        assert_eq!(parse_rule_address(None), Ok(None));
        assert_eq!(parse_rule_address(Some(" ")), Ok(None));
        let long = parse_rule_address(Some("FD99:0:0::0010")).unwrap().unwrap();
        assert_eq!(long.to_string(), "fd99::10");
        assert_eq!(parse_rule_address(Some("1.2.3")).unwrap_err(), "Invalid IP address: 1.2.3");
    }
}
