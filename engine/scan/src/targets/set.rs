//! The finished set: every address has a number, and every number is found in a few steps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Gate, TargetError, TargetSetBuilder, range::RangeList};

/// Addresses to be scanned, numbered from 0 in ascending order, IPv4 before IPv6. Only a
/// [`super::TargetSetBuilder`] makes one, so exclusions and reserved ranges are always out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSet {
    v4: RangeTable<u32>,
    v6: RangeTable<u128>,
    gate: Gate,
}

impl TargetSet {
    /// More addresses than any scan can try.
    const MAX_ADDRESSES: u64 = 1 << 40;

    pub(super) fn from_list(list: &RangeList, gate: Gate) -> Result<Self, TargetError> {
        let v4 = RangeTable::new(&list.v4)?;
        let v6 = RangeTable::new(&list.v6)?;
        match v4.len() + v6.len() {
            0 => Err(TargetError::Empty),
            many if many > Self::MAX_ADDRESSES => Err(TargetError::TooMany),
            _ => Ok(Self { v4, v6, gate }),
        }
    }

    /// How many addresses; at least one, at most 2⁴⁰.
    pub fn len(&self) -> u128 {
        u128::from(self.count())
    }

    /// How many addresses, as the numbers count them.
    pub(crate) fn count(&self) -> u64 {
        self.v4.len() + self.v6.len()
    }

    /// How many IPv4 addresses: those with the lowest numbers.
    pub(crate) fn count_v4(&self) -> u64 {
        self.v4.len()
    }

    /// Never: a set that holds nothing cannot be built.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether the address is to be scanned.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.index_of(address).is_some()
    }

    /// Whether a frame may leave for the address: it is in the set, and the gate, which knows nothing of the set, has
    /// nothing against it.
    #[inline]
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        self.contains(address) && self.gate.permits(address)
    }

    #[cfg(test)]
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The address with this number.
    #[inline]
    pub fn address(&self, index: u64) -> Option<IpAddr> {
        if let Some(number) = self.v4.number(index) {
            return Some(IpAddr::V4(Ipv4Addr::from_bits(number)));
        }
        let number = self.v6.number(index.checked_sub(self.v4.len())?)?;
        Some(IpAddr::V6(Ipv6Addr::from_bits(number)))
    }

    /// The number of this address, if it is in the set.
    #[inline]
    pub fn index_of(&self, address: IpAddr) -> Option<u64> {
        match address {
            IpAddr::V4(address) => self.v4.index_of(address.to_bits()),
            IpAddr::V6(address) => self.v6.index_of(address.to_bits()).map(|index| index + self.v4.len()),
        }
    }

    /// Those of these addresses that are in the set, behind its gate; `None` if none is.
    pub(crate) fn only(&self, addresses: &[IpAddr]) -> Option<Self> {
        let mut builder = TargetSetBuilder::new().allow_reserved(true);
        for address in addresses.iter().filter(|&&address| self.contains(address)) {
            builder = builder.include(&address.to_string()).ok()?;
        }
        Some(Self { gate: self.gate.clone(), ..builder.build().ok()? })
    }

    /// Every address in its order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        (0..self.count()).map_while(|index| self.address(index))
    }

    /// The ranges the set consists of: first and last address, both included, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> + '_ {
        let v4 = self
            .v4
            .ranges()
            .map(|(first, last)| (Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(last).into()));
        let v6 = self
            .v6
            .ranges()
            .map(|(first, last)| (Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(last).into()));
        v4.chain(v6)
    }
}

/// An address of one family as a number: arithmetic on those of IPv4 shall not cost what those of IPv6 take.
trait Bits: Copy + Ord {
    /// The lowest bits of a number that fits.
    fn of(number: u128) -> Self;

    /// The address so many further on, which the caller knows to be there.
    fn plus(self, offset: u64) -> Self;

    /// How far this is from an address that is not higher.
    fn since(self, first: Self) -> Option<u64>;

    /// The first byte of the address.
    fn first_byte(self) -> u8;
}

impl Bits for u32 {
    fn of(number: u128) -> Self {
        number as Self
    }

    #[inline]
    fn plus(self, offset: u64) -> Self {
        self.wrapping_add(offset as Self)
    }

    #[inline]
    fn since(self, first: Self) -> Option<u64> {
        self.checked_sub(first).map(u64::from)
    }

    #[inline]
    fn first_byte(self) -> u8 {
        (self >> 24) as u8
    }
}

impl Bits for u128 {
    fn of(number: u128) -> Self {
        number
    }

    #[inline]
    fn plus(self, offset: u64) -> Self {
        self.wrapping_add(Self::from(offset))
    }

    #[inline]
    fn since(self, first: Self) -> Option<u64> {
        u64::try_from(self.checked_sub(first)?).ok()
    }

    #[inline]
    fn first_byte(self) -> u8 {
        (self >> 120) as u8
    }
}

/// Ranges of one family with the number of each range's first address. A hint for every 2^`shift` numbers
/// says where to begin looking, so that a look-up takes a step or two at any count of ranges; for addresses their first
/// byte says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RangeTable<N> {
    /// First address of each range, ascending.
    first: Vec<N>,
    /// Number of each range's first address; one more entry holds the total.
    start: Vec<u64>,
    /// The range that number `i << shift` is in.
    hint: Vec<u32>,
    shift: u32,
    /// For each first byte of an address, from which to before which the ranges are that may hold such an address.
    by_first_byte: Vec<(u32, u32)>,
}

