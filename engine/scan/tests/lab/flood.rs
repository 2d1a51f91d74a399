//! Scans that somebody disturbs: floods of forged answers, to the very ports that the scan waits at.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use portreeve_model::PortState;
use portreeve_scan::{
    PacketsPerSecond, ScanConfig,
    sys::{FrameSink, OnReply, ReplyFilter, RxConfig, RxRing, TxXdp},
};
use portreeve_wire::{ethernet, ip as wire_ip, ipv4, tcp};

use crate::{
    network::{Lab, NEAR_V4, alone},
    scans::{moderate, scan},
};

/// Where the scan's answers go: the first of its source ports, told so that they can be forged.
const SOURCE_PORT: u16 = 41_000;
const OPEN: u16 = 80;

/// Port 80 is open everywhere at the far end.
fn network() -> Option<(Lab, TcpListener)> {
    let lab = Lab::routed()?;
    let listener = lab.far(|| TcpListener::bind(("0.0.0.0", OPEN)).unwrap());
    Some((lab, listener))
}

fn config(hosts: &str, ports: &str) -> ScanConfig {
    ScanConfig {
        rate: PacketsPerSecond(8_000),
        retries: 3,
        source_port: Some(SOURCE_PORT),
        ..moderate(hosts, ports)
    }
}

/// One forged frame of each kind, from addresses and ports of the scan: SYN-ACK, RST, and an ICMP error that
/// quotes a probe. What they lack is the cookie.
struct Forger {
    source: ethernet::Address,
    destination: ethernet::Address,
    number: u32,
}

impl Forger {
    fn emit(&mut self, frame: &mut [u8]) -> usize {
        self.number = self.number.wrapping_add(1);
        let random = self.number.wrapping_mul(0x9e37_79b9);
        let from = Ipv4Addr::new(10, 99, 128, (random >> 8) as u8 & 0x3f);
        let port = if random & 1 == 0 { OPEN } else { 60 + (random >> 16) as u16 % 50 };
        let header = ethernet::Header {
            destination: self.destination,
            source: self.source,
            vlan: None,
            ether_type: ethernet::EtherType::IPV4,
        };
        let at = header.emit(frame).unwrap();
        at + match self.number % 3 {
            0 => segment(&mut frame[at..], (from, port), (NEAR_V4, SOURCE_PORT), random, SYN_ACK),
            1 => segment(&mut frame[at..], (from, port), (NEAR_V4, SOURCE_PORT), random, RST_ACK),
            _ => unreachable(&mut frame[at..], (from, port), random),
        }
    }
}

const SYN_ACK: tcp::Flags = tcp::Flags(0x12);
const RST_ACK: tcp::Flags = tcp::Flags(0x14);

fn segment(
    bytes: &mut [u8],
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    number: u32,
    flags: tcp::Flags,
) -> usize {
    let header = tcp::Header {
        source_port: from.1,
        destination_port: to.1,
        sequence: tcp::SeqNumber(number),
        acknowledgement: tcp::SeqNumber(!number),
        flags,
        window: 1024,
        options: tcp::SynOptions::default(),
    };
    let at = packet(bytes, from.0, to.0, wire_ip::Protocol::TCP, header.len());
    at + header.emit(&mut bytes[at..], from.0.into(), to.0.into()).unwrap()
}

