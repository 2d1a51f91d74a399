//! Each target is probed exactly once, by whatever share, thread, or part of a scan.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use portreeve_model::{PortState, Transport};
use portreeve_scan::{
    BackendChoice, Checkpoint, Control, PacketsPerSecond, ScanConfig,
    sys::{OnReply, ReplyFilter, ReservedPorts, RxConfig, RxRing},
};

use crate::{
    network::Lab,
    scans::{cancel_after, moderate, scan, scan_with, targets},
    watch::Watch,
};

#[test]
fn each_target_is_probed_exactly_once_and_no_excluded_one() {
    let Some(lab) = Lab::whole() else { return };
    let watch = lab.far(Watch::start);
    let targets = targets("10.99.128.0/23 fd99:1::/122", "10.99.128.17 10.99.129.64/26 fd99:1::8/125");
    let found = scan(ScanConfig {
        targets: targets.clone(),
        retries: 0,
        ..moderate("10.99.128.0", "1000-1019,U:2000")
    });
    let mut times: BTreeMap<(IpAddr, u16), u32> = BTreeMap::new();
    for probe in watch.finish() {
        *times.entry((probe.address, probe.port)).or_default() += 1;
    }
    let expected: BTreeMap<(IpAddr, u16), u32> = targets
        .iter()
        .flat_map(|address| (1000..=1019).chain([2000]).map(move |port| ((address, port), 1)))
        .collect();
    assert_eq!(times, expected);
    // Every TCP port is known to be closed: nothing was lost on the way back. (ICMP for UDP is rate-limited.)
    let tcp: Vec<_> = found.ports.iter().filter(|port| port.transport == Transport::Tcp).collect();
    assert_eq!(tcp.len() as u128, targets.len() * 20);
    assert!(tcp.iter().all(|port| port.state == PortState::Closed));
    // One question for the hardware address of each gateway.
    assert_eq!(found.report.probes_sent, expected.len() as u64 + 2);
}

/// Counts datagrams at the far end, of a scan that is too fast for [`Watch`]: the receive ring has room for all.
struct Tap {
    stop: Arc<AtomicBool>,
    counts: mpsc::Receiver<BTreeMap<(IpAddr, u16), u32>>,
}

impl Tap {
    /// Datagrams to these ports, which the far kernel then leaves unanswered.
    fn start(lab: &Lab, ports: RangeInclusive<u16>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, far_end) = (Arc::clone(&stop), lab.far_end.clone());
        let (mut ring, quiet) = lab.far(move || {
            let ring = RxRing::open(&far_end, &ReplyFilter { ports: ports.clone() }, RxConfig::default());
            (ring.expect("a ring"), ReservedPorts::exactly(ports, OnReply::Silence).expect("free ports"))
        });
        let counts = lab.far_later(move || {
            let mut counts = BTreeMap::new();
            loop {
                let last = stopped.load(Ordering::Relaxed);
                let more = ring.wait(Duration::from_millis(20)).expect("a ring that can be waited for");
                count_datagrams(&mut ring, &mut counts);
                if last && !more {
                    drop(quiet);
                    assert_eq!(ring.statistics().expect("statistics").dropped, 0);
                    return counts;
                }
            }
        });
        Self { stop, counts }
    }

    fn finish(self) -> BTreeMap<(IpAddr, u16), u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.counts.recv().expect("the far end counted")
    }
}

fn count_datagrams(ring: &mut RxRing, counts: &mut BTreeMap<(IpAddr, u16), u32>) {
    while let Some(mut block) = ring.next_block() {
        while let Some(received) = block.next() {
            let Ok(packet) = portreeve_wire::ip::Packet::parse(received.packet) else { continue };
            let Ok(datagram) = portreeve_wire::udp::Datagram::parse(packet.payload()) else { continue };
            *counts.entry((packet.destination(), datagram.destination_port())).or_default() += 1;
        }
    }
}

