//! The part of the generator's program that writes frames: code for each mould, with the mould's bytes as constants.
//!
//! In a blank frame everything that differs from probe to probe is 0, our address too, so its checksums are those of the
//! rest, and the program adds what it fills in (RFC 1071 allows any order).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use portreeve_wire::{ethernet, template::Link};

use super::{
    layout::{self, way},
    program::{Generator, local},
    tables::Tables,
};
use crate::{
    cookie::{CookieKey, EchoCookie},
    kernel_code::{STATE, Word as CookieWord, end_cookie, finish_checksum, take_in},
    probe::{Emitter, MAX_FRAME_BYTES, Mould, Payloads},
    sys::bpf::{Alu, Assembler, Bits, Compare, Register, Size},
};
use Compare::{AtLeast, NotEqual};
use Register::{Frame, R0, R1, R2, R3, R4, R5, R7, R8, R9};
use Size::{Double, Half, Word};

/// Offsets in a frame.
const HARDWARE_END: usize = 12;
const V4_CHECKSUM: i16 = 24;
const V4_SOURCE: i16 = 26;
const V4_DESTINATION: i16 = 30;
const V6_SOURCE: i16 = 22;
const V6_DESTINATION: i16 = 38;
/// Offsets behind the IP header.
const PORTS: i16 = 0;
const TCP_SEQUENCE: i16 = 4;
const TCP_ACKNOWLEDGEMENT: i16 = 8;
const TCP_CHECKSUM: i16 = 16;
const UDP_CHECKSUM: i16 = 6;
const ICMP_CHECKSUM: i16 = 2;
const ICMP_IDENTIFIER: i16 = 4;

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// In the order of the targets' numbers.
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Whether there is such a probe.
    pub(super) fn has(self, mould: Mould) -> bool {
        self == Self::V4 || mould != Mould::Timestamp
    }

    fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Words that an address is in a cookie.
    const fn words(self) -> usize {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }

    /// Where the IP header ends.
    const fn header_end(self) -> i16 {
        match self {
            Self::V4 => 34,
            Self::V6 => 54,
        }
    }
}

/// The moulds of a family, by their numbers.
#[derive(Debug)]
pub(super) struct Casts {
    /// None where the family has no such probe.
    of_mould: Vec<Option<Cast>>,
}

/// A mould with the frame that comes out of it blank.
#[derive(Debug)]
struct Cast {
    mould: Mould,
    family: Family,
    blank: Vec<u8>,
    /// Sums over the constant fields of the IP header, where that has a checksum, and of what follows it with its
    /// pseudo-header.
    ip_sum: i32,
    sum: i32,
}

impl Casts {
    pub(super) fn new(family: Family, moulds: &[Mould], payloads: &Payloads) -> io::Result<Self> {
        let cast = |&mould: &Mould| family.has(mould).then(|| Cast::new(mould, family, payloads)).transpose();
        Ok(Self { of_mould: moulds.iter().map(cast).collect::<io::Result<_>>()? })
    }

    /// Where the ports are, if there is one mould, and that has any.
    pub(super) fn ports_of_only_mould(&self) -> Option<i16> {
        match self.of_mould.as_slice() {
            [Some(cast)] => match cast.mould {
                Mould::Ack | Mould::Syn | Mould::Datagram(_) => Some(cast.behind_header(PORTS)),
                Mould::Echo | Mould::Timestamp => None,
            },
            _ => None,
        }
    }

    /// The longest of the blank frames.
    pub(super) fn longest(&self) -> &[u8] {
        let blanks = self.of_mould.iter().flatten().map(|cast| cast.blank.as_slice());
        blanks.max_by_key(|blank| blank.len()).unwrap_or_default()
    }
}

impl Cast {
    fn new(mould: Mould, family: Family, payloads: &Payloads) -> io::Result<Self> {
        let (source, destination) = (ethernet::Address::ZERO, ethernet::Address::ZERO);
        let nowhere = Link::Ethernet { destination, source, vlan: None };
        let mut frame = [0; MAX_FRAME_BYTES];
        let emitter = Emitter::new(nowhere, family.unspecified(), payloads);
        let length = emitter.emit_blank(&mut frame, mould);
        let blank = length.and_then(|length| frame.get(..length)).ok_or(io::ErrorKind::InvalidData)?.to_vec();
        let mut cast = Self { mould, family, blank, ip_sum: 0, sum: 0 };
        cast.ip_sum = if family == Family::V4 { cast.sum_at(V4_CHECKSUM) } else { 0 };
        cast.sum = cast.sum_at(cast.checksum());
        Ok(cast)
    }

    /// What the checksum at this place is the complement of.
    fn sum_at(&self, place: i16) -> i32 {
        let at = place as usize;
        match self.blank.get(at..at + 2) {
            Some(&[high, low]) => i32::from(!u16::from_be_bytes([high, low])),
            _ => 0,
        }
    }

    /// Where the checksum behind the IP header is.
    fn checksum(&self) -> i16 {
        self.behind_header(match self.mould {
            Mould::Ack | Mould::Syn => TCP_CHECKSUM,
            Mould::Datagram(_) => UDP_CHECKSUM,
            Mould::Echo | Mould::Timestamp => ICMP_CHECKSUM,
        })
    }

