//! Why bytes could not be read, or not be written.

use core::fmt;

macro_rules! malformed {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Why received bytes are not the packet they pretend to be.
        ///
        /// Small and `Copy`, so that a receive loop can count it and go on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Malformed {
            $($(#[$doc])* $variant,)+
        }

        impl Malformed {
            /// Every cause, in the order of [`Malformed::index`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The cause's kebab-case name, as counters and logs show it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

malformed! {
    /// Fewer bytes than an Ethernet ARP packet has (RFC 826).
    ArpTruncated = "arp-truncated",
    /// ARP for something other than IPv4 over Ethernet.
    ArpUnsupported = "arp-unsupported",
    /// Fewer bytes than an Ethernet header or its VLAN tags need.
    EthernetTruncated = "ethernet-truncated",
    /// More VLAN tags than the two that IEEE 802.1ad stacks.
    EthernetVlanDepth = "ethernet-vlan-depth",
    /// Fewer bytes than an ICMP header has.
    IcmpTruncated = "icmp-truncated",
    /// Neither 4 nor 6 in the first four bits.
    IpVersion = "ip-version",
    /// An IPv4 header length below 20 bytes or beyond the bytes at hand.
    Ipv4HeaderLength = "ipv4-header-length",
    /// An IPv4 total length below its header's or beyond the bytes at hand.
    Ipv4TotalLength = "ipv4-total-length",
    /// Fewer bytes than an IPv4 header has.
    Ipv4Truncated = "ipv4-truncated",
    /// More IPv6 extension headers than anyone has reason to send.
    Ipv6ExtensionCount = "ipv6-extension-count",
    /// An IPv6 extension header that runs beyond the payload.
    Ipv6ExtensionLength = "ipv6-extension-length",
    /// An IPv6 payload length beyond the bytes at hand.
    Ipv6PayloadLength = "ipv6-payload-length",
    /// Fewer bytes than an IPv6 header has.
    Ipv6Truncated = "ipv6-truncated",
    /// A neighbour-discovery option of length 0 or one that runs beyond the message (RFC 4861 4.6).
    NdpOptionLength = "ndp-option-length",
    /// Fewer bytes than the neighbour-discovery message has.
    NdpTruncated = "ndp-truncated",
    /// An ICMP type that the called parser is not for.
    NdpUnexpectedType = "ndp-unexpected-type",
    /// The packet quoted in an ICMP error is a later fragment, without ports.
    QuoteFragment = "quote-fragment",
    /// An SCTP chunk shorter than its header or beyond the bytes at hand (RFC 9260 3.2).
    SctpChunkLength = "sctp-chunk-length",
    /// Fewer bytes than an SCTP common header has.
    SctpTruncated = "sctp-truncated",
    /// A TCP data offset below 20 bytes or beyond the bytes at hand.
    TcpDataOffset = "tcp-data-offset",
    /// A TCP option of impossible length.
    TcpOptionLength = "tcp-option-length",
    /// Fewer bytes than a TCP header has.
    TcpTruncated = "tcp-truncated",
    /// A UDP length below 8 bytes or beyond the bytes at hand.
    UdpLength = "udp-length",
    /// Fewer bytes than a UDP header has.
    UdpTruncated = "udp-truncated",
}

impl Malformed {
    /// How many causes there are: the size of a table of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// The cause's place in a table of [`Malformed::COUNT`] counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl core::error::Error for Malformed {}

/// The buffer given to `emit` is shorter than `len()`; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferTooSmall;

impl fmt::Display for BufferTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is shorter than the packet")
    }
}

impl core::error::Error for BufferTooSmall {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_own_index_and_name() {
        for (index, cause) in Malformed::ALL.iter().enumerate() {
            assert_eq!(cause.index(), index);
            assert!(Malformed::ALL.iter().skip(index + 1).all(|other| other.as_str() != cause.as_str()));
        }
    }
}
