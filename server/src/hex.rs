//! Bytes as lower-case hexadecimal digits.

use std::fmt::Write;

/// Two digits a byte.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _always_ok = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn keeps_leading_zeros() {
        assert_eq!(super::encode(&[0, 0x0a, 0xff]), "000aff");
    }
}
