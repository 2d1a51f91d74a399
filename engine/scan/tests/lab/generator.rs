//! What a program in the kernel makes besides SYNs: datagrams and ICMP requests, watched or answered at the far end of a
//! veth pair.

use std::{
    collections::BTreeSet,
    net::{IpAddr, TcpListener, UdpSocket},
    thread,
};

use portreeve_scan::{BackendChoice, Checkpoint, Control, PacketsPerSecond, ScanConfig, UdpPayloads};

use crate::{
    network::{Lab, alone, assign, ip},
    scans::{cancel_after, in_kernel, prepare, refusal, scan, scan_with, targets},
    sink::{Kind, Sink, expected, open_far},
    watch::Watch,
};

/// Nobody is at 10.99.128.9 and fd99:1::9. The addresses of IPv6 that servers are bound to have to be there one by one.
fn network() -> Option<Lab> {
    let lab = Lab::routed()?;
    lab.far(|| {
        ip("route add blackhole 10.99.128.9 table local");
        ip("route add blackhole fd99:1::9 table local");
        for address in ["fd99:1::3/128", "fd99:1::3f/128", "fd99:1::ff/128"] {
            assign(address, "lo");
        }
    });
    Some(lab)
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

/// Frames of five lengths, in recycled memory: each has its own bytes and its own length.
#[test]
fn datagrams_and_syns_of_one_scan_arrive_once_each() {
    let Some(lab) = network() else { return };
    let sink = Sink::attach(&lab);
    let targets =
        targets("10.99.128.0/22 fd99:1::/119", "10.99.129.7 10.99.130.0/26 fd99:1::40/122 fd99:1::101");
    let found = scan(ScanConfig {
        targets: targets.clone(),
        rate: PacketsPerSecond(u32::MAX),
        udp_payloads: questions(),
        ..in_kernel("10.99.128.1", "80,443,U:53,U:161,U:500,U:999")
    });
    assert_eq!(found.report.backend, "kernel");
    assert_eq!(found.report.probes_sent, (959 + 447) * 6);
    let datagrams = [53, 161, 500, 999].map(|port| Kind::Datagram(port, question(port)));
    let kinds: Vec<_> = [Kind::Syn(80), Kind::Syn(443)].into_iter().chain(datagrams).collect();
    assert!(sink.counts() == expected(&targets, &kinds), "something else arrived");
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
        ..in_kernel("10.99.128.1", "U:53")
    });
    assert_eq!(found.report.backend, "kernel");
    assert!(
        sink.counts() == expected(&targets, &[Kind::Datagram(53, question(53))]),
        "something else arrived"
    );
}

/// A prefix and a list of addresses all over another, as scans of IPv6 mostly are.
#[test]
fn every_port_of_ipv6_addresses_arrives_once() {
    let Some(lab) = network() else { return };
    let sink = Sink::attach(&lab);
    let listed: Vec<String> =
        (1..200_u64).map(|n| format!("fd99:1::{:x}:{:x}:0:{:x}", n * 157 % 65_521, n * 311, n % 5)).collect();
    let targets = targets(&format!("fd99:1::/120 {}", listed.join(" ")), "fd99:1::77");
    let found = scan(ScanConfig {
        targets: targets.clone(),
        rate: PacketsPerSecond(u32::MAX),
        ..in_kernel("fd99:1::1", "1-300")
    });
    assert_eq!(found.report.backend, "kernel");
    assert_eq!(found.report.probes_sent, (255 + 199) * 300);
    let kinds: Vec<_> = (1..=300).map(Kind::Syn).collect();
    assert!(sink.counts() == expected(&targets, &kinds), "something else arrived");
}

#[test]
fn what_is_open_over_ipv6_is_found_and_each_target_asked_once() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    let watch = lab.far(Watch::start);
    let truth = [("fd99:1::3", 80), ("fd99:1::3f", 80), ("fd99:1::3f", 443), ("fd99:1::ff", 81)];
    let truth = truth.map(|(address, port)| (address.parse::<IpAddr>().expect("address"), port));
    let _listeners = lab.far(move || truth.map(|at| TcpListener::bind(at).expect("free")));
    let targets = targets("fd99:1::/120 fd99::2 10.99.128.0/28", "fd99:1::5");
    let found = scan(ScanConfig {
        targets: targets.clone(),
        rate: PacketsPerSecond(20_000),
        report_closed: true,
        ..in_kernel("fd99:1::1", "80-84,443")
    });
    assert_eq!(found.report.backend, "kernel");
    assert_eq!(found.open(), BTreeSet::from(truth), "{:?}", found.report);
    // All but the two that nobody is at say so.
    assert_eq!(found.states().len() as u128, (targets.len() - 2) * 6, "{:?}", found.report);
    let asked: Vec<_> = watch.finish().iter().map(|probe| (probe.address, probe.port)).collect();
    assert_eq!(asked.len() as u128, targets.len() * 6);
    assert_eq!(asked.into_iter().collect::<BTreeSet<_>>().len() as u128, targets.len() * 6);
}

