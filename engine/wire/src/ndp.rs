//! Neighbour discovery for IPv6 (RFC 4861): who has which hardware address.

use core::net::{IpAddr, Ipv6Addr};

use crate::{
    BufferTooSmall, Malformed,
    bytes::{self, Writer},
    checksum::Sum,
    ethernet::{self, Address, EtherType, VlanId},
    icmpv6::kind,
    ip::Protocol,
    ipv6,
};

mod field {
    pub const TYPE: usize = 0;
    pub const CHECKSUM: usize = 2;
    pub const FLAGS: usize = 4;
    pub const TARGET: usize = 8;
    pub const LEN: usize = 24;

    pub const ROUTER: u8 = 0x80;
    pub const SOLICITED: u8 = 0x40;
    pub const OVERRIDE: u8 = 0x20;
}

mod option {
    pub const SOURCE_LINK: u8 = 1;
    pub const TARGET_LINK: u8 = 2;
    /// Kind, length in eights, hardware address.
    pub const LINK_LEN: usize = 8;
}

/// Hop limit of every neighbour-discovery packet: 255 proves that no router forwarded it (RFC 4861 7.1).
pub const HOP_LIMIT: u8 = 255;

/// The multicast address that the owner of `target` listens on (RFC 4291 2.7.1).
pub const fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a as u16, (b as u16) << 8 | c as u16)
}

/// A neighbour's answer that was received, from the ICMPv6 type on.
#[derive(Clone, Copy, Debug)]
pub struct Advertisement<'a> {
    header: &'a [u8; field::LEN],
    options: &'a [u8],
}

impl<'a> Advertisement<'a> {
    /// Checks the type and every option's length.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, options) = split(bytes, kind::NEIGHBOR_ADVERTISEMENT)?;
        Ok(Self { header, options })
    }

    /// The address that the answer is about.
    pub fn target(&self) -> Ipv6Addr {
        Ipv6Addr::from(bytes::array::<16>(self.header, field::TARGET))
    }

    /// The hardware address of the target, if told.
    pub fn target_hardware(&self) -> Option<Address> {
        hardware(self.options(), option::TARGET_LINK)
    }

    /// Whether the sender is a router.
    pub fn is_router(&self) -> bool {
        bytes::u8_at(self.header, field::FLAGS) & field::ROUTER != 0
    }

    /// Whether it answers a solicitation, rather than being sent unasked.
    pub fn is_solicited(&self) -> bool {
        bytes::u8_at(self.header, field::FLAGS) & field::SOLICITED != 0
    }

    /// Whether it is to replace what is known of the target.
    pub fn overrides(&self) -> bool {
        bytes::u8_at(self.header, field::FLAGS) & field::OVERRIDE != 0
    }

    /// The options in their order.
    pub const fn options(&self) -> Options<'a> {
        Options { rest: self.options }
    }
}

/// A neighbour's question that was received, from the ICMPv6 type on.
#[derive(Clone, Copy, Debug)]
pub struct Solicitation<'a> {
    header: &'a [u8; field::LEN],
    options: &'a [u8],
}

impl<'a> Solicitation<'a> {
    /// Checks the type and every option's length.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, options) = split(bytes, kind::NEIGHBOR_SOLICITATION)?;
        Ok(Self { header, options })
    }

    /// The address that is looked for.
    pub fn target(&self) -> Ipv6Addr {
        Ipv6Addr::from(bytes::array::<16>(self.header, field::TARGET))
    }

    /// The asker's hardware address, if told.
    pub fn source_hardware(&self) -> Option<Address> {
        hardware(self.options(), option::SOURCE_LINK)
    }

    /// The options in their order.
    pub const fn options(&self) -> Options<'a> {
        Options { rest: self.options }
    }
}

