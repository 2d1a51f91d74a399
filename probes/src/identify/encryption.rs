//! TLS in a conversation: from the first byte, or after it was asked for in the clear.

use std::time::Duration;

use tokio::{net::TcpStream, time::Instant};

use super::{
    connection::{Connection, End, Reply},
    conversation::{Conversation, Open},
    starttls, tls,
};
use crate::fields::Fields;

/// What is offered inside TLS: HTTP/2 would have to be spoken if it were offered.
pub(super) const ALPN: &[&[u8]] = &[b"http/1.1"];

impl Conversation<'_> {
    /// Where the protocol can change to TLS in mid-conversation, does so for the certificate's sake.
    pub async fn try_starttls(&mut self) {
        let name = self.choice.as_ref().map(|choice| choice.best.name.to_string());
        let Some(upgrade) = name.as_deref().and_then(starttls::upgrade).filter(|_| self.tls.is_none()) else {
            return;
        };
        if !self.may_connect() {
            return;
        }
        self.open = None;
        let Some(Connection::Plain(stream)) = self.connect().await else { return };
        let (patience, deadline) = (self.patience(), self.deadline);
        if let Some(stream) = starttls::switch(stream, upgrade, patience, deadline).await {
            self.sure_of_tls = true;
            self.tls = self.shake(stream, &[]).await.info;
        }
    }

    /// Tries a TLS handshake; from its success on, everything is asked anew inside.
    pub async fn ask_tls(&mut self) {
        self.tls_tried = true;
        self.sure_of_tls = std::mem::take(&mut self.wants_tls);
        let Ok(stream) = Connection::open(self.address, self.connect_until()).await else {
            self.endings.refused += 1;
            return;
        };
        self.connections += 1;
        let shaken = self.shake(stream, self.alpn).await;
        if shaken.info.is_none() {
            let end = if shaken.closed { End::Closed } else { End::Silent };
            let reply = Reply { bytes: shaken.heard, end, arrivals: 1 };
            self.learn("tls-hello", &reply);
            return;
        }
        let refused_alpn = shaken.info.as_ref().and_then(|info| info.error.as_ref());
        if refused_alpn.is_some_and(|error| error.as_str().contains("NoApplicationProtocol")) {
            self.alpn = &[];
            self.tls_tried = self.alpn_refused;
            self.wants_tls = !self.alpn_refused;
            self.alpn_refused = true;
        }
        self.tls = shaken.info;
        let Some(stream) = shaken.stream else { return };
        self.inside_tls = true;
        self.sure_of_tls = true;
        self.fields = Fields::default();
        if let Some(leaf) = self.tls.as_ref().and_then(|tls| tls.certificates.first()) {
            self.fields.add("tls-hello", "tls.subject", leaf.subject.as_str().as_bytes());
            self.fields.add("tls-hello", "tls.issuer", leaf.issuer.as_str().as_bytes());
        }
        self.asked.clear();
        self.listened = false;
        self.parked.clear();
        self.choice = None;
        self.first_page = None;
        self.open = Some(Open::Fresh(Connection::Tls(stream)));
    }

    pub async fn shake(&self, stream: TcpStream, alpn: &[&[u8]]) -> tls::Handshake {
        let now = Instant::now();
        let until = self.deadline.min(now + Duration::from_secs(4) + 4 * self.rtt());
        // Where TLS was asked for there is no doubt that it will come.
        let first = if self.sure_of_tls { until } else { until.min(now + self.patience().first) };
        let name = self.hints.hostname.as_deref();
        tls::handshake(stream, name, self.endpoint.address, alpn, first, until).await
    }
}
