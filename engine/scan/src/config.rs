//! What a user may ask of a scan.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use portreeve_model::Timestamp;
use portreeve_wire::ethernet::VlanId;

use crate::{Checkpoint, HostProbes, PortSet, TargetSet, sys::OnReply};

/// A rate, in packets a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketsPerSecond(pub u32);

/// Which way the probes leave.
///
/// The choice is between ways of sending on Ethernet. Loopback and devices without a link header (tun, wireguard)
/// take packets through raw IP sockets only, whatever is chosen here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// The best that works here: on Ethernet the first of `kernel` (from 400,000 packets a second on), `xdp`, `ring`
    /// and `batch`, `connect` without rights.
    #[default]
    Auto,
    /// `sendmmsg` on a packet socket.
    Batch,
    /// Ordinary sockets: needs no rights, is slow.
    Connect,
    /// A program in the kernel makes the probes: the fastest by far, for all over IPv4 but SCTP, and a core spins for it.
    /// Targets that it cannot carry go another way in the same scan; an error if there is none that it can.
    Kernel,
    /// A packet ring shared with the kernel.
    Ring,
    /// AF_XDP: frames in memory shared with the kernel.
    Xdp,
}

/// One part of a scan: `index` of `count`, by contiguous ranges of the probe order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: NonZeroU32,
}

impl Shard {
    /// The whole scan.
    pub const WHOLE: Self = Self { index: 0, count: NonZeroU32::MIN };

    /// Part `index` (from 0) of `count`; `None` unless `index < count`.
    pub fn new(index: u32, count: u32) -> Option<Self> {
        let count = NonZeroU32::new(count)?;
        (index < count.get()).then_some(Self { index, count })
    }

    /// This shard's positions of a probe order of `total` positions. The shards of one count cover the
    /// whole order without overlap, and differ in length by at most one.
    pub fn positions(self, total: u64) -> std::ops::Range<u64> {
        let bound = |part: u32| {
            let position = u128::from(total) * u128::from(part) / u128::from(self.count.get());
            u64::try_from(position).unwrap_or(total)
        };
        bound(self.index)..bound(self.index.saturating_add(1))
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// Tells the time of day: a scan is given one, it never asks the system itself.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now().0)
    }
}

/// Gives the datagram to be sent to a UDP port. At most [`UdpPayloads::MAX_BYTES`] of it are used.
#[derive(Clone)]
pub struct UdpPayloads(Arc<dyn Fn(u16) -> Option<Arc<[u8]>> + Send + Sync>);

impl UdpPayloads {
    /// What fits in a frame of the smallest MTU that IPv6 allows (RFC 8200 5), headers taken off.
    pub const MAX_BYTES: usize = 1232;

    /// Payloads from a function; `None` is an empty datagram.
    pub fn new(payload: impl Fn(u16) -> Option<Arc<[u8]>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(payload))
    }

    /// Empty datagrams only.
    pub fn none() -> Self {
        Self::new(|_| None)
    }

    /// The payload for a port.
    pub fn get(&self, port: u16) -> Option<Arc<[u8]>> {
        let payload = (self.0)(port)?;
        match payload.get(..Self::MAX_BYTES) {
            Some(head) if payload.len() > Self::MAX_BYTES => Some(head.into()),
            _ => Some(payload),
        }
    }
}

impl Default for UdpPayloads {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for UdpPayloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UdpPayloads")
    }
}

