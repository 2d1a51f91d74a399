//! What recognising replies costs: single replies of common services, and all examples of the built-in database, each
//! decoded, matched, scored and compared, with the checks for stolen examples and the negative corpus.
//!
//! `cargo bench -p portreeve-benches --bench matcher`. Throughput of the second is in examples, the unit that users add.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portreeve_probes::Database;

/// What was said unasked, in the database's notation.
const BANNERS: [(&str, &str); 3] = [
    ("an SSH banner", "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\\r\\n"),
    ("an FTP banner", "220 (vsFTPd 3.0.3)\\r\\n"),
    ("something unknown", "\\x00\\x17zq 83 hallo\\x01\\xff\\xfe"),
];

fn replies(criterion: &mut Criterion) {
    let database = Database::builtin();
    let mut group = criterion.benchmark_group("reply");
    group.throughput(Throughput::Elements(1));
    for (name, reply) in BANNERS {
        database.read("banner", reply).expect("the notation");
        group.bench_function(name, |bencher| {
            bencher.iter(|| database.read(black_box("banner"), black_box(reply)));
        });
    }
    group.finish();
}

fn examples(criterion: &mut Criterion) {
    let database = Database::builtin();
    assert!(database.check().is_empty(), "a broken database measures nothing");
    let mut group = criterion.benchmark_group("matcher");
    group.sample_size(10).throughput(Throughput::Elements(database.stats().examples as u64));
    group.bench_function("check every example", |bencher| bencher.iter(|| database.check().len()));
    group.finish();
}

criterion_group!(benches, replies, examples);
criterion_main!(benches);
