//! Internet Control Message Protocol (RFC 792).

use crate::{Malformed, bytes, checksum::Sum, ip::Quote};

pub(crate) mod field {
    pub const TYPE: usize = 0;
    pub const CODE: usize = 1;
    pub const CHECKSUM: usize = 2;
    pub const IDENTIFIER: usize = 4;
    pub const SEQUENCE: usize = 6;
    pub const LEN: usize = 8;
}

pub(crate) mod kind {
    pub const ECHO_REPLY: u8 = 0;
    pub const UNREACHABLE: u8 = 3;
    pub const ECHO_REQUEST: u8 = 8;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const TIMESTAMP_REQUEST: u8 = 13;
    pub const TIMESTAMP_REPLY: u8 = 14;
}

/// Length of a header, in bytes.
pub const HEADER_LEN: usize = field::LEN;

/// Length of a timestamp request or reply, in bytes.
pub const TIMESTAMP_LEN: usize = HEADER_LEN + 12;

/// Why a destination is unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnreachableCode(pub u8);

impl UnreachableCode {
    /// Forbidden by a filter (RFC 1812 5.2.7.1).
    pub const ADMIN_PROHIBITED: Self = Self(13);
    /// Fragmentation needed but forbidden.
    pub const FRAGMENTATION_NEEDED: Self = Self(4);
    /// No answer from the host.
    pub const HOST: Self = Self(1);
    /// The host is forbidden.
    pub const HOST_PROHIBITED: Self = Self(10);
    /// No route to the network.
    pub const NETWORK: Self = Self(0);
    /// The network is forbidden.
    pub const NETWORK_PROHIBITED: Self = Self(9);
    /// Nothing listens on the port.
    pub const PORT: Self = Self(3);
    /// The host does not speak the protocol.
    pub const PROTOCOL: Self = Self(2);
}

/// A message that was received.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
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
    /// Something else.
    Other {
        /// The message's type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// A packet's time to live ran out on the way (code 0), or while it was reassembled (code 1).
    TimeExceeded {
        /// Which of the two.
        code: u8,
        /// The start of the packet, for [`Quote::parse`].
        quote: &'a [u8],
    },
    /// The answer to a timestamp request; the data are the three times.
    TimestampReply(Echo<'a>),
    /// A packet could not be delivered.
    Unreachable {
        /// Why.
        code: UnreachableCode,
        /// The start of the packet, for [`Quote::parse`].
        quote: &'a [u8],
    },
}

/// The fields of an echo or timestamp request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Tells senders apart.
    pub identifier: u16,
    /// Tells a sender's requests apart.
    pub sequence: u16,
    /// Sent back as it came.
    pub data: &'a [u8],
}

impl<'a> Message<'a> {
    /// Checks that the header is complete.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = bytes.split_first_chunk().ok_or(Malformed::IcmpTruncated)?;
        Ok(Self { header, payload })
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
            kind::TIME_EXCEEDED => Body::TimeExceeded { code, quote },
            kind::TIMESTAMP_REPLY => Body::TimestampReply(self.echo()),
            kind::UNREACHABLE => Body::Unreachable { code: UnreachableCode(code), quote },
            _ => Body::Other { kind, code },
        }
    }

    /// The packet that an error message is about, if this is one.
    pub fn quote(&self) -> Option<Result<Quote<'a>, Malformed>> {
        match self.body() {
            Body::TimeExceeded { quote, .. } | Body::Unreachable { quote, .. } => Some(Quote::parse(quote)),
            Body::EchoReply(_) | Body::EchoRequest(_) | Body::Other { .. } | Body::TimestampReply(_) => None,
        }
    }

    /// Whether the checksum is right.
    pub fn checksum_ok(&self) -> bool {
        Sum::new().bytes(self.header).bytes(self.payload).is_intact()
    }

    fn echo(&self) -> Echo<'a> {
        Echo {
            identifier: bytes::u16_at(self.header, field::IDENTIFIER),
            sequence: bytes::u16_at(self.header, field::SEQUENCE),
            data: self.payload,
        }
    }
}
