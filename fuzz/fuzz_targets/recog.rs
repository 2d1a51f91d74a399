//! XML files of fingerprints that a user brings.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|xml: &str| portreeve_probes::fuzzing::import(xml));
