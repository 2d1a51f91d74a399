//! A whole job from start to exit, held against the truth.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use portreeve_lab::scan::{Counters, Coverage, INTERFACE, Mode};

use crate::{
    Outcome,
    process::{Finished, Running},
    session::Bench,
    tool::{Findings, Summary, Tool, Work},
};

/// Values of one sample by name.
pub type Values = BTreeMap<&'static str, f64>;

/// What a job came to.
#[derive(Clone, Debug)]
pub struct Done {
    /// How many open ports there are.
    pub expected: u64,
    /// How many of them were found.
    pub found: u64,
    /// Open ports that there are not.
    pub wrong: u64,
    /// Results that were said again.
    pub doubles: u64,
    /// What the far end counted.
    pub counters: Counters,
    /// How much was probed at all.
    pub coverage: Coverage,
    /// From the first probe to the last; of several runs the sum.
    pub sending: Duration,
    /// From start to exit; of several runs the sum.
    pub wall: Duration,
    /// CPU time.
    pub cpu: Duration,
    /// Peak of the resident memory.
    pub peak_bytes: u64,
    /// What the tool says of itself.
    pub summary: Summary,
    /// It had to be ended.
    pub timed_out: bool,
    /// Frames that reached the scanner's interface: answers, and the chatter.
    pub delivered: u64,
    /// This was one part of so many.
    pub parts: u32,
}

impl Done {
    /// The share of the truth that was found, in percent.
    pub fn found_percent(&self) -> f64 {
        100.0 * self.found as f64 / (self.expected.max(1)) as f64
    }

    /// Every target was probed exactly once, with right checksums, and nothing else was.
    pub fn is_exact(&self) -> bool {
        let Counters { repeats, untracked, bad_sums, .. } = self.counters;
        self.coverage.probed == self.coverage.tracked && (repeats, untracked, bad_sums) == (0, 0, 0)
    }

    /// From start to exit; if this was a part, what the whole would take at the same pace.
    pub fn whole(&self) -> Duration {
        self.wall.saturating_sub(self.sending) + self.sending * self.parts
    }

    /// As named values.
    pub fn values(&self) -> Values {
        let probes = self.counters.probes.max(1) as f64;
        let mut values = Values::from([
            ("found_percent", self.found_percent()),
            ("wrong", self.wrong as f64),
            ("doubles", self.doubles as f64),
            ("probes", self.counters.probes as f64),
            ("probes_per_target", probes / self.coverage.tracked.max(1) as f64),
            ("unprobed", (self.coverage.tracked - self.coverage.probed) as f64),
            ("repeats", self.counters.repeats as f64),
            ("bad_sums", self.counters.bad_sums as f64),
            ("send_s", self.sending.as_secs_f64()),
            ("probes_per_s", probes / self.sending.as_secs_f64().max(1e-9)),
            ("answers_per_s", self.counters.answers() as f64 / self.sending.as_secs_f64().max(1e-9)),
            ("wall_s", self.wall.as_secs_f64()),
            ("whole_s", self.whole().as_secs_f64()),
            ("delivered_percent", 100.0 * self.delivered as f64 / self.counters.answers().max(1) as f64),
            ("cpu_s", self.cpu.as_secs_f64()),
            ("cpu_s_per_million", self.cpu.as_secs_f64() / probes * 1e6),
            ("peak_mib", self.peak_bytes as f64 / f64::from(1 << 20)),
            (
                "side_frames_per_answer",
                self.counters.side_traffic() as f64 / self.counters.answers().max(1) as f64,
            ),
        ]);
        let lost =
            self.summary.drops.iter().filter(|drop| matches!(&*drop.cause, "kernel-ring-full" | "late"));
        values.insert("lost_by_ours", lost.map(|drop| drop.count as f64).sum());
        values.extend(self.summary.miss_estimate.map(|share| ("miss_estimate_percent", share * 100.0)));
        if let Some(estimate) = self.summary.loss_estimate {
            let loss = self.loss_percent();
            values.insert("loss_estimate_percent", estimate * 100.0);
            values.insert("loss_percent", loss);
            values.insert("loss_estimate_error_points", (estimate * 100.0 - loss).abs());
        }
        values
    }

