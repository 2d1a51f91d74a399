//! The whole pipeline at full speed on loopback, from the order of probes to classified answers: every port of
//! 127.0.0.1, unpaced. The kernel answers each probe, so this is sending and receiving together.
//!
//! `cargo bench -p portreeve-benches --bench send_loop`, as root; without the right to open raw sockets it says so and
//! measures nothing.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portreeve_model::Timestamp;
use portreeve_scan::{BackendChoice, Clock, Control, PacketsPerSecond, Scan, ScanConfig, TargetSetBuilder};

/// Ports 1-65535.
const PORTS: u64 = 65_535;

fn config() -> ScanConfig {
    let targets =
        TargetSetBuilder::new().include("127.0.0.1").and_then(TargetSetBuilder::build).expect("target");
    let mut config = ScanConfig::new(targets, "1-65535".parse().expect("ports"));
    config.rate = PacketsPerSecond(u32::MAX);
    config.retries = 0;
    config.wait = Duration::from_millis(200);
    config
}

fn loopback(criterion: &mut Criterion) {
    let clock = || Clock::new(|| Timestamp(0));
    if let Err(error) = Scan::prepare(config(), clock()) {
        eprintln!("skipped: {error}");
        return;
    }
    let mut group = criterion.benchmark_group("send loop");
    group.sample_size(10).throughput(Throughput::Elements(PORTS));
    for (name, backend) in [("raw sockets", BackendChoice::Auto), ("connect", BackendChoice::Connect)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let scan = Scan::prepare(ScanConfig { backend, ..config() }, clock()).expect("prepared");
                let report = scan.run(&Control::new(), &mut |_| {}).expect("report");
                assert!(report.completed);
                report.probes_sent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, loopback);
criterion_main!(benches);
