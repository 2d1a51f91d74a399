//! What the far end pretends to be: a pure function of address, port and seed, the same as in `lab/scan/far.h`.

use std::{net::Ipv4Addr, ops::RangeInclusive};

/// How the closed port of a live host answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Closed {
    /// With a RST.
    Reset,
    /// Not at all.
    Silent,
}

/// A link that carries no more than so many probes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Link {
    /// Its width.
    pub packets_per_second: u32,
    /// How many probes may queue before it.
    pub queue: u32,
}

/// The network that the far end answers for.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its first address.
    pub first: Ipv4Addr,
    /// The length of its mask.
    pub prefix: u8,
    /// Which hosts live and which ports are open.
    pub seed: u32,
    /// Chance that a port of a live host is open, per million.
    pub open_ppm: u32,
    /// Chance that a host lives, per million.
    pub live_ppm: u32,
    /// Open ports are in this range only.
    pub open_ports: RangeInclusive<u16>,
    /// How closed ports answer.
    pub closed: Closed,
    /// Probes lost by chance on the way in, per million.
    pub probe_loss_ppm: u32,
    /// Answers lost by chance on the way out, per million.
    pub reply_loss_ppm: u32,
    /// A narrow link on the way in.
    pub link: Option<Link>,
}

impl Default for Network {
    /// 10.7.0.0/16, every host alive, 5 % of the ports open, closed ports answer RST, nothing is lost.
    fn default() -> Self {
        Self {
            first: Ipv4Addr::new(10, 7, 0, 0),
            prefix: 16,
            seed: 7,
            open_ppm: 50_000,
            live_ppm: MILLION,
            open_ports: 0..=u16::MAX,
            closed: Closed::Reset,
            probe_loss_ppm: 0,
            reply_loss_ppm: 0,
            link: None,
        }
    }
}

const MILLION: u32 = 1_000_000;
/// A "port" that no probe can ask for: the hash of a host as such.
const HOST: u32 = 0x1_0000;

impl Network {
    /// As scanners take it: `10.7.0.0/16`.
    pub fn cidr(&self) -> String {
        format!("{}/{}", self.first, self.prefix)
    }

    /// How many addresses it has.
    pub fn hosts(&self) -> u32 {
        (!self.mask()).saturating_add(1)
    }

    /// Whether there is a host at `address`.
    pub fn is_live(&self, address: Ipv4Addr) -> bool {
        chance(hash(address, HOST, self.seed), self.live_ppm)
    }

    /// Whether a live host has this port open.
    pub fn is_open(&self, address: Ipv4Addr, port: u16) -> bool {
        self.open_ports.contains(&port) && chance(hash(address, port.into(), self.seed), self.open_ppm)
    }

    /// Everything that a scan of these ports has to find, in order of address and port.
    pub fn truth(&self, ports: &[RangeInclusive<u16>]) -> Vec<(Ipv4Addr, u16)> {
        let first = self.first.to_bits() & self.mask();
        let hosts =
            (first..=first | !self.mask()).map(Ipv4Addr::from_bits).filter(|&host| self.is_live(host));
        hosts
            .flat_map(|host| {
                let ports = ports.iter().flat_map(|range| range.clone());
                ports.filter(move |&port| self.is_open(host, port)).map(move |port| (host, port))
            })
            .collect()
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0)
    }

    /// As the far end reads it.
    pub(super) fn settings(&self) -> String {
        let mask = self.mask();
        let gap_ns = self.link.map_or(0, |link| 1_000_000_000 / link.packets_per_second.max(1));
        let queue_ns = self.link.map_or(0, |link| link.queue.saturating_mul(gap_ns));
        let settings: [(&str, u32); 12] = [
            ("network", self.first.to_bits() & mask),
            ("mask", mask),
            ("seed", self.seed),
            ("open_ppm", self.open_ppm),
            ("live_ppm", self.live_ppm),
            ("port_low", (*self.open_ports.start()).into()),
            ("port_high", (*self.open_ports.end()).into()),
            ("closed", u32::from(self.closed == Closed::Silent)),
            ("probe_loss_ppm", self.probe_loss_ppm),
            ("reply_loss_ppm", self.reply_loss_ppm),
            ("link_gap_ns", gap_ns),
            ("link_queue_ns", queue_ns),
        ];
        settings.map(|(key, value)| format!("{key}={value}")).join(" ")
    }
}

fn hash(address: Ipv4Addr, port: u32, seed: u32) -> u32 {
    mix(mix(address.to_bits() ^ seed).wrapping_add(port.wrapping_mul(0x9e37_79b1)))
}

/// A 32-bit finalising mixer.
fn mix(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x7feb_352d);
    h ^= h >> 15;
    h = h.wrapping_mul(0x846c_a68b);
    h ^ (h >> 16)
}

/// Whether a uniform `h` falls under a chance per million.
fn chance(h: u32, ppm: u32) -> bool {
    ((u64::from(h) * u64::from(MILLION)) >> 32) < u64::from(ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_truth_has_about_the_share_that_was_asked_for() {
        let network = Network { live_ppm: 500_000, ..Network::default() };
        let ports = [22..=22, 80..=80, 443..=443];
        let expected = f64::from(network.hosts()) * 0.5 * 0.05 * 3.0;
        let truth = network.truth(&ports).len() as f64;
        assert!((truth / expected - 1.0).abs() < 0.1, "{truth} of about {expected}");
    }

    #[test]
    fn other_seeds_give_other_truths() {
        let ports = [80..=80];
        let one = Network::default().truth(&ports);
        let other = Network { seed: 8, ..Network::default() }.truth(&ports);
        assert_ne!(one, other);
        assert_eq!(one, Network::default().truth(&ports));
    }

    #[test]
    fn the_mask_has_its_extremes() {
        let all = Network { prefix: 0, ..Network::default() };
        assert_eq!((all.mask(), all.hosts()), (0, u32::MAX));
        let one = Network { prefix: 32, ..Network::default() };
        assert_eq!((one.mask(), one.hosts()), (u32::MAX, 1));
    }

    #[test]
    fn open_ports_keep_to_their_range() {
        let network = Network { prefix: 30, open_ppm: MILLION, open_ports: 100..=101, ..Network::default() };
        let truth = network.truth(&[0..=65_535]);
        assert_eq!(truth.len(), 8);
        assert!(truth.iter().all(|(_, port)| (100..=101).contains(port)));
    }
}
