//! The generator's program, emitted for one scan and one thread.
//!
//! The kernel hands it one frame after another. For each it takes the next position of the probe order, finds out
//! which target that is and whether it still wants a probe, writes the whole frame and redirects it to the device;
//! where pace or order have nothing for it, the frame is dropped and comes again. In the order of the code:
//!
//! 1. *pace*: two buckets as in `pace.rs`, filled from the clock when what they last allowed is used up;
//! 2. *order*: positions in blocks from a counter that all threads share, put through the permutation; a walk or
//!    a search that takes too long for one frame goes on with the next;
//! 3. *target*: index to port, mould, address, way and neighbour, by tables; answered targets are passed over;
//! 4. *gate*: the address must lie in the range of targets that it was taken from;
//! 5. *frame*: everything, its length too, since a frame that was sent before may have been changed by whoever got it;
//!    each mould has code of its own ([`super::frame`]).
//!
//! R6 is the thread's memory, R7 the frame, R8 the shared memory and later the way, R9 the image, then the address (over
//! IPv6 its lower half).

use super::{
    frame::{Casts, Family},
    layout::{self, Layout, thread, way},
    plan::{Plan, Segment},
    tables::{Among, Tables, segment},
};
use crate::{
    Permutation,
    kernel_code::{look_up, permute, test},
    sys::bpf::{
        Action, Alu, Assembler, Atomic, Compare, DeviceMap, Helper, Label, MapReference, Register, Size,
        Table,
    },
};
use Compare::{AnySet, AtLeast, AtMost, Equal, Greater, Less, NotEqual};
use Register::{Frame, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
use Size::{Double, Half, Word};

/// Positions that a thread takes at a time.
pub(super) const BLOCK: u64 = 256;
/// Positions and steps of walks that are tried for one frame.
const TRIES: i32 = 32;
/// Frames between two looks at the clock, at most: what the times of probes are exact to.
const MOST_ALLOWED: i32 = 64;
/// The longest stall that is made up for, in nanoseconds: one call to run the program ends and the next begins
/// within it.
pub(super) const CATCH_UP_NS: u64 = 50_000_000;

/// How often a program that is held back asks for the time before it gives its frame back: some microseconds, so that
/// a call that has millions of frames to go lasts.
const HELD_LOOKS: i32 = 100;

/// Bytes that frames begin with beyond the end of the longest where their lengths differ, and that each probe cuts off.
/// Only a frame whose bounds the program changes gets its description written anew by the kernel, and whoever had the frame
/// before may have changed that too: an XDP program at the far end of a veth pair that shortens a frame and sends it back
/// leaves it short.
pub(super) const SLACK: usize = 8;
/// Where all frames are of one length, those that somebody has rewritten get their description anew by so many bytes of
/// metadata, which no wire sees: not to change the bounds of every frame makes a tenth of all frames more.
pub(super) const METADATA: i32 = 4;

/// Places in the stack frame.
pub(super) mod local {
    pub const CONTEXT: i16 = -72;
    /// The upper half of the address over IPv6.
    pub const UPPER: i16 = -80;
    pub const MIDDLE: i16 = -88;
    pub const TRIES: i16 = -16;
    pub const HOST: i16 = -24;
    /// Both ports, ours above.
    pub const PORTS: i16 = -32;
    /// Place of the position in the stretch.
    pub const PLACE: i16 = -40;
    pub const LOW: i16 = -48;
    pub const HIGH: i16 = -56;
    /// Place of the kind among those carried; where they have a table, their entry there.
    pub const KIND: i16 = -64;
}

/// All that a program is made of.
#[derive(Clone, Copy)]
pub(super) struct Ingredients<'a> {
    pub(super) plan: &'a Plan,
    pub(super) tables: &'a Tables,
    pub(super) order: &'a Permutation,
    /// The moulds of the plan, for each family that it carries.
    pub(super) casts: &'a [Casts],
    pub(super) control: MapReference,
    pub(super) layout: Layout,
    pub(super) device: &'a DeviceMap,
}