    fn behind_header(&self, offset: i16) -> i16 {
        self.family.header_end() + offset
    }

    /// What the program writes, whatever the mould: addresses, and what is in the four bytes behind the header where there
    /// are ports, and in the next four where there is a sequence number.
    fn filled_in(&self) -> impl Iterator<Item = Range<usize>> {
        let end = self.family.header_end() as usize;
        let (addresses, bytes) = match self.family {
            Family::V4 => (V4_CHECKSUM as usize, 10),
            Family::V6 => (V6_SOURCE as usize, 32),
        };
        let behind = match self.mould {
            Mould::Ack | Mould::Syn => 8,
            Mould::Datagram(_) => 4,
            Mould::Echo | Mould::Timestamp => 0,
        };
        [addresses..addresses + bytes, end..end + behind].into_iter()
    }
}

impl Generator<'_> {
    /// Writes everything behind the hardware addresses, and leaves the frame's length in R9.
    pub(super) fn write(&self, a: &mut Assembler) {
        let families = self.i.casts;
        if let [v4, _] = families {
            let other = a.label();
            a.load(Double, R1, Frame, local::HOST);
            a.constant(R2, self.i.plan.v4_addresses);
            a.jump_if(AtLeast, R1, R2, other);
            self.write_family(a, v4);
            a.jump(self.ends.written);
            a.place(other);
        }
        if let Some(last) = families.last() {
            self.write_family(a, last);
        }
    }

    fn write_family(&self, a: &mut Assembler, casts: &Casts) {
        if casts.of_mould.len() > 1 {
            a.load(Double, R3, Frame, local::KIND);
            a.alu(Alu::ShiftRight, R3, Tables::MOULD_SHIFT);
        }
        self.choose(a, casts, 0..casts.of_mould.len());
    }

    /// Finds the code of the mould that is named in R3, by halving. That of the last one ends where it all ends.
    fn choose(&self, a: &mut Assembler, casts: &Casts, among: Range<usize>) {
        if among.len() > 1 {
            let (middle, above) = (among.start + among.len() / 2, a.label());
            a.jump_if(AtLeast, R3, middle as i32, above);
            self.choose(a, casts, among.start..middle);
            a.place(above);
            self.choose(a, casts, middle..among.end);
            return;
        }
        // Targets that there is no such probe for were passed over.
        let Some(Some(cast)) = casts.of_mould.get(among.start) else { return a.jump(self.ends.drop) };
        self.cast(a, cast);
        a.copy(R9, cast.blank.len() as i32);
        if among.end < casts.of_mould.len() {
            a.jump(self.ends.written);
        }
    }

    fn cast(&self, a: &mut Assembler, cast: &Cast) {
        match cast.mould {
            Mould::Ack | Mould::Syn => segment(a, cast),
            Mould::Datagram(_) => datagram(a, cast),
            Mould::Echo => self.request(a, cast, CookieKey::ECHO),
            Mould::Timestamp => self.request(a, cast, CookieKey::TIMESTAMP),
        }
    }

    /// ICMP, whose checksum leaves the addresses out, and ICMPv6, whose does not (RFC 4443, 2.3): the cookie, with the
    /// attempt in its lowest bits, is identifier and sequence number.
    fn request(&self, a: &mut Assembler, cast: &Cast, kind: u32) {
        cookie(a, cast.family, &|a, into| a.constant(into, kind.into()));
        a.map_value(R2, self.i.control, 0);
        a.load(Double, R2, R2, layout::ECHO_ATTEMPT as i16);
        a.alu(Alu::And, R1, !i32::from(EchoCookie::ATTEMPT_BITS));
        a.alu(Alu::Or, R1, R2);
        sum_addresses(a, cast.family);
        a.copy(R2, R1);
        if cast.family == Family::V6 {
            a.alu(Alu::Add, R2, R5);
        }
        finish(a, cast);
        put_words(a, &[(R1, cast.behind_header(ICMP_IDENTIFIER))]);
    }
}

/// `R1 = cookie` of our address, the target's, and what stands for ports. Uses R0-R5.
fn cookie(a: &mut Assembler, family: Family, ports: &dyn Fn(&mut Assembler, Register)) {
    for (offset, register) in (way::STATE..).step_by(8).zip(STATE) {
        a.load(Double, register, R8, offset);
    }
    let words: &[CookieWord<'_>] = match family {
        Family::V4 => &[&|a| {
            ports(a, R5);
            a.copy(R0, R9);
            a.alu(Alu::ShiftLeft, R0, 32);
            a.alu(Alu::Or, R0, R5);
        }],
        Family::V6 => &[&|a| a.load(Double, R0, Frame, local::UPPER), &|a| a.copy(R0, R9), &|a| ports(a, R0)],
    };
    take_in(a, words);
    end_cookie(a, words.len() + family.words());
}

