//! Frames counted one by one at the other end of a cable that does not lose any.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    time::{Duration, Instant},
};

use portreeve_scan::sys::{
    FrameSink, Interface, LinkKind, OnReply, RawIpBatch, ReplyFilter, ReservedPorts, RxConfig, RxRing,
    RxStatistics, TxBatch, TxRing, TxXdp,
};
use portreeve_wire::{
    arp,
    ethernet::{self, EtherType},
    ip, ipv4, ipv6, ndp, tcp,
    template::{Echo, EchoTemplate, Link, Path, Udp, UdpTemplate},
    udp,
};

use crate::network::{self, FAR_V4, FAR_V6, Lab, NEAR_V4, NEAR_V6};

const FRAMES: u32 = 50_000;
/// Ports of the receiving end in these tests; 50,000 datagrams differ in their source port.
const PORT: u16 = 61_000;
const FILTER: ReplyFilter = ReplyFilter { ports: PORT..=PORT + 15 };
/// Nothing here takes longer than this unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// How often each source port was seen, among intact datagrams to `PORT`.
struct Counted {
    by_port: HashMap<u16, u32>,
    statistics: RxStatistics,
}

/// Reads datagrams until there were `expected`, and a while longer for any too many.
fn count(ring: &mut RxRing, expected: u32) -> Counted {
    let mut by_port = HashMap::new();
    let (mut seen, started, mut quiet) = (0, Instant::now(), 0);
    while quiet < 5 {
        assert!(started.elapsed() < DEADLINE, "{seen} of {expected} datagrams came");
        if !ring.wait(Duration::from_millis(20)).unwrap() {
            quiet += u32::from(seen >= expected);
        }
        while let Some(mut block) = ring.next_block() {
            while let Some(received) = block.next() {
                let packet = ip::Packet::parse(received.packet).unwrap();
                if packet.protocol() != ip::Protocol::UDP {
                    continue;
                }
                let datagram = udp::Datagram::parse(packet.payload()).unwrap();
                assert!(datagram.checksum_ok(packet.source(), packet.destination()), "a frame was damaged");
                assert_eq!((datagram.destination_port(), datagram.payload()), (PORT, b"counted".as_slice()));
                *by_port.entry(datagram.source_port()).or_default() += 1;
                seen += 1;
            }
        }
    }
    Counted { by_port, statistics: ring.statistics().unwrap() }
}

impl Counted {
    /// Every source port of the test was seen exactly once, and the kernel dropped nothing.
    fn assert_each_once(&self) {
        assert_eq!(self.by_port.len(), FRAMES as usize);
        assert!((0..FRAMES as u16).all(|port| self.by_port.get(&port) == Some(&1)));
        assert_eq!(self.statistics.dropped, 0);
        assert_eq!(self.statistics.received, u64::from(FRAMES));
    }
}

fn send_datagrams<A: ip::Address>(sink: &mut dyn FrameSink, path: Path<A>, destination: A) {
    send_padded(sink, path, destination, 0);
}

/// Sends the datagrams in frames that are longer than need be.
fn send_padded<A: ip::Address>(sink: &mut dyn FrameSink, path: Path<A>, destination: A, padding: usize) {
    let template = UdpTemplate::new(path, b"counted").unwrap();
    let mut handed_over = 0;
    for source_port in 0..FRAMES as u16 {
        let probe = Udp { destination, source_port, destination_port: PORT };
        let length = loop {
            if let Some(slot) = sink.frame() {
                break template.emit(slot, &probe).unwrap() + padding;
            }
            handed_over += sink.flush().unwrap();
        };
        sink.commit(length);
    }
    handed_over += sink.flush().unwrap();
    assert_eq!(handed_over, FRAMES as usize);
    let counters = sink.counters();
    assert_eq!((counters.sent, counters.refused), (u64::from(FRAMES), 0));
}

fn ethernet(lab: &Lab) -> Link {
    Link::Ethernet {
        source: lab.near.hardware.unwrap(),
        destination: lab.far_end.hardware.unwrap(),
        vlan: None,
    }
}

/// A ring, and what keeps the kernel from answering datagrams and so from asking for addresses meanwhile.
fn receiver(interface: &Interface, config: RxConfig) -> (RxRing, ReservedPorts) {
    let quiet = ReservedPorts::exactly(PORT..=PORT, OnReply::Silence).unwrap();
    (RxRing::open(interface, &FILTER, config).unwrap(), quiet)
}

