//! Whole jobs from start to exit, against a far end that answers: how much is found, how fast, at what cost.

use std::{net::Ipv4Addr, time::Duration};

use portreeve_lab::scan::{Closed, Network};

use super::{ALWAYS, Row, entry};
use crate::{
    Outcome,
    job::{self, Values},
    session::{Bench, Entry},
    tool::{Tool, Work},
};

/// Nothing may take longer than this.
const LIMIT: Duration = Duration::from_secs(400);

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "slash16",
            title: "A /16, 3 ports, 5 % open, closed ports answer RST, unlimited rate",
            headline: "wall_s",
            more_is_better: false,
            shown: SHOWN,
            entries: || compete(slash16(None), [ALWAYS, 3, 3]),
        },
        Row {
            name: "slash24",
            title: "A /24, all 65,536 ports, 0.2 % open, closed ports answer RST, unlimited rate",
            headline: "whole_s",
            more_is_better: false,
            shown: SHOWN,
            entries: || big(Closed::Reset),
        },
        Row {
            name: "loss",
            title: "A /24, 1,000 ports, 5 % of probes and 5 % of answers lost, 50,000 a second",
            headline: "found_percent",
            more_is_better: true,
            shown: &[
                "probes_per_target",
                "doubles",
                "wrong",
                "wall_s",
                "miss_estimate_percent",
                "loss_percent",
                "loss_estimate_percent",
            ],
            entries: lossy,
        },
        loss_row("loss-0", "A /24, 1,000 ports, nothing lost, 200,000 a second", || lossy_by(0)),
        loss_row("loss-1", "The same, 1 % of probes and answers lost", || lossy_by(10_000)),
        loss_row("loss-3", "The same, 3 % lost", || lossy_by(30_000)),
        loss_row("loss-5", "The same, 5 % lost", || lossy_by(50_000)),
        Row {
            name: "slash24-silent",
            title: "A /24, all 65,536 ports, 0.2 % open, closed ports silent, unlimited rate",
            headline: "whole_s",
            more_is_better: false,
            shown: SHOWN,
            entries: silent,
        },
        Row {
            name: "complete-10k",
            title: "A /16, 3 ports, 5 % open, asked for 10,000 a second",
            headline: "found_percent",
            more_is_better: true,
            shown: AT_RATE,
            entries: || compete(slash16(Some(10_000)), [2, 1, 1]),
        },
        Row {
            name: "complete-100k",
            title: "A /16, 3 ports, 5 % open, asked for 100,000 a second",
            headline: "found_percent",
            more_is_better: true,
            shown: AT_RATE,
            entries: || compete(slash16(Some(100_000)), [ALWAYS, 2, 2]),
        },
        Row {
            name: "complete-1m",
            title: "A /16, 3 ports, 5 % open, asked for 1,000,000 a second",
            headline: "found_percent",
            more_is_better: true,
            shown: AT_RATE,
            entries: || compete(slash16(Some(1_000_000)), [ALWAYS, 3, 3]),
        },
    ]
}

const SHOWN: &[&str] = &[
    "found_percent",
    "delivered_percent",
    "wrong",
    "doubles",
    "repeats",
    "unprobed",
    "bad_sums",
    "send_s",
    "probes_per_s",
    "cpu_s",
    "peak_mib",
    "side_frames_per_answer",
];

const AT_RATE: &[&str] = &["probes_per_s", "wrong", "doubles", "repeats", "unprobed", "wall_s", "cpu_s"];

/// 196,608 probes.
fn slash16(rate: Option<u32>) -> Work {
    Work { rate, ..Work::new(Network::default(), &[22..=22, 80..=80, 443..=443]) }
}

/// Ours with its defaults, both peers, for so many rounds each.
fn compete(work: Work, [ours, masscan, zmap]: [u32; 3]) -> Vec<Entry> {
    [(Tool::OURS, ours), (Tool::MASSCAN, masscan), (Tool::ZMAP, zmap)]
        .into_iter()
        .map(|(tool, rounds)| job_entry(tool, rounds, work.clone()))
        .collect()
}

fn job_entry(tool: Tool, rounds: u32, work: Work) -> Entry {
    entry(tool, rounds, move |bench, tool| measure(bench, tool, &work))
}

