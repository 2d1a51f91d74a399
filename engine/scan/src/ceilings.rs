//! Ceilings for each host and each network: no second brings one of them more probes than allowed.
//!
//! Each host and network has the moment from which the next probe may leave for it (the generic cell rate
//! algorithm, ITU-T I.371). A probe that comes too early in the order is held back and leaves when its turn
//! comes; meanwhile others overtake it. What can be held back is bounded: when the hold is full, sending waits.
//!
//! Moments are kept in tables of bounded size. Where a scan has more hosts or networks than that, some share
//! one and get less than they might, never more.

use std::{cmp::Reverse, collections::BinaryHeap, net::IpAddr, time::Duration};

use crate::{PacketsPerSecond, ScanConfig, space::Target};

/// The ceilings of a scan, and the probes that they hold back.
#[derive(Debug)]
pub(crate) struct Ceilings {
    host: Option<Ceiling>,
    network: Option<Ceiling>,
    prefix_v4: u8,
    prefix_v6: u8,
    /// When each probe held back may leave, and its position in the order.
    held: BinaryHeap<Reverse<(u64, u64)>>,
}

/// One kind of ceiling.
#[derive(Debug)]
struct Ceiling {
    interval_ns: u64,
    turns: Box<[Turn]>,
}

/// Whose turn it is when.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// The next probe may leave from here on.
    free_ns: u64,
    /// Probes that are held back for this.
    waiting: u32,
}

impl Ceiling {
    /// The most hosts or networks that are told apart: 1 MiB.
    const MOST: u64 = 1 << 16;
    /// A probe may leave so much before its turn, so that those of one wake of the sender leave together. The
    /// interval is longer by as much in a second, so that no second gets more than allowed.
    const SLACK_NS: u64 = 5_000_000;

    /// So many of those that wait for a turn try for it: enough that one of them is let through by the other kind
    /// of ceiling too, and few enough to cost nothing.
    const RIVALS: u64 = 8;

    fn new(rate: PacketsPerSecond, places: u64) -> Self {
        let interval_ns = (1_000_000_000 + Self::SLACK_NS).div_ceil(u64::from(rate.0.max(1)));
        let places = places.clamp(1, Self::MOST).next_power_of_two() as usize;
        Self { interval_ns, turns: vec![Turn::default(); places].into_boxed_slice() }
    }

    #[inline]
    fn turn(&mut self, number: u64) -> &mut Turn {
        // The length is a power of two and at least 1, so the place is always in range.
        let place = number as usize & (self.turns.len() - 1);
        &mut self.turns[place]
    }

    /// When a probe that comes now should try again.
    fn estimate_ns(&mut self, number: u64) -> u64 {
        let interval_ns = self.interval_ns;
        let turn = self.turn(number);
        turn.free_ns + u64::from(turn.waiting) / Self::RIVALS * interval_ns
    }

    fn leave(&mut self, number: u64, now_ns: u64) {
        let interval_ns = self.interval_ns;
        let turn = self.turn(number);
        let turn_ns = (turn.free_ns + Self::SLACK_NS).max(now_ns);
        turn.free_ns = (turn_ns + interval_ns).saturating_sub(Self::SLACK_NS);
    }
}

impl Ceilings {
    /// The most probes that are held back: 64 KiB.
    const MOST_HELD: usize = 4096;

    pub(crate) fn new(config: &ScanConfig) -> Self {
        let hosts = config.targets.count();
        let host = config.rate_per_host.map(|rate| Ceiling::new(rate, hosts));
        // Networks are told apart by a hash, which needs room to do so.
        let network =
            config.rate_per_network.map(|rate| Ceiling::new(rate, hosts.saturating_mul(16).max(1024)));
        let held = if host.is_some() || network.is_some() { Self::MOST_HELD } else { 0 };
        let (prefix_v4, prefix_v6) = (config.network_prefix_v4.min(32), config.network_prefix_v6.min(128));
        Self { host, network, prefix_v4, prefix_v6, held: BinaryHeap::with_capacity(held) }
    }