impl<N: Bits> RangeTable<N> {
    fn new(ranges: &[(u128, u128)]) -> Result<Self, TargetError> {
        let mut start = Vec::with_capacity(ranges.len() + 1);
        let mut total = 0_u64;
        start.push(0);
        for &(first, last) in ranges {
            let count = u64::try_from(last - first).ok().and_then(|span| span.checked_add(1));
            total = count.and_then(|count| total.checked_add(count)).ok_or(TargetError::TooMany)?;
            start.push(total);
        }
        let mut table = Self {
            first: ranges.iter().map(|&(first, _)| N::of(first)).collect(),
            start,
            hint: Vec::new(),
            shift: 0,
            by_first_byte: Vec::new(),
        };
        table.make_hints();
        table.by_first_byte = (0..=u8::MAX).map(|byte| table.beginning_near(byte)).collect();
        Ok(table)
    }

    /// The ranges that begin with this first byte, and the one before them, which may reach into it.
    fn beginning_near(&self, byte: u8) -> (u32, u32) {
        let from = self.first.partition_point(|first| first.first_byte() < byte).saturating_sub(1);
        let until = self.first.partition_point(|first| first.first_byte() <= byte);
        (from as u32, until as u32)
    }

    /// About two hints for each range.
    fn make_hints(&mut self) {
        let wanted = (self.first.len() as u64 * 2).next_power_of_two();
        self.shift = (self.len() / wanted).max(1).ilog2();
        let count = (self.len() >> self.shift) + 1;
        let mut range = 0;
        self.hint = (0..count)
            .map(|slot| {
                let number = slot << self.shift;
                while self.start.get(range + 1).is_some_and(|&next| next <= number)
                    && range + 1 < self.first.len()
                {
                    range += 1;
                }
                range as u32
            })
            .collect();
    }

    fn len(&self) -> u64 {
        self.start.last().copied().unwrap_or(0)
    }

    /// The address, as a number, with this index.
    #[inline]
    fn number(&self, index: u64) -> Option<N> {
        if index >= self.len() {
            return None;
        }
        let slot = (index >> self.shift) as usize;
        let low = *self.hint.get(slot)? as usize;
        let high = self.hint.get(slot + 1).map_or(self.first.len(), |&range| range as usize + 1);
        // The range sought is the last of low..high that starts at or before the index. Mostly that is `low`.
        let range = if high - low <= 1 {
            low
        } else {
            low + self.start.get(low + 1..high)?.partition_point(|&start| start <= index)
        };
        Some(self.first.get(range)?.plus(index - self.start.get(range)?))
    }

    #[inline]
    fn index_of(&self, number: N) -> Option<u64> {
        let &(from, until) = self.by_first_byte.get(usize::from(number.first_byte()))?;
        let near = self.first.get(from as usize..until as usize)?;
        let range = from as usize + near.partition_point(|&first| first <= number).checked_sub(1)?;
        let offset = number.since(*self.first.get(range)?)?;
        let index = self.start.get(range)?.checked_add(offset)?;
        (index < *self.start.get(range + 1)?).then_some(index)
    }

    fn ranges(&self) -> impl Iterator<Item = (N, N)> + '_ {
        self.first.iter().zip(self.start.windows(2)).filter_map(|(&first, bounds)| match bounds {
            [start, end] => Some((first, first.plus(end - start - 1))),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn four_thousand_ranges_of_very_different_sizes_are_found_by_number() {
        let mut next = 10_u128;
        let ranges: Vec<(u128, u128)> = (0..4096_u128)
            .map(|step| {
                let first = next + 1 + step % 3;
                let last = first + if step % 97 == 0 { 100_000 } else { step % 5 };
                next = last + 1;
                (first, last)
            })
            .collect();
        let table = RangeTable::<u128>::new(&ranges).expect("small enough");
        let mut index = 0;
        for &(first, last) in &ranges {
            for number in [first, first.midpoint(last), last] {
                let expected = index + (number - first) as u64;
                assert_eq!(table.number(expected), Some(number));
                assert_eq!(table.index_of(number), Some(expected));
            }
            assert_eq!(table.index_of(last + 1), None);
            index += (last - first) as u64 + 1;
        }
        assert_eq!(table.len(), index);
        assert_eq!(table.number(index), None);
        assert_eq!(table.ranges().collect::<Vec<_>>(), ranges);
    }

    proptest! {
        #[test]
        fn number_and_index_are_inverse(gaps in prop::collection::vec((1_u128..5000, 1_u128..5000), 1..200)) {
            let mut next = 0;
            let ranges: Vec<(u128, u128)> = gaps
                .iter()
                .map(|&(gap, len)| {
                    let first = next + gap;
                    next = first + len;
                    (first, next - 1)
                })
                .collect();
            let table = RangeTable::<u128>::new(&ranges).expect("small enough");
            let narrow = RangeTable::<u32>::new(&ranges).expect("small enough");
            for index in (0..table.len()).step_by(17) {
                let number = table.number(index).expect("in range");
                prop_assert_eq!(table.index_of(number), Some(index));
                prop_assert!(ranges.iter().any(|&(first, last)| (first..=last).contains(&number)));
                prop_assert_eq!(narrow.number(index), Some(number as u32));
                prop_assert_eq!(narrow.index_of(number as u32), Some(index));
            }
            prop_assert_eq!((narrow.number(table.len()), narrow.index_of(next as u32)), (None, None));
        }
    }
}
