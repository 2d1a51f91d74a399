//! Nothing of its own: the benchmarks are the targets in `benches/`, run with `cargo bench -p portreeve-benches`.
