//! Sending through AF_XDP (the kernel's Documentation/networking/af_xdp.rst): frames lie in memory that the kernel
//! was shown once, and only their places go through rings.
//!
//! Copy mode only. It needs no program on the device, no XDP in its driver, and leaves what arrives there alone;
//! the kernel makes a packet of each frame with one copy and one small allocation. Zero copy would hand the
//! queue's receive side to this socket as well, and with it the traffic of everyone else on the machine.

use std::{
    io,
    mem::size_of,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::{FrameSink, Interface, Patience, TxCounters, is_congestion, mapping::Mapping, socket};

/// Frames that can be on their way at once: more than a batch, few enough to stay in the processor's cache.
const SLOTS: usize = 1024;

/// The smallest unit that the kernel counts frame memory in (XDP_UMEM_MIN_CHUNK_SIZE). Several frames share one:
/// it only asks that none crosses the end.
const CHUNK_BYTES: usize = 2048;

/// Frames handed over by one system call, where the kernel lets a socket choose (since 6.17): 32 otherwise.
const BUDGET: libc::c_int = 256;
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// The kernel wants the ring that receiving takes empty frames from, used or not.
const UNUSED_RING: usize = 64;

/// Frames on one transmit queue of an Ethernet device.
#[derive(Debug)]
pub struct TxXdp {
    // Dropped before the memory it refers to.
    socket: Socket,
    requests: Ring,
    completions: Ring,
    _unused: Ring,
    frames: Mapping,
    slot_bytes: usize,
    /// Frames that nobody uses: the one given back last is taken first, since it is in the cache.
    free: Vec<u64>,
    /// The slot that is being filled.
    lent: Option<u64>,
    counters: TxCounters,
}

impl TxXdp {
    /// Opens a sink for frames of up to `frame_bytes`, link header included, on the device's queue number `queue`.
    pub fn open(interface: &Interface, queue: u32, frame_bytes: usize) -> io::Result<Self> {
        let slot_bytes = frame_bytes.next_power_of_two();
        if slot_bytes > CHUNK_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let socket = Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None)?;
        socket::grow_send_buffer(&socket, 16 << 20)?;
        let frames = Mapping::anonymous(SLOTS * slot_bytes)?;
        let memory = libc::xdp_umem_reg {
            addr: frames.address(),
            len: (SLOTS * slot_bytes) as u64,
            chunk_size: CHUNK_BYTES as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        socket::set_option(&socket, libc::SOL_XDP, libc::XDP_UMEM_REG, memory)?;
        for (ring, slots) in [
            (libc::XDP_UMEM_FILL_RING, UNUSED_RING),
            (libc::XDP_UMEM_COMPLETION_RING, SLOTS),
            (libc::XDP_TX_RING, SLOTS),
        ] {
            socket::set_option(&socket, libc::SOL_XDP, ring, slots as libc::c_int)?;
        }
        let layout: libc::xdp_mmap_offsets = socket::option(&socket, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)?;
        let requests = Ring::map(&socket, &layout.tx, libc::XDP_PGOFF_TX_RING, SLOTS, size_of::<Request>())?;
        let completions = libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64;
        let completions = Ring::map(&socket, &layout.cr, completions, SLOTS, size_of::<u64>())?;
        let unused = libc::XDP_UMEM_PGOFF_FILL_RING as i64;
        let unused = Ring::map(&socket, &layout.fr, unused, UNUSED_RING, size_of::<u64>())?;
        bind(&socket, interface.index, queue)?;
        // Older kernels do not know it; then a flush takes more calls.
        let _ = socket::set_option(&socket, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, BUDGET);
        Ok(Self {
            socket,
            requests,
            completions,
            _unused: unused,
            frames,
            slot_bytes,
            free: (0..SLOTS).rev().map(|slot| (slot * slot_bytes) as u64).collect(),
            lent: None,
            counters: TxCounters::default(),
        })
    }

    /// Takes back the frames that the kernel is done with.
    fn collect(&mut self) {
        let ring = &mut self.completions;
        let done = ring.consumed.wrapping_add(ring.readable());
        while ring.consumed != done {
            self.free.push(ring.read_address(ring.consumed));
            ring.consumed = ring.consumed.wrapping_add(1);
        }
        // Release: the addresses are read before the kernel may write others.
        ring.consumer().store(done, Ordering::Release);
    }

    fn take_free(&mut self) -> Option<u64> {
        if self.free.is_empty() {
            self.collect();
        }
        self.free.pop()
    }

    /// Puts a frame in the queue. There is always room: the ring has a place for every frame there is.
    fn request(&mut self, address: u64, len: usize) {
        let request = Request { address, len: len as u32 };
        self.requests.write_request(self.requests.produced, request);
        self.requests.produced = self.requests.produced.wrapping_add(1);
    }

    /// Makes the queue known to the kernel.
    fn publish(&self) {
        // Release: frames and requests are written before the kernel sees that there are more.
        self.requests.producer().store(self.requests.produced, Ordering::Release);
    }

    /// Has the kernel work through the queue; returns whether a frame was thrown away for want of room, and what
    /// else went wrong. Frames that were taken are counted as sent.
    fn kick(&mut self) -> (bool, io::Result<()>) {
        let result = self.socket.send_with_flags(&[], libc::MSG_DONTWAIT).map(|_| ());
        let before = self.requests.consumed;
        let requests = &mut self.requests;
        let announced = requests.consumer().load(Ordering::Acquire);
        let thrown_away = result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY));
        requests.consumed = before.wrapping_add(announced.wrapping_sub(before).min(SLOTS as u32));
        self.counters.sent +=
            u64::from(requests.consumed.wrapping_sub(before)).saturating_sub(thrown_away.into());
        (thrown_away, if thrown_away { Ok(()) } else { result })
    }

    /// Frames in the queue that the kernel has not taken.
    fn waiting(&self) -> u32 {
        self.requests.produced.wrapping_sub(self.requests.consumed)
    }

    /// Queues the frame that the kernel threw away again: the last it took. It has given the slot back, with the
    /// bytes still in it. False if it has not yet.
    fn repeat_last_taken(&mut self) -> bool {
        let lost = self.requests.read_request(self.requests.consumed.wrapping_sub(1));
        self.collect();
        let Some(place) = self.free.iter().rposition(|slot| *slot == lost.address) else { return false };
        self.free.swap_remove(place);
        self.request(lost.address, lost.len as usize);
        self.publish();
        true
    }
}

