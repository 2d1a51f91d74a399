//! TLS in a conversation: from the first byte, or after it was asked for in the clear.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use portreeve_model::TlsInfo;
use tokio::{net::TcpStream, time::Instant};

use super::{
    connection::{Connection, End, Reply},
    conversation::{Conversation, Open},
    hello::{self, Hello},
    jarm,
    pages::keeps_open,
    starttls, tds, tls,
};
use crate::{database::ProbeRef, fields::Fields, matcher::Search};

/// What is offered inside TLS, one after the other where the server refuses: HTTP/1.1, which shows most; HTTP/2;
/// nothing.
pub(super) const ALPN: [&[&[u8]]; 3] = [&[b"http/1.1"], &[b"h2"], &[]];

/// How long a page may take before TLS is tried beside it, on top of two round trips: web servers answer in less,
/// and cost no second connection.
const HEAD_START: Duration = Duration::from_millis(60);

impl Conversation<'_> {
    /// Where the protocol can change to TLS in mid-conversation, does so for the certificate's sake.
    pub async fn try_starttls(&mut self) {
        let name = self.choice.as_ref().map(|choice| choice.best.name.to_string());
        if name.as_deref() == Some("ms-sql-s") {
            return self.ask_tds_certificate().await;
        }
        let Some(upgrade) = name.as_deref().and_then(starttls::upgrade).filter(|_| self.tls.is_none()) else {
            return;
        };
        // MySQL says in its greeting whether it would.
        let refuses = name.as_deref() == Some("mysql") && self.fields.get("mysql.tls").is_none();
        if refuses || !self.may_connect() {
            return;
        }
        self.open = None;
        let Some(Connection::Plain(stream)) = self.connect().await else { return };
        let (patience, deadline) = (self.patience(), self.deadline);
        let domain = self.domain();
        let Some(stream) = starttls::switch(stream, upgrade, &domain, patience, deadline).await else {
            return;
        };
        self.sure_of_tls = true;
        let shaken = self.shake(stream, &[]).await;
        self.tls = shaken.info;
        if let (Some("ms-wbt-server"), Some(stream)) = (name.as_deref(), shaken.stream) {
            self.ask_credssp(Connection::Tls(stream)).await;
        }
    }

    /// SQL Server carries TLS inside its own packets.
    async fn ask_tds_certificate(&mut self) {
        if self.tls.is_some() || self.fields.get("tds.encryption").is_none() || !self.may_connect() {
            return;
        }
        self.connections += 1;
        self.open = None;
        let until = self.deadline.min(Instant::now() + Duration::from_secs(2) + 4 * self.rtt());
        let name = self.hints.hostname.clone();
        let flight = tds::first_flight(self.address, name.as_deref(), self.patience(), until).await;
        self.tls = flight.and_then(hello::describe);
    }

    /// The name to ask for where a domain is wanted: what the host was called by, or calls itself.
    fn domain(&self) -> String {
        let known = self.hints.hostname.clone().or_else(|| self.fields.get("raw").and_then(stream_from));
        let plain =
            known.filter(|name| name.bytes().all(|c| c.is_ascii_alphanumeric() || b".-_".contains(&c)));
        plain.unwrap_or_else(|| self.endpoint.address.to_string())
    }

    /// Tries a TLS handshake; from its success on, everything is asked anew inside.
    pub async fn ask_tls(&mut self) {
        self.tls_tried = true;
        self.sure_of_tls = std::mem::take(&mut self.wants_tls);
        let Some(stream) = self.open_stream().await else { return };
        let shaken = self.shake(stream, self.offer()).await;
        self.take_handshake(shaken).await;
    }

    /// Asks for a page, and where the answer does not come at once, says a TLS hello on a second connection: between
    /// them they make nearly every server that waits for its client speak. Whichever is answered first is followed.
    pub async fn ask_page_or_tls(&mut self, probe: &ProbeRef) {
        self.asked.insert(probe.probe.id.clone());
        let Some(step) = probe.steps.first() else { return };
        let request = self.address_in(step);
        let reused = self.reusable(false);
        let Some(mut plain) = (if reused.is_some() { reused } else { self.connect().await }) else { return };
        let head_start = tokio::time::sleep(2 * self.rtt() + HEAD_START);
        let (patience, deadline, until) = (self.patience(), self.deadline, self.connect_until());
        let is_open = AtomicBool::new(false);
        let hello = async {
            head_start.await;
            let stream = Connection::open(self.address, until).await.ok()?;
            is_open.store(true, Ordering::Relaxed);
            Some(self.shake(stream, self.offer()).await)
        };
        let page = async {
            let is_sent = plain.send(&request, deadline).await;
            let closed = Reply { bytes: Vec::new(), end: End::Closed, arrivals: 0 };
            if is_sent { plain.read(patience, deadline).await } else { closed }
        };
        let (reply, shaken) = race(page, hello).await;
        self.connections += u8::from(is_open.into_inner());
        if let Some(shaken) = shaken {
            self.tls_tried = true;
            if shaken.stream.is_some() || reply.is_none() {
                return self.take_handshake(shaken).await;
            }
            self.take_handshake(shaken).await;
        }
        let Some(reply) = reply else { return };
        if matches!(reply.end, End::Complete | End::Quiet) && keeps_open(&reply.bytes) && !self.inside_tls {
            self.open = Some(Open::Idle(plain));
        } else if reply.end == End::Silent {
            self.parked.push((probe.probe.id.clone(), plain));
        }
        self.learn(&probe.probe.id, &reply);
    }

    /// Goes on from a handshake, however it ended.
    pub async fn take_handshake(&mut self, shaken: tls::Handshake) {
        if shaken.info.is_none() {
            let end = if shaken.closed { End::Closed } else { End::Silent };
            let reply = Reply { bytes: shaken.heard, end, arrivals: 1 };
            self.learn("tls-hello", &reply);
            return;
        }
        let refused_alpn = shaken.info.as_ref().and_then(|info| info.error.as_ref());
        let has_next = self.alpn + 1 < ALPN.len();
        let is_refused = refused_alpn.is_some_and(|error| error.as_str().contains("NoApplicationProtocol"));
        if is_refused && has_next {
            self.alpn += 1;
            self.tls_tried = false;
            self.wants_tls = true;
        }
        self.tls = shaken.info;
        let Some(stream) = shaken.stream else {
            if self.tls.as_ref().is_some_and(|tls| tls.certificates.is_empty()) && !is_refused {
                self.ask_old_tls().await;
            }
            return;
        };
        self.inside_tls = true;
        self.sure_of_tls = true;
        self.fields = Fields::default();
        self.search = Search::default();
        self.learn_certificate();
        self.asked.clear();
        self.unanswered.clear();
        self.listened = false;
        self.parked.clear();
        self.choice = None;
        self.first_page = None;
        let speaks_h2 =
            self.tls.as_ref().and_then(|tls| tls.alpn.as_ref()).is_some_and(|alpn| alpn.as_str() == "h2");
        self.wants_h2 |= speaks_h2;
        self.open = (!speaks_h2).then_some(Open::Fresh(Connection::Tls(stream)));
    }

    /// Whether the server finished a handshake and then closed on what was said inside: some servers of HTTP/2 do
    /// that to clients that did not offer it, instead of refusing the handshake.
    pub fn may_want_h2(&self) -> bool {
        let agreed =
            self.tls.as_ref().is_some_and(|tls| tls.alpn.is_none() && !tls.client_certificate_requested);
        let closes = self.endings.closed > 0 && self.first_words.is_empty();
        self.inside_tls && self.alpn == 0 && agreed && closes
    }

    /// Shakes hands once more, for HTTP/2.
    pub fn offer_h2(&mut self) {
        self.alpn = 1;
        self.tls_tried = false;
        self.wants_tls = true;
    }

    /// The protocols to offer inside TLS.
    pub fn offer(&self) -> &'static [&'static [u8]] {
        ALPN.get(self.alpn).copied().unwrap_or_default()
    }

    fn learn_certificate(&mut self) {
        if let Some(leaf) = self.tls.as_ref().and_then(|tls| tls.certificates.first()) {
            self.fields.add("tls-hello", "tls.subject", leaf.subject.as_str().as_bytes());
            self.fields.add("tls-hello", "tls.issuer", leaf.issuer.as_str().as_bytes());
        }
        if self.tls.as_ref().is_some_and(|tls| tls.client_certificate_requested) {
            self.fields.add("tls-hello", "tls.client_certificate", b"requested");
        }
    }

    /// Where everything we said made the server close: servers from before TLS do that on what they do not know.
    pub async fn try_old_tls(&mut self) {
        let closes = self.endings.closed > 0 && self.endings.silent == 0;
        if closes && self.tls.is_none() && self.choice.is_none() && self.first_words.is_empty() {
            self.ask_old_tls().await;
        }
    }

    /// Asks as clients of long ago did, and reads what comes in the clear: version, cipher, certificate.
    async fn ask_old_tls(&mut self) {
        let until = self.deadline.min(Instant::now() + Duration::from_secs(2) + 4 * self.rtt());
        // The older one is understood by more of them, where there is a connection for one alone.
        let left = self.identifier.config.max_connections.saturating_sub(self.connections);
        let offers: &[u16] = if left > 1 { &[0x0303, 0x0300] } else { &[0x0300] };
        for &newest in offers {
            if !self.may_connect() {
                return;
            }
            self.connections += 1;
            let hello = Hello::for_old_servers(newest, self.hints.hostname.as_deref());
            let flight = hello::first_flight(self.address, &hello, until).await;
            if let Some(info) = flight.and_then(hello::describe) {
                let error = self.tls.take().and_then(|tls| tls.error);
                if let Some(cipher) = &info.cipher {
                    self.fields.add("tls-hello", "tls.cipher", cipher.as_str().as_bytes());
                }
                self.tls = Some(TlsInfo { error, ..info });
                self.learn_certificate();
                return;
            }
        }
    }

    /// Says JARM's hellos, if that was asked for and the port speaks TLS from the first byte.
    pub async fn ask_jarm(&mut self) {
        let is_direct = self.inside_tls || self.tls.is_some() && self.choice.is_none();
        if !self.identifier.config.jarm || !is_direct {
            return;
        }
        self.open = None;
        let name = self.hints.hostname.clone().unwrap_or_else(|| self.endpoint.address.to_string());
        let patience = Duration::from_secs(1) + 4 * self.rtt();
        let found = jarm::ask(self.address, &name, patience, self.deadline).await;
        self.connections = self.connections.saturating_add(found.connections);
        if let Some(tls) = &mut self.tls {
            tls.jarm = found.jarm;
            tls.versions = found.versions;
        }
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

/// Both outcomes, unless the first one settles the matter: a page, or a finished handshake.
pub(super) async fn race(
    page: impl Future<Output = Reply>,
    hello: impl Future<Output = Option<tls::Handshake>>,
) -> (Option<Reply>, Option<tls::Handshake>) {
    tokio::pin!(page, hello);
    tokio::select! {
        reply = &mut page => {
            if !reply.bytes.is_empty() {
                return (Some(reply), None);
            }
            (Some(reply), hello.await)
        }
        shaken = &mut hello => {
            if shaken.as_ref().is_some_and(|shaken| shaken.stream.is_some()) {
                return (None, shaken);
            }
            (Some(page.await), shaken)
        }
    }
}

/// The domain that an XMPP server says it speaks for.
fn stream_from(reply: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(reply.get(..512).unwrap_or(reply)).ok()?;
    let (_, stream) = text.split_once("<stream:stream ")?;
    let (_, from) = stream.split_once(" from=").or_else(|| stream.split_once("from="))?;
    let quote = from.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    from.get(1..)?.split(quote).next().map(str::to_owned)
}
