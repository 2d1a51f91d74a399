//! What has been seen already: exactly where memory allows, the recent past where it does not.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A set of numbers below a limit, shared between threads without locks.
#[derive(Debug)]
pub(crate) enum Seen {
    /// One bit for each number.
    Exact {
        /// The bits.
        words: Box<[AtomicU64]>,
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

    /// An empty set for numbers below `limit`.
    pub(crate) fn new(limit: u64) -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        if limit <= Self::EXACT_LIMIT {
            Self::Exact { words: zeros(limit.div_ceil(64) as usize) }
        } else {
            Self::Recent { slots: zeros(Self::SLOTS) }
        }
    }

    /// Adds a number; true if it is new.
    pub(crate) fn insert(&self, number: u64) -> bool {
        match self {
            Self::Exact { words } => words
                .get((number / 64) as usize)
                .is_some_and(|word| word.fetch_or(1 << (number % 64), Relaxed) & 1 << (number % 64) == 0),
            Self::Recent { slots } => {
                slot(slots, number).is_some_and(|slot| slot.swap(number + 1, Relaxed) != number + 1)
            }
        }
    }

    /// Whether the number is known to have been added.
    #[inline]
    pub(crate) fn contains(&self, number: u64) -> bool {
        match self {
            Self::Exact { words } => words
                .get((number / 64) as usize)
                .is_some_and(|word| word.load(Relaxed) & 1 << (number % 64) != 0),
            Self::Recent { slots } => {
                slot(slots, number).is_some_and(|slot| slot.load(Relaxed) == number + 1)
            }
        }
    }
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
    fn numbers_beyond_the_limit_are_not_taken() {
        let seen = Seen::new(64);
        assert!(!seen.insert(64) && !seen.contains(64));
    }
}
