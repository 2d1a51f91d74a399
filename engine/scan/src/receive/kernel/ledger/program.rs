//! The part of the receiving program that notes closed ports.
//!
//! It stands between the check of the cookie and the making of a record. R7 is the frame and R8 the packet's length, which
//! the record needs: they are left alone. R9 is in turn the address, the host's number, the target's and its position.

use super::{Ledger, count, setting};
use crate::{
    kernel_code::{look_up, permute_back, test},
    receive::{
        Tally,
        kernel::program::{ACK, RST, frame},
    },
    sys::bpf::{Action, Alu, Assembler, Atomic, Bits, Compare, Helper, Label, Register, Size},
};
use Compare::{AtLeast, AtMost, Equal, Greater, Less, NotEqual};
use Register::{Frame, R0, R1, R2, R3, R4, R5, R7, R9};
use Size::{Byte, Double, Half, Word};

/// Steps of a walk back that are tried; half of the walks end with each at least.
const STEPS: i32 = 32;

/// Places in the stack frame.
mod local {
    pub const HOST: i16 = -16;
    pub const STEPS: i16 = -24;
    pub const ADDRESS: i16 = -32;
    pub const LOW: i16 = -40;
}

/// Where to with answers that are not noted.
struct Ways {
    /// They become a record.
    record: Label,
    /// Counted, and that is all.
    duplicate: Label,
    late: Label,
}

impl Ledger {
    /// Notes a reset that acknowledges a SYN, and ends the program; goes on behind these instructions with all else.
    pub(in crate::receive::kernel) fn note(&self, a: &mut Assembler, first_source_port: u16) {
        let ways = Ways { record: a.label(), duplicate: a.label(), late: a.label() };
        self.wants(a, &ways);
        self.find_host(a, &ways);
        self.find_target(a, &ways);
        self.find_position(a, &ways);
        self.mark(a, &ways);
        self.time(a, &ways, first_source_port);
        self.count_attempt(a, &ways, first_source_port);
        for (way, field) in [(ways.duplicate, count::DUPLICATE), (ways.late, count::LATE)] {
            a.place(way);
            self.own_counts(a, ways.record);
            add_one(a, field);
            drop_frame(a);
        }
        a.place(ways.record);
    }

    /// Goes on with answers of closed ports, if anything is to be noted.
    fn wants(&self, a: &mut Assembler, ways: &Ways) {
        a.load(Byte, R1, R7, frame::FLAGS);
        a.alu(Alu::And, R1, RST | ACK);
        a.jump_if(NotEqual, R1, RST | ACK, ways.record);
        self.setting(a, R1, setting::STRETCH_LENGTH);
        a.jump_if(Equal, R1, 0, ways.record);
    }

    /// `R9 = number of the host`, which must have been met.
    fn find_host(&self, a: &mut Assembler, ways: &Ways) {
        a.load(Word, R9, R7, frame::SOURCE);
        a.to_big_endian(R9, Bits::B32);
        match (&self.range_table, self.ranges.as_slice()) {
            (None, &[[first, length, start], ..]) => {
                a.constant(R1, first);
                a.alu(Alu::Sub, R9, R1);
                a.constant(R1, length);
                a.jump_if(AtLeast, R9, R1, ways.record);
                a.constant(R1, start);
                a.alu(Alu::Add, R9, R1);
            }
            _ => self.search_host(a, ways),
        }
        a.store(Double, Frame, local::HOST, R9);
        a.copy(R3, R9);
        a.alu(Alu::ShiftRight, R3, 6);
        look_up(a, self.hosts.words.table(), R3, ways.record);
        a.load(Double, R1, R0, 0);
        test(a, R9);
        a.jump_if(Equal, R1, 0, ways.record);
    }

