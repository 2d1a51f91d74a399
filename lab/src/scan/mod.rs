//! A network of up to millions of hosts that answer at more than a million packets a second, and know what was sent.
//!
//! Two namespaces joined by a veth pair, and nothing else. The scanner's end has the address [`NEAR`] and a route to
//! [`TARGETS`]; at the other end XDP programs answer for as many hosts as wanted, from a hash of address and port, so
//! that [`Network::truth`] knows what any scan has to find. They count every probe, mark it in a bitmap (exactly once?),
//! check its checksums, and stamp its arrival in buckets of 1 ms: what was sent is for the receiver to say.
//!
//! The far end is a C program (`lab/scan`), built when first wanted; it needs clang and libbpf's headers, which
//! `cargo xtask setup` installs. All of it ends with the value, and what a killed run left behind is removed by the
//! next lab of the same name.

mod build;
mod far;
mod network;

use std::{
    ffi::OsString, fmt, fs::File, net::Ipv4Addr, ops::RangeInclusive, path::Path, process::Command,
    time::Duration,
};

use build::Programs;
pub use far::{Counters, Coverage};
use far::{FarEnd, nonsense};
pub use network::{Closed, Link, Network};
use nix::sched::{CloneFlags, setns};

use crate::{LabError, in_namespace, ip, remove_leftovers, remove_namespace, run};

/// The scanner's interface.
pub const INTERFACE: &str = "prs0";
/// The scanner's address.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The next hop to every target.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// The scanner's hardware address.
pub const NEAR_MAC: &str = "02:00:0a:63:00:01";
/// The next hop's hardware address.
pub const ROUTER_MAC: &str = "02:00:0a:63:00:02";
/// Where targets may lie, but for the /30 of the link itself.
pub const TARGETS: &str = "10.0.0.0/8";

const FAR_INTERFACE: &str = "prn0";

/// What the far end does with probes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Counts frames and drops them: the cheapest receiver.
    Blackhole,
    /// Nothing: no program is attached.
    Off,
    /// Answers as its [`Network`] says.
    Respond,
    /// Counts, checks and drops.
    Sink,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Blackhole => "blackhole",
            Self::Off => "off",
            Self::Respond => "respond",
            Self::Sink => "sink",
        }
    }
}

/// The lab. See the module.
#[derive(Debug)]
pub struct ScanLab {
    scanner: String,
    targets: String,
    far: FarEnd,
    programs: Programs,
}

impl ScanLab {
    /// Makes the two namespaces and starts the far end, in mode [`Mode::Off`]. `name` is part of the namespaces' names:
    /// at most six letters or digits. Needs root.
    pub fn new(name: &str) -> Result<Self, LabError> {
        crate::check_name(name)?;
        let programs = build::programs()?;
        remove_leftovers(name)?;
        let (scanner, targets) = (format!("pr-{name}-scan"), format!("pr-{name}-net"));
        let namespaces = Namespaces::make(&scanner, &targets)?;
        let (program, object) = programs.paths("far");
        let far = FarEnd::start(&targets, &program, &object, FAR_INTERFACE)?;
        namespaces.keep();
        Ok(Self { scanner, targets, far, programs })
    }

    /// The namespace of the scanner.
    pub fn scanner(&self) -> &str {
        &self.scanner
    }

    /// A command that runs in the scanner's namespace and gets SIGTERM when the caller dies.
    pub fn command(&self, program: &str) -> Command {
        in_namespace(&self.scanner, program)
    }

    /// The command line of the hand-written limit: the barest sender that runs inside the kernel (`lab/scan/bare.c`), to
    /// be run in the scanner's namespace until it is killed. `full` makes it permute and compute cookies.
    pub fn bare_sender(&self, network: &Network, threads: u8, full: bool) -> Vec<OsString> {
        let (program, object) = self.programs.paths("bare");
        let numbers = [threads.to_string(), u8::from(full).to_string(), NEAR.to_string()];
        let targets = [network.first.to_string(), (network.hosts() - 1).to_string()];
        let mut words = vec![program.into_os_string(), object.into_os_string(), INTERFACE.into()];
        words.extend(numbers.into_iter().chain(targets).map(OsString::from));
        words.extend([ROUTER_MAC, NEAR_MAC].map(OsString::from));
        words
    }

