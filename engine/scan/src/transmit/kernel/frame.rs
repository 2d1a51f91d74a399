//! The part of the generator's program that writes frames: code for each mould, with the mould's bytes as constants.
//!
//! In a blank frame everything that differs from probe to probe is 0, our address too, so its checksums are those of the
//! rest, and the program adds what it fills in (RFC 1071 allows any order).

use std::{io, net::Ipv4Addr, ops::Range};

use portreeve_wire::{ethernet, template::Link};

use super::{
    layout::{self, way},
    program::{Generator, local},
    tables::Tables,
};
use crate::{
    cookie::{CookieKey, EchoCookie},
    kernel_code::{cookie, finish_checksum},
    probe::{Emitter, MAX_FRAME_BYTES, Mould, Payloads},
    sys::bpf::{Alu, Assembler, Bits, Compare, Register, Size},
};
use Compare::{AtLeast, NotEqual};
use Register::{Frame, R0, R1, R2, R3, R4, R5, R7, R8, R9};
use Size::{Double, Half, Word};

/// Offsets in a frame.
const HARDWARE_END: usize = 12;
const IP_CHECKSUM: usize = 24;
const SOURCE: i16 = 26;
const DESTINATION: i16 = 30;
const PORTS: i16 = 34;
const TCP_SEQUENCE: i16 = 38;
const TCP_ACKNOWLEDGEMENT: i16 = 42;
const TCP_CHECKSUM: usize = 50;
const UDP_CHECKSUM: usize = 40;
const ICMP_CHECKSUM: usize = 36;
const ICMP_IDENTIFIER: i16 = 38;

/// A mould with the frame that comes out of it blank.
#[derive(Debug)]
pub(super) struct Cast {
    mould: Mould,
    pub(super) blank: Vec<u8>,
    /// Sums over the constant fields of the IP header, and of what follows it with its pseudo-header.
    ip_sum: i32,
    sum: i32,
}

impl Cast {
    pub(super) fn new(mould: Mould, payloads: &Payloads) -> io::Result<Self> {
        let (source, destination) = (ethernet::Address::ZERO, ethernet::Address::ZERO);
        let nowhere = Link::Ethernet { destination, source, vlan: None };
        let mut frame = [0; MAX_FRAME_BYTES];
        let emitter = Emitter::new(nowhere, Ipv4Addr::UNSPECIFIED.into(), payloads);
        let length = emitter.emit_blank(&mut frame, mould);
        let blank = length.and_then(|length| frame.get(..length)).ok_or(io::ErrorKind::InvalidData)?;
        // What a checksum is the complement of.
        let sum = |at: usize| match blank.get(at..at + 2) {
            Some(&[high, low]) => i32::from(!u16::from_be_bytes([high, low])),
            _ => 0,
        };
        Ok(Self { mould, ip_sum: sum(IP_CHECKSUM), sum: sum(checksum(mould)), blank: blank.to_vec() })
    }
}

/// Where the checksum behind the IP header is.
fn checksum(mould: Mould) -> usize {
    match mould {
        Mould::Ack | Mould::Syn => TCP_CHECKSUM,
        Mould::Datagram(_) => UDP_CHECKSUM,
        Mould::Echo | Mould::Timestamp => ICMP_CHECKSUM,
    }
}

