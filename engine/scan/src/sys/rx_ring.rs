//! Receiving through a ring shared with the kernel (packet(7), TPACKET_V3).

use std::{
    io,
    mem::{offset_of, size_of},
    sync::atomic::Ordering,
    time::Duration,
};

use portreeve_wire::ethernet::{Address, EtherType, VlanId};
use socket2::Socket;

use super::{Interface, LinkKind, ReplyFilter, mapping::Mapping, socket};

mod block {
    use super::offset_of;

    const HEADER: usize = offset_of!(libc::tpacket_block_desc, hdr);
    pub const STATUS: usize = HEADER + offset_of!(libc::tpacket_hdr_v1, block_status);
    pub const FRAMES: usize = HEADER + offset_of!(libc::tpacket_hdr_v1, num_pkts);
    pub const FIRST: usize = HEADER + offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt);
}

mod frame {
    use super::{offset_of, size_of};

    pub const NEXT: usize = offset_of!(libc::tpacket3_hdr, tp_next_offset);
    pub const SECONDS: usize = offset_of!(libc::tpacket3_hdr, tp_sec);
    pub const NANOSECONDS: usize = offset_of!(libc::tpacket3_hdr, tp_nsec);
    pub const LENGTH: usize = offset_of!(libc::tpacket3_hdr, tp_snaplen);
    pub const STATUS: usize = offset_of!(libc::tpacket3_hdr, tp_status);
    pub const LINK: usize = offset_of!(libc::tpacket3_hdr, tp_mac);
    pub const NETWORK: usize = offset_of!(libc::tpacket3_hdr, tp_net);
    pub const VLAN: usize =
        offset_of!(libc::tpacket3_hdr, hv1) + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tci);
    const ADDRESS: usize = size_of::<libc::tpacket3_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);
    pub const PROTOCOL: usize = ADDRESS + offset_of!(libc::sockaddr_ll, sll_protocol);
}

/// How a ring is laid out.
#[derive(Clone, Copy, Debug)]
pub struct RxConfig {
    /// Bytes of one block: a power of two of at least 64 KiB. The kernel hands frames over by the block.
    pub block_bytes: usize,
    /// Blocks. What arrives while all are full is dropped and counted.
    pub blocks: usize,
    /// How long a block may wait to be filled before it is handed over as it is.
    pub hand_over_after: Duration,
    /// Take frames with this tag, and without it none.
    pub vlan: Option<VlanId>,
}

impl RxConfig {
    /// Blocks for those who expect few frames: 4 MiB, and a quarter of a second.
    pub const FEW_BLOCKS: usize = 64;
    /// So many targets can answer twice each at once and still have room in those.
    pub const FEW_TARGETS: u64 = 1 << 13;
}

impl Default for RxConfig {
    /// 16 MiB: at 128 bytes a reply and 1 million replies a second, more than a tenth of a second. Blocks are small
    /// because one with a single frame in it is handed over too: where few replies come, it is their number
    /// times the time to hand over, a second, that a reader may be kept from its work without loss.
    fn default() -> Self {
        Self { block_bytes: 64 << 10, blocks: 256, hand_over_after: Duration::from_millis(4), vlan: None }
    }
}

/// What the kernel counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxStatistics {
    /// Frames that passed the filter, dropped ones included.
    pub received: u64,
    /// Of these, frames that were dropped because the ring was full.
    pub dropped: u64,
    /// Times that the ring filled up.
    pub freezes: u64,
}

/// A receive ring on one device.
#[derive(Debug)]
pub struct RxRing {
    socket: Socket,
    ring: Mapping,
    config: RxConfig,
    next: usize,
    link: LinkKind,
    statistics: RxStatistics,
}

impl RxRing {
    /// Opens a ring; from here on replies are kept, though no one reads yet.
    pub fn open(interface: &Interface, filter: &ReplyFilter, config: RxConfig) -> io::Result<Self> {
        let socket = socket::packet_socket()?;
        socket.attach_filter(&filter.program(interface.kind, config.vlan))?;
        // A saving only: kernels before 4.20 do not know it, and the filter refuses outgoing frames too.
        socket::set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1).or_else(|error| {
            if error.raw_os_error() == Some(libc::ENOPROTOOPT) { Ok(()) } else { Err(error) }
        })?;
        socket::set_option(
            &socket,
            libc::SOL_PACKET,
            libc::PACKET_VERSION,
            libc::tpacket_versions::TPACKET_V3 as libc::c_int,
        )?;
        let length = config.block_bytes * config.blocks;
        // Frames of version 3 vary in length; the size asked for only has to divide the block.
        let frame_bytes = 2048;
        let request = libc::tpacket_req3 {
            tp_block_size: config.block_bytes as u32,
            tp_block_nr: config.blocks as u32,
            tp_frame_size: frame_bytes,
            tp_frame_nr: length as u32 / frame_bytes,
            tp_retire_blk_tov: (config.hand_over_after.as_millis() as u32).max(1),
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        socket::set_option(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, request)?;
        let ring = Mapping::new(&socket, length)?;
        socket::bind_for_receiving(&socket, interface.index)?;
        let link = interface.kind;
        Ok(Self { socket, ring, config, next: 0, link, statistics: RxStatistics::default() })
    }