/// Sends through the sink that `open` makes and counts at the far end, over both versions of IP.
fn delivers_each_once(open: impl Fn(&Lab) -> (Box<dyn FrameSink>, Link)) {
    let Some(lab) = Lab::new() else { return };
    for v6 in [false, true] {
        let far_end = lab.far_end.clone();
        let (mut ring, quiet) = lab.far(move || receiver(&far_end, RxConfig::default()));
        let counted = lab.far_later(move || {
            let counted = count(&mut ring, FRAMES);
            drop(quiet);
            counted
        });
        let (mut sink, link) = open(&lab);
        if v6 {
            send_datagrams(sink.as_mut(), Path { link, source: NEAR_V6, hop_limit: 64 }, FAR_V6);
        } else {
            send_datagrams(sink.as_mut(), Path { link, source: NEAR_V4, hop_limit: 64 }, FAR_V4);
        }
        counted.recv().expect("the far end counted").assert_each_once();
    }
}

#[test]
fn a_transmit_ring_delivers_each_frame_once() {
    delivers_each_once(|lab| (Box::new(TxRing::open(&lab.near, 128).unwrap()), ethernet(lab)));
}

#[test]
fn shared_memory_delivers_each_frame_once() {
    delivers_each_once(|lab| (Box::new(TxXdp::open(&lab.near, 0, 128).unwrap()), ethernet(lab)));
}

/// A device without room throws frames away and says so. Here the far end takes short frames only for a while.
#[test]
fn what_the_device_throws_away_is_sent_again() {
    let Some(lab) = Lab::new() else { return };
    let sinks: [Box<dyn FrameSink>; 3] = [
        Box::new(TxXdp::open(&lab.near, 0, 128).unwrap()),
        Box::new(TxRing::open(&lab.near, 128).unwrap()),
        Box::new(TxBatch::open(&lab.near, 128).unwrap()),
    ];
    for mut sink in sinks {
        let far_end = lab.far_end.clone();
        let (mut ring, _quiet) = lab.far(move || receiver(&far_end, RxConfig::default()));
        lab.far(|| network::ip("link set far mtu 68"));
        let counted = lab.far_later(move || {
            std::thread::sleep(Duration::from_millis(30));
            network::ip("link set far mtu 1500");
            count(&mut ring, FRAMES)
        });
        let path = Path { link: ethernet(&lab), source: NEAR_V4, hop_limit: 64 };
        send_padded(sink.as_mut(), path, FAR_V4, 50);
        assert!(sink.counters().retries > 0, "{:?}", sink.counters());
        counted.recv().expect("the far end counted").assert_each_once();
    }
}

#[test]
fn batches_deliver_each_frame_once() {
    delivers_each_once(|lab| (Box::new(TxBatch::open(&lab.near, 128).unwrap()), ethernet(lab)));
}

#[test]
fn raw_sockets_deliver_each_packet_once() {
    delivers_each_once(|lab| (Box::new(RawIpBatch::open(&lab.near, 128).unwrap()), Link::None));
}

#[test]
fn loopback_shows_each_packet_once() {
    if network::alone().is_none() {
        return;
    }
    let lo = Interface::by_name("lo").unwrap();
    assert_eq!((lo.kind, lo.hardware, lo.up), (LinkKind::Loopback, None, true));
    for v6 in [false, true] {
        let (mut ring, _quiet) = receiver(&lo, RxConfig::default());
        let mut sink = RawIpBatch::open(&lo, 128).unwrap();
        if v6 {
            let path = Path { link: Link::None, source: Ipv6Addr::LOCALHOST, hop_limit: 64 };
            send_datagrams(&mut sink, path, Ipv6Addr::LOCALHOST);
        } else {
            let path = Path { link: Link::None, source: Ipv4Addr::LOCALHOST, hop_limit: 64 };
            send_datagrams(&mut sink, path, Ipv4Addr::new(127, 9, 8, 7));
        }
        count(&mut ring, FRAMES).assert_each_once();
    }
}

