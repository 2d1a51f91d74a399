//! Sending through a ring shared with the kernel (packet(7), TPACKET_V2).

use std::{
    io,
    mem::{offset_of, size_of},
    sync::atomic::Ordering,
};

use socket2::Socket;

use super::{FrameSink, Interface, Patience, TxCounters, is_congestion, mapping::Mapping, socket};

/// Where a slot's data starts: behind the aligned header, as the kernel expects it.
const DATA_OFFSET: usize = size_of::<libc::tpacket2_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);

/// Each frame follows a `virtio_net_hdr`, of which one field is used: how much of the frame the kernel shall copy
/// into the packet it makes. That is all of it. Without the header packets refer to the ring's pages, which for
/// frames as short as probes costs more than the copy (on veth 0.74 µs a frame against 0.56; `sendmmsg` takes
/// 0.69), and some virtual devices give a slot back before they have read it.
const VIRTIO_HEADER: usize = 10;
const COPY_LENGTH: usize = 2;

const FRAME_OFFSET: usize = DATA_OFFSET + VIRTIO_HEADER;

const STATUS_OFFSET: usize = offset_of!(libc::tpacket2_hdr, tp_status);
const LENGTH_OFFSET: usize = offset_of!(libc::tpacket2_hdr, tp_len);

/// The kernel wants blocks of whole pages; this is one on every platform, and any slot fits.
const BLOCK_BYTES: usize = 1 << 16;

/// Slots of a ring: more than a batch, few enough to stay in the processor's cache.
const SLOTS: usize = 1024;

/// A transmit ring on one Ethernet device, past the queueing disciplines.
#[derive(Debug)]
pub struct TxRing {
    socket: Socket,
    ring: Mapping,
    slot_bytes: usize,
    /// The next slot to be lent; only ever its place in the ring.
    head: usize,
    /// The slots before `head` that the kernel has not taken yet.
    queued: usize,
    lent: bool,
    counters: TxCounters,
}

impl TxRing {
    /// Opens a ring for frames of up to `frame_bytes`, link header included.
    pub fn open(interface: &Interface, frame_bytes: usize) -> io::Result<Self> {
        let slot_bytes = (FRAME_OFFSET + frame_bytes).next_power_of_two();
        if slot_bytes > BLOCK_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let socket = socket::packet_socket()?;
        socket::bypass_queueing(&socket)?;
        socket::grow_send_buffer(&socket, 16 << 20)?;
        socket::set_option(
            &socket,
            libc::SOL_PACKET,
            libc::PACKET_VERSION,
            libc::tpacket_versions::TPACKET_V2 as libc::c_int,
        )?;
        socket::set_option(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        let length = SLOTS * slot_bytes;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: (length / BLOCK_BYTES) as u32,
            tp_frame_size: slot_bytes as u32,
            tp_frame_nr: SLOTS as u32,
        };
        socket::set_option(&socket, libc::SOL_PACKET, libc::PACKET_TX_RING, request)?;
        let ring = Mapping::new(&socket, length)?;
        socket::bind_for_sending(&socket, interface.index)?;
        Ok(Self {
            socket,
            ring,
            slot_bytes,
            head: 0,
            queued: 0,
            lent: false,
            counters: TxCounters::default(),
        })
    }

    fn status(&self, slot: usize) -> u32 {
        self.ring.word(slot * self.slot_bytes + STATUS_OFFSET).load(Ordering::Acquire)
    }

    /// Counts the slots that the kernel has taken since the last look.
    fn collect(&mut self) -> io::Result<usize> {
        let before = self.queued;
        while self.queued > 0 {
            let oldest = (self.head + SLOTS - self.queued) % SLOTS;
            match self.status(oldest) {
                libc::TP_STATUS_SEND_REQUEST => break,
                // The kernel stops at such a slot for ever. Lengths are checked before, so the device itself
                // must have changed under us.
                libc::TP_STATUS_WRONG_FORMAT => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the device refuses frames of this size",
                    ));
                }
                _ => self.queued -= 1,
            }
        }
        let taken = before - self.queued;
        self.counters.sent += taken as u64;
        Ok(taken)
    }
}

impl FrameSink for TxRing {
    fn frame(&mut self) -> Option<&mut [u8]> {
        if self.queued == SLOTS || self.status(self.head) != libc::TP_STATUS_AVAILABLE {
            return None;
        }
        self.lent = true;
        let (offset, length) = (self.head * self.slot_bytes + FRAME_OFFSET, self.slot_bytes - FRAME_OFFSET);
        // SAFETY: the slot's status is "available", so the kernel leaves it alone until we request sending.
        Some(unsafe { self.ring.bytes_mut(offset, length) })
    }

    fn commit(&mut self, len: usize) {
        if !std::mem::take(&mut self.lent) {
            return;
        }
        if len > self.slot_bytes - FRAME_OFFSET {
            self.counters.refused += 1;
            return;
        }
        let slot = self.head * self.slot_bytes;
        // SAFETY: the slot's status is still "available".
        let header = unsafe { self.ring.bytes_mut(slot + DATA_OFFSET, VIRTIO_HEADER) };
        header.fill(0);
        if let Some(copy) = header.get_mut(COPY_LENGTH..).and_then(|rest| rest.first_chunk_mut()) {
            *copy = (len as u16).to_ne_bytes();
        }
        self.ring.word(slot + LENGTH_OFFSET).store((VIRTIO_HEADER + len) as u32, Ordering::Relaxed);
        // Release: length and frame are written before the kernel sees the request.
        self.ring.word(slot + STATUS_OFFSET).store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
        self.head = (self.head + 1) % SLOTS;
        self.queued += 1;
    }

    fn flush(&mut self) -> io::Result<usize> {
        let mut handed_over = 0;
        let mut patience = Patience::new();
        while self.queued > 0 {
            // An empty send makes the kernel walk the ring; frames it has no room for keep their request.
            let kick = self.socket.send_with_flags(&[], libc::MSG_DONTWAIT);
            let taken = self.collect()?;
            handed_over += taken;
            match kick {
                Err(error) if !is_congestion(&error) => return Err(error),
                _ if taken > 0 => patience.progress(),
                _ => {
                    self.counters.retries += 1;
                    patience.pause()?;
                }
            }
        }
        Ok(handed_over)
    }

    fn counters(&self) -> TxCounters {
        self.counters
    }
}
