//! The receiving program, emitted for one scan and device.
//!
//! R6 is the context, R7 the frame, R8 its length behind the link header, R9 the record. Each version of IP that we have an
//! address of has code of its own: where things are is constant in it.

use std::net::IpAddr;

use super::Ledger;
use crate::{
    cookie::{CookieKey, SourcePorts},
    kernel_code::{Word as CookieWord, begin_cookie, end_cookie, set_state, take_in},
    sys::bpf::{
        Action, Alu, Assembler, Atomic, Bits, Compare, Helper, Label, Register, RingBuffer, SharedArray, Size,
    },
};
use Compare::{AnySet, Equal, Greater, Less, NotEqual};
use Register::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
use Size::{Byte, Double, Half, Word};

/// What the program counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// A reply that there was no room for.
    Full,
    /// To one of our ports, and no answer to a SYN.
    UnexpectedFlags,
    /// Without our cookie.
    WrongCookie,
}

impl Count {
    pub(super) const ALL: [Self; 3] = [Self::Full, Self::UnexpectedFlags, Self::WrongCookie];

    fn offset(self) -> i16 {
        self as i16 * 8
    }
}

/// All that the program is made of.
pub(super) struct Ingredients<'a> {
    /// Our addresses on the device; without any, all replies go their usual way.
    pub(super) ours: &'a [IpAddr],
    pub(super) ports: SourcePorts,
    pub(super) key: &'a CookieKey,
    pub(super) ring: &'a RingBuffer,
    pub(super) counts: &'a SharedArray,
    /// Where closed ports are noted, if they are not to become records.
    pub(super) ledger: Option<&'a Ledger>,
}

/// Offsets in a frame: Ethernet, IPv4 without options, TCP.
pub(super) mod frame {
    pub const ETHER_TYPE: i16 = 12;
    pub const IP: i16 = 14;
    pub const TOTAL_LENGTH: i16 = 16;
    pub const FRAGMENT: i16 = 20;
    pub const PROTOCOL: i16 = 23;
    pub const SOURCE: i16 = 26;
    pub const DESTINATION: i16 = 30;
    pub const SOURCE_PORT: i16 = 34;
    pub const DESTINATION_PORT: i16 = 36;
    pub const SEQUENCE: i16 = 38;
    pub const ACKNOWLEDGEMENT: i16 = 42;
    pub const FLAGS: i16 = 47;
    /// End of a TCP header without options.
    pub const END: i16 = 54;
    /// The same over IPv6, without extension headers. What follows its header is [`V6_LONGER`] bytes further on.
    pub const V6_PAYLOAD_LENGTH: i16 = 18;
    pub const V6_NEXT_HEADER: i16 = 20;
    pub const V6_SOURCE: i16 = 22;
    pub const V6_DESTINATION: i16 = 38;
    pub const V6_LONGER: i16 = 20;
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

impl Version {
    fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// How much longer its header is than that of IPv4.
    fn longer(self) -> i16 {
        match self {
            Self::V4 => 0,
            Self::V6 => frame::V6_LONGER,
        }
    }
}

/// As a load sees them on the wire.
const IPV4: i32 = 0x0800_u16.to_be() as i32;
const IPV6: i32 = 0x86dd_u16.to_be() as i32;
const TCP: i32 = 6;
const V6_HEADER: i32 = 40;
/// "More fragments", and any offset.
const FRAGMENTED: i32 = 0x3fff_u16.to_be() as i32;
pub(super) const RST: i32 = 0x04;
const SYN: i32 = 0x02;
pub(super) const ACK: i32 = 0x10;

/// Packets without TCP options, as resets are, and with as many as fit.
const SHORT: i32 = 40;
const LONG: i32 = 80;
const TIME_BYTES: i32 = 8;

/// BPF_RB_NO_WAKEUP: the reader looks by itself, which costs less than being woken a million times a second.
const NO_WAKE_UP: i32 = 1;

struct Ends {
    /// Up the stack.
    pass: Label,
    /// To be counted and dropped.
    forged: Label,
    unexpected: Label,
}

pub(super) fn emit(ingredients: &Ingredients<'_>) -> Assembler {
    let mut a = Assembler::new();
    if ingredients.ours.is_empty() {
        a.copy(R0, Action::Pass as i32);
        a.exit();
        return a;
    }
    let ends = Ends { pass: a.label(), forged: a.label(), unexpected: a.label() };
    let receiver = Receiver { i: ingredients, ends };
    receiver.enter(&mut a);
    for version in [Version::V4, Version::V6] {
        if receiver.ours(version).next().is_none() {
            continue;
        }
        let other = a.label();
        receiver.recognise(&mut a, version, other);
        receiver.check(&mut a, version);
        if let Some(ledger) = ingredients.ledger.filter(|_| version == Version::V4) {
            ledger.note(&mut a, *ingredients.ports.range().start());
        }
        receiver.record(&mut a, version);
        a.place(other);
    }
    a.jump(receiver.ends.pass);
    receiver.leave(&mut a);
    a
}

struct Receiver<'a> {
    i: &'a Ingredients<'a>,
    ends: Ends,
}

