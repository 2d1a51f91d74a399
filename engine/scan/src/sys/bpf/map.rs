//! Maps: memory that programs and user space share.

use std::{
    io,
    ops::Deref,
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::{AtomicU32, AtomicU64},
};

use super::{
    MapReference,
    call::{MapCreate, MapUpdate, bpf, make, name},
};
use crate::sys::mapping::Mapping;

/// Kinds of `enum bpf_map_type`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Kind {
    Array = 2,
    DeviceMap = 14,
    RingBuffer = 27,
}

/// BPF_F_MMAPABLE
const MAPPABLE: u32 = 1 << 10;

/// Makes a map.
pub(super) fn create(
    label: &str,
    kind: Kind,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate {
        kind: kind as u32,
        key_bytes,
        value_bytes,
        entries,
        flags,
        name: name(label),
        ..MapCreate::default()
    };
    // SAFETY: there are no addresses among the attributes, and the command returns a descriptor.
    unsafe { make(&mut attributes) }
}

/// The most that is made one value: beyond it the verifier believes no offset.
const MOST_IN_ONE_VALUE: u64 = 1 << 28;

/// An array map whose entries both sides read and write as they please, word by word.
///
/// All of it is one value if the kernel allows, whose address instructions can hold; if not, programs look entries up.
#[derive(Debug)]
pub struct SharedArray {
    map: OwnedFd,
    memory: Mapping,
    words: usize,
    table: Table,
}

/// How programs find the entries of an array.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    map: MapReference,
    entries: u32,
    entry_bytes: u32,
    is_one_value: bool,
}

impl Table {
    /// The map.
    pub fn map(self) -> MapReference {
        self.map
    }

    /// How many entries there are.
    pub fn entries(self) -> u32 {
        self.entries
    }

    /// The size of an entry.
    pub fn entry_bytes(self) -> u32 {
        self.entry_bytes
    }

    /// Whether all entries are one value of the map; else each is one.
    pub fn is_one_value(self) -> bool {
        self.is_one_value
    }
}

// SAFETY: the memory is only read and written as atomic words through a shared reference.
unsafe impl Sync for SharedArray {}

impl SharedArray {
    /// `entries` values of `words_each` 64-bit words, all zero.
    pub fn new(label: &str, entries: u32, words_each: u32) -> io::Result<Self> {
        let bytes = u64::from(entries) * u64::from(words_each) * 8;
        if bytes > MOST_IN_ONE_VALUE {
            return Self::of_values(label, entries, words_each);
        }
        match create(label, Kind::Array, 4, bytes as u32, 1, MAPPABLE) {
            Ok(map) => Self::map(map, entries, words_each, true),
            // Some kernels have no values beyond what `kmalloc` gives.
            Err(error) if error.raw_os_error() == Some(libc::E2BIG) => {
                Self::of_values(label, entries, words_each)
            }
            Err(error) => Err(error),
        }
    }

    /// The same with a value for each entry.
    pub fn of_values(label: &str, entries: u32, words_each: u32) -> io::Result<Self> {
        let map = create(label, Kind::Array, 4, words_each * 8, entries, MAPPABLE)?;
        Self::map(map, entries, words_each, entries == 1)
    }

    fn map(map: OwnedFd, entries: u32, words_each: u32, is_one_value: bool) -> io::Result<Self> {
        let words = entries as usize * words_each as usize;
        let memory = Mapping::new(&map, (words * 8).next_multiple_of(page_bytes()))?;
        let reference = MapReference(map.as_raw_fd());
        let table = Table { map: reference, entries, entry_bytes: words_each * 8, is_one_value };
        Ok(Self { map, memory, words, table })
    }

    /// How programs find entries.
    pub fn table(&self) -> Table {
        self.table
    }

    /// The name of the map for instructions.
    pub fn reference(&self) -> MapReference {
        MapReference(self.map.as_raw_fd())
    }

    /// The same memory as half-words, for entries of 32 bits.
    pub fn halves(&self) -> &[AtomicU32] {
        self.memory.words_32(self.words * 2)
    }
}

impl Deref for SharedArray {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        self.memory.words_64(self.words)
    }
}

/// Devices, by small numbers, that a program may redirect frames to.
#[derive(Debug)]
pub struct DeviceMap {
    map: OwnedFd,
}

impl DeviceMap {
    /// A map of these devices, given by the kernel's numbers for them, numbered from 0.
    pub fn new(label: &str, devices: &[u32]) -> io::Result<Self> {
        let map = create(label, Kind::DeviceMap, 4, 4, (devices.len() as u32).max(1), 0)?;
        for (key, device) in (0_u32..).zip(devices) {
            let mut attributes = MapUpdate {
                map: map.as_raw_fd() as u32,
                key: (&raw const key) as u64,
                value: (&raw const *device) as u64,
                ..MapUpdate::default()
            };
            // SAFETY: key and value are live and of the four bytes each that the map was made with.
            unsafe { bpf(&mut attributes) }?;
        }
        Ok(Self { map })
    }

    /// The name of the map for instructions.
    pub fn reference(&self) -> MapReference {
        MapReference(self.map.as_raw_fd())
    }
}

/// How many processors this machine can have: what programs are told lies below.
pub fn processors() -> u32 {
    // SAFETY: asks for a number; touches no memory.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    u32::try_from(count).unwrap_or(1).max(1)
}

/// Bytes of a page of memory.
pub(super) fn page_bytes() -> usize {
    // SAFETY: asks for a constant; touches no memory.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}
