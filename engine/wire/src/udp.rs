//! User Datagram Protocol (RFC 768).

use core::net::IpAddr;

use crate::{
    BufferTooSmall, Malformed,
    bytes::{self, Writer},
    checksum::Sum,
    ip::Protocol,
};

pub(crate) mod field {
    pub const SOURCE_PORT: usize = 0;
    pub const DESTINATION_PORT: usize = 2;
    pub const LENGTH: usize = 4;
    pub const CHECKSUM: usize = 6;
    pub const LEN: usize = 8;
}

/// Length of a header, in bytes.
pub const HEADER_LEN: usize = field::LEN;

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    header: &'a [u8; field::LEN],
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Checks the length.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk().ok_or(Malformed::UdpTruncated)?;
        let length = usize::from(bytes::u16_at(header, field::LENGTH));
        let payload_len = length.checked_sub(field::LEN).ok_or(Malformed::UdpLength)?;
        let payload = rest.get(..payload_len).ok_or(Malformed::UdpLength)?;
        Ok(Self { header, payload })
    }

    /// The sender's port.
    pub fn source_port(&self) -> u16 {
        bytes::u16_at(self.header, field::SOURCE_PORT)
    }

    /// The receiver's port.
    pub fn destination_port(&self) -> u16 {
        bytes::u16_at(self.header, field::DESTINATION_PORT)
    }

    /// The data.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Whether the checksum is right for a datagram between these addresses; over IPv4 it may be absent.
    pub fn checksum_ok(&self, source: IpAddr, destination: IpAddr) -> bool {
        if bytes::u16_at(self.header, field::CHECKSUM) == 0 {
            return source.is_ipv4();
        }
        let length = (field::LEN + self.payload.len()) as u32;
        Sum::new()
            .pseudo_header(source, destination, Protocol::UDP, length)
            .bytes(self.header)
            .bytes(self.payload)
            .is_intact()
    }
}

/// A datagram to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Our port.
    pub source_port: u16,
    /// The other's port.
    pub destination_port: u16,
    /// The data, at most 65,507 bytes.
    pub payload: &'a [u8],
}

impl Header<'_> {
    /// Bytes that [`Header::emit`] writes.
    #[expect(clippy::len_without_is_empty, reason = "a datagram is never empty")]
    pub const fn len(&self) -> usize {
        field::LEN + self.payload.len()
    }

    /// Writes the datagram to the start of `buffer` and returns its length.
    pub fn emit(
        &self,
        buffer: &mut [u8],
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<usize, BufferTooSmall> {
        let datagram = buffer.get_mut(..self.len()).ok_or(BufferTooSmall)?;
        let sum = self.emit_without_checksum(datagram)?;
        let sum = sum.pseudo_header(source, destination, Protocol::UDP, self.len() as u32);
        bytes::put(datagram, field::CHECKSUM, present(sum.finish()).to_be_bytes());
        Ok(self.len())
    }

    /// Writes everything but the checksum and returns the sum over it, without the pseudo-header.
    pub(crate) fn emit_without_checksum(&self, buffer: &mut [u8]) -> Result<Sum, BufferTooSmall> {
        let mut header = [0; field::LEN];
        bytes::put(&mut header, field::SOURCE_PORT, self.source_port.to_be_bytes());
        bytes::put(&mut header, field::DESTINATION_PORT, self.destination_port.to_be_bytes());
        bytes::put(&mut header, field::LENGTH, (self.len() as u16).to_be_bytes());
        let mut writer = Writer::new(buffer, self.len())?;
        writer.put(&header)?;
        writer.put(self.payload)?;
        Ok(Sum::new().bytes(&header).bytes(self.payload))
    }
}

/// A computed checksum of zero is sent as its other representation, since zero means "none" (RFC 768).
#[inline]
pub(crate) const fn present(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}