/// TCP: the cookie is the sequence number.
fn segment(a: &mut Assembler, cast: &Cast) {
    let is_ack = cast.mould == Mould::Ack;
    cookie(a, cast.family, &|a, into| a.load(Double, into, Frame, local::PORTS));
    a.load(Double, R4, Frame, local::PORTS);
    sum_addresses(a, cast.family);
    a.copy(R2, R5);
    a.alu(Alu::Add, R2, R4);
    a.alu(Alu::Add, R2, R1);
    if is_ack {
        a.alu(Alu::Add, R2, R1);
    }
    finish(a, cast);
    put_words(a, &[(R4, cast.behind_header(PORTS)), (R1, cast.behind_header(TCP_SEQUENCE))]);
    if is_ack {
        a.store(Word, R7, cast.behind_header(TCP_ACKNOWLEDGEMENT), R1);
    }
}

/// UDP: there is no room for a cookie.
fn datagram(a: &mut Assembler, cast: &Cast) {
    a.load(Double, R4, Frame, local::PORTS);
    sum_addresses(a, cast.family);
    a.copy(R2, R5);
    a.alu(Alu::Add, R2, R4);
    finish(a, cast);
    put_words(a, &[(R4, cast.behind_header(PORTS))]);
}

/// `R5 = our address plus the target's`, by words of 32 bits. Uses R0 and R3.
fn sum_addresses(a: &mut Assembler, family: Family) {
    a.load(Double, R5, R8, way::SOURCE_SUM);
    match family {
        Family::V4 => a.alu(Alu::Add, R5, R9),
        Family::V6 => {
            a.load(Double, R3, Frame, local::UPPER);
            for half in [R3, R9] {
                a.copy(R0, half);
                a.alu(Alu::ShiftRight, R0, 32);
                a.alu(Alu::Add, R5, R0);
                a.alu32(Alu::Move, R0, half);
                a.alu(Alu::Add, R5, R0);
            }
        }
    }
}

/// Adds the constant sums to that of the addresses in R5 and that of the rest in R2, and writes the constants, all
/// checksums and the addresses. Loses all but R1 and R4.
fn finish(a: &mut Assembler, cast: &Cast) {
    a.alu(Alu::Add, R2, cast.sum);
    finish_checksum(a, R2, R3);
    if matches!(cast.mould, Mould::Datagram(_)) {
        // 0 would mean that there is none (RFC 768).
        let is_present = a.label();
        a.alu(Alu::And, R2, 0xffff);
        a.jump_if(NotEqual, R2, 0, is_present);
        a.copy(R2, 0xffff);
        a.place(is_present);
    }
    match cast.family {
        Family::V4 => {
            a.copy(R0, R5);
            a.alu(Alu::Add, R0, cast.ip_sum);
            finish_checksum(a, R0, R3);
            put_constants(a, cast);
            put_checksum(a, R0, V4_CHECKSUM);
            a.load(Double, R3, R8, way::SOURCE);
            put_words(a, &[(R3, V4_SOURCE), (R9, V4_DESTINATION)]);
        }
        Family::V6 => {
            put_constants(a, cast);
            a.load(Double, R3, R8, way::SOURCE_UPPER);
            a.load(Double, R5, R8, way::SOURCE);
            put_address(a, [R3, R5], V6_SOURCE);
            a.load(Double, R3, Frame, local::UPPER);
            put_address(a, [R3, R9], V6_DESTINATION);
        }
    }
    put_checksum(a, R2, cast.checksum());
}

fn put_checksum(a: &mut Assembler, register: Register, place: i16) {
    a.to_big_endian(register, Bits::B16);
    a.store(Half, R7, place, register);
}

/// Writes registers in network order, and leaves them in it.
fn put_words(a: &mut Assembler, words: &[(Register, i16)]) {
    for &(register, place) in words {
        a.to_big_endian(register, Bits::B32);
        a.store(Word, R7, place, register);
    }
}

/// Writes an address of two halves, and leaves them in network order.
fn put_address(a: &mut Assembler, halves: [Register; 2], place: i16) {
    for (half, at) in halves.into_iter().zip([place, place + 8]) {
        a.to_big_endian(half, Bits::B64);
        a.store(Double, R7, at, half);
    }
}

/// Writes all that follows the hardware addresses, but for words that are written over anyway. Uses R5.
fn put_constants(a: &mut Assembler, cast: &Cast) {
    let mut at = HARDWARE_END;
    while let Some(rest) = cast.blank.get(at..).filter(|rest| !rest.is_empty()) {
        let (size, bytes) = match rest.len() {
            8.. if at.is_multiple_of(8) => (Double, 8),
            4.. => (Word, 4),
            2.. => (Half, 2),
            _ => (Size::Byte, 1),
        };
        let value = rest.iter().take(bytes).rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        if !(at..at + bytes).all(|byte| cast.filled_in().any(|range| range.contains(&byte))) {
            put_constant(a, size, at as i16, value);
        }
        at += bytes;
    }
}

fn put_constant(a: &mut Assembler, size: Size, at: i16, value: u64) {
    match i32::try_from(value) {
        Ok(small) => a.store_constant(size, R7, at, small),
        Err(_) => {
            a.constant(R5, value);
            a.store(size, R7, at, R5);
        }
    }
}
