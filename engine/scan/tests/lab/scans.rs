//! Scans as the tests run them, and what they found.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    thread::{self, JoinHandle},
    time::Duration,
};

use portreeve_model::{HostSighting, Observation, PortState, Reason, Timestamp};
use portreeve_scan::{
    BackendChoice, Clock, Control, Event, PacketsPerSecond, PortSet, Scan, ScanConfig, ScanError, ScanReport,
    TargetSet, TargetSetBuilder,
};

/// What a scan found.
#[derive(Debug)]
pub struct Found {
    pub ports: Vec<Observation>,
    pub hosts: Vec<HostSighting>,
    pub report: ScanReport,
}

impl Found {
    pub fn port(&self, address: &str, port: u16) -> Option<(PortState, Reason)> {
        self.observation(address, port).map(|seen| (seen.state, seen.reason))
    }

    pub fn observation(&self, address: &str, port: u16) -> Option<&Observation> {
        let address: IpAddr = address.parse().expect("address");
        let mut found = self.ports.iter().filter(|seen| seen.address == address && seen.port == port);
        let first = found.next();
        assert!(found.next().is_none(), "{address} port {port} was reported twice");
        first
    }

    pub fn host(&self, address: &str) -> Option<&HostSighting> {
        let address: IpAddr = address.parse().expect("address");
        let mut found = self.hosts.iter().filter(|seen| seen.address == address);
        let first = found.next();
        assert!(found.next().is_none(), "{address} was reported twice");
        first
    }

    /// The state of each port; none was reported twice.
    pub fn states(&self) -> BTreeMap<(IpAddr, u16), PortState> {
        let mut states = BTreeMap::new();
        for seen in &self.ports {
            let before = states.insert((seen.address, seen.port), seen.state);
            assert!(before.is_none(), "{seen:?} was reported before");
        }
        states
    }

    /// The open ports; none was reported twice.
    pub fn open(&self) -> BTreeSet<(IpAddr, u16)> {
        let states = self.states().into_iter();
        states.filter(|(_, state)| *state == PortState::Open).map(|(at, _)| at).collect()
    }

    /// The hosts; none was reported twice.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let addresses: BTreeSet<_> = self.hosts.iter().map(|host| host.address).collect();
        assert_eq!(addresses.len(), self.hosts.len(), "{:?}", self.hosts);
        addresses
    }

    /// The hosts whose ports said anything.
    pub fn answered(&self) -> BTreeSet<IpAddr> {
        self.ports.iter().map(|seen| seen.address).collect()
    }
}

pub fn targets(include: &str, exclude: &str) -> TargetSet {
    let builder = TargetSetBuilder::new().include(include).and_then(|builder| builder.exclude(exclude));
    builder.and_then(TargetSetBuilder::build).expect("targets")
}

/// A scan as it is when nothing is asked for.
pub fn plain(include: &str, ports: &str) -> ScanConfig {
    ScanConfig::new(targets(include, ""), ports.parse::<PortSet>().expect("ports"))
}

/// A scan at a moderate rate that reports closed ports, too.
pub fn moderate(include: &str, ports: &str) -> ScanConfig {
    ScanConfig {
        rate: PacketsPerSecond(20_000),
        wait: Duration::from_millis(800),
        report_closed: true,
        ..plain(include, ports)
    }
}

/// A fast scan whose probes are made in the kernel, and asked once.
pub fn in_kernel(include: &str, ports: &str) -> ScanConfig {
    ScanConfig {
        rate: PacketsPerSecond(1_000_000),
        wait: Duration::from_millis(300),
        backend: BackendChoice::Kernel,
        retries: 0,
        ..plain(include, ports)
    }
}

pub fn prepare(config: ScanConfig) -> Result<Scan, ScanError> {
    Scan::prepare(config, Clock::new(|| Timestamp(1_700_000_000_000)))
}

/// Why a scan is refused.
pub fn refusal(config: ScanConfig) -> Option<String> {
    prepare(config).err().map(|error| error.to_string())
}

pub fn scan(config: ScanConfig) -> Found {
    scan_with(config, &Control::new())
}

pub fn scan_with(config: ScanConfig, control: &Control) -> Found {
    run_prepared(prepare(config).expect("prepared"), control)
}

pub fn run_prepared(scan: Scan, control: &Control) -> Found {
    let (mut ports, mut hosts) = (Vec::new(), Vec::new());
    let report = scan.run(control, &mut |event| match event {
        Event::Port(port) => ports.push(port),
        Event::Host(host) => hosts.push(host),
        Event::Checkpoint(_) | Event::Suspicious(_) => {}
    });
    Found { ports, hosts, report: report.expect("the scan runs") }
}

/// Runs a prepared scan in a thread that has given up every right.
pub fn run_without_rights(scan: Scan) -> Found {
    let ran = thread::spawn(move || {
        for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
            caps::clear(None, set).expect("cleared, for this thread");
        }
        run_prepared(scan, &Control::new())
    });
    ran.join().expect("no panic")
}

/// Takes rights from the calling thread.
pub fn give_up(rights: &[caps::Capability]) {
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted] {
        for &right in rights {
            caps::drop(None, set, right).expect("dropped, for this thread");
        }
    }
}

/// Cancels a scan when it has sent so many probes; tells when.
pub fn cancel_after(probes: u64, control: &Control) -> JoinHandle<()> {
    let control = control.clone();
    thread::spawn(move || {
        while control.progress().probes_sent < probes {
            thread::sleep(Duration::from_millis(1));
        }
        control.cancel();
    })
}