    /// The same by halving, where there are several ranges.
    fn search_host(&self, a: &mut Assembler, ways: &Ways) {
        let Some(table) = &self.range_table else { return };
        let many = self.ranges.len() as u32;
        a.store(Double, Frame, local::ADDRESS, R9);
        a.store_constant(Double, Frame, local::LOW, 0);
        for step in (0..many.next_power_of_two().ilog2()).rev().map(|bit| 1 << bit) {
            // The range sought is the last one that begins at or before the address.
            let below = a.label();
            a.load(Double, R9, Frame, local::LOW);
            a.alu(Alu::Add, R9, step);
            a.jump_if(AtLeast, R9, many as i32, below);
            look_up(a, table.table(), R9, ways.record);
            a.load(Double, R1, R0, 0);
            a.load(Double, R2, Frame, local::ADDRESS);
            a.jump_if(Greater, R1, R2, below);
            a.store(Double, Frame, local::LOW, R9);
            a.place(below);
        }
        a.load(Double, R3, Frame, local::LOW);
        look_up(a, table.table(), R3, ways.record);
        a.load(Double, R9, Frame, local::ADDRESS);
        a.load(Double, R1, R0, 0);
        a.alu(Alu::Sub, R9, R1);
        a.load(Double, R1, R0, 8);
        a.jump_if(AtLeast, R9, R1, ways.record);
        a.load(Double, R1, R0, 16);
        a.alu(Alu::Add, R9, R1);
    }

    /// `R9 = number of the target`
    fn find_target(&self, a: &mut Assembler, ways: &Ways) {
        a.load(Half, R3, R7, frame::SOURCE_PORT);
        a.to_big_endian(R3, Bits::B16);
        match &self.ports.table {
            None => {
                a.alu(Alu::Sub, R3, i32::from(self.ports.first));
                a.jump_if(AtLeast, R3, self.ports.count as i32, ways.record);
            }
            Some(table) => {
                look_up(a, table.table(), R3, ways.record);
                a.load(Double, R3, R0, 0);
                a.jump_if(Equal, R3, 0, ways.record);
                a.alu(Alu::Sub, R3, 1);
            }
        }
        a.alu(Alu::Add, R3, self.ports.first_place as i32);
        a.constant(R1, self.space.targets().count());
        a.alu(Alu::Mul, R3, R1);
        a.load(Double, R9, Frame, local::HOST);
        a.alu(Alu::Add, R9, R3);
    }

    /// `R9 = place of the target in the stretch`
    fn find_position(&self, a: &mut Assembler, ways: &Ways) {
        let (again, found) = (a.label(), a.label());
        a.store_constant(Double, Frame, local::STEPS, STEPS);
        a.place(again);
        permute_back(a, &self.order, R9);
        a.constant(R1, self.order.len());
        a.jump_if(Less, R9, R1, found);
        a.load(Double, R1, Frame, local::STEPS);
        a.alu(Alu::Sub, R1, 1);
        a.store(Double, Frame, local::STEPS, R1);
        a.jump_if(NotEqual, R1, 0, again);
        a.jump(ways.record);
        a.place(found);
        self.setting(a, R1, setting::STRETCH_START);
        a.alu(Alu::Sub, R9, R1);
        self.setting(a, R1, setting::STRETCH_LENGTH);
        a.jump_if(AtLeast, R9, R1, ways.late);
    }

    /// Sets the bit, and says that its page has changed.
    fn mark(&self, a: &mut Assembler, ways: &Ways) {
        a.copy(R3, R9);
        a.alu(Alu::ShiftRight, R3, 6);
        look_up(a, self.memory.answered.words.table(), R3, ways.late);
        a.copy(R4, R9);
        a.alu(Alu::And, R4, 63);
        a.copy(R1, 1);
        a.alu(Alu::ShiftLeft, R1, R4);
        a.load(Double, R2, R0, 0);
        a.alu(Alu::And, R2, R1);
        a.jump_if(NotEqual, R2, 0, ways.duplicate);
        a.copy(R2, R1);
        a.atomic(Atomic::FetchOr, R0, 0, R1);
        a.alu(Alu::And, R1, R2);
        // Another processor was faster.
        a.jump_if(NotEqual, R1, 0, ways.duplicate);
        let Some(changed) = &self.memory.answered.changed else { return };
        let told = a.label();
        a.copy(R3, R9);
        a.alu(Alu::ShiftRight, R3, Tally::PAGE_SHIFT);
        look_up(a, changed.table(), R3, told);
        a.store_constant(Double, R0, 0, 1);
        a.place(told);
    }