impl Generator<'_> {
    /// Writes everything behind the hardware addresses, and leaves the frame's length in R9.
    pub(super) fn write(&self, a: &mut Assembler) {
        if self.i.casts.len() > 1 {
            a.load(Double, R3, Frame, local::KIND);
            a.alu(Alu::ShiftRight, R3, Tables::MOULD_SHIFT);
        }
        self.choose(a, 0..self.i.casts.len());
    }

    /// Finds the code of the mould that is named in R3, by halving.
    fn choose(&self, a: &mut Assembler, among: Range<usize>) {
        if among.len() > 1 {
            let (middle, above) = (among.start + among.len() / 2, a.label());
            a.jump_if(AtLeast, R3, middle as i32, above);
            self.choose(a, among.start..middle);
            a.place(above);
            self.choose(a, middle..among.end);
        } else if let Some(cast) = self.i.casts.get(among.start) {
            self.cast(a, cast);
            a.copy(R9, cast.blank.len() as i32);
            if among.end < self.i.casts.len() {
                a.jump(self.ends.written);
            }
        }
    }

    fn cast(&self, a: &mut Assembler, cast: &Cast) {
        match cast.mould {
            Mould::Ack | Mould::Syn => self.segment(a, cast),
            Mould::Datagram(_) => datagram(a, cast),
            Mould::Echo => self.request(a, cast, CookieKey::ECHO),
            Mould::Timestamp => self.request(a, cast, CookieKey::TIMESTAMP),
        }
    }

    /// TCP: the cookie is the sequence number.
    fn segment(&self, a: &mut Assembler, cast: &Cast) {
        let is_ack = cast.mould == Mould::Ack;
        cookie(a, self.i.key, addresses, |a| a.load(Double, R0, Frame, local::PORTS));
        a.load(Double, R4, Frame, local::PORTS);
        sum_addresses(a);
        a.copy(R2, R5);
        a.alu(Alu::Add, R2, R4);
        a.alu(Alu::Add, R2, R1);
        if is_ack {
            a.alu(Alu::Add, R2, R1);
        }
        finish(a, cast);
        put_words(a, &[(R4, PORTS), (R1, TCP_SEQUENCE)]);
        if is_ack {
            a.store(Word, R7, TCP_ACKNOWLEDGEMENT, R1);
        }
    }

    /// ICMP, whose checksum leaves the addresses out: the cookie, with the attempt in its lowest bits, is identifier and
    /// sequence number.
    fn request(&self, a: &mut Assembler, cast: &Cast, kind: u64) {
        cookie(a, self.i.key, addresses, |a| a.constant(R0, kind));
        a.map_value(R2, self.i.control, 0);
        a.load(Double, R2, R2, layout::ECHO_ATTEMPT as i16);
        a.alu(Alu::And, R1, !i32::from(EchoCookie::ATTEMPT_BITS));
        a.alu(Alu::Or, R1, R2);
        sum_addresses(a);
        a.copy(R2, R1);
        finish(a, cast);
        put_words(a, &[(R1, ICMP_IDENTIFIER)]);
    }
}

/// UDP: there is no room for a cookie.
fn datagram(a: &mut Assembler, cast: &Cast) {
    a.load(Double, R4, Frame, local::PORTS);
    sum_addresses(a);
    a.copy(R2, R5);
    a.alu(Alu::Add, R2, R4);
    finish(a, cast);
    put_words(a, &[(R4, PORTS)]);
}

/// `R0 = our address and the target's`, the first word of a cookie.
fn addresses(a: &mut Assembler) {
    a.load(Double, R0, R8, way::SOURCE);
    a.alu(Alu::ShiftLeft, R0, 32);
    a.alu(Alu::Or, R0, R9);
}

/// `R5 = our address plus the target's`
fn sum_addresses(a: &mut Assembler) {
    a.load(Double, R5, R8, way::SOURCE);
    a.alu(Alu::Add, R5, R9);
}

/// Adds the constant sums to that of the addresses in R5 and that of the rest in R2, and writes the constants, both
/// checksums and the addresses. Loses all but R1 and R4.
fn finish(a: &mut Assembler, cast: &Cast) {
    a.alu(Alu::Add, R2, cast.sum);
    finish_checksum(a, R2, R3);
    if matches!(cast.mould, Mould::Datagram(_)) {
        // 0 would mean that there is none (RFC 768).
        let is_present = a.label();
        a.jump_if(NotEqual, R2, 0, is_present);
        a.copy(R2, 0xffff);
        a.place(is_present);
    }
    a.copy(R0, R5);
    a.alu(Alu::Add, R0, cast.ip_sum);
    finish_checksum(a, R0, R3);
    put_constants(a, &cast.blank);
    for (register, place) in [(R0, IP_CHECKSUM), (R2, checksum(cast.mould))] {
        a.to_big_endian(register, Bits::B16);
        a.store(Half, R7, place as i16, register);
    }
    a.load(Double, R3, R8, way::SOURCE);
    put_words(a, &[(R3, SOURCE), (R9, DESTINATION)]);
}

/// Writes registers in network order, and leaves them in it.
fn put_words(a: &mut Assembler, words: &[(Register, i16)]) {
    for &(register, place) in words {
        a.to_big_endian(register, Bits::B32);
        a.store(Word, R7, place, register);
    }
}

/// Writes all that follows the hardware addresses. Uses R5.
fn put_constants(a: &mut Assembler, blank: &[u8]) {
    let mut at = HARDWARE_END;
    while let Some(rest) = blank.get(at..).filter(|rest| !rest.is_empty()) {
        let (size, bytes) = match rest.len() {
            8.. if at.is_multiple_of(8) => (Double, 8),
            4.. => (Word, 4),
            2.. => (Half, 2),
            _ => (Size::Byte, 1),
        };
        let value = rest.iter().take(bytes).rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        a.constant(R5, value);
        a.store(size, R7, at as i16, R5);
        at += bytes;
    }
}
