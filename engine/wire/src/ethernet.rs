//! Ethernet II frames with IEEE 802.1Q and 802.1ad tags.

use core::fmt;

use crate::{
    BufferTooSmall, Malformed,
    bytes::{self, Writer},
};

mod field {
    pub const DESTINATION: usize = 0;
    pub const SOURCE: usize = 6;
    pub const ETHER_TYPE: usize = 12;
    pub const LEN: usize = 14;
    pub const TAG_LEN: usize = 4;
}

/// Length of a header without a tag, in bytes.
pub const HEADER_LEN: usize = field::LEN;

/// The shortest frame that goes over a wire, without its check sequence, in bytes. Devices pad shorter ones.
pub const MINIMUM_LEN: usize = 60;

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(pub [u8; 6]);

impl Address {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No address: in ARP requests, and that of loopback.
    pub const ZERO: Self = Self([0; 6]);

    /// The group address that an IPv6 multicast packet goes to (RFC 2464 7).
    pub const fn for_multicast(address: core::net::Ipv6Addr) -> Self {
        let [.., a, b, c, d] = address.octets();
        Self([0x33, 0x33, a, b, c, d])
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// Address resolution (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// An IEEE 802.1Q tag follows.
    pub const VLAN: Self = Self(0x8100);
    /// An IEEE 802.1ad outer tag follows.
    pub const VLAN_OUTER: Self = Self(0x88a8);

    const fn is_tag(self) -> bool {
        matches!(self, Self::VLAN | Self::VLAN_OUTER)
    }
}

/// A VLAN identifier, 0 to 4095; the priority bits beside it are sent as 0 and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(u16);

impl VlanId {
    /// The identifier, or `None` beyond 4095.
    pub const fn new(id: u16) -> Option<Self> {
        if id < 4096 { Some(Self(id)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// A frame that was received.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    header: &'a [u8; field::LEN],
    vlan: Option<VlanId>,
    ether_type: EtherType,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks the header and up to two tags.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, mut payload) = bytes.split_first_chunk().ok_or(Malformed::EthernetTruncated)?;
        let mut ether_type = EtherType(bytes::u16_at(header, field::ETHER_TYPE));
        let mut vlan = None;
        for _ in 0..2 {
            if !ether_type.is_tag() {
                break;
            }
            let ([a, b, c, d], rest) = payload.split_first_chunk().ok_or(Malformed::EthernetTruncated)?;
            vlan = VlanId::new(u16::from_be_bytes([*a, *b]) & 0x0fff);
            ether_type = EtherType(u16::from_be_bytes([*c, *d]));
            payload = rest;
        }
        if ether_type.is_tag() {
            return Err(Malformed::EthernetVlanDepth);
        }
        Ok(Self { header, vlan, ether_type, payload })
    }

    /// Where the frame goes.
    pub fn destination(&self) -> Address {
        Address(bytes::array(self.header, field::DESTINATION))
    }

    /// Where it comes from.
    pub fn source(&self) -> Address {
        Address(bytes::array(self.header, field::SOURCE))
    }

    /// The identifier of the innermost tag.
    pub const fn vlan(&self) -> Option<VlanId> {
        self.vlan
    }

    /// What the frame carries, after any tags. Values below 1536 are IEEE 802.3 lengths.
    pub const fn ether_type(&self) -> EtherType {
        self.ether_type
    }

    /// What follows the header and tags, padding included.
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A header to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the frame goes.
    pub destination: Address,
    /// Where it comes from.
    pub source: Address,
    /// The tag, if the frame is to have one.
    pub vlan: Option<VlanId>,
    /// What the frame carries.
    pub ether_type: EtherType,
}

impl Header {
    /// Bytes that [`Header::emit`] writes.
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(&self) -> usize {
        field::LEN + if self.vlan.is_some() { field::TAG_LEN } else { 0 }
    }

    /// Writes the header to the start of `buffer` and returns its length.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let mut writer = Writer::new(buffer, self.len())?;
        writer.put(&self.destination.0)?;
        writer.put(&self.source.0)?;
        if let Some(vlan) = self.vlan {
            writer.put(&EtherType::VLAN.0.to_be_bytes())?;
            writer.put(&vlan.0.to_be_bytes())?;
        }
        writer.put(&self.ether_type.0.to_be_bytes())?;
        Ok(self.len())
    }
}

/// Changes where an emitted frame goes; no checksum covers it. Frames shorter than an address stay as they are.
#[inline]
pub fn set_destination(frame: &mut [u8], destination: Address) {
    bytes::put(frame, field::DESTINATION, destination.0);
}
