//! What a program in the kernel makes besides SYNs: datagrams and ICMP requests, watched or answered at the far end of a
//! veth pair.

mod lab;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use Register::{R0, R1, R2, R3, R4, R6, R7, R8};
use etherparse::{Icmpv4Type, NetSlice, SlicedPacket, TransportSlice};
use lab::{Lab, alone, ip};
use portreeve_model::{PortState, Timestamp};
use portreeve_scan::{
    BackendChoice, Checkpoint, Clock, Control, Event, PacketsPerSecond, PortSet, Scan, ScanConfig,
    ScanReport, TargetSet, TargetSetBuilder, UdpPayloads,
    sys::bpf::{Action, Alu, Assembler, Compare, Helper, Link, Program, Register, RingBuffer, Size, XdpMode},
};

/// The lab with targets behind the far end: 10.99.128.0/17, answered for as a whole but for 10.99.128.9.
fn network() -> Option<Lab> {
    let lab = Lab::new()?;
    ip("route add 10.99.128.0/17 via 10.99.1.2");
    lab.far(|| {
        ip("route add local 10.99.128.0/17 dev lo");
        ip("route add blackhole 10.99.128.9 table local");
    });
    Some(lab)
}

/// A program at the far end that passes everything on: without one, frames made in the kernel do not arrive.
fn open_far(lab: &Lab) -> Link {
    let device = lab.far_end.index;
    lab.far(move || {
        let mut a = Assembler::new();
        a.copy(R0, Action::Pass as i32);
        a.exit();
        let program = Program::load("test_pass", a).expect("loads");
        Link::attach(&program, device, XdpMode::Native).expect("a veth takes programs")
    })
}

/// What a probe is, by another parser than the product's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ack(u16),
    Datagram(u16, Vec<u8>),
    Echo,
    Syn(u16),
    Timestamp,
}

type Arrivals = BTreeMap<(Ipv4Addr, Kind), u32>;

/// Takes every IPv4 frame off the far end, before any stack.
struct Sink {
    _link: Link,
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Arrivals>,
}

impl Sink {
    /// Bytes of the longest frame that is kept; longer ones are passed on, and are missed.
    const KEPT: i32 = 128;

