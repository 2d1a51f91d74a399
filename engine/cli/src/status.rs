//! The live line on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use portreeve_agent::Tally;
use portreeve_scan::{Phase, Progress};

/// A line on stderr that is rewritten in place; nothing at all when stderr is no terminal.
pub(crate) struct Status {
    bar: ProgressBar,
}

impl Status {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    pub(crate) fn show(&self, progress: &Progress, tally: &Tally, wait: Duration) {
        self.bar.set_message(line(progress, tally, wait));
        self.bar.tick();
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(progress: &Progress, tally: &Tally, wait: Duration) -> String {
    let mut parts = vec![
        progress.phase.to_string(),
        format!("{} of {} probes", progress.probes_sent, progress.probes_total),
        format!("{} pps", progress.rate_pps),
        format!("{} open, {} hosts", progress.open_ports, progress.hosts),
    ];
    if tally.accepted() > 0 {
        parts.push(format!("{} of {} identified", tally.answered(), tally.accepted()));
    }
    if let Some(missed) = progress.miss_estimate {
        parts.push(format!("missed about {:.2} %", missed * 100.0));
    }
    if let Some(left) = time_left(progress, wait) {
        parts.push(format!("{} left", duration(left)));
    }
    parts.join(" · ")
}

fn time_left(progress: &Progress, wait: Duration) -> Option<Duration> {
    let left = progress.probes_total.saturating_sub(progress.probes_done);
    match progress.phase {
        Phase::Probing | Phase::Discovering if progress.rate_pps > 0 => {
            Some(Duration::from_secs(left / u64::from(progress.rate_pps)) + wait)
        }
        _ => None,
    }
}

/// Whole seconds up to days.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_how_far_and_how_long() {
        let progress = Progress {
            phase: Phase::Probing,
            probes_sent: 500,
            probes_total: 130_000,
            probes_done: 500,
            open_ports: 3,
            hosts: 2,
            rate_pps: 1_000,
            miss_estimate: Some(0.001),
            ..Progress::default()
        };
        let line = line(&progress, &Tally::default(), Duration::from_secs(2));
        assert_eq!(
            line,
            "Probing · 500 of 130000 probes · 1000 pps · 3 open, 2 hosts · missed about 0.10 % · 2 min 11 s left"
        );
    }

    #[test]
    fn durations_are_read_at_a_glance() {
        let shown = [5, 65, 3_700, 90_000].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(shown, ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }
}
