//! The real binary before a network whose truth is known and whose far end counts: everything is found, nothing is
//! invented or said twice, and each target is probed exactly once with right checksums. The same harness that measures
//! rates (`benches/`), without its clock.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use portreeve_benches::{
    job::{self, Done},
    session::Bench,
    tool::{Tool, Tools, Work},
};
use portreeve_lab::scan::{Closed, Network};

/// Far more than it takes: a test that hangs ends.
const LIMIT: Duration = Duration::from_secs(60);

/// `None` without root, which CI has.
fn bench(lab: &str) -> Option<Bench> {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "lab tests need root in CI");
        eprintln!("skipped: network namespaces need root");
        return None;
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_portreeve"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(lab);
    Some(Bench::new(lab, Tools::find(binary, false), &folder, Duration::ZERO).expect("lab"))
}

/// 12,288 targets.
fn work(network: Network) -> Work {
    let network = Network { first: Ipv4Addr::new(10, 7, 16, 0), prefix: 20, ..network };
    Work { rate: Some(100_000), ..Work::new(network, &[22..=22, 80..=80, 443..=443]) }
}

fn scan(bench: &mut Bench, backend: &'static str, work: &Work) -> Done {
    let tool = Tool::Portreeve { backend, threads: 0 };
    let done = job::run(bench, &tool, work, LIMIT).unwrap_or_else(|error| panic!("{backend}: {error}"));
    assert!(!done.timed_out, "{backend} did not end: {done:?}");
    assert_eq!((done.wrong, done.doubles), (0, 0), "{backend}: {done:?}");
    done
}

const BACKENDS: [&str; 5] = ["auto", "batch", "kernel", "ring", "xdp"];

#[test]
fn each_backend_finds_all_of_the_truth_with_one_probe_a_target() {
    let Some(mut bench) = bench("exact") else { return };
    let work = work(Network::default());
    for backend in BACKENDS {
        let done = scan(&mut bench, backend, &work);
        assert!(done.expected > 500, "about one in twenty is open: {done:?}");
        assert_eq!(done.found, done.expected, "{backend}: {done:?}");
        assert!(done.is_exact(), "{backend}: {done:?}");
        assert_eq!(done.counters.probes, work.probes(), "{backend}: {done:?}");
    }
}

#[test]
fn only_silent_targets_are_asked_again() {
    let Some(mut bench) = bench("again") else { return };
    let mut work = work(Network { closed: Closed::Silent, live_ppm: 500_000, ..Network::default() });
    work.retries = Some(1);
    for backend in BACKENDS {
        let done = scan(&mut bench, backend, &work);
        assert_eq!(done.found, done.expected, "{backend}: {done:?}");
        assert_eq!(done.coverage.probed, done.coverage.tracked, "{backend}: {done:?}");
        assert_eq!(done.counters.bad_sums, 0, "{backend}: {done:?}");
        // What answered was not asked again.
        assert!(done.counters.repeats <= work.probes() - done.expected, "{backend}: {done:?}");
        assert_eq!(done.counters.sent_syn_acks, done.expected, "{backend}: {done:?}");
    }
}
