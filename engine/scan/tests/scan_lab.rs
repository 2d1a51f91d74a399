//! Whole scans with frames of our own, of hosts that answer as hosts do: the kernel of another namespace.
//!
//! | | near: the scanner | far: the targets |
//! |---|---|---|
//! | on the link | 10.99.1.1, fd99::1 | 10.99.1.2-4, fd99::2-3 |
//! | behind the far end | routed to 10.99.1.2 and fd99::2 | 10.99.128.0/17 and fd99:1::/64, answered for as a whole |

mod lab;
mod probes_seen;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, TcpListener, UdpSocket},
    ops::RangeInclusive,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use lab::{Lab, alone, ip};
use portreeve_model::{HostReason, HostSighting, Observation, PortState, Reason, Timestamp, Transport};
use portreeve_scan::{
    BackendChoice, Checkpoint, Clock, Control, Event, PacketsPerSecond, PortSet, Scan, ScanConfig, ScanError,
    ScanReport, Suspicion, TargetSetBuilder, UdpPayloads,
    sys::{OnReply, ReplyFilter, ReservedPorts, RxConfig, RxRing},
};
use probes_seen::Watch;

/// What a scan found.
#[derive(Debug)]
struct Found {
    ports: Vec<Observation>,
    hosts: Vec<HostSighting>,
    report: ScanReport,
}

impl Found {
    fn port(&self, address: &str, port: u16) -> Option<(PortState, Reason)> {
        self.observation(address, port).map(|seen| (seen.state, seen.reason))
    }

    fn observation(&self, address: &str, port: u16) -> Option<&Observation> {
        let address: IpAddr = address.parse().expect("address");
        let mut found = self.ports.iter().filter(|seen| seen.address == address && seen.port == port);
        let first = found.next();
        assert!(found.next().is_none(), "{address} port {port} was reported twice");
        first
    }

    fn host(&self, address: &str) -> Option<&HostSighting> {
        let address: IpAddr = address.parse().expect("address");
        let mut found = self.hosts.iter().filter(|seen| seen.address == address);
        let first = found.next();
        assert!(found.next().is_none(), "{address} was reported twice");
        first
    }
}

/// The lab with all its addresses; neighbours have to be asked for.
fn network() -> Option<Lab> {
    let lab = Lab::new()?;
    ip("neighbour flush dev near nud permanent");
    ip("route add 10.99.128.0/17 via 10.99.1.2");
    ip("route add fd99:1::/64 via fd99::2");
    lab.far(|| {
        ip("neighbour flush dev far nud permanent");
        for address in ["10.99.1.3/24", "10.99.1.4/24"] {
            ip(&format!("address add {address} dev far"));
        }
        ip("address add fd99::3/64 dev far nodad");
        ip("route add local 10.99.128.0/17 dev lo");
        ip("route add local fd99:1::/64 dev lo");
        // Else the kernel sends only a few "port unreachable" a second.
        run("sysctl", &["-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"]);
    });
    Some(lab)
}

