//! What a scan's probes look like at their far end, read by another parser than the product's.

use std::{
    io::Read,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use socket2::{Domain, Protocol, Socket, Type};

/// A SYN or a UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub address: IpAddr,
    pub port: u16,
    pub at: Instant,
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
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Self { stop, thread: thread::spawn(move || note(socket, &stopped)) }
    }

    /// Everything that arrived until now.
    pub fn finish(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

fn note(mut socket: Socket, stop: &AtomicBool) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut frame = [0; 2048];
    loop {
        // Asked before the socket is read, so that what came before the stop is still noted.
        let last = stop.load(Ordering::Relaxed);
        match socket.read(&mut frame) {
            Ok(length) => seen.extend(probe(&frame[..length])),
            Err(_) if last => return seen,
            Err(_) => {}
        }
    }
}

fn probe(frame: &[u8]) -> Option<Seen> {
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
    Some(Seen { address, port, at: Instant::now() })
}
