//! Questions that must not be the same twice. A server that is asked twice with one initiator's cookie (IKE, RFC 2408
//! 2.5.3) or one authenticator (RADIUS, RFC 2865 3) takes the second for a copy of the first, and says nothing to it.

use std::net::SocketAddr;

use portreeve_model::Timestamp;
use sha2::{Digest, Sha256};

use crate::database::ProbeRef;

/// The bytes that stand in for a probe's cookie in one conversation.
pub(super) struct Cookie<'a> {
    written: &'a [u8],
    drawn: Vec<u8>,
}

impl<'a> Cookie<'a> {
    /// Draws them from what tells one asking from another: the time, whom and what is asked. `None` if the probe has no
    /// cookie.
    pub fn draw(probe: &'a ProbeRef, at: Timestamp, asked: Option<SocketAddr>) -> Option<Self> {
        let written = probe.cookie.as_deref()?;
        let mut hash = Sha256::new();
        hash.update(at.0.to_be_bytes());
        hash.update(asked.map(|address| address.to_string()).unwrap_or_default());
        hash.update(&probe.probe.id);
        let mut drawn = hash.finalize().to_vec();
        drawn.truncate(written.len());
        Some(Self { written, drawn })
    }

    /// A question with the drawn bytes in it.
    pub fn put_in(&self, question: &[u8]) -> Vec<u8> {
        replace(question, self.written, &self.drawn)
    }

    /// A reply as it would be to the probe as it is written, which is how the database knows it.
    pub fn take_out(&self, reply: &[u8]) -> Vec<u8> {
        replace(reply, &self.drawn, self.written)
    }
}

/// The first `old` in `bytes` becomes `new`, which is as long.
fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let place = bytes.windows(old.len().max(1)).position(|window| window == old);
    if let Some(part) = place.and_then(|start| out.get_mut(start..start + new.len())) {
        part.copy_from_slice(new);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Database;

    fn drawn(at: i64, last: u8) -> Vec<u8> {
        let probes = Database::builtin().probes();
        let probe = probes.iter().find(|probe| probe.probe.id == "ike-main-mode").expect("in the database");
        let cookie =
            Cookie::draw(probe, Timestamp(at), Some(([127, 0, 0, last], 500).into())).expect("it has one");
        let question = cookie.put_in(&probe.steps[0]);
        assert_eq!(cookie.take_out(&question), *probe.steps[0]);
        assert_eq!(question.len(), probe.steps[0].len());
        question
    }

    #[test]
    fn no_two_askings_are_the_same() {
        assert_eq!(drawn(1, 1), drawn(1, 1), "a scan can be repeated as it was");
        assert_ne!(drawn(1, 1), drawn(2, 1));
        assert_ne!(drawn(1, 1), drawn(1, 2));
    }

    #[test]
    fn what_has_no_cookie_in_it_stays_as_it_is() {
        for bytes in [&b""[..], b"ab", b"abc", b"xxabcd"] {
            assert_eq!(replace(bytes, b"abce", b"1234"), bytes);
        }
        assert_eq!(replace(b"xabcdabcd", b"abcd", b"1234"), b"x1234abcd");
    }
}
