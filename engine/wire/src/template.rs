//! Frames that are built and summed once, and patched for each target.
//!
//! Making a template writes every field that stays the same over a scan and sums it. `emit` then
//! copies the frame, writes destination, ports and cookie, and folds the constant sum with theirs into
//! the checksums (RFC 1624's idea without the subtraction: the patched fields are zero in the sum).
//!
//! Each template exists for `Ipv4Addr` and `Ipv6Addr`.
//! The Ethernet destination is the template's; for targets on the same link, with a hardware address
//! each, call [`ethernet::set_destination`] on the emitted frame.

use core::{marker::PhantomData, net::Ipv4Addr};

use crate::{
    BufferTooSmall, bytes,
    checksum::Sum,
    ethernet::{self, VlanId},
    icmpv4, icmpv6,
    ip::{Address, Protocol},
    ipv6,
    sctp::{self, Crc32c},
    tcp, udp,
};

/// What stands in front of the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet {
        /// The next hop's hardware address.
        destination: ethernet::Address,
        /// Our own.
        source: ethernet::Address,
        /// The tag, if frames are to have one.
        vlan: Option<VlanId>,
    },
    /// Nothing: raw IP sockets and layer-3 devices.
    None,
}

/// The way that all frames of a template take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<A> {
    /// What stands in front of the IP header.
    pub link: Link,
    /// Our address.
    pub source: A,
    /// IPv4 time to live or IPv6 hop limit.
    pub hop_limit: u8,
}

/// The longest run of headers: a tagged Ethernet header, IPv6, TCP with all options.
const MAX_HEADERS: usize =
    ethernet::HEADER_LEN + 4 + ipv6::HEADER_LEN + tcp::HEADER_LEN + tcp::SynOptions::MAX_LEN;

/// Link and network header, and room for the transport header.
#[derive(Clone, Copy, Debug)]
struct Prefix {
    bytes: [u8; MAX_HEADERS],
    /// Where the IP header starts.
    network: usize,
    /// Where the transport header starts.
    transport: usize,
    /// Over the IP header's constant fields, if its checksum covers them.
    network_sum: Sum,
    /// Over the constant part of the pseudo-header.
    pseudo_sum: Sum,
}

impl Prefix {
    /// `payload_len` is the length of transport header and data.
    fn new<A: Address>(path: Path<A>, protocol: Protocol, payload_len: usize) -> Self {
        let mut bytes = [0; MAX_HEADERS];
        let network = match path.link {
            Link::Ethernet { destination, source, vlan } => {
                let header = ethernet::Header { destination, source, vlan, ether_type: A::ETHER_TYPE };
                header.emit(&mut bytes).unwrap_or_default()
            }
            Link::None => 0,
        };
        let rest = bytes.get_mut(network..).unwrap_or_default();
        let network_sum =
            path.source.emit_header(rest, path.hop_limit, protocol, payload_len as u16).unwrap_or_default();
        let pseudo_sum = path.source.sum(Sum::new()).word(u16::from(protocol.0)).long(payload_len as u32);
        Self { bytes, network, transport: network + A::HEADER_LEN, network_sum, pseudo_sum }
    }

    /// Copies the headers to `frame` and writes the destination.
    #[inline]
    fn emit<A: Address>(&self, frame: &mut [u8], headers_len: usize, destination: A) {
        if let (Some(target), Some(headers)) = (frame.get_mut(..headers_len), self.bytes.get(..headers_len)) {
            target.copy_from_slice(headers);
        }
        if let Some(header) = frame.get_mut(self.network..self.transport) {
            destination.patch_destination(header, self.network_sum);
        }
    }

    fn transport_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.transport..).unwrap_or_default()
    }
}

/// TCP SYN segments.
#[derive(Clone, Debug)]
pub struct SynTemplate<A> {
    prefix: Prefix,
    length: usize,
    sum: Sum,
    source: A,
}

/// What differs from one SYN to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn<A> {
    /// The target's address.
    pub destination: A,
    /// Our port.
    pub source_port: u16,
    /// The probed port.
    pub destination_port: u16,
    /// The cookie.
    pub sequence: tcp::SeqNumber,
}

impl<A: Address> SynTemplate<A> {
    /// A template of SYNs that advertise `window` and these options.
    pub fn new(path: Path<A>, window: u16, options: tcp::SynOptions) -> Self {
        let header = tcp::Header {
            source_port: 0,
            destination_port: 0,
            sequence: tcp::SeqNumber(0),
            acknowledgement: tcp::SeqNumber(0),
            flags: tcp::Flags::SYN,
            window,
            options,
        };
        let mut prefix = Prefix::new(path, Protocol::TCP, header.len());
        let sum = header.emit_without_checksum(prefix.transport_mut()).unwrap_or_default();
        let sum = prefix.pseudo_sum.plus(sum);
        Self { length: prefix.transport + header.len(), prefix, sum, source: path.source }
    }

