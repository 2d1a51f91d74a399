//! What was measured, as a document and as tables (Markdown, which a terminal shows as well).

use std::fmt::Write;

use serde::Serialize;

use crate::{
    goals::{Verdict, judge},
    machine::Facts,
    rows::Row,
    session::Samples,
    statistics::Spread,
};

/// A row that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Its name.
    pub name: &'static str,
    /// What was done.
    pub title: &'static str,
    /// What competitors are compared by.
    pub headline: &'static str,
    /// Whether a greater headline is better.
    pub more_is_better: bool,
    #[serde(skip)]
    shown: &'static [&'static str],
    /// The samples.
    #[serde(flatten)]
    pub samples: Samples,
}

impl Measured {
    /// A row's samples.
    pub fn new(row: &Row, samples: Samples) -> Self {
        let &Row { name, title, headline, more_is_better, shown, .. } = row;
        Self { name, title, headline, more_is_better, shown, samples }
    }

    /// One competitor's headline.
    pub fn headline_of(&self, label: &str) -> Option<Spread> {
        Spread::of(self.samples.values(label, self.headline).map(|(_, number)| number))
    }

    /// As a table: the headline with its spread and its ratio to masscan, then the medians of the other values.
    pub fn table(&self) -> String {
        let mut text = format!("### {}\n\n`{}`", self.title, self.name);
        if self.samples.repeated_rounds > 0 {
            let _ =
                write!(text, "; rounds done again because of stolen time: {}", self.samples.repeated_rounds);
        }
        let titles = self.shown.iter().map(|name| format!(" {} |", name.replace('_', " ")));
        let _ = write!(text, "\n\n| | {} | min..max | × masscan |", self.headline.replace('_', " "));
        let _ = writeln!(text, "{} rounds |", titles.collect::<String>());
        let _ = writeln!(text, "|---|---|---|---|{}---|", "---|".repeat(self.shown.len()));
        for label in self.samples.labels() {
            let Some(headline) = self.headline_of(label) else { continue };
            let ratio = self.samples.ratio(label, "masscan", self.headline, !self.more_is_better);
            let ratio = ratio.map(|ratio| number(ratio.median)).unwrap_or_default();
            let _ = write!(
                text,
                "| {label} | {} | {}..{} | {ratio} |",
                number(headline.median),
                number(headline.min),
                number(headline.max)
            );
            for name in self.shown {
                let value = Spread::of(self.samples.values(label, name).map(|(_, value)| value));
                let _ = write!(text, " {} |", value.map(|value| number(value.median)).unwrap_or_default());
            }
            let _ = writeln!(text, " {} |", self.samples.values(label, self.headline).count());
        }
        for (label, reason) in &self.samples.absent {
            let reason = reason.lines().next().unwrap_or_default();
            let _ = writeln!(text, "\nNot measured: {label} ({reason}).");
        }
        text
    }

    /// What the machine did meanwhile: the most stolen, the median share of busy time, the median load.
    fn surroundings(&self) -> Option<(f64, f64, f64)> {
        let all = || self.samples.samples.iter().map(|sample| sample.surroundings);
        Some((
            Spread::of(all().map(|around| around.stolen))?.max,
            Spread::of(all().map(|around| around.busy))?.median,
            Spread::of(all().map(|around| around.load))?.median,
        ))
    }
}

/// A whole session.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// The machine.
    pub facts: Facts,
    /// The competitors.
    pub versions: Vec<(&'static str, String)>,
    /// Rounds asked for.
    pub rounds: u32,
    /// What was measured.
    pub rows: Vec<Measured>,
    /// What came of the goals.
    pub goals: Vec<Verdict>,
}

impl Document {
    /// Of nothing yet.
    pub fn new(facts: Facts, versions: Vec<(&'static str, String)>, rounds: u32) -> Self {
        Self { facts, versions, rounds, rows: Vec::new(), goals: judge(&[]) }
    }

    /// One row more.
    pub fn add(&mut self, row: Measured) {
        self.rows.push(row);
        self.goals = judge(&self.rows);
    }

    /// All of it as Markdown.
    pub fn markdown(&self) -> String {
        let mut text =
            String::from("# Results\n\nMade by `cargo xtask bench`; how is told in docs/performance.md.\n\n");
        for (name, fact) in &self.facts {
            let _ = writeln!(text, "- {name}: {fact}");
        }
        for (name, version) in &self.versions {
            let _ = writeln!(text, "- {name}: {version}");
        }
        let _ = writeln!(text, "\n## Goals\n\n{}\n## Rows\n", self.verdicts());
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.table());
            if let Some((stolen, busy, load)) = row.surroundings() {
                let _ = writeln!(
                    text,
                    "Meanwhile: load {load:.1}, CPUs {:.0} % busy with all of it, at most {:.1} % stolen.\n",
                    busy * 100.0,
                    stolen * 100.0
                );
            }
        }
        text
    }

    /// The goals that were measured, and how many were not.
    fn verdicts(&self) -> String {
        let mut text = String::from("| | what | figure | min..max | goal | |\n|---|---|---|---|---|---|\n");
        for verdict in &self.goals {
            let (Some(figure), Some(reached)) = (verdict.figure, verdict.reached) else { continue };
            let spread =
                verdict.spread.map(|spread| format!("{}..{}", number(spread.min), number(spread.max)));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                verdict.id,
                verdict.what,
                number(figure),
                spread.unwrap_or_default(),
                verdict.bound,
                if reached { "reached" } else { "**missed**" }
            );
        }
        let unmeasured: Vec<&str> = self
            .goals
            .iter()
            .filter(|verdict| verdict.reached.is_none())
            .map(|verdict| verdict.what)
            .collect();
        if !unmeasured.is_empty() {
            let _ = writeln!(text, "\nNot measured this time: {}.", unmeasured.join("; "));
        }
        text
    }
}

/// Three or four significant digits, thousands apart.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e4 {
        return format!("{value:.0}");
    }
    match size {
        1e4.. => thousands(value),
        100.0.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        0.001.. => format!("{value:.3}"),
        _ => format!("{value:.6}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        let numbers = [100.0, 99.987, 3_418_718.4, 0.0123, 12.3456, 0.0, -2.5];
        assert_eq!(numbers.map(number), ["100", "99.99", "3,418,718", "0.012", "12.35", "0", "-2.500"]);
    }
}
