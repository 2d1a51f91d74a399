//! What the engine's parts cost for each probe and each answer: the next target with its cookie, a place in the schedule,
//! the judgement of a packet.
//!
//! `cargo bench -p portreeve-benches --bench engine`. No packet is sent; the time of a system call is not in it.

use std::{fmt::Write, hint::black_box, net::Ipv4Addr, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portreeve_scan::{
    PacketsPerSecond, PortSet, TargetSet, TargetSetBuilder,
    pieces::{Generator, Judge, Schedule},
};

fn targets(text: &str) -> TargetSet {
    TargetSetBuilder::new().include(text).and_then(TargetSetBuilder::build).expect("targets")
}

fn ports(text: &str) -> PortSet {
    text.parse().expect("ports")
}

/// So many ranges of 64 addresses, with a gap after each.
fn scattered(ranges: u32) -> TargetSet {
    let first = Ipv4Addr::new(10, 0, 0, 0).to_bits();
    let mut text = String::new();
    for number in 0..ranges {
        let address = Ipv4Addr::from_bits(first + number * 128);
        write!(text, "{address}/26 ").expect("memory");
    }
    targets(&text)
}

fn generator(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("next probe");
    group.throughput(Throughput::Elements(1));
    let jobs = [
        ("a /9 x 1 port", targets("10.128.0.0/9"), "80"),
        ("a /16 x 3 ports", targets("10.7.0.0/16"), "22,80,443"),
        ("128 ranges x 3 ports", scattered(128), "22,80,443"),
        ("4096 ranges x 3 ports", scattered(4_096), "22,80,443"),
    ];
    for (name, targets, list) in jobs {
        let mut generator = Generator::new(targets, &ports(list));
        group.bench_function(name, |bencher| bencher.iter(|| generator.next_probe()));
    }
    group.finish();
}

fn schedule(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("schedule");
    for rate in [10_000, 1_000_000] {
        let mut schedule = Schedule::new(PacketsPerSecond(rate));
        group.bench_function(format!("a grant at {rate} a second"), |bencher| {
            bencher.iter(|| schedule.grant_after(black_box(Duration::from_micros(50))));
        });
    }
    group.finish();
}

fn classifier(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("judge");
    group.throughput(Throughput::Elements(1));
    let target = (Ipv4Addr::new(10, 7, 3, 4), 80);
    let judge = Judge::new(targets("10.7.0.0/16"), &ports("22,80,443"), target).expect("a scan");
    for (name, open, forged) in
        [("syn-ack", true, false), ("reset", false, false), ("forged syn-ack", true, true)]
    {
        let packet = judge.reply(open, forged).expect("a packet");
        assert_eq!(judge.accepts(&packet), !forged, "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| judge.accepts(black_box(&packet))));
    }
    group.finish();
}

criterion_group!(benches, generator, schedule, classifier);
criterion_main!(benches);
