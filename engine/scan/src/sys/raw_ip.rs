//! Sending IP packets on raw sockets, routed by the kernel.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
};

use portreeve_wire::ip::Packet;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    FrameSink, Interface, LinkKind, TxCounters,
    tx_batch::{Messages, Queue, flush},
};

/// Batches of IP packets, of both versions, bound to one device (on loopback: to whatever the route says).
///
/// Frames are whole IP packets without a link header. The kernel fills in the length and header checksum of
/// IPv4 again and looks the route up for each.
#[derive(Debug)]
pub struct RawIpBatch {
    v4: Socket,
    /// Missing where the system has no IPv6.
    v6: Option<Socket>,
    interface: u32,
    queue: Queue,
    counters: TxCounters,
}

impl RawIpBatch {
    /// Opens a sink for packets of up to `packet_bytes`.
    pub fn open(interface: &Interface, packet_bytes: usize) -> io::Result<Self> {
        let v4 = open(Domain::IPV4, interface)?;
        v4.set_header_included_v4(true)?;
        let v6 = match open(Domain::IPV6, interface) {
            Ok(socket) => {
                socket.set_header_included_v6(true)?;
                Some(socket)
            }
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            Err(error) => return Err(error),
        };
        let queue = Queue::new(packet_bytes);
        Ok(Self { v4, v6, interface: interface.index, queue, counters: TxCounters::default() })
    }
}

fn open(domain: Domain, interface: &Interface) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    // An address of this machine belongs to another device than loopback. Bound to loopback, the kernel takes
    // the route for one to a stranger, and its TCP does not answer strangers' closed ports with RST.
    if interface.kind != LinkKind::Loopback {
        socket.bind_device(Some(interface.name.as_bytes()))?;
    }
    super::socket::grow_send_buffer(&socket, 16 << 20)?;
    Ok(socket)
}

impl FrameSink for RawIpBatch {
    fn frame(&mut self) -> Option<&mut [u8]> {
        self.queue.frame()
    }

    fn commit(&mut self, len: usize) {
        self.queue.commit(len);
    }

    fn flush(&mut self) -> io::Result<usize> {
        let (v4, v6, interface) = (&self.v4, self.v6.as_ref(), self.interface);
        flush(&mut self.queue, &mut self.counters, |queue| {
            // One call sends to one socket: packets of the version that comes first, up to the first of the other.
            let destinations: Vec<Option<IpAddr>> = queue.frames().map(destination).collect();
            let is_v6 = |address: &Option<IpAddr>| address.is_some_and(|address| address.is_ipv6());
            let first = destinations.first().copied().flatten().ok_or_else(unroutable)?;
            let socket = if first.is_ipv6() { v6.ok_or_else(unroutable)? } else { v4 };
            let addresses: Vec<SockAddr> = destinations
                .iter()
                .take_while(|address| address.is_some() && is_v6(address) == first.is_ipv6())
                .flatten()
                .map(|address| socket_address(*address, interface))
                .collect();
            let mut messages = Messages::default();
            for (frame, address) in queue.frames().zip(&addresses) {
                messages.push(frame, Some(address));
            }
            messages.send(socket)
        })
    }

    fn counters(&self) -> TxCounters {
        TxCounters { refused: self.counters.refused + self.queue.refused, ..self.counters }
    }
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    Packet::parse(packet).ok().map(|packet| packet.destination())
}

/// Refuses the packet in front: it is none, or of a version that this system does not have.
fn unroutable() -> io::Error {
    io::Error::from_raw_os_error(libc::ENETUNREACH)
}

fn socket_address(address: IpAddr, interface: u32) -> SockAddr {
    match address {
        IpAddr::V4(address) => SocketAddr::from((address, 0)).into(),
        IpAddr::V6(address) => {
            let scope = if address.is_unicast_link_local() { interface } else { 0 };
            SocketAddrV6::new(address, 0, 0, scope).into()
        }
    }
}
