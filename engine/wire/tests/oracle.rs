//! What we write, etherparse reads; what etherparse writes, we read.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::{
    cmp::Ordering,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use etherparse::{
    ArpOperation, Icmpv4Type, Icmpv6Type, LinkSlice, NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement,
    TransportSlice,
};
use portreeve_wire::{
    BufferTooSmall, arp, checksum,
    ethernet::{self, VlanId},
    icmpv4, icmpv6, ip, ipv4, ipv6, ndp, sctp, tcp,
    template::{
        AckTemplate, Echo, EchoTemplate, Init, InitTemplate, Link, Path, Syn, SynTemplate, TimestampTemplate,
        Udp, UdpTemplate,
    },
    udp,
};
use proptest::prelude::*;

fn links() -> impl Strategy<Value = Link> {
    prop_oneof![
        Just(Link::None),
        (any::<[u8; 6]>(), any::<[u8; 6]>(), proptest::option::of(0_u16..4096)).prop_map(
            |(destination, source, vlan)| Link::Ethernet {
                destination: ethernet::Address(destination),
                source: ethernet::Address(source),
                vlan: vlan.and_then(VlanId::new),
            }
        ),
    ]
}

fn paths<A: std::fmt::Debug + Copy>(source: impl Strategy<Value = A>) -> impl Strategy<Value = Path<A>> {
    (links(), source, any::<u8>()).prop_map(|(link, source, hop_limit)| Path { link, source, hop_limit })
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from_bits)
}

fn syn_options() -> impl Strategy<Value = tcp::SynOptions> {
    (any::<Option<u16>>(), any::<Option<u8>>(), any::<bool>(), any::<Option<u32>>()).prop_map(
        |(mss, window_scale, sack_permitted, timestamps)| tcp::SynOptions {
            mss,
            window_scale,
            sack_permitted,
            timestamps,
        },
    )
}

/// Lets etherparse take the frame apart and checks link and network header against the path.
fn dissect<'a, A: ip::Address>(frame: &'a [u8], path: &Path<A>, destination: A) -> SlicedPacket<'a> {
    let sliced = match path.link {
        Link::None => SlicedPacket::from_ip(frame).unwrap(),
        Link::Ethernet { destination, source, vlan } => {
            let sliced = SlicedPacket::from_ethernet(frame).unwrap();
            let Some(LinkSlice::Ethernet2(header)) = &sliced.link else { panic!("no Ethernet header") };
            assert_eq!((header.destination(), header.source()), (destination.0, source.0));
            let tags: Vec<u16> = sliced.vlan_ids().iter().map(|id| id.value()).collect();
            assert_eq!(tags, vlan.iter().map(|id| id.get()).collect::<Vec<_>>());
            sliced
        }
    };
    match sliced.net.as_ref().expect("a network header") {
        NetSlice::Ipv4(slice) => {
            let header = slice.header().to_header();
            assert_eq!(IpAddr::from(header.source), path.source.into());
            assert_eq!(IpAddr::from(header.destination), destination.into());
            assert_eq!((header.time_to_live, header.dont_fragment), (path.hop_limit, true));
            assert_eq!(header.header_checksum, header.calc_header_checksum());
        }
        NetSlice::Ipv6(slice) => {
            let header = slice.header().to_header();
            assert_eq!(IpAddr::from(header.source), path.source.into());
            assert_eq!(IpAddr::from(header.destination), destination.into());
            assert_eq!(header.hop_limit, path.hop_limit);
        }
        NetSlice::Arp(_) => panic!("ARP instead of IP"),
    }
    sliced
}

