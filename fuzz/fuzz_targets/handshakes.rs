//! What servers send during handshakes: TLS records, answers to JARM's hellos, SSH payloads.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| portreeve_probes::fuzzing::handshake(bytes));