impl Receiver<'_> {
    /// Our addresses of a version.
    fn ours(&self, version: Version) -> impl Iterator<Item = IpAddr> + '_ {
        self.i.ours.iter().copied().filter(move |ours| Version::of(ours) == version)
    }

    fn enter(&self, a: &mut Assembler) {
        a.copy(R6, R1);
        a.load(Word, R7, R6, 0);
        self.expect_room(a, frame::END);
    }

    /// Goes on if the frame has so many bytes.
    fn expect_room(&self, a: &mut Assembler, bytes: i16) {
        a.load(Word, R2, R6, 4);
        a.copy(R3, R7);
        a.alu(Alu::Add, R3, i32::from(bytes));
        a.jump_if(Greater, R3, R2, self.ends.pass);
    }

    /// Goes on with TCP over this version of IP to one of our addresses and ports, its length in R8; with other versions
    /// goes on at `other`, and the rest is others' business.
    fn recognise(&self, a: &mut Assembler, version: Version, other: Label) {
        match version {
            Version::V4 => self.recognise_v4(a, other),
            Version::V6 => self.recognise_v6(a, other),
        }
        let longer = version.longer();
        let ports = self.i.ports.range();
        a.load(Half, R3, R7, frame::DESTINATION_PORT + longer);
        a.to_big_endian(R3, Bits::B16);
        a.jump_if(Less, R3, i32::from(*ports.start()), self.ends.pass);
        a.jump_if(Greater, R3, i32::from(*ports.end()), self.ends.pass);
        // What is longer than any answer to a SYN, or shorter, the stack may explain.
        a.jump_if(Less, R8, SHORT + i32::from(longer), self.ends.pass);
        a.jump_if(Greater, R8, LONG + i32::from(longer), self.ends.pass);
    }

    fn recognise_v4(&self, a: &mut Assembler, other: Label) {
        a.load(Half, R3, R7, frame::ETHER_TYPE);
        a.jump_if(NotEqual, R3, IPV4, other);
        // Version 4, and a header of five words: no options.
        for (at, expected) in [(frame::IP, 0x45), (frame::PROTOCOL, TCP)] {
            a.load(Byte, R3, R7, at);
            a.jump_if(NotEqual, R3, expected, self.ends.pass);
        }
        a.load(Half, R3, R7, frame::FRAGMENT);
        a.jump_if(AnySet, R3, FRAGMENTED, self.ends.pass);
        let known = a.label();
        a.load(Word, R3, R7, frame::DESTINATION);
        a.to_big_endian(R3, Bits::B32);
        for address in self.ours(Version::V4) {
            a.constant(R4, words(address)[1]);
            a.jump_if(Equal, R3, R4, known);
        }
        a.jump(self.ends.pass);
        a.place(known);
        a.load(Half, R8, R7, frame::TOTAL_LENGTH);
        a.to_big_endian(R8, Bits::B16);
    }

    fn recognise_v6(&self, a: &mut Assembler, other: Label) {
        a.load(Half, R3, R7, frame::ETHER_TYPE);
        a.jump_if(NotEqual, R3, IPV6, other);
        self.expect_room(a, frame::END + frame::V6_LONGER);
        a.load(Byte, R3, R7, frame::IP);
        a.alu(Alu::And, R3, 0xf0);
        a.jump_if(NotEqual, R3, 0x60, self.ends.pass);
        a.load(Byte, R3, R7, frame::V6_NEXT_HEADER);
        a.jump_if(NotEqual, R3, TCP, self.ends.pass);
        let known = a.label();
        a.load(Double, R3, R7, frame::V6_DESTINATION);
        a.to_big_endian(R3, Bits::B64);
        a.load(Double, R4, R7, frame::V6_DESTINATION + 8);
        a.to_big_endian(R4, Bits::B64);
        for [upper, lower] in self.ours(Version::V6).map(words) {
            let next = a.label();
            a.constant(R5, upper);
            a.jump_if(NotEqual, R3, R5, next);
            a.constant(R5, lower);
            a.jump_if(Equal, R4, R5, known);
            a.place(next);
        }
        a.jump(self.ends.pass);
        a.place(known);
        a.load(Half, R8, R7, frame::V6_PAYLOAD_LENGTH);
        a.to_big_endian(R8, Bits::B16);
        a.alu(Alu::Add, R8, V6_HEADER);
    }

    /// Goes on with SYN-ACKs and RSTs that acknowledge our cookie, and with RSTs that begin at it, as `classify.rs` does.
    fn check(&self, a: &mut Assembler, version: Version) {
        let longer = version.longer();
        let (answer, bare, genuine) = (a.label(), a.label(), a.label());
        a.load(Byte, R1, R7, frame::FLAGS + longer);
        a.jump_if(AnySet, R1, RST, answer);
        a.alu(Alu::And, R1, SYN | ACK);
        a.jump_if(NotEqual, R1, SYN | ACK, self.ends.unexpected);
        a.place(answer);
        self.cookie(a, version);
        a.load(Byte, R3, R7, frame::FLAGS + longer);
        a.alu(Alu::And, R3, RST | ACK);
        a.jump_if(Equal, R3, RST, bare);
        a.load(Word, R2, R7, frame::ACKNOWLEDGEMENT + longer);
        a.to_big_endian(R2, Bits::B32);
        // In 32 bits the cookie wraps around as the number does.
        a.alu32(Alu::Add, R1, 1);
        a.jump_if(NotEqual, R1, R2, self.ends.forged);
        a.jump(genuine);
        // It answers an acknowledgement, by which hosts are looked for.
        a.place(bare);
        a.load(Word, R2, R7, frame::SEQUENCE + longer);
        a.to_big_endian(R2, Bits::B32);
        a.alu32(Alu::Add, R1, 0);
        a.jump_if(NotEqual, R1, R2, self.ends.forged);
        a.place(genuine);
    }

    /// `R1 = cookie` of the probe that this answers.
    fn cookie(&self, a: &mut Assembler, version: Version) {
        let (ours, rest): (&[CookieWord<'_>], &[CookieWord<'_>]) = match version {
            Version::V4 => (&[&our_address], &[&target_and_ports]),
            Version::V6 => (
                &[&|a| half(a, frame::V6_DESTINATION), &|a| half(a, frame::V6_DESTINATION + 8)],
                &[&|a| half(a, frame::V6_SOURCE), &|a| half(a, frame::V6_SOURCE + 8), &|a| {
                    a.copy(R0, 0);
                    ports(a, frame::V6_LONGER);
                }],
            ),
        };
        let mut addresses = self.ours(version);
        match (addresses.next(), addresses.next()) {
            (Some(only), None) => set_state(a, self.i.key.begun(only)),
            _ => {
                begin_cookie(a, self.i.key);
                take_in(a, ours);
            }
        }
        take_in(a, rest);
        end_cookie(a, ours.len() + rest.len());
    }

    /// Leaves time and packet in the ring buffer.
    fn record(&self, a: &mut Assembler, version: Version) {
        let (short, most) = (SHORT + i32::from(version.longer()), LONG + i32::from(version.longer()));
        let (long, written, full, failed) = (a.label(), a.label(), a.label(), a.label());
        a.jump_if(NotEqual, R8, short, long);
        for (bytes, variable) in [(short, false), (most, true)] {
            if variable {
                a.place(long);
            }
            a.map(R1, self.i.ring.reference());
            a.copy(R2, TIME_BYTES + bytes);
            a.copy(R3, 0);
            a.call(Helper::RingReserve);
            a.jump_if(Equal, R0, 0, full);
            a.copy(R9, R0);
            a.call(Helper::Nanoseconds);
            a.store(Double, R9, 0, R0);
            a.copy(R1, R6);
            a.copy(R2, i32::from(frame::IP));
            a.copy(R3, R9);
            a.alu(Alu::Add, R3, TIME_BYTES);
            if variable {
                a.copy(R4, R8);
            } else {
                a.copy(R4, short);
            }
            a.call(Helper::LoadBytes);
            a.jump_if(NotEqual, R0, 0, failed);
            a.copy(R1, R9);
            a.copy(R2, NO_WAKE_UP);
            a.call(Helper::RingSubmit);
            a.jump(written);
        }
        // The frame is shorter than its packet claims to be.
        a.place(failed);
        a.copy(R1, R9);
        a.copy(R2, NO_WAKE_UP);
        a.call(Helper::RingDiscard);
        a.jump(self.ends.pass);
        a.place(full);
        self.count_and_drop(a, Count::Full);
        a.place(written);
        a.copy(R0, Action::Drop as i32);
        a.exit();
    }

    fn leave(&self, a: &mut Assembler) {
        a.place(self.ends.unexpected);
        self.count_and_drop(a, Count::UnexpectedFlags);
        a.place(self.ends.forged);
        self.count_and_drop(a, Count::WrongCookie);
        a.place(self.ends.pass);
        a.copy(R0, Action::Pass as i32);
        a.exit();
    }

    /// Other processors count as well.
    fn count_and_drop(&self, a: &mut Assembler, count: Count) {
        a.map_value(R1, self.i.counts.reference(), 0);
        a.copy(R2, 1);
        a.atomic(Atomic::Add, R1, count.offset(), R2);
        a.copy(R0, Action::Drop as i32);
        a.exit();
    }
}

/// `R0 = our address`, as the probe's cookie had it.
fn our_address(a: &mut Assembler) {
    a.load(Word, R0, R7, frame::DESTINATION);
    a.to_big_endian(R0, Bits::B32);
}

/// `R0 = the target's address, our port and the target's`
fn target_and_ports(a: &mut Assembler) {
    a.load(Word, R0, R7, frame::SOURCE);
    a.to_big_endian(R0, Bits::B32);
    ports(a, 0);
}

/// `R0 = R0 << 32 | our port << 16 | the target's`, behind a header that is so much longer.
fn ports(a: &mut Assembler, longer: i16) {
    for port in [frame::DESTINATION_PORT, frame::SOURCE_PORT] {
        a.alu(Alu::ShiftLeft, R0, 16);
        a.load(Half, R5, R7, port + longer);
        a.to_big_endian(R5, Bits::B16);
        a.alu(Alu::Or, R0, R5);
    }
}

/// `R0 = half an address over IPv6` that begins there.
fn half(a: &mut Assembler, at: i16) {
    a.load(Double, R0, R7, at);
    a.to_big_endian(R0, Bits::B64);
}

/// Both halves of an address; over IPv4 it is in the lower.
fn words(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}