    /// Moves the calling thread, and what it starts, into the scanner's namespace.
    pub fn enter(&self) -> Result<(), LabError> {
        let failed = |error: &dyn fmt::Display| LabError::new(format!("enter {}", self.scanner), error);
        let namespace =
            File::open(Path::new("/run/netns").join(&self.scanner)).map_err(|error| failed(&error))?;
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|error| failed(&error))
    }

    /// What the far end does from now on.
    pub fn mode(&mut self, mode: Mode) -> Result<(), LabError> {
        self.far.tell(&format!("mode {}", mode.word()))
    }

    /// Which hosts and ports there are, and how they answer.
    pub fn network(&mut self, network: &Network) -> Result<(), LabError> {
        self.far.tell(&format!("set {}", network.settings()))
    }

    /// Whether each probe's checksums are checked; one that is wrong is counted and not answered.
    pub fn verify(&mut self, on: bool) -> Result<(), LabError> {
        self.far.tell(&format!("set verify={}", u8::from(on)))
    }

    /// Whether arrivals are counted in buckets of 1 ms (131 s of them).
    pub fn stamp(&mut self, on: bool) -> Result<(), LabError> {
        self.far.tell(&format!("set timeline={}", u8::from(on)))
    }

    /// Marks each probed pair of the network's first `hosts` addresses and these ports in a bitmap: at most 2^24 pairs.
    /// No hosts: no bitmap.
    pub fn track(&mut self, hosts: u32, ports: &[RangeInclusive<u16>]) -> Result<(), LabError> {
        let ports: Vec<String> =
            ports.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
        self.far.tell(format!("track {hosts} {}", ports.join(",")).trim_end())
    }

    /// Zeroes counters, timeline and bitmap.
    pub fn reset(&mut self) -> Result<(), LabError> {
        self.far.tell("reset")
    }

    /// Begins the timeline anew, and with it [`Counters::span`]; all else stays.
    pub fn rewind(&mut self) -> Result<(), LabError> {
        self.far.tell("rewind")
    }

    /// What was counted since the last [`Self::reset`].
    pub fn counters(&mut self) -> Result<Counters, LabError> {
        let numbers = self.far.ask("counters")?;
        Counters::new(&numbers).ok_or_else(|| nonsense("counters"))
    }

    /// Arrivals per `bucket_ms`, from the first one on.
    pub fn timeline(&mut self, bucket_ms: u32) -> Result<Vec<u64>, LabError> {
        self.far.ask(&format!("timeline {bucket_ms}"))
    }

    /// How many of the tracked pairs were probed.
    pub fn coverage(&mut self) -> Result<Coverage, LabError> {
        match *self.far.ask("covered")? {
            [tracked, probed] => Ok(Coverage { tracked, probed }),
            _ => Err(nonsense("covered")),
        }
    }

    /// The first `most` tracked pairs that were never probed.
    pub fn missing(&mut self, most: u32) -> Result<Vec<(Ipv4Addr, u16)>, LabError> {
        let numbers = self.far.ask(&format!("missing {most}"))?;
        let (pairs, _) = numbers.as_chunks::<2>();
        Ok(pairs.iter().map(|&[address, port]| (Ipv4Addr::from_bits(address as u32), port as u16)).collect())
    }

    /// Whether a broadcast datagram comes each 50 ms, as on any real segment. masscan ends only where some packet comes.
    pub fn chatter(&mut self, on: bool) -> Result<(), LabError> {
        self.far.tell(if on { "chatter on" } else { "chatter off" })
    }

    /// Sends forged SYN-ACKs, RSTs and ICMP errors to the scanner, from random addresses of the network to these ports,
    /// until [`Self::end_flood`] or for `time`.
    pub fn flood(
        &mut self,
        packets_per_second: u32,
        time: Duration,
        ports: RangeInclusive<u16>,
    ) -> Result<(), LabError> {
        let count = u32::from(*ports.end()).saturating_sub(u32::from(*ports.start())) + 1;
        self.far.tell(&format!(
            "flood {packets_per_second} {} {NEAR} {} {count} {NEAR_MAC} {ROUTER_MAC}",
            time.as_secs_f64(),
            ports.start(),
        ))
    }

    /// Ends the flood; returns how many forged replies were sent.
    pub fn end_flood(&mut self) -> Result<u64, LabError> {
        let numbers = self.far.ask("flooded")?;
        numbers.first().copied().ok_or_else(|| nonsense("flooded"))
    }
}

impl Drop for ScanLab {
    fn drop(&mut self) {
        self.far.stop();
        for namespace in [&self.scanner, &self.targets] {
            // Nobody is left to tell; the next lab of this name tries again.
            let _ = remove_namespace(namespace);
        }
    }
}

