//! `tune`: the highest rate that a path takes without loss, measured against ports that are known to answer.
//!
//! First a slow scan finds which hosts answer on every one of a block of ports; those are the known responders.
//! Then the block is scanned at one rate after the other, each time once and without repeats, so that each missing
//! answer is a lost probe or a lost answer: first at twice the rate each time, until more is lost than at the
//! lowest rate or the sender cannot keep up, then between the last two. Each step is bounded in time and probes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use portreeve_agent::{TunedRate, TunedRates};
use portreeve_model::PortState;
use portreeve_scan::{
    Control, Event, PacketsPerSecond, PortSet, Scan, ScanConfig, ScanReport, TargetSet, TargetSetBuilder,
};
use serde::Serialize;

use super::scan_clock;
use crate::{
    args::{Backend, TuneArgs},
    clock,
    exit::{Exit, Failure},
    output::print,
    settings::ScanSettings,
    stop_file::StopFile,
    targets::{confirm, target_set},
};

/// Where the rates found are kept.
pub(crate) fn rates_path() -> Option<PathBuf> {
    TunedRates::path(nix::unistd::geteuid().is_root())
}

/// `portreeve tune`.
pub(crate) fn tune(
    arguments: &TuneArgs,
    settings: &ScanSettings,
    stop_file: &StopFile,
) -> Result<(), Failure> {
    stop_file.must_be_absent()?;
    let targets = target_set(&arguments.targets, &settings.exclude)?;
    confirm(&targets, arguments.targets.yes)?;
    let bench = Bench {
        interface: arguments.interface.clone().or_else(|| settings.interface.clone()),
        backend: arguments.backend.or(settings.backend),
        stop_file: stop_file.clone(),
    };
    let responders = bench.responders(&targets)?;
    let curve = Search { bench, responders, highest: arguments.max_rate }.run()?;
    // Shown before it is kept: what took so long to measure must not be lost for want of a folder.
    if arguments.json {
        let text = serde_json::to_string_pretty(&curve.document())
            .map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
        print(&format!("{text}\n"))?;
    } else {
        print(&curve.plot())?;
    }
    let Some(rate) = curve.best() else {
        return Err(Failure::new(
            Exit::Failure,
            "answers are lost at the lowest rate already; nothing was kept",
        ));
    };
    if arguments.dry_run {
        say!("{rate} packets per second without loss; not kept");
        return Ok(());
    }
    let path = keep(&targets, rate)?;
    say!(
        "{rate} packets per second without loss; kept in {}: scans and agents without a rate of their own use it",
        path.display()
    );
    Ok(())
}

/// Writes the rate down for every range of the targets.
fn keep(targets: &TargetSet, rate_pps: u32) -> Result<PathBuf, Failure> {
    let path = rates_path().ok_or_else(|| {
        Failure::new(Exit::Failure, "neither HOME nor XDG_STATE_HOME says where to keep the rate")
    })?;
    let failed =
        |error| Failure::new(Exit::Failure, format!("cannot keep the rate in {}: {error}", path.display()));
    let mut rates = TunedRates::read(&path).map_err(failed)?;
    for (first, last) in targets.ranges() {
        let rate = TunedRate { first, last, rate_pps, found_at_ms: clock::now().0 };
        rates.keep(rate, &path).map_err(failed)?;
    }
    Ok(path)
}

/// Runs single scans.
struct Bench {
    interface: Option<String>,
    backend: Option<Backend>,
    stop_file: StopFile,
}

/// Hosts that answer on every port of a block, open or closed.
struct Responders {
    hosts: TargetSet,
    /// The first port of the block.
    first: u16,
}

/// One rate, tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Step {
    /// Packets a second asked for.
    rate_pps: u32,
    /// Packets a second that left.
    sent_pps: u32,
    probes: u64,
    answers: u64,
}

impl Bench {
    /// Hosts that are asked whether they answer, at most.
    const MOST_HOSTS: u128 = 4_096;
    /// Ports that are asked to find out.
    const TRIAL: u16 = 16;
    const TRIAL_RATE: u32 = 2_000;
    /// Ports of the block: high ones, which nobody uses and firewalls seldom treat apart.
    const FIRST_PORT: u16 = 20_000;
    const LAST_PORT: u16 = 59_999;
    const WAIT: Duration = Duration::from_millis(700);

