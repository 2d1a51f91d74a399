//! Address resolution of IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use crate::{
    BufferTooSmall, Malformed,
    bytes::{self, Writer},
    ethernet::{self, Address, EtherType, VlanId},
};

mod field {
    pub const OPERATION: usize = 6;
    pub const SENDER_HARDWARE: usize = 8;
    pub const SENDER_PROTOCOL: usize = 14;
    pub const TARGET_HARDWARE: usize = 18;
    pub const TARGET_PROTOCOL: usize = 24;
    pub const LEN: usize = 28;

    /// Hardware type Ethernet, protocol type IPv4 and their address lengths.
    pub const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];
}

/// What a packet asks or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation(pub u16);

impl Operation {
    /// Who has the target address?
    pub const REQUEST: Self = Self(1);
    /// The sender has it.
    pub const REPLY: Self = Self(2);
}

/// A packet that was received.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    body: &'a [u8; field::LEN],
}

impl<'a> Packet<'a> {
    /// Checks length, types and address lengths.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let body = bytes.first_chunk().ok_or(Malformed::ArpTruncated)?;
        if bytes::array(body, 0) != field::PREFIX {
            return Err(Malformed::ArpUnsupported);
        }
        Ok(Self { body })
    }

    /// Request or reply.
    pub fn operation(&self) -> Operation {
        Operation(bytes::u16_at(self.body, field::OPERATION))
    }

    /// The hardware address that the sender claims.
    pub fn sender_hardware(&self) -> Address {
        Address(bytes::array(self.body, field::SENDER_HARDWARE))
    }

    /// The IPv4 address that the sender claims.
    pub fn sender(&self) -> Ipv4Addr {
        Ipv4Addr::from(bytes::array(self.body, field::SENDER_PROTOCOL))
    }

    /// The hardware address of the target; zero in requests.
    pub fn target_hardware(&self) -> Address {
        Address(bytes::array(self.body, field::TARGET_HARDWARE))
    }

    /// The IPv4 address of the target.
    pub fn target(&self) -> Ipv4Addr {
        Ipv4Addr::from(bytes::array(self.body, field::TARGET_PROTOCOL))
    }
}

/// The question who has `target`, sent to all stations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The asker's hardware address.
    pub hardware: Address,
    /// The asker's IPv4 address; unspecified makes the request an RFC 5227 probe.
    pub sender: Ipv4Addr,
    /// The address that is looked for.
    pub target: Ipv4Addr,
    /// The tag, if the frame is to have one.
    pub vlan: Option<VlanId>,
}

impl Request {
    /// Bytes that [`Request::emit`] writes: the whole frame.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub const fn len(&self) -> usize {
        self.header().len() + field::LEN
    }

    /// Writes the whole Ethernet frame to the start of `buffer` and returns its length.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let header = self.header();
        let frame = buffer.get_mut(..self.len()).ok_or(BufferTooSmall)?;
        header.emit(frame)?;
        let mut writer = Writer::new(frame.get_mut(header.len()..).unwrap_or_default(), field::LEN)?;
        writer.put(&field::PREFIX)?;
        writer.put(&Operation::REQUEST.0.to_be_bytes())?;
        writer.put(&self.hardware.0)?;
        writer.put(&self.sender.octets())?;
        writer.put(&Address::ZERO.0)?;
        writer.put(&self.target.octets())?;
        Ok(self.len())
    }

    const fn header(&self) -> ethernet::Header {
        ethernet::Header {
            destination: Address::BROADCAST,
            source: self.hardware,
            vlan: self.vlan,
            ether_type: EtherType::ARP,
        }
    }
}
