//! How the order of the probes is cut into stretches.

use std::{iter, ops::Range};

/// How positions are cut into stretches: each is worked through with its retries, so that who answered is known exactly
/// in bounded memory however large the scan is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// The length of the first.
    pub(crate) first: u64,
    /// The length of any, at most.
    pub(crate) longest: u64,
    /// Where one ends that an earlier scan began.
    pub(crate) begun_until: u64,
}

impl Cut {
    /// Each is so much longer than the one before it, up to the longest.
    const GROWTH: u64 = 4;

    pub(crate) fn stretches(self, positions: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let Self { first, longest, begun_until } = self;
        let (mut start, mut length) = (positions.start, first.clamp(1, longest));
        iter::from_fn(move || {
            let end = if start < begun_until {
                begun_until
            } else {
                let end = start.saturating_add(length);
                length = length.saturating_mul(Self::GROWTH).min(longest);
                end
            };
            let stretch = start..end.min(positions.end);
            start = stretch.end;
            (!stretch.is_empty()).then_some(stretch)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::Tally;

    #[test]
    fn stretches_cover_all_positions() {
        let longest = Tally::MAX_STRETCH;
        let stretches = |positions| Cut { first: longest, longest, begun_until: 0 }.stretches(positions);
        assert_eq!(stretches(5..5).count(), 0);
        assert!(stretches(5..9).eq(iter::once(5..9)));
        let long = 7..7 + 2 * Tally::MAX_STRETCH + 3;
        let parts: Vec<_> = stretches(long.clone()).collect();
        assert_eq!(parts.len(), 3);
        assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!((parts[0].start, parts[2].end), (long.start, long.end));
    }

    #[test]
    fn stretches_of_long_scans_grow_and_one_that_was_begun_stays_as_it_was() {
        let cut = Cut { first: 10, longest: 100, begun_until: 0 };
        let ends = |cut: Cut, positions: Range<u64>| -> Vec<u64> {
            let mut next = positions.start;
            let ends = cut.stretches(positions).map(|stretch| {
                assert_eq!(stretch.start, next);
                next = stretch.end;
                next
            });
            ends.collect()
        };
        assert_eq!(ends(cut, 0..375), [10, 50, 150, 250, 350, 375]);
        assert_eq!(ends(cut, 50..375), [60, 100, 200, 300, 375]);
        assert_eq!(ends(Cut { begun_until: 150, ..cut }, 50..375), [150, 160, 200, 300, 375]);
        assert_eq!(ends(Cut { begun_until: 900, ..cut }, 50..375), [375]);
        assert_eq!(ends(Cut { begun_until: 50, ..cut }, 50..55), [55]);
    }
}
