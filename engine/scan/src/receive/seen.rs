//! What has been seen already: exactly where memory allows, the recent past where it does not.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use crate::{Page, sys::bpf::SharedArray};

/// The memory of an exact set.
#[derive(Debug)]
pub(crate) enum Words {
    Own(Box<[AtomicU64]>),
    /// Programs in the kernel read it too. May be longer than is needed.
    Shared(Arc<SharedArray>),
}

impl Deref for Words {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        match self {
            Self::Own(words) => words,
            Self::Shared(words) => words,
        }
    }
}

/// Memory of an exact set that programs in the kernel share.
#[derive(Clone, Debug)]
pub(crate) struct SeenMemory {
    /// The bits.
    pub(crate) words: Arc<SharedArray>,
    /// A word for each page of them, where programs set bits too.
    pub(crate) changed: Option<Arc<SharedArray>>,
}

/// A set of numbers below a limit, shared between threads without locks.
#[derive(Debug)]
pub(crate) enum Seen {
    /// One bit for each number.
    Exact {
        /// The bits.
        words: Words,
        /// For each page of them anything but 0, if it has changed since it was taken last.
        changed: Words,
    },
    /// For more addresses than that: a table of the numbers seen last, each in the one slot that its hash
    /// gives. A number may be forgotten, and then counts as new; it is never taken for seen wrongly.
    Recent {
        /// Number plus one; 0 is empty.
        slots: Box<[AtomicU64]>,
    },
}

impl Seen {
    /// Up to this limit every number has a bit: 16 MiB.
    pub(crate) const EXACT_LIMIT: u64 = 1 << 27;
    /// 8 MiB.
    const SLOTS: usize = 1 << 20;

    fn exact(words: Words, changed: Option<Words>) -> Self {
        let changed = changed.unwrap_or_else(|| Words::Own(zeros(words.len().div_ceil(Page::WORDS))));
        Self::Exact { words, changed }
    }

    /// An empty set for numbers below `limit`.
    pub(crate) fn new(limit: u64) -> Self {
        if limit <= Self::EXACT_LIMIT {
            Self::exact(Words::Own(zeros(Self::words_for(limit))), None)
        } else {
            Self::Recent { slots: zeros(Self::SLOTS) }
        }
    }

    /// An empty set for numbers below `limit` in memory that is shared, if it is long enough for that.
    pub(crate) fn in_memory(limit: u64, memory: Option<&SeenMemory>) -> Self {
        match memory.filter(|memory| memory.words.len() >= Self::words_for(limit)) {
            Some(SeenMemory { words, changed }) => {
                words.iter().chain(changed.iter().flat_map(|changed| changed.iter())).for_each(clear);
                Self::exact(Words::Shared(Arc::clone(words)), changed.clone().map(Words::Shared))
            }
            None => Self::new(limit),
        }
    }

    /// Whether the set's bits are in this memory.
    pub(crate) fn is_in(&self, memory: &SeenMemory) -> bool {
        matches!(self, Self::Exact { words: Words::Shared(words), .. } if Arc::ptr_eq(words, &memory.words))
    }

    /// Words that an exact set of numbers below `limit` takes.
    pub(crate) fn words_for(limit: u64) -> usize {
        limit.div_ceil(64) as usize
    }

    /// Adds a number; true if it is new.
    pub(crate) fn insert(&self, number: u64) -> bool {
        match self {
            Self::Exact { words, changed } => {
                let (place, bit) = ((number / 64) as usize, 1 << (number % 64));
                let is_new = words.get(place).is_some_and(|word| word.fetch_or(bit, Release) & bit == 0);
                if is_new && let Some(changed) = changed.get(place / Page::WORDS) {
                    changed.store(1, Release);
                }
                is_new
            }
            Self::Recent { slots } => {
                slot(slots, number).is_some_and(|slot| slot.swap(number + 1, Relaxed) != number + 1)
            }
        }
    }

    /// Whether the number is known to have been added.
    #[inline]
    pub(crate) fn contains(&self, number: u64) -> bool {
        match self {
            Self::Exact { words, .. } => words
                .get((number / 64) as usize)
                .is_some_and(|word| word.load(Relaxed) & 1 << (number % 64) != 0),
            Self::Recent { slots } => {
                slot(slots, number).is_some_and(|slot| slot.load(Relaxed) == number + 1)
            }
        }
    }

    /// The pages that have changed since this was asked last; none of a set that remembers the recent past only.
    pub(crate) fn take_changed(&self) -> Vec<Page> {
        let Self::Exact { words, changed } = self else { return Vec::new() };
        let pages = words.chunks(Page::WORDS).zip(changed.iter()).zip(0_u32..);
        let changed = pages.filter(|((_, changed), _)| changed.swap(0, Acquire) != 0);
        changed
            .map(|((words, _), number)| Page {
                number,
                words: words.iter().map(|word| word.load(Acquire)).collect(),
            })
            .collect()
    }

    /// Counts pages as changed again.
    pub(crate) fn mark_changed(&self, pages: &[Page]) {
        let Self::Exact { changed, .. } = self else { return };
        for page in pages {
            if let Some(changed) = changed.get(page.number as usize) {
                changed.store(1, Release);
            }
        }
    }
}

fn clear(word: &AtomicU64) {
    word.store(0, Relaxed);
}

fn zeros(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn slot(slots: &[AtomicU64], number: u64) -> Option<&AtomicU64> {
    let place = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - slots.len().ilog2());
    slots.get(place as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_remember() {
        for limit in [1000, 1 << 40] {
            let seen = Seen::new(limit);
            assert_eq!(matches!(seen, Seen::Exact { .. }), limit == 1000);
            for number in [0, 63, 64, 999] {
                assert!(!seen.contains(number));
                assert!(seen.insert(number));
                assert!(!seen.insert(number));
                assert!(seen.contains(number));
            }
            assert!(!seen.contains(1));
        }
    }

    #[test]
    fn changed_pages_are_told_once() {
        let seen = Seen::new(100_000);
        assert_eq!(seen.take_changed(), []);
        for number in [3, 64, 40_000] {
            seen.insert(number);
        }
        let pages = seen.take_changed();
        assert_eq!(pages.iter().map(|page| page.number).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(pages[0].words[..2], [1 << 3, 1]);
        assert_eq!(seen.take_changed(), []);
        seen.mark_changed(&pages[1..]);
        assert_eq!(seen.take_changed(), pages[1..]);
        let again = Seen::new(100_000);
        assert_eq!(crate::checkpoint::restore(&again, &pages), 3);
        assert_eq!(pages.iter().map(|page| page.count_from(64)).sum::<u64>(), 2);
        assert!([3, 64, 40_000].into_iter().all(|number| again.contains(number)));
    }

    #[test]
    fn numbers_beyond_the_limit_are_not_taken() {
        let seen = Seen::new(64);
        assert!(!seen.insert(64) && !seen.contains(64));
    }
}