/// Labels that are jumped to from everywhere.
pub(super) struct Ends {
    /// Nothing for this frame.
    pub(super) drop: Label,
    /// Nothing for now, or any more: the word that says so is in R1.
    stopped: Label,
    /// This position needs no probe; on to the next.
    pass_over: Label,
    /// The frame is written.
    pub(super) written: Label,
    /// Somebody has rewritten the frame since we wrote it.
    rewritten: Label,
    /// Back from there.
    described: Label,
}

/// The program for a thread.
pub(super) fn emit(ingredients: &Ingredients<'_>, thread_number: u32) -> Assembler {
    let mut a = Assembler::new();
    let [drop, stopped, pass_over, written, rewritten, described] = std::array::from_fn(|_| a.label());
    let ends = Ends { drop, stopped, pass_over, written, rewritten, described };
    let g = Generator { i: ingredients, ends };
    g.enter(&mut a, thread_number);
    g.pace(&mut a);
    g.select(&mut a);
    g.reach(&mut a);
    g.write(&mut a);
    g.leave(&mut a);
    a
}

pub(super) struct Generator<'a> {
    pub(super) i: &'a Ingredients<'a>,
    pub(super) ends: Ends,
}

impl Generator<'_> {
    /// Bytes of the longest frame.
    fn room(&self) -> usize {
        self.i.casts.iter().map(|casts| casts.longest().len()).max().unwrap_or_default()
    }

    /// Checks the frame's room and finds the memory.
    fn enter(&self, a: &mut Assembler, thread_number: u32) {
        a.store(Double, Frame, local::CONTEXT, R1);
        self.find_frame(a);
        a.map_value(R6, self.i.control, self.i.layout.thread(thread_number));
        a.map_value(R8, self.i.control, 0);
        a.load(Double, R1, R8, layout::STOP as i16);
        a.jump_if(NotEqual, R1, 0, self.ends.stopped);
    }

    /// `R7 = frame`, if it has room for the longest. The context is in R1.
    fn find_frame(&self, a: &mut Assembler) {
        a.load(Word, R7, R1, 0);
        a.load(Word, R2, R1, 4);
        a.copy(R3, R7);
        a.alu(Alu::Add, R3, self.room() as i32);
        a.jump_if(Greater, R3, R2, self.ends.drop);
    }

    /// Goes on if a probe is due.
    fn pace(&self, a: &mut Assembler) {
        let [allowed, begun, credit_kept, tokens_kept, least] = std::array::from_fn(|_| a.label());
        a.load(Double, R1, R6, thread::ALLOWANCE);
        a.jump_if(NotEqual, R1, 0, allowed);
        a.call(Helper::Nanoseconds);
        self.stamp_time(a);
        a.load(Double, R1, R6, thread::ASKED_NS);
        a.store(Double, R6, thread::ASKED_NS, R0);
        // Nothing was due before the first run, however long the kernel took to begin.
        a.copy(R2, 0);
        a.jump_if(Equal, R1, layout::NOT_ASKED as i32, begun);
        a.copy(R2, R0);
        a.alu(Alu::Sub, R2, R1);
        a.place(begun);
        at_most(a, R2, CATCH_UP_NS as i32);
        a.load(Double, R3, R8, layout::RATE as i16);
        a.alu(Alu::Mul, R2, R3);
        // What is due.
        a.load(Double, R4, R6, thread::CREDIT);
        a.alu(Alu::Add, R4, R2);
        a.load(Double, R3, R8, layout::MOST_CREDIT as i16);
        a.jump_if(AtMost, R4, R3, credit_kept);
        a.copy(R4, R3);
        a.place(credit_kept);
        // What may leave at once: half as much again, so that a stall is made up for.
        a.copy(R5, R2);
        a.alu(Alu::ShiftRight, R5, 1);
        a.alu(Alu::Add, R5, R2);
        a.load(Double, R3, R6, thread::TOKENS);
        a.alu(Alu::Add, R5, R3);
        a.load(Double, R3, R8, layout::MOST_TOKENS as i16);
        a.jump_if(AtMost, R5, R3, tokens_kept);
        a.copy(R5, R3);
        a.place(tokens_kept);
        a.copy(R1, R4);
        a.jump_if(AtMost, R4, R5, least);
        a.copy(R1, R5);
        a.place(least);
        a.alu(Alu::ShiftRight, R1, layout::FRACTION_BITS);
        at_most(a, R1, MOST_ALLOWED);
        a.copy(R2, R1);
        a.alu(Alu::ShiftLeft, R2, layout::FRACTION_BITS);
        a.alu(Alu::Sub, R4, R2);
        a.alu(Alu::Sub, R5, R2);
        a.store(Double, R6, thread::CREDIT, R4);
        a.store(Double, R6, thread::TOKENS, R5);
        a.jump_if(Equal, R1, 0, self.ends.drop);
        a.store(Double, R6, thread::ALLOWANCE, R1);
        a.place(allowed);
    }

    /// What the tally keeps of the time in R0: microseconds since the scan began, and the attempt.
    fn stamp_time(&self, a: &mut Assembler) {
        if self.i.tables.sent_at.is_none() {
            return;
        }
        a.load(Double, R2, R8, layout::START_NS as i16);
        a.copy(R1, R0);
        a.alu(Alu::Sub, R1, R2);
        a.alu(Alu::Div, R1, 1000);
        a.alu(Alu::ShiftLeft, R1, 2);
        a.load(Double, R2, R8, layout::ATTEMPT as i16);
        a.alu(Alu::Or, R1, R2);
        a.store(Double, R6, thread::STAMP, R1);
    }

    /// Finds the next target that wants a probe: its address in R9, its way in R8.
    fn select(&self, a: &mut Assembler) {
        let [again, next, have, walk, found, exhausted] = std::array::from_fn(|_| a.label());
        a.load(Double, R9, R6, thread::WALKING);
        a.store_constant(Double, Frame, local::TRIES, TRIES);

        a.place(again);
        a.constant(R1, layout::NOT_WALKING);
        a.jump_if(NotEqual, R9, R1, walk);
        a.load(Double, R1, R6, thread::BLOCK_NEXT);
        a.load(Double, R2, R6, thread::BLOCK_END);
        a.jump_if(Less, R1, R2, have);
        // A new block. The counter may run past the end, by a block for each thread.
        a.load(Double, R3, R8, layout::END as i16);
        a.load(Double, R1, R8, layout::NEXT as i16);
        a.jump_if(AtLeast, R1, R3, exhausted);
        // What it will get begins here or later. Said before it takes it, so that whoever sees the counter moved
        // sees this, too.
        a.store(Double, R6, thread::FLOOR, R1);
        a.copy(R1, BLOCK as i32);
        a.atomic(Atomic::FetchAdd, R8, layout::NEXT as i16, R1);
        a.jump_if(AtLeast, R1, R3, exhausted);
        a.copy(R2, R1);
        a.alu(Alu::Add, R2, BLOCK as i32);
        let whole = a.label();
        a.jump_if(AtMost, R2, R3, whole);
        a.copy(R2, R3);
        a.place(whole);
        a.store(Double, R6, thread::BLOCK_END, R2);
        a.place(have);
        a.store(Double, R6, thread::POSITION, R1);
        a.copy(R9, R1);
        a.alu(Alu::Add, R1, 1);
        a.store(Double, R6, thread::BLOCK_NEXT, R1);

        a.place(walk);
        permute(a, self.i.order, R9);
        if !self.i.order.is_without_walks() {
            a.constant(R1, self.i.order.len());
            a.jump_if(AtLeast, R9, R1, next);
        }
        self.split(a);
        self.leave_kinds_out(a);
        self.leave_unknown_out(a);
        self.leave_answered_out(a);
        self.leave_hosts_out(a);
        self.find_segment(a);
        a.jump(found);

        a.place(self.ends.pass_over);
        a.constant(R9, layout::NOT_WALKING);
        a.place(next);
        a.load(Double, R1, Frame, local::TRIES);
        a.alu(Alu::Sub, R1, 1);
        a.store(Double, Frame, local::TRIES, R1);
        a.jump_if(NotEqual, R1, 0, again);
        a.place(exhausted);
        a.store(Double, R6, thread::WALKING, R9);
        a.jump(self.ends.drop);
        a.place(found);
    }

    /// Index to host and kind; targets of other kinds and beyond the hosts that are carried are others' work.
    fn split(&self, a: &mut Assembler) {
        let plan = self.i.plan;
        let (kind, host) = (R1, R2);
        a.copy(kind, R9);
        a.copy(host, R9);
        if plan.addresses.is_power_of_two() {
            a.alu(Alu::ShiftRight, kind, plan.addresses.trailing_zeros() as i32);
            a.constant(R3, plan.addresses - 1);
            a.alu(Alu::And, host, R3);
        } else {
            a.constant(R3, plan.addresses);
            a.alu(Alu::Div, kind, R3);
            a.alu(Alu::Mul, R3, kind);
            a.alu(Alu::Sub, host, R3);
        }
        if plan.first_kind > 0 {
            a.alu(Alu::Sub, kind, plan.first_kind as i32);
        }
        a.jump_if(AtLeast, kind, plan.recipes.len() as i32, self.ends.pass_over);
        if plan.hosts.end < plan.addresses {
            a.constant(R3, plan.hosts.end);
            a.jump_if(AtLeast, host, R3, self.ends.pass_over);
        }
        if plan.hosts.start > 0 {
            a.constant(R3, plan.hosts.start);
            a.jump_if(Less, host, R3, self.ends.pass_over);
        }
        a.store(Double, Frame, local::HOST, host);
        a.store(Double, Frame, local::KIND, kind);
    }

    /// Looks up how the kind is made, where there are several ways, and passes over it if others make it.
    fn leave_kinds_out(&self, a: &mut Assembler) {
        let Some(kinds) = &self.i.tables.kinds else { return };
        a.load(Double, R3, Frame, local::KIND);
        look_up(a, kinds.table(), R3, self.ends.pass_over);
        a.load(Double, R3, R0, 0);
        if self.i.plan.has_gaps() {
            let beyond = (self.i.plan.moulds.len() as i32) << Tables::MOULD_SHIFT;
            a.jump_if(AtLeast, R3, beyond, self.ends.pass_over);
        }
        a.store(Double, Frame, local::KIND, R3);
    }

    /// Passes over the position if there is no such probe over IPv6, and its target has an address of it.
    fn leave_unknown_out(&self, a: &mut Assembler) {
        let plan = self.i.plan;
        let Some(mould) = plan.lacks(Family::V6).filter(|_| self.carries_v6()) else { return };
        let known = a.label();
        a.load(Double, R3, Frame, local::KIND);
        a.alu(Alu::ShiftRight, R3, Tables::MOULD_SHIFT);
        a.jump_if(NotEqual, R3, mould as i32, known);
        a.load(Double, R3, Frame, local::HOST);
        a.constant(R1, plan.v4_addresses);
        a.jump_if(AtLeast, R3, R1, self.ends.pass_over);
        a.place(known);
    }

    fn carries_v6(&self) -> bool {
        self.i.plan.families().any(|family| family == Family::V6)
    }

    /// Passes over the position if its target has answered.
    fn leave_answered_out(&self, a: &mut Assembler) {
        a.load(Double, R3, R6, thread::POSITION);
        a.load(Double, R4, R8, layout::STRETCH_START as i16);
        a.alu(Alu::Sub, R3, R4);
        a.store(Double, Frame, local::PLACE, R3);
        self.bit(a, self.i.tables.answered, R3);
        a.load(Double, R3, Frame, local::PLACE);
        test(a, R3);
        a.jump_if(NotEqual, R1, 0, self.ends.pass_over);
    }

    fn leave_hosts_out(&self, a: &mut Assembler) {
        let Some((hosts, among)) = self.i.tables.met_hosts else { return };
        a.load(Double, R3, Frame, local::HOST);
        self.bit(a, hosts, R3);
        a.load(Double, R3, Frame, local::HOST);
        test(a, R3);
        let is_other = match among {
            Among::Met => Equal,
            Among::Unmet => NotEqual,
        };
        a.jump_if(is_other, R1, 0, self.ends.pass_over);
    }

    /// `R1 = the word that holds bit number R3`
    fn bit(&self, a: &mut Assembler, table: Table, number: Register) {
        a.alu(Alu::ShiftRight, number, 6);
        look_up(a, table, number, self.ends.pass_over);
        a.load(Double, R1, R0, 0);
    }

    /// `R9 = address`, `R8 = way`.
    fn find_segment(&self, a: &mut Assembler) {
        a.load(Double, R9, Frame, local::HOST);
        if let [Segment { start, first, last, upper, way: Some(_) }] = *self.i.plan.segments.as_slice() {
            a.constant(R1, first.wrapping_sub(start));
            a.alu(Alu::Add, R9, R1);
            a.constant(R1, first);
            a.constant(R2, last);
            self.gate(a, R1, R2);
            if self.carries_v6() {
                a.constant(R1, upper);
            }
            a.copy(R3, 0);
        } else {
            self.search(a);
            // Here R0 is the segment.
            a.load(Double, R3, R0, segment::WAY);
            a.jump_if(AtLeast, R3, self.i.plan.ways.len() as i32, self.ends.pass_over);
            a.load(Double, R1, R0, segment::START);
            a.alu(Alu::Sub, R9, R1);
            a.load(Double, R1, R0, segment::FIRST);
            a.alu(Alu::Add, R9, R1);
            a.load(Double, R2, R0, segment::LAST);
            self.gate(a, R1, R2);
            a.load(Double, R1, R0, segment::UPPER);
        }
        if self.carries_v6() {
            a.store(Double, Frame, local::UPPER, R1);
        }
        a.map_value(R8, self.i.control, layout::WAYS);
        if self.i.plan.ways.len() > 1 {
            a.alu(Alu::ShiftLeft, R3, way::SHIFT);
            a.alu(Alu::Add, R8, R3);
        }
    }

    /// The last gate: the address in R9 must lie between those in `first` and `last`, which the set of targets gave.
    fn gate(&self, a: &mut Assembler, first: Register, last: Register) {
        let (shut, open) = (a.label(), a.label());
        a.jump_if(Less, R9, first, shut);
        a.jump_if(AtMost, R9, last, open);
        a.place(shut);
        count(a, thread::NOT_ALLOWED);
        a.jump(self.ends.pass_over);
        a.place(open);
    }

    /// `R0 = the segment that the host is in`: by its hint, then by halving.
    fn search(&self, a: &mut Assembler) {
        let tables = self.i.tables;
        a.load(Double, R3, Frame, local::HOST);
        a.constant(R4, self.i.plan.hosts.start);
        a.alu(Alu::Sub, R3, R4);
        a.alu(Alu::ShiftRight, R3, tables.hint_shift as i32);
        look_up(a, tables.hints.table(), R3, self.ends.pass_over);
        a.load(Word, R4, R0, 0);
        a.load(Word, R5, R0, 4);
        a.store(Double, Frame, local::LOW, R4);
        a.store(Double, Frame, local::HIGH, R5);
        for _ in 0..tables.search_steps {
            let (below, done) = (a.label(), a.label());
            a.load(Double, R4, Frame, local::LOW);
            a.load(Double, R5, Frame, local::HIGH);
            a.alu(Alu::Add, R4, R5);
            a.alu(Alu::ShiftRight, R4, 1);
            a.store(Double, Frame, local::MIDDLE, R4);
            look_up(a, tables.segments.table(), R4, self.ends.pass_over);
            a.load(Double, R4, Frame, local::MIDDLE);
            a.load(Double, R1, R0, segment::START);
            a.load(Double, R2, Frame, local::HOST);
            a.jump_if(Greater, R1, R2, below);
            a.store(Double, Frame, local::LOW, R4);
            a.jump(done);
            a.place(below);
            a.store(Double, Frame, local::HIGH, R4);
            a.place(done);
        }
        a.load(Double, R4, Frame, local::LOW);
        look_up(a, tables.segments.table(), R4, self.ends.pass_over);
    }

    /// The port, and the hardware address of the next hop. From here on there is no way back to the order.
    fn reach(&self, a: &mut Assembler) {
        a.constant(R1, layout::NOT_WALKING);
        a.store(Double, R6, thread::WALKING, R1);
        self.find_port(a);
        self.find_hardware(a);
        self.stamp(a);
    }

    fn find_port(&self, a: &mut Assembler) {
        a.load(Double, R3, Frame, local::KIND);
        match self.i.plan.port_run() {
            Some(first) => a.alu(Alu::Add, R3, i32::from(first)),
            None => a.alu(Alu::And, R3, 0xffff),
        }
        a.map_value(R1, self.i.control, 0);
        a.load(Double, R2, R1, layout::SOURCE_PORT as i16);
        a.alu(Alu::Or, R2, R3);
        a.store(Double, Frame, local::PORTS, R2);
        self.look_at_frame(a);
    }

    /// Writes both hardware addresses: the way's, or that of the target on the link.
    fn find_hardware(&self, a: &mut Assembler) {
        a.load(Double, R1, R8, way::HARDWARE);
        a.store(Double, R7, 0, R1);
        a.load(Word, R1, R8, way::HARDWARE + 8);
        a.store(Word, R7, 8, R1);
        let Some(neighbors) = &self.i.tables.neighbors else { return };
        let (nobody, known) = (a.label(), a.label());
        a.load(Double, R1, R8, way::ON_LINK);
        a.jump_if(Equal, R1, 0, known);
        a.load(Double, R3, Frame, local::HOST);
        a.constant(R1, neighbors.first_host);
        a.alu(Alu::Sub, R3, R1);
        a.constant(R1, neighbors.hosts);
        a.jump_if(AtLeast, R3, R1, nobody);
        look_up(a, neighbors.hardware.table(), R3, nobody);
        a.load(Double, R1, R0, 0);
        a.jump_if(Equal, R1, 0, nobody);
        a.store(Word, R7, 0, R1);
        a.alu(Alu::ShiftRight, R1, 32);
        a.store(Half, R7, 4, R1);
        a.jump(known);
        a.place(nobody);
        count(a, thread::NO_NEIGHBOR);
        a.jump(self.ends.drop);
        a.place(known);
    }

    /// Where all frames are of one length, finds out whether this one is as we left it. Whoever sends it back or on writes
    /// other hardware addresses or ports, and a new one has none. The shared memory is in R1.
    fn look_at_frame(&self, a: &mut Assembler) {
        let Some(ports) = even(self.i.casts) else { return };
        a.load(Double, R2, R1, layout::SOURCE_PORT_WRITTEN as i16);
        a.load(Half, R3, R7, ports);
        a.jump_if(NotEqual, R2, R3, self.ends.rewritten);
        a.load(Word, R2, R8, way::HARDWARE + 8);
        a.load(Word, R3, R7, 8);
        a.jump_if(NotEqual, R2, R3, self.ends.rewritten);
        a.place(self.ends.described);
    }

    /// Has the kernel describe a rewritten frame anew: its length may be another, too.
    fn describe(&self, a: &mut Assembler) {
        if even(self.i.casts).is_none() {
            return;
        }
        a.place(self.ends.rewritten);
        a.load(Double, R1, Frame, local::CONTEXT);
        a.copy(R2, -METADATA);
        a.call(Helper::AdjustMeta);
        a.jump_if(NotEqual, R0, 0, self.ends.drop);
        a.load(Double, R1, Frame, local::CONTEXT);
        self.find_frame(a);
        a.jump(self.ends.described);
    }

    /// Notes when the probe leaves.
    fn stamp(&self, a: &mut Assembler) {
        let Some(sent_at) = self.i.tables.sent_at else { return };
        a.load(Double, R3, Frame, local::PLACE);
        a.alu(Alu::ShiftRight, R3, 1);
        look_up(a, sent_at, R3, self.ends.drop);
        // Two stamps to an entry.
        a.load(Double, R3, Frame, local::PLACE);
        a.alu(Alu::And, R3, 1);
        a.alu(Alu::ShiftLeft, R3, 2);
        a.alu(Alu::Add, R0, R3);
        a.load(Double, R1, R6, thread::STAMP);
        a.store(Word, R0, 0, R1);
    }

    /// Counts the frame and redirects it; and the way out for frames that there was nothing for.
    fn leave(&self, a: &mut Assembler) {
        a.place(self.ends.written);
        self.cut(a);
        count(a, thread::SENT);
        a.load(Double, R1, R6, thread::ALLOWANCE);
        a.alu(Alu::Sub, R1, 1);
        a.store(Double, R6, thread::ALLOWANCE, R1);
        a.map(R1, self.i.device.reference());
        a.copy(R2, 0);
        a.copy(R3, 0);
        a.call(Helper::RedirectMap);
        a.exit();
        a.place(self.ends.drop);
        a.copy(R0, Action::Drop as i32);
        a.exit();
        self.describe(a);
        self.wait(a);
    }

    /// Cuts the frame to the length in R9, where lengths differ.
    fn cut(&self, a: &mut Assembler) {
        if even(self.i.casts).is_some() {
            return;
        }
        a.load(Double, R1, Frame, local::CONTEXT);
        a.copy(R2, R9);
        a.alu(Alu::Sub, R2, (self.room() + SLACK) as i32);
        a.call(Helper::AdjustTail);
        a.jump_if(NotEqual, R0, 0, self.ends.drop);
    }

    /// Lets time pass if the programs are only held back.
    fn wait(&self, a: &mut Assembler) {
        let again = a.label();
        a.place(self.ends.stopped);
        a.jump_if(AnySet, R1, (layout::STOPPED | layout::PAUSED) as i32, self.ends.drop);
        a.copy(R9, HELD_LOOKS);
        a.place(again);
        a.call(Helper::Nanoseconds);
        a.alu(Alu::Sub, R9, 1);
        a.jump_if(NotEqual, R9, 0, again);
        a.jump(self.ends.drop);
    }
}

/// Where the ports are in all frames, if these are of one mould and one version of IP: of one length.
pub(super) fn even(casts: &[Casts]) -> Option<i16> {
    let [casts] = casts else { return None };
    casts.ports_of_only_mould()
}

fn at_most(a: &mut Assembler, register: Register, most: i32) {
    let kept = a.label();
    a.jump_if(AtMost, register, most, kept);
    a.copy(register, most);
    a.place(kept);
}

/// Adds one to a count of this thread. Uses R1.
fn count(a: &mut Assembler, field: i16) {
    a.load(Double, R1, R6, field);
    a.alu(Alu::Add, R1, 1);
    a.store(Double, R6, field, R1);
}
