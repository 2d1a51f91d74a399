//! Frames to and from the kernel: rings, raw sockets, the receive filter and what is known of interfaces.
//!
//! This module is the one home of `unsafe` in the product. It is narrow on purpose: memory shared with the
//! kernel and the calls that `socket2` and `nix` do not wrap. Each block names the invariant it rests on, and
//! each type that owns a mapping or descriptor gives it back on drop.
//!
//! Sending goes through one trait, [`FrameSink`]; which of its types fits is a matter of the device and the kernel:
//!
//! | type | frames are | for |
//! |---|---|---|
//! | [`TxXdp`] | in memory shared with the kernel, named in a ring (AF_XDP) | Ethernet, the fastest of these |
//! | [`TxRing`] | in a ring shared with the kernel | Ethernet where AF_XDP is not to be had |
//! | [`TxBatch`] | copied, 64 to a system call | Ethernet where a ring cannot be had either |
//! | [`RawIpBatch`] | IP packets, routed by the kernel | loopback, and layer-3 devices such as tun and wireguard |
//!
//! Receiving is [`RxRing`], on every device, behind a [`ReplyFilter`] that runs in the kernel.
//!
//! All of it needs CAP_NET_RAW when it is opened and no right afterwards.

#![expect(
    unsafe_code,
    reason = "rings are memory shared with the kernel, and some socket options have no safe wrapper"
)]

pub mod bpf;
pub mod confine;
#[cfg(test)]
mod fallback_tests;
mod filter;
mod interface;
mod interrupt;
#[cfg(test)]
mod layer3_tests;
mod mapping;
mod priority;
mod raw_ip;
mod reserve;
mod rx_ring;
mod socket;
mod tx_batch;
mod tx_ring;
mod tx_xdp;
#[cfg(test)]
mod vlan_tests;
mod wide;

use std::{io, time::Duration};

pub use filter::ReplyFilter;
pub use interface::{Interface, LinkKind, sent_packets, transmit_queues};
pub(crate) use interrupt::Interruptible;
pub(crate) use priority::give_way;
pub use raw_ip::RawIpBatch;
pub use reserve::{OnReply, ReservedPorts};
pub use rx_ring::{Block, Received, RxConfig, RxRing, RxStatistics};
pub use tx_batch::TxBatch;
pub use tx_ring::TxRing;
pub use tx_xdp::TxXdp;
pub(crate) use wide::wide;

/// A way for frames to leave.
///
/// ```text
/// while let Some(slot) = sink.frame() { let length = template.emit(slot, …)?; sink.commit(length); }
/// sink.flush()?;
/// ```
///
/// Nothing is lost in silence: a frame that was committed is handed to the kernel by a flush, or counted in
/// [`TxCounters::refused`], or still waiting for the next flush.
pub trait FrameSink: Send {
    /// The next free slot, or `None` when all are taken: then flush. Its content is undefined.
    fn frame(&mut self) -> Option<&mut [u8]>;

    /// Puts the first `len` bytes of the slot that [`FrameSink::frame`] lent last in the queue. Without such
    /// a slot it does nothing; frames longer than the slot are refused.
    fn commit(&mut self, len: usize);

    /// Hands everything in the queue to the kernel and returns how many frames it took.
    ///
    /// When the device takes nothing for [`STALL`], what is left stays in the queue and the error is
    /// [`io::ErrorKind::TimedOut`]: flush again, or give up. Other errors mean that the device is gone.
    fn flush(&mut self) -> io::Result<usize>;

    /// Counts since the sink was opened.
    fn counters(&self) -> TxCounters;
}

/// How long a flush waits for a device that takes nothing.
pub const STALL: Duration = Duration::from_millis(200);

/// How long a flush pauses before it offers a frame again that the device had no room for.
const RETRY_PAUSE: Duration = Duration::from_micros(50);

/// What became of committed frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxCounters {
    /// Taken by the kernel.
    pub sent: u64,
    /// Refused for good: too long, forbidden by a packet filter, or without a route.
    pub refused: u64,
    /// Times that the device had no room and frames were offered again.
    pub retries: u64,
}

/// Counts pauses until the device counts as stalled.
struct Patience {
    pauses_left: u32,
}

impl Patience {
    const PAUSES: u32 = (STALL.as_micros() / RETRY_PAUSE.as_micros()) as u32;

    fn new() -> Self {
        Self { pauses_left: Self::PAUSES }
    }

    /// Pauses, or fails when there was no progress for too long.
    fn pause(&mut self) -> io::Result<()> {
        self.pauses_left = self.pauses_left.checked_sub(1).ok_or(io::ErrorKind::TimedOut)?;
        std::thread::sleep(RETRY_PAUSE);
        Ok(())
    }

    fn progress(&mut self) {
        *self = Self::new();
    }
}

/// Whether the kernel had no room for a frame now but may have later.
fn is_congestion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR))
}

/// Whether the kernel will never take this frame, though it may take others.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EACCES
                | libc::EHOSTUNREACH
                | libc::EINVAL
                | libc::EMSGSIZE
                | libc::ENETUNREACH
                | libc::EPERM
                | libc::EADDRNOTAVAIL
                | libc::ECONNREFUSED
        )
    )
}
