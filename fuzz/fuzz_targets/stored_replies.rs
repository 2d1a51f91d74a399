//! Replies on their way into the archive and out again: the first line names the probe, the rest is the reply.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let probe = parts.next().and_then(|name| std::str::from_utf8(name).ok()).unwrap_or("banner");
    portreeve_probes::fuzzing::keep(probe, parts.next().unwrap_or_default());
});
