//! Packet sockets and the options that `socket2` does not know.

use std::{
    io,
    mem::{MaybeUninit, size_of, size_of_val},
    os::fd::AsRawFd,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

/// Every protocol, in network byte order, as packet sockets want it.
const ALL_PROTOCOLS: u16 = (libc::ETH_P_ALL as u16).to_be();

/// A packet socket that receives nothing until it is bound to a protocol.
pub(super) fn packet_socket() -> io::Result<Socket> {
    Socket::new(Domain::PACKET, Type::RAW, None)
}

/// Binds for sending only: with protocol 0 the kernel copies no arriving frame to the socket.
pub(super) fn bind_for_sending(socket: &Socket, interface: u32) -> io::Result<()> {
    bind(socket, interface, 0)
}

/// Binds for receiving whatever the filter lets through.
pub(super) fn bind_for_receiving(socket: &Socket, interface: u32) -> io::Result<()> {
    bind(socket, interface, ALL_PROTOCOLS)
}

fn bind(socket: &Socket, interface: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol,
        sll_ifindex: interface as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    bind_to(socket, &address)
}

/// Binds an AF_XDP socket to a device's queue.
pub(super) fn bind_to_queue(socket: &Socket, interface: u32, queue: u32, flags: u16) -> io::Result<()> {
    bind_to(
        socket,
        &libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: interface,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        },
    )
}

/// Binds to an address of the socket's family; it starts with the family's number, as the kernel checks.
fn bind_to<T>(socket: &Socket, address: &T) -> io::Result<()> {
    // SAFETY: the pointer is to a live value and the length is its own.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), std::ptr::from_ref(address).cast(), size_of::<T>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Types that the kernel reads from or writes to as plain bytes.
///
/// # Safety
///
/// The type must be valid for any bit pattern and have no padding that matters.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: an integer.
unsafe impl Plain for libc::c_int {}
// SAFETY: a C structure of integers.
unsafe impl Plain for libc::tpacket_req {}
// SAFETY: a C structure of integers.
unsafe impl Plain for libc::tpacket_req3 {}
// SAFETY: a C structure of integers.
unsafe impl Plain for libc::tpacket_stats_v3 {}
// SAFETY: a C structure of integers.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: a C structure of integers; its padding is at the end and read by nobody.
unsafe impl Plain for libc::xdp_umem_reg {}

/// Sets an option of a socket.
pub(super) fn set_option<T: Plain>(socket: &Socket, level: i32, name: i32, value: T) -> io::Result<()> {
    // SAFETY: the pointer is to a live value of plain bytes and the length is its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option of a socket.
pub(super) fn option<T: Plain>(socket: &Socket, level: i32, name: i32) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of the value.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, then overwritten with plain bytes, of which every pattern is valid.
    Ok(unsafe { value.assume_init() })
}

/// Asks for a large send buffer: beyond the system's limit where CAP_NET_ADMIN allows, up to it otherwise.
pub(super) fn grow_send_buffer(socket: &Socket, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes)
        .or_else(|_| socket.set_send_buffer_size(bytes as usize))
}

/// Sends frames past the queueing disciplines, straight to the device; one with no room then says so.
pub(super) fn bypass_queueing(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)
}

/// Waits until the socket can be read; `false` when the time ran out or a signal came first.
pub(super) fn wait_readable(socket: &Socket, timeout: Duration) -> io::Result<bool> {
    let timeout = nix::poll::PollTimeout::try_from(timeout).unwrap_or(nix::poll::PollTimeout::MAX);
    let mut descriptors =
        [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(socket), nix::poll::PollFlags::POLLIN)];
    match nix::poll::poll(&mut descriptors, timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What the kernel tells of a device through ioctl(2).
pub(super) struct Device {
    /// The kind of its frames, ARPHRD_*.
    pub(super) kind: u16,
    /// Its hardware address, as far as it has one of this length.
    pub(super) hardware: [u8; 6],
    /// The longest packet it takes, in bytes.
    pub(super) mtu: u32,
    /// IFF_* flags.
    pub(super) flags: i32,
}

/// Asks about the interface called `name`.
pub(super) fn device(name: &str) -> io::Result<Device> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let hardware = ask(&socket, name, libc::SIOCGIFHWADDR)?;
    let mtu = ask(&socket, name, libc::SIOCGIFMTU)?;
    let flags = ask(&socket, name, libc::SIOCGIFFLAGS)?;
    // SAFETY: each call succeeded, so each union holds what it was asked for.
    let (hardware, mtu, flags) =
        unsafe { (hardware.ifr_ifru.ifru_hwaddr, mtu.ifr_ifru.ifru_mtu, flags.ifr_ifru.ifru_flags) };
    let [a, b, c, d, e, f, ..] = hardware.sa_data.map(|byte| byte as u8);
    Ok(Device {
        kind: hardware.sa_family,
        hardware: [a, b, c, d, e, f],
        mtu: mtu as u32,
        flags: i32::from(flags),
    })
}

/// `struct ethtool_channels` of linux/ethtool.h.
#[derive(Default)]
#[repr(C)]
struct Channels {
    command: u32,
    /// The most there can be: receive, transmit, other, combined.
    most: [u32; 4],
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

/// Queues that the interface called `name` sends through.
pub(super) fn transmit_channels(name: &str) -> io::Result<u32> {
    /// ETHTOOL_GCHANNELS
    const GET_CHANNELS: u32 = 0x3c;
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let mut channels = Channels { command: GET_CHANNELS, ..Channels::default() };
    let mut request = request_about(name);
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: the request is a live ifreq that points to a live structure of the command's kind.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(channels.transmit + channels.combined) } else { Err(io::Error::last_os_error()) }
}

fn request_about(name: &str) -> libc::ifreq {
    // SAFETY: all-zero is a valid ifreq: an empty name and a union of integers.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    let room = request.ifr_name.len() - 1;
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(room)) {
        *slot = byte as libc::c_char;
    }
    request
}

fn ask(socket: &Socket, name: &str, question: libc::Ioctl) -> io::Result<libc::ifreq> {
    let mut request = request_about(name);
    // SAFETY: the request is a live ifreq with a terminated name, and these questions fill in its union only.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), question, &raw mut request) };
    if result == 0 { Ok(request) } else { Err(io::Error::last_os_error()) }
}
