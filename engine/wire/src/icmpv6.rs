//! Internet Control Message Protocol for IPv6 (RFC 4443).

use core::net::{IpAddr, Ipv6Addr};

use crate::{
    Malformed, bytes,
    checksum::Sum,
    icmpv4::{Echo, field},
    ip::{Protocol, Quote},
};

pub(crate) mod kind {
    pub const UNREACHABLE: u8 = 1;
    pub const PACKET_TOO_BIG: u8 = 2;
    pub const TIME_EXCEEDED: u8 = 3;
    pub const ECHO_REQUEST: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
}

/// Length of a header, in bytes.
pub const HEADER_LEN: usize = field::LEN;

/// Why a destination is unreachable (RFC 4443 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnreachableCode(pub u8);

impl UnreachableCode {
    /// No answer from the host.
    pub const ADDRESS: Self = Self(3);
    /// Forbidden by a filter.
    pub const ADMIN_PROHIBITED: Self = Self(1);
    /// No route.
    pub const NO_ROUTE: Self = Self(0);
    /// Nothing listens on the port.
    pub const PORT: Self = Self(4);
    /// The route says to reject.
    pub const REJECT_ROUTE: Self = Self(6);
    /// The source address is forbidden.
    pub const SOURCE_POLICY: Self = Self(5);
}

/// A message that was received.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    header: &'a [u8; field::LEN],
    payload: &'a [u8],
}

/// What a message says.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// The answer to an echo request.
    EchoReply(Echo<'a>),
    /// A request to be answered.
    EchoRequest(Echo<'a>),
    /// A neighbour says which hardware address it has; read it with [`crate::ndp::Advertisement::parse`].
    NeighborAdvertisement(&'a [u8]),
    /// A neighbour asks; read it with [`crate::ndp::Solicitation::parse`].
    NeighborSolicitation(&'a [u8]),
    /// Something else.
    Other {
        /// The message's type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// A packet is larger than the next link takes.
    PacketTooBig {
        /// What the link takes, in bytes.
        mtu: u32,
        /// The start of the packet, for [`Quote::parse`].
        quote: &'a [u8],
    },
    /// A packet's hop limit ran out on the way (code 0), or its time while it was reassembled (code 1).
    TimeExceeded {
        /// Which of the two.
        code: u8,
        /// The start of the packet, for [`Quote::parse`].
        quote: &'a [u8],
    },
    /// A packet could not be delivered.
    Unreachable {
        /// Why.
        code: UnreachableCode,
        /// The start of the packet, for [`Quote::parse`].
        quote: &'a [u8],
    },
}

impl<'a> Message<'a> {
    /// Checks that the header is complete.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = bytes.split_first_chunk().ok_or(Malformed::IcmpTruncated)?;
        Ok(Self { bytes, header, payload })
    }

    /// The type.
    pub fn kind(&self) -> u8 {
        bytes::u8_at(self.header, field::TYPE)
    }

    /// The code.
    pub fn code(&self) -> u8 {
        bytes::u8_at(self.header, field::CODE)
    }

    /// What the message says.
    pub fn body(&self) -> Body<'a> {
        let (kind, code, quote) = (self.kind(), self.code(), self.payload);
        match kind {
            kind::ECHO_REPLY => Body::EchoReply(self.echo()),
            kind::ECHO_REQUEST => Body::EchoRequest(self.echo()),
            kind::NEIGHBOR_ADVERTISEMENT => Body::NeighborAdvertisement(self.bytes),
            kind::NEIGHBOR_SOLICITATION => Body::NeighborSolicitation(self.bytes),
            kind::PACKET_TOO_BIG => {
                Body::PacketTooBig { mtu: bytes::u32_at(self.header, field::IDENTIFIER), quote }
            }
            kind::TIME_EXCEEDED => Body::TimeExceeded { code, quote },
            kind::UNREACHABLE => Body::Unreachable { code: UnreachableCode(code), quote },
            _ => Body::Other { kind, code },
        }
    }

    /// The packet that an error message is about, if this is one.
    pub fn quote(&self) -> Option<Result<Quote<'a>, Malformed>> {
        match self.body() {
            Body::PacketTooBig { quote, .. }
            | Body::TimeExceeded { quote, .. }
            | Body::Unreachable { quote, .. } => Some(Quote::parse(quote)),
            Body::EchoReply(_)
            | Body::EchoRequest(_)
            | Body::NeighborAdvertisement(_)
            | Body::NeighborSolicitation(_)
            | Body::Other { .. } => None,
        }
    }

    /// Whether the checksum is right for a message between these addresses.
    pub fn checksum_ok(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        Sum::new()
            .pseudo_header(
                IpAddr::V6(source),
                IpAddr::V6(destination),
                Protocol::ICMPV6,
                self.bytes.len() as u32,
            )
            .bytes(self.bytes)
            .is_intact()
    }

    fn echo(&self) -> Echo<'a> {
        Echo {
            identifier: bytes::u16_at(self.header, field::IDENTIFIER),
            sequence: bytes::u16_at(self.header, field::SEQUENCE),
            data: self.payload,
        }
    }
}
