//! What is said of ports and hosts in every state they can be in.

use std::{
    net::{IpAddr, TcpListener, UdpSocket},
    sync::Arc,
    thread,
};

use portreeve_model::{HostReason, PortState, Reason};
use portreeve_scan::{BackendChoice, PacketsPerSecond, ScanConfig, Suspicion, UdpPayloads};

use crate::{
    network::{Lab, alone, ip, run},
    scans::{moderate, scan},
    watch::Watch,
};

#[test]
fn every_state_of_a_tcp_port_on_both_families_and_backends() {
    let Some(lab) = Lab::whole() else { return };
    let _listeners = lab
        .far(|| [TcpListener::bind("10.99.1.2:80"), TcpListener::bind("[fd99::2]:80")].map(Result::unwrap));
    lab.filter("tcp dport 81 drop; tcp dport 82 reject with icmpx admin-prohibited; tcp dport 83 reject with icmpx port-unreachable;
         tcp dport 84 reject with tcp reset",
    );
    for (backend, name) in [
        (BackendChoice::Auto, "xdp"),
        (BackendChoice::Xdp, "xdp"),
        (BackendChoice::Ring, "ring"),
        (BackendChoice::Batch, "batch"),
    ] {
        for address in ["10.99.1.2", "fd99::2"] {
            let found = scan(ScanConfig { backend, report_filtered: true, ..moderate(address, "79-84") });
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
    let Some(lab) = Lab::whole() else { return };
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
        let found = scan(ScanConfig {
            udp_payloads: payloads,
            report_filtered: true,
            ..moderate(address, "U:53-55")
        });
        assert_eq!(found.port(address, 53), Some((PortState::Open, Reason::UdpReply)));
        assert_eq!(found.port(address, 54), Some((PortState::Filtered, Reason::NoReply)));
        assert_eq!(found.port(address, 55), Some((PortState::Closed, Reason::PortUnreachable)));
    }
}

#[test]
fn hosts_are_found_by_arp_neighbour_discovery_and_echo() {
    let Some(lab) = Lab::whole() else { return };
    let mac = lab.far_end.hardware.expect("Ethernet").0;
    let found = scan(moderate("10.99.1.0/24 fd99::/123", ""));
    let expected = ["10.99.1.1", "10.99.1.2", "10.99.1.3", "10.99.1.4", "fd99::1", "fd99::2", "fd99::3"];
    assert_eq!(found.addresses(), expected.map(|text| text.parse().expect("address")).into());
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
    lab.filter("ip daddr 10.99.128.3 icmp type echo-request drop; ip daddr 10.99.128.4 drop");
    let routed = scan(moderate("10.99.128.1-4 fd99:1::7", ""));
    assert_eq!(routed.host("10.99.128.3").map(|host| host.reason), Some(HostReason::PortReply));
    assert_eq!(routed.host("10.99.128.4"), None);
    assert_eq!(routed.report.hosts, 4);
}

#[test]
fn nobody_at_an_address_on_the_link_means_no_probe() {
    let Some(lab) = Lab::whole() else { return };
    let watch = lab.far(Watch::start);
    let found = scan(ScanConfig { report_filtered: true, ..moderate("10.99.1.2 10.99.1.77", "100-109") });
    let probes = watch.finish();
    assert!(probes.iter().all(|probe| probe.address.to_string() == "10.99.1.2"));
    assert_eq!(found.port("10.99.1.77", 100), Some((PortState::Unreachable, Reason::HostUnreachable)));
    assert_eq!(found.port("10.99.1.2", 100), Some((PortState::Closed, Reason::Reset)));
    assert_eq!(found.host("10.99.1.2").map(|host| host.reason), Some(HostReason::ArpReply));
}

#[test]
fn pinged_scans_leave_silent_hosts_alone() {
    let Some(lab) = Lab::whole() else { return };
    lab.filter("ip daddr 10.99.128.2 drop");
    let found = scan(ScanConfig { ping: true, ..moderate("10.99.128.1-10.99.128.2", "1000-1009") });
    assert_eq!(found.hosts.len(), 1);
    assert_eq!(found.ports.len(), 10);
    assert!(found.ports.iter().all(|port| port.address.to_string() == "10.99.128.1"));
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
        let found = scan(moderate(address, "7995-8005"));
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
        ..moderate("127.0.0.1", "0-65535")
    });
    let open = listeners.iter().map(|listener| listener.local_addr().expect("bound"));
    assert_eq!(found.open(), open.map(|at| (at.ip(), at.port())).collect());
    assert_eq!(found.ports.len(), 4);
}

#[test]
fn a_host_with_everything_open_is_suspicious() {
    let Some(lab) = Lab::whole() else { return };
    let _listener = lab.far(|| TcpListener::bind("0.0.0.0:7000").expect("free"));
    lab.far(|| {
        let rules = "table ip pr { chain prerouting { type nat hook prerouting priority -100;
                     ip daddr 10.99.128.5 tcp dport 1-65535 redirect to :7000
                     }
                     }";
        run("nft", &[rules]);
    });
    let found = scan(moderate("10.99.128.5-10.99.128.6", "1-200"));
    let [suspect] = found.report.suspicious_hosts[..] else { panic!("{:?}", found.report.suspicious_hosts) };
    assert_eq!(suspect.address, "10.99.128.5".parse::<IpAddr>().expect("address"));
    assert_eq!((suspect.suspicion, suspect.open_ports), (Suspicion::AnswersEverything, 200));
    assert_eq!(found.report.open_ports, 200);
    let open = found.open().len();
    assert!(open < 150, "{open} of 200 meaningless ports were reported");

    // A list so short that all of it may be open: it shows at ports that nobody has.
    for backend in [BackendChoice::Auto, BackendChoice::Connect] {
        let found = scan(ScanConfig { backend, ..moderate("10.99.128.5-10.99.128.6", "21,22,80,443") });
        let [suspect] = found.report.suspicious_hosts[..] else { panic!("{:?}", found.report) };
        assert_eq!((suspect.suspicion, suspect.open_ports), (Suspicion::AnswersEverything, 4));
        assert_eq!(found.report.open_ports, 4, "control ports are no findings");
        let suspect = suspect.address;
        assert_eq!(found.open(), [21, 22, 80, 443].map(|port| (suspect, port)).into());
    }
}
