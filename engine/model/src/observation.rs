//! What the scanner saw on the wire.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{MacAddress, SafeText};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// The transport protocol a port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Stream Control Transmission Protocol (RFC 9260).
    Sctp,
    /// Transmission Control Protocol (RFC 9293).
    Tcp,
    /// User Datagram Protocol (RFC 768).
    Udp,
}

impl Transport {
    /// The lower-case name used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sctp => "sctp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sctp" => Ok(Self::Sctp),
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            other => Err(format!("unknown transport {other:?}; use tcp, udp or sctp")),
        }
    }
}

/// One place a service can answer at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Endpoint {
    /// The host's address.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: IpAddr,
    /// The port number.
    pub port: u16,
    /// The transport the port belongs to.
    pub transport: Transport,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, port, transport } = self;
        match address {
            IpAddr::V4(address) => write!(f, "{address}:{port}/{transport}"),
            IpAddr::V6(address) => write!(f, "[{address}]:{port}/{transport}"),
        }
    }
}

/// What a probe says about a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// The host answered that nothing listens there.
    Closed,
    /// Something between us and the service forbids or swallows the probe.
    Filtered,
    /// A service accepted the probe.
    Open,
    /// No route: the network answered that the host cannot be reached.
    Unreachable,
}

impl PortState {
    /// The lower-case name used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Filtered => "filtered",
            Self::Open => "open",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for PortState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The reply that a [`PortState`] was concluded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// ICMP: the destination or a router forbids it (type 3 codes 9, 10, 13; ICMPv6 1/1, 1/5, 1/6).
    AdminProhibited,
    /// connect(2) succeeded (scanning without raw sockets).
    ConnectAccepted,
    /// connect(2) was refused (scanning without raw sockets).
    ConnectRefused,
    /// ICMP host unreachable, or ICMPv6 address unreachable.
    HostUnreachable,
    /// Nothing came back in time.
    NoReply,
    /// ICMP network unreachable, or ICMPv6 no route.
    NetworkUnreachable,
    /// ICMP port unreachable.
    PortUnreachable,
    /// ICMP protocol unreachable.
    ProtocolUnreachable,
    /// TCP RST.
    Reset,
    /// SCTP ABORT.
    SctpAbort,
    /// SCTP INIT-ACK.
    SctpInitAck,
    /// TCP SYN-ACK.
    SynAck,
    /// ICMP time exceeded.
    TimeExceeded,
    /// A UDP datagram from the probed port.
    UdpReply,
}

impl Reason {
    /// The kebab-case name used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AdminProhibited => "admin-prohibited",
            Self::ConnectAccepted => "connect-accepted",
            Self::ConnectRefused => "connect-refused",
            Self::HostUnreachable => "host-unreachable",
            Self::NoReply => "no-reply",
            Self::NetworkUnreachable => "network-unreachable",
            Self::PortUnreachable => "port-unreachable",
            Self::ProtocolUnreachable => "protocol-unreachable",
            Self::Reset => "reset",
            Self::SctpAbort => "sctp-abort",
            Self::SctpInitAck => "sctp-init-ack",
            Self::SynAck => "syn-ack",
            Self::TimeExceeded => "time-exceeded",
            Self::UdpReply => "udp-reply",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The fields of a SYN-ACK that hint at the operating system that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SynAckTraits {
    /// Advertised window, unscaled.
    pub window: u16,
    /// Maximum segment size option, if sent.
    pub mss: Option<u16>,
    /// Window scale option, if sent.
    pub window_scale: Option<u8>,
    /// Whether selective acknowledgement was permitted.
    pub sack_permitted: bool,
    /// Whether a timestamp option was sent.
    pub timestamps: bool,
    /// The kinds of the first eight options in their order, 0 after the last: the layout itself tells
    /// stacks apart.
    pub option_kinds: [u8; 8],
    /// Don't-fragment bit of the IPv4 header.
    pub dont_fragment: bool,
}

/// One port, seen once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The host's address.
    pub address: IpAddr,
    /// The port number.
    pub port: u16,
    /// The transport the port belongs to.
    pub transport: Transport,
    /// What was concluded.
    pub state: PortState,
    /// From which reply.
    pub reason: Reason,
    /// IPv4 time to live or IPv6 hop limit of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// From probe to reply, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
    /// When the reply arrived (or was given up).
    pub seen_at_ms: Timestamp,
    /// What the SYN-ACK tells of its sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syn_ack: Option<SynAckTraits>,
}

impl Observation {
    /// The place this observation is about.
    pub const fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address, port: self.port, transport: self.transport }
    }
}

/// The reply a host was found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HostReason {
    /// ARP reply (RFC 826).
    ArpReply,
    /// ICMP or ICMPv6 echo reply.
    EchoReply,
    /// The address is one of the scanner's own.
    LocalAddress,
    /// ICMPv6 neighbour advertisement (RFC 4861).
    NeighborAdvertisement,
    /// A port answered, open or closed.
    PortReply,
    /// ICMP timestamp reply.
    TimestampReply,
}

/// Why a host is taken for what it is taken for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VoteReason {
    /// For people: `service jetdirect at port 9100`.
    pub text: SafeText,
    /// How much it counts for the kind of device: 10 make it e times as likely. 0 for what is not about that.
    pub points: u8,
}

/// What a host is, judged from all its services together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProfile {
    /// The host's address.
    pub address: IpAddr,
    /// Operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<SafeText>,
    /// Kind of device, as `printer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<SafeText>,
    /// 0-100: how sure the kind of device is.
    #[serde(default)]
    pub device_confidence: u8,
    /// Why, most important first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<VoteReason>,
    /// When the last of these services answered.
    pub seen_at_ms: Timestamp,
}

/// One host, seen once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSighting {
    /// The host's address.
    pub address: IpAddr,
    /// How it was found.
    pub reason: HostReason,
    /// Hardware address, for attached networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// Who made the interface, from the IEEE registry; never for locally administered addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_vendor: Option<SafeText>,
    /// Name by reverse look-up or by what the host says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<SafeText>,
    /// IPv4 time to live or IPv6 hop limit of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// From probe to reply, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
    /// When the reply arrived.
    pub seen_at_ms: Timestamp,
}