/// Packet filter rules for what the far end receives.
fn filter(lab: &Lab, rules: &'static str) {
    lab.far(move || {
        run(
            "nft",
            &[&format!("table inet pr {{ chain input {{ type filter hook input priority 0; {rules}\n}}\n}}")],
        );
    });
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn config(include: &str, ports: &str) -> ScanConfig {
    let targets =
        TargetSetBuilder::new().include(include).and_then(TargetSetBuilder::build).expect("targets");
    ScanConfig {
        rate: PacketsPerSecond(20_000),
        wait: Duration::from_millis(800),
        report_closed: true,
        ..ScanConfig::new(targets, ports.parse::<PortSet>().expect("ports"))
    }
}

fn scan(config: ScanConfig) -> Found {
    scan_with(config, &Control::new()).expect("the scan runs")
}

fn scan_with(config: ScanConfig, control: &Control) -> Result<Found, ScanError> {
    let scan = Scan::prepare(config, Clock::new(|| Timestamp(1_700_000_000_000)))?;
    let (mut ports, mut hosts) = (Vec::new(), Vec::new());
    let report = scan.run(control, &mut |event| match event {
        Event::Port(port) => ports.push(port),
        Event::Host(host) => hosts.push(host),
        Event::Checkpoint(_) | Event::Suspicious(_) => {}
    })?;
    Ok(Found { ports, hosts, report })
}

#[test]
fn every_state_of_a_tcp_port_on_both_families_and_backends() {
    let Some(lab) = network() else { return };
    let _listeners = lab
        .far(|| [TcpListener::bind("10.99.1.2:80"), TcpListener::bind("[fd99::2]:80")].map(Result::unwrap));
    filter(
        &lab,
        "tcp dport 81 drop; tcp dport 82 reject with icmpx admin-prohibited; tcp dport 83 reject with icmpx port-unreachable;
         tcp dport 84 reject with tcp reset",
    );
    for (backend, name) in [
        (BackendChoice::Auto, "xdp"),
        (BackendChoice::Xdp, "xdp"),
        (BackendChoice::Ring, "ring"),
        (BackendChoice::Batch, "batch"),
    ] {
        for address in ["10.99.1.2", "fd99::2"] {
            let found = scan(ScanConfig { backend, report_filtered: true, ..config(address, "79-84") });
            assert_eq!(found.port(address, 79), Some((PortState::Closed, Reason::Reset)));
            assert_eq!(found.port(address, 80), Some((PortState::Open, Reason::SynAck)));
            assert_eq!(found.port(address, 81), Some((PortState::Filtered, Reason::NoReply)));
            assert_eq!(found.port(address, 82), Some((PortState::Filtered, Reason::AdminProhibited)));
            assert_eq!(found.port(address, 83), Some((PortState::Filtered, Reason::PortUnreachable)));
            assert_eq!(found.port(address, 84), Some((PortState::Closed, Reason::Reset)));
            let open = found.observation(address, 80).expect("seen");
            assert_eq!(open.ttl, Some(64));
            assert!(open.rtt_us.is_some_and(|rtt_us| rtt_us < 800_000), "{open:?}");
            let traits = open.syn_ack.expect("a SYN-ACK");
            assert!(traits.sack_permitted && traits.timestamps && traits.mss.is_some() && traits.window > 0);
            assert_eq!(traits.option_kinds, [2, 4, 8, 1, 3, 0, 0, 0]);
            assert_eq!(found.report.backend, name);
            assert_eq!((found.report.open_ports, found.report.hosts, found.report.targets), (1, 1, 6));
        }
    }
}

#[test]
fn every_state_of_a_udp_port_on_both_families() {
    let Some(lab) = network() else { return };
    let echo = |address: &'static str| {
        move || {
            let socket = UdpSocket::bind((address, 53)).expect("port 53");
            thread::spawn(move || {
                let mut datagram = [0; 64];
                while let Ok((length, from)) = socket.recv_from(&mut datagram) {
                    if &datagram[..length] == b"question" {
                        let _ = socket.send_to(b"answer", from);
                    }
                }
            });
        }
    };
    lab.far(echo("10.99.1.2"));
    lab.far(echo("fd99::2"));
    let _silent =
        lab.far(|| [UdpSocket::bind("10.99.1.2:54"), UdpSocket::bind("[fd99::2]:54")].map(Result::unwrap));
    for address in ["10.99.1.2", "fd99::2"] {
        let payloads = UdpPayloads::new(|port| (port == 53).then(|| Arc::from(*b"question")));
        let found =
            scan(ScanConfig { udp_payloads: payloads, report_filtered: true, ..config(address, "U:53-55") });
        assert_eq!(found.port(address, 53), Some((PortState::Open, Reason::UdpReply)));
        assert_eq!(found.port(address, 54), Some((PortState::Filtered, Reason::NoReply)));
        assert_eq!(found.port(address, 55), Some((PortState::Closed, Reason::PortUnreachable)));
    }
}

