//! The order of the probes: a keyed permutation of 0..n that is computed, not stored.
//!
//! An unbalanced Feistel network (Luby and Rackoff 1988; each half is replaced in turn) permutes the numbers
//! of just enough bits to hold `n`; an image of `n` or more is put through the network again until it falls
//! below ("cycle walking", Black and Rogaway 2002). Both steps are permutations, so each number below `n` comes
//! out exactly once whatever the key, and position `i` is computed without its predecessors: shards are
//! ranges of positions, resuming needs one integer, and re-sending asks for positions again.
//!
//! The round function is a multiplication whose high bits are kept: six rounds take 2-3 ns, where division
//! by an odd-sized half takes 74 ns. Secrecy is no aim; what is wanted is that neighbours in time are
//! strangers in the network, so that no host or router gets a burst.

use crate::sys::wide;

const ROUNDS: usize = 6;

/// A permutation of `0..len`.
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    keys: [u64; ROUNDS],
    /// Bits of the half that odd rounds replace.
    low_bits: u32,
    /// Bits of the half that even rounds replace.
    high_bits: u32,
}

/// The constants of a permutation's network: each round replaces a half, the high one first, by itself xor
/// the upper bits of `(other half ^ key) × factor`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkParts {
    pub(crate) low_bits: u32,
    pub(crate) high_bits: u32,
    /// Key and factor.
    pub(crate) rounds: [[u64; 2]; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..len` that `seed` chooses.
    pub fn new(len: u64, seed: u64) -> Self {
        let bits = (u64::BITS - len.saturating_sub(1).leading_zeros()).max(2);
        let mut state = seed;
        Self {
            len,
            keys: [(); ROUNDS].map(|()| next_key(&mut state)),
            low_bits: bits / 2,
            high_bits: bits - bits / 2,
        }
    }

    /// How many numbers are permuted.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing to permute.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether one pass through the network always ends below `len`.
    pub(crate) fn is_without_walks(&self) -> bool {
        self.len == 1 << (self.low_bits + self.high_bits)
    }

    /// The number at `position`; `None` from `len` on.
    #[inline]
    pub fn at(&self, position: u64) -> Option<u64> {
        if position >= self.len {
            return None;
        }
        let mut image = self.network(position);
        // The domain is less than twice `len` (from 3 on), so this is one step in two at worst on average. It
        // ends: the walk is a cycle of the network and comes back to `position`, which is below `len`.
        while image >= self.len {
            image = self.network(image);
        }
        Some(image)
    }

    /// The numbers at the positions from `first` on, one for each place of `numbers`; how many there are before the end.
    ///
    /// A row of them takes a third of the time of as many calls of [`Permutation::at`]: the rounds of one wait for each
    /// other, those of a row run side by side.
    pub fn fill(&self, first: u64, numbers: &mut [u64]) -> usize {
        let count = self.len.saturating_sub(first).min(numbers.len() as u64) as usize;
        let row = numbers.get_mut(..count).unwrap_or_default();
        wide(
            #[inline(always)]
            || {
                for (position, number) in (first..).zip(row.iter_mut()) {
                    *number = self.network(position);
                }
            },
        );
        for number in row {
            while *number >= self.len {
                *number = self.network(*number);
            }
        }
        count
    }

    /// Where `number` is: the inverse of [`Permutation::at`]. It tells which probe a reply belongs to.
    #[inline]
    pub fn position_of(&self, number: u64) -> Option<u64> {
        if number >= self.len {
            return None;
        }
        let mut position = self.inverse(number);
        while position >= self.len {
            position = self.inverse(position);
        }
        Some(position)
    }

    /// What one pass through the network computes with, for those who compute it elsewhere.
    pub(crate) fn network_parts(&self) -> NetworkParts {
        NetworkParts {
            low_bits: self.low_bits,
            high_bits: self.high_bits,
            rounds: self.keys.map(|key| [key, factor(key)]),
        }
    }

    /// One pass through the network: a permutation of the numbers of `low_bits + high_bits` bits.
    #[expect(clippy::inline_always, reason = "rows of numbers are compiled for wider vectors")]
    #[inline(always)]
    fn network(&self, number: u64) -> u64 {
        let (low_shift, high_shift) = (u64::BITS - self.low_bits, u64::BITS - self.high_bits);
        let mut low = number & ((1 << self.low_bits) - 1);
        let mut high = number >> self.low_bits;
        let [a, b, c, d, e, f] = self.keys;
        for (even, odd) in [(a, b), (c, d), (e, f)] {
            high ^= round(low, even) >> high_shift;
            low ^= round(high, odd) >> low_shift;
        }
        high << self.low_bits | low
    }

    /// The network backwards.
    #[inline]
    fn inverse(&self, image: u64) -> u64 {
        let (low_shift, high_shift) = (u64::BITS - self.low_bits, u64::BITS - self.high_bits);
        let mut low = image & ((1 << self.low_bits) - 1);
        let mut high = image >> self.low_bits;
        let [a, b, c, d, e, f] = self.keys;
        for (even, odd) in [(e, f), (c, d), (a, b)] {
            low ^= round(high, odd) >> low_shift;
            high ^= round(low, even) >> high_shift;
        }
        high << self.low_bits | low
    }
}

/// Mixes a half with a key; the high bits are the good ones.
#[expect(clippy::inline_always, reason = "rows of numbers are compiled for wider vectors")]
#[inline(always)]
fn round(half: u64, key: u64) -> u64 {
    (half ^ key).wrapping_mul(factor(key))
}

#[expect(clippy::inline_always, reason = "rows of numbers are compiled for wider vectors")]
#[inline(always)]
fn factor(key: u64) -> u64 {
    0x9e37_79b9_7f4a_7c15 ^ key << 1
}

/// The next round key: SplitMix64 (Steele, Lea, Flood 2014).
fn next_key(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut key = *state;
    key = (key ^ key >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    key = (key ^ key >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ key >> 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn images(permutation: &Permutation) -> Vec<u64> {
        (0..permutation.len()).filter_map(|position| permutation.at(position)).collect()
    }

    #[test]
    fn every_small_size_is_permuted() {
        for len in 0..600 {
            let mut images = images(&Permutation::new(len, len ^ 7));
            images.sort_unstable();
            assert_eq!(images, (0..len).collect::<Vec<_>>(), "{len}");
        }
    }

    proptest! {
        #[test]
        fn positions_are_found_again(len in 1_u64..1 << 50, seed: u64, place: u64) {
            let permutation = Permutation::new(len, seed);
            let position = place % len;
            let number = permutation.at(position).expect("in range");
            prop_assert_eq!(permutation.position_of(number), Some(position));
            let mut row = [u64::MAX; 9];
            let count = permutation.fill(position, &mut row);
            prop_assert!(row[..count].iter().copied().eq((position..).map_while(|position| permutation.at(position)).take(9)));
            prop_assert_eq!(permutation.position_of(len), None);
        }
    }

    #[test]
    fn nothing_comes_after_the_end() {
        assert_eq!(Permutation::new(10, 1).at(10), None);
        assert_eq!(Permutation::new(0, 1).at(0), None);
    }

    #[test]
    fn seeds_choose_different_orders_and_the_same_one_repeats() {
        assert_eq!(images(&Permutation::new(1000, 1)), images(&Permutation::new(1000, 1)));
        assert_ne!(images(&Permutation::new(1000, 1)), images(&Permutation::new(1000, 2)));
    }

    #[test]
    fn neighbours_in_time_are_strangers() {
        // A /16 by 1,000 ports: how often do two successive probes hit the same /24? By chance 1 in 256.
        let permutation = Permutation::new(65_536_000, 42);
        let block = |position| permutation.at(position).expect("in range") % 65_536 / 256;
        let pairs = 100_000;
        let same = (0..pairs).filter(|&position| block(position) == block(position + 1)).count();
        assert!((200..600).contains(&same), "{same} of {pairs} pairs in one /24, about 390 expected");
    }

    #[test]
    fn the_largest_domain_is_walked() {
        let permutation = Permutation::new((1 << 57) - 5, 3);
        for position in (0..permutation.len()).step_by(1 << 45) {
            assert!(permutation.at(position).expect("in range") < permutation.len());
        }
    }

    proptest! {
        #[test]
        fn no_number_comes_twice(len in 1_u64..100_000, seed: u64) {
            let mut seen = vec![false; len as usize];
            for image in images(&Permutation::new(len, seed)) {
                prop_assert!(!std::mem::replace(&mut seen[image as usize], true));
            }
            prop_assert!(seen.iter().all(|&seen| seen));
        }
    }
}
