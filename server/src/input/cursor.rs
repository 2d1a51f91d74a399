//! Where the next page of a list begins.

use std::{fmt, net::IpAddr, str::FromStr};

/// The last port of a page in order of address: `192.0.2.7_443_1234`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortCursor {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its number.
    pub id: i64,
}

impl fmt::Display for PortCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.address, self.port, self.id)
    }
}

impl FromStr for PortCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('_');
        let mut next = || parts.next().unwrap_or_default();
        let (address, port, id) = (next().parse().ok(), next().parse().ok(), next().parse().ok());
        match (address, port, id, parts.next()) {
            (Some(address), Some(port), Some(id), None) => Ok(Self { address, port, id }),
            _ => Err("Invalid cursor; use next_cursor of the page before".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip() {
        for text in ["192.0.2.7_443_1234", "fd99::1_22_9"] {
            assert_eq!(text.parse::<PortCursor>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "1", "192.0.2.7_443", "192.0.2.7_443_1_2", "x_1_1", "192.0.2.7_70000_1"] {
            assert!(text.parse::<PortCursor>().is_err(), "{text}");
        }
    }
}
