//! What was found, in every form that was asked for.
//!
//! Field names of JSON and NDJSON are those of `portreeve-model`, and stay as they are:
//!
//! * NDJSON: a line per record, as found: `{"type":"port", …}` ([`Observation`]), `{"type":"service", …}`
//!   ([`Service`]), `{"type":"host", …}` ([`HostSighting`]); the last line is `{"type":"summary", …}`
//!   ([`JobSummary`]).
//! * JSON: `{"portreeve": version, …, "ports": […], "hosts": […], "profiles": […], "summary": {…}}`, where a port is an
//!   [`Observation`] with its [`Service`], if any, under `service`.
//! * CSV: the columns of [`csv::COLUMNS`].
//! * What other scanners write, for the programs that read it: [`nmap_xml`], [`grepable`], [`masscan`].
//!
//! Text from hosts is [`SafeText`] wherever it is printed; each form escapes what is special
//! to it.

pub(crate) mod csv;
pub(crate) mod grepable;
pub(crate) mod json;
pub(crate) mod masscan;
pub(crate) mod nmap_xml;
mod sinks;
pub(crate) mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    net::IpAddr,
};

use chrono::DateTime;
use portreeve_model::{
    Endpoint, HostProfile, HostSighting, Observation, PortState, SafeText, Service, Timestamp,
    protocol::{JobSummary, Record},
};
use portreeve_scan::{PortSet, UNSENT};

pub(crate) use sinks::{Output, Wanted, print};

/// A form of output.
pub(crate) trait Form: Send {
    /// Writes a record at once, where the form allows it.
    fn record(&mut self, _out: &mut dyn Write, _record: &Record) -> io::Result<()> {
        Ok(())
    }

    /// Writes what is left to say when everything is known.
    fn finish(&mut self, out: &mut dyn Write, results: &Results<'_>) -> io::Result<()>;
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) started_at_ms: Timestamp,
    /// The ports; none if only hosts were looked for.
    pub(crate) ports: PortSet,
    /// Whether ordinary sockets were used, which see less.
    pub(crate) by_connect: bool,
}

/// Everything there is to tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Results<'a> {
    pub(crate) run: &'a Run,
    pub(crate) findings: &'a Findings,
    pub(crate) summary: &'a JobSummary,
    pub(crate) finished_at_ms: Timestamp,
    /// False if it was interrupted.
    pub(crate) completed: bool,
}

impl Results<'_> {
    /// Whether it was about hosts only.
    pub(crate) fn is_about_hosts(&self) -> bool {
        self.run.ports.is_empty()
    }

    /// Whether so much answers at the address that the answers mean nothing.
    pub(crate) fn is_suspicious(&self, address: IpAddr) -> bool {
        self.summary.suspicious_hosts.contains(&address)
    }

    /// What to think of the results, a sentence each: losses, drops, hosts that are not what they seem.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.completed {
            remarks.push("interrupted: not every target was probed".to_owned());
        }
        if let Some(missed) = self.summary.miss_estimate {
            let bound = self.summary.miss_bound.filter(|&bound| bound >= 0.00005);
            let bound = bound.map(|bound| format!(" (at most {:.2} %)", bound * 100.0)).unwrap_or_default();
            remarks.push(format!("about {:.2} % of the answers were missed{bound}", missed * 100.0));
        }
        if let Some(lost) = self.summary.loss_estimate.filter(|&lost| lost >= 0.00005) {
            remarks.push(format!("{:.2} % of the probes were lost", lost * 100.0));
        }
        remarks.extend(drops(self.summary));
        let suspicious = self.summary.suspicious_hosts.iter();
        remarks.extend(suspicious.map(|address| {
            format!("{address}: so much is open there that it means nothing (a proxy or a trap)")
        }));
        remarks
    }
}

/// Everything found, in order of address and port.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) ports: BTreeMap<Endpoint, Observation>,
    pub(crate) services: BTreeMap<Endpoint, Service>,
    pub(crate) hosts: BTreeMap<IpAddr, HostSighting>,
    pub(crate) profiles: BTreeMap<IpAddr, HostProfile>,
}

impl Findings {
    pub(crate) fn add(&mut self, record: Record) {
        match record {
            Record::Host(sighting) => {
                self.hosts.entry(sighting.address).or_insert(*sighting);
            }
            Record::Port(observation) => {
                self.ports.insert(observation.endpoint(), observation);
            }
            Record::Profile(profile) => {
                self.profiles.insert(profile.address, *profile);
            }
            Record::Service(service) => {
                self.services.insert(service.endpoint, *service);
            }
        }
    }