/// Reads everything that comes until it has been quiet for a while.
fn drain(ring: &mut RxRing) -> Vec<(EtherType, Vec<u8>)> {
    let mut frames = Vec::new();
    while ring.wait(Duration::from_millis(100)).unwrap() {
        while let Some(mut block) = ring.next_block() {
            while let Some(received) = block.next() {
                frames.push((received.ether_type, received.packet.to_vec()));
            }
        }
    }
    frames
}

/// A whole frame: headers from the far end to the near one around `payload`.
fn to_near(lab: &Lab, v6: bool, protocol: ip::Protocol, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 128];
    let ether_type = if v6 { EtherType::IPV6 } else { EtherType::IPV4 };
    let (source, destination) = (lab.far_end.hardware.unwrap(), lab.near.hardware.unwrap());
    let mut at = ethernet::Header { destination, source, vlan: None, ether_type }.emit(&mut frame).unwrap();
    let payload_len = payload.len() as u16;
    at += if v6 {
        let header =
            ipv6::Header { source: FAR_V6, destination: NEAR_V6, hop_limit: 64, protocol, payload_len };
        header.emit(&mut frame[at..]).unwrap()
    } else {
        let header =
            ipv4::Header { source: FAR_V4, destination: NEAR_V4, hop_limit: 64, protocol, payload_len };
        header.emit(&mut frame[at..]).unwrap()
    };
    frame[at..at + payload.len()].copy_from_slice(payload);
    frame.truncate(at + payload.len());
    frame
}

fn segment(v6: bool, port: u16, flags: tcp::Flags) -> Vec<u8> {
    let header = tcp::Header {
        source_port: 443,
        destination_port: port,
        sequence: tcp::SeqNumber(7),
        acknowledgement: tcp::SeqNumber(8),
        flags,
        window: 1024,
        options: tcp::SynOptions { mss: Some(1460), ..Default::default() },
    };
    let mut bytes = vec![0; header.len()];
    let (source, destination): (IpAddr, IpAddr) =
        if v6 { (FAR_V6.into(), NEAR_V6.into()) } else { (FAR_V4.into(), NEAR_V4.into()) };
    header.emit(&mut bytes, source, destination).unwrap();
    bytes
}

fn send_all(sink: &mut dyn FrameSink, frames: &[Vec<u8>]) -> io::Result<usize> {
    let mut sent = 0;
    for frame in frames {
        if sink.frame().is_none() {
            sent += sink.flush()?;
        }
        sink.frame().expect("a free slot after a flush")[..frame.len()].copy_from_slice(frame);
        sink.commit(frame.len());
    }
    Ok(sent + sink.flush()?)
}

