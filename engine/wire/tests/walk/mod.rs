//! Reads every field of whatever a frame holds: the property "no accessor panics", for tests and fuzzing.

use std::{hint::black_box, net::IpAddr};

use portreeve_wire::{
    Malformed, arp,
    ethernet::{EtherType, Frame},
    icmpv4, icmpv6, ip, ipv4, ipv6, ndp, sctp, tcp, udp,
};

/// Reads a received Ethernet frame to its last field.
pub fn frame(bytes: &[u8]) -> Result<(), Malformed> {
    let frame = Frame::parse(bytes)?;
    black_box((frame.destination(), frame.source(), frame.vlan(), frame.ether_type()));
    match frame.ether_type() {
        EtherType::ARP => {
            let packet = arp::Packet::parse(frame.payload())?;
            black_box((packet.operation(), packet.sender(), packet.sender_hardware()));
            black_box((packet.target(), packet.target_hardware()));
            Ok(())
        }
        EtherType::IPV4 | EtherType::IPV6 => packet(frame.payload()),
        _ => Ok(()),
    }
}

/// Reads a received IP packet to its last field.
pub fn packet(bytes: &[u8]) -> Result<(), Malformed> {
    let packet = ip::Packet::parse(bytes)?;
    match &packet {
        ip::Packet::V4(packet) => v4(packet),
        ip::Packet::V6(packet) => v6(packet),
    }
    black_box((packet.source(), packet.destination(), packet.hop_limit(), packet.fragment()));
    let payload = packet.payload();
    match packet.protocol() {
        ip::Protocol::ICMPV4 => icmp4(payload),
        ip::Protocol::ICMPV6 => icmp6(payload, packet.source(), packet.destination()),
        ip::Protocol::SCTP => {
            let packet = sctp::Packet::parse(payload)?;
            black_box((packet.source_port(), packet.destination_port(), packet.verification_tag()));
            black_box(packet.checksum_ok());
            packet.chunks().try_for_each(|chunk| chunk.map(|chunk| _ = black_box(chunk)))
        }
        ip::Protocol::TCP => {
            let segment = tcp::Segment::parse(payload)?;
            black_box((segment.source_port(), segment.destination_port(), segment.flags(), segment.window()));
            black_box((segment.sequence(), segment.acknowledgement(), segment.option_summary()));
            black_box(segment.checksum_ok(packet.source(), packet.destination()));
            segment.options().take(41).try_for_each(|option| option.map(|option| _ = black_box(option)))
        }
        ip::Protocol::UDP => {
            let datagram = udp::Datagram::parse(payload)?;
            black_box((datagram.source_port(), datagram.destination_port(), datagram.payload()));
            black_box(datagram.checksum_ok(packet.source(), packet.destination()));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn v4(packet: &ipv4::Packet<'_>) {
    black_box((
        packet.identification(),
        packet.dont_fragment(),
        packet.traffic_class(),
        packet.total_length(),
    ));
    black_box((packet.options(), packet.checksum_ok()));
}

fn v6(packet: &ipv6::Packet<'_>) {
    black_box(packet.payload_length());
}

fn icmp4(bytes: &[u8]) -> Result<(), Malformed> {
    let message = icmpv4::Message::parse(bytes)?;
    black_box((message.code(), message.body(), message.checksum_ok()));
    message.quote().map_or(Ok(()), |quote| quote.map(|quote| read_quote(&quote)))
}

fn icmp6(bytes: &[u8], source: IpAddr, destination: IpAddr) -> Result<(), Malformed> {
    let message = icmpv6::Message::parse(bytes)?;
    if let (IpAddr::V6(source), IpAddr::V6(destination)) = (source, destination) {
        black_box(message.checksum_ok(source, destination));
    }
    match message.body() {
        icmpv6::Body::NeighborAdvertisement(bytes) => {
            let advertisement = ndp::Advertisement::parse(bytes)?;
            black_box((
                advertisement.target(),
                advertisement.target_hardware(),
                advertisement.options().count(),
            ));
            black_box((advertisement.is_router(), advertisement.is_solicited(), advertisement.overrides()));
        }
        icmpv6::Body::NeighborSolicitation(bytes) => {
            let solicitation = ndp::Solicitation::parse(bytes)?;
            black_box((
                solicitation.target(),
                solicitation.source_hardware(),
                solicitation.options().count(),
            ));
        }
        body => _ = black_box(body),
    }
    message.quote().map_or(Ok(()), |quote| quote.map(|quote| read_quote(&quote)))
}

fn read_quote(quote: &ip::Quote<'_>) {
    black_box((quote.source, quote.destination, quote.ports(), quote.tcp_sequence(), quote.echo()));
    black_box((quote.sctp_initiate_tag(), quote.timestamp()));
}
