//! Scans whose probes a program in the kernel makes, watched at the far end of a veth pair by another program.

mod lab;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use Register::{R0, R1, R2, R3, R4, R6, R7};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lab::{Lab, alone, ip};
use portreeve_model::{Observation, PortState, Reason, Timestamp, Transport};
use portreeve_scan::{
    BackendChoice, Checkpoint, Clock, Control, Event, PacketsPerSecond, PortSet, Scan, ScanConfig, ScanError,
    ScanReport, TargetSetBuilder,
    sys::bpf::{Action, Alu, Assembler, Compare, Helper, Link, Program, Register, RingBuffer, Size, XdpMode},
};

/// The lab with targets behind the far end: 10.99.128.0/17, answered for as a whole.
fn network() -> Option<Lab> {
    let lab = Lab::new()?;
    ip("route add 10.99.128.0/17 via 10.99.1.2");
    lab.far(|| {
        ip("route add local 10.99.128.0/17 dev lo");
        // Else the kernel sends only a few "port unreachable" a second.
        run("sysctl", &["-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"]);
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

/// A probe as it arrived.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    time_ns: u64,
    address: Ipv4Addr,
    port: u16,
}

/// Takes every TCP frame off the far end, before any stack, and reads it by another parser than the product's.
struct Sink {
    _link: Link,
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Vec<Arrival>>,
}

impl Sink {
    /// Bytes of the longest frame that is kept.
    const KEPT: i32 = 74;

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
            a.copy(R4, R2);
            a.alu(Alu::Add, R4, Self::KEPT);
            a.jump_if(Compare::Greater, R4, R3, pass);
            a.load(Size::Byte, R4, R2, 23);
            a.jump_if(Compare::NotEqual, R4, 6, pass);
            a.map(R1, reference);
            a.copy(R2, 8 + Self::KEPT);
            a.copy(R3, 0);
            a.call(Helper::RingReserve);
            a.jump_if(Compare::Equal, R0, 0, pass);
            a.copy(R6, R0);
            a.call(Helper::Nanoseconds);
            a.store(Size::Double, R6, 0, R0);
            a.copy(R1, R7);
            a.copy(R2, 0);
            a.copy(R3, R6);
            a.alu(Alu::Add, R3, 8);
            a.copy(R4, Self::KEPT);
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
            let mut arrivals = Vec::new();
            loop {
                let last = stopped.load(Relaxed);
                let taken = ring.take_ready(|record| arrivals.push(arrival(record)));
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

    /// Everything that arrived until now, in order.
    fn finish(self) -> Vec<Arrival> {
        self.stop.store(true, Relaxed);
        self.reader.join().expect("no panic")
    }
}

/// Reads a SYN; both checksums must be right.
fn arrival(record: &[u8]) -> Arrival {
    let (time, frame) = record.split_first_chunk::<8>().expect("a time");
    let packet = SlicedPacket::from_ethernet(frame).expect("well formed");
    let (Some(NetSlice::Ipv4(ipv4)), Some(TransportSlice::Tcp(tcp))) = (packet.net, packet.transport) else {
        panic!("no TCP over IPv4: {frame:02x?}")
    };
    let header = ipv4.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(header.source, header.destination).expect("short"));
    assert!(tcp.syn() && !tcp.ack() && tcp.options().len() == 20);
    Arrival {
        time_ns: u64::from_ne_bytes(*time),
        address: ipv4.header().destination_addr(),
        port: tcp.destination_port(),
    }
}

#[derive(Debug)]
struct Found {
    ports: Vec<Observation>,
    report: ScanReport,
}

fn config(include: &str, ports: &str) -> ScanConfig {
    let targets =
        TargetSetBuilder::new().include(include).and_then(TargetSetBuilder::build).expect("targets");
    ScanConfig {
        rate: PacketsPerSecond(1_000_000),
        wait: Duration::from_millis(300),
        backend: BackendChoice::Kernel,
        retries: 0,
        report_closed: true,
        ..ScanConfig::new(targets, ports.parse::<PortSet>().expect("ports"))
    }
}

fn scan(config: ScanConfig) -> Found {
    scan_with(config, &Control::new()).expect("the scan runs")
}

fn scan_with(config: ScanConfig, control: &Control) -> Result<Found, ScanError> {
    let scan = Scan::prepare(config, Clock::new(|| Timestamp(1_700_000_000_000)))?;
    let mut ports = Vec::new();
    let report = scan.run(control, &mut |event| {
        if let Event::Port(port) = event {
            ports.push(port);
        }
    })?;
    Ok(Found { ports, report })
}

fn prepare_error(config: ScanConfig) -> String {
    scan_with(config, &Control::new()).expect_err("refused").to_string()
}

#[test]
fn each_target_exactly_once_and_no_excluded_one() {
    let Some(lab) = network() else { return };
    let sink = Sink::attach(&lab);
    let targets = TargetSetBuilder::new()
        .include("10.99.128.0/22")
        .and_then(|builder| builder.exclude("10.99.129.7 10.99.130.0/26"))
        .and_then(TargetSetBuilder::build)
        .expect("targets");
    let unlimited = PacketsPerSecond(u32::MAX);
    let found =
        scan(ScanConfig { targets: targets.clone(), rate: unlimited, ..config("10.99.128.1", "1-300") });
    let arrivals = sink.finish();
    assert_eq!(found.report.backend, "kernel");
    assert_eq!(found.report.probes_sent, 959 * 300);
    let mut seen = BTreeMap::new();
    for arrival in &arrivals {
        *seen.entry((arrival.address, arrival.port)).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 959 * 300);
    for ((address, port), times) in seen {
        assert_eq!(times, 1, "{address} port {port}");
        assert!(targets.contains(address.into()) && (1..=300).contains(&port), "{address} port {port}");
    }
}

#[test]
fn what_answers_is_found_and_only_the_silent_are_asked_again() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    let _listeners = lab.far(|| {
        run(
            "nft",
            &["table inet pr { chain input { type filter hook input priority 0; ip daddr 10.99.128.9 drop;
            }
            }"],
        );
        ["10.99.128.3:80", "10.99.128.4:443"].map(|address| TcpListener::bind(address).expect("free"))
    });
    let found = scan(ScanConfig {
        retries: 2,
        rate: PacketsPerSecond(50_000),
        report_filtered: true,
        ..config("10.99.128.0/28", "1-500")
    });
    let state = |address: &str, port: u16| {
        let address: IpAddr = address.parse().expect("address");
        let mut seen = found.ports.iter().filter(|seen| (seen.address, seen.port) == (address, port));
        let first = seen.next().map(|seen| (seen.state, seen.reason));
        assert!(seen.next().is_none(), "{address} port {port} was reported twice");
        first
    };
    assert_eq!(state("10.99.128.3", 80), Some((PortState::Open, Reason::SynAck)));
    assert_eq!(state("10.99.128.4", 443), Some((PortState::Open, Reason::SynAck)));
    assert_eq!(state("10.99.128.4", 80), Some((PortState::Closed, Reason::Reset)));
    assert_eq!(state("10.99.128.9", 80), Some((PortState::Filtered, Reason::NoReply)));
    assert_eq!(found.ports.len(), 16 * 500);
    assert_eq!(found.report.open_ports, 2);
    let times = found.ports.iter().filter(|seen| seen.state != PortState::Filtered).map(|seen| seen.rtt_us);
    assert!(
        times.clone().all(|rtt_us| rtt_us.is_some_and(|rtt_us| rtt_us < 1_000_000)),
        "every answer is timed"
    );
    // The silent host's 500 ports three times; of the others those again at most that were answered late.
    let again = found.report.probes_sent - 16 * 500;
    assert!((1_000..3_000).contains(&again), "{again} probes again");
}