    /// A scan at a rate, once to each target.
    fn config(&self, targets: TargetSet, ports: PortSet, rate: u32) -> ScanConfig {
        ScanConfig {
            rate: PacketsPerSecond(rate),
            retries: 0,
            wait: Self::WAIT,
            seed: rand::random(),
            interface: self.interface.clone(),
            backend: self.backend.unwrap_or(Backend::Auto).into(),
            ..ScanConfig::new(targets, ports)
        }
    }

    fn scan(&self, config: ScanConfig, emit: &mut dyn FnMut(Event)) -> Result<ScanReport, Failure> {
        // Each lasts about a second: that is how soon the file stops them.
        self.stop_file.must_be_absent()?;
        Ok(Scan::prepare(config, scan_clock())?.run(&Control::new(), emit)?)
    }

    /// Finds the known responders, or says that there are none.
    fn responders(&self, targets: &TargetSet) -> Result<Responders, Failure> {
        if targets.len() > Self::MOST_HOSTS {
            return Err(Failure::usage(format!(
                "{} addresses are more than are needed to measure a path; name at most {}",
                targets.len(),
                Self::MOST_HOSTS
            )));
        }
        let first = Self::FIRST_PORT;
        let config = self.config(targets.clone(), block(first, Self::TRIAL), Self::TRIAL_RATE);
        let mut answers: BTreeMap<IpAddr, u16> = BTreeMap::new();
        self.scan(ScanConfig { retries: 2, report_closed: true, ..config }, &mut |event| {
            if let Event::Port(seen) = event
                && matches!(seen.state, PortState::Open | PortState::Closed)
            {
                *answers.entry(seen.address).or_default() += 1;
            }
        })?;
        let whole = answers.into_iter().filter(|&(_, answers)| answers == Self::TRIAL);
        let hosts: BTreeSet<IpAddr> = whole.map(|(host, _)| host).collect();
        if hosts.is_empty() {
            return Err(Failure::new(
                Exit::Failure,
                "no known responders: no host there answers on each of a few ports that nobody uses, so what is \
                 lost cannot be told from what is filtered; name hosts without a packet filter",
            ));
        }
        let mut builder = TargetSetBuilder::new().allow_reserved(true);
        for host in hosts {
            builder = builder.include(&host.to_string())?;
        }
        Ok(Responders { hosts: builder.build()?, first })
    }

    /// Probes the responders at a rate, for about a second.
    fn measure(&self, responders: &Responders, rate: u32) -> Result<Step, Failure> {
        let hosts = u32::try_from(responders.hosts.len()).unwrap_or(u32::MAX).max(1);
        let room = Self::LAST_PORT - responders.first;
        let ports = u16::try_from(rate.max(500).div_ceil(hosts)).unwrap_or(room).clamp(1, room);
        let config = self.config(responders.hosts.clone(), block(responders.first, ports), rate);
        let report = self.scan(config, &mut drop)?;
        Ok(Step {
            rate_pps: rate,
            sent_pps: report.send_rate_pps,
            probes: report.targets,
            answers: report.answered,
        })
    }
}

fn block(first: u16, count: u16) -> PortSet {
    (first..first.saturating_add(count)).map(|port| (portreeve_model::Transport::Tcp, port)).collect()
}

impl Step {
    /// The share that went unanswered.
    fn loss(&self) -> f64 {
        1.0 - self.answers as f64 / self.probes.max(1) as f64
    }

    /// Whether more was lost than at the lowest rate, beyond chance and a twentieth of a percent.
    fn loses_more_than(&self, base: &Self) -> bool {
        let chance = 3.0 * (base.loss().max(1e-4) / self.probes.max(1) as f64).sqrt();
        self.loss() > base.loss() + 0.0005 + chance
    }

    /// Whether the sender kept up. Less than a second of probes is sent in too few groups to tell closely.
    fn kept_up(&self) -> bool {
        f64::from(self.sent_pps) >= f64::from(self.rate_pps) * 0.8
    }
}

/// The search for the highest rate.
struct Search {
    bench: Bench,
    responders: Responders,
    highest: u32,
}

impl Search {
    const LOWEST: u32 = 500;
    /// Rates tried between the last good one and the first bad one.
    const REFINEMENTS: u32 = 5;
    /// A base with more loss than this cannot be measured against.
    const WORST_BASE: f64 = 0.2;

