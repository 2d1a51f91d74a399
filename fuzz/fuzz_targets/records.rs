//! Batches from agents: each line is refused or comes back unchanged from being written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_model::protocol::Record;

fuzz_target!(|bytes: &[u8]| {
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(record) = serde_json::from_slice::<Record>(line) else { continue };
        let written = serde_json::to_vec(&record).expect("a record can be written");
        let read: Record = serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(read, record);
    }
});
