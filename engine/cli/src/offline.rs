//! `--offline` and `--dry-run`: everything but the sending.

use std::{
    io::{self, BufWriter, Write},
    time::{Duration, Instant},
};

use portreeve_scan::{Rehearsal, ScanConfig};

use crate::exit::{Exit, Failure};

/// Frames are made for at most so long: enough to know the rate.
const MEASURED: Duration = Duration::from_secs(3);
/// Positions between two looks at the clock.
const CHUNK: u64 = 1 << 16;

/// Makes the frames of a scan and tells how fast that went.
pub(crate) fn measure(config: &ScanConfig) -> Result<String, Failure> {
    let rehearsal = Rehearsal::new(config)?;
    let positions = rehearsal.positions();
    let started = Instant::now();
    let (mut next, mut made) = (positions.start, 0);
    while next < positions.end && started.elapsed() < MEASURED {
        let end = positions.end.min(next + CHUNK);
        made += rehearsal.make_frames(next..end);
        next = end;
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = made as f64 / seconds.max(1e-9) / 1e6;
    let part = if next < positions.end { "the first " } else { "" };
    Ok(format!(
        "{part}{made} frames made in {seconds:.3} s on one core, order, cookie and checksum included: {rate:.1} million per \
         second\nnothing was sent\n"
    ))
}

/// Prints a line for each probe, in the order that they would be sent in.
pub(crate) fn list(config: &ScanConfig) -> Result<(), Failure> {
    let rehearsal = Rehearsal::new(config)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = rehearsal
        .probes()
        .try_for_each(|probe| match probe.port {
            Some((transport, port)) => writeln!(out, "{transport} {port} {}", probe.address),
            None => writeln!(out, "icmp 0 {}", probe.address),
        })
        .and_then(|()| out.flush());
    match written {
        // Whoever wants the first few lines only closes the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| {
            Failure::new(Exit::Failure, format!("cannot write to standard output: {error}"))
        }),
    }
}
