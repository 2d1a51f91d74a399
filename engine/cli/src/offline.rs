//! `--offline` and `--dry-run`: everything but the sending.

use std::{
    fmt,
    io::{self, BufWriter, Write},
    net::IpAddr,
    time::{Duration, Instant},
};

use portreeve_model::Transport;
use portreeve_scan::{Rehearsal, Rehearsed, ScanConfig};
use serde::Serialize;

use crate::{
    args::OutputArgs,
    exit::{Exit, Failure},
    output::print,
};

/// Frames are made for at most so long: enough to know the rate.
const MEASURED: Duration = Duration::from_secs(3);
/// Positions between two looks at the clock.
const CHUNK: u64 = 1 << 16;

/// What a scan would send, and how fast its frames can be made.
#[derive(Debug, Serialize)]
pub(crate) struct Offline {
    addresses: u128,
    ranges: Vec<Range>,
    /// None, if hosts alone are looked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    ports: String,
    port_count: u32,
    /// By what hosts are looked for, without ports.
    #[serde(skip_serializing_if = "String::is_empty")]
    host_probes: String,
    /// Of how many equal parts of the work, and which of them from 1 on.
    parts: u32,
    part: u32,
    seed: u64,
    rate_pps: u32,
    retries: u8,
    /// Without retries.
    probes: u128,
    /// At the rate, without retries.
    seconds: f64,
    made: Made,
}

#[derive(Debug, Serialize)]
struct Range {
    first: IpAddr,
    last: IpAddr,
}

/// Frames made on one core, order, cookies and checksums included.
#[derive(Debug, Serialize)]
struct Made {
    frames: u64,
    seconds: f64,
    frames_per_second: f64,
    /// Whether these are all.
    complete: bool,
}

impl Offline {
    /// Makes the frames of a scan that is one of `parts`.
    pub(crate) fn measure(config: &ScanConfig, part: u32, parts: u32) -> Result<Self, Failure> {
        let per_address = config.ports.len().max(1);
        let probes = config.targets.len() * per_address as u128 / u128::from(parts.max(1));
        let host_probes =
            if config.ports.is_empty() { config.host_probes.to_string() } else { String::new() };
        Ok(Self {
            addresses: config.targets.len(),
            ranges: config.targets.ranges().map(|(first, last)| Range { first, last }).collect(),
            ports: config.ports.to_string(),
            port_count: config.ports.len() as u32,
            host_probes,
            parts,
            part: part + 1,
            seed: config.seed,
            rate_pps: config.rate.0,
            retries: config.retries,
            probes,
            seconds: probes as f64 / f64::from(config.rate.0.max(1)),
            made: Made::of(config)?,
        })
    }

    pub(crate) fn print(&self, output: &OutputArgs) -> Result<(), Failure> {
        if output.json || output.ndjson {
            let text = serde_json::to_string(self)
                .map_err(|error| Failure::new(Exit::Failure, format!("cannot write JSON: {error}")))?;
            return print(&format!("{text}\n"));
        }
        print(&self.to_string())
    }
}

impl Made {
    fn of(config: &ScanConfig) -> Result<Self, Failure> {
        let rehearsal = Rehearsal::new(config)?;
        let positions = rehearsal.positions();
        let started = Instant::now();
        let (mut next, mut frames) = (positions.start, 0);
        while next < positions.end && started.elapsed() < MEASURED {
            let end = positions.end.min(next + CHUNK);
            frames += rehearsal.make_frames(next..end);
            next = end;
        }
        let seconds = started.elapsed().as_secs_f64();
        let frames_per_second = frames as f64 / seconds.max(1e-9);
        Ok(Self { frames, seconds, frames_per_second, complete: next >= positions.end })
    }
}

impl fmt::Display for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} address{}:", self.addresses, if self.addresses == 1 { "" } else { "es" })?;
        for Range { first, last } in &self.ranges {
            if first == last { writeln!(f, "  {first}") } else { writeln!(f, "  {first}-{last}") }?;
        }
        if self.ports.is_empty() {
            writeln!(f, "no ports: hosts only, by {}", self.host_probes)?;
        } else {
            let plural = if self.port_count == 1 { "" } else { "s" };
            writeln!(f, "{} port{plural}: {}", self.port_count, self.ports)?;
        }
        let Self { part, parts, seed, rate_pps, retries, probes, seconds, .. } = self;
        writeln!(
            f,
            "part {part} of {parts}, seed {seed}, {rate_pps} packets per second, {retries} {}: {probes} probe{} in about \
             {seconds:.0} s without retries",
            if *retries == 1 { "retry" } else { "retries" },
            if *probes == 1 { "" } else { "s" },
        )?;
        let Made { frames, seconds, frames_per_second, complete } = self.made;
        writeln!(
            f,
            "{}{frames} frame{} made in {seconds:.3} s on one core, order, cookie and checksum included: {:.1} million per \
             second\nnothing was sent",
            if complete { "" } else { "the first " },
            if frames == 1 { "" } else { "s" },
            frames_per_second / 1e6,
        )
    }
}

/// A probe as JSON.
#[derive(Serialize)]
struct Listed {
    address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<Transport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

/// Prints a line for each probe, in the order that they would be sent in; as JSON objects if JSON is asked for.
pub(crate) fn list(config: &ScanConfig, output: &OutputArgs) -> Result<(), Failure> {
    let rehearsal = Rehearsal::new(config)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let line = if output.json || output.ndjson { write_json } else { write_text };
    let written = rehearsal.probes().try_for_each(|probe| line(&mut out, probe)).and_then(|()| out.flush());
    match written {
        // Whoever wants the first few lines only closes the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| {
            Failure::new(Exit::Failure, format!("cannot write to standard output: {error}"))
        }),
    }
}

fn write_text(out: &mut dyn Write, probe: Rehearsed) -> io::Result<()> {
    match probe.port {
        Some((transport, port)) => writeln!(out, "{transport} {port} {}", probe.address),
        None => writeln!(out, "icmp 0 {}", probe.address),
    }
}

fn write_json(mut out: &mut dyn Write, probe: Rehearsed) -> io::Result<()> {
    let (transport, port) = probe.port.unzip();
    serde_json::to_writer(&mut out, &Listed { address: probe.address, transport, port })?;
    out.write_all(b"\n")
}
