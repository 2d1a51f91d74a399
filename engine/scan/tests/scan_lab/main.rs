//! Whole scans with frames of our own, of hosts that answer as hosts do: the kernel of another namespace.
//!
//! | | near: the scanner | far: the targets |
//! |---|---|---|
//! | on the link | 10.99.1.1, fd99::1 | 10.99.1.2-4, fd99::2-3 |
//! | behind the far end | routed to 10.99.1.2 and fd99::2 | 10.99.128.0/17 and fd99:1::/64, answered for as a whole |

#[path = "../lab/mod.rs"]
mod lab;
mod limits;
mod losses;
mod once;
#[path = "../probes_seen/mod.rs"]
mod probes_seen;
mod states;

use std::{net::IpAddr, process::Command, time::Duration};

use lab::{Lab, ip};
use portreeve_model::{HostSighting, Observation, PortState, Reason, Timestamp};
use portreeve_scan::{
    Clock, Control, Event, PacketsPerSecond, PortSet, Scan, ScanConfig, ScanError, ScanReport,
    TargetSetBuilder,
};

/// What a scan found.
#[derive(Debug)]
struct Found {
    ports: Vec<Observation>,
    hosts: Vec<HostSighting>,
    report: ScanReport,
}

impl Found {
    fn port(&self, address: &str, port: u16) -> Option<(PortState, Reason)> {
        self.observation(address, port).map(|seen| (seen.state, seen.reason))
    }

    fn observation(&self, address: &str, port: u16) -> Option<&Observation> {
        let address: IpAddr = address.parse().expect("address");
        let mut found = self.ports.iter().filter(|seen| seen.address == address && seen.port == port);
        let first = found.next();
        assert!(found.next().is_none(), "{address} port {port} was reported twice");
        first
    }

    fn host(&self, address: &str) -> Option<&HostSighting> {
        let address: IpAddr = address.parse().expect("address");
        let mut found = self.hosts.iter().filter(|seen| seen.address == address);
        let first = found.next();
        assert!(found.next().is_none(), "{address} was reported twice");
        first
    }
}

/// The lab with all its addresses; neighbours have to be asked for.
fn network() -> Option<Lab> {
    let lab = Lab::new()?;
    ip("neighbour flush dev near nud permanent");
    ip("route add 10.99.128.0/17 via 10.99.1.2");
    ip("route add fd99:1::/64 via fd99::2");
    lab.far(|| {
        ip("neighbour flush dev far nud permanent");
        for address in ["10.99.1.3/24", "10.99.1.4/24"] {
            ip(&format!("address add {address} dev far"));
        }
        ip("address add fd99::3/64 dev far nodad");
        ip("route add local 10.99.128.0/17 dev lo");
        ip("route add local fd99:1::/64 dev lo");
        // Else the kernel sends only a few "port unreachable" a second.
        run("sysctl", &["-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"]);
    });
    Some(lab)
}

/// Packet filter rules for what the far end receives.
fn filter(lab: &Lab, rules: &'static str) {
    lab.far(move || {
        run(
            "nft",
            &[&format!("table inet pr {{ chain input {{ type filter hook input priority 0; {rules}\n}}\n}}")],
        );
    });
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn config(include: &str, ports: &str) -> ScanConfig {
    let targets =
        TargetSetBuilder::new().include(include).and_then(TargetSetBuilder::build).expect("targets");
    ScanConfig {
        rate: PacketsPerSecond(20_000),
        wait: Duration::from_millis(800),
        report_closed: true,
        ..ScanConfig::new(targets, ports.parse::<PortSet>().expect("ports"))
    }
}

fn scan(config: ScanConfig) -> Found {
    scan_with(config, &Control::new()).expect("the scan runs")
}

fn scan_with(config: ScanConfig, control: &Control) -> Result<Found, ScanError> {
    let scan = Scan::prepare(config, Clock::new(|| Timestamp(1_700_000_000_000)))?;
    let (mut ports, mut hosts) = (Vec::new(), Vec::new());
    let report = scan.run(control, &mut |event| match event {
        Event::Port(port) => ports.push(port),
        Event::Host(host) => hosts.push(host),
        Event::Checkpoint(_) | Event::Suspicious(_) => {}
    })?;
    Ok(Found { ports, hosts, report })
}
