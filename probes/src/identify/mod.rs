//! Talks to endpoints within limits, and reports what answered.

mod assemble;
mod connection;
mod conversation;
mod encryption;
mod os_hint;
mod pages;
mod plan;
mod ssh;
mod starttls;
mod tls;
mod udp;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use portreeve_model::{Endpoint, Service, SynAckTraits, Timestamp, Transport, Verdict};
use tokio::{sync::Semaphore, time::Instant};

use self::{conversation::Conversation, plan::Plan};
use crate::database::Database;

/// Tells the time that goes into results.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Limits and permissions of identification.
#[derive(Clone)]
pub struct IdentifyConfig {
    /// Connections (or datagrams) at most per endpoint.
    pub max_connections: u8,
    /// Time at most per endpoint.
    pub deadline: Duration,
    /// Endpoints talked to at the same time.
    pub concurrency: usize,
    /// Ask SSH servers for their algorithms, host keys and ways to log in.
    pub ssh_audit: bool,
    /// Send bytes to ports of printers and of industrial controllers too.
    pub allow_print_and_ot: bool,
    /// Tells when a result was had.
    pub clock: Clock,
}

impl IdentifyConfig {
    /// The ordinary limits: 12 connections and 12 s per endpoint, 256 endpoints at a time, SSH audit on,
    /// printers and industrial controllers left alone.
    pub fn new(clock: Clock) -> Self {
        Self {
            max_connections: 12,
            deadline: Duration::from_secs(12),
            concurrency: 256,
            ssh_audit: true,
            allow_print_and_ot: false,
            clock,
        }
    }
}

impl fmt::Debug for IdentifyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentifyConfig")
            .field("max_connections", &self.max_connections)
            .field("deadline", &self.deadline)
            .field("concurrency", &self.concurrency)
            .field("ssh_audit", &self.ssh_audit)
            .field("allow_print_and_ot", &self.allow_print_and_ot)
            .finish_non_exhaustive()
    }
}

/// What is known about an endpoint before anyone talks to it.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// What its SYN-ACK looked like.
    pub syn_ack: Option<SynAckTraits>,
    /// Time to live of its answers.
    pub ttl: Option<u8>,
    /// Round trip time, in microseconds.
    pub rtt_us: Option<u32>,
    /// Name to ask for: TLS server name, HTTP host.
    pub hostname: Option<String>,
}

/// Identifies services. Cheap to clone; clones share the limit on endpoints at a time.
#[derive(Clone, Debug)]
pub struct Identifier {
    database: Arc<Database>,
    config: Arc<IdentifyConfig>,
    plan: Arc<Plan>,
    permits: Arc<Semaphore>,
}

impl Identifier {
    /// An identifier that knows `database` and keeps to `config`.
    pub fn new(database: Arc<Database>, config: IdentifyConfig) -> Self {
        let permits = Arc::new(Semaphore::new(config.concurrency.clamp(1, Semaphore::MAX_PERMITS)));
        let plan = Arc::new(Plan::new(&database));
        Self { database, config: Arc::new(config), plan, permits }
    }

    /// Finds out what answers at `endpoint`. Waits for its turn first; from then on it takes at most
    /// [`IdentifyConfig::deadline`]. What could not be found out is absent; this never fails.
    pub async fn identify(&self, endpoint: Endpoint, hints: Hints) -> Service {
        // The semaphore is never closed; were it, going on without a permit would be right.
        let _permit = self.permits.acquire().await;
        let deadline = Instant::now() + self.config.deadline;
        let address = SocketAddr::new(endpoint.address, endpoint.port);
        let conversation = Conversation::new(self, endpoint, address, hints, deadline);
        let mut service = match endpoint.transport {
            Transport::Tcp => conversation.hold().await,
            Transport::Udp => conversation.hold_udp().await,
            Transport::Sctp => Service {
                verdict: Verdict::NotProbed,
                ..Service::unrecognised(endpoint, Timestamp::default())
            },
        };
        service.seen_at_ms = (self.config.clock)();
        service
    }

    /// The datagram that makes the usual service of a UDP port answer, if the database has one.
    pub fn udp_payload(&self, port: u16) -> Option<Arc<[u8]>> {
        self.plan.udp_payload(port)
    }
}