    /// Bytes that [`SynTemplate::emit`] writes.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Our address.
    pub const fn source(&self) -> A {
        self.source
    }

    /// Writes a frame to the start of `buffer` and returns its length.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8], syn: &Syn<A>) -> Result<usize, BufferTooSmall> {
        let frame = buffer.get_mut(..self.length).ok_or(BufferTooSmall)?;
        self.prefix.emit(frame, self.length, syn.destination);
        let checksum = syn
            .destination
            .sum(self.sum)
            .word(syn.source_port)
            .word(syn.destination_port)
            .long(syn.sequence.0)
            .finish();
        let segment = frame.get_mut(self.prefix.transport..).unwrap_or_default();
        bytes::put(segment, tcp::field::SOURCE_PORT, syn.source_port.to_be_bytes());
        bytes::put(segment, tcp::field::DESTINATION_PORT, syn.destination_port.to_be_bytes());
        bytes::put(segment, tcp::field::SEQUENCE, syn.sequence.0.to_be_bytes());
        bytes::put(segment, tcp::field::CHECKSUM, checksum.to_be_bytes());
        Ok(self.length)
    }
}

/// UDP datagrams with a payload.
#[derive(Clone, Debug)]
pub struct UdpTemplate<'p, A> {
    prefix: Prefix,
    payload: &'p [u8],
    sum: Sum,
    source: A,
}

/// What differs from one datagram to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<A> {
    /// The target's address.
    pub destination: A,
    /// Our port.
    pub source_port: u16,
    /// The probed port.
    pub destination_port: u16,
}

impl<'p, A: Address> UdpTemplate<'p, A> {
    /// The longest payload that one template takes, in bytes: it fits every link with IPv6's minimum MTU of 1280.
    pub const MAX_PAYLOAD: usize = 1280 - ipv6::HEADER_LEN - udp::HEADER_LEN;

    /// A template of datagrams with this payload, or `None` if it is longer than [`Self::MAX_PAYLOAD`].
    pub fn new(path: Path<A>, payload: &'p [u8]) -> Option<Self> {
        if payload.len() > Self::MAX_PAYLOAD {
            return None;
        }
        let header = udp::Header { source_port: 0, destination_port: 0, payload: &[] };
        let length = udp::HEADER_LEN + payload.len();
        let mut prefix = Prefix::new(path, Protocol::UDP, length);
        header.emit_without_checksum(prefix.transport_mut()).unwrap_or_default();
        bytes::put(prefix.transport_mut(), udp::field::LENGTH, (length as u16).to_be_bytes());
        let sum = prefix.pseudo_sum.word(length as u16).bytes(payload);
        Some(Self { prefix, payload, sum, source: path.source })
    }

    /// Bytes that [`UdpTemplate::emit`] writes.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub const fn len(&self) -> usize {
        self.headers_len() + self.payload.len()
    }

    /// Our address.
    pub const fn source(&self) -> A {
        self.source
    }

    /// Writes a frame to the start of `buffer` and returns its length.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8], udp: &Udp<A>) -> Result<usize, BufferTooSmall> {
        let frame = buffer.get_mut(..self.len()).ok_or(BufferTooSmall)?;
        self.prefix.emit(frame, self.headers_len(), udp.destination);
        let sum = udp.destination.sum(self.sum).word(udp.source_port).word(udp.destination_port);
        let datagram = frame.get_mut(self.prefix.transport..).unwrap_or_default();
        bytes::put(datagram, udp::field::SOURCE_PORT, udp.source_port.to_be_bytes());
        bytes::put(datagram, udp::field::DESTINATION_PORT, udp.destination_port.to_be_bytes());
        bytes::put(datagram, udp::field::CHECKSUM, udp::present(sum.finish()).to_be_bytes());
        if let Some(data) = datagram.get_mut(udp::HEADER_LEN..) {
            data.copy_from_slice(self.payload);
        }
        Ok(self.len())
    }

    const fn headers_len(&self) -> usize {
        self.prefix.transport + udp::HEADER_LEN
    }
}

/// ICMP or ICMPv6 echo requests without data.
#[derive(Clone, Debug)]
pub struct EchoTemplate<A> {
    prefix: Prefix,
    sum: Sum,
    source: A,
}

