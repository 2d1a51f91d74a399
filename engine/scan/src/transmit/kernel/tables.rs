//! The tables that the generator's programs look up: which range a host is in, how a kind is made, who lives where.

use std::{io, sync::atomic::Ordering::Relaxed};

use portreeve_model::MacAddress;

use super::{
    Purpose,
    plan::{Plan, Recipe, Segment},
};
use crate::{
    receive::TallyMemory,
    sys::bpf::{SharedArray, Table},
};

/// All tables of a generator.
#[derive(Debug)]
pub(super) struct Tables {
    /// Bits of the positions of a stretch whose target has answered.
    pub(super) answered: Table,
    /// Stamps of the positions of a stretch, two to an entry, if times are kept.
    pub(super) sent_at: Option<Table>,
    /// Bits of the hosts that were met, and whether those are probed or the others.
    pub(super) met_hosts: Option<(Table, Among)>,
    /// For each kind its port, and above that its mould; [`Self::NOT_CARRIED`] if it has none. Needed unless all have one
    /// mould and their ports follow each other.
    pub(super) kinds: Option<SharedArray>,
    /// Each segment's first number, its first and last address by their lower halves, its way, and the upper half.
    pub(super) segments: SharedArray,
    /// For every 2^`hint_shift` hosts, from the first that is carried, the segments that can be theirs: first, and the one after the last.
    pub(super) hints: SharedArray,
    pub(super) hint_shift: u32,
    /// Halvings after which one segment is left, whatever the hint.
    pub(super) search_steps: u32,
    pub(super) neighbors: Option<Neighbors>,
}

/// Offsets in a segment.
pub(super) mod segment {
    pub const START: i16 = 0;
    pub const FIRST: i16 = 8;
    pub const LAST: i16 = 16;
    pub const WAY: i16 = 24;
    pub const UPPER: i16 = 32;
    pub const WORDS: u32 = 5;
}

/// Which hosts are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    Met,
    Unmet,
}

/// The hardware addresses of targets on the link, by the targets' numbers.
#[derive(Debug)]
pub(super) struct Neighbors {
    pub(super) first_host: u64,
    pub(super) hosts: u64,
    pub(super) hardware: SharedArray,
}

impl Neighbors {
    /// The most that a table is made for: 8 MiB.
    pub(super) const MOST: u64 = 1 << 20;
    /// Tells an address from an empty entry.
    const KNOWN: u64 = 1 << 63;

    pub(super) fn set(&self, host: u64, mac: MacAddress) {
        let [a, b, c, d, e, f] = mac.0;
        let word = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) | Self::KNOWN;
        let place = host.checked_sub(self.first_host);
        if let Some(entry) = place.and_then(|place| self.hardware.get(place as usize)) {
            entry.store(word, Relaxed);
        }
    }
}

impl Tables {
    /// Where the mould begins in an entry of [`Self::kinds`].
    pub(super) const MOULD_SHIFT: i32 = 16;
    const NOT_CARRIED: u64 = (u16::MAX as u64) << Self::MOULD_SHIFT;

    pub(super) fn new(plan: &Plan, memory: &TallyMemory, purpose: Purpose) -> io::Result<Self> {
        let segments = array("pr_segments", plan.segments.iter().map(words), segment::WORDS)?;
        let kinds = plan.port_run().is_none();
        let kinds = kinds
            .then(|| array("pr_kinds", plan.recipes.iter().map(|recipe| [word(*recipe)]), 1))
            .transpose()?;
        let hint_shift = hint_shift(plan);
        let hints = hints(plan, hint_shift);
        let widest = hints.iter().map(|(low, high)| high - low).max().unwrap_or(1);
        let hints =
            array("pr_hints", hints.iter().map(|&(low, high)| [u64::from(high) << 32 | u64::from(low)]), 1)?;
        let neighbors = plan
            .on_link
            .map(|(first_host, last)| {
                let hosts = last - first_host + 1;
                let hardware = SharedArray::new("pr_neighbors", hosts.min(Neighbors::MOST) as u32, 1)?;
                Ok::<_, io::Error>(Neighbors { first_host, hosts, hardware })
            })
            .transpose()?;
        Ok(Self {
            answered: memory.answered.words.table(),
            sent_at: memory.sent_at.as_ref().map(|array| array.table()),
            met_hosts: memory.hosts.as_ref().and_then(|hosts| Some((hosts.words.table(), purpose.among()?))),
            kinds,
            segments,
            hints,
            hint_shift,
            search_steps: widest.next_power_of_two().ilog2(),
            neighbors,
        })
    }
}

