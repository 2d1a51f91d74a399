//! `tune` with the real binary, on a path whose far end answers: all of it, and no more than it is built for.

use std::{net::Ipv4Addr, path::Path, process::Command};

use portreeve_lab::scan::{Closed, INTERFACE, Mode, Network, ScanLab};

/// `None` without root, which CI has.
fn lab(name: &str, network: &Network) -> Option<ScanLab> {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "lab tests need root in CI");
        eprintln!("skipped: network namespaces need root");
        return None;
    }
    let mut lab = ScanLab::new(name).expect("lab");
    lab.network(network).expect("network");
    lab.mode(Mode::Respond).expect("responding");
    lab.enter().expect("entered");
    Some(lab)
}

fn network(closed: Closed) -> Network {
    Network { first: Ipv4Addr::new(10, 7, 0, 0), prefix: 24, closed, ..Network::default() }
}

/// Runs `tune` up to 20,000 packets a second.
fn tune(network: &Network) -> (bool, String, String) {
    let target = network.cidr();
    let words = ["tune", &target, "-e", INTERFACE, "--max-rate", "20000", "--json", "--dry-run"];
    let binary = Path::new(env!("CARGO_BIN_EXE_portreeve"));
    let said = Command::new(binary).args(words).output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (said.status.success(), text(&said.stdout), text(&said.stderr))
}

#[test]
fn a_path_that_loses_nothing_takes_what_is_tried_at_most() {
    let network = network(Closed::Reset);
    let Some(mut lab) = lab("tune", &network) else { return };
    let (succeeded, curve, told) = tune(&network);
    assert!(succeeded, "{told}");
    let curve: serde_json::Value = serde_json::from_str(&curve).expect("JSON");
    let steps = curve["steps"].as_array().expect("steps");
    assert!(steps.len() >= 7, "doubled from 500 to 20,000: {curve}");
    for step in steps {
        let count = |name: &str| step[name].as_u64().unwrap_or_else(|| panic!("{name}: {step}"));
        assert!(count("probes") > 0 && count("answers") <= count("probes"), "{step}");
    }
    let lowest = steps.first().expect("one");
    assert_eq!((lowest["rate_pps"].as_u64(), lowest["good"].as_bool()), (Some(500), Some(true)), "{curve}");
    let best = curve["rate_pps"].as_u64().expect("a rate");
    assert!((450..=18_000).contains(&best), "nine tenths of one of the steps: {curve}");
    // The far end saw at least one probe for each that is reported.
    let probes: u64 = steps.iter().filter_map(|step| step["probes"].as_u64()).sum();
    assert!(lab.counters().expect("counters").probes >= probes, "{curve}");
}

#[test]
fn a_path_without_known_responders_cannot_be_measured() {
    let network = network(Closed::Silent);
    let Some(_lab) = lab("mute", &network) else { return };
    let (succeeded, curve, told) = tune(&network);
    assert!(!succeeded && curve.is_empty() && told.contains("no known responders"), "{curve} {told}");
}
