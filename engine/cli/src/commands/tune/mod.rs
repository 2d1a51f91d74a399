//! `tune`: the highest rate that a path takes without loss, measured against ports that are known to answer.
//!
//! First a slow scan finds which hosts answer on every one of a block of ports; those are the known responders.
//! Then the block is scanned at one rate after the other, each time once and without repeats, so that each missing
//! answer is a lost probe or a lost answer: first at twice the rate each time, until more is lost than at the
//! lowest rate or the sender cannot keep up, then between the last two. Each step is bounded in time and probes, and made
//! by a process of its own, which has no rights when it reads answers.

mod bench;
mod curve;
mod measure;

use std::path::PathBuf;

use portreeve_agent::{TunedRate, TunedRates};
use portreeve_scan::TargetSet;

pub(crate) use self::measure::measure;
use self::{
    bench::{Bench, Responders},
    curve::{Curve, Tried},
};
use crate::{
    args::TuneArgs,
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
    let bench = Bench::new(arguments, settings, stop_file)?;
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
        let mut step = self.bench.try_rate(&self.responders, rate)?;
        let mut good = curve.is_good(&step);
        if !good {
            step = self.bench.try_rate(&self.responders, rate)?;
            good = curve.is_good(&step);
        }
        curve.steps.push(Tried { step, good });
        Ok(good)
    }
}
