//! XDP programs at the far end: one that lets every frame pass, and one that takes probes off before any stack.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use Compare::{Equal, Greater, NotEqual};
use Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9};
use Size::{Byte, Double, Half, Word};
use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use portreeve_scan::{
    TargetSet,
    sys::bpf::{
        Action, Alu, Assembler, Compare, Helper, Label, Link, MapReference, Program, Register, RingBuffer,
        Size, XdpMode,
    },
};

use crate::network::Lab;

/// A program that passes everything on: without one, frames made in the kernel do not arrive at a veth's far end.
pub fn open_far(lab: &Lab) -> Link {
    attach_far(lab, |a| finish(a, Action::Pass))
}

/// What a probe is, by another parser than the product's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Ack(u16),
    Datagram(u16, Vec<u8>),
    Echo,
    Syn(u16),
    Timestamp,
}

/// A probe as it arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// By the kernel's monotonic clock.
    pub time_ns: u64,
    pub address: IpAddr,
    pub kind: Kind,
}

/// How often each probe arrived.
pub type Counts = BTreeMap<(IpAddr, Kind), u32>;

/// Each of these kinds at each of these targets, once.
pub fn expected(targets: &TargetSet, kinds: &[Kind]) -> Counts {
    let at = |address| kinds.iter().map(move |kind| ((address, kind.clone()), 1));
    targets.iter().flat_map(at).collect()
}

/// Takes probes off the far end, before any stack.
pub struct Sink {
    _link: Link,
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Vec<Arrival>>,
}

impl Sink {
    /// Bytes of the longest frame that is kept; longer ones are passed on, and are missed. A power of two.
    const KEPT: i32 = 128;
    /// Time and length before each frame.
    const HEAD: i32 = 16;
    /// Room for more frames than any test sends, so that a busy machine makes none of them lost.
    const RING_BYTES: u32 = 64 << 20;

    pub fn attach(lab: &Lab) -> Self {
        let ring = RingBuffer::new("test_sink", Self::RING_BYTES).expect("map");
        let reference = ring.reference();
        let link = attach_far(lab, move |a| Self::emit(a, reference));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Self { _link: link, stop, reader: thread::spawn(move || collect(ring, &stopped)) }
    }

    /// Everything that arrived until now, in order.
    pub fn finish(self) -> Vec<Arrival> {
        self.stop.store(true, Relaxed);
        self.reader.join().expect("no panic")
    }

    /// How often each probe arrived until now.
    pub fn counts(self) -> Counts {
        let mut counts = Counts::new();
        for Arrival { address, kind, .. } in self.finish() {
            *counts.entry((address, kind)).or_insert(0) += 1;
        }
        counts
    }

    /// The program: what is no probe passes, and what the ring has no room for.
    fn emit(a: &mut Assembler, ring: MapReference) {
        let (taken, pass) = (a.label(), a.label());
        a.copy(R7, R1);
        a.load(Word, R2, R1, 0);
        a.load(Word, R3, R1, 4);
        a.copy(R8, R3);
        a.alu(Alu::Sub, R8, R2);
        a.jump_if(Greater, R8, Self::KEPT, pass);
        a.copy(R4, R2);
        a.alu(Alu::Add, R4, 55);
        // The shortest probe over IPv4 is shorter than what is looked at of IPv6.
        a.copy(R9, R2);
        a.alu(Alu::Add, R9, 34);
        a.jump_if(Greater, R9, R3, pass);
        a.load(Half, R9, R2, 12);
        a.jump_if(Equal, R9, i32::from(0x0800_u16.to_be()), taken);
        a.jump_if(NotEqual, R9, i32::from(0x86dd_u16.to_be()), pass);
        a.jump_if(Greater, R4, R3, pass);
        a.load(Byte, R9, R2, 20);
        a.jump_if(Equal, R9, 6, taken);
        a.jump_if(Equal, R9, 17, taken);
        // Of ICMPv6 echo requests alone: neighbours must find each other.
        a.jump_if(NotEqual, R9, 58, pass);
        a.load(Byte, R9, R2, 54);
        a.jump_if(NotEqual, R9, 128, pass);
        a.place(taken);
        Self::emit_record(a, ring, pass);
        finish(a, Action::Drop);
        a.place(pass);
        finish(a, Action::Pass);
    }