/// At a rate that one thread is not trusted with, all cores send.
#[test]
fn several_threads_probe_each_target_exactly_once() {
    let Some(lab) = Lab::whole() else { return };
    for backend in [BackendChoice::Xdp, BackendChoice::Ring, BackendChoice::Batch] {
        let tap = Tap::start(&lab, 1000..=1099);
        let rate = PacketsPerSecond(2_000_000);
        let wait = Duration::from_millis(100);
        let fast =
            ScanConfig { backend, rate, wait, retries: 0, ..moderate("10.99.128.0/24", "U:1000-1099") };
        let report = scan(fast).report;
        let counts = tap.finish();
        assert_eq!(counts.len(), 256 * 100, "{backend:?}: {report:?}");
        assert!(counts.values().all(|count| *count == 1), "{backend:?}");
        assert_eq!((report.probes_sent, report.checkpoint), (256 * 100 + 1, 256 * 100));
    }
}

#[test]
fn a_cancelled_scan_of_several_threads_leaves_nothing_out() {
    let Some(lab) = Lab::whole() else { return };
    let tap = Tap::start(&lab, 1000..=1199);
    let rate = PacketsPerSecond(300_000);
    let wait = Duration::from_millis(100);
    let whole = ScanConfig { rate, wait, retries: 0, ..moderate("10.99.128.0/24", "U:1000-1199") };
    let control = Control::new();
    let halted = cancel_after(10_000, &control);
    let first = scan_with(whole.clone(), &control).report;
    halted.join().expect("no panic");
    assert!(!first.completed && first.checkpoint < 256 * 200, "{first:?}");
    let second = scan(ScanConfig { resume: Some(Checkpoint::at(first.checkpoint)), ..whole }).report;
    assert!(second.completed);
    let counts = tap.finish();
    assert_eq!(counts.len(), 256 * 200, "{first:?} {second:?}");
    // What is repeated is a few chunks of the order, some milliseconds.
    assert!(first.probes_sent <= first.checkpoint + 8 * 4096, "{first:?}");
}

#[test]
fn shards_share_the_targets_out() {
    let Some(lab) = Lab::whole() else { return };
    let mut seen = BTreeSet::new();
    for index in 0..3 {
        let watch = lab.far(Watch::start);
        let shard = portreeve_scan::Shard::new(index, 3).expect("index below count");
        let report = scan(ScanConfig { shard, retries: 0, ..moderate("10.99.128.0/26", "1-20") }).report;
        let probes = watch.finish();
        assert_eq!(probes.len() as u64, report.targets);
        for probe in probes {
            assert!(seen.insert((probe.address, probe.port)), "{probe:?} belongs to two shards");
        }
    }
    assert_eq!(seen.len(), 64 * 20);
}

#[test]
fn a_cancelled_scan_stops_sending_at_once() {
    let Some(lab) = Lab::whole() else { return };
    let control = Control::new();
    let watch = lab.far(Watch::start);
    let canceller = cancel_after(200, &control);
    let slow = ScanConfig { rate: PacketsPerSecond(1_000), ..moderate("10.99.128.0/20", "1-100") };
    let found = scan_with(slow, &control);
    canceller.join().expect("no panic");
    assert!(!found.report.completed);
    // At a thousand a second.
    assert!(found.report.probes_sent < 5_000, "of 409,600: {:?}", found.report);
    let probes = watch.finish();
    assert_eq!(probes.len() as u64, found.report.checkpoint, "the checkpoint is where the probes end");
}

#[test]
fn a_resumed_scan_probes_the_rest_and_nothing_twice() {
    let Some(lab) = Lab::whole() else { return };
    let watch = lab.far(Watch::start);
    let whole = ScanConfig { retries: 0, ..moderate("10.99.128.0/26", "1-50") };
    let control = Control::new();
    let halted = cancel_after(500, &control);
    let first = scan_with(ScanConfig { rate: PacketsPerSecond(2_000), ..whole.clone() }, &control);
    halted.join().expect("no panic");
    assert!(!first.report.completed);
    let second = scan(ScanConfig { resume: Some(Checkpoint::at(first.report.checkpoint)), ..whole });
    assert!(second.report.completed);
    let probes: Vec<_> = watch.finish().iter().map(|probe| (probe.address, probe.port)).collect();
    assert_eq!(probes.len(), 64 * 50);
    assert_eq!(probes.iter().collect::<BTreeSet<_>>().len(), 64 * 50);
}
