//! A door for the fuzz targets to what this crate keeps private; built by cargo-fuzz only.

use crate::{Database, Fields, archive::Replies, decode, identify::pages, import::recog, matcher::choose};

/// Decodes a reply and matches it against the built-in database, as a conversation would.
pub fn read(probe: &str, reply: &[u8]) {
    let mut fields = Fields::default();
    decode::decode(probe, reply, &mut fields);
    let complete = decode::is_complete(reply);
    let hits = Database::builtin().index().find(&fields);
    std::hint::black_box((complete, choose(&hits)));
    if let Some(response) = decode::http::Response::parse(reply) {
        let text = response.text();
        let target = String::from_utf8_lossy(pages::refresh(&text).unwrap_or_default()).into_owned();
        assert!(pages::join("/a/b", &target).starts_with('/'), "a path of the same host");
    }
}

/// Reads bytes as what servers send during handshakes: TLS records, answers to JARM's hellos, SSH payloads.
pub fn handshake(bytes: &[u8]) {
    std::hint::black_box(decode::tls::flight(bytes));
    let mut answers: [Vec<u8>; decode::jarm::HELLOS] = Default::default();
    for (answer, part) in answers.iter_mut().zip(bytes.split(|&byte| byte == 0xfe)) {
        *answer = part.to_vec();
    }
    std::hint::black_box(decode::jarm::fingerprint(&answers));
    std::hint::black_box(decode::ssh::offer(bytes));
    std::hint::black_box(decode::ssh_kex::reply(bytes, bytes.first().copied().unwrap_or_default()));
    std::hint::black_box(decode::ssh_kex::group(bytes));
    std::hint::black_box(decode::ssh_kex::methods(bytes));
    std::hint::black_box(decode::ssh_kex::host_key(bytes));
}

/// Keeps a reply and reads it again: nothing may be lost but what is masked.
pub fn keep(probe: &str, reply: &[u8]) {
    let mut fields = Fields::default();
    decode::decode(probe, reply, &mut fields);
    let kept = Replies::of(&fields);
    assert_eq!(Replies::of(&kept.fields()), kept);
}

/// Converts a file of fingerprints; what comes out must be a database.
pub fn import(xml: &str) {
    let Ok(Some(converted)) = recog::convert("fuzz", xml, &|_| None) else { return };
    assert!(converted.examples_passed <= converted.examples && converted.entries <= converted.fingerprints);
    if let Some(text) = converted.text {
        Database::from_texts([("fuzz.toml".to_owned(), text)]).expect("a database");
    }
}