#[test]
fn the_filter_lets_only_plausible_replies_pass() {
    use tcp::Flags;
    let Some(lab) = Lab::new() else { return };
    let mut ring = RxRing::open(&lab.near, &FILTER, RxConfig::default()).unwrap();
    let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
    for v6 in [false, true] {
        let tcp = |port, flags| to_near(&lab, v6, ip::Protocol::TCP, &segment(v6, port, flags));
        wanted.push(tcp(PORT, Flags::SYN | Flags::ACK));
        wanted.push(tcp(PORT + 15, Flags::RST | Flags::ACK));
        wanted.push(tcp(PORT + 3, Flags::RST));
        wanted.push(to_near(&lab, v6, ip::Protocol::SCTP, &segment(v6, PORT, Flags::SYN)));
        unwanted.push(tcp(PORT, Flags::SYN));
        unwanted.push(tcp(PORT, Flags::FIN));
        unwanted.push(tcp(PORT - 1, Flags::SYN | Flags::ACK));
        unwanted.push(tcp(PORT + 16, Flags::SYN | Flags::ACK));
        unwanted.push(to_near(&lab, v6, ip::Protocol(47), &segment(v6, PORT, Flags::RST)));
        let (icmp, replies, others): (_, &[u8], &[u8]) = if v6 {
            (58, &[1, 2, 3, 129, 136], &[128, 133, 134, 135])
        } else {
            (1, &[0, 3, 11, 14], &[5, 8, 13])
        };
        let message = |kind: &u8| to_near(&lab, v6, ip::Protocol(icmp), &[*kind, 0, 0, 0, 0, 0, 0, 0]);
        wanted.extend(replies.iter().map(message));
        unwanted.extend(others.iter().map(message));
        // ICMP of the other version means nothing.
        unwanted.push(to_near(&lab, v6, ip::Protocol(if v6 { 1 } else { 58 }), &[3, 0, 0, 0, 0, 0, 0, 0]));
    }
    let mut fragment = to_near(&lab, false, ip::Protocol::TCP, &segment(false, PORT, Flags::RST));
    fragment[14 + 7] = 1;
    unwanted.push(fragment);
    let mut to_another = wanted[0].clone();
    ethernet::set_destination(&mut to_another, ethernet::Address([2, 9, 9, 9, 9, 9]));
    unwanted.push(to_another);
    let mut runt = wanted[0].clone();
    runt.truncate(14 + 21);
    unwanted.push(runt);
    let request =
        arp::Request { hardware: lab.far_end.hardware.unwrap(), sender: FAR_V4, target: FAR_V4, vlan: None };
    let mut reply = vec![0; request.len()];
    request.emit(&mut reply).unwrap();
    ethernet::set_destination(&mut reply, lab.near.hardware.unwrap());
    unwanted.push(reply.clone());
    reply[14 + 7] = 2;
    wanted.push(reply);

    let mut frames = Vec::new();
    for round in 0..wanted.len().max(unwanted.len()) {
        frames.extend(wanted.get(round).cloned());
        frames.extend(unwanted.get(round).cloned());
    }
    let far_end = lab.far_end.clone();
    let total = frames.len();
    let sent = lab.far(move || send_all(&mut TxBatch::open(&far_end, 128).unwrap(), &frames)).unwrap();
    assert_eq!(sent, total);

    let mut passed: Vec<Vec<u8>> = drain(&mut ring).into_iter().map(|(_, packet)| packet).collect();
    let mut expected: Vec<Vec<u8>> = wanted.iter().map(|frame| frame[14..].to_vec()).collect();
    passed.sort();
    expected.sort();
    assert_eq!(passed, expected);
}

#[test]
fn frames_of_our_own_do_not_come_back() {
    let Some(lab) = Lab::new() else { return };
    let mut ring = RxRing::open(&lab.near, &FILTER, RxConfig::default()).unwrap();
    let path = Path { link: ethernet(&lab), source: NEAR_V4, hop_limit: 64 };
    send_datagrams(&mut TxBatch::open(&lab.near, 128).unwrap(), path, FAR_V4);
    // The far end's kernel answers some datagrams with "port unreachable"; those are replies.
    let own = drain(&mut ring).iter().filter(|(_, packet)| packet.get(9) == Some(&17)).count();
    assert_eq!(own, 0);
}

#[test]
fn neighbours_and_echoes_are_answered_by_the_far_kernel() {
    let Some(lab) = Lab::new() else { return };
    let mut ring = RxRing::open(&lab.near, &FILTER, RxConfig::default()).unwrap();
    let hardware = lab.near.hardware.unwrap();
    let mut frames = vec![vec![0; 128]; 4];
    let lengths = [
        arp::Request { hardware, sender: NEAR_V4, target: FAR_V4, vlan: None }.emit(&mut frames[0]).unwrap(),
        ndp::Solicit { hardware, source: NEAR_V6, target: FAR_V6, vlan: None }.emit(&mut frames[1]).unwrap(),
        EchoTemplate::new(Path { link: ethernet(&lab), source: NEAR_V4, hop_limit: 64 })
            .emit(&mut frames[2], &Echo { destination: FAR_V4, identifier: 1, sequence: 2 })
            .unwrap(),
        EchoTemplate::new(Path { link: ethernet(&lab), source: NEAR_V6, hop_limit: 64 })
            .emit(&mut frames[3], &Echo { destination: FAR_V6, identifier: 3, sequence: 4 })
            .unwrap(),
    ];
    for (frame, length) in frames.iter_mut().zip(lengths) {
        frame.truncate(length);
    }
    assert_eq!(send_all(&mut TxRing::open(&lab.near, 128).unwrap(), &frames).unwrap(), 4);

    let (mut owner, mut neighbour, mut echo, mut echo6) = (None, None, None, None);
    for (ether_type, bytes) in drain(&mut ring) {
        if ether_type == EtherType::ARP {
            let packet = arp::Packet::parse(&bytes).unwrap();
            owner = Some((packet.sender(), packet.sender_hardware()));
            continue;
        }
        let packet = ip::Packet::parse(&bytes).unwrap();
        match packet {
            ip::Packet::V4(packet) => {
                let message = portreeve_wire::icmpv4::Message::parse(packet.payload()).unwrap();
                if let portreeve_wire::icmpv4::Body::EchoReply(reply) = message.body() {
                    echo = Some((packet.source(), reply.identifier, reply.sequence));
                }
            }
            ip::Packet::V6(packet) => {
                let message = portreeve_wire::icmpv6::Message::parse(packet.payload()).unwrap();
                match message.body() {
                    portreeve_wire::icmpv6::Body::EchoReply(reply) => {
                        echo6 = Some((packet.source(), reply.identifier, reply.sequence));
                    }
                    portreeve_wire::icmpv6::Body::NeighborAdvertisement(bytes) => {
                        let advertisement = ndp::Advertisement::parse(bytes).unwrap();
                        neighbour = Some((advertisement.target(), advertisement.target_hardware()));
                    }
                    _ => {}
                }
            }
        }
    }
    assert_eq!(owner, Some((FAR_V4, lab.far_end.hardware.unwrap())));
    assert_eq!(neighbour, Some((FAR_V6, lab.far_end.hardware)));
    assert_eq!(echo, Some((FAR_V4, 1, 2)));
    assert_eq!(echo6, Some((FAR_V6, 3, 4)));
}

