//! The figures to reach, as a table: which value of which row, and what bounds it.

use serde::Serialize;

use crate::{report::Measured, statistics::Spread};

/// Where a figure comes from.
#[derive(Clone, Copy, Debug)]
enum Figure {
    /// Ours by theirs, round by round; of several of ours the best. Turned over where less is better, so that more than
    /// one always means that ours is ahead.
    Ratio { value: &'static str, ours: &'static [&'static str], theirs: &'static str, less_is_better: bool },
    /// A value of ours: the median of the rounds.
    Median { label: &'static str, value: &'static str },
    /// The same without its sign.
    MedianSize { label: &'static str, value: &'static str },
    /// The worst round where more is better.
    Least { label: &'static str, value: &'static str },
    /// The worst round where less is better.
    Most { label: &'static str, value: &'static str },
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Clone, Copy)]
struct Goal {
    id: &'static str,
    what: &'static str,
    row: &'static str,
    figure: Figure,
    bound: Bound,
}

use Bound::{AtLeast, AtMost};

const OURS: &str = "portreeve";

const fn goal(id: &'static str, what: &'static str, row: &'static str, figure: Figure, bound: Bound) -> Goal {
    Goal { id, what, row, figure, bound }
}

const fn ratio(value: &'static str, ours: &'static [&'static str], theirs: &'static str) -> Figure {
    Figure::Ratio { value, ours, theirs, less_is_better: false }
}

const fn times_less(value: &'static str, ours: &'static [&'static str], theirs: &'static str) -> Figure {
    Figure::Ratio { value, ours, theirs, less_is_better: true }
}

const fn median(value: &'static str) -> Figure {
    Figure::Median { label: OURS, value }
}

const fn of(label: &'static str, value: &'static str) -> Figure {
    Figure::Median { label, value }
}

const fn worst_of(label: &'static str, value: &'static str) -> Figure {
    Figure::Least { label, value }
}

const fn least(value: &'static str) -> Figure {
    Figure::Least { label: OURS, value }
}

const fn most(value: &'static str) -> Figure {
    Figure::Most { label: OURS, value }
}

const ONCE: &[&str] = &["portreeve --retries 0"];
const KERNEL: &[&str] = &["portreeve kernel"];
const KERNEL_2: &[&str] = &["portreeve kernel x2"];

const GOALS: &[Goal] = &[
    goal(
        "G1",
        "kernel backend, one thread, by masscan",
        "transmit",
        ratio("pps", KERNEL, "masscan"),
        AtLeast(12.0),
    ),
    goal(
        "G1",
        "kernel backend, one thread, by zmap",
        "transmit",
        ratio("pps", KERNEL, "zmap"),
        AtLeast(10.0),
    ),
    goal(
        "G2",
        "kernel backend, two threads, by zmap's two",
        "transmit",
        ratio("pps", KERNEL_2, "zmap x2"),
        AtLeast(8.0),
    ),
    goal("G2", "two threads by one", "transmit", ratio("pps", KERNEL_2, "portreeve kernel"), AtLeast(1.6)),
    goal(
        "G3",
        "kernel backend by the bare sender",
        "transmit",
        ratio("pps", KERNEL, "bare sender"),
        AtLeast(0.75),
    ),
    goal(
        "G4",
        "best of xdp and ring, one thread, by masscan",
        "transmit",
        ratio("pps", &["portreeve xdp", "portreeve ring"], "masscan"),
        AtLeast(2.0),
    ),
    goal(
        "G5",
        "CPU per probe, masscan by kernel",
        "transmit",
        times_less("cpu_s_per_million", KERNEL, "masscan"),
        AtLeast(8.0),
    ),
    goal(
        "G5",
        "CPU per probe, zmap by kernel",
        "transmit",
        times_less("cpu_s_per_million", KERNEL, "zmap"),
        AtLeast(8.0),
    ),
    goal("G6", "frames made a second on one core", "generate", median("frames_per_s"), AtLeast(30e6)),
    goal("G7", "found, worst round, %", "slash16", least("found_percent"), AtLeast(100.0)),
    goal("G7", "wrong results", "slash16", most("wrong"), AtMost(0.0)),
    goal("G7", "double results", "slash16", most("doubles"), AtMost(0.0)),
    goal("G7", "targets probed again", "slash16", most("repeats"), AtMost(0.0)),
    goal("G7", "targets not probed", "slash16", most("unprobed"), AtMost(0.0)),
    goal("G7", "probes with wrong checksums", "slash16", most("bad_sums"), AtMost(0.0)),
    goal("G7", "start to exit, s", "slash16", median("wall_s"), AtMost(0.6)),
    goal("G8", "found, worst round, %", "slash24", least("found_percent"), AtLeast(100.0)),
    goal("G8", "zmap's time by ours", "slash24", times_less("whole_s", &[OURS], "zmap x2"), AtLeast(7.0)),
    goal("G8", "masscan's time by ours", "slash24", times_less("whole_s", &[OURS], "masscan"), AtLeast(15.0)),
    goal(
        "G8b",
        "zmap's time by ours, closed ports silent, one probe each",
        "slash24-silent",
        times_less("whole_s", ONCE, "zmap x2"),
        AtLeast(5.0),
    ),
    goal("G10", "found, worst round, %", "loss", least("found_percent"), AtLeast(99.99)),
    goal("G10", "probes a target", "loss", median("probes_per_target"), AtMost(1.35)),
    goal("G10", "double results", "loss", most("doubles"), AtMost(0.0)),
    goal(
        "G10",
        "own estimate of the loss, points off",
        "loss",
        median("loss_estimate_error_points"),
        AtMost(0.2),
    ),
    goal("G11", "1 k: error of the mean, %", "pace-1k", mean_error(), AtMost(0.5)),
    goal("G11", "1 k: error in 100 ms, %", "pace-1k", median("error_100ms_percent"), AtMost(2.0)),
    goal(
        "G11",
        "1 k: worst 1 ms, of what is allowed",
        "pace-1k",
        median("most_in_1ms_of_limit"),
        AtMost(1.0),
    ),
    goal("G11", "10 k: error of the mean, %", "pace-10k", mean_error(), AtMost(0.5)),
    goal("G11", "10 k: error in 100 ms, %", "pace-10k", median("error_100ms_percent"), AtMost(2.0)),
    goal(
        "G11",
        "10 k: worst 1 ms, of what is allowed",
        "pace-10k",
        median("most_in_1ms_of_limit"),
        AtMost(1.0),
    ),
    goal("G11", "100 k: error of the mean, %", "pace-100k", mean_error(), AtMost(0.5)),
    goal("G11", "100 k: error in 100 ms, %", "pace-100k", median("error_100ms_percent"), AtMost(2.0)),
    goal(
        "G11",
        "100 k: worst 1 ms, of what is allowed",
        "pace-100k",
        median("most_in_1ms_of_limit"),
        AtMost(1.0),
    ),
    goal("G11", "400 k: error of the mean, %", "pace-400k", mean_error(), AtMost(0.5)),
    goal("G11", "400 k: error in 100 ms, %", "pace-400k", median("error_100ms_percent"), AtMost(2.0)),
    goal(
        "G11",
        "400 k: worst 1 ms, of what is allowed",
        "pace-400k",
        median("most_in_1ms_of_limit"),
        AtMost(1.0),
    ),
    goal("G12", "1 M: error of the mean, %", "pace-1m", mean_error(), AtMost(3.0)),
    goal("G14", "start to exit, three ports of one host, s", "start-to-exit", median("wall_s"), AtMost(0.1)),
    goal("G15", "peak memory of the /24 job, MiB", "slash24", most("peak_mib"), AtMost(40.0)),
    goal("G15", "peak memory of 2^32 targets, MiB", "memory", most("peak_mib"), AtMost(64.0)),
    goal(
        "G16",
        "answers taken in a second",
        "receive",
        of("portreeve kernel", "answers_per_s"),
        AtLeast(1.5e6),
    ),
    goal(
        "G16",
        "found, worst round, %",
        "receive",
        worst_of("portreeve kernel", "found_percent"),
        AtLeast(100.0),
    ),
    goal(
        "G16",
        "without XDP: answers taken in a second",
        "receive",
        of("portreeve ring", "answers_per_s"),
        AtLeast(0.6e6),
    ),
    goal(
        "G16",
        "without XDP: found, worst round, %",
        "receive",
        worst_of("portreeve ring", "found_percent"),
        AtLeast(100.0),
    ),
    // One polite RST for an open port is allowed: 5 % of the answers.
    goal("G17", "other frames an answer", "slash16", most("side_frames_per_answer"), AtMost(0.052)),
    goal(
        "flood",
        "found under 500,000 forged replies a second, %",
        "flood",
        least("found_percent"),
        AtLeast(100.0),
    ),
    goal("flood", "wrong results under it", "flood", most("wrong"), AtMost(0.0)),
];

const fn mean_error() -> Figure {
    Figure::MedianSize { label: OURS, value: "mean_error_percent" }
}

/// A goal and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Its number.
    pub id: &'static str,
    /// What is bounded.
    pub what: &'static str,
    /// The figure; none if it was not measured.
    pub figure: Option<f64>,
    /// How far rounds lay apart, where that says something.
    pub spread: Option<Spread>,
    /// The bound, in words.
    pub bound: String,
    /// Whether it holds; none if it was not measured.
    pub reached: Option<bool>,
}

/// All goals, judged by what was measured.
pub fn judge(rows: &[Measured]) -> Vec<Verdict> {
    let at_any_loss = ["loss-0", "loss-1", "loss-3", "loss-5"].into_iter().flat_map(at_loss);
    let goals = GOALS.iter().copied().chain(at_any_loss);
    goals.map(|goal| goal.judge(rows)).collect()
}

/// What holds in every round whatever is lost.
fn at_loss(row: &'static str) -> [Goal; 3] {
    [
        goal("loss", "found, worst round, %", row, least("found_percent"), AtLeast(100.0)),
        goal(
            "loss",
            "own estimate of the loss, worst round, points off",
            row,
            most("loss_estimate_error_points"),
            AtMost(0.2),
        ),
        goal("loss", "own estimate of what is missing, %", row, most("miss_estimate_percent"), AtMost(0.2)),
    ]
}

impl Goal {
    fn judge(&self, rows: &[Measured]) -> Verdict {
        let spread = rows.iter().find(|row| row.name == self.row).and_then(|row| self.figure.of(row));
        let figure = spread.map(|spread| self.figure.pick(spread));
        let (bound, reached) = match self.bound {
            AtLeast(limit) => (format!("at least {limit}"), figure.map(|figure| figure >= limit)),
            AtMost(limit) => (format!("at most {limit}"), figure.map(|figure| figure <= limit)),
        };
        Verdict { id: self.id, what: self.what, figure, spread, bound, reached }
    }
}

impl Figure {
    fn of(self, row: &Measured) -> Option<Spread> {
        match self {
            Self::Ratio { value, ours, theirs, less_is_better } => {
                let ratios =
                    ours.iter().filter_map(|ours| row.samples.ratio(ours, theirs, value, less_is_better));
                ratios.max_by(|one, other| one.median.total_cmp(&other.median))
            }
            Self::Median { label, value } | Self::Least { label, value } | Self::Most { label, value } => {
                Spread::of(row.samples.values(label, value).map(|(_, number)| number))
            }
            Self::MedianSize { label, value } => {
                Spread::of(row.samples.values(label, value).map(|(_, number)| number.abs()))
            }
        }
    }

    fn pick(self, spread: Spread) -> f64 {
        match self {
            Self::Ratio { .. } | Self::Median { .. } | Self::MedianSize { .. } => spread.median,
            Self::Least { .. } => spread.min,
            Self::Most { .. } => spread.max,
        }
    }
}