#[test]
fn hosts_are_found_by_arp_neighbour_discovery_and_echo() {
    let Some(lab) = network() else { return };
    let mac = lab.far_end.hardware.expect("Ethernet").0;
    let found = scan(config("10.99.1.0/24 fd99::/123", ""));
    let addresses: BTreeSet<String> = found.hosts.iter().map(|host| host.address.to_string()).collect();
    let expected = ["10.99.1.1", "10.99.1.2", "10.99.1.3", "10.99.1.4", "fd99::1", "fd99::2", "fd99::3"];
    assert_eq!(addresses, expected.map(String::from).into());
    for (address, reason) in [
        ("10.99.1.1", HostReason::LocalAddress),
        ("10.99.1.3", HostReason::ArpReply),
        ("fd99::3", HostReason::NeighborAdvertisement),
    ] {
        assert_eq!(found.host(address).expect("found").reason, reason);
    }
    assert_eq!(found.host("10.99.1.4").expect("found").mac.map(|mac| mac.0), Some(mac));
    assert!(found.ports.is_empty());

    // Behind a router there is no ARP. The last of these hosts answers nothing but the ports.
    filter(&lab, "ip daddr 10.99.128.3 icmp type echo-request drop; ip daddr 10.99.128.4 drop");
    let routed = scan(config("10.99.128.1-4 fd99:1::7", ""));
    assert_eq!(routed.host("10.99.128.3").map(|host| host.reason), Some(HostReason::PortReply));
    assert_eq!(routed.host("10.99.128.4"), None);
    assert_eq!(routed.report.hosts, 4);
}

#[test]
fn each_target_is_probed_exactly_once_and_no_excluded_one() {
    let Some(lab) = network() else { return };
    let watch = lab.far(Watch::start);
    let targets = TargetSetBuilder::new()
        .include("10.99.128.0/23 fd99:1::/122")
        .and_then(|builder| builder.exclude("10.99.128.17 10.99.129.64/26 fd99:1::8/125"))
        .and_then(TargetSetBuilder::build)
        .expect("targets");
    let found = scan(ScanConfig {
        targets: targets.clone(),
        retries: 0,
        ..config("10.99.128.0", "1000-1019,U:2000")
    });
    let mut times: BTreeMap<(IpAddr, u16), u32> = BTreeMap::new();
    for probe in watch.finish() {
        *times.entry((probe.address, probe.port)).or_default() += 1;
    }
    let expected: BTreeMap<(IpAddr, u16), u32> = targets
        .iter()
        .flat_map(|address| (1000..=1019).chain([2000]).map(move |port| ((address, port), 1)))
        .collect();
    assert_eq!(times, expected);
    // Every TCP port is known to be closed: nothing was lost on the way back. (ICMP for UDP is rate-limited.)
    let tcp: Vec<_> = found.ports.iter().filter(|port| port.transport == Transport::Tcp).collect();
    assert_eq!(tcp.len() as u128, targets.len() * 20);
    assert!(tcp.iter().all(|port| port.state == PortState::Closed));
    // One question for the hardware address of each gateway.
    assert_eq!(found.report.probes_sent, expected.len() as u64 + 2);
}

/// Counts datagrams at the far end, of a scan that is too fast for [`Watch`]: the receive ring has room for all.
struct Tap {
    stop: Arc<AtomicBool>,
    counts: mpsc::Receiver<BTreeMap<(IpAddr, u16), u32>>,
}

impl Tap {
    /// Datagrams to these ports, which the far kernel then leaves unanswered.
    fn start(lab: &Lab, ports: RangeInclusive<u16>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, far_end) = (Arc::clone(&stop), lab.far_end.clone());
        let (mut ring, quiet) = lab.far(move || {
            let ring = RxRing::open(&far_end, &ReplyFilter { ports: ports.clone() }, RxConfig::default());
            (ring.expect("a ring"), ReservedPorts::exactly(ports, OnReply::Silence).expect("free ports"))
        });
        let counts = lab.far_later(move || {
            let mut counts = BTreeMap::new();
            loop {
                let last = stopped.load(Ordering::Relaxed);
                let more = ring.wait(Duration::from_millis(20)).expect("a ring that can be waited for");
                count_datagrams(&mut ring, &mut counts);
                if last && !more {
                    drop(quiet);
                    assert_eq!(ring.statistics().expect("statistics").dropped, 0);
                    return counts;
                }
            }
        });
        Self { stop, counts }
    }

    fn finish(self) -> BTreeMap<(IpAddr, u16), u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.counts.recv().expect("the far end counted")
    }
}

