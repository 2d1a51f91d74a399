//! What recognising replies costs: all examples of the built-in database, each decoded, matched, scored and compared,
//! with the checks for stolen examples and the negative corpus.
//!
//! `cargo bench -p portreeve-benches --bench matcher`. Throughput is in examples, the unit that users add.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portreeve_probes::Database;

fn examples(criterion: &mut Criterion) {
    let database = Database::builtin();
    assert!(database.check().is_empty(), "a broken database measures nothing");
    let mut group = criterion.benchmark_group("matcher");
    group.sample_size(10).throughput(Throughput::Elements(database.stats().examples as u64));
    group.bench_function("check every example", |bencher| bencher.iter(|| database.check().len()));
    group.finish();
}

criterion_group!(benches, examples);
criterion_main!(benches);
