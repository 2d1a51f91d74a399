//! Probes beyond TCP and UDP: SCTP, and the ways to find a host that keeps silent to most of them.
//!
//! Few kernels have SCTP, so the far end's stack is written here, from RFC 9260 alone and without the product's code: it
//! checks all that a real one checks of an INIT, and answers as its section 5.1 and 8.4 say.

use std::{
    collections::BTreeSet,
    net::{IpAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use portreeve_model::{HostReason, PortState, Reason, Transport};
use portreeve_scan::{BackendChoice, PacketsPerSecond, ScanConfig};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    network::{Lab, alone, ip},
    scans::{moderate, refusal, scan},
};

/// The port with a listener, and one that the stack ignores; all others are closed.
const OPEN: u16 = 2905;
const SILENT: u16 = 2907;

/// An SCTP stack that ends when it is dropped.
struct Stack {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u32>>,
}

impl Stack {
    /// Starts in the calling thread's namespace, for both families.
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |domain| {
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(132))).expect("a raw socket");
            socket.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
            let stopped = Arc::clone(&stop);
            thread::spawn(move || answer(socket, domain, &stopped))
        };
        let threads = [Domain::IPV4, Domain::IPV6].map(start).into();
        Self { stop, threads }
    }

    /// How many INITs were malformed.
    fn finish(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    }
}

fn answer(socket: Socket, domain: Domain, stop: &AtomicBool) -> u32 {
    let mut malformed = 0;
    // As a UDP socket of the standard library it is read without uninitialised memory.
    let socket = UdpSocket::from(socket);
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let bytes = &buffer[..length];
        // Raw IPv4 sockets show the IP header, IPv6 ones do not.
        let packet = if domain == Domain::IPV4 { &bytes[usize::from(bytes[0] & 15) * 4..] } else { bytes };
        match reply_to(packet) {
            Ok(Some(reply)) => _ = socket.send_to(&reply, from).expect("sent"),
            Ok(None) => {}
            Err(()) => malformed += 1,
        }
    }
    malformed
}

/// What a stack answers; an error if the packet is no INIT as RFC 9260 wants it.
fn reply_to(packet: &[u8]) -> Result<Option<Vec<u8>>, ()> {
    let word = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let half = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    if packet.len() != 32 {
        return Err(());
    }
    let mut unsigned = packet.to_vec();
    unsigned[8..12].fill(0);
    let signed = packet[8..12] == crc32c(&unsigned).to_le_bytes();
    // 3.3.2: chunk type 1 of 20 bytes; 8.5.1: tag 0 before there is an association; 3.3.2: no zeros.
    let well_formed = word(4) == 0 && packet[12] == 1 && half(14) == 20;
    let granted = word(16) != 0 && word(20) >= 1500 && half(24) != 0 && half(26) != 0;
    if !(signed && well_formed && granted) {
        return Err(());
    }
    let chunk = match half(2) {
        // 3.3.3: INIT ACK with a tag, window and streams of its own, and the state cookie (parameter 7).
        OPEN => {
            let mut chunk = vec![2, 0, 0, 28];
            chunk.extend_from_slice(&0xfeed_beef_u32.to_be_bytes());
            chunk.extend_from_slice(&65_536_u32.to_be_bytes());
            chunk.extend_from_slice(&[0, 10, 0, 10]);
            chunk.extend_from_slice(&1_u32.to_be_bytes());
            chunk.extend_from_slice(&[0, 7, 0, 8, 1, 2, 3, 4]);
            chunk
        }
        SILENT => return Ok(None),
        // 8.4: a port without a listener is refused with the peer's tag, T bit clear.
        _ => vec![6, 0, 0, 4],
    };
    let mut reply = [&packet[2..4], &packet[..2], &packet[16..20], &[0; 4], &chunk].concat();
    let checksum = crc32c(&reply).to_le_bytes();
    reply[8..12].copy_from_slice(&checksum);
    Ok(Some(reply))
}

/// CRC32c bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

