//! Running rows: entries take turns, rounds that were disturbed are done again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use portreeve_lab::scan::{Network, ScanLab};
use serde::Serialize;

use crate::{
    Outcome,
    job::Values,
    machine::{STOLEN_LIMIT, Surroundings, Watch, settle},
    statistics::Spread,
    tool::Tools,
};

/// How often a disturbed round is done again at most.
const REPEATS: u32 = 2;

/// What measurements need.
#[derive(Debug)]
pub struct Bench {
    /// The network.
    pub lab: ScanLab,
    /// The competitors.
    pub tools: Tools,
    /// Steady-state windows are this long.
    pub window: Duration,
    /// The backends that ours chose by itself.
    pub chosen: BTreeSet<String>,
    folder: PathBuf,
    truths: BTreeMap<String, Vec<(Ipv4Addr, u16)>>,
}

impl Bench {
    /// Makes the lab and moves the calling thread into the scanner's namespace. `folder` gets results; it is emptied.
    pub fn new(lab: &str, tools: Tools, folder: &Path, window: Duration) -> Outcome<Self> {
        let mut lab = ScanLab::new(lab)?;
        lab.enter()?;
        lab.chatter(true)?;
        Ok(Self {
            lab,
            tools,
            window,
            chosen: BTreeSet::new(),
            folder: folder.to_path_buf(),
            truths: BTreeMap::new(),
        })
    }

    /// An empty folder for results, with an empty file `empty` in it.
    pub fn fresh_folder(&self) -> Outcome<PathBuf> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&self.folder)?;
        fs::write(self.folder.join("empty"), "")?;
        Ok(self.folder.clone())
    }

    /// What has to be found, in order; computed once.
    pub fn truth(&mut self, network: &Network, ports: &[RangeInclusive<u16>]) -> &[(Ipv4Addr, u16)] {
        let Network { first, prefix, seed, open_ppm, live_ppm, .. } = network;
        let key = format!("{first}/{prefix} {seed} {open_ppm} {live_ppm} {ports:?}");
        self.truths.entry(key).or_insert_with(|| {
            let mut truth = network.truth(ports);
            truth.sort_unstable();
            truth
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Beside the binary under test; what stays there hurts nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A measurement: one sample of one competitor.
pub type Measure = Box<dyn Fn(&mut Bench) -> Outcome<Values>>;

/// One competitor of a row.
pub struct Entry {
    /// Its name.
    pub label: String,
    /// Not more rounds than this, for what takes long.
    pub rounds: u32,
    /// Takes a sample.
    pub measure: Measure,
}

/// One sample.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Whose.
    pub label: String,
    /// From 0.
    pub round: u32,
    /// By name.
    pub values: Values,
    /// What the machine did meanwhile.
    pub surroundings: Surroundings,
}

/// All samples of a row.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Samples {
    /// Those that count.
    pub samples: Vec<Sample>,
    /// Why competitors are missing, by label.
    pub absent: BTreeMap<String, String>,
    /// Rounds that were done again because of stolen time.
    pub repeated_rounds: u32,
}

impl Samples {
    /// One competitor's values of one name, with their rounds.
    pub fn values<'a>(&'a self, label: &'a str, name: &'a str) -> impl Iterator<Item = (u32, f64)> + 'a {
        let own = self.samples.iter().filter(move |sample| sample.label == label);
        own.filter_map(move |sample| Some((sample.round, *sample.values.get(name)?)))
    }

    /// The competitors, in order of appearance.
    pub fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = Vec::new();
        for sample in &self.samples {
            if !labels.contains(&sample.label.as_str()) {
                labels.push(&sample.label);
            }
        }
        labels
    }
}

/// Runs all entries, round by round; `tell` hears of each sample.
pub fn run(bench: &mut Bench, entries: &[Entry], rounds: u32, tell: &mut dyn FnMut(&Sample)) -> Samples {
    let mut all = Samples::default();
    for round in 0..rounds {
        let mut repeats = 0;
        loop {
            let samples = turn(bench, entries, round, &mut all.absent, tell);
            let disturbed = samples.iter().any(|sample| sample.surroundings.stolen > STOLEN_LIMIT);
            if disturbed && repeats < REPEATS {
                repeats += 1;
                all.repeated_rounds += 1;
                continue;
            }
            all.samples.extend(samples);
            break;
        }
    }
    all
}

/// One round.
fn turn(
    bench: &mut Bench,
    entries: &[Entry],
    round: u32,
    absent: &mut BTreeMap<String, String>,
    tell: &mut dyn FnMut(&Sample),
) -> Vec<Sample> {
    let mut samples = Vec::new();
    for entry in entries {
        if round >= entry.rounds || absent.contains_key(&entry.label) {
            continue;
        }
        let watch = Watch::begin();
        match (entry.measure)(bench) {
            Ok(values) => {
                let surroundings = watch.end();
                let sample = Sample { label: entry.label.clone(), round, values, surroundings };
                tell(&sample);
                samples.push(sample);
            }
            Err(reason) => {
                eprintln!("  {}: {reason}", entry.label);
                absent.insert(entry.label.clone(), reason.to_string());
            }
        }
        // What the last one left in queues is not the next one's.
        settle(Duration::from_millis(100));
    }
    samples
}

impl Samples {
    /// `ours` by `theirs`, within rounds that both took part in; turned over where less is better. The median is that of
    /// medians where the rounds of one are fewer.
    pub fn ratio(&self, ours: &str, theirs: &str, value: &str, less_is_better: bool) -> Option<Spread> {
        let oriented = |ours: f64, theirs: f64| if less_is_better { theirs / ours } else { ours / theirs };
        let other: BTreeMap<u32, f64> = self.values(theirs, value).collect();
        let within = self
            .values(ours, value)
            .filter_map(|(round, number)| Some(oriented(number, *other.get(&round)?)))
            .filter(|ratio| ratio.is_finite());
        let within = Spread::of(within)?;
        let middle = |label| Spread::of(self.values(label, value).map(|(_, number)| number));
        Some(Spread { median: oriented(middle(ours)?.median, middle(theirs)?.median), ..within })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(label: &str, round: u32, pps: f64) -> Sample {
        let values = Values::from([("pps", pps)]);
        Sample { label: label.to_owned(), round, values, surroundings: Surroundings::default() }
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let samples =
            vec![sample("a", 0, 10.0), sample("b", 0, 5.0), sample("a", 1, 30.0), sample("b", 1, 10.0)];
        let all = Samples { samples, ..Samples::default() };
        let ratio = all.ratio("a", "b", "pps", false).expect("both took part");
        assert_eq!((ratio.min, ratio.max), (2.0, 3.0));
        assert!((ratio.median - 20.0 / 7.5).abs() < 1e-9);
        let turned = all.ratio("a", "b", "pps", true).expect("both took part");
        assert!((turned.max - 0.5).abs() < 1e-9);
        assert_eq!(all.ratio("a", "c", "pps", false), None);
    }
}
