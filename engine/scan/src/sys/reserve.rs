//! Keeping source ports out of the kernel's hands.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
};

use socket2::{Domain, SockFilter, Socket, Type};

/// What becomes of a TCP reply to a reserved port, after we have seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnReply {
    /// The kernel drops it. The scan sends nothing but its probes, whoever sends what to its ports: forged SYN-ACKs
    /// make this machine reset no strangers' connections. Targets keep a connection to an open port half open
    /// and send the SYN-ACK again, at most for a minute; once the scan is over, that is answered with RST.
    #[default]
    Silence,
    /// The kernel answers a SYN-ACK with RST: the target forgets the half-open connection at once. It costs as much
    /// here as a probe.
    Reset,
}

/// A run of ports that no program gets while this value lives.
///
/// Each is bound for TCP and UDP, so the kernel neither gives it to a connection nor answers UDP replies to it
/// with "port unreachable".
#[derive(Debug)]
pub struct ReservedPorts {
    ports: RangeInclusive<u16>,
    _sockets: Vec<Socket>,
}

impl ReservedPorts {
    /// Where runs are looked for: above the well-known ports and below the last one.
    const RANGE: RangeInclusive<u16> = 10_000..=65_535;

    /// Reserves `count` ports in a row.
    ///
    /// The search starts at a place that `seed` decides and ends after one round; [`io::ErrorKind::AddrInUse`]
    /// if no run is free.
    pub fn take(count: u16, on_reply: OnReply, seed: u64) -> io::Result<Self> {
        let count = count.max(1);
        let room = Self::RANGE.end() - Self::RANGE.start() + 1;
        let runs = room.checked_div(count).filter(|runs| *runs > 0).ok_or(io::ErrorKind::InvalidInput)?;
        let first_run = (seed % u64::from(runs)) as u16;
        for run in 0..runs {
            let start = Self::RANGE.start() + (first_run + run) % runs * count;
            match Self::exactly(start..=start + (count - 1), on_reply) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                result => return result,
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no {count} ports in a row are free")))
    }

    /// Reserves these ports and no others.
    pub fn exactly(ports: RangeInclusive<u16>, on_reply: OnReply) -> io::Result<Self> {
        let mut sockets = Vec::with_capacity(ports.len() * 2);
        for port in ports.clone() {
            sockets.push(reserve(port, Type::STREAM, on_reply)?);
            sockets.push(reserve(port, Type::DGRAM, on_reply)?);
        }
        Ok(Self { ports, _sockets: sockets })
    }

    /// The ports.
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.ports.clone()
    }
}

fn reserve(port: u16, kind: Type, on_reply: OnReply) -> io::Result<Socket> {
    // One socket holds the port of both versions, unless the system has no IPv6.
    let (socket, address) = match Socket::new(Domain::IPV6, kind, None) {
        Ok(socket) => {
            socket.set_only_v6(false)?;
            (socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        }
        Err(_) => (Socket::new(Domain::IPV4, kind, None)?, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
    };
    // Nobody reads from these sockets; without the filter UDP replies would queue up.
    let drop_all = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
    let is_filtered = match socket.attach_filter(&[drop_all]) {
        Ok(()) => true,
        // Recent kernels want CAP_NET_ADMIN for a filter on TCP. Without it replies to the port are reset.
        Err(error) if kind == Type::STREAM && error.kind() == io::ErrorKind::PermissionDenied => false,
        Err(error) => return Err(error),
    };
    socket.bind(&address.into())?;
    if kind == Type::STREAM && on_reply == OnReply::Silence && is_filtered {
        // A listening socket is found for every segment to the port, and its filter then drops it unanswered.
        socket.listen(1)?;
    }
    Ok(socket)
}