/// Namespaces that are removed again unless kept.
struct Namespaces<'a> {
    names: Vec<&'a str>,
}

impl<'a> Namespaces<'a> {
    fn make(scanner: &'a str, targets: &'a str) -> Result<Self, LabError> {
        let mut made = Self { names: Vec::new() };
        for namespace in [scanner, targets] {
            ip(&["netns", "add", namespace])?;
            made.names.push(namespace);
        }
        join(scanner, targets)?;
        Ok(made)
    }

    fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for Namespaces<'_> {
    fn drop(&mut self) {
        for namespace in &self.names {
            let _ = remove_namespace(namespace);
        }
    }
}

/// Joins the two by a veth pair on which nothing but probes, answers and chatter is ever seen.
fn join(scanner: &str, targets: &str) -> Result<(), LabError> {
    // A queue for each processor, so that two sending threads do not meet in one.
    let queues = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let sized = ["numtxqueues", &queues, "numrxqueues", &queues];
    let near = [&["-n", scanner, "link", "add", INTERFACE, "address", NEAR_MAC][..], &sized].concat();
    let peer = ["type", "veth", "peer", "name", FAR_INTERFACE, "address", ROUTER_MAC];
    ip(&[&near[..], &peer, &sized, &["netns", targets]].concat())?;
    for (namespace, interface, address) in [(scanner, INTERFACE, NEAR), (targets, FAR_INTERFACE, ROUTER)] {
        // No neighbour discovery of IPv6 and no offloads: frames are single segments with complete checksums. GRO gives
        // the end a queue that XDP frames can land in.
        let quiet = "net.ipv6.conf.all.disable_ipv6=1";
        run("quieten IPv6", in_namespace(namespace, "sysctl").args(["-qw", quiet]))?;
        let offloads = ["tx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "on"];
        run(
            "switch offloads off",
            in_namespace(namespace, "ethtool").args(["-K", interface]).args(offloads),
        )?;
        ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        ip(&[
            "-n",
            namespace,
            "address",
            "add",
            &format!("{address}/30"),
            "broadcast",
            "10.99.0.3",
            "dev",
            interface,
        ])?;
        ip(&["-n", namespace, "link", "set", interface, "up"])?;
    }
    introduce(scanner, INTERFACE, ROUTER, ROUTER_MAC)?;
    introduce(targets, FAR_INTERFACE, NEAR, NEAR_MAC)?;
    ip(&["-n", scanner, "route", "add", TARGETS, "via", &ROUTER.to_string(), "dev", INTERFACE])
}

/// Tells the kernel a neighbour's hardware address for good, so that nobody's ARP is timed.
fn introduce(namespace: &str, interface: &str, neighbour: Ipv4Addr, mac: &str) -> Result<(), LabError> {
    let neighbour = neighbour.to_string();
    ip(&[
        "-n",
        namespace,
        "neighbour",
        "replace",
        &neighbour,
        "lladdr",
        mac,
        "dev",
        interface,
        "nud",
        "permanent",
    ])
}

#[cfg(test)]
mod tests {
    use std::{
        io::ErrorKind,
        net::{SocketAddr, TcpStream},
    };

    use super::*;

    /// Lab tests need root; a developer without it sees why nothing was tested, CI always has it.
    fn lab(name: &str) -> Option<ScanLab> {
        if nix::unistd::geteuid().is_root() {
            return Some(ScanLab::new(name).expect("lab"));
        }
        assert!(std::env::var_os("CI").is_none(), "lab tests need root in CI");
        eprintln!("skipped: network namespaces need root");
        None
    }

    const PORTS: RangeInclusive<u16> = 1..=64;

    /// A /28 with half of its ports open.
    fn network() -> Network {
        Network { first: Ipv4Addr::new(10, 9, 9, 16), prefix: 28, open_ppm: 500_000, ..Network::default() }
    }

    /// Knocks at every port of the network by the kernel's own TCP; returns those that let us in.
    fn connect_to_all(lab: &ScanLab, network: &Network) -> Vec<(Ipv4Addr, u16)> {
        lab.enter().expect("the scanner's namespace");
        let first = network.first.to_bits();
        let hosts = (first..first + network.hosts()).map(Ipv4Addr::from_bits);
        let pairs = hosts.flat_map(|host| PORTS.map(move |port| (host, port)));
        pairs
            .filter(|&pair| {
                let knock = TcpStream::connect_timeout(&SocketAddr::from(pair), Duration::from_secs(5));
                match knock {
                    Ok(_) => true,
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => false,
                    Err(error) => panic!("{pair:?}: {error}"),
                }
            })
            .collect()
    }

    #[test]
    fn the_kernel_finds_the_truth_and_is_seen_to_ask_once() {
        let Some(mut lab) = lab("truth") else { return };
        let network = network();
        lab.network(&network).expect("network");
        lab.track(network.hosts(), &[PORTS]).expect("bitmap");
        lab.verify(true).expect("checksums");
        lab.stamp(true).expect("timeline");
        lab.mode(Mode::Respond).expect("mode");
        assert_eq!(connect_to_all(&lab, &network), network.truth(&[PORTS]));
        let pairs = u64::from(network.hosts()) * 64;
        let counters = lab.counters().expect("counters");
        assert_eq!((counters.probes, counters.repeats, counters.untracked), (pairs, 0, 0), "{counters:?}");
        assert_eq!((counters.bad_sums, counters.answers()), (0, pairs), "{counters:?}");
        assert_eq!(lab.coverage().expect("coverage"), Coverage { tracked: pairs, probed: pairs });
        assert_eq!(lab.missing(9).expect("missing"), []);
        assert_eq!(lab.timeline(1).expect("timeline").iter().sum::<u64>(), pairs);
        lab.reset().expect("reset");
        assert_eq!(lab.counters().expect("counters"), Counters::default());
        assert_eq!(lab.missing(1).expect("missing"), [(network.first, 1)]);
    }

    #[test]
    fn what_is_lost_is_counted_and_the_rest_is_answered() {
        let Some(mut lab) = lab("loss") else { return };
        let network = Network { probe_loss_ppm: 300_000, reply_loss_ppm: 300_000, ..network() };
        lab.network(&network).expect("network");
        lab.mode(Mode::Respond).expect("mode");
        lab.enter().expect("the scanner's namespace");
        let ask = |last| {
            let target = SocketAddr::from((Ipv4Addr::new(10, 9, 9, 16), last));
            // Whether it comes through is chance; that it was counted is not.
            drop(TcpStream::connect_timeout(&target, Duration::from_millis(2)));
        };
        (1..=300).for_each(ask);
        let counters = lab.counters().expect("counters");
        assert!(counters.lost_probes > 0 && counters.lost_replies > 0, "{counters:?}");
        assert_eq!(counters.probes, counters.lost_probes + counters.lost_replies + counters.answers());
    }

    #[test]
    fn a_narrow_link_takes_its_width() {
        let Some(mut lab) = lab("narrow") else { return };
        // A probe a second, and a queue of two: the first three get through, most others do not.
        let link = Link { packets_per_second: 1, queue: 2 };
        lab.network(&Network { link: Some(link), ..network() }).expect("network");
        lab.mode(Mode::Respond).expect("mode");
        lab.enter().expect("the scanner's namespace");
        for port in PORTS {
            let target = SocketAddr::from((Ipv4Addr::new(10, 9, 9, 16), port));
            drop(TcpStream::connect_timeout(&target, Duration::from_millis(1)));
        }
        let counters = lab.counters().expect("counters");
        assert!(counters.lost_at_link > 0 && counters.answers() >= 3, "{counters:?}");
        assert_eq!(counters.probes, counters.lost_at_link + counters.answers(), "{counters:?}");
    }

    #[test]
    fn forged_replies_reach_the_scanner() {
        let Some(mut lab) = lab("forged") else { return };
        lab.network(&network()).expect("network");
        lab.mode(Mode::Sink).expect("mode");
        lab.flood(20_000, Duration::from_secs(1), 40_000..=40_999).expect("flood");
        std::thread::sleep(Duration::from_millis(200));
        let sent = lab.end_flood().expect("flood");
        lab.enter().expect("the scanner's namespace");
        let device = std::fs::read_to_string("/proc/thread-self/net/dev").expect("counters of the device");
        let line = device.lines().find(|line| line.contains(INTERFACE)).expect("the interface");
        let received: u64 =
            line.split_whitespace().nth(2).and_then(|word| word.parse().ok()).expect("a number");
        assert!(sent > 100 && received >= sent, "{received} received of {sent}");
    }

    #[test]
    fn nothing_is_left_behind_and_leftovers_are_removed() {
        let Some(lab) = lab("swept") else { return };
        let scanner = lab.scanner().to_owned();
        // As after kill -9: the namespaces stay.
        std::mem::forget(lab);
        let again = ScanLab::new("swept").expect("a second lab of the name");
        drop(again);
        assert!(!Path::new("/run/netns").join(scanner).exists());
    }
}
