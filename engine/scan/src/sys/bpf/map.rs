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

/// An array map whose entries both sides read and write as they please, word by word.
///
/// With one entry its value has an address that instructions can hold; with several, programs look entries up.
#[derive(Debug)]
pub struct SharedArray {
    map: OwnedFd,
    memory: Mapping,
    words: usize,
}

// SAFETY: the memory is only read and written as atomic words through a shared reference.
unsafe impl Sync for SharedArray {}

impl SharedArray {
    /// `entries` values of `words_each` 64-bit words, all zero.
    pub fn new(label: &str, entries: u32, words_each: u32) -> io::Result<Self> {
        let map = create(label, Kind::Array, 4, words_each * 8, entries, MAPPABLE)?;
        let words = entries as usize * words_each as usize;
        let memory = Mapping::new(&map, (words * 8).next_multiple_of(page_bytes()))?;
        Ok(Self { map, memory, words })
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