fn split(bytes: &[u8], expected: u8) -> Result<(&[u8; field::LEN], &[u8]), Malformed> {
    let (header, options) = bytes.split_first_chunk().ok_or(Malformed::NdpTruncated)?;
    if bytes::u8_at(header, field::TYPE) != expected {
        return Err(Malformed::NdpUnexpectedType);
    }
    let mut rest = options;
    while !rest.is_empty() {
        (_, rest) = next_option(rest).ok_or(Malformed::NdpOptionLength)?;
    }
    Ok((header, options))
}

/// One option: its kind and what follows kind and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdpOption<'a> {
    /// Its kind.
    pub kind: u8,
    /// What follows; its length is a multiple of 8, less 2.
    pub data: &'a [u8],
}

/// The options of a message, each of a length that was checked.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = NdpOption<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (option, rest) = next_option(self.rest)?;
        self.rest = rest;
        Some(option)
    }
}

fn hardware(mut options: Options<'_>, kind: u8) -> Option<Address> {
    let option = options.find(|option| option.kind == kind)?;
    option.data.first_chunk().copied().map(Address)
}

fn next_option(bytes: &[u8]) -> Option<(NdpOption<'_>, &[u8])> {
    let (&[kind, eights], rest) = bytes.split_first_chunk()?;
    let (data, rest) = rest.split_at_checked((usize::from(eights) * 8).checked_sub(2)?)?;
    Some((NdpOption { kind, data }, rest))
}

/// The question who has `target`, sent to the few stations that may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicit {
    /// The asker's hardware address.
    pub hardware: Address,
    /// The asker's address on the link.
    pub source: Ipv6Addr,
    /// The address that is looked for.
    pub target: Ipv6Addr,
    /// The tag, if the frame is to have one.
    pub vlan: Option<VlanId>,
}

impl Solicit {
    const MESSAGE_LEN: usize = field::LEN + option::LINK_LEN;

    /// Bytes that [`Solicit::emit`] writes: the whole frame.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub const fn len(&self) -> usize {
        self.ethernet().len() + ipv6::HEADER_LEN + Self::MESSAGE_LEN
    }

    /// Writes the whole Ethernet frame to the start of `buffer` and returns its length.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut writer = Writer::new(buffer, self.len())?;
        let ethernet = self.ethernet();
        let mut link = [0; ethernet::HEADER_LEN + 4];
        let link_len = ethernet.emit(&mut link)?;
        let mut network = [0; ipv6::HEADER_LEN];
        self.ipv6().emit(&mut network)?;
        writer.put(link.get(..link_len).unwrap_or_default())?;
        writer.put(&network)?;
        writer.put(&self.message())?;
        Ok(self.len())
    }

    fn message(&self) -> [u8; Self::MESSAGE_LEN] {
        let mut message = [0; Self::MESSAGE_LEN];
        bytes::put(&mut message, field::TYPE, [kind::NEIGHBOR_SOLICITATION]);
        bytes::put(&mut message, field::TARGET, self.target.octets());
        bytes::put(&mut message, field::LEN, [option::SOURCE_LINK, 1]);
        bytes::put(&mut message, field::LEN + 2, self.hardware.0);
        let ipv6 = self.ipv6();
        let checksum = Sum::new()
            .pseudo_header(
                IpAddr::V6(ipv6.source),
                IpAddr::V6(ipv6.destination),
                ipv6.protocol,
                Self::MESSAGE_LEN as u32,
            )
            .bytes(&message)
            .finish();
        bytes::put(&mut message, field::CHECKSUM, checksum.to_be_bytes());
        message
    }

    const fn ipv6(&self) -> ipv6::Header {
        ipv6::Header {
            source: self.source,
            destination: solicited_node(self.target),
            hop_limit: HOP_LIMIT,
            protocol: Protocol::ICMPV6,
            payload_len: Self::MESSAGE_LEN as u16,
        }
    }

    const fn ethernet(&self) -> ethernet::Header {
        ethernet::Header {
            destination: Address::for_multicast(solicited_node(self.target)),
            source: self.hardware,
            vlan: self.vlan,
            ether_type: EtherType::IPV6,
        }
    }
}
