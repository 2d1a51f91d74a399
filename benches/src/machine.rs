//! What the measurements ran on, and what else ran meanwhile.

use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

/// The share of a sample's CPU time that the hypervisor may take before the round is done again.
pub const STOLEN_LIMIT: f64 = 0.05;
/// Ticks a second, as in /proc/stat; the same on every architecture that Linux runs on today.
const TICKS: f64 = 100.0;

/// Facts by name: kernel, processor, cores, memory, load, versions.
pub type Facts = BTreeMap<String, String>;

/// This machine's facts.
pub fn facts() -> Facts {
    let first_of = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let facts = [
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("processor", first_of("/proc/cpuinfo", "model name")),
        ("cores", cores.to_string()),
        ("memory", first_of("/proc/meminfo", "MemTotal")),
        ("link", "a veth pair between two network namespaces".to_owned()),
        ("governor", read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        ("load before", read("/proc/loadavg")),
        ("date", said_by("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
        ("commit", said_by("git", &["describe", "--always", "--dirty", "--abbrev=12"])),
    ];
    let facts = facts.into_iter().filter(|(_, fact)| !fact.is_empty());
    facts.map(|(name, fact)| (name.to_owned(), fact)).collect()
}

/// The first line that a program prints.
pub fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// What the machine did while a sample was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Surroundings {
    /// Share of all CPU time that the hypervisor took.
    pub stolen: f64,
    /// Share of all CPU time that was used, by whomever.
    pub busy: f64,
    /// The load average of the last minute.
    pub load: f64,
}

/// Watches the machine from its making on.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    ticks: Ticks,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ticks {
    busy: f64,
    stolen: f64,
}

impl Watch {
    /// Begins now.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), ticks: ticks() }
    }

    /// What happened since.
    pub fn end(&self) -> Surroundings {
        let now = ticks();
        let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
        let all = (self.begun.elapsed().as_secs_f64() * TICKS * cores).max(1.0);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Surroundings {
            stolen: (now.stolen - self.ticks.stolen) / all,
            busy: (now.busy - self.ticks.busy) / all,
            load: load.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0),
        }
    }
}

fn ticks() -> Ticks {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let numbers: Vec<f64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [user, nice, system, _idle, _waiting, interrupts, soft, stolen, ..] => {
            Ticks { busy: user + nice + system + interrupts + soft, stolen }
        }
        _ => Ticks::default(),
    }
}

/// Raises the kernel's packet threads while it lives: a competitor that runs at the highest priority must not starve the
/// threads that deliver its packets.
#[derive(Debug)]
pub struct Boost {
    threads: Vec<String>,
}

impl Boost {
    /// Raises them.
    pub fn new() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let threads = numbers.filter(|number| {
            let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
            name.starts_with("ksoftirqd/") || name.starts_with("napi/")
        });
        let boost = Self { threads: threads.collect() };
        boost.set("-20");
        boost
    }

    fn set(&self, nice: &str) {
        for thread in &self.threads {
            // Not being allowed to is a worse figure, not an error.
            let _ = Command::new("renice").args(["-n", nice, "-p", thread]).output();
        }
    }
}

impl Default for Boost {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Boost {
    fn drop(&mut self) {
        self.set("0");
    }
}

/// A pause that a measurement needs.
pub fn settle(time: Duration) {
    thread::sleep(time);
}
