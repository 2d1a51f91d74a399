//! How fast answers are taken in and sorted: every target answers, and is asked once, so what is lost stays missing.

use std::{net::Ipv4Addr, time::Duration};

use portreeve_lab::scan::Network;

use super::{ALWAYS, Row, entry};
use crate::{
    job,
    session::Entry,
    tool::{Tool, Work},
};

const LIMIT: Duration = Duration::from_secs(120);
/// Without XDP, where answers would come faster than sockets can take them if nothing held the probes back.
const BY_SOCKETS: u32 = 700_000;

pub(super) fn row() -> Row {
    Row {
        name: "receive",
        title: "Answers taken in: a /24, 32,768 ports, all answer, each is asked once",
        headline: "answers_per_s",
        more_is_better: true,
        shown: &[
            "found_percent",
            "lost_by_ours",
            "wrong",
            "delivered_percent",
            "probes_per_s",
            "wall_s",
            "cpu_s",
        ],
        entries: || {
            [("kernel", None), ("xdp", None), ("ring", Some(BY_SOCKETS))]
                .into_iter()
                .map(|(backend, rate)| answers(backend, rate))
                .collect()
        },
    }
}

fn answers(backend: &'static str, rate: Option<u32>) -> Entry {
    let network = Network { first: Ipv4Addr::new(10, 9, 9, 0), prefix: 24, ..Network::default() };
    let work = Work { rate, retries: Some(0), ..Work::new(network, &[0..=32_767]) };
    entry(Tool::Portreeve { backend, threads: 0 }, ALWAYS, move |bench, tool| {
        Ok(job::run(bench, tool, &work, LIMIT)?.values())
    })
}
