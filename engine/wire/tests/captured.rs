//! Frames that a Linux kernel sent, captured between two namespaces.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

mod walk;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portreeve_wire::{
    arp,
    ethernet::{Address, EtherType, Frame},
    icmpv4, icmpv6, ip, ndp,
    tcp::{Flags, OptionSummary, Segment, SeqNumber, TcpOption},
    udp,
};

const SCANNER: Address = Address([0x56, 0xd6, 0x6d, 0xea, 0x1f, 0x1a]);
const TARGET: Address = Address([0xea, 0x77, 0xaa, 0x78, 0x9d, 0xbb]);
const SCANNER_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 1);
const TARGET_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 2);
const SCANNER_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
const TARGET_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2);

const ARP_REPLY: &str = "56d66dea1f1a ea77aa789dbb 0806 0001 0800 06 04 0002
    ea77aa789dbb 0a630102 56d66dea1f1a 0a630101";
const SYN: &str = "ea77aa789dbb 56d66dea1f1a 0800 4500003c783840004006abbb 0a630101 0a630102
    eb820050 9dab5cd2 00000000 a002faf0 1edf0000 020405b4 0402080a9b2395f000000000 0103030a";
const SYN_ACK: &str = "56d66dea1f1a ea77aa789dbb 0800 4500003c00004000400623f4 0a630102 0a630101
    0050eb82 f0539b3c 9dab5cd3 a012fe88 dfc10000 020405b4 0402080a6c95434e9b2395f0 0103030a";
const RESET: &str = "56d66dea1f1a ea77aa789dbb 0800 450000280000400040062408 0a630102 0a630101
    0051d592 00000000 967d1817 50140000 14900000";
const DATAGRAM: &str = "ea77aa789dbb 56d66dea1f1a 0800 4500002179e840004011aa1b 0a630101 0a630102
    c23414e9 000dce1b 68656c6c6f";
const PORT_UNREACHABLE: &str = "56d66dea1f1a ea77aa789dbb 0800 45c0003d7b1100004001e826 0a630102 0a630101
    030313e4 00000000 4500002179e840004011aa1b 0a630101 0a630102 c23414e9 000dce1b 68656c6c6f";
const SOLICITATION: &str = "3333ff000002 56d66dea1f1a 86dd 6000000000203aff
    fd990000000000000000000000000001 ff0200000000000000000001ff000002
    87009a8b00000000 fd990000000000000000000000000002 010156d66dea1f1a";
const ADVERTISEMENT: &str = "56d66dea1f1a ea77aa789dbb 86dd 6000000000203aff
    fd990000000000000000000000000002 fd990000000000000000000000000001
    8800ea2460000000 fd990000000000000000000000000002 0201ea77aa789dbb";
const PORT_UNREACHABLE_V6: &str = "56d66dea1f1a ea77aa789dbb 86dd 60025375003d3a40
    fd990000000000000000000000000002 fd990000000000000000000000000001
    010457af00000000 60073a68000d1140
    fd990000000000000000000000000001 fd990000000000000000000000000002 80ed14e9000d2af5 68656c6c6f";
const LISTENER_REPORT: &str = "333300000016 56d66dea1f1a 86dd 6000000000380001
    00000000000000000000000000000000 ff020000000000000000000000000016 3a00050200000100
    8f004d6b00000002 04000000ff0200000000000000000001ffea1f1a 04000000ff0200000000000000000001ff000001";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn arp_reply() {
    let bytes = bytes(ARP_REPLY);
    let frame = Frame::parse(&bytes).unwrap();
    assert_eq!((frame.destination(), frame.source()), (SCANNER, TARGET));
    assert_eq!((frame.ether_type(), frame.vlan()), (EtherType::ARP, None));
    let packet = arp::Packet::parse(frame.payload()).unwrap();
    assert_eq!(packet.operation(), arp::Operation::REPLY);
    assert_eq!((packet.sender(), packet.sender_hardware()), (TARGET_V4, TARGET));
    assert_eq!((packet.target(), packet.target_hardware()), (SCANNER_V4, SCANNER));
}

