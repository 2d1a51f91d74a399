//! Sending Ethernet frames many to a system call.

use std::{io, os::fd::AsRawFd};

use socket2::Socket;

use super::{FrameSink, Interface, Patience, TxCounters, is_congestion, is_refusal, socket};

/// Frames to a system call.
pub(super) const BATCH: usize = 64;

/// Preallocated frames that wait for a flush.
#[derive(Debug)]
pub(super) struct Queue {
    bytes: Box<[u8]>,
    slot_bytes: usize,
    lengths: [usize; BATCH],
    filled: usize,
    lent: bool,
    pub(super) refused: u64,
}

impl Queue {
    pub(super) fn new(slot_bytes: usize) -> Self {
        Self {
            bytes: vec![0; slot_bytes * BATCH].into_boxed_slice(),
            slot_bytes,
            lengths: [0; BATCH],
            filled: 0,
            lent: false,
            refused: 0,
        }
    }

    pub(super) fn frame(&mut self) -> Option<&mut [u8]> {
        let slot = self.bytes.chunks_exact_mut(self.slot_bytes).nth(self.filled)?;
        self.lent = true;
        Some(slot)
    }

    pub(super) fn commit(&mut self, len: usize) {
        if !std::mem::take(&mut self.lent) {
            return;
        }
        match self.lengths.get_mut(self.filled) {
            Some(slot) if len <= self.slot_bytes => {
                *slot = len;
                self.filled += 1;
            }
            _ => self.refused += 1,
        }
    }

    /// The frames that wait, in order.
    pub(super) fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let slots = self.bytes.chunks_exact(self.slot_bytes);
        slots.zip(self.lengths).take(self.filled).filter_map(|(slot, length)| slot.get(..length))
    }

    pub(super) fn len(&self) -> usize {
        self.filled
    }

    /// Takes the first `count` frames out.
    pub(super) fn remove(&mut self, count: usize) {
        let count = count.min(self.filled);
        self.bytes.copy_within(count * self.slot_bytes..self.filled * self.slot_bytes, 0);
        self.lengths.copy_within(count..self.filled, 0);
        self.filled -= count;
    }
}

/// Batches of frames on one Ethernet device, past the queueing disciplines.
#[derive(Debug)]
pub struct TxBatch {
    socket: Socket,
    queue: Queue,
    counters: TxCounters,
}

impl TxBatch {
    /// Opens a sink for frames of up to `frame_bytes`, link header included.
    pub fn open(interface: &Interface, frame_bytes: usize) -> io::Result<Self> {
        let socket = socket::packet_socket()?;
        socket::bypass_queueing(&socket)?;
        socket::grow_send_buffer(&socket, 16 << 20)?;
        socket::bind_for_sending(&socket, interface.index)?;
        Ok(Self { socket, queue: Queue::new(frame_bytes), counters: TxCounters::default() })
    }
}

impl FrameSink for TxBatch {
    fn frame(&mut self) -> Option<&mut [u8]> {
        self.queue.frame()
    }

    fn commit(&mut self, len: usize) {
        self.queue.commit(len);
    }

    fn flush(&mut self) -> io::Result<usize> {
        flush(&mut self.queue, &mut self.counters, |queue| {
            let mut messages = Messages::default();
            for frame in queue.frames() {
                messages.push(frame, None);
            }
            messages.send(&self.socket)
        })
    }

    fn counters(&self) -> TxCounters {
        TxCounters { refused: self.counters.refused + self.queue.refused, ..self.counters }
    }
}

