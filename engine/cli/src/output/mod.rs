//! What was found, in the form that was asked for.
//!
//! Field names of JSON and NDJSON are those of `portreeve-model`, and stay as they are:
//!
//! * NDJSON: a line per record, as found: `{"type":"port", …}` ([`Observation`]), `{"type":"service", …}`
//!   ([`Service`]), `{"type":"host", …}` ([`HostSighting`]); the last line is `{"type":"summary", …}`
//!   ([`JobSummary`]).
//! * JSON: `{"portreeve": version, "ports": […], "hosts": […], "summary": {…}}`, where a port is an
//!   [`Observation`] with its [`Service`], if any, under `service`.
//! * CSV: the columns of [`csv::COLUMNS`].
//!
//! Text from hosts is [`SafeText`](portreeve_model::SafeText) wherever it is printed.

pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod table;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    net::IpAddr,
    path::Path,
};

use portreeve_model::{
    Endpoint, HostSighting, Observation, PortState, Service,
    protocol::{JobSummary, Record},
};

use crate::{
    args::OutputArgs,
    exit::{Exit, Failure},
};

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Json,
    Ndjson,
    Table,
}

impl Format {
    pub(crate) fn of(arguments: &OutputArgs) -> Self {
        match arguments {
            OutputArgs { json: true, .. } => Self::Json,
            OutputArgs { ndjson: true, .. } => Self::Ndjson,
            OutputArgs { csv: true, .. } => Self::Csv,
            _ => Self::Table,
        }
    }
}

/// Everything found, in order of address and port.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) ports: BTreeMap<Endpoint, Observation>,
    pub(crate) services: BTreeMap<Endpoint, Service>,
    pub(crate) hosts: BTreeMap<IpAddr, HostSighting>,
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
            Record::Service(service) => {
                self.services.insert(service.endpoint, *service);
            }
        }
    }

    /// Addresses with an open port.
    pub(crate) fn hosts_with_open_ports(&self) -> usize {
        let open = self.ports.values().filter(|seen| seen.state == PortState::Open);
        open.map(|seen| seen.address).collect::<std::collections::BTreeSet<_>>().len()
    }
}

/// Where results go.
pub(crate) struct Output {
    pub(crate) format: Format,
    out: Box<dyn Write + Send>,
    colour: bool,
    name: String,
}

impl Output {
    /// Opens the output. A file is made at once: what cannot be written is better known before the scan.
    pub(crate) fn open(arguments: &OutputArgs) -> Result<Self, Failure> {
        let (out, name, terminal): (Box<dyn Write + Send>, _, _) = match &arguments.output {
            Some(path) => (Box::new(BufWriter::new(create(path)?)), path.display().to_string(), false),
            None => (Box::new(io::stdout()), "standard output".to_owned(), io::stdout().is_terminal()),
        };
        let no_color =
            arguments.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Ok(Self { format: Format::of(arguments), out, colour: terminal && !no_color, name })
    }

    /// Writes a record at once, where the form allows it.
    pub(crate) fn stream(&mut self, record: &Record) -> Result<(), Failure> {
        if self.format != Format::Ndjson {
            return Ok(());
        }
        let written = json::line(&mut self.out, record).and_then(|()| self.out.flush());
        written.map_err(|error| self.failed(&error))
    }

    /// Writes what a scan found.
    pub(crate) fn ports(&mut self, findings: &Findings, summary: &JobSummary) -> Result<(), Failure> {
        let written = match self.format {
            Format::Csv => csv::ports(&mut self.out, findings),
            Format::Json => json::document(&mut self.out, findings, summary),
            Format::Ndjson => json::summary_line(&mut self.out, summary),
            Format::Table => table::ports(&mut self.out, findings, self.colour),
        };
        written.and_then(|()| self.out.flush()).map_err(|error| self.failed(&error))
    }

    /// Writes what host discovery found.
    pub(crate) fn hosts(&mut self, findings: &Findings, summary: &JobSummary) -> Result<(), Failure> {
        let written = match self.format {
            Format::Csv => csv::hosts(&mut self.out, findings),
            Format::Json => json::document(&mut self.out, findings, summary),
            Format::Ndjson => json::summary_line(&mut self.out, summary),
            Format::Table => table::hosts(&mut self.out, findings, self.colour),
        };
        written.and_then(|()| self.out.flush()).map_err(|error| self.failed(&error))
    }

    /// Writes plain text.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::new(Exit::Failure, format!("cannot write to {}: {error}", self.name))
    }
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| {
        Failure::usage(format!("cannot write to {}: {error}; name another file with -o", path.display()))
    })
}