    /// The share of the probes that got no answer because they or it were lost, in percent, where every target answers.
    fn loss_percent(&self) -> f64 {
        let Counters { probes, lost_probes, lost_replies, lost_at_link, .. } = self.counters;
        100.0 * (lost_probes + lost_replies + lost_at_link) as f64 / probes.max(1) as f64
    }
}

/// Does all of `work` with `tool`, the far end answering.
pub fn run(bench: &mut Bench, tool: &Tool, work: &Work, limit: Duration) -> Outcome<Done> {
    bench.lab.network(&work.network)?;
    bench.lab.track(work.network.hosts(), &work.ports)?;
    bench.lab.verify(true)?;
    bench.lab.stamp(true)?;
    bench.lab.mode(Mode::Respond)?;
    bench.lab.reset()?;
    let folder = bench.fresh_folder()?;
    let delivered_before = received_frames()?;
    let mut done: Option<Done> = None;
    for words in bench.tools.commands(tool, work, &folder) {
        bench.lab.rewind()?;
        let finished = Running::start(&words, &folder)?.finish(limit)?;
        if !finished.succeeded && !finished.timed_out {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            return Err(format!("{} failed: {}", tool.label(), last_line(&log)).into());
        }
        done = Some(add(done, finished, bench.lab.counters()?));
    }
    let mut done = done.ok_or("no command")?;
    done.delivered = received_frames()?.saturating_sub(delivered_before);
    judge(&mut done, bench, tool, work, &folder)?;
    Ok(done)
}

/// What the scanner's interface has received: tells what a tool lost from what the link lost.
fn received_frames() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(INTERFACE)?.strip_prefix(':'));
    let frames = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    Ok(frames.ok_or("the lab's interface has no counters")?)
}

/// Adds one run to those before it.
fn add(done: Option<Done>, finished: Finished, counters: Counters) -> Done {
    let mut sum = done.unwrap_or(Done {
        expected: 0,
        found: 0,
        wrong: 0,
        doubles: 0,
        counters,
        coverage: Coverage { tracked: 0, probed: 0 },
        sending: Duration::ZERO,
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
        peak_bytes: 0,
        summary: Summary::default(),
        timed_out: false,
        parts: 1,
        delivered: 0,
    });
    sum.sending += counters.span;
    sum.counters = counters;
    sum.wall += finished.wall;
    sum.cpu += finished.cpu;
    sum.peak_bytes = sum.peak_bytes.max(finished.peak_bytes);
    sum.timed_out |= finished.timed_out;
    sum
}

/// Holds what was found against the truth.
fn judge(done: &mut Done, bench: &mut Bench, tool: &Tool, work: &Work, folder: &Path) -> Outcome {
    let findings = Findings::read(tool, folder)?;
    let truth = bench.truth(&work.network, &work.ports);
    done.parts = work.parts;
    // Of a part, what answered is the truth: each pair is asked once.
    done.expected = if done.parts > 1 { done.counters.sent_syn_acks } else { truth.len() as u64 };
    done.found = findings.open.iter().filter(|pair| truth.binary_search(pair).is_ok()).count() as u64;
    done.wrong = findings.open.len() as u64 - done.found;
    done.doubles = findings.doubles;
    done.summary = findings.summary;
    if let (Some(backend), Tool::Portreeve { backend: "auto", .. }) = (&done.summary.backend, tool) {
        bench.chosen.insert(backend.clone());
    }
    done.coverage = bench.lab.coverage()?;
    Ok(())
}

fn last_line(log: &str) -> &str {
    log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing")
}
