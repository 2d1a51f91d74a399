//! Replies to probes: whatever comes, a conclusion is only ever about a target, and only with its cookie.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portreeve_scan::fuzzing::Replies;

static REPLIES: LazyLock<Replies> = LazyLock::new(Replies::default);

fuzz_target!(|bytes: &[u8]| {
    REPLIES.classify(&mut bytes.to_vec());
});
