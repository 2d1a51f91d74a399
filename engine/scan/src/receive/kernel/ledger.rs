//! Closed ports, noted in the kernel.
//!
//! Most of what answers a scan at full rate says no more than "closed". Unless somebody asked for closed ports such an
//! answer changes one bit and a few counts, so the program that has checked its cookie does that on the spot: it turns
//! address and port to the target's number, the number to its position in the order (the permutation backwards), and sets
//! the bit of the position in the tally. No record is made that user space would have to keep up with. The first answer of
//! each host is left to user space, which reports the host; so is whatever does not fit, with [`Ledger::note`]'s label.
//!
//! Counts are kept for each processor and taken in from time to time.

mod program;

use std::{
    io,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use crate::{
    Permutation,
    receive::{Tally, TallyMemory, seen::SeenMemory, tally::Noted},
    space::ProbeSpace,
    sys::bpf::{SharedArray, processors},
    transmit::Stopwatch,
};

/// What the program needs to know where to note, and what it has counted.
pub(crate) struct Ledger {
    space: ProbeSpace,
    order: Permutation,
    memory: TallyMemory,
    hosts: SeenMemory,
    ports: Ports,
    /// Each range of IPv4 addresses: first address, length, number of the first.
    ranges: Vec<[u64; 3]>,
    /// The same to be looked up, if there are several.
    range_table: Option<SharedArray>,
    /// Settings, and behind them the counts of each processor.
    control: SharedArray,
    processors: u32,
    reported: Counts,
}

/// The TCP ports of a scan, by their place among what is asked of each address.
struct Ports {
    /// The place of the first.
    first_place: u64,
    first: u16,
    count: u64,
    /// The place behind the first, plus one, for every port up to the last; none if they follow each other.
    table: Option<SharedArray>,
}

/// Settings, by byte.
mod setting {
    /// The position of bit 0.
    pub const STRETCH_START: i16 = 0;
    /// Positions that there are bits for; 0 if nothing is to be noted.
    pub const STRETCH_LENGTH: i16 = 8;
    /// When the scan began, by the kernel's monotonic clock.
    pub const START_NS: i16 = 16;
    /// Behind them.
    pub const BYTES: u32 = 64;
}

/// A processor's counts, by byte.
mod count {
    /// One for each attempt.
    pub const FIRST_ANSWERS: i16 = 0;
    pub const DUPLICATE: i16 = 128;
    pub const LATE: i16 = 136;
    /// Not a count: microseconds.
    pub const SLOWEST: i16 = 144;
    /// Of each processor: a power of two, in lines of its own.
    pub const SHIFT: i32 = 8;
}

/// Sums over all processors since the program was loaded.
#[derive(Clone, Copy, Default)]
struct Counts {
    first_answers: [u64; 16],
    duplicate: u64,
    late: u64,
}

impl Ledger {
    /// A program that was at work when the last stretch was closed is through after this, many times over.
    const SETTLE: Duration = Duration::from_millis(1);

    /// A ledger for the TCP ports of `space`; `None` if its hosts are too many to know each.
    pub(crate) fn new(
        space: &ProbeSpace,
        order: Permutation,
        memory: &TallyMemory,
    ) -> io::Result<Option<Self>> {
        let Some(hosts) = memory.hosts.clone() else { return Ok(None) };
        let ranges = ranges(space);
        let (first_place, ports) = space.tcp_ports();
        if ranges.is_empty() || ports.is_empty() {
            return Ok(None);
        }
        let processors = processors();
        let words = (setting::BYTES + (processors << count::SHIFT)) / 8;
        Ok(Some(Self {
            order,
            memory: memory.clone(),
            hosts,
            ports: Ports::new(first_place, &ports)?,
            range_table: (ranges.len() > 1).then(|| range_table(&ranges)).transpose()?,
            ranges,
            control: SharedArray::new("pr_ledger", 1, words)?,
            processors,
            reported: Counts::default(),
            space: space.clone(),
        }))
    }

    /// How many hosts it is about.
    pub(super) fn hosts(&self) -> u64 {
        self.space.targets().count()
    }

    /// From here on answers are noted for this tally, if it is about the ledger's space and in the shared memory.
    pub(super) fn open(&mut self, space: &ProbeSpace, tally: &Tally, time: Stopwatch) {
        if space.kinds() != self.space.kinds() || !tally.is_in(&self.memory) {
            return;
        }
        let stretch = tally.stretch();
        self.for_each_processor(count::SLOWEST, |slowest| slowest.store(0, Relaxed));
        self.set(setting::START_NS, time.start_ns());
        self.set(setting::STRETCH_START, stretch.start);
        self.set(setting::STRETCH_LENGTH, stretch.end - stretch.start);
    }

    /// Ends that, and takes the rest of the counts in.
    pub(super) fn close(&mut self, tally: &Tally) {
        self.set(setting::STRETCH_LENGTH, 0);
        thread::sleep(Self::SETTLE);
        self.count(tally);
    }

    /// Takes in what was counted since the last time.
    pub(super) fn count(&mut self, tally: &Tally) {
        let (now, before) = (self.counts(), self.reported);
        let mut noted = Noted {
            duplicate: now.duplicate - before.duplicate,
            late: now.late - before.late,
            slowest_us: self.slowest_us(),
            ..Noted::default()
        };
        let both = now.first_answers.iter().zip(&before.first_answers);
        for (noted, (now, before)) in noted.first_answers.iter_mut().zip(both) {
            *noted = now - before;
        }
        tally.take_noted(&noted);
        self.reported = now;
    }

    fn counts(&self) -> Counts {
        let sum = |field| {
            let mut sum = 0;
            self.for_each_processor(field, |count| sum += count.load(Relaxed));
            sum
        };
        Counts {
            first_answers: std::array::from_fn(|attempt| sum(count::FIRST_ANSWERS + attempt as i16 * 8)),
            duplicate: sum(count::DUPLICATE),
            late: sum(count::LATE),
        }
    }

    fn slowest_us(&self) -> u32 {
        let mut slowest = 0;
        self.for_each_processor(count::SLOWEST, |count| slowest = slowest.max(count.load(Relaxed)));
        slowest as u32
    }

    fn for_each_processor(&self, field: i16, mut visit: impl FnMut(&AtomicU64)) {
        for number in 0..self.processors {
            let at = setting::BYTES + (number << count::SHIFT) + field as u32;
            if let Some(word) = self.control.get(at as usize / 8) {
                visit(word);
            }
        }
    }

    fn set(&self, field: i16, value: u64) {
        if let Some(word) = self.control.get(field as usize / 8) {
            word.store(value, Relaxed);
        }
    }
}

impl Ports {
    fn new(first_place: u64, ports: &[u16]) -> io::Result<Self> {
        let (first, last) =
            (ports.first().copied().unwrap_or_default(), ports.last().copied().unwrap_or_default());
        let count = ports.len() as u64;
        let is_run = u64::from(last - first) + 1 == count;
        let table = (!is_run).then(|| SharedArray::new("pr_places", u32::from(last) + 1, 1)).transpose()?;
        if let Some(table) = &table {
            for (&port, place) in ports.iter().zip(1..) {
                table[usize::from(port)].store(place, Relaxed);
            }
        }
        Ok(Self { first_place, first, count, table })
    }
}

/// IPv4 comes first in the order of the numbers.
fn ranges(space: &ProbeSpace) -> Vec<[u64; 3]> {
    let mut start = 0;
    let v4 = space.targets().ranges().filter_map(|range| match range {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Some((u64::from(first.to_bits()), u64::from(last.to_bits())))
        }
        _ => None,
    });
    v4.map(|(first, last)| {
        let range = [first, last - first + 1, start];
        start += last - first + 1;
        range
    })
    .collect()
}

fn range_table(ranges: &[[u64; 3]]) -> io::Result<SharedArray> {
    let table = SharedArray::new("pr_ranges", ranges.len() as u32, 3)?;
    for (word, &value) in table.iter().zip(ranges.iter().flatten()) {
        word.store(value, Relaxed);
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
