//! What a received packet says: pure, and safe against any bytes.

use std::net::IpAddr;

use portreeve_model::{PortState, Reason, SynAckTraits};
use portreeve_wire::{
    icmpv4, icmpv6,
    ip::{Packet, Protocol, Quote},
    sctp::{self, ChunkKind},
    tcp::{Flags, Segment},
    udp::Datagram,
};

use super::{DropCause, Reply};
use crate::{
    cookie::{CookieKey, EchoCookie, SourcePorts},
    space::{ProbeKind, ProbeSpace},
};

/// What a reply is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Classifier<'a> {
    pub(crate) space: &'a ProbeSpace,
    pub(crate) key: CookieKey,
    pub(crate) ports: SourcePorts,
}

/// A conclusion about a port, before the target is known.
#[derive(Clone, Copy)]
struct Finding {
    state: PortState,
    reason: Reason,
}

impl Classifier<'_> {
    /// The reply in an IP packet, or why it is none.
    pub(crate) fn classify(&self, bytes: &[u8]) -> Result<Reply, DropCause> {
        let packet = Packet::parse(bytes)?;
        if packet.fragment().is_some() {
            return Err(DropCause::Fragment);
        }
        match packet.protocol() {
            Protocol::TCP => self.tcp(&packet),
            Protocol::UDP => self.udp(&packet),
            Protocol::ICMPV4 => self.icmpv4(&packet),
            Protocol::ICMPV6 => self.icmpv6(&packet),
            Protocol::SCTP => self.sctp(&packet),
            _ => Err(DropCause::OtherProtocol),
        }
    }

    fn tcp(&self, packet: &Packet<'_>) -> Result<Reply, DropCause> {
        let segment = Segment::parse(packet.payload())?;
        let attempt = self.ports.attempt(segment.destination_port()).ok_or(DropCause::OtherPort)?;
        let flags = segment.flags();
        let ours = (packet.destination(), segment.destination_port());
        let theirs = (packet.source(), segment.source_port());
        let cookie = self.key.syn(ours, theirs);
        if flags.contains(Flags::RST) && !flags.contains(Flags::ACK) {
            // RFC 9293 3.10.7.1: an acknowledgement of nothing is reset with the number that it acknowledged.
            if segment.sequence().0 != cookie {
                return Err(DropCause::WrongCookie);
            }
            let finding = Finding { state: PortState::Closed, reason: Reason::Reset };
            return self.direct(packet, ProbeKind::Ack(theirs.1), Some(attempt), finding);
        }
        let (state, reason) = if flags.is_syn_ack() {
            (PortState::Open, Reason::SynAck)
        } else if flags.contains(Flags::RST) {
            (PortState::Closed, Reason::Reset)
        } else {
            return Err(DropCause::UnexpectedFlags);
        };
        // RFC 9293 3.10.7: both the SYN-ACK and the RST that answers a SYN acknowledge its sequence number, plus one.
        if !flags.contains(Flags::ACK) || segment.acknowledgement().0 != cookie.wrapping_add(1) {
            return Err(DropCause::WrongCookie);
        }
        let kind = ProbeKind::Tcp(segment.source_port());
        let mut reply = self.direct(packet, kind, Some(attempt), Finding { state, reason })?;
        if state == PortState::Open {
            reply.syn_ack = Some(traits(packet, &segment));
        }
        Ok(reply)
    }

    fn udp(&self, packet: &Packet<'_>) -> Result<Reply, DropCause> {
        let datagram = Datagram::parse(packet.payload())?;
        let attempt = self.ports.attempt(datagram.destination_port()).ok_or(DropCause::OtherPort)?;
        let kind = ProbeKind::Udp(datagram.source_port());
        self.direct(packet, kind, Some(attempt), Finding { state: PortState::Open, reason: Reason::UdpReply })
    }

    /// RFC 9260 8.5: what answers an INIT carries its Initiate Tag.
    fn sctp(&self, packet: &Packet<'_>) -> Result<Reply, DropCause> {
        let reply = sctp::Packet::parse(packet.payload())?;
        let attempt = self.ports.attempt(reply.destination_port()).ok_or(DropCause::OtherPort)?;
        let ours = (packet.destination(), reply.destination_port());
        let theirs = (packet.source(), reply.source_port());
        if reply.verification_tag() != self.key.sctp(ours, theirs) {
            return Err(DropCause::WrongCookie);
        }
        let chunk = reply.chunks().next().ok_or(DropCause::UnexpectedChunk)??;
        let (state, reason) = match chunk.kind {
            ChunkKind::INIT_ACK => (PortState::Open, Reason::SctpInitAck),
            ChunkKind::ABORT => (PortState::Closed, Reason::SctpAbort),
            _ => return Err(DropCause::UnexpectedChunk),
        };
        self.direct(packet, ProbeKind::Sctp(theirs.1), Some(attempt), Finding { state, reason })
    }

    fn icmpv4(&self, packet: &Packet<'_>) -> Result<Reply, DropCause> {
        let message = icmpv4::Message::parse(packet.payload())?;
        match message.body() {
            icmpv4::Body::EchoReply(echo) => self.echo(packet, echo.identifier, echo.sequence),
            icmpv4::Body::TimestampReply(echo) => self.timestamp(packet, echo.identifier, echo.sequence),
            icmpv4::Body::Unreachable { code, quote, .. } => {
                self.quoted(packet, quote, unreachable_v4(code.0))
            }
            icmpv4::Body::TimeExceeded { quote, .. } => self.quoted(packet, quote, TIME_EXCEEDED),
            icmpv4::Body::EchoRequest(_) | icmpv4::Body::Other { .. } => Err(DropCause::UnexpectedIcmp),
        }
    }

    fn icmpv6(&self, packet: &Packet<'_>) -> Result<Reply, DropCause> {
        let message = icmpv6::Message::parse(packet.payload())?;
        match message.body() {
            icmpv6::Body::EchoReply(echo) => self.echo(packet, echo.identifier, echo.sequence),
            icmpv6::Body::Unreachable { code, quote, .. } => {
                self.quoted(packet, quote, unreachable_v6(code.0))
            }
            icmpv6::Body::TimeExceeded { quote, .. } => self.quoted(packet, quote, TIME_EXCEEDED),
            _ => Err(DropCause::UnexpectedIcmp),
        }
    }

    fn echo(&self, packet: &Packet<'_>, identifier: u16, sequence: u16) -> Result<Reply, DropCause> {
        let attempt = EchoCookie { identifier, sequence }
            .attempt(&self.key, packet.destination(), packet.source())
            .ok_or(DropCause::WrongCookie)?;
        self.direct(packet, ProbeKind::Echo, Some(attempt), ANSWERED)
    }

    fn timestamp(&self, packet: &Packet<'_>, identifier: u16, sequence: u16) -> Result<Reply, DropCause> {
        let attempt = EchoCookie { identifier, sequence }
            .timestamp_attempt(&self.key, packet.destination(), packet.source())
            .ok_or(DropCause::WrongCookie)?;
        self.direct(packet, ProbeKind::Timestamp, Some(attempt), ANSWERED)
    }

    /// A reply that the target itself sent.
    fn direct(
        &self,
        packet: &Packet<'_>,
        kind: ProbeKind,
        attempt: Option<u8>,
        Finding { state, reason }: Finding,
    ) -> Result<Reply, DropCause> {
        let target = self.space.find(packet.source(), kind).ok_or(DropCause::NotATarget)?;
        let ttl = Some(packet.hop_limit());
        Ok(Reply { target, attempt, state, reason, from_target: true, ttl, rtt_us: None, syn_ack: None })
    }

    /// A reply that is judged by the packet of ours that it quotes.
    fn quoted(
        &self,
        packet: &Packet<'_>,
        quote: &[u8],
        finding: Option<Finding>,
    ) -> Result<Reply, DropCause> {
        let Finding { state, reason } = finding.ok_or(DropCause::UnexpectedIcmp)?;
        let quote = Quote::parse(quote)?;
        let (kind, attempt) = self.quoted_probe(&quote)?;
        let target = self.space.find(quote.destination, kind).ok_or(DropCause::NotATarget)?;
        let from_target = packet.source() == quote.destination;
        // A closed UDP port is said to be so by its host; from anyone else the message means a packet filter. TCP
        // hosts answer closed ports with a RST, so there it always does.
        let state = match (reason, kind) {
            (Reason::PortUnreachable, ProbeKind::Udp(_)) if from_target => PortState::Closed,
            _ => state,
        };
        // What a host says of itself shows that it is there; what a router says of it does not.
        let from_target = from_target && reason != Reason::HostUnreachable;
        let ttl = Some(packet.hop_limit());
        Ok(Reply {
            target,
            attempt: Some(attempt),
            state,
            reason,
            from_target,
            ttl,
            rtt_us: None,
            syn_ack: None,
        })
    }

    /// Which probe of ours a quoted packet is, if it carries the cookie.
    fn quoted_probe(&self, quote: &Quote<'_>) -> Result<(ProbeKind, u8), DropCause> {
        let (ours, theirs): (IpAddr, IpAddr) = (quote.source, quote.destination);
        if let Some((identifier, sequence)) = quote.echo() {
            let cookie = EchoCookie { identifier, sequence };
            let attempt = cookie.attempt(&self.key, ours, theirs).ok_or(DropCause::WrongCookie)?;
            return Ok((ProbeKind::Echo, attempt));
        }
        if let Some((identifier, sequence)) = quote.timestamp() {
            let cookie = EchoCookie { identifier, sequence };
            let attempt = cookie.timestamp_attempt(&self.key, ours, theirs).ok_or(DropCause::WrongCookie)?;
            return Ok((ProbeKind::Timestamp, attempt));
        }
        let (source_port, port) = quote.ports().ok_or(DropCause::UnexpectedIcmp)?;
        let attempt = self.ports.attempt(source_port).ok_or(DropCause::OtherPort)?;
        match quote.protocol {
            Protocol::TCP => {
                let cookie = self.key.syn((ours, source_port), (theirs, port));
                let sequence = quote.tcp_sequence().ok_or(DropCause::WrongCookie)?;
                if sequence.0 != cookie {
                    return Err(DropCause::WrongCookie);
                }
                // As much as is sure to be quoted does not tell a SYN from an acknowledgement; what was asked does.
                let asked = |kind| self.space.find(theirs, kind).map(|_| kind);
                let kind = asked(ProbeKind::Tcp(port)).or_else(|| asked(ProbeKind::Ack(port)));
                Ok((kind.unwrap_or(ProbeKind::Tcp(port)), attempt))
            }
            Protocol::SCTP => {
                let cookie = self.key.sctp((ours, source_port), (theirs, port));
                let tag = quote.sctp_initiate_tag().ok_or(DropCause::WrongCookie)?;
                (tag == cookie).then_some((ProbeKind::Sctp(port), attempt)).ok_or(DropCause::WrongCookie)
            }
            Protocol::UDP => Ok((ProbeKind::Udp(port), attempt)),
            _ => Err(DropCause::OtherProtocol),
        }
    }
}

