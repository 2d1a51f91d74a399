//! What a scan leaves behind while it runs, so that another can go on after it was killed at any moment.
//!
//! A checkpoint says how far the probes are and, page by page, who has answered. It travels among the events: all
//! that was found until then comes before it. So whoever flushes what came before and then keeps the checkpoint
//! loses nothing: a target that is marked as answered has been reported, all others are asked again.
//!
//! What was sent last has not been answered yet, so a checkpoint lies a little behind: as long as answers take.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    Event,
    loss::Histories,
    receive::{Seen, Tally},
};

/// How far a scan is. Another with the same targets, ports, seed and shard can go on from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where the part of the probe order begins that is worked on.
    pub stretch: u64,
    /// Where that part ends; 0 if it is as long as others are.
    pub stretch_end: u64,
    /// The round under way at that part, from 0.
    pub attempt: u8,
    /// Everyone before this position of the order was asked in this round.
    pub position: u64,
    /// Targets of the part that have been asked.
    pub asked: u64,
    /// How many of them first answered round 0, 1, 2 ….
    pub first_answers: [u64; 16],
    /// Who has answered, by place in the part: the pages that have changed since the last checkpoint.
    pub answered: Vec<Page>,
    /// The hosts that were met, by their number: the pages that have changed.
    pub hosts: Vec<Page>,
}

/// A piece of a set of numbers: bit `b` of word `w` stands for `(number × 512 + w) × 64 + b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Which piece.
    pub number: u32,
    /// Its bits.
    pub words: Vec<u64>,
}

impl Page {
    /// Words of a page; the last of a set may have fewer.
    pub const WORDS: usize = 512;

    /// The numbers that it holds.
    fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let first = u64::from(self.number) * Self::WORDS as u64 * 64;
        let words = (first..).step_by(64).zip(self.words.iter().copied());
        words.flat_map(|(start, bits)| {
            (0..u64::from(u64::BITS)).filter(move |bit| bits >> bit & 1 != 0).map(move |bit| start + bit)
        })
    }

    /// How many numbers from `from` on it holds.
    pub(crate) fn count_from(&self, from: u64) -> u64 {
        self.numbers().filter(|&number| number >= from).count() as u64
    }
}

impl Checkpoint {
    /// Everyone before `position` was asked as often as is wanted, and nothing is known of the rest.
    pub fn at(position: u64) -> Self {
        Self { stretch: position, position, ..Self::default() }
    }

    /// This checkpoint for someone who has not kept the one before it: with what had changed until then.
    #[must_use]
    pub fn after(mut self, earlier: Self) -> Self {
        if self.stretch == earlier.stretch {
            add_older(&mut self.answered, earlier.answered);
        }
        add_older(&mut self.hosts, earlier.hosts);
        self
    }

    pub(crate) fn histories(&self) -> Histories {
        Histories { first_answers: self.first_answers, attempts: self.attempt }
    }
}

/// Adds the pages that have not changed again: bits are only ever set, so a newer page has those of the older.
fn add_older(pages: &mut Vec<Page>, older: Vec<Page>) {
    let newer: BTreeSet<u32> = pages.iter().map(|page| page.number).collect();
    pages.extend(older.into_iter().filter(|page| !newer.contains(&page.number)));
}

/// Where the probes of a stretch are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) attempt: u8,
    pub(crate) position: u64,
    pub(crate) asked: u64,
}

/// Makes the checkpoints of a stretch beside its attempts.
pub(crate) struct Clerk<'a> {
    tally: &'a Tally,
    every: Duration,
    /// Where the probes were, lately.
    marks: VecDeque<(Instant, Mark)>,
    /// The last mark whose answers are in.
    settled: Mark,
}

impl<'a> Clerk<'a> {
    /// How often it looks where the probes are.
    const LOOK: Duration = Duration::from_millis(20);
    /// How long answers are waited for before the mark that they belong to counts, at most.
    const LONGEST_LAG: Duration = Duration::from_millis(300);
    const SHORTEST_LAG: Duration = Duration::from_millis(40);

    pub(crate) fn new(tally: &'a Tally, every: Duration) -> Self {
        Self { tally, every, marks: VecDeque::new(), settled: tally.mark() }
    }

    /// Works until the attempts are over, and makes a last checkpoint then if the scan was cancelled.
    pub(crate) fn run(mut self) {
        let mut last = Instant::now();
        while !self.tally.is_stopped() {
            std::thread::sleep(Self::LOOK);
            self.look();
            if last.elapsed() >= self.every && self.write() {
                last = Instant::now();
            }
        }
        if self.tally.common.control.is_cancelled() {
            self.write();
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.marks.push_back((now, self.tally.mark()));
        let lag = self.tally.slowest_answer().map_or(Self::LONGEST_LAG, |slowest| slowest * 2);
        let lag = lag.clamp(Self::SHORTEST_LAG, Self::LONGEST_LAG);
        while let Some(&(at, mark)) = self.marks.front()
            && now.saturating_duration_since(at) >= lag
        {
            self.settled = mark;
            self.marks.pop_front();
        }
    }

    /// Makes a checkpoint; false if events were under way all the time.
    fn write(&self) -> bool {
        let (tally, common) = (self.tally, &self.tally.common);
        let first_answers = tally.histories(0).first_answers;
        let (answered, hosts) = (tally.answered.take_changed(), common.hosts.take_changed());
        // Marked and not reported yet would be lost; so what is being reported now has to come first.
        if !tally.await_reports() {
            tally.answered.mark_changed(&answered);
            common.hosts.mark_changed(&hosts);
            return false;
        }
        let Mark { attempt, position, asked } = self.settled;
        let stretch = tally.stretch();
        common.send(Event::Checkpoint(Box::new(Checkpoint {
            stretch: stretch.start,
            stretch_end: stretch.end,
            attempt,
            position,
            asked,
            first_answers,
            answered,
            hosts,
        })));
        true
    }
}

/// Fills a set with the pages of a checkpoint; returns how many numbers were new to it.
pub(crate) fn restore(set: &Seen, pages: &[Page]) -> u64 {
    let numbers = pages.iter().flat_map(Page::numbers);
    numbers.filter(|&number| set.insert(number)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u32, first_word: u64) -> Page {
        Page { number, words: vec![first_word] }
    }

    #[test]
    fn a_checkpoint_stands_for_those_before_it() {
        let earlier = Checkpoint {
            position: 5,
            answered: vec![page(0, 1), page(2, 1)],
            hosts: vec![page(0, 1), page(1, 1)],
            ..Checkpoint::default()
        };
        let later = Checkpoint {
            position: 9,
            answered: vec![page(2, 3)],
            hosts: vec![page(0, 7)],
            ..Checkpoint::default()
        };
        let both = later.clone().after(earlier.clone());
        assert_eq!(both.position, 9);
        assert_eq!(both.answered, [page(2, 3), page(0, 1)]);
        assert_eq!(both.hosts, [page(0, 7), page(1, 1)]);
        let elsewhere = Checkpoint { stretch: 100, ..later }.after(earlier);
        assert_eq!(elsewhere.answered, [page(2, 3)], "places are those of the stretch");
        assert_eq!(elsewhere.hosts.len(), 2);
    }
}
