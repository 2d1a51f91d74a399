//! What a scan's probes look like at their far end, read by another parser than the product's.

use std::{
    io::IoSliceMut,
    net::{IpAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use nix::{
    cmsg_space,
    sys::socket::{
        ControlMessageOwned, MsgFlags, TimestampingFlag, Timestamps, recvmsg, setsockopt,
        sockopt::Timestamping,
    },
};
use socket2::{Domain, Protocol, Socket, Type};

/// A SYN or a UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub address: IpAddr,
    pub port: u16,
    /// When the kernel was given it, since some day. A veth pair's far end is given a frame in the call that sends it, so
    /// no load on the machine comes between.
    pub at: Duration,
}

/// Notes probes until it is told to stop.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Seen>>,
}

impl Watch {
    /// Starts in the calling thread's namespace.
    pub fn start() -> Self {
        let every_protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(every_protocol)))
            .expect("packet socket");
        // The kernel counts a small frame as more than its bytes.
        let _ = socket.set_recv_buffer_size(256 << 20);
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
        let mut inlet = Inlet::new(socket);
        inlet.wait_for_times();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Self { stop, thread: thread::spawn(move || note(inlet, &stopped)) }
    }

    /// Everything that arrived until now.
    pub fn finish(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// A packet socket that tells when the kernel was given what it shows.
struct Inlet {
    socket: Socket,
    frame: Vec<u8>,
    control: Vec<u8>,
}

impl Inlet {
    fn new(socket: Socket) -> Self {
        let times =
            TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
        setsockopt(&socket, Timestamping, &times).expect("the kernel takes times");
        Self { socket, frame: vec![0; 2048], control: cmsg_space!(Timestamps) }
    }

    /// The kernel begins to take times some while after it was asked.
    fn wait_for_times(&mut self) {
        let trial = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let to = trial.local_addr().expect("bound");
        loop {
            match trial.send_to(b"what time is it?", to) {
                // A rule of the test's that loses packets lost it.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => continue,
                sent => sent.expect("sent"),
            };
            if let Some((_, Some(_))) = self.next() {
                return;
            }
        }
    }

    /// The next frame with its time, if it has one; `None` if nothing comes for a while.
    fn next(&mut self) -> Option<(&[u8], Option<Duration>)> {
        let (mut room, fd) = ([IoSliceMut::new(&mut self.frame)], self.socket.as_raw_fd());
        let message = recvmsg::<()>(fd, &mut room, Some(&mut self.control), MsgFlags::empty()).ok()?;
        let time = message.cmsgs().expect("room for a time").find_map(|message| match message {
            ControlMessageOwned::ScmTimestampsns(times) => Some(times.system.into()),
            _ => None,
        });
        let length = message.bytes;
        Some((&self.frame[..length], time))
    }
}

fn note(mut inlet: Inlet, stop: &AtomicBool) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        // Asked before the socket is read, so that what came before the stop is still noted.
        let last = stop.load(Ordering::Relaxed);
        match inlet.next() {
            Some((frame, time)) => seen.extend(probe(frame, time)),
            None if last => return seen,
            None => {}
        }
    }
}

fn probe(frame: &[u8], time: Option<Duration>) -> Option<Seen> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let address = match packet.net? {
        NetSlice::Ipv4(ipv4) => IpAddr::V4(ipv4.header().destination_addr()),
        NetSlice::Ipv6(ipv6) => IpAddr::V6(ipv6.header().destination_addr()),
        NetSlice::Arp(_) => return None,
    };
    let port = match packet.transport? {
        TransportSlice::Tcp(tcp) if tcp.syn() && !tcp.ack() => tcp.destination_port(),
        TransportSlice::Udp(udp) => udp.destination_port(),
        _ => return None,
    };
    // The watch's own trials.
    if address.is_loopback() {
        return None;
    }
    Some(Seen { address, port, at: time.expect("times are taken") })
}
