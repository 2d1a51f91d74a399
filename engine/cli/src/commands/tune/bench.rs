//! Which hosts are known to answer, and what becomes of a rate with them.

use std::{
    io::{Read, Write},
    net::IpAddr,
    process::{Child, Command, Stdio},
};

use clap::ValueEnum;
use portreeve_scan::{TargetSet, TargetSetBuilder};

use super::{
    curve::Step,
    measure::{Block, Found, LONGEST_LINE, Order, Told},
};
use crate::{
    args::{Backend, SandboxArgs, TuneArgs},
    exit::{Exit, Failure},
    rights,
    settings::ScanSettings,
    stop_file::StopFile,
};

/// Has single scans made, each by a process of its own.
pub(super) struct Bench {
    interface: Option<String>,
    backend: Backend,
    sandbox: SandboxArgs,
    stop_file: StopFile,
}

/// Hosts that answer on every port of a block, open or closed.
pub(super) struct Responders {
    hosts: TargetSet,
    /// The first port of the block.
    first: u16,
}

impl Bench {
    /// Hosts that are asked whether they answer, at most.
    const MOST_HOSTS: u128 = 4_096;
    /// Ports that are asked to find out.
    const TRIAL: u16 = 16;
    const TRIAL_RATE: u32 = 2_000;
    /// Ports of the block: high ones, which nobody uses and firewalls seldom treat apart.
    const FIRST_PORT: u16 = 20_000;
    const LAST_PORT: u16 = 59_999;

    pub(super) fn new(
        arguments: &TuneArgs,
        settings: &ScanSettings,
        stop_file: &StopFile,
    ) -> Result<Self, Failure> {
        // Said once, not by every scan.
        rights::check_sandbox(&arguments.sandbox)?;
        Ok(Self {
            interface: arguments.interface.clone().or_else(|| settings.interface.clone()),
            backend: arguments.backend.or(settings.backend).unwrap_or(Backend::Auto),
            sandbox: arguments.sandbox.clone(),
            stop_file: stop_file.clone(),
        })
    }

    /// A scan at a rate, once to each target.
    fn order(&self, targets: &TargetSet, first: u16, count: u16, rate_pps: u32) -> Order {
        Order {
            ranges: targets.ranges().collect(),
            ports: Block { first, count },
            rate_pps,
            retries: 0,
            counts_hosts: false,
            interface: self.interface.clone(),
        }
    }

    fn scan(&self, order: &Order) -> Result<Found, Failure> {
        // Each lasts about a second: that is how soon the file stops them.
        self.stop_file.must_be_absent()?;
        let failed =
            |error| Failure::new(Exit::Failure, format!("the process that measures failed: {error}"));
        let mut child = self.start().map_err(failed)?;
        let told = ask(&mut child, order);
        // It has said all that it has to, or nobody will ask it again.
        drop(child.stdin.take());
        let ended = child.wait().map_err(failed)?;
        match told.map_err(failed)? {
            Some(Told::Found(found)) => Ok(found),
            Some(Told::Failed { exit, message }) => Err(Failure::new(exit, message)),
            None => Err(Failure::new(Exit::Failure, format!("the process that measures ended: {ended}"))),
        }
    }

    /// Starts this program itself, even if its file has been replaced since.
    fn start(&self) -> std::io::Result<Child> {
        let backend = self.backend.to_possible_value();
        Command::new("/proc/self/exe")
            .arg("measure")
            .args(backend.iter().flat_map(|backend| ["--backend", backend.get_name()]))
            .args(self.sandbox.no_sandbox.then_some("--no-sandbox"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
    }

    /// Finds the known responders, or says that there are none.
    pub(super) fn responders(&self, targets: &TargetSet) -> Result<Responders, Failure> {
        if targets.len() > Self::MOST_HOSTS {
            return Err(Failure::usage(format!(
                "{} addresses are more than are needed to measure a path; name at most {}",
                targets.len(),
                Self::MOST_HOSTS
            )));
        }
        let first = Self::FIRST_PORT;
        let order = self.order(targets, first, Self::TRIAL, Self::TRIAL_RATE);
        let found = self.scan(&Order { retries: 2, counts_hosts: true, ..order })?;
        let hosts = known(&found.hosts, Self::TRIAL, targets);
        if hosts.is_empty() {
            return Err(Failure::new(
                Exit::Failure,
                "no known responders: no host there answers on each of a few ports that nobody uses, so what is \
                 lost cannot be told from what is filtered; name hosts without a packet filter",
            ));
        }
        let mut builder = TargetSetBuilder::new().allow_reserved(true);
        for host in hosts {
            builder = builder.include(&host.to_string())?;
        }
        Ok(Responders { hosts: builder.build()?, first })
    }

    /// Probes the responders at a rate, for about a second.
    pub(super) fn try_rate(&self, responders: &Responders, rate: u32) -> Result<Step, Failure> {
        let hosts = u32::try_from(responders.hosts.len()).unwrap_or(u32::MAX).max(1);
        let room = Self::LAST_PORT - responders.first;
        let ports = u16::try_from(rate.max(500).div_ceil(hosts)).unwrap_or(room).clamp(1, room);
        let found = self.scan(&self.order(&responders.hosts, responders.first, ports, rate))?;
        Ok(Step {
            rate_pps: rate,
            sent_pps: found.send_rate_pps,
            probes: found.targets,
            answers: found.answered,
        })
    }
}

/// Those that answered on all ports. Who measures speaks with strangers, so it may name nobody but targets.
fn known(hosts: &[(IpAddr, u16)], ports: u16, targets: &TargetSet) -> Vec<IpAddr> {
    let whole = hosts.iter().filter(|&&(host, answers)| answers == ports && targets.contains(host));
    whole.map(|&(host, _)| host).collect()
}

/// Gives the order, and waits for what is told; `None` if it ends without a word.
fn ask(child: &mut Child, order: &Order) -> std::io::Result<Option<Told>> {
    if let Some(stdin) = &mut child.stdin {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        stdin.write_all(&line)?;
    }
    let mut told = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(LONGEST_LINE).read_to_string(&mut told)?;
    }
    if told.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&told)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_targets_that_answered_everywhere_are_known() {
        let targets =
            TargetSetBuilder::new().include("10.0.0.0/30").expect("a block").build().expect("targets");
        let address = |text: &str| text.parse().expect("an address");
        let hosts = [(address("10.0.0.1"), 16), (address("10.0.0.2"), 15), (address("10.9.9.9"), 16)];
        assert_eq!(known(&hosts, 16, &targets), [address("10.0.0.1")]);
    }
}
