//! What an SSH server says during a key exchange (RFC 4253 8, RFC 4419, RFC 5656) and when it is asked for
//! authentication methods (RFC 4252 5.1). Payloads only: whoever reads the packets has taken them out.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use portreeve_model::{SafeText, SshHostKey};
use sha2::{Digest, Sha256};

use super::reader::Reader;

const MSG_KEX_DH_GEX_GROUP: u8 = 31;
const MSG_USERAUTH_FAILURE: u8 = 51;
/// Methods kept of one list.
const MAX_METHODS: usize = 16;
/// RSA and DSA keys below this can be factored by those who can pay for it.
const LEAST_BITS: u32 = 2048;

/// The server's part of a key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KexReply<'a> {
    /// The host key's blob.
    pub host_key: &'a [u8],
    /// Its ephemeral public value, as it stands in the message.
    pub public: &'a [u8],
}

/// The reply to our public value; its number depends on the method.
pub(crate) fn reply(payload: &[u8], number: u8) -> Option<KexReply<'_>> {
    let mut reader = Reader(payload);
    if reader.u8()? != number {
        return None;
    }
    Some(KexReply { host_key: string(&mut reader)?, public: string(&mut reader)? })
}

/// Prime and generator that a server chose for group exchange.
pub(crate) fn group(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader(payload);
    if reader.u8()? != MSG_KEX_DH_GEX_GROUP {
        return None;
    }
    Some((string(&mut reader)?, string(&mut reader)?))
}

/// The methods that can continue after a refused request.
pub(crate) fn methods(payload: &[u8]) -> Option<Vec<SafeText>> {
    let mut reader = Reader(payload);
    if reader.u8()? != MSG_USERAUTH_FAILURE {
        return None;
    }
    let names = string(&mut reader)?;
    let names = names.split(|&byte| byte == b',').filter(|name| !name.is_empty()).take(MAX_METHODS);
    Some(names.map(|name| SafeText::sanitize_to(name, 64)).collect())
}

/// Describes a host key (RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4); `None` if it has no kind.
pub(crate) fn host_key(blob: &[u8]) -> Option<SshHostKey> {
    let mut reader = Reader(blob);
    let kind = string(&mut reader)?;
    let bits = match kind {
        b"ssh-rsa" => {
            string(&mut reader)?;
            Some(bit_length(string(&mut reader)?))
        }
        b"ssh-dss" => Some(bit_length(string(&mut reader)?)),
        b"ssh-ed25519" => Some(256),
        b"ssh-ed448" => Some(456),
        b"ecdsa-sha2-nistp256" => Some(256),
        b"ecdsa-sha2-nistp384" => Some(384),
        b"ecdsa-sha2-nistp521" => Some(521),
        _ => None,
    };
    let mut notes = Vec::new();
    if kind == b"ssh-dss" {
        notes.push(SafeText::from("[FAIL] DSA signs with SHA-1 and leaks its key by a bad random number"));
    }
    if matches!(kind, b"ssh-rsa" | b"ssh-dss") && bits.is_some_and(|bits| bits < LEAST_BITS) {
        notes.push(SafeText::from("[FAIL] below 2048 bits (NIST SP 800-131A)"));
    }
    Some(SshHostKey {
        kind: SafeText::sanitize_to(kind, 64),
        bits,
        fingerprint: SafeText::from(format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))),
        is_weak: !notes.is_empty(),
        notes,
    })
}

/// A string of RFC 4251 5.
fn string<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = reader.be32()?;
    reader.take(length as usize)
}

/// Bits of a positive multiple precision integer, leading zeros left out.
fn bit_length(number: &[u8]) -> u32 {
    let first = number.iter().position(|&byte| byte != 0).unwrap_or(number.len());
    let significant = number.get(first..).unwrap_or_default();
    significant.first().map_or(0, |&top| significant.len() as u32 * 8 - top.leading_zeros())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strings(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for part in parts {
            out.extend((part.len() as u32).to_be_bytes());
            out.extend(*part);
        }
        out
    }

    #[test]
    fn keys_are_measured_and_weak_ones_named() {
        let mut modulus = vec![0, 0x80];
        modulus.resize(129, 7);
        let rsa = host_key(&strings(&[b"ssh-rsa", &[1, 0, 1], &modulus])).expect("a key");
        assert_eq!((rsa.kind.as_str(), rsa.bits, rsa.is_weak), ("ssh-rsa", Some(1024), true));
        assert!(rsa.fingerprint.as_str().starts_with("SHA256:"));
        assert_eq!(rsa.fingerprint.as_str().len(), 50);
        let ed = host_key(&strings(&[b"ssh-ed25519", &[9; 32]])).expect("a key");
        assert_eq!((ed.bits, ed.is_weak), (Some(256), false));
    }

    #[test]
    fn methods_are_read_from_a_refusal() {
        let payload = [&[MSG_USERAUTH_FAILURE][..], &strings(&[b"publickey,password"]), &[0]].concat();
        let names = methods(&payload).expect("methods");
        assert_eq!(names.iter().map(SafeText::as_str).collect::<Vec<_>>(), ["publickey", "password"]);
        assert_eq!(methods(&[52]), None);
    }

    proptest! {
        #[test]
        fn foreign_payloads_never_panic(bytes: Vec<u8>, number: u8) {
            reply(&bytes, number);
            group(&bytes);
            methods(&bytes);
            if let Some(key) = host_key(&bytes) {
                prop_assert!(key.fingerprint.as_str().len() == 50);
            }
        }
    }
}