/// No state is reported for ICMP requests; an answered one is as good as open.
const ANSWERED: Finding = Finding { state: PortState::Open, reason: Reason::UdpReply };

const TIME_EXCEEDED: Option<Finding> =
    Some(Finding { state: PortState::Unreachable, reason: Reason::TimeExceeded });

/// ICMP type 3 by its code (RFC 792, RFC 1122 3.2.2.1, RFC 1812 5.2.7.1).
fn unreachable_v4(code: u8) -> Option<Finding> {
    let (state, reason) = match code {
        0 | 6 | 11 => (PortState::Unreachable, Reason::NetworkUnreachable),
        1 | 5 | 7 | 8 | 12 => (PortState::Unreachable, Reason::HostUnreachable),
        2 => (PortState::Filtered, Reason::ProtocolUnreachable),
        3 => (PortState::Filtered, Reason::PortUnreachable),
        9 | 10 | 13..=15 => (PortState::Filtered, Reason::AdminProhibited),
        // 4 is "fragmentation needed": our probes are too small for that to be true.
        _ => return None,
    };
    Some(Finding { state, reason })
}

/// ICMPv6 type 1 by its code (RFC 4443 3.1).
fn unreachable_v6(code: u8) -> Option<Finding> {
    let (state, reason) = match code {
        0 => (PortState::Unreachable, Reason::NetworkUnreachable),
        1 | 5 | 6 => (PortState::Filtered, Reason::AdminProhibited),
        2 | 3 => (PortState::Unreachable, Reason::HostUnreachable),
        4 => (PortState::Filtered, Reason::PortUnreachable),
        _ => return None,
    };
    Some(Finding { state, reason })
}

