//! Received frames: every view over them, to its last accessor.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../engine/wire/tests/walk/mod.rs"]
mod walk;

fuzz_target!(|bytes: &[u8]| {
    // A refusal is as good as a view; only a panic is not.
    let _ = walk::frame(bytes);
    let _ = walk::packet(bytes);
});