#[test]
fn a_full_ring_counts_what_it_drops() {
    let Some(lab) = Lab::new() else { return };
    let config = RxConfig { block_bytes: 64 << 10, blocks: 2, ..RxConfig::default() };
    let far_end = lab.far_end.clone();
    let (mut ring, _quiet) = lab.far(move || receiver(&far_end, config));
    let path = Path { link: ethernet(&lab), source: NEAR_V4, hop_limit: 64 };
    send_datagrams(&mut TxRing::open(&lab.near, 128).unwrap(), path, FAR_V4);
    let kept = drain(&mut ring).len() as u64;
    let statistics = ring.statistics().unwrap();
    assert!(statistics.dropped > 0 && statistics.freezes > 0, "{statistics:?}");
    assert_eq!(statistics.received, u64::from(FRAMES));
    assert_eq!(kept + statistics.dropped, statistics.received);
    // Questions do not reset what was counted before.
    assert_eq!(ring.statistics().unwrap(), statistics);
}

#[test]
fn packets_without_a_route_are_refused_and_counted() {
    if network::alone().is_none() {
        return;
    }
    let lo = Interface::by_name("lo").unwrap();
    let mut ring = RxRing::open(&lo, &FILTER, RxConfig::default()).unwrap();
    let mut sink = RawIpBatch::open(&lo, 128).unwrap();
    let path = Path { link: Link::None, source: Ipv4Addr::LOCALHOST, hop_limit: 64 };
    let path6 = Path { link: Link::None, source: Ipv6Addr::LOCALHOST, hop_limit: 64 };
    let (v4, v6) =
        (UdpTemplate::new(path, b"counted").unwrap(), UdpTemplate::new(path6, b"counted").unwrap());
    for round in 0..10 {
        let (source_port, destination_port) = (round, PORT);
        // Not a packet at all.
        sink.frame().unwrap()[..40].fill(0);
        sink.commit(40);
        let probe = Udp { destination: Ipv4Addr::LOCALHOST, source_port, destination_port };
        let length = v4.emit(sink.frame().unwrap(), &probe).unwrap();
        sink.commit(length);
        for destination in [FAR_V6, Ipv6Addr::LOCALHOST] {
            let source_port = source_port + 100;
            let length =
                v6.emit(sink.frame().unwrap(), &Udp { destination, source_port, destination_port }).unwrap();
            sink.commit(length);
        }
    }
    assert_eq!(sink.flush().unwrap(), 20);
    assert_eq!((sink.counters().sent, sink.counters().refused), (20, 20));
    assert_eq!(count(&mut ring, 20).by_port.len(), 20);
}