    /// Open ports of which nobody has said yet what answers there.
    pub(crate) fn unidentified(&self) -> Vec<Observation> {
        let open = self.ports.values().filter(|seen| seen.state == PortState::Open);
        open.filter(|seen| !self.services.contains_key(&seen.endpoint())).copied().collect()
    }

    /// Addresses with an open port.
    pub(crate) fn hosts_with_open_ports(&self) -> usize {
        let open = self.ports.values().filter(|seen| seen.state == PortState::Open);
        open.map(|seen| seen.address).collect::<BTreeSet<_>>().len()
    }

    /// Every address that something is known of.
    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.ports.keys().map(|endpoint| endpoint.address).chain(self.hosts.keys().copied()).collect()
    }

    /// The ports of an address, ascending.
    pub(crate) fn ports_of(&self, address: IpAddr) -> Vec<(&Endpoint, &Observation)> {
        let first = Endpoint { address, port: 0, transport: portreeve_model::Transport::Sctp };
        self.ports.range(first..).take_while(|(endpoint, _)| endpoint.address == address).collect()
    }
}

/// Findings to which more come, faster than a map takes ports one by one.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    findings: Findings,
    /// As they came.
    ports: Vec<Observation>,
}

impl Growing {
    /// So many ports are put in their order at a time, at least.
    const FEW: usize = 4_096;

    pub(crate) fn add(&mut self, record: Record) {
        let Record::Port(observation) = record else { return self.findings.add(record) };
        self.ports.push(observation);
        // As many as there are in order, or else most of the time would go into going through those.
        if self.ports.len() >= self.findings.ports.len().max(Self::FEW) {
            self.put_in_order();
        }
    }

    /// All of them until now.
    pub(crate) fn findings(&mut self) -> &Findings {
        self.put_in_order();
        &self.findings
    }

    /// All of them.
    pub(crate) fn into_findings(mut self) -> Findings {
        self.put_in_order();
        self.findings
    }

    fn put_in_order(&mut self) {
        let ports = std::mem::take(&mut self.ports).into_iter();
        let mut ordered = ports.map(|observation| (observation.endpoint(), observation)).collect();
        self.findings.ports.append(&mut ordered);
    }
}

/// What was not sent, and what was received and not used, each in a sentence if there is any.
pub(crate) fn drops(summary: &JobSummary) -> impl Iterator<Item = String> {
    let list = |title, unsent| {
        let drops = summary.drops.iter().filter(|drop| UNSENT.contains(&drop.cause.as_str()) == unsent);
        let drops: Vec<_> = drops.map(|drop| format!("{} {}", drop.count, drop.cause)).collect();
        (!drops.is_empty()).then(|| format!("{title}: {}", drops.join(", ")))
    };
    [list("probes not sent", true), list("dropped frames", false)].into_iter().flatten()
}

/// The command line as it was typed.
fn command_line() -> SafeText {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    SafeText::from(words.collect::<Vec<_>>().join(" "))
}

/// Whole seconds since 1970.
fn seconds(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000)
}

/// As `Sun Nov 22 01:19:15 2026`, in UTC.
fn calendar(time: Timestamp) -> String {
    DateTime::from_timestamp_millis(time.0)
        .map(|moment| moment.format("%a %b %e %H:%M:%S %Y").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_utc() {
        assert_eq!(calendar(Timestamp(1_795_310_355_999)), "Sun Nov 22 01:19:15 2026");
        assert_eq!(calendar(Timestamp(i64::MAX)), "");
        assert_eq!((seconds(Timestamp(1_999)), seconds(Timestamp(-1))), (1, -1));
    }

    #[test]
    fn ports_that_come_in_any_order_are_found_in_theirs() {
        let first = *table::tests::findings().ports.values().next().expect("a port");
        let mut growing = Growing::default();
        let last = 3 * Growing::FEW as u16;
        for port in (1..=last).rev() {
            growing.add(Record::Port(Observation { port, ..first }));
        }
        growing.add(Record::Port(Observation { port: 7, rtt_us: Some(8), ..first }));
        let findings = growing.into_findings();
        assert!(findings.ports.values().map(|seen| seen.port).eq(1..=last));
        let seen_again = findings.ports.values().find(|seen| seen.port == 7).expect("there");
        assert_eq!(seen_again.rtt_us, Some(8), "the last word counts");
    }

    #[test]
    fn the_ports_of_an_address_are_its_own() {
        let findings = table::tests::findings();
        let address = "10.99.0.2".parse().expect("address");
        assert_eq!(findings.ports_of(address).len(), findings.ports.len());
        assert!(findings.ports_of("10.99.0.1".parse().expect("address")).is_empty());
        assert!(findings.ports_of("10.99.0.3".parse().expect("address")).is_empty());
        assert_eq!(findings.addresses().len(), 1);
    }
}