fn count_datagrams(ring: &mut RxRing, counts: &mut BTreeMap<(IpAddr, u16), u32>) {
    while let Some(mut block) = ring.next_block() {
        while let Some(received) = block.next() {
            let Ok(packet) = portreeve_wire::ip::Packet::parse(received.packet) else { continue };
            let Ok(datagram) = portreeve_wire::udp::Datagram::parse(packet.payload()) else { continue };
            *counts.entry((packet.destination(), datagram.destination_port())).or_default() += 1;
        }
    }
}

/// At a rate that one thread is not trusted with, all cores send.
#[test]
fn several_threads_probe_each_target_exactly_once() {
    let Some(lab) = network() else { return };
    for backend in [BackendChoice::Xdp, BackendChoice::Ring, BackendChoice::Batch] {
        let tap = Tap::start(&lab, 1000..=1099);
        let rate = PacketsPerSecond(2_000_000);
        let wait = Duration::from_millis(100);
        let fast = ScanConfig { backend, rate, wait, retries: 0, ..config("10.99.128.0/24", "U:1000-1099") };
        let report = scan(fast).report;
        let counts = tap.finish();
        assert_eq!(counts.len(), 256 * 100, "{backend:?}: {report:?}");
        assert!(counts.values().all(|count| *count == 1), "{backend:?}");
        assert_eq!((report.probes_sent, report.checkpoint), (256 * 100 + 1, 256 * 100));
    }
}

#[test]
fn a_cancelled_scan_of_several_threads_leaves_nothing_out() {
    let Some(lab) = network() else { return };
    let tap = Tap::start(&lab, 1000..=1199);
    let rate = PacketsPerSecond(300_000);
    let wait = Duration::from_millis(100);
    let whole = ScanConfig { rate, wait, retries: 0, ..config("10.99.128.0/24", "U:1000-1199") };
    let control = Control::new();
    let stopper = control.clone();
    let halted = thread::spawn(move || {
        while stopper.progress().probes_sent < 10_000 {
            thread::sleep(Duration::from_millis(1));
        }
        stopper.cancel();
    });
    let first = scan_with(whole.clone(), &control).expect("runs").report;
    halted.join().expect("no panic");
    assert!(!first.completed && first.checkpoint < 256 * 200, "{first:?}");
    let second = scan(ScanConfig { resume: Some(Checkpoint::at(first.checkpoint)), ..whole }).report;
    assert!(second.completed);
    let counts = tap.finish();
    assert_eq!(counts.len(), 256 * 200, "{first:?} {second:?}");
    // What is repeated is a few chunks of the order, some milliseconds.
    assert!(first.probes_sent <= first.checkpoint + 8 * 4096, "{first:?}");
}

#[test]
fn shards_share_the_targets_out() {
    let Some(lab) = network() else { return };
    let mut seen = BTreeSet::new();
    for index in 0..3 {
        let watch = lab.far(Watch::start);
        let shard = portreeve_scan::Shard::new(index, 3).expect("index below count");
        let report = scan(ScanConfig { shard, retries: 0, ..config("10.99.128.0/26", "1-20") }).report;
        let probes = watch.finish();
        assert_eq!(probes.len() as u64, report.targets);
        for probe in probes {
            assert!(seen.insert((probe.address, probe.port)), "{probe:?} belongs to two shards");
        }
    }
    assert_eq!(seen.len(), 64 * 20);
}

#[test]
fn only_the_silent_are_asked_again() {
    let Some(lab) = network() else { return };
    filter(&lab, "ip daddr 10.99.128.9 drop");
    let watch = lab.far(Watch::start);
    let found = scan(ScanConfig { retries: 2, ..config("10.99.128.8-10.99.128.10", "1-50") });
    let probes = watch.finish();
    let to = |address: &str| probes.iter().filter(|probe| probe.address.to_string() == address).count();
    assert_eq!((to("10.99.128.8"), to("10.99.128.9"), to("10.99.128.10")), (50, 150, 50));
    assert_eq!(found.ports.len(), 100);
    assert_eq!(found.report.miss_estimate, Some(0.0));
}

