//! Internet Protocol, version 6 (RFC 8200).

use core::net::Ipv6Addr;

use crate::{
    BufferTooSmall, Malformed, bytes,
    checksum::Sum,
    ip::{self, Fragment, Protocol},
};

mod field {
    pub const VERSION_CLASS_FLOW: usize = 0;
    pub const PAYLOAD_LENGTH: usize = 4;
    pub const NEXT_HEADER: usize = 6;
    pub const HOP_LIMIT: usize = 7;
    pub const SOURCE: usize = 8;
    pub const DESTINATION: usize = 24;
    pub const LEN: usize = 40;

    pub const FRAGMENT_OFFSET: usize = 2;
}

/// Length of a header without extensions, in bytes.
pub const HEADER_LEN: usize = field::LEN;

/// Extension headers that are walked at most. RFC 8504 5.3 lets a host set such a limit and names 8 as its default.
pub const MAX_EXTENSIONS: usize = 8;

/// Extension headers of which the length is known (RFC 8200 4, RFC 4302, RFC 6275, RFC 7401, RFC 5533).
mod extension {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const DESTINATION: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HOST_IDENTITY: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// A packet that was received.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: &'a [u8; field::LEN],
    protocol: Protocol,
    fragment: Option<Fragment>,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version and payload length, and walks the extension headers.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header: &[u8; field::LEN] = bytes.first_chunk().ok_or(Malformed::Ipv6Truncated)?;
        let claimed = field::LEN + usize::from(bytes::u16_at(header, field::PAYLOAD_LENGTH));
        if bytes::u8_at(header, 0) >> 4 == 6 && claimed > bytes.len() {
            return Err(Malformed::Ipv6PayloadLength);
        }
        Self::parse_cut(bytes)
    }

    /// [`Packet::parse`] for the start of a packet: the payload length may exceed the bytes at hand.
    pub fn parse_cut(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk::<{ field::LEN }>().ok_or(Malformed::Ipv6Truncated)?;
        if bytes::u8_at(header, field::VERSION_CLASS_FLOW) >> 4 != 6 {
            return Err(Malformed::IpVersion);
        }
        let payload_len = usize::from(bytes::u16_at(header, field::PAYLOAD_LENGTH));
        let upper = Upper {
            protocol: Protocol(bytes::u8_at(header, field::NEXT_HEADER)),
            fragment: None,
            payload: rest.get(..payload_len).unwrap_or(rest),
        };
        let Upper { protocol, fragment, payload } = upper.walk()?;
        Ok(Self { header, protocol, fragment, payload })
    }

    /// Where the packet comes from.
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(bytes::array::<16>(self.header, field::SOURCE))
    }

    /// Where it goes.
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(bytes::array::<16>(self.header, field::DESTINATION))
    }

    /// The hop limit that is left.
    pub fn hop_limit(&self) -> u8 {
        bytes::u8_at(self.header, field::HOP_LIMIT)
    }

    /// What the payload is, after the extension headers.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Which piece this is, if it is one.
    pub const fn fragment(&self) -> Option<Fragment> {
        self.fragment
    }

    /// Length of everything behind the fixed header that it claims, in bytes.
    pub fn payload_length(&self) -> u16 {
        bytes::u16_at(self.header, field::PAYLOAD_LENGTH)
    }

    /// The payload, after the extension headers and without padding.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// What is left of a packet while its extension headers are taken off.
struct Upper<'a> {
    protocol: Protocol,
    fragment: Option<Fragment>,
    payload: &'a [u8],
}

impl Upper<'_> {
    fn walk(mut self) -> Result<Self, Malformed> {
        for _ in 0..MAX_EXTENSIONS {
            let Some(length) = self.extension_len()? else { return Ok(self) };
            let (header, payload) =
                self.payload.split_at_checked(length).ok_or(Malformed::Ipv6ExtensionLength)?;
            if self.protocol.0 == extension::FRAGMENT {
                let bits = bytes::u16_at(header, field::FRAGMENT_OFFSET);
                self.fragment = Some(Fragment { offset_bytes: bits & !7, more: bits & 1 != 0 });
            }
            self.protocol = Protocol(bytes::u8_at(header, 0));
            self.payload = payload;
            // What follows in a later fragment is the middle of something, not a header.
            if self.fragment.is_some_and(|fragment| !fragment.is_first()) {
                return Ok(self);
            }
        }
        match self.extension_len()? {
            None => Ok(self),
            Some(_) => Err(Malformed::Ipv6ExtensionCount),
        }
    }

    /// Length of the extension header in front, in bytes, or `None` if the payload starts here.
    fn extension_len(&self) -> Result<Option<usize>, Malformed> {
        use extension::*;
        let length = || self.payload.get(1).copied().map(usize::from).ok_or(Malformed::Ipv6ExtensionLength);
        Ok(match self.protocol.0 {
            FRAGMENT => Some(8),
            AUTHENTICATION => Some((length()? + 2) * 4),
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HOST_IDENTITY | SHIM6 => {
                Some((length()? + 1) * 8)
            }
            _ => None,
        })
    }
}

/// A header without extensions to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the packet comes from.
    pub source: Ipv6Addr,
    /// Where it goes.
    pub destination: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// What the payload is.
    pub protocol: Protocol,
    /// Length of the payload, in bytes.
    pub payload_len: u16,
}

impl Header {
    /// Bytes that [`Header::emit`] writes.
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(&self) -> usize {
        field::LEN
    }

    /// Writes the header to the start of `buffer` and returns its length.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let header: &mut [u8; field::LEN] = buffer.first_chunk_mut().ok_or(BufferTooSmall)?;
        *header = [0; field::LEN];
        bytes::put(header, field::VERSION_CLASS_FLOW, [0x60]);
        bytes::put(header, field::PAYLOAD_LENGTH, self.payload_len.to_be_bytes());
        bytes::put(header, field::NEXT_HEADER, [self.protocol.0]);
        bytes::put(header, field::HOP_LIMIT, [self.hop_limit]);
        bytes::put(header, field::SOURCE, self.source.octets());
        bytes::put(header, field::DESTINATION, self.destination.octets());
        Ok(field::LEN)
    }
}

impl ip::private::Sealed for Ipv6Addr {
    const HEADER_LEN: usize = field::LEN;

    fn emit_header(
        self,
        buffer: &mut [u8],
        hop_limit: u8,
        protocol: Protocol,
        payload_len: u16,
    ) -> Result<Sum, BufferTooSmall> {
        Header { source: self, destination: Self::UNSPECIFIED, hop_limit, protocol, payload_len }
            .emit(buffer)?;
        Ok(Sum::new())
    }

    #[inline]
    fn patch_destination(self, header: &mut [u8], _rest: Sum) {
        bytes::put(header, field::DESTINATION, self.octets());
    }

    #[inline]
    fn sum(self, sum: Sum) -> Sum {
        sum.bytes(&self.octets())
    }
}
