//! Bytes that lie about their lengths, and bytes that are anything at all.

mod walk;

use portreeve_wire::{
    Malformed, arp, ethernet, icmpv4, icmpv6, ip, ipv4, ipv6, ndp,
    tcp::{Segment, TcpOption},
    udp,
};
use proptest::prelude::*;

fn v4(bytes: &[(usize, u8)], length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    packet[0] = 0x45;
    packet[3] = length as u8;
    for (at, value) in bytes {
        packet[*at] = *value;
    }
    packet
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    packet[6] = next;
    packet.extend_from_slice(payload);
    packet
}

fn tcp(offset: u8, options: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[12] = offset << 4;
    segment.extend_from_slice(options);
    segment
}

#[test]
fn ethernet_tags() {
    let tagged = |tags: usize| {
        let mut frame = vec![0; 12];
        for tag in 0..tags {
            frame.extend_from_slice(&[0x81, 0x00, 0xe0, 5 + tag as u8]);
        }
        frame.extend_from_slice(&[0x08, 0x06]);
        frame
    };
    let vlan = |bytes: &[u8]| ethernet::Frame::parse(bytes).map(|frame| frame.vlan().map(|id| id.get()));
    assert_eq!(vlan(&tagged(0)), Ok(None));
    assert_eq!(vlan(&tagged(1)), Ok(Some(5)));
    assert_eq!(vlan(&tagged(2)), Ok(Some(6)));
    assert_eq!(vlan(&tagged(3)), Err(Malformed::EthernetVlanDepth));
    assert_eq!(vlan(&tagged(1)[..17]), Err(Malformed::EthernetTruncated));
    assert_eq!(vlan(&tagged(0)[..13]), Err(Malformed::EthernetTruncated));
}

