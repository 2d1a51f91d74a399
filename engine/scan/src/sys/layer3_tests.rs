//! Packets through a tun device, whose other end is this test.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
    process::Command,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::Uid,
};
use portreeve_wire::{
    ethernet::EtherType,
    ip::{self, Packet},
    ipv4, ipv6, tcp,
    template::{Link, Path, Syn, SynTemplate},
};

use super::{FrameSink, Interface, LinkKind, RawIpBatch, ReplyFilter, RxConfig, RxRing};

const OURS_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 1);
const THEIRS_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 2);
const OURS_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 2, 0, 0, 0, 0, 0, 1);
const THEIRS_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 2, 0, 0, 0, 0, 0, 2);

/// A tun device called `tun` in a network namespace of the calling thread's own.
fn tun() -> io::Result<File> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"tun") {
        *slot = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is a live ifreq with a terminated name.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for arguments in
        ["address add 10.99.2.1/24 dev tun", "address add fd99:2::1/64 dev tun nodad", "link set tun up"]
    {
        let status = Command::new("ip").args(arguments.split(' ')).status()?;
        assert!(status.success(), "ip {arguments}");
    }
    Ok(file)
}

/// Packets that the kernel sends on its own (router solicitations, listener reports) are left out.
fn next_syn(tun: &mut File) -> (IpAddr, IpAddr, u32) {
    let mut buffer = [0; 2048];
    loop {
        let length = tun.read(&mut buffer).expect("the tun device gives packets");
        let packet = Packet::parse(&buffer[..length]).expect("a whole packet");
        if packet.protocol() == ip::Protocol::TCP {
            let segment = tcp::Segment::parse(packet.payload()).expect("a whole segment");
            assert!(segment.checksum_ok(packet.source(), packet.destination()));
            return (packet.source(), packet.destination(), segment.sequence().0);
        }
    }
}

fn syn_ack(v6: bool) -> Vec<u8> {
    let header = tcp::Header {
        source_port: 443,
        destination_port: 40_000,
        sequence: tcp::SeqNumber(1),
        acknowledgement: tcp::SeqNumber(2),
        flags: tcp::Flags::SYN | tcp::Flags::ACK,
        window: 1,
        options: tcp::SynOptions::default(),
    };
    let mut packet = vec![0; 60];
    let (protocol, payload_len, hop_limit) = (ip::Protocol::TCP, header.len() as u16, 64);
    let (at, from, to): (_, IpAddr, IpAddr) = if v6 {
        let network =
            ipv6::Header { source: THEIRS_V6, destination: OURS_V6, hop_limit, protocol, payload_len };
        (network.emit(&mut packet), THEIRS_V6.into(), OURS_V6.into())
    } else {
        let network =
            ipv4::Header { source: THEIRS_V4, destination: OURS_V4, hop_limit, protocol, payload_len };
        (network.emit(&mut packet), THEIRS_V4.into(), OURS_V4.into())
    };
    let at = at.expect("room for the header");
    let end = at + header.emit(&mut packet[at..], from, to).expect("room for the segment");
    packet.truncate(end);
    packet
}

#[test]
fn a_device_without_link_headers_carries_packets_both_ways() {
    if !Uid::effective().is_root() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "lab tests need root, and CI runs them all");
        eprintln!("skipped: making a network namespace needs root");
        return;
    }
    let mut tun = tun().expect("a tun device");
    let interface = Interface::by_name("tun").expect("the device was made");
    assert_eq!((interface.kind, interface.hardware), (LinkKind::Layer3, None));
    let filter = ReplyFilter { ports: 40_000..=40_000 };
    let mut ring = RxRing::open(&interface, &filter, RxConfig::default()).expect("a receive ring");
    let mut sink = RawIpBatch::open(&interface, 128).expect("raw sockets");

    let v4 = SynTemplate::new(
        Path { link: Link::None, source: OURS_V4, hop_limit: 64 },
        1,
        tcp::SynOptions::default(),
    );
    let v6 = SynTemplate::new(
        Path { link: Link::None, source: OURS_V6, hop_limit: 64 },
        1,
        tcp::SynOptions::default(),
    );
    for sequence in 0..20 {
        let sequence = tcp::SeqNumber(sequence);
        let (source_port, destination_port) = (40_000, 443);
        let slot = sink.frame().expect("a free slot");
        let length = v4.emit(slot, &Syn { destination: THEIRS_V4, source_port, destination_port, sequence });
        sink.commit(length.expect("room for a SYN"));
        let slot = sink.frame().expect("a free slot");
        let length = v6.emit(slot, &Syn { destination: THEIRS_V6, source_port, destination_port, sequence });
        sink.commit(length.expect("room for a SYN"));
    }
    assert_eq!(sink.flush().expect("the device takes packets"), 40);
    for sequence in 0..20 {
        assert_eq!(next_syn(&mut tun), (OURS_V4.into(), THEIRS_V4.into(), sequence));
        assert_eq!(next_syn(&mut tun), (OURS_V6.into(), THEIRS_V6.into(), sequence));
    }

    let sent = [syn_ack(false), syn_ack(true)];
    for packet in &sent {
        tun.write_all(packet).expect("the tun device takes packets");
    }
    let mut received = Vec::new();
    while ring.wait(Duration::from_millis(200)).expect("the ring can be waited for") {
        while let Some(mut block) = ring.next_block() {
            while let Some(frame) = block.next() {
                received.push((frame.ether_type, frame.packet.to_vec()));
            }
        }
    }
    let [first, second] = sent;
    assert_eq!(received, [(EtherType::IPV4, first), (EtherType::IPV6, second)]);
}