/// "Port unreachable" (type 3, code 3) with the first 28 bytes of a SYN of ours.
fn unreachable(bytes: &mut [u8], probed: (Ipv4Addr, u16), number: u32) -> usize {
    let mut probe = [0; 128];
    segment(&mut probe, (NEAR_V4, SOURCE_PORT), probed, number, tcp::Flags::SYN);
    let at = packet(bytes, probed.0, NEAR_V4, wire_ip::Protocol::ICMPV4, 8 + 28);
    let message = &mut bytes[at..at + 36];
    message[..8].copy_from_slice(&[3, 3, 0, 0, 0, 0, 0, 0]);
    message[8..].copy_from_slice(&probe[..28]);
    let sum = portreeve_wire::checksum::of(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    at + 36
}

fn packet(
    bytes: &mut [u8],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: wire_ip::Protocol,
    payload_len: usize,
) -> usize {
    let payload_len = payload_len as u16;
    ipv4::Header { source, destination, hop_limit: 64, protocol, payload_len }.emit(bytes).unwrap()
}

/// Forges 500,000 answers a second, in steps of a millisecond, until it is told to stop or has sent 3 million.
/// Returns how many it sent.
fn flood(mut sink: TxXdp, mut forger: Forger, stop: &AtomicBool) -> u32 {
    const A_MILLISECOND: u32 = 500;
    let started = Instant::now();
    for step in 0..6_000 {
        if stop.load(Relaxed) {
            break;
        }
        for _ in 0..A_MILLISECOND {
            let length = forger.emit(sink.frame().unwrap());
            sink.commit(length);
        }
        // A receiver that is overrun is part of the test.
        let _ = sink.flush();
        let due = started + Duration::from_millis(1) * (step + 1);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    forger.number
}

#[test]
fn a_flood_of_forged_answers_changes_no_result() {
    let Some((lab, _listener)) = network() else { return };
    // From other ports: what it leaves half open at the far end would answer the flooded one in its own way.
    let quiet =
        scan(ScanConfig { source_port: Some(SOURCE_PORT + 1_000), ..config("10.99.128.0/26", "60-109") });
    let quiet = quiet.states();
    assert_eq!(quiet.len(), 64 * 50);
    assert_eq!(quiet.values().filter(|state| **state == PortState::Open).count(), 64);

    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, far_end, near) = (Arc::clone(&stop), lab.far_end.clone(), lab.near.clone());
    let forged = lab.far_later(move || {
        let (source, destination) = (far_end.hardware.unwrap(), near.hardware.unwrap());
        let sink = TxXdp::open(&far_end, 0, 128).unwrap();
        flood(sink, Forger { source, destination, number: 0 }, &stopped)
    });
    let flooded = scan(config("10.99.128.0/26", "60-109"));
    let report = &flooded.report;
    stop.store(true, Relaxed);
    let forged = forged.recv().unwrap();
    assert_eq!(flooded.states(), quiet, "{report:?}");
    let count = |cause| report.drops.iter().find(|(name, _)| *name == cause).map_or(0, |(_, count)| *count);
    let seen = count("wrong-cookie") + count("kernel-ring-full");
    assert!(seen > 10_000 && seen <= u64::from(forged), "{forged} were forged: {report:?}");
    assert_eq!(report.hosts, 64);
}

/// What the scanner's side sends to open ports besides its probes: segments with ACK or RST.
fn answers_to_open_ports(on_reply: OnReply) -> Option<usize> {
    let (lab, _listener) = network()?;
    let far_end = lab.far_end.clone();
    let mut ring = lab.far(move || {
        RxRing::open(&far_end, &ReplyFilter { ports: OPEN..=OPEN }, RxConfig::default()).unwrap()
    });
    let found = scan(ScanConfig { on_reply, ..config("10.99.128.0/26", "80") });
    assert_eq!(found.states().len(), 64);
    Some(segments(&mut ring))
}

/// TCP segments in the ring, and in what still comes.
fn segments(ring: &mut RxRing) -> usize {
    let mut seen = 0;
    while ring.wait(Duration::from_millis(50)).unwrap() {
        while let Some(mut block) = ring.next_block() {
            while let Some(received) = block.next() {
                let packet = wire_ip::Packet::parse(received.packet).unwrap();
                seen += usize::from(packet.protocol() == wire_ip::Protocol::TCP);
            }
        }
    }
    seen
}

#[test]
fn nothing_but_probes_is_sent() {
    assert!(answers_to_open_ports(OnReply::Silence).is_none_or(|seen| seen == 0));
}

#[test]
fn one_reset_an_open_port_when_asked_for() {
    assert!(answers_to_open_ports(OnReply::Reset).is_none_or(|seen| seen == 64));
}

#[test]
fn its_own_ports_look_closed_to_a_scan_of_this_machine() {
    let Some(()) = alone() else { return };
    let found = scan(config("127.0.0.1", "40999-41012"));
    let states = found.states();
    assert_eq!(states.len(), 14, "{:?}", found.report);
    assert!(states.values().all(|state| *state == PortState::Closed));
}
