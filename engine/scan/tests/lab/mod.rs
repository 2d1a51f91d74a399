//! Two network namespaces joined by a veth pair, for one test each.
//!
//! The namespaces have no names and no way out: each belongs to one thread, and the kernel takes both away
//! when the test ends, however it ends. Near is 10.99.1.1 and fd99::1, far is 10.99.1.2 and fd99::2.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use ipnet::IpNet;
use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Uid, gettid},
};
use portreeve_scan::sys::Interface;

pub const NEAR_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 1);
pub const FAR_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 2);
pub const NEAR_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
pub const FAR_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2);

type Work = Box<dyn FnOnce() + Send>;

/// The calling thread is near; closures run far.
pub struct Lab {
    far: mpsc::Sender<Work>,
    /// The near end of the pair.
    pub near: Interface,
    /// The far end.
    pub far_end: Interface,
}

impl Lab {
    /// Makes the namespaces, or says why not and returns `None`. With `CI=true` it never does that.
    pub fn new() -> Option<Self> {
        if !may_run() {
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace for the near end");
        let (far, work) = mpsc::channel::<Work>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace for the far end");
            tell.send(gettid()).expect("the near end waits");
            for work in work {
                work();
            }
        });
        let far_thread = told.recv().expect("the far end is up").to_string();
        let queues = "numtxqueues 2 numrxqueues 2";
        ip(&format!("link add near {queues} type veth peer name far {queues} netns {far_thread}"));
        set_up("near", "10.99.1.1/24", "fd99::1/64");
        let (tell, told) = mpsc::channel();
        far.send(Box::new(move || {
            set_up("far", "10.99.1.2/24", "fd99::2/64");
            tell.send(ready("far")).expect("the near end waits");
        }))
        .expect("the far end is up");
        let far_end = told.recv().expect("the far end is set up");
        let near = ready("near");
        let lab = Self { far, near, far_end };
        introduce("near", &[FAR_V4.into(), FAR_V6.into()], &lab.far_end);
        let near = lab.near.clone();
        lab.far(move || introduce("far", &[NEAR_V4.into(), NEAR_V6.into()], &near));
        Some(lab)
    }

    /// Runs `work` at the far end and waits for what it returns.
    pub fn far<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.far_later(work).recv().expect("the far end answers")
    }

    /// Starts `work` at the far end.
    pub fn far_later<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> mpsc::Receiver<T> {
        let (tell, told) = mpsc::channel();
        // The near end may not wait for the answer.
        self.far.send(Box::new(move || _ = tell.send(work()))).expect("the far end is up");
        told
    }
}

/// A namespace of its own with nothing but loopback, or `None` as [`Lab::new`].
pub fn alone() -> Option<()> {
    may_run().then(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        ip("link set lo up");
    })
}

/// Runs `ip` with these arguments in the calling thread's namespace.
pub fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn set_up(name: &str, v4: &str, v6: &str) {
    ip("link set lo up");
    ip(&format!("address add {v4} dev {name}"));
    ip(&format!("address add {v6} dev {name} nodad"));
    ip(&format!("link set {name} up"));
}

/// Waits until the device carries IPv6: the kernel gives it a link-local address only then.
fn ready(name: &str) -> Interface {
    let link_local =
        |address: &IpNet| matches!(address, IpNet::V6(net) if net.addr().is_unicast_link_local());
    for _ in 0..500 {
        let interface = Interface::by_name(name).expect("the end was made");
        if interface.up && interface.addresses.iter().any(link_local) {
            return interface;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{name} does not come up");
}

/// Tells the kernel the neighbour's hardware address, so that it never asks and every frame is a test's own.
fn introduce(name: &str, addresses: &[IpAddr], neighbour: &Interface) {
    let hardware = neighbour.hardware.expect("a veth end has a hardware address");
    for address in addresses {
        ip(&format!("neighbour replace {address} lladdr {hardware} dev {name} nud permanent"));
    }
}

fn may_run() -> bool {
    if Uid::effective().is_root() {
        return true;
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "lab tests need root, and CI runs them all");
    eprintln!("skipped: making network namespaces needs root");
    false
}