#[test]
fn what_is_lost_is_asked_for_again_until_nothing_is_missing_and_the_loss_is_told() {
    let Some(lab) = network() else { return };
    // One probe in twenty is lost, and one answer in twenty.
    lab.far(|| {
        let rules = "table ip pr {
                     chain input { type filter hook input priority 0; numgen random mod 20 0 drop\n}
                     chain output { type filter hook output priority 0; numgen random mod 20 0 drop\n}
                     }";
        run("nft", &[rules]);
    });
    let watch = lab.far(Watch::start);
    let found = scan(config("10.99.128.0/28", "1-1000"));
    let probes = watch.finish().len();
    assert_eq!(found.ports.len(), 16_000);
    assert!(probes <= 16_000 * 135 / 100, "{probes} probes to 16000 targets");
    assert_eq!(found.report.miss_estimate, Some(0.0));
    // All have answered, so what went unanswered is known exactly; what was sent is the watch's own count.
    let lost = found.report.loss_estimate.expect("there were retries");
    let truth = (probes - 16_000) as f32 / probes as f32;
    assert!((lost - truth).abs() < 0.002, "{lost} estimated, {truth} lost");
}

#[test]
fn a_lossy_path_to_silent_ports_costs_no_more_than_it_may() {
    let Some(lab) = network() else { return };
    filter(&lab, "tcp dport 301-1000 drop; numgen random mod 10 0 drop");
    let watch = lab.far(Watch::start);
    let found = scan(ScanConfig { wait: Duration::from_millis(300), ..config("10.99.128.0/29", "1-1000") });
    let probes = watch.finish().len();
    // A tenth is lost at each attempt: of 2,400 that answer 24 are missing after two, and 0.2 after four.
    assert!(found.ports.len() >= 2_395, "{} of 2400", found.ports.len());
    assert!(probes <= 4 * 8_000, "{probes} probes, twice what two attempts take is the most");
    let lost = found.report.loss_estimate.expect("there were retries");
    assert!((0.07..0.13).contains(&lost), "0.1 expected, {lost} estimated");
    let (missed, bound) =
        (found.report.miss_estimate.expect("known"), found.report.miss_bound.expect("known"));
    assert!(missed <= bound && bound < 0.01, "{missed} {bound}");
}

#[test]
fn a_path_that_takes_no_more_is_not_pressed() {
    let Some(lab) = network() else { return };
    // A router that passes 5,000 packets a second, asked for 30,000: five of six are lost.
    filter(&lab, "limit rate over 5000/second burst 50 packets drop");
    let watch = lab.far(Watch::start);
    let rate = PacketsPerSecond(30_000);
    let found = scan(ScanConfig { rate, ..config("10.99.128.0/28", "1-1000") });
    let probes = watch.finish().len();
    assert_eq!(found.ports.len(), 16_000, "{:?}", found.report);
    assert!(probes <= 64_000, "{probes} probes");
    let lost = found.report.loss_estimate.expect("there were retries");
    let truth = (probes - 16_000) as f32 / probes as f32;
    assert!((lost - truth).abs() < 0.01, "{lost} estimated, {truth} lost");
}

#[test]
fn a_scan_without_retries_asks_once_whatever_is_lost() {
    let Some(lab) = network() else { return };
    filter(&lab, "numgen random mod 10 0 drop");
    let watch = lab.far(Watch::start);
    let found = scan(ScanConfig { retries: 0, ..config("10.99.128.0/30", "1-500") });
    assert_eq!(watch.finish().len(), 2_000);
    assert_eq!((found.report.miss_estimate, found.report.loss_estimate), (None, None));
}

#[test]
fn the_wait_ends_when_nothing_can_come_any_more() {
    let Some(lab) = network() else { return };
    filter(&lab, "tcp dport 83 drop");
    let patient = |ports| ScanConfig { wait: Duration::from_secs(20), ..config("10.99.128.1", ports) };
    // Everyone has answered.
    assert!(scan(patient("80-82")).report.duration < Duration::from_secs(2));
    // One port is silent, but its host answers others at once.
    let found = scan(patient("80-83"));
    assert_eq!(found.ports.len(), 3);
    assert!(found.report.duration < Duration::from_secs(4), "{:?}", found.report.duration);
}

