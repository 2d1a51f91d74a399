//! Questions to the kernel about routes and neighbours (rtnetlink).

use std::{
    io::{self, ErrorKind},
    net::IpAddr,
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use portreeve_model::MacAddress;

/// What the kernel would do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    /// Index of the device it would leave through.
    pub(crate) device: u32,
    /// The address it would come from.
    pub(crate) source: IpAddr,
    /// The gateway, if the target is not on the link itself.
    pub(crate) gateway: Option<IpAddr>,
    /// Whether the target is this machine.
    pub(crate) local: bool,
}

/// An entry of the kernel's neighbour table that can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neighbor {
    pub(crate) device: u32,
    pub(crate) address: IpAddr,
    pub(crate) mac: MacAddress,
}

/// A conversation with the kernel.
pub(crate) struct RouteSocket {
    socket: Socket,
    sequence: u32,
}

impl RouteSocket {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The way to `destination`, through `device` if one is given; `None` if there is none, or if it is a
    /// broadcast or multicast address.
    pub(crate) fn route(&mut self, destination: IpAddr, device: Option<u32>) -> io::Result<Option<Route>> {
        let mut question = RouteMessage::default();
        question.header.address_family = family(destination);
        question.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        question.attributes.push(RouteAttribute::Destination(destination.into()));
        question.attributes.extend(device.map(RouteAttribute::Oif));
        let mut found = None;
        let asked = self.ask(RouteNetlinkMessage::GetRoute(question), NLM_F_REQUEST, |answer| {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                found = read_route(&route);
            }
        });
        match asked {
            Ok(()) => Ok(found),
            // What unreachable, blackhole and prohibit routes answer, and a missing route.
            Err(error) if is_no_route(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The destinations of all routes of a family, as address and prefix length: between two neighbouring
    /// bounds of these blocks all addresses go the same way.
    pub(crate) fn destinations(&mut self, ipv4: bool) -> io::Result<Vec<(IpAddr, u8)>> {
        let mut question = RouteMessage::default();
        question.header.address_family = if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let mut destinations = Vec::new();
        self.ask(RouteNetlinkMessage::GetRoute(question), NLM_F_REQUEST | NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                let length = route.header.destination_prefix_length;
                let address = route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Destination(address) => ip(address),
                    _ => None,
                });
                destinations.extend(address.map(|address| (address, length)));
            }
        })?;
        Ok(destinations)
    }

    /// Neighbours whose hardware address is known for sure: set by hand, or confirmed a moment ago.
    pub(crate) fn neighbors(&mut self) -> io::Result<Vec<Neighbor>> {
        let mut neighbors = Vec::new();
        let question = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.ask(question, NLM_F_REQUEST | NLM_F_DUMP, |answer| {
            if let RouteNetlinkMessage::NewNeighbour(entry) = answer {
                neighbors.extend(read_neighbor(&entry));
            }
        })?;
        Ok(neighbors)
    }

    /// Sends a question and hands over every answer.
    fn ask(
        &mut self,
        question: RouteNetlinkMessage,
        flags: u16,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        while !self.read_answers(dump, &mut take)? {}
        Ok(())
    }

    /// Reads one datagram of answers; true after the last.
    fn read_answers(&self, dump: bool, take: &mut impl FnMut(RouteNetlinkMessage)) -> io::Result<bool> {
        let (datagram, _) = self.socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let answer: NetlinkMessage<RouteNetlinkMessage> = NetlinkMessage::deserialize(rest)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?;
            // Messages are padded to four bytes.
            let length = (answer.header.length as usize).max(16).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            match answer.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => take(message),
                _ => {}
            }
            if !dump {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_no_route(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::PermissionDenied
            | ErrorKind::InvalidInput
            | ErrorKind::AddrNotAvailable
    ) || error.raw_os_error() == Some(libc::ENODEV)
}

fn read_route(message: &RouteMessage) -> Option<Route> {
    let (mut device, mut source, mut gateway, mut destination) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some((*address).into()),
            RouteAttribute::Destination(address) => destination = ip(address),
            _ => {}
        }
    }
    let local = message.header.kind == RouteType::Local;
    if !local && message.header.kind != RouteType::Unicast {
        return None;
    }
    // The kernel names no source for some routes to itself: then it is the address itself.
    let source = source.or(if local { destination } else { None })?;
    Some(Route {
        device: device?,
        source,
        gateway: gateway.filter(|gateway| !gateway.is_unspecified()),
        local,
    })
}

fn read_neighbor(message: &NeighbourMessage) -> Option<Neighbor> {
    let state = message.header.state;
    if !matches!(state, NeighbourState::Permanent | NeighbourState::Reachable) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => {
                address = Some(IpAddr::V4(*found));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => {
                address = Some(IpAddr::V6(*found));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = bytes.as_slice().try_into().ok().map(MacAddress);
            }
            _ => {}
        }
    }
    Some(Neighbor { device: message.header.ifindex, address: address?, mac: mac? })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_reached_over_loopback() {
        let mut socket = RouteSocket::open().expect("netlink");
        let address: IpAddr = "127.0.0.1".parse().expect("address");
        let route = socket.route(address, None).expect("asked").expect("a route");
        assert!(route.local);
        assert_eq!(route.source, address);
        assert_eq!(route.gateway, None);
        assert_eq!(route.device, nix::net::if_::if_nametoindex("lo").expect("lo"));
    }

    #[test]
    fn broadcast_and_multicast_have_no_way() {
        let mut socket = RouteSocket::open().expect("netlink");
        for address in ["127.255.255.255", "255.255.255.255", "224.0.0.1"] {
            assert_eq!(
                socket.route(address.parse().expect("address"), None).expect("asked"),
                None,
                "{address}"
            );
        }
    }

    #[test]
    fn the_loopback_block_is_among_the_destinations() {
        let mut socket = RouteSocket::open().expect("netlink");
        let destinations = socket.destinations(true).expect("asked");
        assert!(destinations.contains(&("127.0.0.0".parse().expect("address"), 8)), "{destinations:?}");
        socket.neighbors().expect("asked");
    }
}
