//! The rates that were tried, what became of each, and how they are shown.

use serde::Serialize;

/// A base with more loss than this cannot be measured against.
const WORST_BASE: f64 = 0.2;

/// One rate, tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Step {
    /// Packets a second asked for.
    pub(super) rate_pps: u32,
    /// Packets a second that left.
    pub(super) sent_pps: u32,
    pub(super) probes: u64,
    pub(super) answers: u64,
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

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Tried {
    #[serde(flatten)]
    pub(super) step: Step,
    /// Whether nothing was lost for the rate's sake and the sender kept up.
    pub(super) good: bool,
}

/// All rates tried; the first one is the base.
#[derive(Debug, Default)]
pub(super) struct Curve {
    pub(super) steps: Vec<Tried>,
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    rate_pps: Option<u32>,
    steps: &'a [Tried],
}

impl Curve {
    /// The width of the longest bar.
    const WIDTH: f64 = 40.0;

    pub(super) fn is_good(&self, step: &Step) -> bool {
        let fits = match self.steps.first() {
            Some(base) => !step.loses_more_than(&base.step),
            None => step.loss() <= WORST_BASE,
        };
        fits && step.kept_up()
    }

    pub(super) fn best_step(&self) -> Option<u32> {
        self.steps.iter().filter(|tried| tried.good).map(|tried| tried.step.rate_pps).max()
    }

    /// The rate to be used: a tenth below the highest good one, since no path is the same every day.
    pub(super) fn best(&self) -> Option<u32> {
        self.best_step().map(|rate| (u64::from(rate) * 9 / 10) as u32)
    }

    pub(super) fn document(&self) -> Document<'_> {
        Document { rate_pps: self.best(), steps: &self.steps }
    }

    /// A line for each rate, with a bar for what was answered.
    pub(super) fn plot(&self) -> String {
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
