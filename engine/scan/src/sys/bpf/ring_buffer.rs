//! Records from a program to user space, in the order they were reserved (linux: Documentation/bpf/ringbuf.rst).

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::Ordering,
};

use super::{
    MapReference,
    map::{Kind, create, page_bytes},
};
use crate::sys::mapping::Mapping;

/// The reading end of a ring buffer. There can be only one.
///
/// Its memory is three parts: a page with our position, a page with the kernel's, and the data, mapped twice in
/// a row so that a record that runs over the end is in one piece.
#[derive(Debug)]
pub struct RingBuffer {
    map: OwnedFd,
    ours: Mapping,
    theirs: Mapping,
    bytes: usize,
    page: usize,
}

/// In front of each record: length with two flags, and a page offset.
const HEADER_BYTES: usize = 8;
/// The record is being written.
const BUSY: u32 = 1 << 31;
/// The record was given up.
const DISCARDED: u32 = 1 << 30;

impl RingBuffer {
    /// Room for `bytes` of records: a power of two and at least a page.
    pub fn new(label: &str, bytes: u32) -> io::Result<Self> {
        let map = create(label, Kind::RingBuffer, 0, 0, bytes, 0)?;
        let (page, bytes) = (page_bytes(), bytes as usize);
        let ours = Mapping::new(&map, page)?;
        let theirs = Mapping::read_only(&map, page + 2 * bytes, page as i64)?;
        Ok(Self { map, ours, theirs, bytes, page })
    }

    /// The name of the map for instructions.
    pub fn reference(&self) -> MapReference {
        MapReference(self.map.as_raw_fd())
    }

    /// Hands over every record that is there now, and none that comes meanwhile: a flood shall not hold the caller.
    /// Returns how many.
    pub fn take_ready(&mut self, mut take: impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        // Positions are of 64 bits where the kernel is; they start at 0 and are only added to.
        let position = &self.ours.words_64(1)[0];
        let mut at = position.load(Ordering::Relaxed);
        // Acquire: the headers up to there are written.
        let end = self.theirs.words_64(1)[0].load(Ordering::Acquire);
        while at < end {
            let offset = self.page + (at as usize & (self.bytes - 1));
            let header = self.theirs.word(offset).load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let length = (header & !DISCARDED) as usize;
            if length > self.bytes {
                // The kernel never writes this; without a length there is no next record.
                break;
            }
            if header & DISCARDED == 0 {
                // SAFETY: a submitted record belongs to us until our position is moved past it.
                take(unsafe { self.theirs.bytes(offset + HEADER_BYTES, length) });
                taken += 1;
            }
            at += (HEADER_BYTES + length).next_multiple_of(8) as u64;
            // Release: we have read what is given back.
            position.store(at, Ordering::Release);
        }
        taken
    }
}
