//! A scan in a VLAN that the kernel has no interface for, of a host that this test plays: many kernels come without
//! support for VLANs, and none answers tags that it knows nothing of.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Uid, gettid},
};
use portreeve_model::{PortState, Timestamp};
use portreeve_wire::{
    arp,
    ethernet::{self, EtherType, VlanId},
    ip::{Packet, Protocol},
    ipv4, tcp,
};

use super::{FrameSink, Interface, Received, ReplyFilter, RxConfig, RxRing, TxBatch};
use crate::{BackendChoice, Clock, Control, Event, PacketsPerSecond, Scan, ScanConfig, TargetSetBuilder};

const TARGET: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 2);
const OPEN: u16 = 80;
/// Answered only with the tag of another VLAN, and without any.
const STRAY: u16 = 81;

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip is installed");
    assert!(status.success(), "ip {arguments}");
}

fn id(number: u16) -> VlanId {
    VlanId::new(number).expect("an identifier")
}

/// A host on a cable that carries VLAN 10.
struct Host {
    ring: RxRing,
    sink: TxBatch,
    hardware: ethernet::Address,
    /// Frames that came without the tag, of the kinds that a scan sends.
    untagged: u32,
}

impl Host {
    fn open() -> Self {
        let far = Interface::by_name("far").expect("it was made");
        let ring = RxRing::open(&far, &ReplyFilter { ports: 0..=0 }, RxConfig::default()).expect("a ring");
        ring.take_everything().expect("another filter");
        let sink = TxBatch::open(&far, 128).expect("a sink");
        Self { ring, sink, hardware: far.hardware.expect("Ethernet"), untagged: 0 }
    }

    /// Answers until it is told to stop; returns how many probes came untagged.
    fn answer(mut self, stop: &AtomicBool) -> u32 {
        while !stop.load(Relaxed) {
            self.ring.wait(Duration::from_millis(5)).expect("a ring that can be waited for");
            let mut answers = Vec::new();
            while let Some(mut block) = self.ring.next_block() {
                while let Some(received) = block.next() {
                    let Some(answer) = answer(&received, self.hardware) else { continue };
                    if received.vlan == Some(id(10)) { answers.extend(answer) } else { self.untagged += 1 }
                }
            }
            for frame in answers {
                self.sink.frame().expect("a free slot")[..frame.len()].copy_from_slice(&frame);
                self.sink.commit(frame.len());
                self.sink.flush().expect("the cable takes it");
            }
        }
        self.untagged
    }
}

/// What a host answers to an ARP question or a SYN.
fn answer(received: &Received<'_>, hardware: ethernet::Address) -> Option<Vec<Vec<u8>>> {
    let asker = received.source?;
    if received.ether_type == EtherType::ARP {
        let question = arp::Packet::parse(received.packet).ok()?;
        let sender = question.target();
        let vlan = Some(id(10));
        let reply = arp::Request { hardware, sender, target: question.sender(), vlan };
        let mut frame = vec![0; reply.len()];
        reply.emit(&mut frame).ok()?;
        ethernet::set_destination(&mut frame, asker);
        // The operation, behind the tag: a reply.
        frame[18 + 7] = 2;
        return (sender == TARGET).then_some(vec![frame]);
    }
    let packet = Packet::parse(received.packet).ok()?;
    let (IpAddr::V4(us), IpAddr::V4(them)) = (packet.destination(), packet.source()) else { return None };
    let segment = tcp::Segment::parse(packet.payload()).ok()?;
    let (port, to) = (segment.destination_port(), segment.source_port());
    let vlans = if port == STRAY { vec![Some(id(20)), None] } else { vec![Some(id(10))] };
    let flags = if port == OPEN || port == STRAY { tcp::Flags::SYN } else { tcp::Flags::RST };
    let header = tcp::Header {
        source_port: port,
        destination_port: to,
        sequence: tcp::SeqNumber(1),
        acknowledgement: tcp::SeqNumber(segment.sequence().0.wrapping_add(1)),
        flags: flags | tcp::Flags::ACK,
        window: 1024,
        options: tcp::SynOptions::default(),
    };
    let framed = |vlan| {
        let mut frame = vec![0; 128];
        let ether_type = EtherType::IPV4;
        let link = ethernet::Header { destination: asker, source: hardware, vlan, ether_type };
        let mut at = link.emit(&mut frame).ok()?;
        let (protocol, payload_len) = (Protocol::TCP, header.len() as u16);
        let network = ipv4::Header { source: us, destination: them, hop_limit: 64, protocol, payload_len };
        at += network.emit(&mut frame[at..]).ok()?;
        at += header.emit(&mut frame[at..], us.into(), them.into()).ok()?;
        frame.truncate(at);
        Some(frame)
    };
    vlans.into_iter().map(framed).collect()
}

/// A cable from this thread's namespace, "near", to the host's.
fn cable() -> Option<(Arc<AtomicBool>, thread::JoinHandle<u32>)> {
    if !Uid::effective().is_root() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "lab tests need root, and CI runs them all");
        eprintln!("skipped: making a network namespace needs root");
        return None;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    let (tell, told) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let host = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace for the host");
        tell.send(gettid()).expect("somebody waits");
        begun.recv().expect("a cable");
        ip("link set far up");
        let host = Host::open();
        tell.send(gettid()).expect("somebody waits");
        host.answer(&stopped)
    });
    let host_thread = told.recv().expect("the host is up");
    ip(&format!("link add near type veth peer name far netns {host_thread}"));
    ip("address add 10.99.1.1/24 dev near");
    ip("link set near up");
    begin.send(()).expect("the host waits");
    told.recv().expect("the host listens");
    Some((stop, host))
}

#[test]
fn a_scan_in_a_vlan_writes_its_tag_and_hears_no_other() {
    let Some((stop, host)) = cable() else { return };
    for backend in [BackendChoice::Auto, BackendChoice::Xdp, BackendChoice::Ring, BackendChoice::Batch] {
        let targets = TargetSetBuilder::new().include("10.99.1.2").and_then(TargetSetBuilder::build);
        let config = ScanConfig {
            vlan: Some(id(10)),
            backend,
            rate: PacketsPerSecond(1_000),
            wait: Duration::from_millis(200),
            report_closed: true,
            ..ScanConfig::new(targets.expect("targets"), "79-82".parse().expect("ports"))
        };
        let scan = Scan::prepare(config, Clock::new(|| Timestamp(0))).expect("prepared");
        let mut states = Vec::new();
        let report = scan.run(&Control::new(), &mut |event| {
            if let Event::Port(seen) = event {
                states.push((seen.port, seen.state));
            }
        });
        states.sort_unstable_by_key(|(port, _)| *port);
        let expected = [(79, PortState::Closed), (OPEN, PortState::Open), (82, PortState::Closed)];
        assert_eq!(states, expected, "{backend:?}: {report:?}");
    }
    stop.store(true, Relaxed);
    assert_eq!(host.join().expect("no panic"), 0, "probes without the tag");
}

#[test]
fn a_tag_needs_ethernet() {
    let config = |backend| {
        let targets = TargetSetBuilder::new().include("127.0.0.1").and_then(TargetSetBuilder::build);
        let config = ScanConfig::new(targets.expect("targets"), "80".parse().expect("ports"));
        ScanConfig { vlan: Some(id(10)), backend, ..config }
    };
    for backend in [BackendChoice::Auto, BackendChoice::Connect] {
        let Err(error) = Scan::prepare(config(backend), Clock::new(|| Timestamp(0))) else {
            panic!("{backend:?} writes tags")
        };
        assert!(error.to_string().contains("VLAN"), "{error}");
    }
}
