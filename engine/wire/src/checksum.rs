//! The internet checksum (RFC 1071) and its incremental update (RFC 1624).

use core::net::IpAddr;

use crate::ip::Protocol;

/// A one's complement sum that is still being added to.
///
/// Sums are plain values: the sum over a template's constant fields is computed once and each frame
/// adds its own fields to a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes that start at an even offset of the packet; an odd last byte is padded with zero.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (longs, rest) = bytes.as_chunks::<4>();
        let (words, last) = rest.as_chunks::<2>();
        let sum = longs.iter().fold(self.0, |sum, long| sum + u64::from(u32::from_be_bytes(*long)));
        let sum = words.iter().fold(sum, |sum, word| sum + u64::from(u16::from_be_bytes(*word)));
        Self(last.iter().fold(sum, |sum, byte| sum + (u64::from(*byte) << 8)))
    }

    /// Adds a 16-bit field.
    #[inline]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds a 32-bit field.
    #[inline]
    pub const fn long(self, long: u32) -> Self {
        Self(self.0 + long as u64)
    }

    /// Adds the pseudo-header that TCP, UDP and ICMPv6 checksums cover (RFC 9293 3.1, RFC 8200 8.1).
    ///
    /// `length` is that of the transport header and its payload.
    pub fn pseudo_header(self, source: IpAddr, destination: IpAddr, protocol: Protocol, length: u32) -> Self {
        self.address(source).address(destination).word(u16::from(protocol.0)).long(length)
    }

    /// Adds an address.
    #[inline]
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.long(address.to_bits()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    /// Adds a sum over other bytes.
    #[inline]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum: the complement of the folded sum.
    #[inline]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }

    /// Whether a sum that included the checksum field is that of an intact packet.
    pub const fn is_intact(self) -> bool {
        self.fold() == 0xffff
    }

    #[inline]
    const fn fold(self) -> u16 {
        // The carry out of each half's sum is added at its other end, which cannot carry again.
        let (sum, carry) = ((self.0 >> 32) as u32).overflowing_add(self.0 as u32);
        let sum = sum + carry as u32;
        let (sum, carry) = ((sum >> 16) as u16).overflowing_add(sum as u16);
        sum + carry as u16
    }
}

/// The checksum over `bytes`, whose checksum field must be zero.
pub fn of(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).finish()
}

/// The checksum after one 16-bit field changed from `old` to `new` (RFC 1624, equation 3).
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(!checksum as u64 + !old as u64 + new as u64).finish()
}

/// [`update`] for a 32-bit field.
pub const fn update_long(checksum: u16, old: u32, new: u32) -> u16 {
    update(update(checksum, (old >> 16) as u16, (new >> 16) as u16), old as u16, new as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The worked example of RFC 1071, section 3.
    #[test]
    fn sums_the_example_of_the_rfc() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().bytes(&bytes).fold(), 0xddf2);
        assert_eq!(of(&bytes), !0xddf2);
    }

    /// The case of RFC 1624, section 4, that equation 2 gets wrong.
    #[test]
    fn updates_the_example_of_the_rfc() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn an_odd_last_byte_counts_as_the_high_half() {
        assert_eq!(of(&[0x12, 0x34, 0x56]), of(&[0x12, 0x34, 0x56, 0x00]));
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut sum = 0_u32;
            for pair in bytes.chunks(2) {
                sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
                sum = (sum & 0xffff) + (sum >> 16);
            }
            prop_assert_eq!(of(&bytes), !(sum as u16));
        }

        #[test]
        fn update_agrees_with_summing_again(
            mut words in proptest::collection::vec(any::<u16>(), 2..40), at in any::<prop::sample::Index>(), new: u16,
        ) {
            let sum = |words: &[u16]| words.iter().fold(Sum::new(), |sum, word| sum.word(*word));
            // A sum of zero words only has two representations; a real header is never all zero.
            words.push(1);
            let before = sum(&words).finish();
            let at = at.index(words.len() - 1);
            let old = core::mem::replace(&mut words[at], new);
            prop_assert_eq!(update(before, old, new), sum(&words).finish());
        }

        #[test]
        fn update_long_agrees_with_summing_again(constant in 1..u16::MAX, old: u32, new: u32) {
            let before = Sum::new().word(constant).long(old).finish();
            prop_assert_eq!(update_long(before, old, new), Sum::new().word(constant).long(new).finish());
        }
    }
}