    /// Puts the frame of context R7 and length R8 into the ring.
    fn emit_record(a: &mut Assembler, ring: MapReference, full: Label) {
        a.map(R1, ring);
        a.copy(R2, Self::HEAD + Self::KEPT);
        a.copy(R3, 0);
        a.call(Helper::RingReserve);
        a.jump_if(Equal, R0, 0, full);
        a.copy(R6, R0);
        a.call(Helper::Nanoseconds);
        a.store(Double, R6, 0, R0);
        a.store(Double, R6, 8, R8);
        a.copy(R1, R7);
        a.copy(R2, 0);
        a.copy(R3, R6);
        a.alu(Alu::Add, R3, Self::HEAD);
        // The verifier wants to see the bounds of a length.
        a.copy(R4, R8);
        a.alu(Alu::Sub, R4, 1);
        a.alu(Alu::And, R4, Self::KEPT - 1);
        a.alu(Alu::Add, R4, 1);
        a.call(Helper::LoadBytes);
        a.copy(R1, R6);
        a.copy(R2, 1);
        a.call(Helper::RingSubmit);
    }
}

fn attach_far(lab: &Lab, emit: impl FnOnce(&mut Assembler) + Send + 'static) -> Link {
    let device = lab.far_end.index;
    lab.far(move || {
        let mut a = Assembler::new();
        emit(&mut a);
        let program = Program::load("test_far", a).expect("the verifier agrees");
        Link::attach(&program, device, XdpMode::Native).expect("a veth takes programs")
    })
}

/// Ends a program.
pub fn finish(a: &mut Assembler, action: Action) {
    a.copy(R0, action as i32);
    a.exit();
}

fn collect(mut ring: RingBuffer, stop: &AtomicBool) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    loop {
        let last = stop.load(Relaxed);
        let taken = ring.take_ready(|record| arrivals.push(arrival(record)));
        if last && taken == 0 {
            return arrivals;
        }
        if taken == 0 {
            thread::sleep(Duration::from_micros(500));
        }
    }
}

/// Reads a probe; its checksums must be right, and it must end where it says.
fn arrival(record: &[u8]) -> Arrival {
    let (time, record) = record.split_first_chunk::<8>().expect("a time");
    let (length, frame) = record.split_first_chunk::<8>().expect("a length");
    let frame = &frame[..usize::from_ne_bytes(*length)];
    let packet = SlicedPacket::from_ethernet(frame).expect("well formed");
    let (address, pseudo_header, payload) = match &packet.net {
        Some(NetSlice::Ipv4(ipv4)) => {
            let header = ipv4.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.total_len) + 14, frame.len(), "{frame:02x?}");
            let pseudo_header = [header.source, header.destination].concat();
            (ipv4.header().destination_addr().into(), pseudo_header, ipv4.payload())
        }
        Some(NetSlice::Ipv6(ipv6)) => {
            let header = ipv6.header().to_header();
            assert_eq!(usize::from(header.payload_length) + 54, frame.len(), "{frame:02x?}");
            let pseudo_header = [header.source, header.destination].concat();
            (IpAddr::V6(ipv6.header().destination_addr()), pseudo_header, ipv6.payload())
        }
        _ => panic!("no IP: {frame:02x?}"),
    };
    let (kind, protocol) = match packet.transport.expect("a transport") {
        TransportSlice::Tcp(tcp) => {
            assert_eq!(tcp.syn(), !tcp.ack());
            let port = tcp.destination_port();
            assert_eq!(tcp.options().len(), if tcp.syn() { 20 } else { 0 }, "{frame:02x?}");
            (if tcp.syn() { Kind::Syn(port) } else { Kind::Ack(port) }, 6)
        }
        TransportSlice::Udp(udp) => {
            assert_ne!(udp.checksum(), 0, "there must be one");
            (Kind::Datagram(udp.destination_port(), udp.payload().to_vec()), 17)
        }
        TransportSlice::Icmpv4(icmp) => match icmp.icmp_type() {
            Icmpv4Type::EchoRequest(_) => (Kind::Echo, 1),
            Icmpv4Type::TimestampRequest(_) => (Kind::Timestamp, 1),
            other => panic!("{other:?}"),
        },
        TransportSlice::Icmpv6(icmp) => match icmp.icmp_type() {
            Icmpv6Type::EchoRequest(_) => (Kind::Echo, 58),
            other => panic!("{other:?}"),
        },
        TransportSlice::Igmp(_) => panic!("no probe: {frame:02x?}"),
    };
    // ICMP over IPv4 has no pseudo-header.
    let pseudo_sum =
        if protocol == 1 { 0 } else { sum(&pseudo_header) + protocol + payload.payload.len() as u64 };
    assert_eq!(folded(pseudo_sum + sum(payload.payload)), 0xffff, "{frame:02x?}");
    Arrival { time_ns: u64::from_ne_bytes(*time), address, kind }
}

/// The sum of RFC 1071 before it is folded: big-endian words, the last one filled with 0.
fn sum(bytes: &[u8]) -> u64 {
    let (pairs, last) = bytes.as_chunks::<2>();
    let last = last.first().map_or(0, |&byte| u64::from(byte) << 8);
    pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum::<u64>() + last
}

fn folded(sum: u64) -> u64 {
    if sum > 0xffff { folded((sum >> 16) + (sum & 0xffff)) } else { sum }
}
