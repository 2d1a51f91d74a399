//! JARM: one text for how a TLS server answers ten hellos.
//!
//! After the description of Salesforce's (BSD-3-Clause): for each answer the place of the cipher in an ordered
//! list and a letter for the version, then the first half of a SHA-256 over what ALPN and extensions were chosen.
//! Values are only comparable if every implementation reads answers in the same way, so ours follows the published
//! one where that reads beyond a hello without extensions.

use sha2::{Digest, Sha256};

use super::hex;

/// Hellos of one fingerprint.
pub(crate) const HELLOS: usize = 10;
/// Bytes of an answer that are looked at.
pub(crate) const MAX_ANSWER: usize = 1484;

/// Ciphers in the order that numbers them, from 1.
const CIPHERS: &[u16] = &[
    0x0004, 0x0005, 0x0007, 0x000a, 0x0016, 0x002f, 0x0033, 0x0035, 0x0039, 0x003c, 0x003d, 0x0041, 0x0045,
    0x0067, 0x006b, 0x0084, 0x0088, 0x009a, 0x009c, 0x009d, 0x009e, 0x009f, 0x00ba, 0x00be, 0x00c0, 0x00c4,
    0xc007, 0xc008, 0xc009, 0xc00a, 0xc011, 0xc012, 0xc013, 0xc014, 0xc023, 0xc024, 0xc027, 0xc028, 0xc02b,
    0xc02c, 0xc02f, 0xc030, 0xc060, 0xc061, 0xc072, 0xc073, 0xc076, 0xc077, 0xc09c, 0xc09d, 0xc09e, 0xc09f,
    0xc0a0, 0xc0a1, 0xc0a2, 0xc0a3, 0xc0ac, 0xc0ad, 0xc0ae, 0xc0af, 0xcc13, 0xcc14, 0xcca8, 0xcca9, 0x1301,
    0x1302, 0x1303, 0x1304, 0x1305,
];

/// What is read of one answer; nothing if it was no ServerHello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answer {
    cipher: Option<u16>,
    version: Option<u8>,
    alpn: String,
    extensions: String,
}

/// The fingerprint of the answers, in the hellos' order; `None` if none of them was a ServerHello.
pub(crate) fn fingerprint(answers: &[Vec<u8>; HELLOS]) -> Option<String> {
    let answers = answers.each_ref().map(|bytes| Answer::read(bytes));
    if answers.iter().all(|answer| *answer == Answer::default()) {
        return None;
    }
    let mut text = String::with_capacity(62);
    let mut hashed = String::new();
    for answer in &answers {
        text.push_str(
            &answer.cipher.map_or_else(|| "00".to_owned(), |cipher| format!("{:02x}", number(cipher))),
        );
        text.push(answer.version.map_or('0', letter));
        hashed.push_str(&answer.alpn);
        hashed.push_str(&answer.extensions);
    }
    text.extend(hex(&Sha256::digest(hashed.as_bytes())).chars().take(32));
    Some(text)
}

/// From 1; one more than there are for a cipher that is not listed.
fn number(cipher: u16) -> usize {
    CIPHERS.iter().position(|&known| known == cipher).unwrap_or(CIPHERS.len()) + 1
}

/// The minor version as a letter: `a` for SSLv3, `d` for TLS 1.2.
fn letter(minor: u8) -> char {
    char::from(b'a' + minor.min(5))
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        Self::parse(bytes).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..MAX_ANSWER.min(bytes.len()))?;
        if bytes.first() != Some(&22) || bytes.get(5) != Some(&2) {
            return None;
        }
        let session = usize::from(*bytes.get(43)?);
        let cipher = bytes.get(session + 44..session + 46)?;
        let (alpn, extensions) = extensions(bytes, session).unwrap_or_default();
        let cipher = cipher.first_chunk().map(|two| u16::from_be_bytes(*two));
        Some(Self { cipher, version: bytes.get(10).copied(), alpn, extensions })
    }
}

/// The chosen protocol and the extensions' kinds in hexadecimal, joined by hyphens.
fn extensions(bytes: &[u8], session: usize) -> Option<(String, String)> {
    // No extensions, and the Certificate or the ServerKeyExchange follows at once.
    let follows = bytes.get(session + 50..session + 53) == Some(&[0x0e, 0xac, 0x0b])
        || bytes.get(82..85) == Some(&[0x0f, 0xf0, 0x0b]);
    if bytes.get(session + 47)? == &11 || follows {
        return None;
    }
    let mut at = session + 49;
    let length = be16(bytes, session + 47)?;
    let end = length + at - 1;
    let mut alpn = String::new();
    let mut kinds = Vec::new();
    while at < end {
        // What lies beyond the answer counts as empty, as in the published implementation.
        let kind = slice(bytes, at, 2);
        let length = be16(bytes, at + 2).unwrap_or_default();
        if kind == [0, 16] && alpn.is_empty() {
            let value = slice(bytes, at + 4, length);
            alpn = String::from_utf8(value.get(3..).unwrap_or_default().to_vec()).ok()?;
        }
        kinds.push(hex(kind));
        at += 4 + length;
    }
    Some((alpn, kinds.join("-")))
}

fn slice(bytes: &[u8], at: usize, length: usize) -> &[u8] {
    let end = (at + length).min(bytes.len());
    bytes.get(at.min(end)..end).unwrap_or_default()
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|two| usize::from(u16::from_be_bytes(*two)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(version: u8, cipher: u16, extensions: &[u8]) -> Vec<u8> {
        let mut hello = vec![22, 3, 3, 0, 0, 2, 0, 0, 0, 3, version];
        hello.extend([7; 32]);
        hello.push(0);
        hello.extend(cipher.to_be_bytes());
        hello.push(0);
        hello.extend((extensions.len() as u16).to_be_bytes());
        hello.extend(extensions);
        hello
    }

    #[test]
    fn ciphers_versions_and_extensions_make_the_text() {
        let mut answers: [Vec<u8>; HELLOS] = Default::default();
        assert_eq!(fingerprint(&answers), None);
        answers[0] = hello(3, 0xc02f, &[0xff, 1, 0, 1, 0, 0, 16, 0, 5, 0, 3, 2, b'h', b'2']);
        answers[6] = hello(3, 0x1301, &[0, 43, 0, 2, 3, 4]);
        let text = fingerprint(&answers).expect("two hellos");
        assert!(text.starts_with("29d00000000000000041d000000000"), "{text}");
        let hashed = hex(&Sha256::digest(b"h2ff01-0010002b"));
        assert_eq!(text.get(30..), hashed.get(..32));
    }

    proptest! {
        #[test]
        fn any_answers_make_62_characters_or_none(bytes: Vec<u8>, session: u8) {
            let mut answers: [Vec<u8>; HELLOS] = Default::default();
            let mut start = vec![22, 3, 3, 0, 0, 2, 0, 0, 0, 3, 3];
            start.extend([0; 32]);
            start.push(session);
            answers[3] = [start, bytes].concat();
            if let Some(text) = fingerprint(&answers) {
                prop_assert_eq!(text.len(), 62);
            }
        }
    }
}