fn traits(packet: &Packet<'_>, segment: &Segment<'_>) -> SynAckTraits {
    let options = segment.option_summary();
    SynAckTraits {
        window: segment.window(),
        mss: options.mss,
        window_scale: options.window_scale,
        sack_permitted: options.sack_permitted,
        timestamps: options.timestamps.is_some(),
        option_kinds: options.kinds,
        dont_fragment: matches!(packet, Packet::V4(packet) if packet.dont_fragment()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4, icmpv6};
    use proptest::prelude::*;

    use super::*;
    use crate::{TargetSetBuilder, receive::DropCause};

    const US: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
    const THEM: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
    const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 254);
    const US_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
    const THEM_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2);
    const KEY: CookieKey = CookieKey::new([1, 2]);
    const FIRST_PORT: u16 = 61_000;

    /// Hosts .2 and .3 of both families, ports 80 and U:53, echo asked for as well.
    fn space() -> ProbeSpace {
        let targets = TargetSetBuilder::new().include("10.99.0.2-3 fd99::2-fd99::3");
        let targets = targets.and_then(TargetSetBuilder::build).expect("targets");
        ProbeSpace::of_kinds(
            targets,
            vec![
                ProbeKind::Ack(443),
                ProbeKind::Echo,
                ProbeKind::Sctp(2905),
                ProbeKind::Tcp(80),
                ProbeKind::Timestamp,
                ProbeKind::Udp(53),
            ],
        )
    }

    fn classify(packet: &[u8]) -> Result<Reply, DropCause> {
        let ports = SourcePorts::new(FIRST_PORT, 2).expect("fits");
        Classifier { space: &space(), key: KEY, ports }.classify(packet)
    }

    fn cookie(attempt: u16) -> u32 {
        KEY.syn((US.into(), FIRST_PORT + attempt), (THEM.into(), 80))
    }

    /// A segment from the target's port 80, with the flags set by `flag`.
    fn segment(acknowledgement: u32, attempt: u16, flag: fn(&mut etherparse::TcpHeader)) -> Vec<u8> {
        let mut tcp = etherparse::TcpHeader::new(80, FIRST_PORT + attempt, 77, 64_240);
        tcp.acknowledgment_number = acknowledgement;
        flag(&mut tcp);
        let builder = PacketBuilder::ipv4(THEM.octets(), US.octets(), 61).tcp_header(tcp);
        let mut packet = Vec::new();
        builder.write(&mut packet, &[]).expect("fits");
        packet
    }

    fn syn_ack(tcp: &mut etherparse::TcpHeader) {
        (tcp.syn, tcp.ack) = (true, true);
    }

    fn rst_ack(tcp: &mut etherparse::TcpHeader) {
        (tcp.rst, tcp.ack) = (true, true);
    }

    /// Our probe as a router would quote it.
    fn probe(kind: ProbeKind) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(US.octets(), THEM.octets(), 1);
        match kind {
            ProbeKind::Tcp(port) => {
                builder.tcp(FIRST_PORT, port, cookie(0), 64_240).syn().write(&mut packet, &[])
            }
            ProbeKind::Udp(port) => builder.udp(FIRST_PORT, port).write(&mut packet, b"hello"),
            ProbeKind::Echo => {
                let cookie = KEY.echo(US.into(), THEM.into(), 1);
                builder.icmpv4_echo_request(cookie.identifier, cookie.sequence).write(&mut packet, &[])
            }
            other => panic!("no test quotes {other:?} by this"),
        }
        .expect("fits");
        packet
    }

    fn unreachable(from: Ipv4Addr, code: u8, quote: &[u8]) -> Vec<u8> {
        let kind =
            Icmpv4Type::Unknown { type_u8: icmpv4::TYPE_DEST_UNREACH, code_u8: code, bytes5to8: [0; 4] };
        let mut packet = Vec::new();
        PacketBuilder::ipv4(from.octets(), US.octets(), 250)
            .icmpv4(kind)
            .write(&mut packet, quote)
            .expect("fits");
        packet
    }

    #[test]
    fn a_syn_ack_with_the_cookie_is_an_open_port() {
        for attempt in [0, 1] {
            let reply = classify(&segment(cookie(attempt).wrapping_add(1), attempt, syn_ack)).expect("ours");
            assert_eq!((reply.state, reply.reason), (PortState::Open, Reason::SynAck));
            assert_eq!((reply.attempt, reply.ttl, reply.from_target), (Some(attempt as u8), Some(61), true));
            assert_eq!((reply.target.address, reply.target.kind), (THEM.into(), ProbeKind::Tcp(80)));
            assert_eq!(reply.syn_ack.expect("traits").window, 64_240);
        }
    }

    #[test]
    fn a_reset_with_the_cookie_is_a_closed_port() {
        let reply = classify(&segment(cookie(0).wrapping_add(1), 0, rst_ack)).expect("ours");
        assert_eq!((reply.state, reply.reason, reply.syn_ack), (PortState::Closed, Reason::Reset, None));
    }

    #[test]
    fn segments_without_the_cookie_are_dropped() {
        let right = cookie(0).wrapping_add(1);
        let cause = |packet: Vec<u8>| classify(&packet).expect_err("not ours");
        assert_eq!(cause(segment(right.wrapping_add(1), 0, syn_ack)), DropCause::WrongCookie);
        assert_eq!(cause(segment(right, 1, syn_ack)), DropCause::WrongCookie);
        assert_eq!(cause(segment(right, 2, syn_ack)), DropCause::OtherPort);
        assert_eq!(cause(segment(right, 0, |tcp| tcp.rst = true)), DropCause::WrongCookie);
        assert_eq!(cause(segment(right, 0, |tcp| tcp.ack = true)), DropCause::UnexpectedFlags);
        // Our own probe, as loopback shows it.
        assert_eq!(cause(probe(ProbeKind::Tcp(FIRST_PORT))), DropCause::UnexpectedFlags);
    }

    #[test]
    fn unreachable_codes_say_who_refused() {
        for (code, state, reason) in [
            (0, PortState::Unreachable, Reason::NetworkUnreachable),
            (1, PortState::Unreachable, Reason::HostUnreachable),
            (2, PortState::Filtered, Reason::ProtocolUnreachable),
            (3, PortState::Filtered, Reason::PortUnreachable),
            (9, PortState::Filtered, Reason::AdminProhibited),
            (10, PortState::Filtered, Reason::AdminProhibited),
            (13, PortState::Filtered, Reason::AdminProhibited),
        ] {
            let reply = classify(&unreachable(ROUTER, code, &probe(ProbeKind::Tcp(80)))).expect("ours");
            assert_eq!((reply.state, reply.reason, reply.from_target), (state, reason, false), "code {code}");
        }
        let needs_fragmentation = unreachable(ROUTER, 4, &probe(ProbeKind::Tcp(80)));
        assert_eq!(classify(&needs_fragmentation).expect_err("no verdict"), DropCause::UnexpectedIcmp);
    }

    #[test]
    fn a_udp_port_is_closed_only_if_its_host_says_so() {
        let quote = probe(ProbeKind::Udp(53));
        let by_host = classify(&unreachable(THEM, 3, &quote)).expect("ours");
        assert_eq!((by_host.state, by_host.from_target), (PortState::Closed, true));
        let by_router = classify(&unreachable(ROUTER, 3, &quote)).expect("ours");
        assert_eq!((by_router.state, by_router.from_target), (PortState::Filtered, false));
    }

    #[test]
    fn quotes_are_as_short_as_rfc_792_allows_and_carry_the_cookie() {
        let quote = probe(ProbeKind::Tcp(80));
        let short = classify(&unreachable(ROUTER, 1, &quote[..28])).expect("20 bytes of IP and 8 of TCP");
        assert_eq!(short.target.kind, ProbeKind::Tcp(80));
        assert!(classify(&unreachable(ROUTER, 1, &quote[..27])).is_err());
        let mut forged = quote;
        forged[27] ^= 1;
        assert_eq!(classify(&unreachable(ROUTER, 1, &forged)).expect_err("forged"), DropCause::WrongCookie);
        let echo = classify(&unreachable(ROUTER, 1, &probe(ProbeKind::Echo))).expect("ours");
        assert_eq!((echo.target.kind, echo.attempt), (ProbeKind::Echo, Some(1)));
    }

    #[test]
    fn echo_replies_and_datagrams() {
        let cookie = KEY.echo(US.into(), THEM.into(), 0);
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(THEM.octets(), US.octets(), 64);
        builder.icmpv4_echo_reply(cookie.identifier, cookie.sequence).write(&mut packet, &[]).expect("fits");
        assert_eq!(classify(&packet).expect("ours").target.kind, ProbeKind::Echo);
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4(THEM.octets(), US.octets(), 64);
        builder.udp(53, FIRST_PORT + 1).write(&mut packet, b"answer").expect("fits");
        let reply = classify(&packet).expect("ours");
        assert_eq!((reply.state, reply.reason, reply.attempt), (PortState::Open, Reason::UdpReply, Some(1)));
        let mut stranger = Vec::new();
        let builder = PacketBuilder::ipv4(ROUTER.octets(), US.octets(), 64);
        builder.udp(53, FIRST_PORT).write(&mut stranger, b"answer").expect("fits");
        assert_eq!(classify(&stranger).expect_err("not asked"), DropCause::NotATarget);
    }

    /// An SCTP packet from the target's port 2905 with one chunk.
    fn sctp_reply(tag: u32, chunk: &[u8]) -> Vec<u8> {
        let mut payload = [2905_u16.to_be_bytes(), FIRST_PORT.to_be_bytes()].concat();
        payload.extend_from_slice(&tag.to_be_bytes());
        payload.extend_from_slice(&[0; 4]);
        payload.extend_from_slice(chunk);
        ipv4_packet(132, &payload)
    }

    fn ipv4_packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let protocol = etherparse::IpNumber(protocol);
        let header =
            etherparse::Ipv4Header::new(payload.len() as u16, 60, protocol, THEM.octets(), US.octets());
        header.expect("fits").write(&mut packet).expect("written");
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn chunks_that_answer_an_init_carry_its_tag() {
        let tag = KEY.sctp((US.into(), FIRST_PORT), (THEM.into(), 2905));
        let init_ack = [&[2, 0, 0, 20][..], &[7; 16]].concat();
        let open = classify(&sctp_reply(tag, &init_ack)).expect("ours");
        assert_eq!((open.state, open.reason), (PortState::Open, Reason::SctpInitAck));
        assert_eq!((open.target.kind, open.attempt), (ProbeKind::Sctp(2905), Some(0)));
        let closed = classify(&sctp_reply(tag, &[6, 0, 0, 4])).expect("ours");
        assert_eq!((closed.state, closed.reason), (PortState::Closed, Reason::SctpAbort));
        for (packet, cause) in [
            (sctp_reply(tag ^ 1, &init_ack), DropCause::WrongCookie),
            (sctp_reply(0, &[6, 1, 0, 4]), DropCause::WrongCookie),
            (sctp_reply(tag, &[3, 0, 0, 4]), DropCause::UnexpectedChunk),
            (sctp_reply(tag, &[]), DropCause::UnexpectedChunk),
        ] {
            assert_eq!(classify(&packet).expect_err("not ours"), cause);
        }
    }

    #[test]
    fn an_init_is_known_again_only_if_its_tag_is_quoted() {
        let tag = KEY.sctp((US.into(), FIRST_PORT), (THEM.into(), 2905));
        let mut init = [FIRST_PORT.to_be_bytes(), 2905_u16.to_be_bytes()].concat();
        init.extend_from_slice(&[0; 8]);
        init.extend_from_slice(&[1, 0, 0, 20]);
        init.extend_from_slice(&tag.to_be_bytes());
        let mut quote = Vec::new();
        let header =
            etherparse::Ipv4Header::new(32, 60, etherparse::IpNumber(132), US.octets(), THEM.octets());
        header.expect("fits").write(&mut quote).expect("written");
        quote.extend_from_slice(&init);
        let reply = classify(&unreachable(ROUTER, 13, &quote)).expect("ours");
        assert_eq!((reply.target.kind, reply.state), (ProbeKind::Sctp(2905), PortState::Filtered));
        let short = unreachable(ROUTER, 13, &quote[..28]);
        assert_eq!(classify(&short).expect_err("no tag"), DropCause::WrongCookie);
    }

    #[test]
    fn a_reset_of_an_acknowledgement_shows_a_host() {
        let cookie = KEY.syn((US.into(), FIRST_PORT), (THEM.into(), 443));
        let reset = |sequence| {
            let mut tcp = etherparse::TcpHeader::new(443, FIRST_PORT, sequence, 0);
            tcp.rst = true;
            let mut packet = Vec::new();
            PacketBuilder::ipv4(THEM.octets(), US.octets(), 61)
                .tcp_header(tcp)
                .write(&mut packet, &[])
                .expect("fits");
            packet
        };
        let reply = classify(&reset(cookie)).expect("ours");
        assert_eq!((reply.target.kind, reply.from_target), (ProbeKind::Ack(443), true));
        assert_eq!(classify(&reset(cookie ^ 1)).expect_err("forged"), DropCause::WrongCookie);
    }

    #[test]
    fn a_timestamp_reply_shows_a_host() {
        let cookie = KEY.timestamp(US.into(), THEM.into(), 1);
        let mut message = vec![14, 0, 0, 0];
        message.extend_from_slice(&cookie.identifier.to_be_bytes());
        message.extend_from_slice(&cookie.sequence.to_be_bytes());
        message.extend_from_slice(&[0; 12]);
        let reply = classify(&ipv4_packet(1, &message)).expect("ours");
        assert_eq!((reply.target.kind, reply.attempt), (ProbeKind::Timestamp, Some(1)));
        message[5] ^= 1;
        assert_eq!(classify(&ipv4_packet(1, &message)).expect_err("forged"), DropCause::WrongCookie);
    }

    #[test]
    fn ipv6_replies() {
        let cookie = KEY.syn((US_V6.into(), FIRST_PORT), (THEM_V6.into(), 80));
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv6(THEM_V6.octets(), US_V6.octets(), 63);
        builder
            .tcp(80, FIRST_PORT, 5, 1000)
            .syn()
            .ack(cookie.wrapping_add(1))
            .write(&mut packet, &[])
            .expect("fits");
        let reply = classify(&packet).expect("ours");
        assert_eq!(
            (reply.state, reply.ttl, reply.target.address),
            (PortState::Open, Some(63), THEM_V6.into())
        );

        let mut quote = Vec::new();
        let builder = PacketBuilder::ipv6(US_V6.octets(), THEM_V6.octets(), 1);
        builder.udp(FIRST_PORT, 53).write(&mut quote, &[]).expect("fits");
        let kind = Icmpv6Type::Unknown { type_u8: icmpv6::TYPE_DST_UNREACH, code_u8: 4, bytes5to8: [0; 4] };
        let mut packet = Vec::new();
        PacketBuilder::ipv6(THEM_V6.octets(), US_V6.octets(), 64)
            .icmpv6(kind)
            .write(&mut packet, &quote)
            .expect("fits");
        assert_eq!(classify(&packet).expect("ours").state, PortState::Closed);
    }

    proptest! {
        #[test]
        fn any_bytes_are_classified_or_dropped(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = classify(&bytes);
        }

        /// Whoever changes anything that the cookie covers is found out.
        #[test]
        fn a_damaged_reply_never_speaks_for_another_target(at in 12_usize..40, bit in 0_u8..8) {
            let mut packet = segment(cookie(0).wrapping_add(1), 0, syn_ack);
            packet[at] ^= 1 << bit;
            if let Ok(reply) = classify(&packet) {
                prop_assert_eq!((reply.target.address, reply.target.kind), (IpAddr::from(THEM), ProbeKind::Tcp(80)));
            }
        }
    }
}