/// RADIUS servers hold a refusal for a second, while the kernel beside them says at once that a port is closed.
#[test]
fn a_datagrams_answer_is_waited_for_while_the_program_takes_its_time() {
    let Some(lab) = network() else { return };
    lab.far(|| {
        let socket = UdpSocket::bind("10.99.128.1:1812").expect("port 1812");
        thread::spawn(move || {
            let (_, from) = socket.recv_from(&mut [0; 64]).expect("a datagram");
            thread::sleep(Duration::from_secs(1));
            socket.send_to(b"no", from).expect("sent");
        });
    });
    let found =
        scan(ScanConfig { wait: Duration::from_secs(20), ..config("10.99.128.1", "U:1812-1813,U:1815") });
    assert_eq!(found.port("10.99.128.1", 1812), Some((PortState::Open, Reason::UdpReply)));
    assert_eq!(found.port("10.99.128.1", 1813), Some((PortState::Closed, Reason::PortUnreachable)));
}

#[test]
fn nobody_at_an_address_on_the_link_means_no_probe() {
    let Some(lab) = network() else { return };
    let watch = lab.far(Watch::start);
    let found = scan(ScanConfig { report_filtered: true, ..config("10.99.1.2 10.99.1.77", "100-109") });
    let probes = watch.finish();
    assert!(probes.iter().all(|probe| probe.address.to_string() == "10.99.1.2"));
    assert_eq!(found.port("10.99.1.77", 100), Some((PortState::Unreachable, Reason::HostUnreachable)));
    assert_eq!(found.port("10.99.1.2", 100), Some((PortState::Closed, Reason::Reset)));
    assert_eq!(found.host("10.99.1.2").map(|host| host.reason), Some(HostReason::ArpReply));
}

#[test]
fn pinged_scans_leave_silent_hosts_alone() {
    let Some(lab) = network() else { return };
    filter(&lab, "ip daddr 10.99.128.2 drop");
    let found = scan(ScanConfig { ping: true, ..config("10.99.128.1-10.99.128.2", "1000-1009") });
    assert_eq!(found.hosts.len(), 1);
    assert_eq!(found.ports.len(), 10);
    assert!(found.ports.iter().all(|port| port.address.to_string() == "10.99.128.1"));
}

#[test]
fn a_cancelled_scan_stops_sending_at_once() {
    let Some(lab) = network() else { return };
    let control = Control::new();
    let watch = lab.far(Watch::start);
    let canceller = {
        let control = control.clone();
        thread::spawn(move || {
            while control.progress().probes_sent < 200 {
                thread::sleep(Duration::from_millis(5));
            }
            control.cancel();
            Instant::now()
        })
    };
    let slow = ScanConfig { rate: PacketsPerSecond(1_000), ..config("10.99.128.0/20", "1-100") };
    let found = scan_with(slow, &control).expect("runs");
    let cancelled_at = canceller.join().expect("no panic");
    assert!(cancelled_at.elapsed() < Duration::from_secs(1));
    assert!(!found.report.completed);
    let probes = watch.finish();
    assert_eq!(probes.len() as u64, found.report.checkpoint, "the checkpoint is where the probes end");
}

#[test]
fn a_resumed_scan_probes_the_rest_and_nothing_twice() {
    let Some(lab) = network() else { return };
    let watch = lab.far(Watch::start);
    let whole = ScanConfig { retries: 0, ..config("10.99.128.0/26", "1-50") };
    let control = Control::new();
    let stopper = control.clone();
    let halted = thread::spawn(move || {
        while stopper.progress().probes_sent < 500 {
            thread::sleep(Duration::from_millis(1));
        }
        stopper.cancel();
    });
    let first =
        scan_with(ScanConfig { rate: PacketsPerSecond(2_000), ..whole.clone() }, &control).expect("runs");
    halted.join().expect("no panic");
    assert!(!first.report.completed);
    let second = scan(ScanConfig { resume: Some(Checkpoint::at(first.report.checkpoint)), ..whole });
    assert!(second.report.completed);
    let probes: Vec<_> = watch.finish().iter().map(|probe| (probe.address, probe.port)).collect();
    assert_eq!(probes.len(), 64 * 50);
    assert_eq!(probes.iter().collect::<BTreeSet<_>>().len(), 64 * 50);
}

