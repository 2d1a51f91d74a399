//! The registry's packed form: names once each, prefixes sorted, all of it compressed.
//!
//! Unpacked, it is: the count of names (`u32`), each name as a length byte and UTF-8; then for 24, 28 and 36 bits the
//! count of prefixes (`u32`) and for each the distance to the one before and the name's number, as LEB128. Integers are
//! little-endian. Name 0 is empty: a block whose owner is not to be told.

use portreeve_model::MacAddress;

/// Lengths of assigned prefixes, in bits.
const LENGTHS: [u32; 3] = [24, 28, 36];
/// Bits of an address.
const BITS: u32 = 48;
/// More than this is no registry.
const MAX_UNPACKED: usize = 8 << 20;
/// The longest name kept, in bytes.
const MAX_NAME: usize = 120;
/// The IEEE's name for blocks that it has cut up, and its word for owners that do not want to be named.
const NOBODY: &[&str] = &["IEEE Registration Authority", "Private"];

/// Why bytes are no registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It does not decompress.
    #[error("the registry is not compressed as it should be; make it anew with the example mac_registry")]
    Compression,
    /// It ends early, or a number in it is out of range.
    #[error("the registry is damaged; make it anew with the example mac_registry")]
    Damaged,
    /// A prefix is not six, seven or nine hexadecimal digits.
    #[error("a prefix is not six, seven or nine hexadecimal digits")]
    Prefix,
}

/// Prefixes and who has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    names: Vec<Box<str>>,
    /// For each of [`LENGTHS`]: prefix and number of the name, sorted.
    prefixes: [Vec<(u64, u32)>; 3],
}

impl Registry {
    /// Builds a registry from hexadecimal prefixes and their owners.
    pub fn from_assignments<'a>(
        assignments: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, RegistryError> {
        let mut owned: [Vec<(u64, &str)>; 3] = Default::default();
        for (prefix, name) in assignments {
            let value = u64::from_str_radix(prefix, 16).map_err(|_| RegistryError::Prefix)?;
            let place = LENGTHS.iter().position(|&bits| prefix.len() == bits as usize / 4);
            let list = place.and_then(|place| owned.get_mut(place)).ok_or(RegistryError::Prefix)?;
            let name = name.trim();
            list.push((value, if NOBODY.contains(&name) { "" } else { name }));
        }
        let mut names: Vec<&str> = owned.iter().flatten().map(|(_, name)| *name).chain([""]).collect();
        names.sort_unstable();
        names.dedup();
        let number = |name: &str| names.binary_search(&name).unwrap_or_default() as u32;
        let prefixes = owned.map(|list| {
            let mut list: Vec<_> = list.into_iter().map(|(prefix, name)| (prefix, number(name))).collect();
            list.sort_unstable();
            list.dedup_by_key(|(prefix, _)| *prefix);
            list
        });
        Ok(Self { names: names.into_iter().map(Box::from).collect(), prefixes })
    }

    /// The owner of the longest assigned prefix of an address, if it is one that can be assigned and the owner is told.
    pub fn vendor(&self, mac: MacAddress) -> Option<&str> {
        if mac.is_locally_administered() || mac.is_multicast() {
            return None;
        }
        let address = mac.0.iter().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        let (_, number) = LENGTHS.iter().zip(&self.prefixes).rev().find_map(|(bits, list)| {
            let place = list.binary_search_by_key(&(address >> (BITS - bits)), |(prefix, _)| *prefix).ok()?;
            list.get(place)
        })?;
        self.names.get(*number as usize).map(|name| &**name).filter(|name| !name.is_empty())
    }

    /// How many prefixes of 24, 28 and 36 bits it knows.
    pub fn counts(&self) -> [usize; 3] {
        self.prefixes.each_ref().map(Vec::len)
    }

    /// The packed form.
    pub fn pack(&self) -> Result<Vec<u8>, RegistryError> {
        let mut out = Vec::new();
        out.extend((self.names.len() as u32).to_le_bytes());
        for name in &self.names {
            let name = shorten(name);
            out.push(name.len() as u8);
            out.extend(name.as_bytes());
        }
        for list in &self.prefixes {
            out.extend((list.len() as u32).to_le_bytes());
            let mut before = 0;
            for (prefix, number) in list {
                write_leb128(&mut out, prefix - before);
                write_leb128(&mut out, u64::from(*number));
                before = *prefix;
            }
        }
        zstd::bulk::compress(&out, 19).map_err(|_| RegistryError::Compression)
    }

    /// Reads the packed form.
    pub fn unpack(packed: &[u8]) -> Result<Self, RegistryError> {
        let bytes = zstd::bulk::decompress(packed, MAX_UNPACKED).map_err(|_| RegistryError::Compression)?;
        Self::read(&mut Bytes(&bytes)).ok_or(RegistryError::Damaged)
    }

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        let mut registry = Self::default();
        for _ in 0..bytes.u32()? {
            let length = bytes.take(1)?.first().copied()?;
            let name = std::str::from_utf8(bytes.take(length.into())?).ok()?;
            registry.names.push(name.into());
        }
        for list in &mut registry.prefixes {
            let mut before = 0_u64;
            for _ in 0..bytes.u32()? {
                before = before.checked_add(bytes.leb128()?)?;
                list.push((before, u32::try_from(bytes.leb128()?).ok()?));
            }
        }
        bytes.0.is_empty().then_some(registry)
    }
}

/// Cuts a name to what the packed form can hold, between characters.
fn shorten(name: &str) -> &str {
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= MAX_NAME).last();
    name.get(..end.unwrap_or_default()).unwrap_or_default()
}

fn write_leb128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn leb128(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.take(1)?.first().copied()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registry() -> Registry {
        Registry::from_assignments([
            ("001122", "Large"),
            ("0011333", "Medium"),
            ("001133", "IEEE Registration Authority"),
            ("001133444", "Private"),
            ("001144555", "Small"),
        ])
        .expect("valid")
    }

    fn vendor(text: &str) -> Option<String> {
        registry().vendor(text.parse().expect("an address")).map(str::to_owned)
    }

    #[test]
    fn the_longest_prefix_wins_and_an_unnamed_owner_hides_what_is_above() {
        assert_eq!(vendor("00:11:22:33:44:55").as_deref(), Some("Large"));
        assert_eq!(vendor("00:11:33:3f:00:00").as_deref(), Some("Medium"));
        assert_eq!(vendor("00:11:33:44:4f:ff"), None);
        assert_eq!(vendor("00:11:33:50:00:00"), None);
        assert_eq!(vendor("00:11:44:55:5f:ff").as_deref(), Some("Small"));
        assert_eq!(vendor("00:11:44:55:60:00"), None);
        assert_eq!(vendor("02:11:22:33:44:55"), None);
        assert_eq!(vendor("01:11:22:33:44:55"), None);
    }

    #[test]
    fn what_is_packed_can_be_unpacked_and_damage_is_found() {
        let registry = registry();
        let packed = registry.pack().expect("packs");
        assert_eq!(Registry::unpack(&packed), Ok(registry));
        assert_eq!(Registry::unpack(b"nothing"), Err(RegistryError::Compression));
        let cut = zstd::bulk::compress(&[1, 0, 0, 0, 9], 1).expect("compresses");
        assert_eq!(Registry::unpack(&cut), Err(RegistryError::Damaged));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let packed = zstd::bulk::compress(&bytes, 1).expect("compresses");
            let _ = Registry::unpack(&packed);
        }
    }
}