/// What differs from one echo request to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<A> {
    /// The target's address.
    pub destination: A,
    /// One half of the cookie.
    pub identifier: u16,
    /// The other half.
    pub sequence: u16,
}

impl<A: Address> EchoTemplate<A> {
    /// A template of echo requests.
    pub fn new(path: Path<A>) -> Self {
        let mut prefix = Prefix::new(path, A::ICMP, icmpv4::HEADER_LEN);
        let v6 = A::ICMP == Protocol::ICMPV6;
        let kind = if v6 { icmpv6::kind::ECHO_REQUEST } else { icmpv4::kind::ECHO_REQUEST };
        bytes::put(prefix.transport_mut(), icmpv4::field::TYPE, [kind]);
        // ICMPv6 sums the pseudo-header, ICMP does not.
        let sum = if v6 { prefix.pseudo_sum } else { Sum::new() }.word(u16::from_be_bytes([kind, 0]));
        Self { prefix, sum, source: path.source }
    }

    /// Bytes that [`EchoTemplate::emit`] writes.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub const fn len(&self) -> usize {
        self.prefix.transport + icmpv4::HEADER_LEN
    }

    /// Our address.
    pub const fn source(&self) -> A {
        self.source
    }

    /// Writes a frame to the start of `buffer` and returns its length.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8], echo: &Echo<A>) -> Result<usize, BufferTooSmall> {
        let frame = buffer.get_mut(..self.len()).ok_or(BufferTooSmall)?;
        self.prefix.emit(frame, self.len(), echo.destination);
        let sum = if A::ICMP == Protocol::ICMPV6 { echo.destination.sum(self.sum) } else { self.sum };
        let checksum = sum.word(echo.identifier).word(echo.sequence).finish();
        let message = frame.get_mut(self.prefix.transport..).unwrap_or_default();
        bytes::put(message, icmpv4::field::CHECKSUM, checksum.to_be_bytes());
        bytes::put(message, icmpv4::field::IDENTIFIER, echo.identifier.to_be_bytes());
        bytes::put(message, icmpv4::field::SEQUENCE, echo.sequence.to_be_bytes());
        Ok(self.len())
    }
}

/// TCP segments that acknowledge what was never sent: a host that is there answers with a reset whose sequence number
/// is the one acknowledged (RFC 9293 3.5.2).
#[derive(Clone, Debug)]
pub struct AckTemplate<A> {
    prefix: Prefix,
    sum: Sum,
    source: PhantomData<A>,
}

impl<A: Address> AckTemplate<A> {
    /// A template of acknowledgements that advertise `window`.
    pub fn new(path: Path<A>, window: u16) -> Self {
        let header = tcp::Header {
            source_port: 0,
            destination_port: 0,
            sequence: tcp::SeqNumber(0),
            acknowledgement: tcp::SeqNumber(0),
            flags: tcp::Flags::ACK,
            window,
            options: tcp::SynOptions::default(),
        };
        let mut prefix = Prefix::new(path, Protocol::TCP, header.len());
        let sum = header.emit_without_checksum(prefix.transport_mut()).unwrap_or_default();
        let sum = prefix.pseudo_sum.plus(sum);
        Self { prefix, sum, source: PhantomData }
    }

    /// Bytes that [`AckTemplate::emit`] writes.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub const fn len(&self) -> usize {
        self.prefix.transport + tcp::HEADER_LEN
    }

    /// Writes a frame to the start of `buffer` and returns its length. The sequence number stands in both fields: the
    /// one comes back in a reset, the other in an ICMP error.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8], ack: &Syn<A>) -> Result<usize, BufferTooSmall> {
        let frame = buffer.get_mut(..self.len()).ok_or(BufferTooSmall)?;
        self.prefix.emit(frame, self.len(), ack.destination);
        let sum = ack.destination.sum(self.sum).word(ack.source_port).word(ack.destination_port);
        let checksum = sum.long(ack.sequence.0).long(ack.sequence.0).finish();
        let segment = frame.get_mut(self.prefix.transport..).unwrap_or_default();
        bytes::put(segment, tcp::field::SOURCE_PORT, ack.source_port.to_be_bytes());
        bytes::put(segment, tcp::field::DESTINATION_PORT, ack.destination_port.to_be_bytes());
        bytes::put(segment, tcp::field::SEQUENCE, ack.sequence.0.to_be_bytes());
        bytes::put(segment, tcp::field::ACKNOWLEDGEMENT, ack.sequence.0.to_be_bytes());
        bytes::put(segment, tcp::field::CHECKSUM, checksum.to_be_bytes());
        Ok(self.len())
    }
}