#[test]
fn hosts_on_the_link_get_frames_of_their_own() {
    let Some(lab) = network() else { return };
    ip("neighbour flush dev near nud permanent");
    lab.far(|| {
        for address in ["10.99.1.3/24", "10.99.1.4/24"] {
            ip(&format!("address add {address} dev far"));
        }
    });
    let _open = open_far(&lab);
    let found = scan(config("10.99.1.2-10.99.1.5 10.99.128.1", "1000-1099"));
    let answered: BTreeSet<IpAddr> = found.ports.iter().map(|seen| seen.address).collect();
    let expected =
        ["10.99.1.2", "10.99.1.3", "10.99.1.4", "10.99.128.1"].map(|text| text.parse().expect("address"));
    assert_eq!(answered, BTreeSet::from(expected));
    assert_eq!(found.ports.len(), 400);
    assert!(found.report.drops.contains(&("no-neighbor", 100)), "{:?}", found.report.drops);
}

#[test]
fn what_it_cannot_carry_goes_another_way_in_the_same_scan() {
    let Some(lab) = network() else { return };
    ip("address add 10.99.1.77/32 dev lo");
    let _open = open_far(&lab);
    let found = scan(config("10.99.128.0/28 fd99::2 10.99.1.77", "100-119,U:100-101"));
    let count = |address: &str, transport: Transport| {
        let address: IpAddr = address.parse().expect("address");
        found.ports.iter().filter(|seen| (seen.address, seen.transport) == (address, transport)).count()
    };
    for address in ["10.99.1.77", "10.99.128.7", "fd99::2"] {
        assert_eq!(count(address, Transport::Tcp), 20, "{address}");
        // Kernels limit their "port unreachable", to a few dozen at once.
        assert!(count(address, Transport::Udp) > 0, "{address}: {:?}", found.report);
    }
    assert_eq!(found.report.backend, "kernel+raw-ip");
    assert_eq!(found.report.probes_sent, 18 * 22);
}

