//! Transmission Control Protocol (RFC 9293), with the options of RFC 7323 and RFC 2018.

use core::{
    cmp::Ordering,
    net::IpAddr,
    ops::{Add, BitOr, Sub},
};

use crate::{
    BufferTooSmall, Malformed,
    bytes::{self, Writer},
    checksum::Sum,
    ip::Protocol,
};

pub(crate) mod field {
    pub const SOURCE_PORT: usize = 0;
    pub const DESTINATION_PORT: usize = 2;
    pub const SEQUENCE: usize = 4;
    pub const ACKNOWLEDGEMENT: usize = 8;
    pub const DATA_OFFSET: usize = 12;
    pub const FLAGS: usize = 13;
    pub const WINDOW: usize = 14;
    pub const CHECKSUM: usize = 16;
    pub const LEN: usize = 20;
}

mod kind {
    pub const END: u8 = 0;
    pub const NO_OPERATION: u8 = 1;
    pub const MAXIMUM_SEGMENT_SIZE: u8 = 2;
    pub const WINDOW_SCALE: u8 = 3;
    pub const SACK_PERMITTED: u8 = 4;
    pub const TIMESTAMPS: u8 = 8;
}

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = field::LEN;

/// A position in the byte stream, modulo 2³².
///
/// Two numbers are ordered by the shorter way round (RFC 9293 3.4); numbers 2³¹ apart are not ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SeqNumber(pub u32);

impl Add<u32> for SeqNumber {
    type Output = Self;

    fn add(self, distance: u32) -> Self {
        Self(self.0.wrapping_add(distance))
    }
}

impl Sub<u32> for SeqNumber {
    type Output = Self;

    fn sub(self, distance: u32) -> Self {
        Self(self.0.wrapping_sub(distance))
    }
}

impl Sub for SeqNumber {
    type Output = i32;

    /// How far `self` lies ahead of `other`; negative behind it.
    fn sub(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }
}

impl PartialOrd for SeqNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match *self - *other {
            i32::MIN => None,
            distance => Some(distance.cmp(&0)),
        }
    }
}

/// The control bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Hand the data to the user now.
    pub const PSH: Self = Self(0x08);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);

    /// Whether all of `others` are set.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether this is the second step of a handshake: SYN and ACK, and neither RST nor FIN.
    pub const fn is_syn_ack(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0 | Self::RST.0 | Self::FIN.0) == Self::SYN.0 | Self::ACK.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A segment that was received.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    header: &'a [u8; field::LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Checks the data offset. Options are checked when they are read.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk().ok_or(Malformed::TcpTruncated)?;
        let header_len = usize::from(bytes::u8_at(header, field::DATA_OFFSET) >> 4) * 4;
        let options_len = header_len.checked_sub(field::LEN).ok_or(Malformed::TcpDataOffset)?;
        let (options, payload) = rest.split_at_checked(options_len).ok_or(Malformed::TcpDataOffset)?;
        Ok(Self { header, options, payload })
    }

    /// The sender's port.
    pub fn source_port(&self) -> u16 {
        bytes::u16_at(self.header, field::SOURCE_PORT)
    }

    /// The receiver's port.
    pub fn destination_port(&self) -> u16 {
        bytes::u16_at(self.header, field::DESTINATION_PORT)
    }

    /// The number of the first byte, or of the SYN.
    pub fn sequence(&self) -> SeqNumber {
        SeqNumber(bytes::u32_at(self.header, field::SEQUENCE))
    }

    /// The number that the sender expects next; counts only with [`Flags::ACK`].
    pub fn acknowledgement(&self) -> SeqNumber {
        SeqNumber(bytes::u32_at(self.header, field::ACKNOWLEDGEMENT))
    }

    /// The control bits.
    pub fn flags(&self) -> Flags {
        Flags(bytes::u8_at(self.header, field::FLAGS))
    }

    /// The advertised window, unscaled.
    pub fn window(&self) -> u16 {
        bytes::u16_at(self.header, field::WINDOW)
    }

    /// The options in their order.
    pub const fn options(&self) -> Options<'a> {
        Options { rest: self.options }
    }

    /// What the options say, as far as they can be read.
    pub fn option_summary(&self) -> OptionSummary {
        OptionSummary::of(self.options())
    }

    /// The data.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Whether the checksum is right for a segment between these addresses.
    pub fn checksum_ok(&self, source: IpAddr, destination: IpAddr) -> bool {
        let length = (field::LEN + self.options.len() + self.payload.len()) as u32;
        Sum::new()
            .pseudo_header(source, destination, Protocol::TCP, length)
            .bytes(self.header)
            .bytes(self.options)
            .bytes(self.payload)
            .is_intact()
    }
}