#[test]
fn syn_ack() {
    let bytes = bytes(SYN_ACK);
    let frame = Frame::parse(&bytes).unwrap();
    let packet = ip::Packet::parse(frame.payload()).unwrap();
    assert_eq!((packet.source(), packet.destination()), (IpAddr::V4(TARGET_V4), IpAddr::V4(SCANNER_V4)));
    assert_eq!((packet.hop_limit(), packet.protocol(), packet.fragment()), (64, ip::Protocol::TCP, None));
    let ip::Packet::V4(v4) = packet else { panic!("not IPv4") };
    assert!(v4.checksum_ok() && v4.dont_fragment() && v4.options().is_empty());
    let segment = Segment::parse(packet.payload()).unwrap();
    assert_eq!((segment.source_port(), segment.destination_port()), (80, 60290));
    assert_eq!(segment.flags(), Flags::SYN | Flags::ACK);
    assert!(segment.flags().is_syn_ack());
    assert_eq!(segment.sequence(), SeqNumber(4_032_011_068));
    assert_eq!(segment.acknowledgement(), SeqNumber(2_645_253_331));
    assert_eq!(segment.window(), 65160);
    assert!(segment.payload().is_empty());
    assert!(segment.checksum_ok(packet.source(), packet.destination()));
    assert_eq!(
        segment.option_summary(),
        OptionSummary {
            mss: Some(1460),
            window_scale: Some(10),
            sack_permitted: true,
            timestamps: Some((1_821_721_422, 2_602_800_624)),
            kinds: [2, 4, 8, 1, 3, 0, 0, 0],
        }
    );
    let options: Vec<_> = segment.options().map(Result::unwrap).collect();
    assert_eq!(options[0], TcpOption::MaximumSegmentSize(1460));
    assert_eq!(options[3], TcpOption::NoOperation);
}

#[test]
fn a_changed_bit_breaks_the_checksum() {
    let mut bytes = bytes(SYN);
    bytes[40] ^= 1;
    let packet = ip::Packet::parse(&bytes[14..]).unwrap();
    let segment = Segment::parse(packet.payload()).unwrap();
    assert!(!segment.checksum_ok(packet.source(), packet.destination()));
}

#[test]
fn padding_is_not_payload() {
    let mut bytes = bytes(RESET);
    bytes.resize(60, 0xaa);
    let packet = ip::Packet::parse(&bytes[14..]).unwrap();
    let segment = Segment::parse(packet.payload()).unwrap();
    assert_eq!(segment.flags(), Flags::RST | Flags::ACK);
    assert!(!segment.flags().is_syn_ack() && segment.payload().is_empty());
    assert!(segment.checksum_ok(packet.source(), packet.destination()));
}

#[test]
fn datagram() {
    let bytes = bytes(DATAGRAM);
    let packet = ip::Packet::parse(&bytes[14..]).unwrap();
    let datagram = udp::Datagram::parse(packet.payload()).unwrap();
    assert_eq!((datagram.source_port(), datagram.destination_port()), (49716, 5353));
    assert_eq!(datagram.payload(), b"hello");
    assert!(datagram.checksum_ok(packet.source(), packet.destination()));
}

#[test]
fn port_unreachable_quotes_the_datagram() {
    let bytes = bytes(PORT_UNREACHABLE);
    let packet = ip::Packet::parse(&bytes[14..]).unwrap();
    let message = icmpv4::Message::parse(packet.payload()).unwrap();
    assert!(message.checksum_ok());
    let icmpv4::Body::Unreachable { code, quote } = message.body() else { panic!("not unreachable") };
    assert_eq!(code, icmpv4::UnreachableCode::PORT);
    let quote = ip::Quote::parse(quote).unwrap();
    assert_eq!((quote.source, quote.destination), (SCANNER_V4.into(), TARGET_V4.into()));
    assert_eq!((quote.protocol, quote.ports()), (ip::Protocol::UDP, Some((49716, 5353))));
    assert_eq!((quote.tcp_sequence(), quote.echo()), (None, None));
}

