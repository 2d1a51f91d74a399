//! Spares hosts: few conversations with one host at a time, and pauses when it refuses.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// The first pause after a refusal; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(40);
const MOST_DOUBLINGS: u32 = 5;
/// Empty ports after which a host is taken for a SYN proxy or a trap, and its other ports are only listened to.
const HOLLOW: u32 = 30;

/// The hosts that are being talked to.
#[derive(Debug)]
pub(super) struct Hosts {
    known: Mutex<HashMap<IpAddr, Arc<Host>>>,
    per_host: usize,
}

#[derive(Debug)]
struct Host {
    turns: Arc<Semaphore>,
    /// Refusals since a connection was last accepted.
    refusals: AtomicU32,
    /// Ports that accepted and said nothing to anything, and ports that said something.
    empty: AtomicU32,
    full: AtomicU32,
}

impl Host {
    fn new(turns: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(turns)),
            refusals: AtomicU32::new(0),
            empty: AtomicU32::new(0),
            full: AtomicU32::new(0),
        }
    }
}

/// The right to hold one conversation with a host.
#[derive(Debug)]
pub(super) struct Turn {
    hosts: Arc<Hosts>,
    address: IpAddr,
    host: Arc<Host>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Hosts {
    /// At most `per_host` conversations with one host.
    pub fn new(per_host: usize) -> Self {
        Self { known: Mutex::default(), per_host: per_host.clamp(1, Semaphore::MAX_PERMITS) }
    }

    /// Waits for a turn with that host.
    pub async fn turn(self: &Arc<Self>, address: IpAddr) -> Turn {
        let host = self.host(address);
        // The semaphore is never closed; were it, going on without a permit would be right.
        let permit = Arc::clone(&host.turns).acquire_owned().await.ok();
        Turn { hosts: Arc::clone(self), address, host, _permit: permit }
    }

    fn host(&self, address: IpAddr) -> Arc<Host> {
        let new = || Arc::new(Host::new(self.per_host));
        match self.known.lock() {
            Ok(mut known) => Arc::clone(known.entry(address).or_insert_with(new)),
            Err(_) => new(),
        }
    }
}

impl Turn {
    /// Tells how a connection attempt ended.
    pub fn note(&self, accepted: bool) {
        if accepted {
            self.host.refusals.store(0, Ordering::Relaxed);
        } else {
            self.host.refusals.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells what a port came to.
    pub fn note_port(&self, is_empty: bool) {
        let count = if is_empty { &self.host.empty } else { &self.host.full };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether so many ports were empty, and none was not, that something before the host accepts for it.
    pub fn is_hollow(&self) -> bool {
        self.host.full.load(Ordering::Relaxed) == 0 && self.host.empty.load(Ordering::Relaxed) >= HOLLOW
    }

    /// Waits before the next connection if the host has refused, at most until `deadline`.
    pub async fn pause(&self, deadline: Instant) {
        if let Some(pause) = pause_after(self.host.refusals.load(Ordering::Relaxed)) {
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
        }
    }
}

fn pause_after(refusals: u32) -> Option<Duration> {
    let doublings = refusals.checked_sub(1)?.min(MOST_DOUBLINGS);
    Some(FIRST_PAUSE * 2_u32.pow(doublings))
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Ok(mut known) = self.hosts.known.lock() {
            // The map's and ours: nobody else waits or talks.
            if Arc::strong_count(&self.host) <= 2 {
                known.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn turns_are_limited_and_hosts_forgotten() {
        let hosts = Arc::new(Hosts::new(2));
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (one, two) = (hosts.turn(address).await, hosts.turn(address).await);
        assert_eq!(one.host.turns.available_permits(), 0, "two at a time");
        drop(one);
        let third = hosts.turn(address).await;
        drop((two, third));
        assert!(hosts.known.lock().expect("no panic").is_empty());
    }

    #[tokio::test]
    async fn a_host_of_empty_ports_is_hollow_until_one_is_not() {
        let turn = Arc::new(Hosts::new(1)).turn(IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
        for _ in 0..HOLLOW {
            assert!(!turn.is_hollow());
            turn.note_port(true);
        }
        assert!(turn.is_hollow());
        turn.note_port(false);
        assert!(!turn.is_hollow());
    }

    #[test]
    fn refusals_slow_down_and_an_accepted_connection_forgives() {
        assert_eq!(pause_after(0), None);
        assert_eq!(pause_after(1), Some(FIRST_PAUSE));
        assert_eq!(pause_after(3), Some(4 * FIRST_PAUSE));
        assert_eq!(pause_after(90), pause_after(7));
        let turn = Turn {
            hosts: Arc::new(Hosts::new(1)),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            host: Arc::new(Host::new(1)),
            _permit: None,
        };
        turn.note(false);
        assert_eq!(turn.host.refusals.load(Ordering::Relaxed), 1);
        turn.note(true);
        assert_eq!(turn.host.refusals.load(Ordering::Relaxed), 0);
    }
}
