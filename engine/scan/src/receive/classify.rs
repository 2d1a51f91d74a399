//! What a received packet says: pure, and safe against any bytes.

use std::net::IpAddr;

use portreeve_model::{PortState, Reason, SynAckTraits};
use portreeve_wire::{
    icmpv4, icmpv6,
    ip::{Packet, Protocol, Quote},
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
            _ => Err(DropCause::OtherProtocol),
        }
    }

    fn tcp(&self, packet: &Packet<'_>) -> Result<Reply, DropCause> {
        let segment = Segment::parse(packet.payload())?;
        let attempt = self.ports.attempt(segment.destination_port()).ok_or(DropCause::OtherPort)?;
        let flags = segment.flags();
        let (state, reason) = if flags.is_syn_ack() {
            (PortState::Open, Reason::SynAck)
        } else if flags.contains(Flags::RST) {
            (PortState::Closed, Reason::Reset)
        } else {
            return Err(DropCause::UnexpectedFlags);
        };
        // RFC 9293 3.10.7: both the SYN-ACK and the RST that answers a SYN acknowledge its sequence number, plus one.
        let ours = (packet.destination(), segment.destination_port());
        let theirs = (packet.source(), segment.source_port());
        if !flags.contains(Flags::ACK)
            || segment.acknowledgement().0 != self.key.syn(ours, theirs).wrapping_add(1)
        {
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

    fn icmpv4(&self, packet: &Packet<'_>) -> Result<Reply, DropCause> {
        let message = icmpv4::Message::parse(packet.payload())?;
        match message.body() {
            icmpv4::Body::EchoReply(echo) => self.echo(packet, echo.identifier, echo.sequence),
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
        // The state is not reported for an echo; an answered one is as good as open.
        let finding = Finding { state: PortState::Open, reason: Reason::UdpReply };
        self.direct(packet, ProbeKind::Echo, Some(attempt), finding)
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
        let (source_port, port) = quote.ports().ok_or(DropCause::UnexpectedIcmp)?;
        let attempt = self.ports.attempt(source_port).ok_or(DropCause::OtherPort)?;
        match quote.protocol {
            Protocol::TCP => {
                let cookie = self.key.syn((ours, source_port), (theirs, port));
                let sequence = quote.tcp_sequence().ok_or(DropCause::WrongCookie)?;
                (sequence.0 == cookie)
                    .then_some((ProbeKind::Tcp(port), attempt))
                    .ok_or(DropCause::WrongCookie)
            }
            Protocol::UDP => Ok((ProbeKind::Udp(port), attempt)),
            _ => Err(DropCause::OtherProtocol),
        }
    }
}

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
