//! Talks to endpoints within limits, and reports what answered.

mod assemble;
mod connection;
mod conversation;
mod cookie;
mod devices;
mod encryption;
mod gate;
mod guard;
mod hello;
mod http2;
mod jarm;
mod memory;
mod ntlm;
mod os_hint;
pub(crate) mod pages;
mod patient;
mod plan;
mod question;
mod ssh;
mod starttls;
mod tds;
mod tls;
mod udp;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use portreeve_model::{Endpoint, Service, SynAckTraits, Timestamp, Transport, Verdict};
use tokio::time::Instant;

use self::{conversation::Conversation, cookie::Cookie, gate::Gate, guard::Hosts, plan::Plan};
pub use self::{
    memory::{Known, Memory},
    plan::is_delicate_port,
};
use crate::{
    archive::ReplySink,
    database::{Database, Safety},
};

/// Tells the time that goes into results.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Limits and permissions of identification.
#[derive(Clone)]
pub struct IdentifyConfig {
    /// Connections (or datagrams) at most per endpoint.
    pub max_connections: u8,
    /// Time at most per endpoint.
    pub deadline: Duration,
    /// Endpoints talked to at the same time, at most: it begins with few, and more follow as long as all goes well.
    pub concurrency: usize,
    /// Of these, endpoints of one host.
    pub per_host: usize,
    /// Ask SSH servers for their algorithms, host keys and ways to log in.
    pub ssh_audit: bool,
    /// Say twelve more hellos to TLS servers: their JARM fingerprint and the versions they take. Costs as many
    /// connections, beyond `max_connections`.
    pub jarm: bool,
    /// SNMP communities to ask for the system group with, at most four; none is ever guessed.
    pub snmp_communities: Vec<String>,
    /// Send bytes to ports of printers and of industrial controllers too.
    pub allow_print_and_ot: bool,
    /// Takes the replies of every conversation.
    pub archive: Option<Arc<dyn ReplySink>>,
    /// Tells when a result was had.
    pub clock: Clock,
}

impl IdentifyConfig {
    /// The ordinary limits: 12 connections and 12 s per endpoint, 1,024 endpoints at a time and 16 of one
    /// host, SSH audit on,
    /// JARM off, printers and industrial controllers left alone.
    pub fn new(clock: Clock) -> Self {
        Self {
            max_connections: 12,
            deadline: Duration::from_secs(12),
            concurrency: 1024,
            per_host: 16,
            ssh_audit: true,
            jarm: false,
            snmp_communities: Vec::new(),
            allow_print_and_ot: false,
            archive: None,
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
            .field("per_host", &self.per_host)
            .field("ssh_audit", &self.ssh_audit)
            .field("jarm", &self.jarm)
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
    gate: Arc<Gate>,
    hosts: Arc<Hosts>,
    memory: Option<Arc<Memory>>,
}

impl Identifier {
    /// An identifier that knows `database` and keeps to `config`.
    pub fn new(database: Arc<Database>, config: IdentifyConfig) -> Self {
        let gate = Arc::new(Gate::new(config.concurrency));
        let hosts = Arc::new(Hosts::new(config.per_host));
        let plan = Arc::new(Plan::new(&database));
        Self { database, config: Arc::new(config), plan, gate, hosts, memory: None }
    }

    /// The same with a memory of earlier results: an endpoint that answers one question as it did then is taken
    /// for what it was, on one connection.
    pub fn with_memory(self, memory: Arc<Memory>) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// Finds out what answers at `endpoint`. Waits for its turn first; from then on it takes at most
    /// [`IdentifyConfig::deadline`]. What could not be found out is absent; this never fails.
    pub async fn identify(&self, endpoint: Endpoint, hints: Hints) -> Service {
        let turn = self.hosts.turn(endpoint.address).await;
        let _place = self.gate.enter().await;
        let deadline = Instant::now() + self.config.deadline;
        let address = SocketAddr::new(endpoint.address, endpoint.port);
        let conversation = Conversation::new(self, endpoint, address, hints, turn, deadline);
        let mut service = match endpoint.transport {
            Transport::Tcp => conversation.hold().await,
            Transport::Udp => conversation.hold_udp().await,
            Transport::Sctp => Service {
                verdict: Verdict::NotProbed,
                ..Service::unrecognised(endpoint, Timestamp::default())
            },
        };
        service.seen_at_ms = (self.config.clock)();
        self.gate.adapt(service.verdict != Verdict::Unreachable).await;
        service
    }

    /// The datagram that makes the usual service of a UDP port answer, if the database has one. None for ports of
    /// printers and industrial controllers, unless the policy allows to talk to them.
    pub fn udp_payload(&self, port: u16) -> Option<Arc<[u8]>> {
        let allowed = self.config.allow_print_and_ot;
        if !allowed && is_delicate_port(port) {
            return None;
        }
        let probe = self.plan.usual_datagram(port, self.most_daring())?;
        let question = probe.steps.first()?;
        let cookie = Cookie::draw(probe, (self.config.clock)(), None);
        Some(cookie.map_or_else(|| Arc::clone(question), |cookie| cookie.put_in(question).into()))
    }

    /// The most that a question may do to what it meets, whatever leads to it.
    fn most_daring(&self) -> Safety {
        if self.config.allow_print_and_ot { Safety::Print } else { Safety::Noisy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scan once sent a BACnet question to every controller whose port it was told to look at.
    #[test]
    fn controllers_and_printers_get_no_datagram_unasked() {
        let payload = |port, allow_print_and_ot| {
            let mut config = IdentifyConfig::new(Arc::new(Timestamp::default));
            config.allow_print_and_ot = allow_print_and_ot;
            Identifier::new(Arc::clone(Database::builtin()), config).udp_payload(port)
        };
        let delicate = (0..=u16::MAX).filter(|&port| is_delicate_port(port));
        assert!(delicate.clone().all(|port| payload(port, false).is_none()));
        assert!(
            delicate.into_iter().any(|port| payload(port, true).is_some()),
            "there is something to withhold"
        );
        assert!(payload(53, false).is_some());
    }
}
