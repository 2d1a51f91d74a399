//! What a scan may not do: go faster than asked, or without rights.

use std::{
    collections::BTreeMap,
    net::{IpAddr, TcpListener},
    time::Duration,
};

use portreeve_model::PortState;
use portreeve_scan::{BackendChoice, Control, PacketsPerSecond, ScanConfig};

use crate::{
    network::{Lab, alone},
    scans::{give_up, moderate, prepare, refusal, run_prepared, run_without_rights, scan},
    watch::Watch,
};

/// The most of these that lie within `window` of each other.
fn busiest(times: &[Duration], window: Duration) -> usize {
    let within = |first: usize| times[first..].partition_point(|&at| at < times[first] + window);
    (0..times.len()).map(within).max().unwrap_or(0)
}

/// What the pace promises, whatever the machine is busy with: 1 % more than the rate in a second, half of that at once.
/// One group more can be in any span of time, whose sending was held up: the two probes of a millisecond, and one.
#[test]
fn no_more_probes_than_asked_for() {
    let Some(lab) = Lab::whole() else { return };
    let watch = lab.far(Watch::start);
    let rate = 2_000;
    scan(ScanConfig { rate: PacketsPerSecond(rate), retries: 0, ..moderate("10.99.128.0/24", "1-16") });
    let times: Vec<Duration> = watch.finish().iter().map(|probe| probe.at).collect();
    assert_eq!(times.len(), 4096);
    let (at_once, group) = (1.0 + 0.005 * f64::from(rate), 3.0);
    let most = |span: Duration| span.as_secs_f64() * 1.005 * f64::from(rate) + at_once + group;
    for window in [10, 100, 1_000].map(Duration::from_millis) {
        let seen = busiest(&times, window);
        assert!(seen as f64 <= most(window), "{seen} probes within {window:?}");
    }
    let whole = times[4095].saturating_sub(times[0]);
    assert!(4096.0 <= most(whole), "4096 probes at {rate} a second within {whole:?}");
}

#[test]
fn no_host_and_no_network_gets_more_than_its_ceiling() {
    let Some(lab) = Lab::whole() else { return };
    let watch = lab.far(Watch::start);
    let found = scan(ScanConfig {
        rate_per_host: Some(PacketsPerSecond(50)),
        rate_per_network: Some(PacketsPerSecond(300)),
        ..moderate("10.99.128.0/28 10.99.129.7", "1-60")
    });
    assert_eq!(found.ports.len(), 17 * 60);
    let mut by_host: BTreeMap<IpAddr, Vec<Duration>> = BTreeMap::new();
    let mut near: Vec<Duration> = Vec::new();
    for probe in watch.finish() {
        by_host.entry(probe.address).or_default().push(probe.at);
        if probe.address.to_string().starts_with("10.99.128.") {
            near.push(probe.at);
        }
    }
    // Probes that are held up on their way out come closer to those behind them.
    let a_second = Duration::from_millis(950);
    assert!(by_host.values().all(|times| busiest(times, a_second) <= 50));
    let seen = busiest(&near, a_second);
    assert!(seen <= 300, "{seen} probes to a network within a second");
}

#[test]
fn errors_name_what_was_asked_for() {
    let Some(()) = alone() else { return };
    let says = |config, part| refusal(config).is_some_and(|error| error.contains(part));
    let this = |ports| moderate("127.0.0.1", ports);
    assert!(says(ScanConfig { interface: Some("nonsense0".to_owned()), ..this("1") }, "\"nonsense0\""));
    assert!(says(moderate("10.99.3.3", "1"), "no route to 10.99.3.3"));
    assert!(says(ScanConfig { rate: PacketsPerSecond(0), ..this("1") }, "at least 1"));
}

/// Every right is given up between preparing and running.
#[test]
fn a_prepared_scan_needs_no_rights() {
    let Some(lab) = Lab::whole() else { return };
    let _listener = lab.far(|| TcpListener::bind("10.99.1.2:80").expect("free"));
    for (address, backend) in [
        ("10.99.1.2", BackendChoice::Ring),
        ("10.99.1.3", BackendChoice::Batch),
        ("10.99.1.4", BackendChoice::Xdp),
        ("127.0.0.1", BackendChoice::Auto),
    ] {
        let scan =
            prepare(ScanConfig { backend, ..moderate(address, "80,81") }).expect("rights are there still");
        let found = run_without_rights(scan);
        let closed = found.ports.iter().filter(|port| port.state == PortState::Closed).count();
        assert!(found.report.completed && closed > 0, "{address}: {closed} closed ports");
    }
}

#[test]
fn without_the_right_it_connects_or_says_what_to_do() {
    let Some(()) = alone() else { return };
    let listener = TcpListener::bind("127.0.0.1:8000").expect("free");
    give_up(&[caps::Capability::CAP_NET_RAW]);
    let this = || moderate("127.0.0.1", "8000");
    let refused = refusal(ScanConfig { backend: BackendChoice::Ring, ..this() }).expect("no right");
    assert!(refused.contains("CAP_NET_RAW") && refused.contains("connect"), "{refused}");
    let scan = prepare(this()).expect("falls back");
    assert_eq!(scan.backend().0, "connect");
    assert!(scan.backend().1.contains("CAP_NET_RAW"));
    assert_eq!(run_prepared(scan, &Control::new()).report.open_ports, 1);
    drop(listener);
}