    /// Takes every frame from now on, tests' own questions among them.
    #[cfg(test)]
    pub(super) fn take_everything(&self) -> io::Result<()> {
        let keep_all = socket2::SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, u32::MAX);
        self.socket.attach_filter(&[keep_all])
    }

    /// Waits until there is a block to read; `false` when the time ran out first.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        if self.is_ready() {
            return Ok(true);
        }
        socket::wait_readable(&self.socket, timeout)?;
        Ok(self.is_ready())
    }

    /// The next block of frames, if one is ready. It goes back to the kernel when it is dropped.
    pub fn next_block(&mut self) -> Option<Block<'_>> {
        if !self.is_ready() {
            return None;
        }
        let start = self.next * self.config.block_bytes;
        let frames = self.ring.word(start + block::FRAMES).load(Ordering::Relaxed);
        let first = self.ring.word(start + block::FIRST).load(Ordering::Relaxed);
        Some(Block { frames_left: frames, at: first as usize, ring: self })
    }

    /// Counts since the ring was opened.
    pub fn statistics(&mut self) -> io::Result<RxStatistics> {
        // The kernel starts again from zero after each question.
        let since: libc::tpacket_stats_v3 =
            socket::option(&self.socket, libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
        self.statistics.received += u64::from(since.tp_packets);
        self.statistics.dropped += u64::from(since.tp_drops);
        self.statistics.freezes += u64::from(since.tp_freeze_q_cnt);
        Ok(self.statistics)
    }

    fn is_ready(&self) -> bool {
        // Acquire: what the kernel wrote before it handed the block over is seen after.
        let status = self.ring.word(self.next * self.config.block_bytes + block::STATUS);
        status.load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }
}

/// A block of frames, in the order they came in.
#[derive(Debug)]
pub struct Block<'a> {
    ring: &'a mut RxRing,
    frames_left: u32,
    at: usize,
}

impl Block<'_> {
    /// The next frame of the block.
    #[expect(
        clippy::should_implement_trait,
        reason = "the frame is borrowed from the block, not from the ring"
    )]
    pub fn next(&mut self) -> Option<Received<'_>> {
        self.frames_left = self.frames_left.checked_sub(1)?;
        let block_bytes = self.ring.config.block_bytes;
        // SAFETY: the block's status is "user", so the kernel leaves it alone until this value is dropped.
        let block = unsafe { self.ring.ring.bytes(self.ring.next * block_bytes, block_bytes) };
        let bytes = block.get(self.at..).unwrap_or_default();
        self.at += native_u32(bytes, frame::NEXT) as usize;
        Some(Received::read(bytes, self.ring.link))
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        let start = self.ring.next * self.ring.config.block_bytes;
        // Release: our reads are done before the kernel may write again.
        self.ring.ring.word(start + block::STATUS).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.ring.next = (self.ring.next + 1) % self.ring.config.blocks;
    }
}

/// One frame as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The IP or ARP packet, without any link header.
    pub packet: &'a [u8],
    /// What the packet is.
    pub ether_type: EtherType,
    /// Who sent the frame, on Ethernet.
    pub source: Option<Address>,
    /// The VLAN that the kernel took the tag of off.
    pub vlan: Option<VlanId>,
    /// When the kernel took the frame in: nanoseconds since the Unix epoch, by the system's clock.
    pub time_ns: u64,
    /// Whether transport checksums are still to be filled in, as on frames that never left this machine.
    pub checksum_pending: bool,
}

impl<'a> Received<'a> {
    /// Reads a frame at the start of `bytes`; the kernel wrote its header.
    fn read(bytes: &'a [u8], link: LinkKind) -> Self {
        let status = native_u32(bytes, frame::STATUS);
        let link_start = usize::from(native_u16(bytes, frame::LINK));
        let network_start = usize::from(native_u16(bytes, frame::NETWORK));
        let end = link_start + native_u32(bytes, frame::LENGTH) as usize;
        let header = bytes.get(link_start..network_start).unwrap_or_default();
        let source = match link {
            LinkKind::Ethernet => {
                header.get(6..12).and_then(|bytes| bytes.first_chunk()).copied().map(Address)
            }
            LinkKind::Layer3 | LinkKind::Loopback => None,
        };
        Self {
            packet: bytes.get(network_start..end).unwrap_or_default(),
            ether_type: EtherType(u16::from_be(native_u16(bytes, frame::PROTOCOL))),
            source,
            vlan: (status & libc::TP_STATUS_VLAN_VALID != 0)
                .then(|| VlanId::new(native_u32(bytes, frame::VLAN) as u16 & 0x0fff))
                .flatten(),
            time_ns: u64::from(native_u32(bytes, frame::SECONDS)) * 1_000_000_000
                + u64::from(native_u32(bytes, frame::NANOSECONDS)),
            checksum_pending: status & libc::TP_STATUS_CSUMNOTREADY != 0,
        }
    }
}

fn native_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_ne_bytes(*word))
}

fn native_u16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u16::from_ne_bytes(*word))
}
