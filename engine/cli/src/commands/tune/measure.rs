//! One scan of `tune`, in a process of its own that gives its rights up before it reads an answer.
//!
//! `tune` itself keeps the right to open sockets for the next scan, so it is not the one that takes in what strangers
//! send: it starts `measure`, writes an [`Order`] to its standard input, a line of JSON, and is told a [`Told`] on its
//! standard output. Standard input stays open for as long as the answer is wanted.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
    net::IpAddr,
    thread,
    time::Duration,
};

use portreeve_model::{PortState, Transport};
use portreeve_scan::{
    Control, Event, PacketsPerSecond, PortSet, Sandbox, Scan, ScanConfig, TargetSetBuilder,
};
use serde::{Deserialize, Serialize};

use crate::{
    args::MeasureArgs,
    commands::scan_clock,
    exit::{Exit, Failure},
    output::print,
    rights,
};

/// The longest line in either direction: some thousand addresses.
pub(super) const LONGEST_LINE: u64 = 1 << 20;
/// How long the last answers are waited for.
const WAIT: Duration = Duration::from_millis(700);

/// What is to be scanned.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// First and last address of each range.
    pub(super) ranges: Vec<(IpAddr, IpAddr)>,
    pub(super) ports: Block,
    pub(super) rate_pps: u32,
    pub(super) retries: u8,
    /// Whether it matters who has answered how often.
    pub(super) counts_hosts: bool,
    pub(super) interface: Option<String>,
}

/// TCP ports that follow each other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Block {
    pub(super) first: u16,
    pub(super) count: u16,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Told {
    Found(Found),
    Failed { exit: Exit, message: String },
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Found {
    pub(super) targets: u64,
    pub(super) answered: u64,
    pub(super) send_rate_pps: u32,
    /// On how many ports each host answered, open or closed, if hosts were to be counted.
    pub(super) hosts: Vec<(IpAddr, u16)>,
}

/// `portreeve measure`, as `tune` starts it.
pub(crate) fn measure(arguments: &MeasureArgs) -> Result<(), Failure> {
    let told = match carry_out(arguments) {
        Ok(found) => Told::Found(found),
        Err(Failure { exit, message }) => Told::Failed { exit, message },
    };
    let text =
        serde_json::to_string(&told).map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    print(&format!("{text}\n"))
}

fn carry_out(arguments: &MeasureArgs) -> Result<Found, Failure> {
    let order = read_order()?;
    let scan = Scan::prepare(order.config(arguments)?, scan_clock())?;
    rights::drop_all()?;
    let sandbox = if arguments.no_sandbox { Sandbox::none() } else { Sandbox::find() };
    sandbox
        .enter()
        .and_then(|()| sandbox.enter_parser(None))
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot enter the sandbox: {error}")))?;
    let control = Control::new();
    stop_when_unwanted(&control)?;
    let mut hosts: BTreeMap<IpAddr, u16> = BTreeMap::new();
    let report = scan.run(&control, &mut |event| {
        if let Event::Port(seen) = event
            && order.counts_hosts
            && matches!(seen.state, PortState::Open | PortState::Closed)
        {
            *hosts.entry(seen.address).or_default() += 1;
        }
    })?;
    Ok(Found {
        targets: report.targets,
        answered: report.answered,
        send_rate_pps: report.send_rate_pps,
        hosts: hosts.into_iter().collect(),
    })
}

fn read_order() -> Result<Order, Failure> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .take(LONGEST_LINE)
        .read_line(&mut line)
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot read what to measure: {error}")))?;
    serde_json::from_str(&line)
        .map_err(|error| Failure::usage(format!("`tune` starts this and says what to measure: {error}")))
}

/// Ends the scan with standard input: then nobody is there any more to be told.
fn stop_when_unwanted(control: &Control) -> Result<(), Failure> {
    let control = control.clone();
    let watch = move || {
        // An error is an end, too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        control.cancel();
    };
    thread::Builder::new()
        .name("wanted".to_owned())
        .spawn(watch)
        .map(drop)
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot start a thread: {error}")))
}

impl Order {
    /// A scan at the order's rate.
    fn config(&self, arguments: &MeasureArgs) -> Result<ScanConfig, Failure> {
        // `tune` has checked what may be scanned.
        let mut targets = TargetSetBuilder::new().allow_reserved(true);
        for (first, last) in &self.ranges {
            targets = targets.include(&format!("{first}-{last}"))?;
        }
        Ok(ScanConfig {
            rate: PacketsPerSecond(self.rate_pps),
            retries: self.retries,
            report_closed: self.counts_hosts,
            wait: WAIT,
            seed: rand::random(),
            interface: self.interface.clone(),
            backend: arguments.backend.into(),
            ..ScanConfig::new(targets.build()?, self.ports.set())
        })
    }
}

impl Block {
    fn set(self) -> PortSet {
        (self.first..self.first.saturating_add(self.count)).map(|port| (Transport::Tcp, port)).collect()
    }
}