/// There is no timestamp request over IPv6.
#[test]
fn requests_for_hosts_over_both_versions_of_ip_arrive_once_each() {
    let Some(lab) = network() else { return };
    let sink = Sink::attach(&lab);
    let (v4, v6) = ("10.99.128.0/24", "fd99:1::/120");
    scan(ScanConfig {
        targets: targets(&format!("{v4} {v6}"), ""),
        host_probes: "icmp,timestamp,tcp:443,tcp-ack:80,udp:9".parse().expect("probes"),
        ..in_kernel(v4, "")
    });
    let common = [Kind::Echo, Kind::Syn(443), Kind::Ack(80), Kind::Datagram(9, Vec::new())];
    let mut all = expected(&targets(&format!("{v4} {v6}"), ""), &common);
    all.extend(expected(&targets(v4, ""), &[Kind::Timestamp]));
    assert!(sink.counts() == all, "something else arrived");
}

#[test]
fn requests_for_hosts_arrive_once_each() {
    let Some(lab) = network() else { return };
    let sink = Sink::attach(&lab);
    let targets = targets("10.99.128.0/20", "10.99.129.7");
    let found = scan(ScanConfig {
        targets: targets.clone(),
        host_probes: "icmp,timestamp,tcp:443,tcp-ack:80,udp:9".parse().expect("probes"),
        ..in_kernel("10.99.128.1", "")
    });
    assert_eq!(found.report.backend, "kernel");
    let kinds = [Kind::Echo, Kind::Timestamp, Kind::Syn(443), Kind::Ack(80), Kind::Datagram(9, Vec::new())];
    assert!(sink.counts() == expected(&targets, &kinds), "something else arrived");
}

#[test]
fn hosts_that_answer_an_echo_request_are_found() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    let (v4, v6) = ("10.99.128.0/25", "fd99:1::/121");
    for (network, probes, retries) in [
        (v4, "icmp", 0),
        (v4, "timestamp", 1),
        (v4, "icmp,tcp-ack:80", 2),
        (v6, "icmp", 1),
        (v6, "icmp,tcp-ack:80", 2),
    ] {
        let found = scan(ScanConfig {
            host_probes: probes.parse().expect("probes"),
            rate: PacketsPerSecond(20_000),
            retries,
            ..in_kernel(network, "")
        });
        assert_eq!(found.report.backend, "kernel");
        let there = targets(network, "10.99.128.9 fd99:1::9").iter().collect();
        assert_eq!(found.addresses(), there, "{probes}: {:?}", found.report);
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

const SERVED: [(&str, u16); 7] = [
    ("10.99.128.3", 53),
    ("10.99.128.3", 161),
    ("10.99.130.200", 53),
    ("10.99.131.255", 500),
    ("10.99.128.1", 1_000),
    ("fd99:1::3", 161),
    ("fd99:1::3f", 500),
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
        ..in_kernel("10.99.128.0/22 fd99:1::/122", "U:53,U:161,U:500,U:1000")
    });
    assert_eq!(found.report.backend, "kernel");
    assert_eq!(found.open(), served(), "{:?}", found.report);
    assert_eq!(found.report.probes_sent.checked_sub(1_088 * 4).map(|again| again > 0), Some(true));
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
            ..in_kernel("10.99.128.0/28 10.99.130.200", ports)
        });
        assert_eq!(found.report.backend, "kernel");
        assert_eq!((found.addresses().len(), found.open().len()), (16, expected), "{:?}", found.report);
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
        ..in_kernel("10.99.128.0/20", "U:40-59")
    };
    let control = Control::new();
    let canceller = cancel_after(20_000, &control);
    let first = scan_with(whole.clone(), &control).report;
    canceller.join().expect("no panic");
    assert!(!first.completed && first.checkpoint < 81_920, "{first:?}");
    let resume = Some(Checkpoint::at(first.checkpoint));
    let second = scan(ScanConfig { resume, rate: PacketsPerSecond(1_000_000), ..whole.clone() });
    assert!(second.report.completed);
    let kinds: Vec<_> = (40..60).map(|port| Kind::Datagram(port, question(port))).collect();
    assert!(sink.counts() == expected(&whole.targets, &kinds), "each once, over both scans");
}

#[test]
fn auto_says_what_it_takes_and_why() {
    let Some(lab) = network() else { return };
    let _open = open_far(&lab);
    let chosen = |include: &str, ports: &str| {
        let auto = ScanConfig { backend: BackendChoice::Auto, ..in_kernel(include, ports) };
        let scan = prepare(auto).expect("prepared");
        let (name, why) = scan.backend();
        (name.to_owned(), why.to_owned())
    };
    for include in ["10.99.128.0/28", "fd99:1::/124", "fd99::2", "10.99.128.0/28 fd99:1::/124"] {
        for ports in ["", "80", "U:53", "80,U:53", "S:2905,U:53"] {
            let (name, why) = chosen(include, ports);
            assert_eq!(name, "kernel", "{include} {ports}: {why}");
        }
        let (name, why) = chosen(include, "S:2905");
        assert!(name != "kernel" && why.contains("TCP, UDP and ICMP"), "{name}: {why}");
    }
}

#[test]
fn loopback_takes_no_datagrams_made_in_the_kernel() {
    let Some(()) = alone() else { return };
    let refused = refusal(in_kernel("127.0.0.1", "U:53"));
    assert!(refused.is_some_and(|refused| refused.contains("Ethernet")));
}