fn check_syn<A: ip::Address + std::fmt::Debug>(
    path: Path<A>,
    window: u16,
    options: tcp::SynOptions,
    syn: Syn<A>,
) {
    let template = SynTemplate::new(path, window, options);
    let mut buffer = [0xa5; 160];
    let length = template.emit(&mut buffer, &syn).unwrap();
    assert_eq!(length, template.len());
    assert!(buffer[length..].iter().all(|byte| *byte == 0xa5), "wrote beyond its length");
    assert_eq!(template.emit(&mut buffer[..length - 1], &syn), Err(BufferTooSmall));

    let sliced = dissect(&buffer[..length], &path, syn.destination);
    let Some(TransportSlice::Tcp(segment)) = &sliced.transport else { panic!("no TCP header") };
    let header = segment.to_header();
    assert_eq!((header.source_port, header.destination_port), (syn.source_port, syn.destination_port));
    assert_eq!((header.sequence_number, header.window_size), (syn.sequence.0, window));
    assert!(header.syn && !header.ack && !header.rst && !header.fin);
    let expected = match (path.source.into(), syn.destination.into()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => segment.calc_checksum_ipv4(from.octets(), to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => segment.calc_checksum_ipv6(from.octets(), to.octets()),
        _ => unreachable!("both addresses are of type A"),
    };
    assert_eq!(header.checksum, expected.unwrap());
    let elements: Vec<_> = segment
        .options_iterator()
        .map(Result::unwrap)
        .filter(|element| *element != TcpOptionElement::Noop)
        .collect();
    let wanted: Vec<_> = [
        options.mss.map(TcpOptionElement::MaximumSegmentSize),
        options.sack_permitted.then_some(TcpOptionElement::SelectiveAcknowledgementPermitted),
        options.timestamps.map(|value| TcpOptionElement::Timestamp(value, 0)),
        options.window_scale.map(TcpOptionElement::WindowScale),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert_eq!(elements, wanted);
}

fn check_ack<A: ip::Address + std::fmt::Debug>(path: Path<A>, window: u16, ack: Syn<A>) {
    let template = AckTemplate::new(path, window);
    let mut buffer = [0xa5; 160];
    let length = template.emit(&mut buffer, &ack).unwrap();
    assert_eq!(length, template.len());
    assert!(buffer[length..].iter().all(|byte| *byte == 0xa5), "wrote beyond its length");
    let sliced = dissect(&buffer[..length], &path, ack.destination);
    let Some(TransportSlice::Tcp(segment)) = &sliced.transport else { panic!("no TCP header") };
    let header = segment.to_header();
    assert_eq!((header.source_port, header.destination_port), (ack.source_port, ack.destination_port));
    assert_eq!((header.sequence_number, header.acknowledgment_number), (ack.sequence.0, ack.sequence.0));
    assert!(header.ack && !header.syn && !header.rst && !header.fin);
    let expected = match (path.source.into(), ack.destination.into()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => segment.calc_checksum_ipv4(from.octets(), to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => segment.calc_checksum_ipv6(from.octets(), to.octets()),
        _ => unreachable!("both addresses are of type A"),
    };
    assert_eq!(header.checksum, expected.unwrap());
}

/// etherparse does not know SCTP: the packet is laid out here a second time, as RFC 9260 3 draws it.
fn check_init<A: ip::Address + std::fmt::Debug>(path: Path<A>, init: Init<A>) {
    let template = InitTemplate::new(path);
    let mut buffer = [0xa5; 160];
    let length = template.emit(&mut buffer, &init).unwrap();
    assert_eq!(length, template.len());
    assert!(buffer[length..].iter().all(|byte| *byte == 0xa5), "wrote beyond its length");
    let sliced = dissect(&buffer[..length], &path, init.destination);
    let packet = sliced.net.as_ref().and_then(|net| net.ip_payload_ref()).expect("an IP packet").payload;
    let tag = init.initiate_tag.to_be_bytes();
    assert_eq!(packet.len(), 32);
    assert_eq!(
        packet[..8],
        [&init.source_port.to_be_bytes()[..], &init.destination_port.to_be_bytes(), &[0; 4]].concat()
    );
    assert_eq!(packet[12..16], [1, 0, 0, 20]);
    assert_eq!((&packet[16..20], &packet[28..]), (&tag[..], &tag[..]));
    assert!(
        u32::from_be_bytes(packet[20..24].try_into().unwrap()) >= 1500,
        "RFC 9260 3.3.2: the least window"
    );
    assert!(packet[24..28].chunks(2).all(|streams| streams != [0, 0]), "no streams");
    assert!(sctp::Packet::parse(packet).unwrap().checksum_ok());
    let crc = bitwise_crc32c(&[&packet[..8], &[0; 4], &packet[12..]].concat());
    assert_eq!(packet[8..12], crc.to_le_bytes());
}

/// CRC32c bit by bit.
fn bitwise_crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

fn check_udp<A: ip::Address + std::fmt::Debug>(path: Path<A>, payload: &[u8], probe: Udp<A>) {
    let template = UdpTemplate::new(path, payload).unwrap();
    let mut buffer = [0xa5; 1400];
    let length = template.emit(&mut buffer, &probe).unwrap();
    assert_eq!(length, template.len());
    assert!(buffer[length..].iter().all(|byte| *byte == 0xa5), "wrote beyond its length");

    let sliced = dissect(&buffer[..length], &path, probe.destination);
    let Some(TransportSlice::Udp(datagram)) = &sliced.transport else { panic!("no UDP header") };
    assert_eq!(
        (datagram.source_port(), datagram.destination_port()),
        (probe.source_port, probe.destination_port)
    );
    assert_eq!(datagram.payload(), payload);
    let header = datagram.to_header();
    let expected = match (path.source.into(), probe.destination.into()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
        }
        _ => unreachable!("both addresses are of type A"),
    };
    assert_eq!(header.checksum, expected.unwrap());
}

proptest! {
    #[test]
    fn syn_v4(
        path in paths(v4()), to in v4(), window: u16, options in syn_options(), source_port: u16,
        destination_port: u16, sequence: u32,
    ) {
        let sequence = tcp::SeqNumber(sequence);
        check_syn(path, window, options, Syn { destination: to, source_port, destination_port, sequence });
    }

    #[test]
    fn syn_v6(
        path in paths(v6()), to in v6(), window: u16, options in syn_options(), source_port: u16,
        destination_port: u16, sequence: u32,
    ) {
        let sequence = tcp::SeqNumber(sequence);
        check_syn(path, window, options, Syn { destination: to, source_port, destination_port, sequence });
    }

    #[test]
    fn udp_v4(
        path in paths(v4()), to in v4(), payload in proptest::collection::vec(any::<u8>(), 0..300),
        source_port: u16, destination_port: u16,
    ) {
        check_udp(path, &payload, Udp { destination: to, source_port, destination_port });
    }

    #[test]
    fn udp_v6(
        path in paths(v6()), to in v6(), payload in proptest::collection::vec(any::<u8>(), 0..300),
        source_port: u16, destination_port: u16,
    ) {
        check_udp(path, &payload, Udp { destination: to, source_port, destination_port });
    }

    #[test]
    fn echo_v4(path in paths(v4()), to in v4(), identifier: u16, sequence: u16) {
        let template = EchoTemplate::new(path);
        let mut buffer = [0xa5; 128];
        let length = template.emit(&mut buffer, &Echo { destination: to, identifier, sequence }).unwrap();
        prop_assert_eq!(length, template.len());
        let sliced = dissect(&buffer[..length], &path, to);
        let Some(TransportSlice::Icmpv4(message)) = &sliced.transport else { panic!("no ICMP header") };
        let header = message.header();
        let Icmpv4Type::EchoRequest(echo) = header.icmp_type else { panic!("not an echo request") };
        prop_assert_eq!((echo.id, echo.seq), (identifier, sequence));
        prop_assert_eq!(header.checksum, header.icmp_type.calc_checksum(message.payload()));
    }

    #[test]
    fn ack_v4(
        path in paths(v4()), to in v4(), window: u16, source_port: u16, destination_port: u16, sequence: u32,
    ) {
        let ack = Syn { destination: to, source_port, destination_port, sequence: tcp::SeqNumber(sequence) };
        check_ack(path, window, ack);
    }

    #[test]
    fn ack_v6(
        path in paths(v6()), to in v6(), window: u16, source_port: u16, destination_port: u16, sequence: u32,
    ) {
        let ack = Syn { destination: to, source_port, destination_port, sequence: tcp::SeqNumber(sequence) };
        check_ack(path, window, ack);
    }

    #[test]
    fn init_v4(path in paths(v4()), to in v4(), source_port: u16, destination_port: u16, initiate_tag: u32) {
        check_init(path, Init { destination: to, source_port, destination_port, initiate_tag });
    }

    #[test]
    fn init_v6(path in paths(v6()), to in v6(), source_port: u16, destination_port: u16, initiate_tag: u32) {
        check_init(path, Init { destination: to, source_port, destination_port, initiate_tag });
    }

    #[test]
    fn timestamp(path in paths(v4()), to in v4(), identifier: u16, sequence: u16) {
        let template = TimestampTemplate::new(path);
        let mut buffer = [0xa5; 128];
        let length = template.emit(&mut buffer, &Echo { destination: to, identifier, sequence }).unwrap();
        prop_assert_eq!(length, template.len());
        prop_assert!(buffer[length..].iter().all(|byte| *byte == 0xa5));
        let sliced = dissect(&buffer[..length], &path, to);
        let Some(TransportSlice::Icmpv4(message)) = &sliced.transport else { panic!("no ICMP header") };
        let Icmpv4Type::TimestampRequest(stamp) = message.header().icmp_type else { panic!("another kind") };
        prop_assert_eq!((stamp.id, stamp.seq), (identifier, sequence));
        prop_assert_eq!(message.header().checksum, message.header().icmp_type.calc_checksum(message.payload()));
    }

    #[test]
    fn echo_v6(path in paths(v6()), to in v6(), identifier: u16, sequence: u16) {
        let template = EchoTemplate::new(path);
        let mut buffer = [0xa5; 128];
        let length = template.emit(&mut buffer, &Echo { destination: to, identifier, sequence }).unwrap();
        let sliced = dissect(&buffer[..length], &path, to);
        let Some(TransportSlice::Icmpv6(message)) = &sliced.transport else { panic!("no ICMPv6 header") };
        let Icmpv6Type::EchoRequest(echo) = message.icmp_type() else { panic!("not an echo request") };
        prop_assert_eq!((echo.id, echo.seq), (identifier, sequence));
        prop_assert!(message.is_checksum_valid(path.source.octets(), to.octets()));
    }

    #[test]
    fn arp_request(hardware: [u8; 6], sender in v4(), target in v4(), vlan in proptest::option::of(0_u16..4096)) {
        let vlan = vlan.and_then(VlanId::new);
        let request = arp::Request { hardware: ethernet::Address(hardware), sender, target, vlan };
        let mut buffer = [0xa5; 64];
        let length = request.emit(&mut buffer).unwrap();
        prop_assert_eq!(length, request.len());
        let sliced = SlicedPacket::from_ethernet(&buffer[..length]).unwrap();
        let Some(NetSlice::Arp(packet)) = sliced.net else { panic!("no ARP packet") };
        let packet = packet.to_packet().try_eth_ipv4().unwrap();
        prop_assert_eq!(packet.operation, ArpOperation::REQUEST);
        prop_assert_eq!((packet.sender_mac, packet.sender_ipv4), (hardware, sender.octets()));
        prop_assert_eq!((packet.target_mac, packet.target_ipv4), ([0; 6], target.octets()));
    }

    #[test]
    fn solicitation(hardware: [u8; 6], source in v6(), target in v6()) {
        let solicit = ndp::Solicit { hardware: ethernet::Address(hardware), source, target, vlan: None };
        let mut buffer = [0xa5; 128];
        let length = solicit.emit(&mut buffer).unwrap();
        let sliced = SlicedPacket::from_ethernet(&buffer[..length]).unwrap();
        let Some(TransportSlice::Icmpv6(message)) = &sliced.transport else { panic!("no ICMPv6 header") };
        prop_assert!(matches!(message.icmp_type(), Icmpv6Type::NeighborSolicitation));
        prop_assert!(message.is_checksum_valid(source.octets(), ndp::solicited_node(target).octets()));
        prop_assert_eq!(&message.payload()[..16], target.octets());
    }

    #[test]
    fn headers_agree_with_templates(
        path in paths(v4()), to in v4(), window: u16, options in syn_options(), source_port: u16,
        destination_port: u16, sequence: u32,
    ) {
        let sequence = tcp::SeqNumber(sequence);
        let path = Path { link: Link::None, ..path };
        let mut patched = [0; 128];
        let syn = Syn { destination: to, source_port, destination_port, sequence };
        let length = SynTemplate::new(path, window, options).emit(&mut patched, &syn).unwrap();

        let header = tcp::Header {
            source_port, destination_port, sequence, window, options,
            acknowledgement: tcp::SeqNumber(0), flags: tcp::Flags::SYN,
        };
        let network = ipv4::Header {
            source: path.source, destination: to, hop_limit: path.hop_limit, protocol: ip::Protocol::TCP,
            payload_len: header.len() as u16,
        };
        let mut built = [0; 128];
        let at = network.emit(&mut built).unwrap();
        let end = at + header.emit(&mut built[at..], path.source.into(), to.into()).unwrap();
        prop_assert_eq!(&built[..end], &patched[..length]);
    }

    #[test]
    fn reads_tcp_of_etherparse(
        from in v4(), to in v4(), ttl: u8, source_port: u16, destination_port: u16, sequence: u32, ack: u32,
        window: u16, data in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(from.octets(), to.octets(), ttl)
            .tcp(source_port, destination_port, sequence, window).syn().ack(ack)
            .options(&[TcpOptionElement::Timestamp(1, 2), TcpOptionElement::MaximumSegmentSize(536)]).unwrap();
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &data).unwrap();
        let frame = ethernet::Frame::parse(&bytes).unwrap();
        let packet = ip::Packet::parse(frame.payload()).unwrap();
        prop_assert_eq!((packet.source(), packet.destination()), (IpAddr::V4(from), IpAddr::V4(to)));
        prop_assert_eq!(packet.hop_limit(), ttl);
        let ip::Packet::V4(v4) = packet else { panic!("not IPv4") };
        prop_assert!(v4.checksum_ok());
        let segment = tcp::Segment::parse(packet.payload()).unwrap();
        prop_assert_eq!((segment.source_port(), segment.destination_port()), (source_port, destination_port));
        prop_assert_eq!((segment.sequence().0, segment.acknowledgement().0), (sequence, ack));
        prop_assert_eq!((segment.window(), segment.payload()), (window, data.as_slice()));
        prop_assert!(segment.flags().is_syn_ack() && segment.checksum_ok(from.into(), to.into()));
        let summary = segment.option_summary();
        prop_assert_eq!((summary.mss, summary.timestamps, summary.sack_permitted), (Some(536), Some((1, 2)), false));
    }

    #[test]
    fn reads_udp_of_etherparse(
        from in v6(), to in v6(), source_port: u16, destination_port: u16,
        data in proptest::collection::vec(any::<u8>(), 0..100), vlan in 0_u16..4096,
    ) {
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6])
            .single_vlan(etherparse::VlanId::try_new(vlan).unwrap())
            .ipv6(from.octets(), to.octets(), 9).udp(source_port, destination_port);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &data).unwrap();
        let frame = ethernet::Frame::parse(&bytes).unwrap();
        prop_assert_eq!(frame.vlan().map(VlanId::get), Some(vlan));
        let packet = ip::Packet::parse(frame.payload()).unwrap();
        prop_assert_eq!((packet.source(), packet.destination()), (IpAddr::V6(from), IpAddr::V6(to)));
        let datagram = udp::Datagram::parse(packet.payload()).unwrap();
        prop_assert_eq!((datagram.source_port(), datagram.destination_port()), (source_port, destination_port));
        prop_assert_eq!(datagram.payload(), data.as_slice());
        prop_assert!(datagram.checksum_ok(from.into(), to.into()));

        let mut ours = vec![0; 8 + data.len()];
        let header = udp::Header { source_port, destination_port, payload: &data };
        header.emit(&mut ours, from.into(), to.into()).unwrap();
        prop_assert_eq!(ours.as_slice(), packet.payload());
    }

    #[test]
    fn reads_echo_replies_of_etherparse(a in v4(), b in v4(), c in v6(), d in v6(), id: u16, sequence: u16) {
        let data = b"echo";
        let expected = icmpv4::Echo { identifier: id, sequence, data };
        let mut bytes = Vec::new();
        PacketBuilder::ipv4(a.octets(), b.octets(), 64).icmpv4_echo_reply(id, sequence).write(&mut bytes, data).unwrap();
        let packet = ip::Packet::parse(&bytes).unwrap();
        let message = icmpv4::Message::parse(packet.payload()).unwrap();
        prop_assert!(message.checksum_ok());
        let icmpv4::Body::EchoReply(echo) = message.body() else { panic!("not an echo reply") };
        prop_assert_eq!(echo, expected);

        let mut bytes = Vec::new();
        PacketBuilder::ipv6(c.octets(), d.octets(), 64).icmpv6_echo_reply(id, sequence).write(&mut bytes, data).unwrap();
        let packet = ip::Packet::parse(&bytes).unwrap();
        let message = icmpv6::Message::parse(packet.payload()).unwrap();
        prop_assert!(message.checksum_ok(c, d));
        let icmpv6::Body::EchoReply(echo) = message.body() else { panic!("not an echo reply") };
        prop_assert_eq!(echo, expected);
    }

    #[test]
    fn a_forwarded_header_updates_like_a_new_one(source in v4(), destination in v4(), hop_limit in 1_u8.., payload_len in 0_u16..1500) {
        let header = ipv4::Header { source, destination, hop_limit, protocol: ip::Protocol::TCP, payload_len };
        let (mut before, mut after) = ([0; 20], [0; 20]);
        header.emit(&mut before).unwrap();
        ipv4::Header { hop_limit: hop_limit - 1, ..header }.emit(&mut after).unwrap();
        let word = |bytes: &[u8], at| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        prop_assert_eq!(checksum::update(word(&before, 10), word(&before, 8), word(&after, 8)), word(&after, 10));
    }
}

