//! Replies as they came, kept for the day on which the database knows more.
//!
//! A conversation is stored once: its replies are masked ([`mask()`]), hashed, and written only if the segment does not
//! have them yet. A segment is a file of zstd frames that hold one JSON document a line and needs no other file, so the
//! oldest can be removed at any time: that keeps the archive within its size and its age. A frame that was cut off by a
//! crash ends the reading of its segment and of nothing else.
//!
//! [`retro`] reads the replies again with another database and tells what would change, without a packet.

mod mask;
pub mod retro;
mod segment;
mod writer;

use std::{path::PathBuf, time::Duration};

use portreeve_model::{Service, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use mask::mask;
pub use segment::{ArchiveError, Kept, read};
pub use writer::Archive;

use crate::{
    database::{escape, unescape},
    decode::decode,
    fields::Fields,
};

/// Bytes of replies kept of one conversation.
const MAX_KEPT: usize = 96 * 1024;

/// Where the archive is and how large it may grow.
#[derive(Clone, Debug)]
pub struct ArchiveConfig {
    /// Its folder; made if it is missing, readable by its owner only.
    pub folder: PathBuf,
    /// Bytes on disk at most; the oldest replies go first.
    pub max_bytes: u64,
    /// Replies older than this go.
    pub max_age: Duration,
}

impl ArchiveConfig {
    /// 256 MiB and 90 days.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, max_bytes: 256 << 20, max_age: Duration::from_secs(90 * 24 * 3600) }
    }
}

/// Takes what a conversation has brought.
pub trait ReplySink: Send + Sync {
    /// Called once for each conversation with everything that was read. Must not block.
    fn keep(&self, service: &Service, fields: &Fields, at: Timestamp);
}

/// What a conversation has brought, without credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies {
    /// Replies in the order they came: the probe's id, and the bytes in the database's notation.
    pub replies: Vec<(String, String)>,
    /// Values that are not in the replies' bytes, as `tls.subject`: probe, name, bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(String, String, String)>,
}

impl Replies {
    /// Takes the replies out of the fields that were read from them, and masks what nobody else should keep.
    pub(crate) fn of(fields: &Fields) -> Self {
        let mut derived = Fields::default();
        let mut kept = Self::default();
        let mut room = MAX_KEPT;
        let raw = fields.values().iter().filter(|value| value.name == "raw");
        for value in raw {
            decode(&value.probe, &value.bytes, &mut derived);
            let Some(left) = room.checked_sub(value.bytes.len()) else { break };
            room = left;
            kept.replies.push((value.probe.clone(), escape(&mask(&value.bytes))));
        }
        let is_derived =
            |name: &str| derived.values().iter().any(|value| value.name == name) || name == "raw";
        for value in fields.values().iter().filter(|value| !is_derived(&value.name)) {
            let Some(left) = room.checked_sub(value.bytes.len()) else { break };
            room = left;
            kept.facts.push((value.probe.clone(), value.name.clone(), escape(&mask(&value.bytes))));
        }
        kept
    }

    /// The fields as a conversation would have filed them; what is not in the notation is left out.
    pub fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        for (probe, reply) in &self.replies {
            if let Ok(bytes) = unescape(reply) {
                decode(probe, &bytes, &mut fields);
            }
        }
        for (probe, name, value) in &self.facts {
            if let Ok(bytes) = unescape(value) {
                fields.add(probe, name, &bytes);
            }
        }
        fields
    }

    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.facts.is_empty()
    }

    /// What tells these replies from others.
    fn hash(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        let parts = self.replies.iter().flat_map(|(probe, reply)| [probe, reply]);
        for part in parts.chain(self.facts.iter().flat_map(|(probe, name, value)| [probe, name, value])) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{database::Database, matcher::choose};

    #[test]
    fn what_is_kept_is_read_as_before_and_holds_no_secret() {
        let mut fields = Fields::default();
        let page = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nSet-Cookie: sid=abcdef123; Path=/\r\n\r\n\
            <title>Grafana</title>";
        decode("http-get", page, &mut fields);
        fields.add("tls-hello", "tls.subject", b"CN=lab");
        let kept = Replies::of(&fields);
        assert!(!format!("{kept:?}").contains("abcdef123"), "{kept:?}");
        assert_eq!(kept.facts, [("tls-hello".to_owned(), "tls.subject".to_owned(), "CN=lab".to_owned())]);
        let read =
            |fields: &Fields| choose(&Database::builtin().index().find(fields)).map(|choice| choice.best);
        assert_eq!(read(&kept.fields()), read(&fields));
        assert!(read(&fields).is_some());
    }

    #[test]
    fn a_conversation_larger_than_the_limit_is_cut_between_replies() {
        let mut fields = Fields::default();
        for _ in 0..9 {
            decode("p", &vec![b'x'; 20_000], &mut fields);
        }
        assert!(Replies::of(&fields).replies.len() < 9);
    }
}