    fn run(&self) -> Result<Curve, Failure> {
        let mut curve = Curve::default();
        let mut rate = Self::LOWEST.min(self.highest);
        let mut bad = None;
        while bad.is_none() {
            if !self.try_rate(rate, &mut curve)? {
                bad = Some(rate);
            } else if rate == self.highest {
                break;
            }
            rate = rate.saturating_mul(2).min(self.highest);
        }
        if let (Some(mut bad), Some(mut good)) = (bad, curve.best_step()) {
            for _ in 0..Self::REFINEMENTS {
                let middle = (f64::from(good) * f64::from(bad)).sqrt() as u32;
                if middle <= good || middle >= bad {
                    break;
                }
                if self.try_rate(middle, &mut curve)? { good = middle } else { bad = middle }
            }
        }
        curve.steps.sort_by_key(|tried| tried.step.rate_pps);
        Ok(curve)
    }

    /// Tries a rate; a bad result is tried once more, since something else may have disturbed it.
    fn try_rate(&self, rate: u32, curve: &mut Curve) -> Result<bool, Failure> {
        let mut step = self.bench.measure(&self.responders, rate)?;
        let mut good = curve.is_good(&step);
        if !good {
            step = self.bench.measure(&self.responders, rate)?;
            good = curve.is_good(&step);
        }
        curve.steps.push(Tried { step, good });
        Ok(good)
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Tried {
    #[serde(flatten)]
    step: Step,
    /// Whether nothing was lost for the rate's sake and the sender kept up.
    good: bool,
}

/// All rates tried; the first one is the base.
#[derive(Debug, Default)]
struct Curve {
    steps: Vec<Tried>,
}

#[derive(Serialize)]
struct Document<'a> {
    rate_pps: Option<u32>,
    steps: &'a [Tried],
}

impl Curve {
    /// The width of the longest bar.
    const WIDTH: f64 = 40.0;

    fn is_good(&self, step: &Step) -> bool {
        let fits = match self.steps.first() {
            Some(base) => !step.loses_more_than(&base.step),
            None => step.loss() <= Search::WORST_BASE,
        };
        fits && step.kept_up()
    }

    fn best_step(&self) -> Option<u32> {
        self.steps.iter().filter(|tried| tried.good).map(|tried| tried.step.rate_pps).max()
    }

    /// The rate to be used: a tenth below the highest good one, since no path is the same every day.
    fn best(&self) -> Option<u32> {
        self.best_step().map(|rate| (u64::from(rate) * 9 / 10) as u32)
    }

    fn document(&self) -> Document<'_> {
        Document { rate_pps: self.best(), steps: &self.steps }
    }

    /// A line for each rate, with a bar for what was answered.
    fn plot(&self) -> String {
        let mut text = String::from("      asked       sent   lost\n");
        for Tried { step, good } in &self.steps {
            let bar = "#".repeat(((1.0 - step.loss()).clamp(0.0, 1.0) * Self::WIDTH).round() as usize);
            let mark = match (good, step.kept_up()) {
                (true, _) => "",
                (false, true) => "  loses",
                (false, false) => "  cannot send as fast",
            };
            text.push_str(&format!(
                "{:>11} {:>10} {:>5.2}%  {bar}{mark}\n",
                step.rate_pps,
                step.sent_pps,
                step.loss() * 100.0
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rate_pps: u32, sent_pps: u32, probes: u64, answers: u64) -> Step {
        Step { rate_pps, sent_pps, probes, answers }
    }

    #[test]
    fn what_is_lost_everywhere_is_not_held_against_a_rate() {
        let base = step(500, 500, 10_000, 9_500);
        assert!(!step(8_000, 8_000, 8_000, 7_580).loses_more_than(&base));
        assert!(step(8_000, 8_000, 8_000, 7_300).loses_more_than(&base));
        let clean = step(500, 500, 500, 500);
        assert!(!step(64_000, 64_000, 64_000, 63_990).loses_more_than(&clean));
        assert!(step(64_000, 64_000, 64_000, 63_000).loses_more_than(&clean));
    }

    #[test]
    fn the_curve_shows_every_rate_and_why_it_ends() {
        let mut curve = Curve::default();
        for step in
            [step(500, 500, 500, 500), step(4_000, 3_990, 4_000, 4_000), step(8_000, 8_000, 8_000, 4_000)]
        {
            let good = curve.is_good(&step);
            curve.steps.push(Tried { step, good });
        }
        assert_eq!(curve.best(), Some(3_600));
        let plot = curve.plot();
        assert!(plot.contains("8000       8000 50.00%  ####################  loses"), "{plot}");
        let slow = step(16_000, 9_000, 16_000, 16_000);
        assert!(!curve.is_good(&slow) && !slow.kept_up());
    }
}
