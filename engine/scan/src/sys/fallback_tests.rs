//! Every fall-back to a lesser backend, by making the better one fail as a hardened host would: a filter on system
//! calls (seccomp(2)) of the calling thread refuses them. Or the queue is taken, or the device is of another kind.

use std::process::Command;

use nix::{
    sched::{CloneFlags, unshare},
    unistd::Uid,
};
use portreeve_model::Timestamp;

use super::{Interface, TxXdp};
use crate::{BackendChoice, Clock, Scan, ScanConfig, ScanError, TargetSetBuilder};

/// Makes the calling thread's system call number `call` fail with `errno` where argument number `argument` is
/// `value`, for ever.
fn refuse(call: libc::c_long, argument: u32, value: libc::c_int, errno: libc::c_int) {
    const NUMBER: u32 = 0;
    // Of struct seccomp_data; the lower half of a little-endian word.
    let argument_at = 16 + 8 * argument;
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let end = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut lines = [
        line(load, 0, 0, NUMBER),
        line(equal, 0, 3, call as u32),
        line(load, 0, 0, argument_at),
        line(equal, 0, 1, value as u32),
        line(end, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        line(end, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: lines.len() as u16, filter: lines.as_mut_ptr() };
    // SAFETY: the program points to live instructions, which the kernel copies; it concerns this thread alone.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(result, 0, "the filter is taken: {}", std::io::Error::last_os_error());
}

/// A namespace with a cable of its own, from 10.99.1.1 to nobody.
fn cable() -> Option<()> {
    if !Uid::effective().is_root() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "lab tests need root, and CI runs them all");
        eprintln!("skipped: making a network namespace needs root");
        return None;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    for arguments in [
        "link set lo up",
        "link add near type veth peer name far",
        "address add 10.99.1.1/24 dev near",
        "link set near up",
        "link set far up",
    ] {
        let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip is installed");
        assert!(status.success(), "ip {arguments}");
    }
    Some(())
}

fn prepare(backend: BackendChoice, target: &str) -> Result<(String, String), ScanError> {
    let targets = TargetSetBuilder::new().include(target).and_then(TargetSetBuilder::build).expect("targets");
    let config = ScanConfig { backend, ..ScanConfig::new(targets, "80".parse().expect("ports")) };
    let scan = Scan::prepare(config, Clock::new(|| Timestamp(0)))?;
    let (name, why) = scan.backend();
    Ok((name.to_owned(), why.to_owned()))
}

fn chosen(target: &str) -> (String, String) {
    prepare(BackendChoice::Auto, target).expect("something works")
}

#[test]
fn each_backend_gives_way_to_the_next() {
    let Some(()) = cable() else { return };
    assert_eq!(chosen("10.99.1.2"), ("xdp".to_owned(), "xdp on near: the fastest".to_owned()));

    refuse(libc::SYS_socket, 0, libc::AF_XDP, libc::EAFNOSUPPORT);
    let (name, why) = chosen("10.99.1.2");
    assert_eq!(name, "ring");
    assert!(why.starts_with("on near: xdp refused because") && why.ends_with(", so ring"), "{why}");
    let error = prepare(BackendChoice::Xdp, "10.99.1.2").expect_err("it was asked for").to_string();
    assert!(error.contains("near") && error.contains("not supported"), "{error}");

    refuse(libc::SYS_setsockopt, 2, libc::PACKET_TX_RING, libc::ENOMEM);
    let (name, why) = chosen("10.99.1.2");
    assert_eq!(name, "batch");
    assert!(why.contains("ring refused because") && why.ends_with(", so batch"), "{why}");

    // Loopback never needed them.
    assert_eq!(chosen("127.0.0.1").0, "raw-ip");

    refuse(libc::SYS_socket, 0, libc::AF_PACKET, libc::EPERM);
    let (name, why) = chosen("127.0.0.1");
    assert_eq!(name, "connect");
    assert!(why.contains("CAP_NET_RAW"), "{why}");
}

#[test]
fn a_queue_that_is_taken_is_left_alone() {
    let Some(()) = cable() else { return };
    let near = Interface::by_name("near").expect("it was made");
    let taken = TxXdp::open(&near, 0, 128).expect("it is free");
    let (name, why) = chosen("10.99.1.2");
    assert_eq!(name, "ring");
    assert!(why.contains("busy"), "{why}");
    drop(taken);
    assert_eq!(chosen("10.99.1.2").0, "xdp");
}

#[test]
fn what_a_device_cannot_do_is_told() {
    let Some(()) = cable() else { return };
    for backend in [BackendChoice::Auto, BackendChoice::Xdp, BackendChoice::Ring, BackendChoice::Batch] {
        let (name, why) = prepare(backend, "127.0.0.1").expect("loopback is there");
        assert_eq!((name.as_str(), why.contains("lo")), ("raw-ip", true), "{why}");
    }
}