/// Acknowledgements are not among what the program makes; the SYNs of the same scan are, and the program that judges
/// answers must let the resets to both through.
#[test]
fn hosts_found_by_acknowledgements_are_scanned_by_the_program() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    lab.far(|| {
        run(
            "nft",
            &["table inet pr { chain input { type filter hook input priority 0; ip daddr 10.99.128.9 drop;
            }
            }"],
        );
    });
    let found = scan(ScanConfig {
        ping: true,
        host_probes: "tcp-ack:80".parse().expect("probes"),
        ..config("10.99.128.8/29", "100-119")
    });
    let answered: BTreeSet<IpAddr> = found.ports.iter().map(|seen| seen.address).collect();
    let expected = (8..16).filter(|&last| last != 9).map(|last| Ipv4Addr::new(10, 99, 128, last).into());
    assert_eq!(answered, expected.collect());
    assert_eq!(found.ports.len(), 7 * 20, "the silent host was left alone");
    assert!(found.report.backend.starts_with("kernel"), "{}", found.report.backend);
}

#[test]
fn no_more_than_asked_for_arrives() {
    let Some(lab) = network() else { return };
    let sink = Sink::attach(&lab);
    let rate = 50_000;
    scan(ScanConfig { rate: PacketsPerSecond(rate), ..config("10.99.128.0/22", "1-40") });
    let arrivals = sink.finish();
    assert_eq!(arrivals.len(), 40_960);
    let times: Vec<u64> = arrivals.iter().map(|arrival| arrival.time_ns).collect();
    let within = |window_ns: u64| {
        let busiest =
            (0..times.len()).map(|first| times[first..].partition_point(|&at| at < times[first] + window_ns));
        busiest.max().unwrap_or(0)
    };
    assert!(within(10_000_000) <= 1_000, "{} in 10 ms, twice their share of 500", within(10_000_000));
    let took = (times[times.len() - 1] - times[0]) as f64 / 1e9;
    assert!(took >= 40_959.0 / f64::from(rate) * 0.9, "{took} s");
}

