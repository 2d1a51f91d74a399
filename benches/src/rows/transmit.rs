//! How fast probes leave: counted by the receiver in a steady window, then the sender is killed.

use std::{
    ffi::OsString,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use portreeve_lab::scan::{Mode, Network};

use super::{ALWAYS, Row, entry, single_command};
use crate::{
    Outcome,
    job::Values,
    machine::settle,
    process::Running,
    session::{Bench, Entry},
    tool::{Tool, Work},
};

pub(super) const NAME: &str = "transmit";

/// How long a tool may take to send its first probes.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is left out at the beginning.
const WARM_UP: Duration = Duration::from_millis(500);

pub(super) fn row() -> Row {
    Row {
        name: NAME,
        title: "Probes a second into a black hole, unlimited rate",
        headline: "pps",
        more_is_better: true,
        shown: &["cores", "cpu_s_per_million"],
        entries,
    }
}

/// 8.4 M addresses. Ours gets more ports so that its order does not end within the window; peers get one, their cheapest.
fn work(tool: &Tool) -> Work {
    let network = Network { first: Ipv4Addr::new(10, 128, 0, 0), prefix: 9, ..Network::default() };
    let ports = if matches!(tool, Tool::Portreeve { .. }) { 1..=64 } else { 80..=80 };
    Work { retries: Some(0), ..Work::new(network, &[ports]) }
}

fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        [("kernel", 1), ("kernel", 2), ("xdp", 1), ("xdp", 2), ("ring", 1), ("ring", 2), ("batch", 1)]
            .into_iter()
            .map(|(backend, threads)| Tool::Portreeve { backend, threads })
            .chain([Tool::MASSCAN, Tool::Zmap { threads: 1 }, Tool::Zmap { threads: 2 }])
            .map(|tool| entry(tool, ALWAYS, measure_tool))
            .collect();
    for (label, threads, full) in
        [("bare sender", 1, true), ("bare sender x2", 2, true), ("bare counter", 1, false)]
    {
        let measure = Box::new(move |bench: &mut Bench| {
            let words = bench.lab.bare_sender(&work(&Tool::MASSCAN).network, threads, full);
            measure(bench, &words)
        });
        entries.push(Entry { label: label.to_owned(), rounds: ALWAYS, measure });
    }
    entries
}

fn measure_tool(bench: &mut Bench, tool: &Tool) -> Outcome<Values> {
    let words = single_command(&bench.tools, tool, &work(tool), bench)?;
    measure(bench, &words)
}

fn measure(bench: &mut Bench, words: &[OsString]) -> Outcome<Values> {
    bench.lab.track(0, &[])?;
    bench.lab.mode(Mode::Blackhole)?;
    bench.lab.reset()?;
    let folder = bench.fresh_folder()?;
    let mut running = Running::start(words, &folder)?;
    let begun = Instant::now();
    while bench.lab.counters()?.frames < 1_000 {
        if !running.runs() || begun.elapsed() > PATIENCE {
            let said = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            return Err(format!("it sent nothing: {}", said.trim()).into());
        }
        settle(Duration::from_millis(10));
    }
    settle(WARM_UP);
    let (frames, cpu, time) = (bench.lab.counters()?.frames, running.cpu(), Instant::now());
    settle(bench.window);
    let frames = (bench.lab.counters()?.frames - frames) as f64;
    let (cpu, time) = ((running.cpu().saturating_sub(cpu)).as_secs_f64(), time.elapsed().as_secs_f64());
    if !running.runs() {
        return Err("it ended within the window".into());
    }
    Ok(Values::from([
        ("pps", frames / time),
        ("cores", cpu / time),
        ("cpu_s_per_million", cpu / frames.max(1.0) * 1e6),
    ]))
}
