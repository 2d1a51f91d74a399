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
    tool::{Probe, Tool, Work},
};

pub(super) const NAME: &str = "transmit";

/// How long a tool may take to send its first probes.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is left out at the beginning.
const WARM_UP: Duration = Duration::from_millis(500);

pub(super) fn rows() -> Vec<Row> {
    let row = |name, title, entries| Row {
        name,
        title,
        headline: "pps",
        more_is_better: true,
        shown: &["cores", "cpu_s_per_million"],
        entries,
    };
    vec![
        row(NAME, "Probes a second into a black hole, unlimited rate", entries),
        row("transmit-udp", "The same with empty datagrams", || compete(Probe::Datagram)),
        row("transmit-echo", "The same with echo requests", || compete(Probe::Echo)),
    ]
}

/// 8.4 M addresses. Ours gets more ports so that its order does not end within the window; peers get one, their cheapest.
/// Datagrams go to ports for which nobody has a payload.
fn work(probe: Probe, tool: &Tool) -> Work {
    let network = Network { first: Ipv4Addr::new(10, 128, 0, 0), prefix: 9, ..Network::default() };
    let ports = if matches!(tool, Tool::Portreeve { .. }) { 40_001..=40_064 } else { 40_001..=40_001 };
    Work { probe, retries: Some(0), ..Work::new(network, &[ports]) }
}

fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        [("kernel", 1), ("kernel", 2), ("xdp", 1), ("xdp", 2), ("ring", 1), ("ring", 2), ("batch", 1)]
            .into_iter()
            .map(|(backend, threads)| Tool::Portreeve { backend, threads })
            .chain([Tool::MASSCAN, Tool::Zmap { threads: 1 }, Tool::Zmap { threads: 2 }])
            .map(|tool| competitor(Probe::Syn, tool))
            .collect();
    for (label, threads, full) in
        [("bare sender", 1, true), ("bare sender x2", 2, true), ("bare counter", 1, false)]
    {
        let measure = Box::new(move |bench: &mut Bench| {
            let work = work(Probe::Syn, &Tool::OURS);
            let words = bench.lab.bare_sender(&work.network, threads, full);
            measure(bench, &work, &words)
        });
        entries.push(Entry { label: label.to_owned(), rounds: ALWAYS, measure });
    }
    entries
}

/// Each on one core.
fn compete(probe: Probe) -> Vec<Entry> {
    let ours = ["kernel", "xdp", "ring"].map(|backend| Tool::Portreeve { backend, threads: 1 });
    let tools = ours.into_iter().chain([Tool::MASSCAN, Tool::Zmap { threads: 1 }]);
    tools.map(|tool| competitor(probe, tool)).collect()
}

fn competitor(probe: Probe, tool: Tool) -> Entry {
    entry(tool, ALWAYS, move |bench, tool| {
        let work = work(probe, tool);
        let words = single_command(&bench.tools, tool, &work, bench)?;
        measure(bench, &work, &words)
    })
}

fn measure(bench: &mut Bench, work: &Work, words: &[OsString]) -> Outcome<Values> {
    // Of echo requests there is one an address, so that the fastest are done within a second.
    let (warm_up, window) = match work.probe {
        Probe::Echo => (WARM_UP / 5, bench.window.min(WARM_UP)),
        Probe::Syn | Probe::Datagram => (WARM_UP, bench.window),
    };
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
    settle(warm_up);
    let (frames, cpu, time) = (bench.lab.counters()?.frames, running.cpu(), Instant::now());
    settle(window);
    let sent = bench.lab.counters()?.frames;
    let frames = (sent - frames) as f64;
    let (cpu, time) = ((running.cpu().saturating_sub(cpu)).as_secs_f64(), time.elapsed().as_secs_f64());
    if !running.runs() || sent >= work.probes() {
        return Err("it ended within the window".into());
    }
    Ok(Values::from([
        ("pps", frames / time),
        ("cores", cpu / time),
        ("cpu_s_per_million", cpu / frames.max(1.0) * 1e6),
    ]))
}