/// Empties the queue with `send`, which offers frames from its start and returns how many were taken.
pub(super) fn flush(
    queue: &mut Queue,
    counters: &mut TxCounters,
    mut send: impl FnMut(&Queue) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut handed_over = 0;
    let mut patience = Patience::new();
    while queue.len() > 0 {
        match send(queue) {
            Ok(taken) => {
                queue.remove(taken);
                handed_over += taken;
                counters.sent += taken as u64;
                patience.progress();
            }
            Err(error) if is_congestion(&error) => {
                counters.retries += 1;
                patience.pause()?;
            }
            Err(error) if is_refusal(&error) => {
                queue.remove(1);
                counters.refused += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(handed_over)
}

/// The arguments of one sendmmsg(2), borrowed from the frames they point to.
pub(super) struct Messages<'a> {
    vectors: [libc::iovec; BATCH],
    addresses: [Option<&'a socket2::SockAddr>; BATCH],
    count: usize,
}

impl Default for Messages<'_> {
    fn default() -> Self {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self { vectors: [empty; BATCH], addresses: [None; BATCH], count: 0 }
    }
}

impl<'a> Messages<'a> {
    /// Adds a frame, unless there are [`BATCH`] already.
    pub(super) fn push(&mut self, frame: &'a [u8], address: Option<&'a socket2::SockAddr>) {
        let (Some(vector), Some(slot)) =
            (self.vectors.get_mut(self.count), self.addresses.get_mut(self.count))
        else {
            return;
        };
        // The kernel only reads what is sent; the structure has no const variant.
        *vector = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        *slot = address;
        self.count += 1;
    }

    /// Sends from the start; returns how many were taken, at least one.
    pub(super) fn send(&mut self, socket: &Socket) -> io::Result<usize> {
        // SAFETY: all-zero is a valid mmsghdr: null pointers with zero lengths.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        for ((header, vector), address) in headers.iter_mut().zip(&mut self.vectors).zip(self.addresses) {
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            if let Some(address) = address {
                header.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_namelen = address.len();
            }
        }
        // SAFETY: the first `count` headers point to live vectors, frames and addresses: borrowed for 'a.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                self.count as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(lengths: &[u8]) -> Queue {
        let mut queue = Queue::new(8);
        for length in lengths {
            queue.frame().expect("a free slot").fill(*length);
            queue.commit(usize::from(*length));
        }
        queue
    }

    fn content(queue: &Queue) -> Vec<Vec<u8>> {
        queue.frames().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn takes_exactly_one_batch() {
        let mut queue = filled(&[3; BATCH]);
        assert!(queue.frame().is_none());
        queue.commit(3);
        assert_eq!((queue.len(), queue.refused), (BATCH, 0));
        queue.remove(BATCH + 1);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_was_not_taken_stays_in_order() {
        let mut queue = filled(&[1, 2, 3]);
        queue.remove(1);
        assert_eq!(content(&queue), [vec![2; 2], vec![3; 3]]);
        queue.frame().expect("a free slot").fill(9);
        queue.commit(1);
        assert_eq!(content(&queue), [vec![2; 2], vec![3; 3], vec![9]]);
    }

    #[test]
    fn a_frame_beyond_its_slot_is_refused_and_counted() {
        let mut queue = filled(&[]);
        queue.frame().expect("a free slot");
        queue.commit(9);
        queue.commit(1);
        assert_eq!((queue.len(), queue.refused), (0, 1));
    }

    #[test]
    fn congestion_is_tried_again_and_refusals_are_counted() {
        let mut queue = filled(&[1, 2, 3]);
        let mut counters = TxCounters::default();
        let mut answers = [
            Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
            Ok(1),
            Err(io::Error::from_raw_os_error(libc::EPERM)),
            Err(io::Error::from_raw_os_error(libc::EAGAIN)),
            Ok(1),
        ]
        .into_iter();
        let flushed =
            flush(&mut queue, &mut counters, |_| answers.next().expect("no more calls than needed"));
        assert_eq!(flushed.expect("the device came back"), 2);
        assert_eq!(counters, TxCounters { sent: 2, refused: 1, retries: 2 });
    }

    #[test]
    fn a_stalled_device_leaves_the_queue_as_it_was() {
        let mut queue = filled(&[1, 2, 3]);
        let mut counters = TxCounters::default();
        let full = |_: &Queue| Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        let error = flush(&mut queue, &mut counters, full).expect_err("nothing was taken");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!((queue.len(), counters.sent, counters.refused), (3, 0, 0));
    }
}