#[test]
fn arp_for_other_networks() {
    let mut packet = [0; 28];
    packet[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
    assert!(arp::Packet::parse(&packet).is_ok());
    assert_eq!(arp::Packet::parse(&packet[..27]).err(), Some(Malformed::ArpTruncated));
    packet[4] = 8;
    assert_eq!(arp::Packet::parse(&packet).err(), Some(Malformed::ArpUnsupported));
}

#[test]
fn ipv4_lengths() {
    let parse = |bytes: &[u8]| ipv4::Packet::parse(bytes).map(|packet| packet.payload().len());
    assert_eq!(parse(&v4(&[], 20)), Ok(0));
    assert_eq!(parse(&v4(&[], 30)), Ok(10));
    assert_eq!(parse(&v4(&[], 30)[..19]), Err(Malformed::Ipv4Truncated));
    assert_eq!(parse(&v4(&[(0, 0x44)], 30)), Err(Malformed::Ipv4HeaderLength));
    assert_eq!(parse(&v4(&[(0, 0x4f)], 30)), Err(Malformed::Ipv4HeaderLength));
    assert_eq!(parse(&v4(&[(0, 0x65)], 30)), Err(Malformed::IpVersion));
    assert_eq!(parse(&v4(&[(3, 31)], 30)), Err(Malformed::Ipv4TotalLength));
    assert_eq!(parse(&v4(&[(3, 19)], 30)), Err(Malformed::Ipv4TotalLength));
    assert_eq!(parse(&v4(&[(0, 0x47), (3, 27)], 40)), Err(Malformed::Ipv4TotalLength));
    assert_eq!(ipv4::Packet::parse_cut(&v4(&[(2, 5)], 30)).map(|packet| packet.payload().len()), Ok(10));
    assert_eq!(ip::Packet::parse(&[]).err(), Some(Malformed::IpVersion));
    assert_eq!(ip::Packet::parse(&[0x55; 60]).err(), Some(Malformed::IpVersion));
}

#[test]
fn ipv4_fragments() {
    let fragment = |high, low| ipv4::Packet::parse(&v4(&[(6, high), (7, low)], 20)).unwrap().fragment();
    assert_eq!(fragment(0x40, 0), None);
    assert_eq!(fragment(0x20, 0), Some(ip::Fragment { offset_bytes: 0, more: true }));
    assert_eq!(fragment(0x00, 3), Some(ip::Fragment { offset_bytes: 24, more: false }));
    assert_eq!(fragment(0x3f, 0xff), Some(ip::Fragment { offset_bytes: 65528, more: true }));
    let later = v4(&[(7, 3)], 28);
    assert_eq!(ip::Quote::parse(&later).err(), Some(Malformed::QuoteFragment));
}

#[test]
fn ipv6_lengths_and_extensions() {
    let parse =
        |bytes: &[u8]| ipv6::Packet::parse(bytes).map(|packet| (packet.protocol().0, packet.payload().len()));
    assert_eq!(parse(&v6(6, &[0; 9])), Ok((6, 9)));
    assert_eq!(parse(&v6(6, &[])[..39]), Err(Malformed::Ipv6Truncated));
    assert_eq!(parse(&v6(6, &[0; 9])[..48]), Err(Malformed::Ipv6PayloadLength));
    assert_eq!(ipv6::Packet::parse_cut(&v6(6, &[0; 9])[..48]).unwrap().payload().len(), 8);

    // Hop-by-hop of 16 bytes, then TCP.
    let mut extended = vec![6, 1];
    extended.resize(20, 0);
    assert_eq!(parse(&v6(0, &extended)), Ok((6, 4)));
    extended[1] = 2;
    assert_eq!(parse(&v6(0, &extended)), Err(Malformed::Ipv6ExtensionLength));
    assert_eq!(parse(&v6(60, &[6])), Err(Malformed::Ipv6ExtensionLength));
    assert_eq!(parse(&v6(44, &[6; 7])), Err(Malformed::Ipv6ExtensionLength));
    // Authentication counts in fours, less two.
    assert_eq!(parse(&v6(51, &[17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])), Ok((17, 0)));

    let chain = |count: usize| {
        let mut payload = [60, 0, 0, 0, 0, 0, 0, 0].repeat(count);
        let last = payload.len() - 8;
        payload[last] = 17;
        v6(60, &payload)
    };
    assert_eq!(parse(&chain(ipv6::MAX_EXTENSIONS)), Ok((17, 0)));
    assert_eq!(parse(&chain(ipv6::MAX_EXTENSIONS + 1)), Err(Malformed::Ipv6ExtensionCount));
}

#[test]
fn a_later_ipv6_fragment_is_not_read_as_headers() {
    // Offset 8; what follows would be an endless chain of extensions if it were walked.
    let bytes = v6(44, &[60, 0, 0, 9, 0, 0, 0, 1, 60, 255, 0, 0]);
    let packet = ipv6::Packet::parse(&bytes).unwrap();
    assert_eq!(packet.fragment(), Some(ip::Fragment { offset_bytes: 8, more: true }));
    assert_eq!((packet.protocol().0, packet.payload().len()), (60, 4));
    assert_eq!(ip::Quote::parse(&bytes).err(), Some(Malformed::QuoteFragment));
}

#[test]
fn tcp_offsets_and_options() {
    assert_eq!(Segment::parse(&tcp(4, &[])).err(), Some(Malformed::TcpDataOffset));
    assert_eq!(Segment::parse(&tcp(6, &[])).err(), Some(Malformed::TcpDataOffset));
    assert_eq!(Segment::parse(&tcp(5, &[])[..19]).err(), Some(Malformed::TcpTruncated));

    let options = |bytes: [u8; 8]| {
        let segment = tcp(7, &bytes);
        Segment::parse(&segment)
            .unwrap()
            .options()
            .map(|option| option.map(|option| option.kind()))
            .collect::<Vec<_>>()
    };
    assert_eq!(options([0; 8]), []);
    assert_eq!(options([1, 1, 0, 2, 4, 5, 5, 5]), [Ok(1), Ok(1)]);
    assert_eq!(options([1, 2, 1, 1, 1, 1, 1, 1]), [Ok(1), Err(Malformed::TcpOptionLength)]);
    assert_eq!(options([2, 0, 0, 0, 0, 0, 0, 0]), [Err(Malformed::TcpOptionLength)]);
    assert_eq!(options([254, 9, 0, 0, 0, 0, 0, 0]), [Err(Malformed::TcpOptionLength)]);
    assert_eq!(options([254, 7, 0, 0, 0, 0, 0, 3]), [Ok(254), Err(Malformed::TcpOptionLength)]);

    // A known kind of unknown length is not read as that kind.
    let segment = tcp(6, &[3, 4, 9, 9]);
    let segment = Segment::parse(&segment).unwrap();
    assert_eq!(segment.options().next(), Some(Ok(TcpOption::Other { kind: 3, data: &[9, 9] })));
    assert_eq!(segment.option_summary().window_scale, None);
    assert_eq!(segment.option_summary().kinds, [3, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn udp_lengths() {
    let datagram = |length: u8| [0, 1, 0, 2, 0, length, 0, 0, 7, 7];
    assert_eq!(udp::Datagram::parse(&datagram(9)).unwrap().payload(), [7]);
    assert_eq!(udp::Datagram::parse(&datagram(7)).err(), Some(Malformed::UdpLength));
    assert_eq!(udp::Datagram::parse(&datagram(11)).err(), Some(Malformed::UdpLength));
    assert_eq!(udp::Datagram::parse(&datagram(8)[..7]).err(), Some(Malformed::UdpTruncated));
}

#[test]
fn icmp_lengths() {
    assert_eq!(icmpv4::Message::parse(&[3; 7]).err(), Some(Malformed::IcmpTruncated));
    assert_eq!(icmpv6::Message::parse(&[1; 7]).err(), Some(Malformed::IcmpTruncated));
    let empty = icmpv4::Message::parse(&[3, 1, 0, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(empty.quote().unwrap().err(), Some(Malformed::IpVersion));
}

#[test]
fn ndp_options() {
    let advertisement = |options: &[u8]| {
        let mut bytes = vec![0; 24];
        bytes[0] = 136;
        bytes.extend_from_slice(options);
        ndp::Advertisement::parse(&bytes).map(|advertisement| advertisement.target_hardware())
    };
    let hardware = Some(ethernet::Address([1, 2, 3, 4, 5, 6]));
    assert_eq!(advertisement(&[]), Ok(None));
    assert_eq!(advertisement(&[2, 1, 1, 2, 3, 4, 5, 6]), Ok(hardware));
    assert_eq!(advertisement(&[9, 1, 0, 0, 0, 0, 0, 0, 2, 1, 1, 2, 3, 4, 5, 6]), Ok(hardware));
    assert_eq!(advertisement(&[2, 0, 1, 2, 3, 4, 5, 6]), Err(Malformed::NdpOptionLength));
    assert_eq!(advertisement(&[2, 2, 1, 2, 3, 4, 5, 6]), Err(Malformed::NdpOptionLength));
    assert_eq!(advertisement(&[2]), Err(Malformed::NdpOptionLength));
    assert_eq!(ndp::Advertisement::parse(&[136; 23]).err(), Some(Malformed::NdpTruncated));
    assert_eq!(ndp::Solicitation::parse(&[136; 24]).err(), Some(Malformed::NdpUnexpectedType));
}

/// Random bytes behind headers that let them through to the deeper parsers.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let protocol =
        prop_oneof![Just(1_u8), Just(6), Just(17), Just(58), Just(0), Just(44), Just(51), Just(60)];
    (any::<bool>(), protocol, proptest::collection::vec(any::<u8>(), 0..160)).prop_map(
        |(four, protocol, payload)| {
            let mut frame = vec![0; 12];
            if four {
                frame.extend_from_slice(&[0x08, 0x00, 0x45, 0]);
                frame.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
                frame.extend_from_slice(&[0, 0, 0, 0, 64, protocol, 0, 0, 10, 99, 0, 1, 10, 99, 0, 2]);
                frame.extend_from_slice(&payload);
            } else {
                frame.extend_from_slice(&[0x86, 0xdd]);
                frame.extend_from_slice(&v6(protocol, &payload));
            }
            frame
        },
    )
}

proptest! {
    #[test]
    fn nothing_panics_on_random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = walk::frame(&bytes);
        let _ = walk::packet(&bytes);
    }

    #[test]
    fn nothing_panics_on_plausible_bytes(frame in plausible()) {
        let _ = walk::frame(&frame);
    }
}