fn config(include: &str, ports: &str) -> ScanConfig {
    ScanConfig { rate: PacketsPerSecond(5_000), wait: Duration::from_millis(500), ..moderate(include, ports) }
}

#[test]
fn sctp_ports_are_open_closed_or_filtered() {
    let Some(lab) = Lab::new() else { return };
    lab.filter("meta l4proto 132 th dport 2908 reject with icmpx admin-prohibited");
    let stack = lab.far(Stack::start);
    for address in ["10.99.1.2", "fd99::2"] {
        let found = scan(ScanConfig { report_filtered: true, ..config(address, "S:2905-2908") });
        let seen: Vec<_> = {
            let mut ports = found.ports;
            ports.sort_by_key(|seen| seen.port);
            assert!(ports.iter().all(|seen| seen.transport == Transport::Sctp));
            ports.iter().map(|seen| (seen.port, seen.state, seen.reason)).collect()
        };
        assert_eq!(
            seen,
            [
                (2905, PortState::Open, Reason::SctpInitAck),
                (2906, PortState::Closed, Reason::SctpAbort),
                (2907, PortState::Filtered, Reason::NoReply),
                (2908, PortState::Filtered, Reason::AdminProhibited),
            ],
            "{address}"
        );
    }
    assert_eq!(stack.finish(), 0, "malformed INITs");
}

#[test]
fn a_host_that_hides_from_some_probes_is_found_by_others() {
    let Some(lab) = Lab::new() else { return };
    // Behind a router, so that no ARP gives hosts away: each hears one kind of probe only.
    ip("route add 10.99.128.0/24 via 10.99.1.2");
    lab.far(|| ip("route add local 10.99.128.0/24 dev lo"));
    lab.filter(
        "ip daddr 10.99.128.1 icmp type != timestamp-request drop; ip daddr 10.99.128.1 meta l4proto != icmp drop;
         ip daddr 10.99.128.2 tcp flags & (syn|ack) != ack drop; ip daddr 10.99.128.2 meta l4proto != tcp drop;
         ip daddr 10.99.128.4 icmp type != echo-request drop; ip daddr 10.99.128.4 meta l4proto != icmp drop;
         ip daddr 10.99.128.3 drop; ip daddr > 10.99.128.4 ip daddr <= 10.99.128.255 drop",
    );
    let _stack = lab.far(Stack::start);
    let found = |probes: &str| -> BTreeSet<(IpAddr, HostReason)> {
        let config =
            ScanConfig { host_probes: probes.parse().expect("probes"), ..config("10.99.128.0/29", "") };
        let hosts = scan(config).hosts;
        hosts
            .into_iter()
            .map(|host| (host.address, host.reason))
            .filter(|(address, _)| *address != IpAddr::from([10, 99, 128, 0]))
            .collect()
    };
    let host = |last: u8, reason| (IpAddr::from([10, 99, 128, last]), reason);
    assert_eq!(found("timestamp"), [host(1, HostReason::TimestampReply)].into());
    assert_eq!(found("tcp-ack:80"), [host(2, HostReason::PortReply)].into());
    assert_eq!(found("icmp"), [host(4, HostReason::EchoReply)].into());
    assert_eq!(found("tcp:80"), BTreeSet::new());
    assert_eq!(found("arp"), BTreeSet::new());
    let all = found("icmp,timestamp,tcp-ack:80");
    assert_eq!(all.into_iter().map(|(address, _)| address).collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn ordinary_sockets_say_what_they_cannot_send() {
    let Some(()) = alone() else { return };
    let refusal = |ports: &str, probes: &str| {
        refusal(ScanConfig {
            backend: BackendChoice::Connect,
            host_probes: probes.parse().expect("probes"),
            ..config("127.0.0.1", ports)
        })
    };
    assert!(refusal("S:2905", "icmp").is_some_and(|error| error.contains("SCTP")));
    assert!(refusal("", "tcp-ack:80").is_some_and(|error| error.contains("tcp-ack")));
    assert_eq!(refusal("U:9", "tcp-ack:80"), None, "not asked for");
}
