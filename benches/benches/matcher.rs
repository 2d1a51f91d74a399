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

/// An answer of ordinary length to an HTTP question, in the database's notation: headers, and a page of 3 kB.
fn page() -> String {
    let head = "HTTP/1.1 200 OK\\r\\nDate: Sun, 22 Nov 2026 10:00:00 GMT\\r\\nServer: Apache/2.4.62 (Debian)\\r\\n\
        X-Powered-By: PHP/8.2.28\\r\\nSet-Cookie: session=4f1d; path=/; HttpOnly\\r\\nVary: Accept-Encoding\\r\\n\
        Content-Type: text/html; charset=UTF-8\\r\\n\\r\\n<!DOCTYPE html>\\n<html lang=\\x22en\\x22><head><title>Start</title>";
    let line = "<p class=\\x22entry\\x22><a href=\\x22/articles/17\\x22>What a server that nobody knows has to say</a></p>\\n";
    [head, &line.repeat(36), "</body></html>\\n"].concat()
}

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
    let page = page();
    let read = database.read("http-get", &page).expect("the notation");
    assert!(format!("{read:?}").contains("Apache"), "{read:?}");
    group.bench_function("an HTTP answer of 3 kB", |bencher| {
        bencher.iter(|| database.read(black_box("http-get"), black_box(&page)));
    });
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
