//! The far end's process, and what it counts.

use std::{
    fmt,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use crate::{LabError, in_namespace};

/// The program that owns the XDP side; it ends with its standard input.
#[derive(Debug)]
pub(super) struct FarEnd {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl FarEnd {
    pub(super) fn start(
        namespace: &str,
        program: &Path,
        object: &Path,
        interface: &str,
    ) -> Result<Self, LabError> {
        let failed = |error: &dyn fmt::Display| LabError::new("start the far end of the scan lab", error);
        let mut command = in_namespace(namespace, &program.to_string_lossy());
        command.arg(object).arg(interface).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(&"its pipes are missing"));
        };
        let mut far = Self { child, input: Some(input), output: BufReader::new(output) };
        far.answer("start").map(|_| far)
    }

    /// A command without an answer.
    pub(super) fn tell(&mut self, command: &str) -> Result<(), LabError> {
        self.say(command)?;
        self.answer(command).map(drop)
    }

    /// A command that is answered by numbers.
    pub(super) fn ask(&mut self, command: &str) -> Result<Vec<u64>, LabError> {
        self.say(command)?;
        let answer = self.answer(command)?;
        answer.split_whitespace().map(|word| word.parse().map_err(|_| nonsense(command))).collect()
    }

    pub(super) fn stop(&mut self) {
        drop(self.input.take());
        // It leaves when its input ends; a failure means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn say(&mut self, command: &str) -> Result<(), LabError> {
        let Some(input) = &mut self.input else { return Err(nonsense(command)) };
        writeln!(input, "{command}")
            .map_err(|error| LabError::new(format!("tell the far end {command:?}"), error))
    }

    fn answer(&mut self, command: &str) -> Result<String, LabError> {
        let what = || format!("have the far end obey {command:?}");
        let mut line = String::new();
        let length = self.output.read_line(&mut line).map_err(|error| LabError::new(what(), error))?;
        match line.strip_prefix("error: ") {
            Some(reason) => Err(LabError::new(what(), reason)),
            None if length == 0 => Err(LabError::new(what(), "it has ended")),
            None => Ok(line),
        }
    }
}

/// The error for an answer that cannot be one.
pub(super) fn nonsense(command: &str) -> LabError {
    LabError::new(format!("ask the far end for {command:?}"), "its answer makes no sense")
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What arrived and what was done about it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Every frame.
    pub frames: u64,
    /// Their lengths.
    pub bytes: u64,
    /// TCP SYN to the network.
    pub probes: u64,
    /// TCP RST of the scanner or of its kernel.
    pub resets: u64,
    /// Other TCP segments.
    pub other_tcp: u64,
    /// ICMP echo requests.
    pub echoes: u64,
    /// UDP datagrams.
    pub udp: u64,
    /// Everything else (ARP, frames to elsewhere).
    pub other: u64,
    /// SYN-ACKs sent.
    pub sent_syn_acks: u64,
    /// RSTs sent.
    pub sent_resets: u64,
    /// ICMP echo replies sent.
    pub sent_echoes: u64,
    /// Probes thrown away by chance, as asked for.
    pub lost_probes: u64,
    /// Answers thrown away by chance, as asked for.
    pub lost_replies: u64,
    /// Probes that did not fit into the narrow link.
    pub lost_at_link: u64,
    /// Probes with a wrong checksum.
    pub bad_sums: u64,
    /// Probes to a tracked pair that was probed before.
    pub repeats: u64,
    /// Probes outside of what is tracked.
    pub untracked: u64,
    /// From the first arrival to the last.
    pub span: Duration,
}

impl Counters {
    /// From the far end's numbers, which are in the order of `enum far_counter`.
    pub(super) fn new(numbers: &[u64]) -> Option<Self> {
        let &[
            frames,
            bytes,
            probes,
            resets,
            other_tcp,
            echoes,
            udp,
            other,
            sent_syn_acks,
            sent_resets,
            sent_echoes,
            lost_probes,
            lost_replies,
            lost_at_link,
            bad_sums,
            repeats,
            untracked,
            first_ns,
            last_ns,
        ] = numbers
        else {
            return None;
        };
        Some(Self {
            frames,
            bytes,
            probes,
            resets,
            other_tcp,
            echoes,
            udp,
            other,
            sent_syn_acks,
            sent_resets,
            sent_echoes,
            lost_probes,
            lost_replies,
            lost_at_link,
            bad_sums,
            repeats,
            untracked,
            span: Duration::from_nanos(last_ns.saturating_sub(first_ns)),
        })
    }

    /// Answers of any kind that were sent.
    pub fn answers(&self) -> u64 {
        self.sent_syn_acks + self.sent_resets + self.sent_echoes
    }

    /// Frames that were no probes: what a scan costs the network besides.
    pub fn side_traffic(&self) -> u64 {
        self.resets + self.other_tcp + self.udp + self.other
    }
}

/// How much of the tracked rectangle was probed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Coverage {
    /// Pairs that are tracked.
    pub tracked: u64,
    /// Pairs that were probed at least once.
    pub probed: u64,
}
