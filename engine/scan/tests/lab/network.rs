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
    /// Makes the namespaces, or says why not and returns `None`, as [`may_run`].
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

    /// With targets behind the far end: 10.99.128.0/17 and fd99:1::/64, answered for as a whole.
    pub fn routed() -> Option<Self> {
        let lab = Self::new()?;
        ip("route add 10.99.128.0/17 via 10.99.1.2");
        ip("route add fd99:1::/64 via fd99::2");
        lab.far(|| {
            ip("route add local 10.99.128.0/17 dev lo");
            ip("route add local fd99:1::/64 dev lo");
            // Else the kernel sends only a few "port unreachable" a second.
            run("sysctl", &["-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"]);
        });
        Some(lab)
    }

    /// With those and some more on the link, 10.99.1.3-4 and fd99::3; neighbours have to be asked for.
    pub fn whole() -> Option<Self> {
        let lab = Self::routed()?;
        ip("neighbour flush dev near nud permanent");
        lab.far(|| {
            ip("neighbour flush dev far nud permanent");
            for address in ["10.99.1.3/24", "10.99.1.4/24", "fd99::3/64"] {
                assign(address, "far");
            }
        });
        Some(lab)
    }

    /// Packet filter rules for what the far end receives.
    pub fn filter(&self, rules: &str) {
        let table =
            format!("table inet pr {{ chain input {{ type filter hook input priority 0; {rules}\n}}\n}}");
        self.far(move || run("nft", &[&table]));
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
    run("ip", &arguments.split(' ').collect::<Vec<_>>());
}

/// Runs a program in the calling thread's namespace, to the end and with success; returns what it wrote.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Gives a device an address, at once.
pub fn assign(address: &str, device: &str) {
    let at_once = if address.contains(':') { " nodad" } else { "" };
    ip(&format!("address add {address} dev {device}{at_once}"));
}

fn set_up(name: &str, v4: &str, v6: &str) {
    ip("link set lo up");
    assign(v4, name);
    assign(v6, name);
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

/// Whether there are the rights for these tests. With `CI=true` there must be.
pub fn may_run() -> bool {
    if Uid::effective().is_root() {
        return true;
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "lab tests need root, and CI runs them all");
    eprintln!("skipped: making network namespaces and loading programs needs root");
    false
}
