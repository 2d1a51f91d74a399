//! Asks open ports what answers there, many at once, few per host.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use portreeve_model::{Observation, PortState, Service};
use portreeve_probes::{Hints, Identifier};
use tokio::task::JoinSet;

/// Conversations at the same time, over all hosts; how many of them talk is the identifier's business.
const CONVERSATIONS: usize = 512;
/// Conversations with one host at the same time: more would look like an attack on small devices.
const CONVERSATIONS_PER_HOST: usize = 16;
/// A host on which more is open than this answers everywhere; asking on tells nothing.
const PORTS_PER_HOST: usize = 1_000;
/// Open ports waiting to be asked, over all hosts.
const WAITING: usize = 200_000;

/// Open ports to be asked, and the conversations that are under way.
pub(crate) struct Identification {
    identifier: Arc<Identifier>,
    hosts: HashMap<IpAddr, Host>,
    /// Hosts with waiting ports and room for a conversation, each once, in turn.
    ready: VecDeque<IpAddr>,
    running: JoinSet<Service>,
    waiting: usize,
    /// Open ports that were or will be asked.
    pub(crate) accepted: u64,
    /// Conversations that are over.
    pub(crate) answered: u64,
    /// Open ports that are not asked, because their host or the scan has too many.
    pub(crate) left_out: u64,
}

#[derive(Default)]
struct Host {
    waiting: VecDeque<Observation>,
    accepted: usize,
    running: usize,
}

impl Host {
    fn is_ready(&self) -> bool {
        !self.waiting.is_empty() && self.running < CONVERSATIONS_PER_HOST
    }
}

impl Identification {
    pub(crate) fn new(identifier: Arc<Identifier>) -> Self {
        Self {
            identifier,
            hosts: HashMap::new(),
            ready: VecDeque::new(),
            running: JoinSet::new(),
            waiting: 0,
            accepted: 0,
            answered: 0,
            left_out: 0,
        }
    }

    /// Takes an open port; anything else is none of its business.
    pub(crate) fn offer(&mut self, observation: &Observation) {
        if observation.state != PortState::Open {
            return;
        }
        let host = self.hosts.entry(observation.address).or_default();
        if host.accepted >= PORTS_PER_HOST || self.waiting >= WAITING {
            self.left_out += 1;
            return;
        }
        let was_ready = host.is_ready();
        host.accepted += 1;
        host.waiting.push_back(*observation);
        self.accepted += 1;
        self.waiting += 1;
        if !was_ready && host.is_ready() {
            self.ready.push_back(observation.address);
        }
        self.start();
    }

    /// Forgets what waits to be asked at a host: what answers there means nothing.
    pub(crate) fn leave_out(&mut self, address: IpAddr) {
        let Some(host) = self.hosts.get_mut(&address) else { return };
        let waiting = host.waiting.len();
        host.waiting.clear();
        // No more are taken from it.
        host.accepted = PORTS_PER_HOST;
        self.ready.retain(|ready| *ready != address);
        self.waiting -= waiting;
        self.accepted -= waiting as u64;
        self.left_out += waiting as u64;
    }

    /// Whether nothing waits and nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting == 0
    }

    /// The next answer; `None` when idle. Safe to be dropped half-way.
    pub(crate) async fn next(&mut self) -> Option<Service> {
        loop {
            match self.running.join_next().await? {
                Ok(service) => {
                    self.answered += 1;
                    self.finished_with(service.endpoint.address);
                    return Some(service);
                }
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            }
        }
    }

    /// Breaks all conversations off and forgets what waits.
    pub(crate) fn stop(&mut self) {
        self.ready.clear();
        self.hosts.clear();
        self.waiting = 0;
        self.running.abort_all();
    }

    fn finished_with(&mut self, address: IpAddr) {
        if let Some(host) = self.hosts.get_mut(&address) {
            let was_ready = host.is_ready();
            host.running = host.running.saturating_sub(1);
            if !was_ready && host.is_ready() {
                self.ready.push_back(address);
            }
        }
        self.start();
    }

    fn start(&mut self) {
        while self.running.len() < CONVERSATIONS {
            let Some(address) = self.ready.pop_front() else { return };
            let Some(host) = self.hosts.get_mut(&address) else { continue };
            let Some(observation) = host.waiting.pop_front() else { continue };
            host.running += 1;
            self.waiting -= 1;
            if host.is_ready() {
                self.ready.push_back(address);
            }
            let identifier = Arc::clone(&self.identifier);
            let hints = Hints {
                syn_ack: observation.syn_ack,
                ttl: observation.ttl,
                rtt_us: observation.rtt_us,
                ..Hints::default()
            };
            self.running.spawn(async move { identifier.identify(observation.endpoint(), hints).await });
        }
    }
}
