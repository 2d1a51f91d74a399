//! Sets of bytes: what one place of an expression may be.

/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes([u64; 4]);

impl Bytes {
    pub const NONE: Self = Self([0; 4]);
    pub const ALL: Self = Self([u64::MAX; 4]);

    pub fn one(byte: u8) -> Self {
        Self::NONE.with(byte, byte)
    }

    pub fn of(bytes: &[u8]) -> Self {
        bytes.iter().fold(Self::NONE, |set, &byte| set.with(byte, byte))
    }

    pub fn digits() -> Self {
        Self::NONE.with(b'0', b'9')
    }

    pub fn words() -> Self {
        Self::digits().with(b'a', b'z').with(b'A', b'Z').with(b'_', b'_')
    }

    /// As in PCRE since 8.34, with the vertical tab.
    pub fn spaces() -> Self {
        Self::of(b"\t\n\x0b\x0c\r ")
    }

    /// This and a range, both ends included.
    pub fn with(mut self, first: u8, last: u8) -> Self {
        for byte in first..=last {
            if let Some(word) = self.0.get_mut(usize::from(byte >> 6)) {
                *word |= 1 << (byte & 63);
            }
        }
        self
    }

    pub fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 == 1)
    }

    pub fn or(self, other: Self) -> Self {
        self.each(other, |own, other| own | other)
    }

    pub fn and(self, other: Self) -> Self {
        self.each(other, |own, other| own & other)
    }

    pub fn not(self) -> Self {
        self.each(Self::NONE, |own, _| !own)
    }

    /// Letters in both cases.
    pub fn caseless(self) -> Self {
        let mut set = self;
        for byte in (0..=u8::MAX).filter(|byte| self.has(*byte)) {
            let other =
                if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
            set = set.with(other, other);
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    pub fn meets(self, other: Self) -> bool {
        !self.and(other).is_empty()
    }

    /// The byte, if there is just one.
    pub fn single(&self) -> Option<u8> {
        match self.ranges().as_slice() {
            [(first, last)] if first == last => Some(*first),
            _ => None,
        }
    }

    /// First and last of each run.
    pub fn ranges(&self) -> Vec<(u8, u8)> {
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for byte in (0..=u8::MAX).filter(|byte| self.has(*byte)) {
            match ranges.last_mut() {
                Some((_, last)) if byte.checked_sub(1) == Some(*last) => *last = byte,
                _ => ranges.push((byte, byte)),
            }
        }
        ranges
    }

    fn each(mut self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own = join(*own, other);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_do_what_sets_do() {
        let letters = Bytes::NONE.with(b'a', b'c').with(0xff, 0xff);
        assert_eq!(letters.ranges(), [(b'a', b'c'), (0xff, 0xff)]);
        assert_eq!(letters.caseless().ranges(), [(b'A', b'C'), (b'a', b'c'), (0xff, 0xff)]);
        assert_eq!(letters.not().not(), letters);
        assert!(!letters.meets(letters.not()) && letters.or(letters.not()) == Bytes::ALL);
        assert_eq!((Bytes::one(0).single(), letters.single()), (Some(0), None));
        assert_eq!(Bytes::ALL.ranges(), [(0, 255)]);
    }
}
