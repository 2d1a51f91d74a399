//! What a scan may not do: go faster than asked, or without rights.

use std::{
    collections::BTreeMap,
    net::{IpAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use portreeve_model::{PortState, Timestamp};
use portreeve_scan::{BackendChoice, Clock, Control, Event, PacketsPerSecond, Scan, ScanConfig};

use super::{config, network, scan, scan_with};
use crate::{lab::alone, probes_seen::Watch};

#[test]
fn no_more_probes_than_asked_for() {
    let Some(lab) = network() else { return };
    let watch = lab.far(Watch::start);
    let rate = PacketsPerSecond(2_000);
    scan(ScanConfig { rate, retries: 0, ..config("10.99.128.0/24", "1-16") });
    let probes = watch.finish();
    assert_eq!(probes.len(), 4096);
    let (first, last) = (probes[0].at, probes[4095].at);
    let seconds = (last - first).as_secs_f64();
    // Never faster, but for what a stall may be caught up with; on a busy machine it may be slower.
    assert!(seconds >= 4095.0 / 2_000.0 * 0.98, "4096 probes at 2,000 a second within {seconds} s");
    for (index, probe) in probes.iter().enumerate() {
        let tenth = probes[index..]
            .iter()
            .take_while(|later| later.at - probe.at < Duration::from_millis(100))
            .count();
        assert!(tenth <= 300, "{tenth} probes within 100 ms, 200 are their share");
    }
}

#[test]
fn no_host_and_no_network_gets_more_than_its_ceiling() {
    let Some(lab) = network() else { return };
    let watch = lab.far(Watch::start);
    let found = scan(ScanConfig {
        rate_per_host: Some(PacketsPerSecond(50)),
        rate_per_network: Some(PacketsPerSecond(300)),
        ..config("10.99.128.0/28 10.99.129.7", "1-60")
    });
    assert_eq!(found.ports.len(), 17 * 60);
    let mut by_host: BTreeMap<IpAddr, Vec<Instant>> = BTreeMap::new();
    let mut near: Vec<Instant> = Vec::new();
    for probe in watch.finish() {
        by_host.entry(probe.address).or_default().push(probe.at);
        if probe.address.to_string().starts_with("10.99.128.") {
            near.push(probe.at);
        }
    }
    // The watch's own clock is read late at times, so a moment more or less is not held against the sender.
    let busiest = |times: &[Instant]| {
        let within = |first: usize| {
            times[first..].partition_point(|&at| at - times[first] < Duration::from_millis(950))
        };
        (0..times.len()).map(within).max().unwrap_or(0)
    };
    assert!(by_host.values().all(|times| busiest(times) <= 50));
    assert!(busiest(&near) <= 300, "{} probes to a network within a second", busiest(&near));
}

#[test]
fn errors_name_what_was_asked_for() {
    let Some(()) = alone() else { return };
    let error = |config| scan_with(config, &Control::new()).expect_err("refused").to_string();
    let unknown = ScanConfig { interface: Some("nonsense0".to_owned()), ..config("127.0.0.1", "1") };
    assert!(error(unknown).contains("\"nonsense0\""));
    assert!(error(config("10.99.3.3", "1")).contains("no route to 10.99.3.3"));
    assert!(
        error(ScanConfig { rate: PacketsPerSecond(0), ..config("127.0.0.1", "1") }).contains("at least 1")
    );
}

/// Every right is given up between preparing and running.
#[test]
fn a_prepared_scan_needs_no_rights() {
    let Some(lab) = network() else { return };
    let _listener = lab.far(|| TcpListener::bind("10.99.1.2:80").expect("free"));
    for (address, backend) in [
        ("10.99.1.2", BackendChoice::Ring),
        ("10.99.1.3", BackendChoice::Batch),
        ("10.99.1.4", BackendChoice::Xdp),
        ("127.0.0.1", BackendChoice::Auto),
    ] {
        let prepared =
            Scan::prepare(ScanConfig { backend, ..config(address, "80,81") }, Clock::new(|| Timestamp(0)));
        let scan = prepared.expect("rights are there still");
        let closed = thread::spawn(move || {
            for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
                caps::clear(None, set).expect("cleared, for this thread");
            }
            let mut closed = 0;
            let report = scan.run(&Control::new(), &mut |event| {
                closed += u32::from(matches!(event, Event::Port(port) if port.state == PortState::Closed));
            });
            (report.expect("runs without rights").completed, closed)
        });
        let (completed, closed) = closed.join().expect("no panic");
        assert!(completed && closed > 0, "{address}: {closed} closed ports");
    }
}

#[test]
fn without_the_right_it_connects_or_says_what_to_do() {
    let Some(()) = alone() else { return };
    let listener = TcpListener::bind("127.0.0.1:8000").expect("free");
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
        caps::drop(None, set, caps::Capability::CAP_NET_RAW).expect("dropped, for this thread");
    }
    let refused = scan_with(
        ScanConfig { backend: BackendChoice::Ring, ..config("127.0.0.1", "8000") },
        &Control::new(),
    );
    let refused = refused.expect_err("no right").to_string();
    assert!(refused.contains("CAP_NET_RAW") && refused.contains("connect"), "{refused}");
    let scan = Scan::prepare(config("127.0.0.1", "8000"), Clock::new(|| Timestamp(0))).expect("falls back");
    assert_eq!(scan.backend().0, "connect");
    assert!(scan.backend().1.contains("CAP_NET_RAW"));
    let report = scan.run(&Control::new(), &mut |_| {}).expect("runs");
    assert_eq!(report.open_ports, 1);
    drop(listener);
}
