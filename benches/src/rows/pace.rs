//! How evenly probes leave at a rate that was asked for: stamped by the receiver.

use std::{
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
    statistics::Spread,
    tool::{Tool, Work},
};

/// How long each is watched, from its first probe on.
const WATCHED: Duration = Duration::from_millis(3_000);
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn rows() -> Vec<Row> {
    let row = |name, title, entries| Row {
        name,
        title,
        headline: "error_100ms_percent",
        more_is_better: false,
        shown: &["mean_error_percent", "most_in_1ms_of_limit", "most_in_10ms_of_share", "cores"],
        entries,
    };
    vec![
        row("pace-1k", "Pace: 1,000 probes a second, mean error in 100 ms", || entries(1_000)),
        row("pace-10k", "Pace: 10,000 probes a second, mean error in 100 ms", || entries(10_000)),
        row("pace-100k", "Pace: 100,000 probes a second, mean error in 100 ms", || entries(100_000)),
        row("pace-400k", "Pace: 400,000 probes a second, mean error in 100 ms", || entries(400_000)),
        row("pace-1m", "Pace: 1,000,000 probes a second, mean error in 100 ms", || entries(1_000_000)),
    ]
}

fn entries(rate: u32) -> Vec<Entry> {
    // Peers that cannot keep a rate need no more rounds to show it.
    let peers = if rate < 400_000 { 3 } else { 1 };
    [(Tool::OURS, ALWAYS), (Tool::MASSCAN, peers), (Tool::Zmap { threads: 1 }, peers)]
        .into_iter()
        .map(|(tool, rounds)| entry(tool, rounds, move |bench, tool| measure(bench, tool, rate)))
        .collect()
}

/// Addresses for 5 to 10 seconds: ours begins longer scans with a stretch of one second, after which it waits for
/// answers.
fn network(rate: u32) -> Network {
    let prefix = u32::BITS - rate.saturating_mul(5).next_power_of_two().ilog2();
    Network { first: Ipv4Addr::new(10, 128, 0, 0), prefix: prefix as u8, ..Network::default() }
}

fn measure(bench: &mut Bench, tool: &Tool, rate: u32) -> Outcome<Values> {
    let network = network(rate);
    bench.lab.network(&network)?;
    bench.lab.track(0, &[])?;
    bench.lab.verify(false)?;
    bench.lab.stamp(true)?;
    bench.lab.mode(Mode::Sink)?;
    bench.lab.reset()?;
    let work = Work { rate: Some(rate), retries: Some(0), ..Work::new(network, &[80..=80]) };
    let words = single_command(&bench.tools, tool, &work, bench)?;
    let folder = bench.fresh_folder()?;
    let running = Running::start(&words, &folder)?;
    let begun = Instant::now();
    while bench.lab.counters()?.probes < 10 {
        if begun.elapsed() > PATIENCE {
            return Err("it sent nothing".into());
        }
        settle(Duration::from_millis(5));
    }
    let (cpu, time) = (running.cpu(), Instant::now());
    settle(WATCHED);
    let cores = running.cpu().saturating_sub(cpu).as_secs_f64() / time.elapsed().as_secs_f64();
    drop(running);
    let mut values = evenness(
        &bench.lab.timeline(1)?,
        &bench.lab.timeline(10)?,
        &bench.lab.timeline(100)?,
        f64::from(rate),
    )?;
    values.insert("cores", cores);
    Ok(values)
}

/// From arrivals per 1, 10 and 100 ms. The first and the last interval are not whole, and left out.
fn evenness(by_1ms: &[u64], by_10ms: &[u64], by_100ms: &[u64], rate: f64) -> Outcome<Values> {
    let whole = |intervals: &[u64]| -> Vec<f64> {
        let inner = intervals.get(1..intervals.len().saturating_sub(1)).unwrap_or_default();
        inner.iter().map(|&count| count as f64).collect()
    };
    let (ones, tens, hundreds) = (whole(by_1ms), whole(by_10ms), whole(by_100ms));
    let most = |counts: &[f64]| Spread::of(counts.iter().copied()).map_or(0.0, |spread| spread.max);
    if hundreds.is_empty() {
        return Err("it sent for less than 300 ms".into());
    }
    let share = rate / 10.0;
    let number = hundreds.len() as f64;
    let mean = hundreds.iter().sum::<f64>() / number;
    let error = hundreds.iter().map(|count| (count - share).abs()).sum::<f64>() / number;
    Ok(Values::from([
        ("error_100ms_percent", 100.0 * error / share),
        ("mean_error_percent", 100.0 * (mean / share - 1.0)),
        // Of what is allowed: three times the share of a millisecond, or four frames.
        ("most_in_1ms_of_limit", most(&ones) / (3.0 * rate / 1e3).max(4.0)),
        ("most_in_10ms_of_share", most(&tens) / (rate / 100.0)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_stream_has_no_error_and_a_burst_shows() {
        let even = evenness(&[10; 1_000], &[100; 100], &[1_000; 10], 10_000.0).expect("values");
        assert_eq!((even["error_100ms_percent"], even["mean_error_percent"]), (0.0, 0.0));
        let mut bursts = [10; 1_000];
        bursts[500] = 300;
        let uneven = evenness(&bursts, &[100; 100], &[1_000; 10], 10_000.0).expect("values");
        assert!((uneven["most_in_1ms_of_limit"] - 10.0).abs() < 1e-9, "{uneven:?}");
    }

    #[test]
    fn networks_last_for_longer_than_they_are_watched() {
        for rate in [1_000, 10_000, 100_000, 400_000, 1_000_000] {
            let network = network(rate);
            let seconds = (1_u64 << (32 - network.prefix)) as f64 / f64::from(rate);
            assert!((5.0..=10.0).contains(&seconds), "{rate} a second: {seconds} s");
            assert!(network.prefix >= 9);
        }
    }

    #[test]
    fn too_short_a_stream_is_refused() {
        evenness(&[1], &[1], &[1], 1_000.0).expect_err("no whole interval");
    }
}
