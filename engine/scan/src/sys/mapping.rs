//! Memory shared with the kernel.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64},
};

/// A socket's ring, frames for one, or a map's values, mapped into our memory and unmapped on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone and stays where it is when the value moves to another thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes of what the kernel keeps behind `descriptor`.
    pub(super) fn new(descriptor: &impl AsRawFd, length: usize) -> io::Result<Self> {
        Self::at(descriptor, length, 0)
    }

    /// Maps the `length` bytes that are found at `offset`.
    pub(super) fn at(descriptor: &impl AsRawFd, length: usize, offset: i64) -> io::Result<Self> {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        Self::map(length, Self::READ_WRITE, flags, descriptor.as_raw_fd(), offset)
    }

    /// [`Mapping::at`], to be read only; memory is counted as ours when it is first read.
    pub(super) fn read_only(descriptor: &impl AsRawFd, length: usize, offset: i64) -> io::Result<Self> {
        Self::map(length, libc::PROT_READ, libc::MAP_SHARED, descriptor.as_raw_fd(), offset)
    }

    /// Zeroed memory of our own, to be shown to the kernel later.
    pub(super) fn anonymous(length: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        Self::map(length, Self::READ_WRITE, flags, -1, 0)
    }

    const READ_WRITE: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;

    fn map(
        length: usize,
        protection: libc::c_int,
        flags: libc::c_int,
        descriptor: RawFd,
        offset: i64,
    ) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours; the result is checked.
        let start =
            unsafe { libc::mmap64(std::ptr::null_mut(), length, protection, flags, descriptor, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, length })
    }

    /// Where the mapping starts, as the kernel wants to be told.
    pub(super) fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// The word at `offset`, which kernel and program hand a slot to each other with.
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "the mapping is aligned to a page and the offset is asserted"
    )]
    pub(super) fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.length, "a ring's words lie within it");
        // SAFETY: in bounds and aligned by the assertion; both sides use the word atomically only.
        unsafe { &*self.start.as_ptr().add(offset).cast::<AtomicU32>() }
    }

    /// The first `count` words of 32 bits, which kernel and program both change.
    #[expect(clippy::cast_ptr_alignment, reason = "the mapping is aligned to a page")]
    pub(super) fn words_32(&self, count: usize) -> &[AtomicU32] {
        assert!(count <= self.length / 4, "a map's words lie within it");
        // SAFETY: in bounds by the assertion and aligned as a page is; we use the words atomically only.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast::<AtomicU32>(), count) }
    }

    /// [`Mapping::words_32`], of 64 bits.
    #[expect(clippy::cast_ptr_alignment, reason = "the mapping is aligned to a page")]
    pub(super) fn words_64(&self, count: usize) -> &[AtomicU64] {
        assert!(count <= self.length / 8, "a map's words lie within it");
        // SAFETY: in bounds by the assertion and aligned as a page is; we use the words atomically only.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast::<AtomicU64>(), count) }
    }

    /// Bytes that belong to the program now.
    ///
    /// # Safety
    ///
    /// By the ring's protocol the kernel must not write these bytes until the caller hands them back.
    pub(super) unsafe fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        assert!(offset <= self.length && length <= self.length - offset, "a ring's bytes lie within it");
        // SAFETY: in bounds by the assertion; unchanged meanwhile by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), length) }
    }

    /// [`Mapping::bytes`], to be written.
    ///
    /// # Safety
    ///
    /// By the ring's protocol the kernel must neither read nor write these bytes until the caller hands them back.
    pub(super) unsafe fn bytes_mut(&mut self, offset: usize, length: usize) -> &mut [u8] {
        assert!(offset <= self.length && length <= self.length - offset, "a ring's bytes lie within it");
        // SAFETY: in bounds by the assertion; ours alone by the caller's promise and the exclusive borrow.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(offset), length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: start and length are those of a live mapping, and every borrow of it has ended.
        // It cannot fail for such a mapping, and there would be nothing to do about it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