#[test]
fn no_more_probes_than_asked_for() {
    let Some(lab) = network() else { return };
    let watch = lab.far(Watch::start);
    let rate = PacketsPerSecond(2_000);
    scan(ScanConfig { rate, retries: 0, ..config("10.99.128.0/24", "1-16") });
    let probes = watch.finish();
    assert_eq!(probes.len(), 4096);
    let (first, last) = (probes[0].at, probes[4095].at);
    let seconds = (last - first).as_secs_f64();
    // Never faster, but for what a stall may be caught up with; on a busy machine it may be slower.
    assert!(seconds >= 4095.0 / 2_000.0 * 0.98, "4096 probes at 2,000 a second within {seconds} s");
    for (index, probe) in probes.iter().enumerate() {
        let tenth = probes[index..]
            .iter()
            .take_while(|later| later.at - probe.at < Duration::from_millis(100))
            .count();
        assert!(tenth <= 300, "{tenth} probes within 100 ms, 200 are their share");
    }
}

#[test]
fn no_host_and_no_network_gets_more_than_its_ceiling() {
    let Some(lab) = network() else { return };
    let watch = lab.far(Watch::start);
    let found = scan(ScanConfig {
        rate_per_host: Some(PacketsPerSecond(50)),
        rate_per_network: Some(PacketsPerSecond(300)),
        ..config("10.99.128.0/28 10.99.129.7", "1-60")
    });
    assert_eq!(found.ports.len(), 17 * 60);
    let mut by_host: BTreeMap<IpAddr, Vec<Instant>> = BTreeMap::new();
    let mut near: Vec<Instant> = Vec::new();
    for probe in watch.finish() {
        by_host.entry(probe.address).or_default().push(probe.at);
        if probe.address.to_string().starts_with("10.99.128.") {
            near.push(probe.at);
        }
    }
    // The watch's own clock is read late at times, so a moment more or less is not held against the sender.
    let busiest = |times: &[Instant]| {
        let within = |first: usize| {
            times[first..].partition_point(|&at| at - times[first] < Duration::from_millis(950))
        };
        (0..times.len()).map(within).max().unwrap_or(0)
    };
    assert!(by_host.values().all(|times| busiest(times) <= 50));
    assert!(busiest(&near) <= 300, "{} probes to a network within a second", busiest(&near));
}

#[test]
fn this_machine_is_scanned_with_raw_packets() {
    let Some(()) = alone() else { return };
    ip("link add own type veth peer name other");
    ip("address add 10.99.7.7/24 dev own");
    ip("link set own up");
    ip("link set other up");
    let _listeners = ["127.0.0.1:8000", "[::1]:8000", "10.99.7.7:8000"]
        .map(|address| TcpListener::bind(address).expect("free"));
    for address in ["127.0.0.1", "::1", "10.99.7.7"] {
        let found = scan(config(address, "7995-8005"));
        assert_eq!(found.report.backend, "raw-ip");
        assert_eq!(found.ports.len(), 11, "{address}: {:?}", found.report);
        for port in 7995..=8005 {
            let expected = if port == 8000 {
                (PortState::Open, Reason::SynAck)
            } else {
                (PortState::Closed, Reason::Reset)
            };
            assert_eq!(found.port(address, port), Some(expected), "{address} port {port}");
        }
    }
}

#[test]
fn every_port_of_this_machine_at_once() {
    let Some(()) = alone() else { return };
    let listeners = [1, 22, 8080, 65_535].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("free"));
    let found = scan(ScanConfig {
        rate: PacketsPerSecond(100_000),
        report_closed: false,
        ..config("127.0.0.1", "0-65535")
    });
    let open: Vec<u16> =
        found.ports.iter().map(|port| port.port).collect::<BTreeSet<_>>().into_iter().collect();
    let expected: Vec<u16> =
        listeners.iter().map(|listener| listener.local_addr().expect("bound").port()).collect();
    assert_eq!(open, expected);
    assert_eq!(found.ports.len(), 4);
}

