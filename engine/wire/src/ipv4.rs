//! Internet Protocol, version 4 (RFC 791).

use core::net::Ipv4Addr;

use crate::{
    BufferTooSmall, Malformed, bytes,
    checksum::{self, Sum},
    ip::{self, Fragment, Protocol},
};

mod field {
    pub const VERSION_IHL: usize = 0;
    pub const DSCP_ECN: usize = 1;
    pub const TOTAL_LENGTH: usize = 2;
    pub const IDENTIFICATION: usize = 4;
    pub const FLAGS_OFFSET: usize = 6;
    pub const TTL: usize = 8;
    pub const PROTOCOL: usize = 9;
    pub const CHECKSUM: usize = 10;
    pub const SOURCE: usize = 12;
    pub const DESTINATION: usize = 16;
    pub const LEN: usize = 20;

    pub const DONT_FRAGMENT: u16 = 0x4000;
    pub const MORE_FRAGMENTS: u16 = 0x2000;
    pub const OFFSET: u16 = 0x1fff;
}

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = field::LEN;

/// A packet that was received.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: &'a [u8; field::LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version, header length and total length.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let packet = Self::parse_cut(bytes)?;
        if usize::from(packet.total_length()) > bytes.len() {
            return Err(Malformed::Ipv4TotalLength);
        }
        Ok(packet)
    }

    /// [`Packet::parse`] for the start of a packet: the total length may exceed the bytes at hand.
    pub fn parse_cut(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk().ok_or(Malformed::Ipv4Truncated)?;
        let first = bytes::u8_at(header, field::VERSION_IHL);
        if first >> 4 != 4 {
            return Err(Malformed::IpVersion);
        }
        let header_len = usize::from(first & 0x0f) * 4;
        let options_len = header_len.checked_sub(field::LEN).ok_or(Malformed::Ipv4HeaderLength)?;
        let (options, payload) = rest.split_at_checked(options_len).ok_or(Malformed::Ipv4HeaderLength)?;
        let total_length = usize::from(bytes::u16_at(header, field::TOTAL_LENGTH));
        let payload_len = total_length.checked_sub(header_len).ok_or(Malformed::Ipv4TotalLength)?;
        Ok(Self { header, options, payload: payload.get(..payload_len).unwrap_or(payload) })
    }

    /// Where the packet comes from.
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from(bytes::array(self.header, field::SOURCE))
    }

    /// Where it goes.
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from(bytes::array(self.header, field::DESTINATION))
    }

    /// The time to live that is left.
    pub fn hop_limit(&self) -> u8 {
        bytes::u8_at(self.header, field::TTL)
    }

    /// What the payload is.
    pub fn protocol(&self) -> Protocol {
        Protocol(bytes::u8_at(self.header, field::PROTOCOL))
    }

    /// The identification, shared by all fragments of a packet.
    pub fn identification(&self) -> u16 {
        bytes::u16_at(self.header, field::IDENTIFICATION)
    }

    /// Whether routers were told not to fragment it.
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset() & field::DONT_FRAGMENT != 0
    }

    /// Differentiated services and congestion bits.
    pub fn traffic_class(&self) -> u8 {
        bytes::u8_at(self.header, field::DSCP_ECN)
    }

    /// Which piece this is, if it is one.
    pub fn fragment(&self) -> Option<Fragment> {
        let bits = self.flags_offset();
        let fragment =
            Fragment { offset_bytes: (bits & field::OFFSET) << 3, more: bits & field::MORE_FRAGMENTS != 0 };
        (!fragment.is_first() || fragment.more).then_some(fragment)
    }

    /// Length of header and payload that the header claims, in bytes.
    pub fn total_length(&self) -> u16 {
        bytes::u16_at(self.header, field::TOTAL_LENGTH)
    }

    /// The options, as they came.
    pub const fn options(&self) -> &'a [u8] {
        self.options
    }

    /// The payload, without padding.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Whether the header's checksum is right.
    pub fn checksum_ok(&self) -> bool {
        Sum::new().bytes(self.header).bytes(self.options).is_intact()
    }

    fn flags_offset(&self) -> u16 {
        bytes::u16_at(self.header, field::FLAGS_OFFSET)
    }
}

/// A header without options to be sent. Fragmenting it is forbidden, so its identification is 0 (RFC 6864 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the packet comes from.
    pub source: Ipv4Addr,
    /// Where it goes.
    pub destination: Ipv4Addr,
    /// Time to live.
    pub hop_limit: u8,
    /// What the payload is.
    pub protocol: Protocol,
    /// Length of the payload, in bytes; at most 65,515.
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
        let header = buffer.first_chunk_mut().ok_or(BufferTooSmall)?;
        *header = self.without_checksum();
        let checksum = checksum::of(header);
        bytes::put(header, field::CHECKSUM, checksum.to_be_bytes());
        Ok(field::LEN)
    }

    fn without_checksum(&self) -> [u8; field::LEN] {
        let mut header = [0; field::LEN];
        bytes::put(&mut header, field::VERSION_IHL, [0x45]);
        let total = (field::LEN as u16).saturating_add(self.payload_len);
        bytes::put(&mut header, field::TOTAL_LENGTH, total.to_be_bytes());
        bytes::put(&mut header, field::FLAGS_OFFSET, field::DONT_FRAGMENT.to_be_bytes());
        bytes::put(&mut header, field::TTL, [self.hop_limit]);
        bytes::put(&mut header, field::PROTOCOL, [self.protocol.0]);
        bytes::put(&mut header, field::SOURCE, self.source.octets());
        bytes::put(&mut header, field::DESTINATION, self.destination.octets());
        header
    }
}

impl ip::private::Sealed for Ipv4Addr {
    const HEADER_LEN: usize = field::LEN;

    fn emit_header(
        self,
        buffer: &mut [u8],
        hop_limit: u8,
        protocol: Protocol,
        payload_len: u16,
    ) -> Result<Sum, BufferTooSmall> {
        let header =
            Header { source: self, destination: Self::UNSPECIFIED, hop_limit, protocol, payload_len };
        let bytes = header.without_checksum();
        *buffer.first_chunk_mut().ok_or(BufferTooSmall)? = bytes;
        Ok(Sum::new().bytes(&bytes))
    }

    #[inline]
    fn patch_destination(self, header: &mut [u8], rest: Sum) {
        let checksum = self.sum(rest).finish();
        bytes::put(header, field::CHECKSUM, checksum.to_be_bytes());
        bytes::put(header, field::DESTINATION, self.octets());
    }

    #[inline]
    fn sum(self, sum: Sum) -> Sum {
        sum.long(self.to_bits())
    }
}
