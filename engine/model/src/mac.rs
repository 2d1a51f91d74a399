//! Hardware addresses.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An EUI-48 hardware address, written `aa:bb:cc:dd:ee:ff`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "52:54:00:12:34:56"))]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether the address was made up rather than assigned by the IEEE (RFC 7042 2.1): no vendor can
    /// be read from it and it may change at any time.
    pub fn is_locally_administered(self) -> bool {
        self.0[0] & 0b10 != 0
    }

    /// Whether the address names a group of stations (RFC 7042 2.1).
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six groups of two hexadecimal digits, separated by colons or hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseMacError;

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a hardware address; write it as aa:bb:cc:dd:ee:ff")
    }
}

impl std::error::Error for ParseMacError {}

impl FromStr for MacAddress {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 6];
        let mut groups = text.split([':', '-']);
        for byte in &mut bytes {
            let group = groups.next().filter(|group| group.len() == 2).ok_or(ParseMacError)?;
            if !group.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *byte = u8::from_str_radix(group, 16).map_err(|_| ParseMacError)?;
        }
        groups.next().is_none().then_some(Self(bytes)).ok_or(ParseMacError)
    }
}

impl Serialize for MacAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_either_separator() {
        let mac: MacAddress = "52-54-00-AB-cd-01".parse().expect("valid");
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:01");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert!(mac.is_locally_administered());
    }

    #[test]
    fn refuses_anything_else() {
        for text in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "5:54:00:12:34:56",
            "+1:54:00:12:34:56",
            "é:54:00:12:34:56",
        ] {
            assert_eq!(text.parse::<MacAddress>(), Err(ParseMacError), "{text}");
        }
    }
}