/// One option of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// The largest segment the sender takes, in bytes.
    MaximumSegmentSize(u16),
    /// Padding in between.
    NoOperation,
    /// Any other option, or one of a known kind with a length that kind does not have.
    Other {
        /// Its kind.
        kind: u8,
        /// What follows kind and length.
        data: &'a [u8],
    },
    /// The sender understands selective acknowledgements.
    SackPermitted,
    /// The sender's clock, and the receiver's as the sender saw it last.
    Timestamps {
        /// The sender's clock.
        value: u32,
        /// The echo of the receiver's.
        echo: u32,
    },
    /// How many bits the window is shifted by; values above 14 are to be read as 14 (RFC 7323 2.3).
    WindowScale(u8),
}

impl TcpOption<'_> {
    /// The option's kind.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::MaximumSegmentSize(_) => kind::MAXIMUM_SEGMENT_SIZE,
            Self::NoOperation => kind::NO_OPERATION,
            Self::Other { kind, .. } => *kind,
            Self::SackPermitted => kind::SACK_PERMITTED,
            Self::Timestamps { .. } => kind::TIMESTAMPS,
            Self::WindowScale(_) => kind::WINDOW_SCALE,
        }
    }
}

/// Walks the options; ends at the end-of-list option, or after the first that is malformed.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<TcpOption<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.rest.split_first()?;
        match kind {
            kind::END => {
                self.rest = &[];
                None
            }
            kind::NO_OPERATION => {
                self.rest = rest;
                Some(Ok(TcpOption::NoOperation))
            }
            _ => Some(self.with_length(kind, rest)),
        }
    }
}

impl<'a> Options<'a> {
    fn with_length(&mut self, kind: u8, rest: &'a [u8]) -> Result<TcpOption<'a>, Malformed> {
        self.rest = &[];
        let (&length, rest) = rest.split_first().ok_or(Malformed::TcpOptionLength)?;
        let data_len = usize::from(length).checked_sub(2).ok_or(Malformed::TcpOptionLength)?;
        let (data, rest) = rest.split_at_checked(data_len).ok_or(Malformed::TcpOptionLength)?;
        self.rest = rest;
        Ok(match (kind, data) {
            (kind::MAXIMUM_SEGMENT_SIZE, &[high, low]) => {
                TcpOption::MaximumSegmentSize(u16::from_be_bytes([high, low]))
            }
            (kind::WINDOW_SCALE, &[shift]) => TcpOption::WindowScale(shift),
            (kind::SACK_PERMITTED, []) => TcpOption::SackPermitted,
            (kind::TIMESTAMPS, data) if data.len() == 8 => {
                TcpOption::Timestamps { value: bytes::u32_at(data, 0), echo: bytes::u32_at(data, 4) }
            }
            (kind, data) => TcpOption::Other { kind, data },
        })
    }
}

/// What the options of a SYN or SYN-ACK say of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OptionSummary {
    /// Maximum segment size, if sent.
    pub mss: Option<u16>,
    /// Window scale, if sent.
    pub window_scale: Option<u8>,
    /// Whether selective acknowledgement was permitted.
    pub sack_permitted: bool,
    /// The sender's clock and the echo of ours, if timestamps were sent.
    pub timestamps: Option<(u32, u32)>,
    /// The kinds of the first eight options in their order, 0 after the last.
    pub kinds: [u8; 8],
}

impl OptionSummary {
    fn of(options: Options<'_>) -> Self {
        let mut summary = Self::default();
        let mut kinds = summary.kinds.iter_mut();
        for option in options.map_while(Result::ok) {
            if let Some(kind) = kinds.next() {
                *kind = option.kind();
            }
            match option {
                TcpOption::MaximumSegmentSize(mss) => summary.mss = Some(mss),
                TcpOption::SackPermitted => summary.sack_permitted = true,
                TcpOption::Timestamps { value, echo } => summary.timestamps = Some((value, echo)),
                TcpOption::WindowScale(shift) => summary.window_scale = Some(shift),
                TcpOption::NoOperation | TcpOption::Other { .. } => {}
            }
        }
        summary
    }
}

