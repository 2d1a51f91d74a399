//! Where things are in the memory that the generator's programs share with us: words of 8 bytes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sys::bpf::SharedArray;

/// Bytes of a cache line: what different threads write is kept apart by so much.
const LINE: u32 = 64;

/// The next position that no thread has taken; alone in its line, since all threads add to it.
pub(super) const NEXT: u32 = 0;
/// Read by all, written by us.
const SHARED: u32 = LINE;
/// The first position that is not to be probed.
pub(super) const END: u32 = SHARED;
/// Anything but 0: nothing is sent. Bits of [`STOPPED`], [`HELD`] and [`PAUSED`].
pub(super) const STOP: u32 = SHARED + 8;
/// Probes a nanosecond of each thread, times 2⁴⁰.
pub(super) const RATE: u32 = SHARED + 16;
/// The most that is made up for after a stall, in probes times 2⁴⁰.
pub(super) const MOST_CREDIT: u32 = SHARED + 24;
/// The most that may leave at once, in probes times 2⁴⁰.
pub(super) const MOST_TOKENS: u32 = SHARED + 32;
/// The first position of the stretch: that of bit 0 of the answered ones.
pub(super) const STRETCH_START: u32 = SHARED + 40;
/// Our port in this pass, in the upper half of 32 bits.
pub(super) const SOURCE_PORT: u32 = SHARED + 48;
/// The bits of the attempt in a stamp.
pub(super) const ATTEMPT: u32 = SHARED + 56;
/// When the scan began, by the kernel's monotonic clock, in nanoseconds.
pub(super) const START_NS: u32 = SHARED + 64;
/// The attempt as the sequence numbers of ICMP requests hold it.
pub(super) const ECHO_ATTEMPT: u32 = SHARED + 72;
/// Our port as a load of half a word finds it in a frame.
pub(super) const SOURCE_PORT_WRITTEN: u32 = SHARED + 80;
/// The ways, of [`way::BYTES`] each, begin here.
pub(super) const WAYS: u32 = 4 * LINE;

/// Offsets in a way.
pub(super) mod way {
    /// Destination and source hardware address, as they stand in a frame.
    pub const HARDWARE: i16 = 0;
    /// Our address as a number: over IPv6 its lower half.
    pub const SOURCE: i16 = 16;
    /// Anything but 0: each target has a hardware address of its own.
    pub const ON_LINK: i16 = 24;
    /// The upper half of our address over IPv6.
    pub const SOURCE_UPPER: i16 = 32;
    /// The sum over our address's words of 32 bits.
    pub const SOURCE_SUM: i16 = 40;
    /// The four words of a cookie's state that has taken our address in ([`crate::cookie::CookieKey::begun`]).
    pub const STATE: i16 = 48;
    pub const BYTES: u32 = 128;
    pub const SHIFT: i32 = 7;
}

/// Offsets in a thread's own memory.
pub(super) mod thread {
    /// The positions that it has taken and not dealt with.
    pub const BLOCK_NEXT: i16 = 0;
    pub const BLOCK_END: i16 = 8;
    /// The position that it is at.
    pub const POSITION: i16 = 16;
    /// An image beyond the end whose walk goes on, or [`super::NOT_WALKING`].
    pub const WALKING: i16 = 24;
    /// Probes that may leave before the clock is asked.
    pub const ALLOWANCE: i16 = 32;
    /// When the clock was asked, in nanoseconds, or [`super::NOT_ASKED`].
    pub const ASKED_NS: i16 = 40;
    /// Probes that are due, times 2⁴⁰.
    pub const CREDIT: i16 = 48;
    /// Probes that may leave at once, times 2⁴⁰.
    pub const TOKENS: i16 = 56;
    /// Time and attempt for the stamps of the allowance.
    pub const STAMP: i16 = 64;
    /// Counts since the programs were loaded.
    pub const SENT: i16 = 72;
    pub const NOT_ALLOWED: i16 = 80;
    pub const NO_NEIGHBOR: i16 = 88;
    /// All positions before this one that it has taken are dealt with; [`super::NOTHING_TAKEN`] before the first.
    pub const FLOOR: i16 = 96;
    pub const BYTES: u32 = 128;
}

/// For good.
pub(super) const STOPPED: u64 = 1;
/// For a while, that calls wait for.
pub(super) const HELD: u64 = 2;
/// For so long that calls are to end.
pub(super) const PAUSED: u64 = 4;

/// No number of a target: targets are fewer than 2⁶³.
pub(super) const NOT_WALKING: u64 = u64::MAX;

/// In a pass that has not begun.
pub(super) const NOT_ASKED: u64 = 0;

/// The floor of a thread that has taken no positions: no minimum is it.
pub(super) const NOTHING_TAKEN: u64 = u64::MAX;

/// Fixed point of credits and rates.
pub(super) const FRACTION_BITS: i32 = 40;

/// The control memory of a generator with so many ways and threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) ways: u32,
    pub(super) threads: u32,
}

impl Layout {
    pub(super) fn words(self) -> u32 {
        self.thread(self.threads) / 8
    }

    /// Where a thread's memory begins.
    pub(super) fn thread(self, number: u32) -> u32 {
        WAYS + self.ways * way::BYTES + number * thread::BYTES
    }
}

/// The control memory by name.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) memory: SharedArray,
    pub(super) layout: Layout,
}

impl Control {
    pub(super) fn shared(&self, offset: u32) -> &AtomicU64 {
        &self.memory[(offset / 8) as usize]
    }

    pub(super) fn set(&self, offset: u32, value: u64) {
        self.shared(offset).store(value, Relaxed);
    }

    pub(super) fn get(&self, offset: u32) -> u64 {
        self.shared(offset).load(Relaxed)
    }

    /// Has nothing more sent.
    pub(super) fn stop(&self) {
        self.shared(STOP).fetch_or(STOPPED, Relaxed);
    }

    /// Has nothing sent for now.
    pub(super) fn hold(&self) {
        self.shared(STOP).fetch_or(HELD, Relaxed);
    }

    /// Has calls end that are held.
    pub(super) fn pause(&self) {
        self.shared(STOP).fetch_or(HELD | PAUSED, Relaxed);
    }

    /// Has what is held go on.
    pub(super) fn go_on(&self) {
        self.shared(STOP).fetch_and(!(HELD | PAUSED), Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.get(STOP) & STOPPED != 0
    }

    /// Whether no call is to go on.
    pub(super) fn ends_calls(&self) -> bool {
        self.get(STOP) & (STOPPED | PAUSED) != 0
    }

    pub(super) fn is_held(&self) -> bool {
        self.get(STOP) & HELD != 0
    }

    pub(super) fn thread(&self, number: u32, field: i16) -> &AtomicU64 {
        self.shared(self.layout.thread(number) + field as u32)
    }

    /// A count over all threads.
    pub(super) fn sum(&self, field: i16) -> u64 {
        (0..self.layout.threads).map(|number| self.thread(number, field).load(Relaxed)).sum()
    }
}