impl FrameSink for TxXdp {
    fn frame(&mut self) -> Option<&mut [u8]> {
        let slot = match self.lent {
            Some(slot) => slot,
            None => self.take_free()?,
        };
        self.lent = Some(slot);
        // SAFETY: the slot is free: the kernel has given it back, or never had it.
        Some(unsafe { self.frames.bytes_mut(slot as usize, self.slot_bytes) })
    }

    fn commit(&mut self, len: usize) {
        let Some(slot) = self.lent.take() else { return };
        if len > self.slot_bytes {
            self.free.push(slot);
            self.counters.refused += 1;
        } else {
            self.request(slot, len);
        }
    }

    fn flush(&mut self) -> io::Result<usize> {
        self.publish();
        let before = self.counters.sent;
        let mut patience = Patience::new();
        while self.waiting() > 0 {
            let sent = self.counters.sent;
            let (thrown_away, result) = self.kick();
            match result {
                Err(error) if !is_congestion(&error) => return Err(error),
                _ if self.counters.sent > sent => patience.progress(),
                _ => patience.pause()?,
            }
            self.counters.retries += u64::from(thrown_away);
            if thrown_away && !self.repeat_last_taken() {
                self.counters.refused += 1;
            }
        }
        self.collect();
        Ok((self.counters.sent - before) as usize)
    }

    fn counters(&self) -> TxCounters {
        self.counters
    }
}

/// Takes the queue. The kernel lets go of one a moment after its last user has closed it, so that a scan right
/// after another finds it busy at first.
fn bind(socket: &Socket, interface: u32, queue: u32) -> io::Result<()> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(2);
    let take = || socket::bind_to_queue(socket, interface, queue, libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP);
    for _ in 1..TRIES {
        match take() {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
    take()
}

/// A frame to be sent: the part of a `xdp_desc` that matters.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Request {
    address: u64,
    len: u32,
}

/// A ring of requests or addresses that kernel and program pass on to each other. Both count without end; the
/// place of an entry is its count modulo the size.
#[derive(Debug)]
struct Ring {
    mapping: Mapping,
    producer: usize,
    consumer: usize,
    entries: usize,
    size: usize,
    entry_bytes: usize,
    /// What this program has put in.
    produced: u32,
    /// What was taken out: by this program, or by the kernel as far as that is known.
    consumed: u32,
}

impl Ring {
    fn map(
        socket: &Socket,
        layout: &libc::xdp_ring_offset,
        offset: i64,
        size: usize,
        entry_bytes: usize,
    ) -> io::Result<Self> {
        let (producer, consumer) = (layout.producer as usize, layout.consumer as usize);
        let entries = layout.desc as usize;
        let mapping = Mapping::at(socket, entries + size * entry_bytes, offset)?;
        Ok(Self { mapping, producer, consumer, entries, size, entry_bytes, produced: 0, consumed: 0 })
    }

    fn producer(&self) -> &AtomicU32 {
        self.mapping.word(self.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.mapping.word(self.consumer)
    }

    /// Entries that the kernel has put in and nobody has read.
    fn readable(&self) -> u32 {
        // Acquire: the entries are seen after the count that announced them. No more than the ring holds.
        self.producer().load(Ordering::Acquire).wrapping_sub(self.consumed).min(self.size as u32)
    }

    fn place(&self, count: u32) -> usize {
        self.entries + count as usize % self.size * self.entry_bytes
    }

    fn read_address(&self, count: u32) -> u64 {
        // SAFETY: the kernel wrote this entry before it announced it, and waits until it is consumed.
        let bytes = unsafe { self.mapping.bytes(self.place(count), size_of::<u64>()) };
        bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    fn read_request(&self, count: u32) -> Request {
        // SAFETY: the kernel only reads requests.
        let bytes = unsafe { self.mapping.bytes(self.place(count), self.entry_bytes) };
        let (address, rest) = bytes.split_at(size_of::<u64>());
        Request {
            address: address.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)),
            len: rest.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes)),
        }
    }

    fn write_request(&mut self, count: u32, request: Request) {
        let (place, length) = (self.place(count), self.entry_bytes);
        // SAFETY: the entry is not announced, so the kernel does not read it yet.
        let bytes = unsafe { self.mapping.bytes_mut(place, length) };
        let (address, rest) = bytes.split_at_mut(size_of::<u64>());
        address.copy_from_slice(&request.address.to_ne_bytes());
        rest.fill(0);
        if let Some(len) = rest.first_chunk_mut() {
            *len = request.len.to_ne_bytes();
        }
    }
}
