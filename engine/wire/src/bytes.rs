//! Reading and writing at fixed offsets without a panic.
//!
//! Views keep their header as an array whose size is checked once, so the compiler drops these bounds
//! checks; an offset outside (a mistake of ours, never of a sender) reads zeros and writes nothing.

use crate::BufferTooSmall;

#[inline]
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    match bytes.get(at..) {
        Some(rest) => rest.first_chunk().copied().unwrap_or([0; N]),
        None => [0; N],
    }
}

#[inline]
pub(crate) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

#[inline]
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(slot) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *slot = value;
    }
}

/// Fills a buffer from its start.
pub(crate) struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    /// Takes the first `len` bytes of `buffer`.
    pub(crate) fn new(buffer: &'a mut [u8], len: usize) -> Result<Self, BufferTooSmall> {
        buffer.get_mut(..len).map(|rest| Self { rest }).ok_or(BufferTooSmall)
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), BufferTooSmall> {
        let rest = core::mem::take(&mut self.rest);
        let (head, tail) = rest.split_at_mut_checked(bytes.len()).ok_or(BufferTooSmall)?;
        head.copy_from_slice(bytes);
        self.rest = tail;
        Ok(())
    }
}
