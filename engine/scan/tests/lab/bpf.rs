//! The assembler and the wrappers, judged by the kernel: programs are loaded, run and read back.

use std::sync::atomic::Ordering::Relaxed;

use Register::{Frame, R0, R1, R2, R3, R4, R5, R6, R7};
use portreeve_scan::sys::bpf::{
    Action, Alu, Assembler, Atomic, Bits, Compare, DeviceMap, Helper, LoadError, Program, Register,
    RingBuffer, SharedArray, Size,
};

use crate::{network::may_run, sink::finish};

#[test]
fn programs_compute_and_share_memory_with_us() {
    if !may_run() {
        return;
    }
    let shared = SharedArray::new("test_shared", 1, 8).expect("map");
    shared[0].store(0x0102_0304_0506_0708, Relaxed);
    shared[1].store(40, Relaxed);
    let mut a = Assembler::new();
    let (again, done) = (a.label(), a.label());
    a.map_value(R6, shared.reference(), 0);
    a.load(Size::Double, R1, R6, 0);
    a.to_big_endian(R1, Bits::B64);
    a.store(Size::Double, R6, 16, R1);
    a.copy(R2, 2);
    a.atomic(Atomic::FetchAdd, R6, 8, R2);
    a.store(Size::Double, R6, 24, R2);
    // 1 + … + 10, in a loop that the verifier can follow.
    a.copy(R3, 0);
    a.copy(R4, 0);
    a.place(again);
    a.jump_if(Compare::AtLeast, R4, 10, done);
    a.alu(Alu::Add, R4, 1);
    a.alu(Alu::Add, R3, R4);
    a.jump(again);
    a.place(done);
    a.store(Size::Double, R6, 32, R3);
    a.constant(R5, 0x9e37_79b9_7f4a_7c15);
    a.alu(Alu::Mul, R3, R5);
    a.alu(Alu::ShiftRight, R3, 7);
    a.store(Size::Double, R6, 40, R3);
    finish(&mut a, Action::Drop);
    let program = Program::load("test_compute", a).expect("the verifier agrees");
    let mut frame = vec![0; 64];
    assert_eq!(program.run_once(&mut frame).expect("runs"), Action::Drop as u32);
    let words: Vec<u64> = shared.iter().map(|word| word.load(Relaxed)).collect();
    assert_eq!(words[1..5], [42, 0x0807_0605_0403_0201, 40, 55]);
    assert_eq!(words[5], 55_u64.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7);
}

#[test]
fn records_arrive_in_order_and_whole() {
    if !may_run() {
        return;
    }
    let mut ring = RingBuffer::new("test_ring", 4096).expect("map");
    let mut a = Assembler::new();
    let full = a.label();
    a.copy(R7, R1);
    a.map(R1, ring.reference());
    a.copy(R2, 24);
    a.copy(R3, 0);
    a.call(Helper::RingReserve);
    a.jump_if(Compare::Equal, R0, 0, full);
    a.copy(R6, R0);
    a.call(Helper::Nanoseconds);
    a.store(Size::Double, R6, 0, R0);
    a.copy(R1, R7);
    a.copy(R2, 0);
    a.copy(R3, R6);
    a.alu(Alu::Add, R3, 8);
    a.copy(R4, 16);
    a.call(Helper::LoadBytes);
    a.copy(R1, R6);
    a.copy(R2, 1);
    a.call(Helper::RingSubmit);
    finish(&mut a, Action::Drop);
    a.place(full);
    finish(&mut a, Action::Pass);
    let program = Program::load("test_records", a).expect("the verifier agrees");
    let mut next = 0_u8;
    let mut read = 0_u8;
    let mut earlier = 0;
    // Several times round the ring, which holds 127 of these records: never quite full.
    for _ in 0..20 {
        for _ in 0..50 {
            let mut frame = vec![next; 64];
            assert_eq!(program.run_once(&mut frame).expect("runs"), Action::Drop as u32);
            next = next.wrapping_add(1);
        }
        let taken = ring.take_ready(|record| {
            assert_eq!(record.len(), 24);
            assert_eq!(record[8..], [read; 16]);
            let time = u64::from_ne_bytes(record[..8].try_into().expect("8 bytes"));
            assert!(time > earlier);
            earlier = time;
            read = read.wrapping_add(1);
        });
        assert_eq!(taken, 50);
    }
    for _ in 0..127 {
        assert_eq!(program.run_once(&mut vec![7; 64]).expect("runs"), Action::Drop as u32);
    }
    assert_eq!(program.run_once(&mut vec![7; 64]).expect("runs"), Action::Pass as u32, "the ring is full");
    // What comes while records are handed over waits for the next time.
    let mut more = true;
    let taken = ring.take_ready(|_| {
        if std::mem::take(&mut more) {
            assert_eq!(program.run_once(&mut vec![8; 64]).expect("runs"), Action::Pass as u32);
        }
        let _ = program.run_once(&mut vec![9; 64]).expect("runs");
    });
    assert_eq!(taken, 127);
    assert!(ring.take_ready(|record| assert_eq!(record[8..], [9; 16])) > 0);
    assert_eq!(ring.take_ready(|_| {}), 0);
}

#[test]
fn entries_are_looked_up_and_devices_are_taken() {
    if !may_run() {
        return;
    }
    let table = SharedArray::of_values("test_table", 100, 1).expect("map");
    table[70].store(7, Relaxed);
    let devices = DeviceMap::new("test_devices", &[1]).expect("map");
    let mut a = Assembler::new();
    let missing = a.label();
    a.store_constant(Size::Word, Frame, -4, 70);
    a.map(R1, table.reference());
    a.copy(R2, Frame);
    a.alu(Alu::Add, R2, -4);
    a.call(Helper::MapLookup);
    a.jump_if(Compare::Equal, R0, 0, missing);
    a.load(Size::Double, R6, R0, 0);
    a.jump_if(Compare::NotEqual, R6, 7, missing);
    a.map(R1, devices.reference());
    a.copy(R2, 0);
    a.copy(R3, 0);
    a.call(Helper::RedirectMap);
    a.exit();
    a.place(missing);
    finish(&mut a, Action::Aborted);
    let program = Program::load("test_lookup", a).expect("the verifier agrees");
    assert_eq!(program.run_once(&mut vec![0; 64]).expect("runs"), Action::Redirect as u32);
}

#[test]
fn the_verifiers_reason_is_told() {
    if !may_run() {
        return;
    }
    let mut a = Assembler::new();
    a.load(Size::Word, R2, R1, 0);
    a.load(Size::Byte, R0, R2, 0);
    a.exit();
    let Err(LoadError::Refused { log, .. }) = Program::load("test_wild", a) else {
        panic!("read without a check of bounds")
    };
    assert!(log.contains("invalid access to packet"), "{log}");
}

#[test]
fn without_rights_it_is_forbidden() {
    if !may_run() {
        return;
    }
    // Rights belong to the thread.
    let refused = std::thread::spawn(|| {
        caps::clear(None, caps::CapSet::Effective).expect("cleared, for this thread");
        let mut a = Assembler::new();
        finish(&mut a, Action::Pass);
        Program::load("test_rights", a).map(drop)
    });
    assert!(matches!(refused.join().expect("no panic"), Err(LoadError::Forbidden)));
}
