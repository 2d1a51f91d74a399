//! A door for the fuzz targets to what this crate keeps private; built by cargo-fuzz only.

use crate::{Database, Fields, decode, matcher::choose};

/// Decodes a reply and matches it against the built-in database, as a conversation would.
pub fn read(probe: &str, reply: &[u8]) {
    let mut fields = Fields::default();
    decode::decode(probe, reply, &mut fields);
    let complete = decode::is_complete(reply);
    let hits = Database::builtin().index().find(&fields);
    std::hint::black_box((complete, choose(&hits)));
}