    fn attach(lab: &Lab) -> Self {
        let mut ring = RingBuffer::new("test_sink", 32 << 20).expect("map");
        let reference = ring.reference();
        let device = lab.far_end.index;
        let link = lab.far(move || {
            let mut a = Assembler::new();
            let pass = a.label();
            a.copy(R7, R1);
            a.load(Size::Word, R2, R1, 0);
            a.load(Size::Word, R3, R1, 4);
            a.copy(R8, R3);
            a.alu(Alu::Sub, R8, R2);
            a.jump_if(Compare::Greater, R8, Self::KEPT, pass);
            a.copy(R4, R2);
            a.alu(Alu::Add, R4, 34);
            a.jump_if(Compare::Greater, R4, R3, pass);
            a.load(Size::Half, R4, R2, 12);
            a.jump_if(Compare::NotEqual, R4, 0x0008, pass);
            a.map(R1, reference);
            a.copy(R2, 8 + Self::KEPT);
            a.copy(R3, 0);
            a.call(Helper::RingReserve);
            a.jump_if(Compare::Equal, R0, 0, pass);
            a.copy(R6, R0);
            a.store(Size::Double, R6, 0, R8);
            a.copy(R1, R7);
            a.copy(R2, 0);
            a.copy(R3, R6);
            a.alu(Alu::Add, R3, 8);
            // The verifier wants to see the bounds of a length.
            a.copy(R4, R8);
            a.alu(Alu::Sub, R4, 1);
            a.alu(Alu::And, R4, Self::KEPT - 1);
            a.alu(Alu::Add, R4, 1);
            a.call(Helper::LoadBytes);
            a.copy(R1, R6);
            a.copy(R2, 1);
            a.call(Helper::RingSubmit);
            a.copy(R0, Action::Drop as i32);
            a.exit();
            a.place(pass);
            a.copy(R0, Action::Pass as i32);
            a.exit();
            let program = Program::load("test_sink", a).expect("loads");
            Link::attach(&program, device, XdpMode::Native).expect("a veth takes programs")
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let reader = thread::spawn(move || {
            let mut arrivals = Arrivals::new();
            loop {
                let last = stopped.load(Relaxed);
                let taken = ring.take_ready(|record| {
                    let (length, frame) = record.split_first_chunk::<8>().expect("a length");
                    let length = usize::from_ne_bytes(*length);
                    *arrivals.entry(arrival(&frame[..length])).or_insert(0) += 1;
                });
                if last && taken == 0 {
                    return arrivals;
                }
                if taken == 0 {
                    thread::sleep(Duration::from_micros(500));
                }
            }
        });
        Self { _link: link, stop, reader }
    }

    /// How often each probe arrived until now.
    fn finish(self) -> Arrivals {
        self.stop.store(true, Relaxed);
        self.reader.join().expect("no panic")
    }
}

/// Reads a probe; its checksums must be right, and it must end where it says.
fn arrival(frame: &[u8]) -> (Ipv4Addr, Kind) {
    let packet = SlicedPacket::from_ethernet(frame).expect("well formed");
    let (Some(NetSlice::Ipv4(ipv4)), Some(transport)) = (packet.net, packet.transport) else {
        panic!("no probe: {frame:02x?}")
    };
    let header = ipv4.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(usize::from(header.total_len) + 14, frame.len(), "{frame:02x?}");
    let kind = match transport {
        TransportSlice::Tcp(tcp) => {
            let sum = tcp.calc_checksum_ipv4(header.source, header.destination).expect("short");
            assert_eq!(tcp.checksum(), sum);
            assert_eq!(tcp.syn(), !tcp.ack());
            if tcp.syn() { Kind::Syn(tcp.destination_port()) } else { Kind::Ack(tcp.destination_port()) }
        }
        TransportSlice::Udp(udp) => {
            let ours = udp.to_header();
            let sum = ours.calc_checksum_ipv4(&header, udp.payload()).expect("short");
            assert_eq!(udp.checksum(), sum);
            Kind::Datagram(udp.destination_port(), udp.payload().to_vec())
        }
        TransportSlice::Icmpv4(icmp) => {
            let sum = icmp.icmp_type().calc_checksum(icmp.payload());
            assert_eq!(icmp.checksum(), sum);
            match icmp.icmp_type() {
                Icmpv4Type::EchoRequest(_) => Kind::Echo,
                Icmpv4Type::TimestampRequest(_) => Kind::Timestamp,
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    };
    (ipv4.header().destination_addr(), kind)
}

fn targets(include: &str, exclude: &str) -> TargetSet {
    let builder = TargetSetBuilder::new().include(include).and_then(|builder| builder.exclude(exclude));
    builder.and_then(TargetSetBuilder::build).expect("targets")
}

fn config(include: &str, ports: &str) -> ScanConfig {
    ScanConfig {
        rate: PacketsPerSecond(1_000_000),
        wait: Duration::from_millis(300),
        backend: BackendChoice::Kernel,
        retries: 0,
        ..ScanConfig::new(targets(include, ""), ports.parse::<PortSet>().expect("ports"))
    }
}

struct Found {
    hosts: BTreeSet<IpAddr>,
    open: BTreeSet<(IpAddr, u16)>,
    report: ScanReport,
}

fn scan(config: ScanConfig) -> Found {
    scan_with(config, &Control::new())
}

fn scan_with(config: ScanConfig, control: &Control) -> Found {
    let scan = Scan::prepare(config, Clock::new(|| Timestamp(1_700_000_000_000))).expect("prepared");
    let (mut hosts, mut open) = (BTreeSet::new(), BTreeSet::new());
    let report = scan.run(control, &mut |event| match event {
        Event::Host(host) => assert!(hosts.insert(host.address), "{host:?} came twice"),
        Event::Port(port) if port.state == PortState::Open => {
            assert!(open.insert((port.address, port.port)), "{port:?} came twice");
        }
        _ => {}
    });
    Found { hosts, open, report: report.expect("the scan runs") }
}

/// Three ports get a question of their own each, of different lengths; the others an empty datagram.
fn questions() -> UdpPayloads {
    UdpPayloads::new(|port| match port {
        53 => Some(b"what is your name?".as_slice().into()),
        161 => Some(b"odd".as_slice().into()),
        500 => Some([7; 64].as_slice().into()),
        _ => None,
    })
}

fn question(port: u16) -> Vec<u8> {
    questions().get(port).map(|payload| payload.to_vec()).unwrap_or_default()
}

/// Every kind of probe at every one of these addresses, once.
fn once(targets: &TargetSet, kinds: &[Kind]) -> Arrivals {
    let each = targets.iter().flat_map(|address| {
        let IpAddr::V4(address) = address else { panic!("{address}") };
        kinds.iter().map(move |kind| ((address, kind.clone()), 1))
    });
    each.collect()
}

/// Frames of five lengths, in recycled memory: each has its own bytes and its own length.
#[test]
fn datagrams_and_syns_of_one_scan_arrive_once_each() {
    let Some(lab) = network() else { return };
    let sink = Sink::attach(&lab);
    let targets = targets("10.99.128.0/22", "10.99.129.7 10.99.130.0/26");
    let found = scan(ScanConfig {
        targets: targets.clone(),
        rate: PacketsPerSecond(u32::MAX),
        udp_payloads: questions(),
        ..config("10.99.128.1", "80,443,U:53,U:161,U:500,U:999")
    });
    assert_eq!(found.report.backend, "kernel");
    assert_eq!(found.report.probes_sent, 959 * 6);
    let datagrams = [53, 161, 500, 999].map(|port| Kind::Datagram(port, question(port)));
    let kinds: Vec<_> = [Kind::Syn(80), Kind::Syn(443)].into_iter().chain(datagrams).collect();
    assert!(sink.finish() == once(&targets, &kinds), "something else arrived");
}

#[test]
fn one_port_with_one_question_arrives_once_everywhere() {
    let Some(lab) = network() else { return };
    let sink = Sink::attach(&lab);
    let targets = targets("10.99.128.0/18", "10.99.150.0/25 10.99.160.3");
    let found = scan(ScanConfig {
        targets: targets.clone(),
        rate: PacketsPerSecond(u32::MAX),
        udp_payloads: questions(),
        ..config("10.99.128.1", "U:53")
    });
    assert_eq!(found.report.backend, "kernel");
    assert!(sink.finish() == once(&targets, &[Kind::Datagram(53, question(53))]), "something else arrived");
}

#[test]
fn requests_for_hosts_arrive_once_each() {
    let Some(lab) = network() else { return };
    let sink = Sink::attach(&lab);
    let targets = targets("10.99.128.0/20", "10.99.129.7");
    let found = scan(ScanConfig {
        targets: targets.clone(),
        host_probes: "icmp,timestamp,tcp:443,tcp-ack:80,udp:9".parse().expect("probes"),
        ..config("10.99.128.1", "")
    });
    assert_eq!(found.report.backend, "kernel");
    let kinds = [Kind::Echo, Kind::Timestamp, Kind::Syn(443), Kind::Ack(80), Kind::Datagram(9, Vec::new())];
    assert!(sink.finish() == once(&targets, &kinds), "something else arrived");
}

#[test]
fn hosts_that_answer_an_echo_request_are_found() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    for (probes, retries) in [("icmp", 0), ("timestamp", 1), ("icmp,tcp-ack:80", 2)] {
        let found = scan(ScanConfig {
            host_probes: probes.parse().expect("probes"),
            rate: PacketsPerSecond(20_000),
            retries,
            ..config("10.99.128.0/25", "")
        });
        assert_eq!(found.report.backend, "kernel");
        let expected = targets("10.99.128.0/25", "10.99.128.9").iter().collect();
        assert_eq!(found.hosts, expected, "{probes}: {:?}", found.report);
        // The silent one is asked again, the others are not.
        let kinds = probes.split(',').count() as u64;
        let again = found.report.probes_sent.saturating_sub(128 * kinds);
        assert!(again <= 30, "{probes}: {again} probes again");
    }
}

/// A server of datagrams at each of these addresses: it answers the question of its port, and nothing else.
fn serve(lab: &Lab, addresses: &'static [(&str, u16)]) {
    let sockets: Vec<UdpSocket> =
        lab.far(|| addresses.iter().map(|&at| UdpSocket::bind(at).expect("free")).collect());
    for (socket, &(_, port)) in sockets.into_iter().zip(addresses) {
        thread::spawn(move || {
            let mut asked = [0; 100];
            while let Ok((length, from)) = socket.recv_from(&mut asked) {
                if asked[..length] == question(port) {
                    socket.send_to(b"an answer", from).expect("sent");
                }
            }
        });
    }
}

const SERVED: [(&str, u16); 5] = [
    ("10.99.128.3", 53),
    ("10.99.128.3", 161),
    ("10.99.130.200", 53),
    ("10.99.131.255", 500),
    ("10.99.128.1", 1_000),
];

fn served() -> BTreeSet<(IpAddr, u16)> {
    SERVED.iter().map(|&(address, port)| (address.parse().expect("address"), port)).collect()
}

#[test]
fn who_answers_the_question_of_its_port_is_found() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    serve(&lab, &SERVED);
    let found = scan(ScanConfig {
        udp_payloads: questions(),
        retries: 1,
        rate: PacketsPerSecond(50_000),
        ..config("10.99.128.0/22", "U:53,U:161,U:500,U:1000")
    });
    assert_eq!(found.report.backend, "kernel");
    assert_eq!(found.open, served(), "{:?}", found.report);
    assert_eq!(found.report.probes_sent.checked_sub(1_024 * 4).map(|again| again > 0), Some(true));
}

/// The probes for hosts and for ports are of the same kind here, and yet not the same.
#[test]
fn hosts_are_looked_for_by_the_ports_that_are_scanned_then() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    serve(&lab, &SERVED);
    for (probes, ports, expected) in [("tcp:80", "80", 0), ("icmp", "U:53,U:161", 3)] {
        let found = scan(ScanConfig {
            ping: true,
            host_probes: probes.parse().expect("probes"),
            udp_payloads: questions(),
            rate: PacketsPerSecond(20_000),
            report_closed: true,
            ..config("10.99.128.0/28 10.99.130.200", ports)
        });
        assert_eq!(found.report.backend, "kernel");
        assert_eq!((found.hosts.len(), found.open.len()), (16, expected), "{:?}", found.report);
        // The gateway is asked for its hardware address, too; of the silent host no port is asked.
        let ports = ports.split(',').count() as u64;
        assert_eq!(found.report.probes_sent, 1 + 17 + 16 * ports, "{:?}", found.report);
    }
}

#[test]
fn a_cancelled_scan_of_datagrams_is_resumed_where_it_was() {
    let Some(lab) = network() else { return };
    let sink = Sink::attach(&lab);
    let whole = ScanConfig {
        rate: PacketsPerSecond(100_000),
        udp_payloads: questions(),
        ..config("10.99.128.0/20", "U:40-59")
    };
    let control = Control::new();
    let stopper = {
        let control = control.clone();
        thread::spawn(move || {
            while control.progress().probes_sent < 20_000 {
                thread::sleep(Duration::from_millis(1));
            }
            control.cancel();
        })
    };
    let first = scan_with(whole.clone(), &control).report;
    stopper.join().expect("no panic");
    assert!(!first.completed && first.checkpoint < 81_920, "{first:?}");
    let resume = Some(Checkpoint::at(first.checkpoint));
    let second = scan(ScanConfig { resume, rate: PacketsPerSecond(1_000_000), ..whole.clone() });
    assert!(second.report.completed);
    let kinds: Vec<_> = (40..60).map(|port| Kind::Datagram(port, question(port))).collect();
    assert!(sink.finish() == once(&whole.targets, &kinds), "each once, over both scans");
}

#[test]
fn auto_says_what_it_takes_and_why() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    let chosen = |include: &str, ports: &str| {
        let auto = ScanConfig { backend: BackendChoice::Auto, ..config(include, ports) };
        let scan = Scan::prepare(auto, Clock::new(|| Timestamp(0))).expect("prepared");
        let (name, why) = scan.backend();
        (name.to_owned(), why.to_owned())
    };
    for ports in ["", "80", "U:53", "80,U:53", "S:2905,U:53"] {
        let (name, why) = chosen("10.99.128.0/28", ports);
        assert_eq!(name, "kernel", "{ports}: {why}");
    }
    for (include, ports) in [("fd99::2", "U:53"), ("10.99.128.0/28", "S:2905")] {
        let (name, why) = chosen(include, ports);
        assert!(name != "kernel" && why.contains("TCP, UDP and ICMP over IPv4"), "{name}: {why}");
    }
}

#[test]
fn loopback_takes_no_datagrams_made_in_the_kernel() {
    let Some(()) = alone() else { return };
    let refused = Scan::prepare(config("127.0.0.1", "U:53"), Clock::new(|| Timestamp(0))).err();
    assert!(refused.is_some_and(|refused| refused.to_string().contains("Ethernet")));
}
