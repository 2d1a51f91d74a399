//! Text from strangers, made harmless once.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Text that came from a scanned host and is safe to show in a terminal, a page, a log or a file.
///
/// Only [`SafeText::sanitize`] makes one (deserialising goes through it too), so no other place has
/// to wonder: control characters (C0, C1, DEL), bidirectional overrides and invisible formatting
/// characters are replaced, invalid UTF-8 is replaced, and the length is at most
/// [`SafeText::MAX_BYTES`]. HTML and CSV escaping stay the business of whoever writes those.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
pub struct SafeText(String);

impl SafeText {
    /// The longest text kept, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 4096;

    /// Makes any bytes harmless. Line breaks and tabs become spaces, runs of blanks are kept.
    pub fn sanitize(bytes: &[u8]) -> Self {
        Self::sanitize_to(bytes, Self::MAX_BYTES)
    }

    /// Like [`Self::sanitize`] with a smaller limit in bytes; cuts between characters.
    pub fn sanitize_to(bytes: &[u8], max_bytes: usize) -> Self {
        let max_bytes = max_bytes.min(Self::MAX_BYTES);
        // No character grows when cleaned by more than U+FFFD's three bytes for one, so reading
        // `max_bytes` of input is enough to fill the output.
        let head = bytes.get(..max_bytes.min(bytes.len())).unwrap_or_default();
        let mut text = String::with_capacity(head.len());
        for character in String::from_utf8_lossy(head).chars() {
            let clean = harmless(character);
            if text.len() + clean.len_utf8() > max_bytes {
                break;
            }
            text.push(clean);
        }
        text.truncate(text.trim_end().len());
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text as an owned string.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Replaces what could drive a terminal or hide its direction.
fn harmless(character: char) -> char {
    match character {
        '\t' | '\n' | '\r' => ' ',
        // U+2028/2029 break lines in some viewers; U+200B-200F, 202A-202E, 2060-2064 and 2066-206F are
        // invisible or turn the reading direction (CVE-2021-42574); U+FEFF is a byte order mark and
        // U+E0000-E007F are invisible tags.
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}' => '\u{fffd}',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}

impl fmt::Display for SafeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SafeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<&str> for SafeText {
    fn from(text: &str) -> Self {
        Self::sanitize(text.as_bytes())
    }
}

impl From<String> for SafeText {
    fn from(text: String) -> Self {
        Self::sanitize(text.as_bytes())
    }
}

impl<'de> Deserialize<'de> for SafeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(String::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_lose_their_escape() {
        assert_eq!(SafeText::sanitize(b"\x1b[2Jhello\x07").as_str(), "\u{fffd}[2Jhello\u{fffd}");
        assert_eq!(SafeText::sanitize("a\u{202e}b".as_bytes()).as_str(), "a\u{fffd}b");
        assert_eq!(SafeText::sanitize(b"220 ready\r\n").as_str(), "220 ready");
    }

    #[test]
    fn deserialising_sanitises_too() {
        let text: SafeText = serde_json::from_str(r#""a\u001bb""#).expect("valid JSON");
        assert_eq!(text.as_str(), "a\u{fffd}b");
    }

    proptest! {
        #[test]
        fn any_bytes_become_bounded_harmless_text(bytes: Vec<u8>, max in 0_usize..64) {
            let text = SafeText::sanitize_to(&bytes, max);
            prop_assert!(text.as_str().len() <= max);
            prop_assert!(!text.as_str().chars().any(char::is_control));
            prop_assert_eq!(SafeText::from(text.as_str()), text);
        }
    }
}
