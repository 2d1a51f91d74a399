//! The /16 job while somebody forges replies.

use std::time::Duration;

use portreeve_lab::scan::Network;

use super::{ALWAYS, Row, entry};
use crate::{
    Outcome,
    job::{self, Values},
    session::{Bench, Entry},
    tool::{Tool, Work},
};

const LIMIT: Duration = Duration::from_secs(60);
/// Forged replies a second.
const FLOOD: u32 = 500_000;
/// All of them go to ports that the scan listens at.
const SOURCE_PORT: u16 = 40_000;

pub(super) fn rows() -> Vec<Row> {
    let row = |name, title, entries| Row {
        name,
        title,
        headline: "found_percent",
        more_is_better: true,
        shown: &["wrong", "doubles", "wall_s", "cpu_s", "forged"],
        entries,
    };
    vec![
        row("calm", "A /16, 3 ports, 100,000 a second, nothing forged (to compare the next with)", || {
            entries(0)
        }),
        row("flood", "A /16, 3 ports, 100,000 a second, with 500,000 forged replies a second", || {
            entries(FLOOD)
        }),
    ]
}

fn entries(forged: u32) -> Vec<Entry> {
    [(Tool::OURS, ALWAYS), (Tool::MASSCAN, 1)]
        .into_iter()
        .map(|(tool, rounds)| entry(tool, rounds, move |bench, tool| measure(bench, tool, forged)))
        .collect()
}

fn measure(bench: &mut Bench, tool: &Tool, forged: u32) -> Outcome<Values> {
    let work = Work {
        rate: Some(100_000),
        source_port: Some(SOURCE_PORT),
        ..Work::new(Network::default(), &[22..=22, 80..=80, 443..=443])
    };
    if forged > 0 {
        bench.lab.network(&work.network)?;
        bench.lab.flood(forged, LIMIT, SOURCE_PORT..=SOURCE_PORT + 15)?;
    }
    let done = job::run(bench, tool, &work, LIMIT);
    let sent = bench.lab.end_flood()?;
    let mut values = done?.values();
    values.insert("forged", if forged > 0 { sent as f64 } else { 0.0 });
    Ok(values)
}