fn measure(bench: &mut Bench, tool: &Tool, work: &Work) -> Outcome<Values> {
    let done = job::run(bench, tool, work, LIMIT)?;
    let mut values = done.values();
    if work.parts > 1 {
        // Of a part nobody knows beforehand which pairs are in it.
        values.remove("unprobed");
    }
    Ok(values)
}

/// 16.8 M probes. Peers do a sixteenth, by their own sharding, and the rest is reckoned at the same pace: a whole one takes
/// them minutes. zmap 2 takes one port a run, so it gets as many probes as a /9 of two ports.
fn big(closed: Closed) -> Vec<Entry> {
    let whole = big_work(closed);
    let part = Work { parts: 16, ..whole.clone() };
    let wide = Network { first: Ipv4Addr::new(10, 128, 0, 0), prefix: 9, ..whole.network.clone() };
    let one_port = Work { parts: 16, ..Work::new(wide, &[80..=80, 443..=443]) };
    vec![
        job_entry(Tool::OURS, ALWAYS, whole),
        job_entry(Tool::MASSCAN, 3, part.clone()),
        job_entry(Tool::Masscan { noreset: true }, 3, part),
        job_entry(Tool::ZMAP, 3, one_port),
    ]
}

fn big_work(closed: Closed) -> Work {
    let network = Network {
        first: Ipv4Addr::new(10, 9, 9, 0),
        prefix: 24,
        open_ppm: 2_000,
        closed,
        ..Network::default()
    };
    Work::new(network, &[0..=u16::MAX])
}

/// Where closed ports say nothing the time is that of the probes, so ours is told once to send no more of them than the
/// others do, which ask everything once; by default it asks the silent again.
fn silent() -> Vec<Entry> {
    let mut entries = big(Closed::Silent);
    let work = Work { retries: Some(0), ..big_work(Closed::Silent) };
    entries.insert(
        1,
        Entry { label: "portreeve --retries 0".to_owned(), ..job_entry(Tool::OURS, ALWAYS, work) },
    );
    entries
}

/// Ours alone: that nothing is missing at any loss is no comparison.
const fn loss_row(name: &'static str, title: &'static str, entries: fn() -> Vec<Entry>) -> Row {
    const SHOWN: &[&str] = &[
        "doubles",
        "wrong",
        "probes_per_target",
        "miss_estimate_percent",
        "loss_percent",
        "loss_estimate_error_points",
        "wall_s",
    ];
    Row { name, title, headline: "found_percent", more_is_better: true, shown: SHOWN, entries }
}

/// So much is lost in all, half of it on the way out and half on the way back.
fn lossy_by(ppm: u32) -> Vec<Entry> {
    let network = Network {
        first: Ipv4Addr::new(10, 9, 9, 0),
        prefix: 24,
        probe_loss_ppm: ppm / 2,
        reply_loss_ppm: ppm / 2,
        ..Network::default()
    };
    let work = Work { rate: Some(200_000), ..Work::new(network, &[1..=1_000]) };
    vec![job_entry(Tool::OURS, ALWAYS, work)]
}

fn lossy() -> Vec<Entry> {
    let network = Network {
        first: Ipv4Addr::new(10, 9, 9, 0),
        prefix: 24,
        probe_loss_ppm: 50_000,
        reply_loss_ppm: 50_000,
        ..Network::default()
    };
    let work = Work { rate: Some(50_000), ..Work::new(network.clone(), &[1..=1_000]) };
    // The same number of probes for a tool of one port a run.
    let wide = Network { first: Ipv4Addr::new(10, 128, 0, 0), prefix: 14, ..network };
    let one_port = Work { rate: Some(50_000), ..Work::new(wide, &[80..=80]) };
    let again = |work: &Work, retries| Work { retries: Some(retries), ..work.clone() };
    let named = |label: &str, entry: Entry| Entry { label: label.to_owned(), ..entry };
    vec![
        job_entry(Tool::OURS, ALWAYS, work.clone()),
        job_entry(Tool::MASSCAN, 2, work.clone()),
        named("masscan --retries 1", job_entry(Tool::MASSCAN, 1, again(&work, 1))),
        named("masscan --retries 2", job_entry(Tool::MASSCAN, 1, again(&work, 2))),
        job_entry(Tool::ZMAP, 2, one_port.clone()),
        named("zmap -P 2", job_entry(Tool::ZMAP, 1, again(&one_port, 1))),
    ]
}