/// RFC 792 asks routers for the header and 8 bytes only.
#[test]
fn the_shortest_quote_of_a_syn_has_ports_and_sequence() {
    let syn = bytes(SYN);
    let quote = ip::Quote::parse(&syn[14..14 + 28]).unwrap();
    assert_eq!((quote.source, quote.destination), (SCANNER_V4.into(), TARGET_V4.into()));
    assert_eq!(quote.ports(), Some((60290, 80)));
    assert_eq!(quote.tcp_sequence(), Some(SeqNumber(2_645_253_330)));
    let shorter = ip::Quote::parse(&syn[14..14 + 27]).unwrap();
    assert_eq!((shorter.ports(), shorter.tcp_sequence()), (Some((60290, 80)), None));
}

#[test]
fn port_unreachable_over_v6_quotes_the_datagram() {
    let bytes = bytes(PORT_UNREACHABLE_V6);
    let packet = ip::Packet::parse(&bytes[14..]).unwrap();
    let message = icmpv6::Message::parse(packet.payload()).unwrap();
    assert!(message.checksum_ok(TARGET_V6, SCANNER_V6));
    let icmpv6::Body::Unreachable { code, .. } = message.body() else { panic!("not unreachable") };
    assert_eq!(code, icmpv6::UnreachableCode::PORT);
    let quote = message.quote().unwrap().unwrap();
    assert_eq!((quote.source, quote.destination), (SCANNER_V6.into(), TARGET_V6.into()));
    assert_eq!((quote.protocol, quote.ports()), (ip::Protocol::UDP, Some((33005, 5353))));
}

#[test]
fn neighbour_advertisement() {
    let bytes = bytes(ADVERTISEMENT);
    let packet = ip::Packet::parse(&bytes[14..]).unwrap();
    assert_eq!(packet.hop_limit(), ndp::HOP_LIMIT);
    let message = icmpv6::Message::parse(packet.payload()).unwrap();
    assert!(message.checksum_ok(TARGET_V6, SCANNER_V6));
    let icmpv6::Body::NeighborAdvertisement(bytes) = message.body() else { panic!("not an advertisement") };
    let advertisement = ndp::Advertisement::parse(bytes).unwrap();
    assert_eq!(advertisement.target(), TARGET_V6);
    assert_eq!(advertisement.target_hardware(), Some(TARGET));
    assert!(advertisement.is_solicited() && advertisement.overrides() && !advertisement.is_router());
}

#[test]
fn extension_headers_are_taken_off() {
    let bytes = bytes(LISTENER_REPORT);
    let packet = ip::Packet::parse(&bytes[14..]).unwrap();
    assert_eq!((packet.protocol(), packet.hop_limit()), (ip::Protocol::ICMPV6, 1));
    let message = icmpv6::Message::parse(packet.payload()).unwrap();
    assert_eq!(message.kind(), 143);
    assert!(message.checksum_ok(Ipv6Addr::UNSPECIFIED, "ff02::16".parse().unwrap()));
}

#[test]
fn our_solicitation_is_the_kernel_s_own_byte_for_byte() {
    let solicit = ndp::Solicit { hardware: SCANNER, source: SCANNER_V6, target: TARGET_V6, vlan: None };
    let mut buffer = [0xff; 128];
    let length = solicit.emit(&mut buffer).unwrap();
    assert_eq!(buffer[..length], bytes(SOLICITATION));
    let solicitation = ndp::Solicitation::parse(&buffer[54..length]).unwrap();
    assert_eq!((solicitation.target(), solicitation.source_hardware()), (TARGET_V6, Some(SCANNER)));
}

#[test]
fn no_frame_panics_when_cut_anywhere() {
    for hex in [
        ARP_REPLY,
        SYN,
        SYN_ACK,
        RESET,
        DATAGRAM,
        PORT_UNREACHABLE,
        SOLICITATION,
        ADVERTISEMENT,
        PORT_UNREACHABLE_V6,
        LISTENER_REPORT,
    ] {
        let bytes = bytes(hex);
        assert_eq!(walk::frame(&bytes), Ok(()));
        for length in 0..bytes.len() {
            assert!(walk::frame(&bytes[..length]).is_err(), "{length} bytes of {hex}");
        }
    }
}
