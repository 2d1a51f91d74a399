//! How much memory 2^32 targets take.

use std::{net::Ipv4Addr, time::Duration};

use portreeve_lab::scan::{Mode, Network};

use super::{Row, entry, single_command};
use crate::{
    Outcome,
    job::Values,
    machine::settle,
    process::Running,
    session::{Bench, Entry},
    tool::{Tool, Work},
};

/// It sends for so long before it is looked at.
const TIME: Duration = Duration::from_secs(4);

pub(super) fn row() -> Row {
    Row {
        name: "memory",
        title: "Peak resident memory of a scan of 2^32 targets (a /9 of 512 ports), after 4 s",
        headline: "peak_mib",
        more_is_better: false,
        shown: &[],
        entries,
    }
}

fn entries() -> Vec<Entry> {
    [Tool::OURS, Tool::MASSCAN].map(|tool| entry(tool, 1, measure)).into()
}

fn measure(bench: &mut Bench, tool: &Tool) -> Outcome<Values> {
    let network = Network { first: Ipv4Addr::new(10, 128, 0, 0), prefix: 9, ..Network::default() };
    bench.lab.track(0, &[])?;
    bench.lab.mode(Mode::Blackhole)?;
    bench.lab.reset()?;
    let words = single_command(&bench.tools, tool, &Work::new(network, &[1..=512]), bench)?;
    let folder = bench.fresh_folder()?;
    let mut running = Running::start(&words, &folder)?;
    settle(TIME);
    if !running.runs() || bench.lab.counters()?.frames == 0 {
        return Err("it does not send".into());
    }
    Ok(Values::from([("peak_mib", running.peak_bytes() as f64 / f64::from(1 << 20))]))
}
