//! What IPv4 and IPv6 have in common.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Malformed, bytes, ethernet::EtherType, icmpv4, ipv4, ipv6, sctp, tcp::SeqNumber};

/// What a packet carries (the IPv4 protocol and the IPv6 next header share their numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMPV4: Self = Self(1);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
}

/// Which piece of a larger packet this one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where the piece starts in the whole payload, in bytes.
    pub offset_bytes: u16,
    /// Whether more pieces follow.
    pub more: bool,
}

impl Fragment {
    /// Whether the piece starts with the transport header.
    pub const fn is_first(self) -> bool {
        self.offset_bytes == 0
    }
}

/// A packet of either version that was received.
#[derive(Clone, Copy, Debug)]
pub enum Packet<'a> {
    /// IPv4.
    V4(ipv4::Packet<'a>),
    /// IPv6.
    V6(ipv6::Packet<'a>),
}

impl<'a> Packet<'a> {
    /// Tells the version by the first four bits, as layer-3 devices do.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes.first().ok_or(Malformed::IpVersion)? >> 4 {
            4 => ipv4::Packet::parse(bytes).map(Self::V4),
            6 => ipv6::Packet::parse(bytes).map(Self::V6),
            _ => Err(Malformed::IpVersion),
        }
    }

    /// Where the packet comes from.
    pub fn source(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.source().into(),
            Self::V6(packet) => packet.source().into(),
        }
    }

    /// Where it goes.
    pub fn destination(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.destination().into(),
            Self::V6(packet) => packet.destination().into(),
        }
    }

    /// The time to live or hop limit that is left.
    pub fn hop_limit(&self) -> u8 {
        match self {
            Self::V4(packet) => packet.hop_limit(),
            Self::V6(packet) => packet.hop_limit(),
        }
    }

    /// What the payload is, after any extension headers.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::V4(packet) => packet.protocol(),
            Self::V6(packet) => packet.protocol(),
        }
    }

    /// Which piece this is, if it is one.
    pub fn fragment(&self) -> Option<Fragment> {
        match self {
            Self::V4(packet) => packet.fragment(),
            Self::V6(packet) => packet.fragment(),
        }
    }

    /// The payload, after options and extension headers and without padding.
    pub fn payload(&self) -> &'a [u8] {
        match self {
            Self::V4(packet) => packet.payload(),
            Self::V6(packet) => packet.payload(),
        }
    }
}

/// The start of a packet of ours, as an ICMP error quotes it.
///
/// Routers quote as little as the IP header and 8 bytes (RFC 792), so only those 8 are relied on.
#[derive(Clone, Copy, Debug)]
pub struct Quote<'a> {
    /// Who sent the quoted packet.
    pub source: IpAddr,
    /// Where it was going.
    pub destination: IpAddr,
    /// What it carried.
    pub protocol: Protocol,
    /// As much of its payload as is quoted.
    pub transport: &'a [u8],
}

impl<'a> Quote<'a> {
    /// Reads the quoted packet, whose lengths may exceed what is quoted of it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let packet = match bytes.first().ok_or(Malformed::IpVersion)? >> 4 {
            4 => Packet::V4(ipv4::Packet::parse_cut(bytes)?),
            6 => Packet::V6(ipv6::Packet::parse_cut(bytes)?),
            _ => return Err(Malformed::IpVersion),
        };
        if packet.fragment().is_some_and(|fragment| !fragment.is_first()) {
            return Err(Malformed::QuoteFragment);
        }
        Ok(Self {
            source: packet.source(),
            destination: packet.destination(),
            protocol: packet.protocol(),
            transport: packet.payload(),
        })
    }

    /// Source and destination port, if the packet was TCP, UDP or SCTP and that much is quoted.
    pub fn ports(&self) -> Option<(u16, u16)> {
        if !matches!(self.protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP) {
            return None;
        }
        let ports: &[u8; 4] = self.transport.first_chunk()?;
        Some((bytes::u16_at(ports, 0), bytes::u16_at(ports, 2)))
    }

    /// The sequence number, if the packet was TCP and that much is quoted.
    pub fn tcp_sequence(&self) -> Option<SeqNumber> {
        let start: &[u8; 8] = self.transport.first_chunk().filter(|_| self.protocol == Protocol::TCP)?;
        Some(SeqNumber(bytes::u32_at(start, 4)))
    }

    /// The Initiate Tag, if the packet was SCTP that begins with an INIT and that much is quoted: its verification tag is
    /// 0, so RFC 9260 10 (7) has the Initiate Tag looked at, and messages that quote less discarded.
    pub fn sctp_initiate_tag(&self) -> Option<u32> {
        let start: &[u8; 20] = self.transport.first_chunk().filter(|_| self.protocol == Protocol::SCTP)?;
        let is_init = bytes::u8_at(start, sctp::init::KIND) == sctp::ChunkKind::INIT.0;
        is_init.then(|| bytes::u32_at(start, sctp::init::INITIATE_TAG))
    }

    /// Identifier and sequence number, if the packet was a timestamp request and that much is quoted.
    pub fn timestamp(&self) -> Option<(u16, u16)> {
        let start: &[u8; 8] = self.transport.first_chunk()?;
        let asked =
            self.protocol == Protocol::ICMPV4 && bytes::u8_at(start, 0) == icmpv4::kind::TIMESTAMP_REQUEST;
        asked.then(|| (bytes::u16_at(start, 4), bytes::u16_at(start, 6)))
    }

    /// Identifier and sequence number, if the packet was an echo request and that much is quoted.
    pub fn echo(&self) -> Option<(u16, u16)> {
        let start: &[u8; 8] = self.transport.first_chunk()?;
        match (self.protocol, bytes::u8_at(start, 0)) {
            (Protocol::ICMPV4, 8) | (Protocol::ICMPV6, 128) => {
                Some((bytes::u16_at(start, 4), bytes::u16_at(start, 6)))
            }
            _ => None,
        }
    }
}

/// An address of one version, for code that is the same for both.
pub trait Address: Copy + Into<IpAddr> + private::Sealed {
    /// The Ethernet type of packets with such addresses.
    const ETHER_TYPE: EtherType;
    /// The ICMP that belongs to it.
    const ICMP: Protocol;
}

impl Address for Ipv4Addr {
    const ETHER_TYPE: EtherType = EtherType::IPV4;
    const ICMP: Protocol = Protocol::ICMPV4;
}

impl Address for Ipv6Addr {
    const ETHER_TYPE: EtherType = EtherType::IPV6;
    const ICMP: Protocol = Protocol::ICMPV6;
}

pub(crate) mod private {
    use crate::{BufferTooSmall, checksum::Sum, ip::Protocol};

    /// What a template needs to know of a version of IP.
    pub trait Sealed {
        /// Length of a header without options, in bytes.
        const HEADER_LEN: usize;

        /// Writes a header with this source, no destination and no checksum; returns the sum over it.
        fn emit_header(
            self,
            buffer: &mut [u8],
            hop_limit: u8,
            protocol: Protocol,
            payload_len: u16,
        ) -> Result<Sum, BufferTooSmall>;

        /// Writes this destination, and the checksum if the header has one, given the sum over the rest.
        fn patch_destination(self, header: &mut [u8], rest: Sum);

        /// Adds this address.
        fn sum(self, sum: Sum) -> Sum;
    }
}