    /// None at all.
    pub(crate) fn none() -> Self {
        Self { host: None, network: None, prefix_v4: 0, prefix_v6: 0, held: BinaryHeap::new() }
    }

    /// Whether there are any.
    #[inline]
    pub(crate) fn are_set(&self) -> bool {
        self.host.is_some() || self.network.is_some()
    }

    /// Whether a probe may leave now, which then counts as sent.
    pub(crate) fn admit(&mut self, target: &Target, now: Duration) -> bool {
        let (now_ns, network) = (now.as_nanos() as u64, self.network_of(target.address));
        let both = [(&mut self.host, target.host), (&mut self.network, network)];
        let mut both = both.map(|(ceiling, number)| (ceiling.as_mut(), number));
        let is_free = |(ceiling, number): &mut (Option<&mut Ceiling>, u64)| {
            ceiling.as_mut().is_none_or(|ceiling| ceiling.turn(*number).free_ns <= now_ns)
        };
        if !both.iter_mut().all(is_free) {
            return false;
        }
        for (ceiling, number) in both {
            if let Some(ceiling) = ceiling {
                ceiling.leave(number, now_ns);
            }
        }
        true
    }

    /// Holds a probe back until its turn; false when no more can be held.
    pub(crate) fn hold(&mut self, position: u64, target: &Target, now: Duration) -> bool {
        if self.held.len() >= Self::MOST_HELD {
            return false;
        }
        let mut due_ns = now.as_nanos() as u64 + 1;
        let network = self.network_of(target.address);
        for (ceiling, number) in [(&mut self.host, target.host), (&mut self.network, network)] {
            if let Some(ceiling) = ceiling {
                due_ns = due_ns.max(ceiling.estimate_ns(number));
                ceiling.turn(number).waiting += 1;
            }
        }
        self.held.push(Reverse((due_ns, position)));
        true
    }

    /// Takes the position of a probe out whose turn has come. Its target has to be told to [`Self::release`].
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<u64> {
        let Reverse((due_ns, _)) = self.held.peek()?;
        if *due_ns > now.as_nanos() as u64 {
            return None;
        }
        self.held.pop().map(|Reverse((_, position))| position)
    }

    /// A probe that was held back is not any more.
    pub(crate) fn release(&mut self, target: &Target) {
        let network = self.network_of(target.address);
        for (ceiling, number) in [(&mut self.host, target.host), (&mut self.network, network)] {
            if let Some(ceiling) = ceiling {
                let turn = ceiling.turn(number);
                turn.waiting = turn.waiting.saturating_sub(1);
            }
        }
    }

    /// How many are held back.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// The first position in the order that is held back.
    pub(crate) fn first_held(&self) -> Option<u64> {
        self.held.iter().map(|Reverse((_, position))| *position).min()
    }

