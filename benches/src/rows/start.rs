//! Three ports of one host: what a tool takes besides sending.

use std::{net::Ipv4Addr, time::Duration};

use portreeve_lab::scan::{Closed, Network};

use super::{ALWAYS, Row, entry};
use crate::{
    job,
    session::Entry,
    tool::{Tool, Work},
};

/// masscan takes twelve seconds.
const LIMIT: Duration = Duration::from_secs(40);

pub(super) fn rows() -> Vec<Row> {
    let row = |name, title, entries| Row {
        name,
        title,
        headline: "wall_s",
        more_is_better: false,
        shown: &["found_percent", "cpu_s", "peak_mib"],
        entries,
    };
    vec![
        row("start-to-exit", "Three ports of one host, defaults, start to exit", || {
            entries(Closed::Reset, 1_000_000)
        }),
        row("start-to-exit-silent", "Three silent ports of one host, defaults, start to exit", || {
            entries(Closed::Silent, 0)
        }),
    ]
}

fn entries(closed: Closed, open_ppm: u32) -> Vec<Entry> {
    let network =
        Network { first: Ipv4Addr::new(10, 5, 5, 5), prefix: 32, open_ppm, closed, ..Network::default() };
    let work = Work { rate: Some(1_000), wait_s: None, ..Work::new(network, &[22..=22, 80..=80, 443..=443]) };
    // zmap 2 takes one port a run, so it gets the job that it can do.
    let one_port = Work { ports: vec![80..=80], ..work.clone() };
    [(Tool::OURS, ALWAYS, work.clone()), (Tool::MASSCAN, 2, work), (Tool::Zmap { threads: 1 }, 2, one_port)]
        .into_iter()
        .map(|(tool, rounds, work)| {
            entry(tool, rounds, move |bench, tool| Ok(job::run(bench, tool, &work, LIMIT)?.values()))
        })
        .collect()
}