    /// Keeps the longest time that an answer took, if times are kept, and the last probe is what it answers.
    fn time(&self, a: &mut Assembler, ways: &Ways, first_source_port: u16) {
        let Some(sent_at) = &self.memory.sent_at else { return };
        let untimed = a.label();
        a.copy(R3, R9);
        a.alu(Alu::ShiftRight, R3, 1);
        look_up(a, sent_at.table(), R3, untimed);
        a.alu(Alu::And, R9, 1);
        a.alu(Alu::ShiftLeft, R9, 2);
        a.alu(Alu::Add, R0, R9);
        a.load(Word, R9, R0, 0);
        attempt(a, R1, first_source_port);
        a.copy(R2, R9);
        a.alu(Alu::Xor, R2, R1);
        a.alu(Alu::And, R2, (1 << Tally::ATTEMPT_BITS) - 1);
        a.jump_if(NotEqual, R2, 0, untimed);
        a.call(Helper::Nanoseconds);
        self.setting(a, R1, setting::START_NS);
        a.alu(Alu::Sub, R0, R1);
        a.alu(Alu::Div, R0, 1000);
        a.alu(Alu::ShiftRight, R9, Tally::ATTEMPT_BITS as i32);
        a.alu(Alu::Sub, R0, R9);
        a.alu(Alu::And, R0, Tally::TIME_MASK as i32);
        // The shortest time that is told is one microsecond.
        a.alu(Alu::Or, R0, 1);
        a.copy(R9, R0);
        self.own_counts(a, ways.record);
        a.load(Double, R1, R0, count::SLOWEST);
        a.jump_if(AtMost, R9, R1, untimed);
        a.store(Double, R0, count::SLOWEST, R9);
        a.place(untimed);
    }

    fn count_attempt(&self, a: &mut Assembler, ways: &Ways, first_source_port: u16) {
        self.own_counts(a, ways.record);
        attempt(a, R1, first_source_port);
        a.alu(Alu::ShiftLeft, R1, 3);
        a.alu(Alu::Add, R0, R1);
        add_one(a, count::FIRST_ANSWERS);
        drop_frame(a);
    }

    /// `R0 = counts of this processor`. Loses R1-R5.
    fn own_counts(&self, a: &mut Assembler, missing: Label) {
        a.call(Helper::Processor);
        // Never, but the verifier does not know how many there can be.
        a.jump_if(AtLeast, R0, self.processors as i32, missing);
        a.alu(Alu::ShiftLeft, R0, count::SHIFT);
        a.map_value(R5, self.control.reference(), setting::BYTES);
        a.alu(Alu::Add, R0, R5);
    }

    fn setting(&self, a: &mut Assembler, into: Register, field: i16) {
        a.map_value(into, self.control.reference(), 0);
        a.load(Double, into, into, field);
    }
}

/// Which attempt a reply answers, by the port of ours that it came to.
fn attempt(a: &mut Assembler, into: Register, first_source_port: u16) {
    a.load(Half, into, R7, frame::DESTINATION_PORT);
    a.to_big_endian(into, Bits::B16);
    a.alu(Alu::Sub, into, i32::from(first_source_port));
    a.alu(Alu::And, into, 15);
}

/// Adds one to a count behind R0. Loses R1.
fn add_one(a: &mut Assembler, field: i16) {
    a.copy(R1, 1);
    a.atomic(Atomic::Add, R0, field, R1);
}

fn drop_frame(a: &mut Assembler) {
    a.copy(R0, Action::Drop as i32);
    a.exit();
}
