//! Stream Control Transmission Protocol (RFC 9260): what a probe of a port needs, an INIT out and the chunks that answer
//! it in.

use crate::{Malformed, bytes};

pub(crate) mod field {
    pub const SOURCE_PORT: usize = 0;
    pub const DESTINATION_PORT: usize = 2;
    pub const VERIFICATION_TAG: usize = 4;
    pub const CHECKSUM: usize = 8;
    pub const LEN: usize = 12;
}

/// Offsets within a packet that consists of one INIT chunk (RFC 9260 3.3.2).
pub(crate) mod init {
    pub const KIND: usize = 12;
    pub const LENGTH: usize = 14;
    pub const INITIATE_TAG: usize = 16;
    pub const RECEIVE_WINDOW: usize = 20;
    pub const OUTBOUND_STREAMS: usize = 24;
    pub const INBOUND_STREAMS: usize = 26;
    pub const INITIAL_TSN: usize = 28;
    pub const LEN: usize = 32;
}

/// Length of the common header, in bytes.
pub const HEADER_LEN: usize = field::LEN;
/// Length of a chunk's header, in bytes.
pub const CHUNK_HEADER_LEN: usize = 4;
/// Length of a packet with one INIT chunk without parameters, in bytes.
pub const INIT_LEN: usize = init::LEN;

/// The kinds of chunks that are of interest here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkKind(pub u8);

impl ChunkKind {
    /// The association is refused or ended.
    pub const ABORT: Self = Self(6);
    /// Asks for an association.
    pub const INIT: Self = Self(1);
    /// Grants it, provided that the cookie comes back.
    pub const INIT_ACK: Self = Self(2);
}

/// A packet that was received.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: &'a [u8; field::LEN],
    chunks: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks that the common header is complete. Chunks are checked when they are read.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, chunks) = bytes.split_first_chunk().ok_or(Malformed::SctpTruncated)?;
        Ok(Self { header, chunks })
    }

    /// The sender's port.
    pub fn source_port(&self) -> u16 {
        bytes::u16_at(self.header, field::SOURCE_PORT)
    }

    /// The receiver's port.
    pub fn destination_port(&self) -> u16 {
        bytes::u16_at(self.header, field::DESTINATION_PORT)
    }

    /// What the receiver told the sender to put there; 0 only with an INIT.
    pub fn verification_tag(&self) -> u32 {
        bytes::u32_at(self.header, field::VERIFICATION_TAG)
    }

    /// The chunks in their order, until the first that is malformed.
    pub const fn chunks(&self) -> Chunks<'a> {
        Chunks { rest: self.chunks }
    }

    /// Whether the checksum is right. It covers no addresses, so nothing but the packet is needed.
    pub fn checksum_ok(&self) -> bool {
        let (before, _) = self.header.split_at(field::CHECKSUM);
        let sum = Crc32c::new().bytes(before).bytes(&[0; 4]).bytes(self.chunks).finish();
        sum.to_le_bytes() == bytes::array(self.header, field::CHECKSUM)
    }
}

/// A chunk of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// What it is.
    pub kind: ChunkKind,
    /// What the bits mean depends on the kind.
    pub flags: u8,
    /// The rest, without padding.
    pub value: &'a [u8],
}

/// Reads chunks one after the other.
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<Chunk<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = core::mem::take(&mut self.rest);
        let length = usize::from(bytes::u16_at(rest, 2));
        let chunk = rest.get(..length).and_then(|chunk| chunk.split_at_checked(CHUNK_HEADER_LEN));
        let Some((header, value)) = chunk else { return Some(Err(Malformed::SctpChunkLength)) };
        // RFC 9260 3.2: the length does not count the padding to four bytes, which the last chunk may lack.
        self.rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let (kind, flags) = (ChunkKind(bytes::u8_at(header, 0)), bytes::u8_at(header, 1));
        Some(Ok(Chunk { kind, flags, value }))
    }
}

/// CRC32c (Castagnoli) as RFC 9260 appendix A has it: reflected, and stored with its lowest byte first.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(u32);

impl Crc32c {
    /// The reflected polynomial 0x1EDC6F41.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    const TABLE: [u32; 256] = Self::table();

    /// Of nothing.
    pub const fn new() -> Self {
        Self(!0)
    }

    /// Adds bytes.
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |crc, byte| {
            let entry = Self::TABLE.get(usize::from(crc as u8 ^ byte)).copied().unwrap_or(0);
            entry ^ crc >> 8
        }))
    }

    /// The value.
    #[inline]
    pub const fn finish(self) -> u32 {
        !self.0
    }

    #[expect(clippy::indexing_slicing, reason = "computed at compile time, over all 256 places")]
    const fn table() -> [u32; 256] {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ Self::POLYNOMIAL } else { crc >> 1 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // RFC 3720 B.4 lists these values of the same CRC, and the check value of every catalogue.
        assert_eq!(Crc32c::new().bytes(b"123456789").finish(), 0xe306_9283);
        assert_eq!(Crc32c::new().bytes(&[0; 32]).finish().to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(Crc32c::new().bytes(&[0xff; 32]).finish().to_le_bytes(), [0x43, 0xab, 0xa8, 0x62]);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(Crc32c::new().bytes(&ascending).finish().to_le_bytes(), [0x4e, 0x79, 0xdd, 0x46]);
        assert_eq!(Crc32c::new().bytes(b"1234").bytes(b"56789").finish(), 0xe306_9283);
    }

    #[test]
    fn chunks_are_read_with_their_padding() {
        let mut packet = [0; HEADER_LEN].to_vec();
        packet.extend_from_slice(&[7, 1, 0, 5, 0xaa, 0, 0, 0]);
        packet.extend_from_slice(&[6, 0, 0, 4]);
        let chunks: Vec<_> = Packet::parse(&packet).expect("long enough").chunks().collect();
        assert_eq!(
            chunks,
            [
                Ok(Chunk { kind: ChunkKind(7), flags: 1, value: &[0xaa] }),
                Ok(Chunk { kind: ChunkKind::ABORT, flags: 0, value: &[] })
            ]
        );
    }

    #[test]
    fn impossible_chunks_end_the_packet() {
        for bad in [&[6, 0, 0, 3][..], &[6, 0, 0, 0], &[6, 0, 0, 9, 1], &[6, 0], &[6]] {
            let packet = [&[0; HEADER_LEN], bad].concat();
            let chunks: Vec<_> = Packet::parse(&packet).expect("long enough").chunks().collect();
            assert_eq!(chunks, [Err(Malformed::SctpChunkLength)], "{bad:?}");
        }
        assert_eq!(Packet::parse(&[0; HEADER_LEN - 1]).err(), Some(Malformed::SctpTruncated));
    }
}