/// What the kernel answers to a SYN-ACK that nobody asked for, sent to a reserved port.
fn answers_to_a_syn_ack(lab: &Lab, on_reply: OnReply) -> Vec<tcp::Flags> {
    let reserved = ReservedPorts::exactly(PORT..=PORT, on_reply).unwrap();
    let mut near = RxRing::open(&lab.near, &FILTER, RxConfig::default()).unwrap();
    let far_end = lab.far_end.clone();
    let frames = [false, true]
        .map(|v6| to_near(lab, v6, ip::Protocol::TCP, &segment(v6, PORT, tcp::Flags::SYN | tcp::Flags::ACK)));
    let answers = lab.far(move || {
        let answers = ReplyFilter { ports: 443..=443 };
        let mut ring = RxRing::open(&far_end, &answers, RxConfig::default()).unwrap();
        send_all(&mut TxBatch::open(&far_end, 128).unwrap(), &frames).unwrap();
        drain(&mut ring)
    });
    let flags = |bytes: &Vec<u8>| {
        let packet = ip::Packet::parse(bytes).unwrap();
        tcp::Segment::parse(packet.payload()).unwrap().flags()
    };
    drop(reserved);
    assert_eq!(drain(&mut near).len(), 2, "the ring sees the SYN-ACK whatever becomes of it");
    answers
        .iter()
        .filter(|(ether_type, _)| *ether_type != EtherType::ARP)
        .map(|(_, bytes)| flags(bytes))
        .collect()
}

#[test]
fn reserved_ports_answer_as_asked() {
    let Some(lab) = Lab::new() else { return };
    assert_eq!(answers_to_a_syn_ack(&lab, OnReply::Silence), []);
    assert_eq!(answers_to_a_syn_ack(&lab, OnReply::Reset), [tcp::Flags::RST; 2]);
}

#[test]
fn reserved_ports_are_given_to_nobody_else() {
    if network::alone().is_none() {
        return;
    }
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 20_005)).unwrap();
    let error = ReservedPorts::exactly(20_000..=20_015, OnReply::Reset).expect_err("one of them is taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(taken);

    for on_reply in [OnReply::Reset, OnReply::Silence] {
        for seed in [0, 1, u64::MAX] {
            let reserved = ReservedPorts::take(16, on_reply, seed).unwrap();
            assert_eq!(reserved.ports().len(), 16);
            let next = ReservedPorts::take(16, on_reply, seed).unwrap();
            assert!(reserved.ports().all(|port| !next.ports().contains(&port)));
            for port in reserved.ports() {
                for address in
                    [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()]
                {
                    assert!(TcpListener::bind(address).is_err(), "{address} is reserved");
                    assert!(UdpSocket::bind(address).is_err(), "{address} is reserved");
                }
            }
            let ports = reserved.ports();
            drop(reserved);
            assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, *ports.start())).is_ok());
        }
    }
}

#[test]
fn interfaces_are_described() {
    let Some(lab) = Lab::new() else { return };
    let near = &lab.near;
    assert_eq!(
        (near.name.as_str(), near.kind, near.mtu_bytes, near.up),
        ("near", LinkKind::Ethernet, 1500, true)
    );
    assert_ne!(near.hardware, lab.far_end.hardware);
    let addresses: Vec<String> = near.addresses.iter().map(ToString::to_string).collect();
    assert!(addresses.contains(&"10.99.1.1/24".to_owned()), "{addresses:?}");
    assert!(addresses.contains(&"fd99::1/64".to_owned()), "{addresses:?}");
    network::ip("link set near mtu 1280 down");
    let near = Interface::by_name("near").unwrap();
    assert_eq!((near.mtu_bytes, near.up), (1280, false));
    let error = Interface::by_name("nowhere").expect_err("there is none");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_device_that_went_away_is_an_error() {
    let Some(lab) = Lab::new() else { return };
    let (mut ring, mut batch, mut shared) = (
        TxRing::open(&lab.near, 128).unwrap(),
        TxBatch::open(&lab.near, 128).unwrap(),
        TxXdp::open(&lab.near, 0, 128).unwrap(),
    );
    network::ip("link delete near");
    for sink in [&mut ring as &mut dyn FrameSink, &mut batch, &mut shared] {
        assert!(send_all(sink, &[vec![0; 60]]).is_err());
        assert_eq!(sink.counters().sent, 0);
    }
}