    /// How long until a turn comes, if anything is held back.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        let due = self.held.peek().map(|Reverse((due_ns, _))| Duration::from_nanos(*due_ns));
        due.map_or(Duration::ZERO, |due| due.saturating_sub(now))
    }

    /// The hash of the network of an address.
    fn network_of(&self, address: IpAddr) -> u64 {
        let number = match address {
            IpAddr::V4(address) => {
                u64::from(address.to_bits().checked_shr(32 - u32::from(self.prefix_v4)).unwrap_or(0))
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits().checked_shr(128 - u32::from(self.prefix_v6)).unwrap_or(0);
                bits as u64 ^ (bits >> 64) as u64
            }
        };
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - Ceiling::MOST.ilog2())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{Permutation, TargetSetBuilder, space::ProbeSpace};

    /// Sends a whole scan as fast as the ceilings let it; returns when a probe left for which address.
    fn departures(config: &ScanConfig) -> Vec<(u64, IpAddr)> {
        let space = ProbeSpace::ports(config.targets.clone(), &config.ports);
        let order = Permutation::new(space.len(), 5);
        let target = |position| space.target(order.at(position).expect("in range")).expect("in range");
        let (mut ceilings, mut next, mut now, mut sent) = (Ceilings::new(config), 0, 0_u64, Vec::new());
        while next < space.len() || ceilings.held() > 0 {
            let time = Duration::from_nanos(now);
            while let Some(position) = ceilings.take_due(time) {
                ceilings.release(&target(position));
                if ceilings.admit(&target(position), time) {
                    sent.push((now, target(position).address));
                } else {
                    assert!(ceilings.hold(position, &target(position), time));
                }
            }
            while next < space.len() {
                if ceilings.admit(&target(next), time) {
                    sent.push((now, target(next).address));
                } else if !ceilings.hold(next, &target(next), time) {
                    break;
                }
                next += 1;
            }
            now += 300_000;
        }
        assert_eq!(sent.len() as u64, space.len());
        sent
    }

    fn config(targets: &str, ports: &str) -> ScanConfig {
        let targets = TargetSetBuilder::new().include(targets).and_then(TargetSetBuilder::build);
        ScanConfig::new(targets.expect("targets"), ports.parse().expect("ports"))
    }

    /// The most within any second for any key.
    fn busiest_second<K: std::hash::Hash + Eq>(sent: &[(u64, IpAddr)], key: impl Fn(IpAddr) -> K) -> usize {
        let mut times: HashMap<K, Vec<u64>> = HashMap::new();
        for &(at, address) in sent {
            times.entry(key(address)).or_default().push(at);
        }
        let busiest = |times: &Vec<u64>| {
            let within =
                |first: usize| times[first..].partition_point(|&at| at < times[first] + 1_000_000_000);
            (0..times.len()).map(within).max().unwrap_or(0)
        };
        times.values().map(busiest).max().unwrap_or(0)
    }

    #[test]
    fn no_second_brings_a_host_or_a_network_more_than_allowed() {
        let both = ScanConfig {
            rate_per_host: Some(PacketsPerSecond(40)),
            rate_per_network: Some(PacketsPerSecond(600)),
            ..config("10.1.0.0/27 10.1.1.0/29 10.1.2.1", "1-200")
        };
        let sent = departures(&both);
        assert!(busiest_second(&sent, |address| address) <= 40);
        let of =
            |address: IpAddr| address.to_string().rsplit_once('.').map(|(network, _)| network.to_owned());
        assert!(busiest_second(&sent, of) <= 600);
        // 32 hosts × 200 ports at 600 a second, and a little for the random order.
        let seconds = sent.last().expect("sent").0 as f64 / 1e9;
        assert!((10.0..14.0).contains(&seconds), "{seconds}");
    }

    #[test]
    fn a_high_ceiling_is_used() {
        let fast =
            ScanConfig { rate_per_host: Some(PacketsPerSecond(20_000)), ..config("10.1.0.1", "1-40000") };
        let sent = departures(&fast);
        assert!(busiest_second(&sent, |address| address) <= 20_000);
        let seconds = sent.last().expect("sent").0 as f64 / 1e9;
        assert!(seconds < 2.1, "{seconds}");
    }

    #[test]
    fn networks_are_counted_by_their_prefix() {
        let narrow = ScanConfig {
            rate_per_network: Some(PacketsPerSecond(10)),
            network_prefix_v4: 30,
            network_prefix_v6: 126,
            ..config("10.1.0.0/29 fd00::/125", "1-5")
        };
        let sent = departures(&narrow);
        // Four hosts × five ports in each network: ten in the first second.
        let seconds = sent.last().expect("sent").0 as f64 / 1e9;
        assert!((1.8..2.2).contains(&seconds), "{seconds}");
    }

    #[test]
    fn without_ceilings_everything_leaves() {
        let none = config("10.1.0.1", "1-1000");
        assert!(!Ceilings::new(&none).are_set());
        assert!(departures(&none).iter().all(|&(at, _)| at == 0));
    }
}
