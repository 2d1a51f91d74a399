//! How the order of the probes is cut into stretches.

use std::{iter, ops::Range};

use crate::PacketsPerSecond;

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
    /// A scan of more seconds than this begins with a stretch of one, and they grow from there: after each the rate follows
    /// the losses, and not only when millions were lost.
    const LONG: u64 = 20;
    /// The most seconds that the first attempts at a stretch take: what goes wrong hours after the start is seen soon too.
    /// Where nobody answers, each stretch costs the wait for answers, about a fiftieth of this and of the retries.
    const LONGEST: u64 = 60;
    /// The shortest stretch of such a scan: fewer targets say little of losses.
    const SHORTEST: u64 = 4_096;

    /// For so many positions at this rate, none longer than `longest`.
    pub(crate) fn of(positions: u64, rate: PacketsPerSecond, longest: u64) -> Self {
        let seconds = |count: u64| u64::from(rate.0).saturating_mul(count);
        let is_long = positions > seconds(Self::LONG);
        let at_most = |count| if is_long { seconds(count).max(Self::SHORTEST).min(longest) } else { longest };
        Self { first: at_most(1), longest: at_most(Self::LONGEST), begun_until: 0 }
    }

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
    fn long_scans_look_at_their_losses_each_minute() {
        let most = Tally::MAX_STRETCH;
        let lengths = |positions: u64, rate: u32| -> Vec<u64> {
            let cut = Cut::of(positions, PacketsPerSecond(rate), most);
            cut.stretches(0..positions).take(6).map(|stretch| stretch.end - stretch.start).collect()
        };
        // Twenty seconds, and a bit more.
        assert_eq!(lengths(200_000, 10_000), [200_000]);
        assert_eq!(lengths(200_001, 10_000), [10_000, 40_000, 150_001]);
        assert_eq!(lengths(1 << 32, 10_000), [10_000, 40_000, 160_000, 600_000, 600_000, 600_000]);
        // Very slow ones, and those whose minutes are more than fits into memory.
        assert_eq!(lengths(20_000, 10), [4_096, 4_096, 4_096, 4_096, 3_616]);
        assert_eq!(lengths(1 << 32, 30_000_000)[..3], [30_000_000, 120_000_000, most]);
        assert_eq!(lengths(1 << 28, u32::MAX), [most, most]);
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
