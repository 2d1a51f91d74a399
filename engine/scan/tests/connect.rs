//! Scans with ordinary sockets, of this machine's loopback addresses only.

use std::{
    net::{TcpListener, UdpSocket},
    thread,
    time::Duration,
};

use portreeve_model::{HostReason, PortState, Reason, Timestamp, Transport};
use portreeve_scan::{
    BackendChoice, Checkpoint, Clock, Control, Event, PacketsPerSecond, PortSet, Scan, ScanConfig,
    ScanReport, TargetSet, TargetSetBuilder, UdpPayloads,
};

fn targets(text: &str) -> TargetSet {
    TargetSetBuilder::new().include(text).and_then(TargetSetBuilder::build).expect("targets")
}

fn config(addresses: &str, ports: &str) -> ScanConfig {
    ScanConfig {
        backend: BackendChoice::Connect,
        rate: PacketsPerSecond(20_000),
        wait: Duration::from_millis(300),
        report_closed: true,
        ..ScanConfig::new(targets(addresses), ports.parse::<PortSet>().expect("ports"))
    }
}

fn run(config: ScanConfig, control: &Control) -> (Vec<Event>, ScanReport) {
    let scan = Scan::prepare(config, Clock::new(|| Timestamp(7))).expect("needs no rights");
    assert_eq!(scan.backend().0, "connect");
    let mut events = Vec::new();
    let report = scan.run(control, &mut |event| events.push(event)).expect("runs");
    (events, report)
}

#[test]
fn tells_open_from_closed_on_both_families() {
    for loopback in ["127.0.0.1", "::1"] {
        let listener = TcpListener::bind((loopback, 0)).expect("a port");
        let open = listener.local_addr().expect("bound").port();
        let closed = {
            let unused = TcpListener::bind((loopback, 0)).expect("a port");
            unused.local_addr().expect("bound").port()
        };
        let (events, report) = run(config(loopback, &format!("{open},{closed}")), &Control::new());
        let state = |port| {
            events.iter().find_map(|event| match event {
                Event::Port(seen) if seen.port == port => Some((seen.state, seen.reason, seen.transport)),
                _ => None,
            })
        };
        assert_eq!(state(open), Some((PortState::Open, Reason::ConnectAccepted, Transport::Tcp)));
        assert_eq!(state(closed), Some((PortState::Closed, Reason::ConnectRefused, Transport::Tcp)));
        let hosts = events
            .iter()
            .filter(|event| matches!(event, Event::Host(host) if host.reason == HostReason::PortReply));
        assert_eq!(hosts.count(), 1);
        assert_eq!((report.open_ports, report.hosts, report.targets, report.probes_sent), (1, 1, 2, 2));
        assert!(report.completed);
    }
}

#[test]
fn udp_replies_and_refusals() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let open = server.local_addr().expect("bound").port();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let filtered = silent.local_addr().expect("bound").port();
    let closed = {
        let unused = UdpSocket::bind("127.0.0.1:0").expect("a port");
        unused.local_addr().expect("bound").port()
    };
    server.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let answer = thread::spawn(move || {
        let mut datagram = [0; 16];
        let (length, from) = server.recv_from(&mut datagram).expect("a probe");
        server.send_to(b"yes", from).expect("answered");
        datagram[..length].to_vec()
    });
    let config = ScanConfig {
        udp_payloads: UdpPayloads::new(move |port| (port == open).then(|| b"hello".as_slice().into())),
        report_filtered: true,
        retries: 0,
        ..config("127.0.0.1", &format!("U:{open},{closed},{filtered}"))
    };
    let (events, _) = run(config, &Control::new());
    assert_eq!(answer.join().expect("no panic"), b"hello");
    let state = |port| {
        events.iter().find_map(|event| match event {
            Event::Port(seen) if seen.port == port => Some((seen.state, seen.reason)),
            _ => None,
        })
    };
    assert_eq!(state(open), Some((PortState::Open, Reason::UdpReply)));
    assert_eq!(state(closed), Some((PortState::Closed, Reason::PortUnreachable)));
    assert_eq!(state(filtered), Some((PortState::Filtered, Reason::NoReply)));
}

#[test]
fn a_cancelled_scan_stops_and_can_be_resumed() {
    let control = Control::new();
    let slow = ScanConfig { rate: PacketsPerSecond(500), ..config("127.0.0.1", "40000-60000") };
    let canceller = {
        let control = control.clone();
        thread::spawn(move || {
            while control.progress().probes_sent < 50 {
                thread::sleep(Duration::from_millis(5));
            }
            control.cancel();
        })
    };
    let (_, report) = run(slow.clone(), &control);
    canceller.join().expect("no panic");
    assert!(!report.completed);
    // At five hundred a second.
    assert!((50..2_500).contains(&report.checkpoint), "of 20,001: {report:?}");
    let rest = ScanConfig {
        rate: PacketsPerSecond(1_000_000),
        resume: Some(Checkpoint::at(report.checkpoint)),
        ..slow
    };
    let (_, resumed) = run(rest, &Control::new());
    assert!(resumed.completed);
    assert_eq!(resumed.probes_sent, 20_001 - report.checkpoint);
}