/// A map with these entries.
fn array<const N: usize>(
    label: &str,
    entries: impl ExactSizeIterator<Item = [u64; N]>,
    words_each: u32,
) -> io::Result<SharedArray> {
    let array = SharedArray::new(label, entries.len().max(1) as u32, words_each)?;
    for (word, value) in array.iter().zip(entries.flatten()) {
        word.store(value, Relaxed);
    }
    Ok(array)
}

fn word(recipe: Option<Recipe>) -> u64 {
    recipe.map_or(Tables::NOT_CARRIED, |recipe| {
        u64::from(recipe.mould) << Tables::MOULD_SHIFT | u64::from(recipe.port)
    })
}

fn words(segment: &Segment) -> [u64; segment::WORDS as usize] {
    let Segment { start, first, last, upper, way } = *segment;
    [start, first, last, way.map_or(u64::MAX, u64::from), upper]
}

/// So that there are about two hints for each segment.
fn hint_shift(plan: &Plan) -> u32 {
    let wanted = (plan.segments.len() as u64 * 2).next_power_of_two();
    ((plan.hosts.end - plan.hosts.start) / wanted).max(1).ilog2()
}

fn hints(plan: &Plan, shift: u32) -> Vec<(u32, u32)> {
    let starts = |number: u64| plan.segments.partition_point(|segment| segment.start <= number) as u32;
    (0..=(plan.hosts.end - plan.hosts.start) >> shift)
        .map(|slot| {
            let first = plan.hosts.start + (slot << shift);
            let last = first + (1 << shift) - 1;
            (starts(first).saturating_sub(1), starts(last).max(1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Mould;

    fn plan(first_host: u64, lengths: &[u64]) -> Plan {
        let mut start = first_host;
        let segments = lengths
            .iter()
            .map(|length| {
                let segment = Segment { start, first: 0, last: 0, upper: 0, way: None };
                start += length;
                segment
            })
            .collect();
        Plan {
            addresses: start,
            v4_addresses: start,
            kinds: 1,
            first_kind: 0,
            recipes: vec![Some(Recipe { mould: 0, port: 80 })],
            moulds: vec![Mould::Syn],
            segments,
            hosts: first_host..start,
            ways: Vec::new(),
            on_link: None,
        }
    }

    #[test]
    fn every_host_is_in_one_of_the_segments_that_its_hint_names() {
        for lengths in [&[1][..], &[7, 1, 1, 1, 500, 3], &[1 << 20], &[1, 1 << 20, 1, 1, 1, 1, 1, 1, 1]] {
            let addresses: u64 = lengths.iter().sum();
            for first_host in [0, 1, 1 << 32] {
                let plan = plan(first_host, lengths);
                let shift = hint_shift(&plan);
                let hints = hints(&plan, shift);
                for place in (0..addresses).step_by(if addresses > 10_000 { 97 } else { 1 }) {
                    let (low, high) = hints[(place >> shift) as usize];
                    let host = first_host + place;
                    let inside = plan.segments.partition_point(|segment| segment.start <= host) as u32 - 1;
                    assert!((low..high).contains(&inside), "host {host}: {inside} is not in {low}..{high}");
                }
            }
        }
    }
}