/// A scan as asked for. [`ScanConfig::new`] fills in careful defaults.
#[derive(Clone, Debug)]
pub struct ScanConfig {
    /// Where to.
    pub targets: TargetSet,
    /// Which ports; an empty set looks for hosts only.
    pub ports: PortSet,
    /// Probes a second, over all targets.
    pub rate: PacketsPerSecond,
    /// Probes a second to any one host, at most.
    pub rate_per_host: Option<PacketsPerSecond>,
    /// Probes a second to any one network, at most.
    pub rate_per_network: Option<PacketsPerSecond>,
    /// How many leading bits of an IPv4 address name its network.
    pub network_prefix_v4: u8,
    /// How many leading bits of an IPv6 address name its network.
    pub network_prefix_v6: u8,
    /// How often a silent target is probed again.
    pub retries: u8,
    /// How often a silent target is probed again beyond that, while answers to repeats show that probes are lost
    /// and some targets are probably still missing. Never if there are no retries at all, and never more
    /// probes than the asked-for attempts took.
    pub lost_retries: u8,
    /// Chooses the order of the probes; shards of one scan must share it.
    pub seed: u64,
    /// Which part of the scan is done here.
    pub shard: Shard,
    /// How long to wait for the answer to a probe.
    pub wait: Duration,
    /// Send through this interface only, whatever the routes say.
    pub interface: Option<String>,
    /// Send and receive with this tag, in a VLAN that the machine has no interface of its own for. On an interface
    /// that it has, the kernel writes and takes off the tag itself.
    pub vlan: Option<VlanId>,
    /// First of the source ports used (one for each attempt); chosen when absent.
    pub source_port: Option<u16>,
    /// Which way the probes leave.
    pub backend: BackendChoice,
    /// What this machine does about TCP answers once they have been seen, if any come from elsewhere.
    pub on_reply: OnReply,
    /// Report ports that answered, but not as open: closed, and filtered or unreachable with a reason.
    pub report_closed: bool,
    /// Report silent ports one by one as filtered, at the end.
    pub report_filtered: bool,
    /// Look for hosts first and probe the ports of those only that answered.
    pub ping: bool,
    /// By what hosts are looked for.
    pub host_probes: HostProbes,
    /// Go on from here: a checkpoint of an earlier scan with the same targets, ports, seed and shard, with all
    /// pages that it and those before it held.
    pub resume: Option<Checkpoint>,
    /// Hand out a checkpoint this often while ports are probed.
    pub checkpoint_every: Option<Duration>,
    /// What to say to UDP ports.
    pub udp_payloads: UdpPayloads,
}

impl ScanConfig {
    /// With every fifth probe lost, one target in ten million is missed after these.
    pub const LOST_RETRIES: u8 = 8;
    /// The most attempts at one target: as many as an echo request has room to number.
    const MAX_ATTEMPTS: u8 = 16;

    /// A careful scan of `ports` at `targets`: 1,000 packets a second, one retry, two seconds' wait.
    pub fn new(targets: TargetSet, ports: PortSet) -> Self {
        Self {
            targets,
            ports,
            rate: PacketsPerSecond(1_000),
            rate_per_host: None,
            rate_per_network: None,
            network_prefix_v4: 24,
            network_prefix_v6: 64,
            retries: 1,
            lost_retries: Self::LOST_RETRIES,
            seed: 0,
            shard: Shard::WHOLE,
            wait: Duration::from_secs(2),
            interface: None,
            vlan: None,
            source_port: None,
            backend: BackendChoice::Auto,
            on_reply: OnReply::default(),
            report_closed: false,
            report_filtered: false,
            ping: false,
            host_probes: HostProbes::default(),
            resume: None,
            checkpoint_every: None,
            udp_payloads: UdpPayloads::none(),
        }
    }

    /// The rate over all targets: no more than all hosts together may get.
    pub(crate) fn overall_rate(&self) -> PacketsPerSecond {
        let hosts = u32::try_from(self.targets.count()).unwrap_or(u32::MAX);
        let all = self.rate_per_host.map(|rate| PacketsPerSecond(rate.0.saturating_mul(hosts)));
        all.map_or(self.rate, |all| self.rate.min(all))
    }

    /// Whether most of what comes back is TCP, which a program in the kernel judges.
    pub(crate) fn is_answered_by_tcp(&self) -> bool {
        !self.ports.is_empty() && self.ports.tcp().len() == self.ports.len()
    }

    /// Attempts at each silent target, whatever happens.
    pub(crate) fn sure_attempts(&self) -> u8 {
        self.retries.saturating_add(1).min(Self::MAX_ATTEMPTS)
    }

    /// Attempts at each silent target, at most.
    pub(crate) fn most_attempts(&self) -> u8 {
        let more = if self.retries == 0 { 0 } else { self.lost_retries };
        self.sure_attempts().saturating_add(more).min(Self::MAX_ATTEMPTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_the_order_without_overlap() {
        for total in [0, 1, 7, 1000, u64::from(u32::MAX), 1 << 48] {
            for count in [1, 2, 3, 7, 64] {
                let mut next = 0;
                for index in 0..count {
                    let positions = Shard::new(index, count).expect("index below count").positions(total);
                    assert_eq!(positions.start, next);
                    next = positions.end;
                }
                assert_eq!(next, total);
            }
        }
    }

    #[test]
    fn a_shard_outside_of_its_count_cannot_be_made() {
        assert_eq!(Shard::new(2, 2), None);
        assert_eq!(Shard::new(0, 0), None);
    }

    #[test]
    fn long_payloads_are_cut() {
        let payloads = UdpPayloads::new(|_| Some(vec![1; 9000].into()));
        assert_eq!(payloads.get(53).map(|payload| payload.len()), Some(UdpPayloads::MAX_BYTES));
    }
}