#[test]
fn payloads_beyond_every_link_are_refused() {
    let path = Path { link: Link::None, source: Ipv6Addr::LOCALHOST, hop_limit: 64 };
    let payload = vec![0; UdpTemplate::<Ipv6Addr>::MAX_PAYLOAD + 1];
    assert!(UdpTemplate::new(path, &payload).is_none());
    let largest = UdpTemplate::new(path, &payload[1..]).unwrap();
    assert_eq!(largest.len(), 1280);
    assert_eq!(largest.len(), ipv6::HEADER_LEN + udp::HEADER_LEN + payload.len() - 1);
}

#[test]
fn sequence_numbers_wrap() {
    use tcp::SeqNumber;
    let last = SeqNumber(u32::MAX);
    assert_eq!(last + 1, SeqNumber(0));
    assert_eq!(last.partial_cmp(&(last + 1)), Some(Ordering::Less));
    assert_eq!(last.partial_cmp(&(last - 1)), Some(Ordering::Greater));
    assert_eq!(SeqNumber(5) - last, 6);
    assert_eq!(SeqNumber(0).partial_cmp(&SeqNumber(1 << 31)), None);
}

#[test]
fn a_frame_is_redirected_in_place() {
    let link = Link::Ethernet {
        destination: ethernet::Address::ZERO,
        source: ethernet::Address([2; 6]),
        vlan: None,
    };
    let template = EchoTemplate::new(Path { link, source: Ipv4Addr::LOCALHOST, hop_limit: 1 });
    let mut buffer = [0; 64];
    let echo = Echo { destination: Ipv4Addr::LOCALHOST, identifier: 1, sequence: 2 };
    let length = template.emit(&mut buffer, &echo).unwrap();
    ethernet::set_destination(&mut buffer[..length], ethernet::Address([7; 6]));
    assert_eq!(ethernet::Frame::parse(&buffer[..length]).unwrap().destination(), ethernet::Address([7; 6]));
}
