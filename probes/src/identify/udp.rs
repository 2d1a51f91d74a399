//! UDP: one socket for each question, so that an answer belongs to what was asked.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use portreeve_model::Service;
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use super::{
    assemble,
    connection::{End, Reply},
    conversation::Conversation,
    cookie::Cookie,
    plan,
};
use crate::database::ProbeRef;

/// How often a question is sent.
const SENDINGS: u32 = 2;
const MAX_DATAGRAM: usize = 65_535;

impl Conversation<'_> {
    /// Asks what suits the port, then what suits any port, until a reply is recognised.
    pub async fn hold_udp(mut self) -> Service {
        let port = self.endpoint.port;
        let usual = self.identifier.plan.usual_name(port).map(str::to_owned);
        let allowed = self.identifier.config.allow_print_and_ot;
        if !allowed && plan::is_delicate_port(port) {
            return assemble::not_probed(&self, usual.as_deref());
        }
        while Instant::now() < self.deadline && self.may_connect() {
            let Some(probe) = self.next_datagram() else { break };
            self.ask_datagram(&probe).await;
            self.understand();
        }
        self.ask_details().await;
        assemble::service(&self, usual.as_deref())
    }

    fn next_datagram(&self) -> Option<ProbeRef> {
        let most = self.identifier.most_daring();
        let plan = &self.identifier.plan;
        let is_new = |probe: &&ProbeRef| !self.asked.contains(&probe.probe.id);
        match &self.choice {
            Some(choice) => {
                let name = choice.best.name.as_str();
                let has_version = choice.best.get("version").is_some();
                plan.datagrams_after(self.endpoint.port, most)
                    .filter(is_new)
                    .find(|probe| !has_version && probe.probe.after.iter().any(|after| after == name))
                    .cloned()
            }
            None => plan.datagrams(self.endpoint.port, most).find(is_new).cloned(),
        }
    }

    async fn ask_datagram(&mut self, probe: &ProbeRef) {
        self.asked.insert(probe.probe.id.clone());
        let Some(payload) = probe.steps.first() else { return };
        self.connections += 1;
        // Some servers hold their answer back for a second, as RADIUS does with refusals.
        let is_usual = self.identifier.plan.is_usual(self.endpoint.port, probe);
        let wait = 2 * self.rtt() + Duration::from_millis(if is_usual { 500 } else { 300 });
        let cookie = Cookie::draw(probe, (self.identifier.config.clock)(), Some(self.address));
        let fresh = cookie.as_ref().map(|cookie| cookie.put_in(payload));
        let payload = fresh.as_deref().unwrap_or(payload);
        let reply = match ask(self.address, payload, wait, self.deadline).await {
            Ok(Some(bytes)) => {
                let bytes = cookie.map_or_else(|| bytes.clone(), |cookie| cookie.take_out(&bytes));
                Reply { bytes, end: End::Complete, arrivals: 1 }
            }
            Ok(None) => Reply { bytes: Vec::new(), end: End::Silent, arrivals: 0 },
            // A port-unreachable message comes back as an error of the socket.
            Err(_) => Reply { bytes: Vec::new(), end: End::Closed, arrivals: 0 },
        };
        self.learn(&probe.probe.id, &reply);
    }
}

/// Sends `payload` until an answer comes from that address, whichever port it comes from (TFTP answers
/// from a new one). `None` if none comes.
pub(super) async fn ask(
    target: SocketAddr,
    payload: &[u8],
    wait: Duration,
    deadline: Instant,
) -> io::Result<Option<Vec<u8>>> {
    let any: IpAddr = match target.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    for number in 1..=SENDINGS {
        socket.send_to(payload, target).await?;
        let until = deadline.min(Instant::now() + wait * number);
        while let Ok(received) = timeout_at(until, socket.recv_from(&mut buffer)).await {
            let (length, source) = received?;
            if source.ip() == target.ip() {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
        }
    }
    Ok(None)
}