#[test]
fn a_cancelled_scan_is_resumed_where_it_was() {
    let Some(lab) = network() else { return };
    let sink = Sink::attach(&lab);
    let whole = ScanConfig { rate: PacketsPerSecond(100_000), ..config("10.99.128.0/24", "1-400") };
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
    let first = scan_with(whole.clone(), &control).expect("runs").report;
    stopper.join().expect("no panic");
    assert!(!first.completed && first.checkpoint < 102_400, "{first:?}");
    let second = scan(ScanConfig {
        resume: Some(Checkpoint::at(first.checkpoint)),
        rate: PacketsPerSecond(1_000_000),
        ..whole
    });
    assert!(second.report.completed);
    let arrivals = sink.finish();
    let seen: BTreeSet<_> = arrivals.iter().map(|arrival| (arrival.address, arrival.port)).collect();
    assert_eq!(seen.len(), 102_400);
    assert_eq!(arrivals.len(), 102_400, "one thread stops at a position and leaves none out");
}

#[test]
fn a_prepared_scan_needs_no_rights() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    let scan = Scan::prepare(config("10.99.128.0/26", "1-100"), Clock::new(|| Timestamp(0)))
        .expect("rights are there");
    let closed = thread::spawn(move || {
        for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
            caps::clear(None, set).expect("cleared, for this thread");
        }
        let mut closed = 0;
        let report = scan.run(&Control::new(), &mut |event| {
            closed += u32::from(matches!(event, Event::Port(port) if port.state == PortState::Closed));
        });
        (report.expect("runs without rights").completed, closed)
    });
    assert_eq!(closed.join().expect("no panic"), (true, 6_400));
}

#[test]
fn where_live_frames_vanish_it_is_said_and_another_way_taken() {
    let Some(lab) = network() else { return };
    let refused = prepare_error(config("10.99.128.0/24", "80"));
    assert!(refused.contains("near") && refused.contains("GRO"), "{refused}");
    let auto = ScanConfig { backend: BackendChoice::Auto, ..config("10.99.128.0/28", "80") };
    let scan = Scan::prepare(auto.clone(), Clock::new(|| Timestamp(0))).expect("falls back");
    let (name, why) = scan.backend();
    assert!(name != "kernel" && why.contains("kernel") && why.contains("GRO"), "{name}: {why}");
    let report = scan.run(&Control::new(), &mut |_| {}).expect("runs");
    assert_eq!((report.completed, report.probes_sent), (true, 16));
    let _open = open_far(&lab);
    let scan = Scan::prepare(auto, Clock::new(|| Timestamp(0))).expect("works");
    assert_eq!(scan.backend().0, "kernel");
}

#[test]
fn loopback_takes_no_frames_made_in_the_kernel() {
    let Some(()) = alone() else { return };
    let refused = prepare_error(config("127.0.0.1", "80"));
    assert!(refused.contains("Ethernet"), "{refused}");
}

#[test]
fn without_the_right_to_load_programs_auto_takes_another_way() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    let lost = [caps::Capability::CAP_NET_ADMIN, caps::Capability::CAP_SYS_ADMIN];
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
        for right in lost {
            caps::drop(None, set, right).expect("dropped, for this thread");
        }
    }
    let refused = prepare_error(config("10.99.128.1", "80"));
    assert!(refused.contains("CAP_BPF"), "{refused}");
    let auto = ScanConfig { backend: BackendChoice::Auto, ..config("10.99.128.0/28", "80") };
    let scan = Scan::prepare(auto, Clock::new(|| Timestamp(0))).expect("falls back");
    assert!(scan.backend().0 != "kernel" && scan.backend().0 != "connect", "{:?}", scan.backend());
    let report = scan.run(&Control::new(), &mut |_| {}).expect("runs");
    assert_eq!(report.probes_sent, 16);
}

