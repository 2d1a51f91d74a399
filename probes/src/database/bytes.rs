//! Bytes written as text: `\r \n \t \0 \\ \xHH`, everything else stands for its UTF-8.

/// Why a text is not a notation of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad escape at byte {0}; use \\r \\n \\t \\0 \\\\ or \\xHH")]
pub struct BadEscape(pub usize);

/// The bytes that `text` stands for.
pub fn unescape(text: &str) -> Result<Vec<u8>, BadEscape> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let at = text.len() - rest.len() - 1;
        let (&kind, tail) = rest.split_first().ok_or(BadEscape(at))?;
        rest = tail;
        match kind {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'0' => bytes.push(0),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                let (digits, tail) = rest.split_at_checked(2).ok_or(BadEscape(at))?;
                rest = tail;
                let digits = std::str::from_utf8(digits).map_err(|_| BadEscape(at))?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_| BadEscape(at))?);
            }
            _ => return Err(BadEscape(at)),
        }
    }
    Ok(bytes)
}

/// The shortest readable notation of `bytes`; [`unescape`] gives them back.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\r' => text.push_str("\\r"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\0' => text.push_str("\\0"),
                '\\' => text.push_str("\\\\"),
                // Invisible or ambiguous characters are written out, so that a review sees them.
                other if other.is_control() || !other.is_ascii() && !other.is_alphanumeric() => {
                    let mut buffer = [0; 4];
                    for byte in other.encode_utf8(&mut buffer).bytes() {
                        text.push_str(&format!("\\x{byte:02x}"));
                    }
                }
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_escape_and_refuses_others() {
        assert_eq!(unescape(r"a\r\n\t\0\\\x1bZ").expect("valid"), b"a\r\n\t\0\\\x1bZ");
        assert_eq!(unescape(r"ab\q"), Err(BadEscape(2)));
        assert_eq!(unescape(r"\x4"), Err(BadEscape(0)));
        assert_eq!(unescape("\\"), Err(BadEscape(0)));
    }

    proptest! {
        #[test]
        fn what_is_escaped_can_be_read_back(bytes: Vec<u8>) {
            prop_assert_eq!(unescape(&escape(&bytes)).expect("own notation"), bytes);
        }
    }
}