/// The options of a SYN to be sent.
///
/// With the maximum segment size alone a frame is 58 bytes long, still below Ethernet's minimum, so it
/// costs nothing on the wire; more options look more like a real client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SynOptions {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale.
    pub window_scale: Option<u8>,
    /// Selective acknowledgement permitted.
    pub sack_permitted: bool,
    /// Timestamps: our clock's value.
    pub timestamps: Option<u32>,
}

impl SynOptions {
    /// Length on the wire, in bytes; a multiple of 4, at most [`SynOptions::MAX_LEN`].
    pub const fn len(&self) -> usize {
        let mss = if self.mss.is_some() { 4 } else { 0 };
        let clocks = match (self.timestamps, self.sack_permitted) {
            (Some(_), _) => 12,
            (None, true) => 4,
            (None, false) => 0,
        };
        let scale = if self.window_scale.is_some() { 4 } else { 0 };
        mss + clocks + scale
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of all options together, in bytes.
    pub const MAX_LEN: usize = 20;

    /// Writes the options, each padded to four bytes by leading no-operations where it needs to be.
    fn emit(&self, writer: &mut Writer<'_>) -> Result<(), BufferTooSmall> {
        const NOP: u8 = kind::NO_OPERATION;
        if let Some(mss) = self.mss {
            writer.put(&[kind::MAXIMUM_SEGMENT_SIZE, 4])?;
            writer.put(&mss.to_be_bytes())?;
        }
        // Permission and timestamps fill twelve bytes together, as most systems send them.
        match (self.timestamps, self.sack_permitted) {
            (Some(_), true) => writer.put(&[kind::SACK_PERMITTED, 2])?,
            (Some(_), false) => writer.put(&[NOP, NOP])?,
            (None, true) => writer.put(&[NOP, NOP, kind::SACK_PERMITTED, 2])?,
            (None, false) => {}
        }
        if let Some(value) = self.timestamps {
            writer.put(&[kind::TIMESTAMPS, 10])?;
            writer.put(&value.to_be_bytes())?;
            writer.put(&[0; 4])?;
        }
        if let Some(shift) = self.window_scale {
            writer.put(&[NOP, kind::WINDOW_SCALE, 3, shift])?;
        }
        Ok(())
    }
}

/// A segment without data to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Our port.
    pub source_port: u16,
    /// The other's port.
    pub destination_port: u16,
    /// Our position.
    pub sequence: SeqNumber,
    /// The other's position; send 0 without [`Flags::ACK`].
    pub acknowledgement: SeqNumber,
    /// The control bits.
    pub flags: Flags,
    /// The advertised window, unscaled.
    pub window: u16,
    /// The options.
    pub options: SynOptions,
}

impl Header {
    /// Bytes that [`Header::emit`] writes.
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(&self) -> usize {
        field::LEN + self.options.len()
    }

    /// Writes the segment to the start of `buffer` and returns its length.
    pub fn emit(
        &self,
        buffer: &mut [u8],
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<usize, BufferTooSmall> {
        let segment = buffer.get_mut(..self.len()).ok_or(BufferTooSmall)?;
        let sum = self.emit_without_checksum(segment)?;
        let checksum = sum.pseudo_header(source, destination, Protocol::TCP, self.len() as u32).finish();
        bytes::put(segment, field::CHECKSUM, checksum.to_be_bytes());
        Ok(self.len())
    }

    /// Writes everything but the checksum and returns the sum over it, without the pseudo-header.
    pub(crate) fn emit_without_checksum(&self, buffer: &mut [u8]) -> Result<Sum, BufferTooSmall> {
        let length = self.len();
        let mut header = [0; field::LEN];
        bytes::put(&mut header, field::SOURCE_PORT, self.source_port.to_be_bytes());
        bytes::put(&mut header, field::DESTINATION_PORT, self.destination_port.to_be_bytes());
        bytes::put(&mut header, field::SEQUENCE, self.sequence.0.to_be_bytes());
        bytes::put(&mut header, field::ACKNOWLEDGEMENT, self.acknowledgement.0.to_be_bytes());
        bytes::put(&mut header, field::DATA_OFFSET, [(length as u8 / 4) << 4]);
        bytes::put(&mut header, field::FLAGS, [self.flags.0]);
        bytes::put(&mut header, field::WINDOW, self.window.to_be_bytes());
        let mut writer = Writer::new(buffer, length)?;
        writer.put(&header)?;
        self.options.emit(&mut writer)?;
        Ok(Sum::new().bytes(buffer.get(..length).unwrap_or_default()))
    }
}