fn run(program: &str, arguments: &[&str]) {
    let output = std::process::Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether a program is on the near end.
fn is_watched() -> bool {
    let shown =
        std::process::Command::new("ip").args(["link", "show", "near"]).output().expect("ip is installed");
    String::from_utf8_lossy(&shown.stdout).contains("xdp")
}

#[test]
fn the_program_leaves_the_device_when_the_scan_is_killed() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    assert!(!is_watched());
    let mut child = std::process::Command::new(std::env::current_exe().expect("a test has a program"))
        .args(["--ignored", "--exact", "a_long_scan_in_a_process_of_its_own"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let wait_until = |watched: bool| {
        for _ in 0..1_000 {
            if is_watched() == watched {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("ten seconds later the program is {}", if watched { "not there" } else { "still there" });
    };
    wait_until(true);
    child.kill().expect("it runs still");
    child.wait().expect("it ends");
    wait_until(false);
}

#[test]
#[ignore = "started, and killed, by the test of what a killed scan leaves behind"]
fn a_long_scan_in_a_process_of_its_own() {
    let report =
        scan(ScanConfig { rate: PacketsPerSecond(1_000), ..config("10.99.128.0/17", "1-1000") }).report;
    panic!("nobody killed it: {report:?}");
}

/// The far end sends this frame a number of times, as fast as it can, in live frames of its own.
fn flood(lab: &Lab, frame: Vec<u8>, times: u32) -> std::sync::mpsc::Receiver<()> {
    let device = lab.far_end.index;
    lab.far_later(move || {
        let devices = portreeve_scan::sys::bpf::DeviceMap::new("test_flood", &[device]).expect("map");
        let mut a = Assembler::new();
        a.map(R1, devices.reference());
        a.copy(R2, 0);
        a.copy(R3, 0);
        a.call(Helper::RedirectMap);
        a.exit();
        let program = Program::load("test_flood", a).expect("loads");
        program.run_live(&frame, times, 64).expect("runs");
    })
}

#[test]
fn a_flood_of_forged_answers_changes_nothing_and_is_counted() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    let _listener = lab.far(|| TcpListener::bind("10.99.128.3:80").expect("free"));
    let (near, far) = (lab.near.hardware.expect("Ethernet").0, lab.far_end.hardware.expect("Ethernet").0);
    let mut tcp = etherparse::TcpHeader::new(443, 41_000, 7, 64_240);
    (tcp.syn, tcp.ack, tcp.acknowledgment_number) = (true, true, 99);
    let builder = etherparse::PacketBuilder::ethernet2(far, near)
        .ipv4([10, 99, 128, 4], lab::NEAR_V4.octets(), 64)
        .tcp_header(tcp);
    let mut forged = Vec::new();
    builder.write(&mut forged, &[]).expect("fits");
    let scan = ScanConfig {
        source_port: Some(41_000),
        rate: PacketsPerSecond(20_000),
        retries: 1,
        ..config("10.99.128.0/27", "1-500")
    };
    let prepared = Scan::prepare(scan, Clock::new(|| Timestamp(0))).expect("prepared");
    let flooded = flood(&lab, forged, 1_000_000);
    let mut states = BTreeMap::new();
    let report = prepared
        .run(&Control::new(), &mut |event| {
            if let Event::Port(port) = event {
                assert!(states.insert((port.address, port.port), port.state).is_none());
            }
        })
        .expect("runs");
    flooded.recv().expect("the flood ends");
    let open: Vec<_> =
        states.iter().filter(|(_, state)| **state == PortState::Open).map(|(at, _)| *at).collect();
    assert_eq!(open, [("10.99.128.3".parse().expect("address"), 80)]);
    assert_eq!(states.len(), 32 * 500);
    let count =
        |cause: &str| report.drops.iter().find(|(name, _)| *name == cause).map_or(0, |&(_, count)| count);
    assert!(count("wrong-cookie") > 100_000, "{:?}", report.drops);
    assert_eq!(count("kernel-ring-full"), 0);
}