/// ICMP timestamp requests (RFC 792). Only IPv4 has them.
#[derive(Clone, Debug)]
pub struct TimestampTemplate {
    prefix: Prefix,
}

impl TimestampTemplate {
    /// A template of requests whose times are all 0.
    pub fn new(path: Path<Ipv4Addr>) -> Self {
        let mut prefix = Prefix::new(path, Protocol::ICMPV4, icmpv4::TIMESTAMP_LEN);
        bytes::put(prefix.transport_mut(), icmpv4::field::TYPE, [icmpv4::kind::TIMESTAMP_REQUEST]);
        Self { prefix }
    }

    /// Bytes that [`TimestampTemplate::emit`] writes.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub const fn len(&self) -> usize {
        self.prefix.transport + icmpv4::TIMESTAMP_LEN
    }

    /// Writes a frame to the start of `buffer` and returns its length.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8], probe: &Echo<Ipv4Addr>) -> Result<usize, BufferTooSmall> {
        let frame = buffer.get_mut(..self.len()).ok_or(BufferTooSmall)?;
        self.prefix.emit(frame, self.len(), probe.destination);
        let head = Sum::new().word(u16::from_be_bytes([icmpv4::kind::TIMESTAMP_REQUEST, 0]));
        let checksum = head.word(probe.identifier).word(probe.sequence).finish();
        let message = frame.get_mut(self.prefix.transport..).unwrap_or_default();
        bytes::put(message, icmpv4::field::CHECKSUM, checksum.to_be_bytes());
        bytes::put(message, icmpv4::field::IDENTIFIER, probe.identifier.to_be_bytes());
        bytes::put(message, icmpv4::field::SEQUENCE, probe.sequence.to_be_bytes());
        Ok(self.len())
    }
}

/// SCTP packets with an INIT chunk.
#[derive(Clone, Debug)]
pub struct InitTemplate<A> {
    prefix: Prefix,
    source: PhantomData<A>,
}

/// What differs from one INIT to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init<A> {
    /// The target's address.
    pub destination: A,
    /// Our port.
    pub source_port: u16,
    /// The probed port.
    pub destination_port: u16,
    /// The cookie: comes back as the verification tag. Not 0 (RFC 9260 3.3.2).
    pub initiate_tag: u32,
}

impl<A: Address> InitTemplate<A> {
    /// A receive window and streams that common stacks offer.
    const RECEIVE_WINDOW: u32 = 106_496;
    const STREAMS: u16 = 10;

    /// A template of INITs without parameters.
    pub fn new(path: Path<A>) -> Self {
        let mut prefix = Prefix::new(path, Protocol::SCTP, sctp::INIT_LEN);
        let packet = prefix.transport_mut();
        bytes::put(packet, sctp::init::KIND, [sctp::ChunkKind::INIT.0]);
        let chunk_len = (sctp::INIT_LEN - sctp::HEADER_LEN) as u16;
        bytes::put(packet, sctp::init::LENGTH, chunk_len.to_be_bytes());
        bytes::put(packet, sctp::init::RECEIVE_WINDOW, Self::RECEIVE_WINDOW.to_be_bytes());
        bytes::put(packet, sctp::init::OUTBOUND_STREAMS, Self::STREAMS.to_be_bytes());
        bytes::put(packet, sctp::init::INBOUND_STREAMS, Self::STREAMS.to_be_bytes());
        Self { prefix, source: PhantomData }
    }

    /// Bytes that [`InitTemplate::emit`] writes.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub const fn len(&self) -> usize {
        self.prefix.transport + sctp::INIT_LEN
    }

    /// Writes a frame to the start of `buffer` and returns its length. The tag is the first TSN too, as is usual.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8], init: &Init<A>) -> Result<usize, BufferTooSmall> {
        let frame = buffer.get_mut(..self.len()).ok_or(BufferTooSmall)?;
        self.prefix.emit(frame, self.len(), init.destination);
        let packet = frame.get_mut(self.prefix.transport..).unwrap_or_default();
        bytes::put(packet, sctp::field::SOURCE_PORT, init.source_port.to_be_bytes());
        bytes::put(packet, sctp::field::DESTINATION_PORT, init.destination_port.to_be_bytes());
        bytes::put(packet, sctp::init::INITIATE_TAG, init.initiate_tag.to_be_bytes());
        bytes::put(packet, sctp::init::INITIAL_TSN, init.initiate_tag.to_be_bytes());
        // The field itself is 0 in the sum, as the template left it.
        let checksum = Crc32c::new().bytes(packet).finish();
        bytes::put(packet, sctp::field::CHECKSUM, checksum.to_le_bytes());
        Ok(self.len())
    }
}