#[test]
fn a_host_with_everything_open_is_suspicious() {
    let Some(lab) = network() else { return };
    let _listener = lab.far(|| TcpListener::bind("0.0.0.0:7000").expect("free"));
    lab.far(|| {
        let rules = "table ip pr { chain prerouting { type nat hook prerouting priority -100;
                     ip daddr 10.99.128.5 tcp dport 1-65535 redirect to :7000
                     }
                     }";
        run("nft", &[rules]);
    });
    let found = scan(config("10.99.128.5-10.99.128.6", "1-200"));
    let [suspect] = found.report.suspicious_hosts[..] else { panic!("{:?}", found.report.suspicious_hosts) };
    assert_eq!(suspect.address, "10.99.128.5".parse::<IpAddr>().expect("address"));
    assert_eq!((suspect.suspicion, suspect.open_ports), (Suspicion::AnswersEverything, 200));
    assert_eq!(found.report.open_ports, 200);
    let open = found.ports.iter().filter(|port| port.state == PortState::Open).count();
    assert!(open < 150, "{open} of 200 meaningless ports were reported");

    // A list so short that all of it may be open: it shows at ports that nobody has.
    for backend in [BackendChoice::Auto, BackendChoice::Connect] {
        let found = scan(ScanConfig { backend, ..config("10.99.128.5-10.99.128.6", "21,22,80,443") });
        let [suspect] = found.report.suspicious_hosts[..] else { panic!("{:?}", found.report) };
        assert_eq!((suspect.suspicion, suspect.open_ports), (Suspicion::AnswersEverything, 4));
        assert_eq!(found.report.open_ports, 4, "control ports are no findings");
        let open = found.ports.iter().filter(|port| port.state == PortState::Open).map(|port| port.port);
        assert_eq!(open.collect::<BTreeSet<_>>(), [21, 22, 80, 443].into());
    }
}

#[test]
fn errors_name_what_was_asked_for() {
    let Some(()) = alone() else { return };
    let error = |config| scan_with(config, &Control::new()).expect_err("refused").to_string();
    let unknown = ScanConfig { interface: Some("nonsense0".to_owned()), ..config("127.0.0.1", "1") };
    assert!(error(unknown).contains("\"nonsense0\""));
    assert!(error(config("10.99.3.3", "1")).contains("no route to 10.99.3.3"));
    assert!(
        error(ScanConfig { rate: PacketsPerSecond(0), ..config("127.0.0.1", "1") }).contains("at least 1")
    );
}

/// Every right is given up between preparing and running.
#[test]
fn a_prepared_scan_needs_no_rights() {
    let Some(lab) = network() else { return };
    let _listener = lab.far(|| TcpListener::bind("10.99.1.2:80").expect("free"));
    for (address, backend) in [
        ("10.99.1.2", BackendChoice::Ring),
        ("10.99.1.3", BackendChoice::Batch),
        ("10.99.1.4", BackendChoice::Xdp),
        ("127.0.0.1", BackendChoice::Auto),
    ] {
        let prepared =
            Scan::prepare(ScanConfig { backend, ..config(address, "80,81") }, Clock::new(|| Timestamp(0)));
        let scan = prepared.expect("rights are there still");
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
        let (completed, closed) = closed.join().expect("no panic");
        assert!(completed && closed > 0, "{address}: {closed} closed ports");
    }
}

#[test]
fn without_the_right_it_connects_or_says_what_to_do() {
    let Some(()) = alone() else { return };
    let listener = TcpListener::bind("127.0.0.1:8000").expect("free");
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
        caps::drop(None, set, caps::Capability::CAP_NET_RAW).expect("dropped, for this thread");
    }
    let refused = scan_with(
        ScanConfig { backend: BackendChoice::Ring, ..config("127.0.0.1", "8000") },
        &Control::new(),
    );
    let refused = refused.expect_err("no right").to_string();
    assert!(refused.contains("CAP_NET_RAW") && refused.contains("connect"), "{refused}");
    let scan = Scan::prepare(config("127.0.0.1", "8000"), Clock::new(|| Timestamp(0))).expect("falls back");
    assert_eq!(scan.backend().0, "connect");
    assert!(scan.backend().1.contains("CAP_NET_RAW"));
    let report = scan.run(&Control::new(), &mut |_| {}).expect("runs");
    assert_eq!(report.open_ports, 1);
    drop(listener);
}
