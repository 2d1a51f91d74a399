//! BPF programs of our own: assembled here, loaded with bpf(2), run by the kernel.
//!
//! Neither clang nor LLVM nor libbpf is needed, at build time or later: programs are emitted instruction by
//! instruction ([`Assembler`]), specialised for one scan with its constants baked in, and checked by the kernel's
//! verifier when they are loaded ([`Program::load`]; its log is in the error).
//!
//! | type | is |
//! |---|---|
//! | [`Assembler`] | registers, labels, helpers and map references in, instructions out; pure |
//! | [`SharedArray`] | an array map that program and user space both see as plain words |
//! | [`Table`] | how programs find the entries of such an array |
//! | [`DeviceMap`] | devices that a program may redirect frames to |
//! | [`RingBuffer`] | records from a program, in order |
//! | [`Program`] | a loaded XDP program, to be attached or to be run over live frames |
//! | [`Link`] | a program on a device; it goes away with the descriptor, so also when the process is killed |
//!
//! Programs need CAP_BPF and CAP_NET_ADMIN when they are loaded and attached, and no right to be run.

mod assembler;
mod call;
mod link;
mod map;
mod program;
mod ring_buffer;

pub use assembler::{
    Alu, AssembleError, Assembler, Atomic, Bits, Compare, Helper, Label, MapReference, Operand, Register,
    Size,
};
pub use link::{Link, XdpMode};
pub use map::{DeviceMap, SharedArray, Table, processors};
pub use program::{Action, LoadError, Program};
pub use ring_buffer::RingBuffer;

/// What [`Helper::Nanoseconds`] would return now: the monotonic clock, in nanoseconds.
pub fn clock_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec. With this clock the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
