//! What tests of several modules need.

use nix::unistd::Uid;

/// Whether this process may make BPF maps and load programs, as root may; says so if not. In CI it must.
pub(crate) fn may_use_bpf() -> bool {
    let is_root = Uid::effective().is_root();
    if !is_root {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "BPF tests need root, and CI runs them all");
        eprintln!("skipped: loading BPF programs needs root");
    }
    is_root
}
