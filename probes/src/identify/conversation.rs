//! One endpoint, from the first connection to the result.
//!
//! The order of questions: listen, unless the port's usual service waits to be asked; then what suits the
//! port, then what suits any port, TLS among it. As soon as a reply is recognised, only questions that
//! depend on that reading follow. A connection is used again wherever its state allows.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use portreeve_model::{Endpoint, Service, TlsInfo};
use tokio::{net::TcpStream, time::Instant};

use super::{
    Hints, Identifier, assemble,
    connection::{Connection, End, Patience, Reply},
    plan, starttls, tls,
};
use crate::{
    database::{Layer, ProbeRef, Safety},
    decode::{decode, http::Response},
    fields::Fields,
    matcher::{Choice, choose},
};

/// Name under which the reply to nothing is filed.
pub(super) const BANNER: &str = "banner";
/// What is offered inside TLS: HTTP/2 would have to be spoken if it were offered.
const ALPN: &[&[u8]] = &[b"http/1.1"];
/// Same-host redirects followed at most.
const MAX_REDIRECTS: u8 = 3;
/// Silent connections are looked at once more this long after the start: some servers look up the
/// caller's name before they greet.
const LATE_GREETING: Duration = Duration::from_secs(6);

/// What the state of the conversation allows to ask next.
enum Question {
    Favicon,
    Listen,
    Probe(ProbeRef),
    Redirect(String),
    Tls,
}

/// A connection that can be used again, and for what.
enum Open {
    /// Nothing was exchanged.
    Fresh(Connection),
    /// The server has greeted, and nothing else happened.
    Greeted(Connection),
    /// A question was answered and the server left the connection open.
    Idle(Connection),
}

/// How replies ended, for a verdict where nothing was recognised.
#[derive(Debug, Default)]
pub(super) struct Endings {
    pub closed: u32,
    pub dripping: u32,
    pub endless: u32,
    pub refused: u32,
    pub silent: u32,
}

/// What is known of an endpoint so far.
pub(super) struct Conversation<'a> {
    pub identifier: &'a Identifier,
    pub endpoint: Endpoint,
    pub address: SocketAddr,
    pub hints: Hints,
    started: Instant,
    pub deadline: Instant,
    pub connections: u8,
    pub fields: Fields,
    pub asked: HashSet<String>,
    listened: bool,
    open: Option<Open>,
    parked: Vec<(String, Connection)>,
    tls_tried: bool,
    pub inside_tls: bool,
    wants_tls: bool,
    sure_of_tls: bool,
    alpn: &'static [&'static [u8]],
    alpn_refused: bool,
    pub tls: Option<TlsInfo>,
    pub first_words: Vec<u8>,
    pub endings: Endings,
    redirects: u8,
    next_page: Option<String>,
    favicon_tried: bool,
    pub favicon: Option<i32>,
    pub ssh_reply: Vec<u8>,
    pub first_page: Option<Vec<u8>>,
    pub choice: Option<Choice>,
    hits: HashSet<String>,
}

impl<'a> Conversation<'a> {
    pub fn new(
        identifier: &'a Identifier,
        endpoint: Endpoint,
        address: SocketAddr,
        hints: Hints,
        deadline: Instant,
    ) -> Self {
        Self {
            identifier,
            endpoint,
            address,
            hints,
            started: Instant::now(),
            deadline,
            connections: 0,
            fields: Fields::default(),
            asked: HashSet::new(),
            listened: false,
            open: None,
            parked: Vec::new(),
            tls_tried: false,
            inside_tls: false,
            wants_tls: false,
            sure_of_tls: false,
            alpn: ALPN,
            alpn_refused: false,
            tls: None,
            first_words: Vec::new(),
            endings: Endings::default(),
            redirects: 0,
            next_page: None,
            favicon_tried: false,
            favicon: None,
            ssh_reply: Vec::new(),
            first_page: None,
            choice: None,
            hits: HashSet::new(),
        }
    }

    /// Holds the whole conversation.
    pub async fn hold(mut self) -> Service {
        let port = self.endpoint.port;
        let allowed = self.identifier.config.allow_print_and_ot;
        if !allowed && plan::is_ot_port(port) {
            return assemble::not_probed(&self, self.identifier.plan.usual_name(port));
        }
        if !allowed && plan::is_print_port(port) {
            self.listen().await;
            self.understand();
            return match self.choice {
                Some(_) => assemble::service(&self, None),
                None => assemble::not_probed(&self, self.identifier.plan.usual_name(port)),
            };
        }
        self.wants_tls = self.identifier.plan.expects_tls(port);
        while Instant::now() < self.deadline {
            let Some(question) = self.next() else { break };
            self.ask(question).await;
            self.understand();
        }
        if self.choice.is_none() && self.endings.endless + self.endings.dripping == 0 {
            self.await_late_greeting().await;
            self.understand();
        }
        self.try_starttls().await;
        assemble::service(&self, self.identifier.plan.usual_name(port))
    }

    /// Where the protocol can change to TLS in mid-conversation, does so for the certificate's sake.
    async fn try_starttls(&mut self) {
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

    /// The next question worth a connection, if any is left.
    fn next(&mut self) -> Option<Question> {
        if self.wants_tls && !self.tls_tried {
            return self.may_connect().then_some(Question::Tls);
        }
        if self.choice.is_some() {
            return self.next_follow_up();
        }
        if let Some(probe) = self.next_after_hint() {
            return Some(Question::Probe(probe));
        }
        if self.endings.endless + self.endings.dripping > 0 || self.endings.refused > 1 {
            return None;
        }
        let plan = &self.identifier.plan;
        let port = self.endpoint.port;
        if !self.listened && !plan.speaks_first(port) {
            return Some(Question::Listen);
        }
        if self.open.is_none() && !self.may_connect() {
            return None;
        }
        let most = if self.identifier.config.allow_print_and_ot { Safety::Print } else { Safety::Noisy };
        let probe = plan.questions(port, most).find(|probe| !self.asked.contains(&probe.probe.id)).cloned();
        let is_general = probe.as_ref().is_none_or(|probe| probe.probe.tier > 1);
        if is_general && !self.tls_tried && self.may_connect() && !self.asked.is_empty() {
            return Some(Question::Tls);
        }
        probe.map(Question::Probe)
    }

    /// A question that an entry too weak to be a reading makes worth asking.
    fn next_after_hint(&self) -> Option<ProbeRef> {
        let is_wanted = |probe: &&ProbeRef| {
            !self.asked.contains(&probe.probe.id) && probe.probe.after.iter().any(|id| self.hits.contains(id))
        };
        let can = self.open.is_some() || self.may_connect();
        self.identifier.plan.follow_ups().iter().find(is_wanted).filter(|_| can).cloned()
    }

    /// What else the reading makes worth asking.
    fn next_follow_up(&mut self) -> Option<Question> {
        if let Some(path) = self.next_page.take() {
            return Some(Question::Redirect(path));
        }
        let choice = self.choice.as_ref()?;
        let has_version = choice.best.get("version").is_some();
        let is_wanted = |probe: &ProbeRef| {
            let after = &probe.probe.after;
            if &*probe.probe.id == "ssh-kex" {
                return self.identifier.config.ssh_audit && choice.best.name.as_str() == "ssh";
            }
            after.iter().any(|id| self.hits.contains(id))
                || !has_version && after.iter().any(|name| name == choice.best.name.as_str())
        };
        let next = self
            .identifier
            .plan
            .follow_ups()
            .iter()
            .find(|probe| !self.asked.contains(&probe.probe.id) && is_wanted(probe));
        if let Some(probe) = next {
            let can = self.open.is_some() || self.may_connect();
            return can.then(|| Question::Probe(probe.clone()));
        }
        let is_page = choice.best.name.as_str() == "http" && self.fields.get("http.title").is_some();
        let worth = is_page && choice.best.layer != Layer::App && !self.favicon_tried && self.may_connect();
        worth.then_some(Question::Favicon)
    }

    pub fn may_connect(&self) -> bool {
        self.connections < self.identifier.config.max_connections
    }

    async fn ask(&mut self, question: Question) {
        match question {
            Question::Favicon => self.ask_favicon().await,
            Question::Listen => self.listen().await,
            Question::Probe(probe) => self.ask_probe(&probe).await,
            Question::Redirect(path) => {
                let request = get(&path);
                if let Some(reply) = self.exchange("http-get", &request, false).await {
                    self.learn("http-get", &reply);
                }
            }
            Question::Tls => self.ask_tls().await,
        }
    }

    /// Waits for what the server says unasked.
    async fn listen(&mut self) {
        self.listened = true;
        let fresh = self.reusable(false);
        let Some(mut connection) = (if fresh.is_some() { fresh } else { self.connect().await }) else {
            return;
        };
        let reply = connection.read(self.patience_for_greeting(), self.deadline).await;
        if reply.end == End::Silent {
            self.open = Some(Open::Fresh(connection));
            return;
        }
        if matches!(reply.end, End::Complete | End::Quiet) {
            self.open = Some(Open::Greeted(connection));
        }
        self.learn(BANNER, &reply);
    }

    async fn ask_probe(&mut self, probe: &ProbeRef) {
        let id = &probe.probe.id;
        self.asked.insert(id.clone());
        for (number, step) in probe.steps.iter().enumerate() {
            let greets = probe.probe.greets && number == 0;
            let Some(reply) = self.exchange(id, step, greets).await else { return };
            let is_over = matches!(reply.end, End::Closed | End::Full | End::Dripping | End::Silent);
            if id == "ssh-kex" {
                self.ssh_reply.extend_from_slice(&reply.bytes);
            }
            self.learn(id, &reply);
            if is_over {
                return;
            }
        }
    }

    /// Sends `bytes` on a connection whose state allows it, and reads one reply. `None` if no
    /// connection could be had.
    async fn exchange(&mut self, id: &str, bytes: &[u8], greets: bool) -> Option<Reply> {
        let bytes = self.address_in(bytes);
        if let Some(connection) = self.reusable(greets) {
            let reply = self.exchange_on(connection, id, &bytes).await;
            if !reply.bytes.is_empty() || reply.end == End::Silent || !self.may_connect() {
                return Some(reply);
            }
            // The server had closed meanwhile; that says nothing about the question.
        }
        let mut connection = self.connect().await?;
        if greets {
            let greeting = connection.read(self.patience_for_greeting(), self.deadline).await;
            if greeting.end == End::Closed {
                return Some(greeting);
            }
        }
        Some(self.exchange_on(connection, id, &bytes).await)
    }

    async fn exchange_on(&mut self, mut connection: Connection, id: &str, bytes: &[u8]) -> Reply {
        if !connection.send(bytes, self.deadline).await {
            return Reply { bytes: Vec::new(), end: End::Closed, arrivals: 0 };
        }
        let reply = connection.read(self.patience(), self.deadline).await;
        match reply.end {
            End::Silent => self.parked.push((id.to_owned(), connection)),
            End::Complete | End::Quiet if keeps_open(&reply.bytes) => {
                self.open = Some(Open::Idle(connection));
            }
            _ => {}
        }
        reply
    }

    /// The open connection, if its state suits; otherwise it is dropped.
    fn reusable(&mut self, greets: bool) -> Option<Connection> {
        match self.open.take()? {
            Open::Greeted(connection) if greets => Some(connection),
            Open::Fresh(connection) | Open::Idle(connection) if !greets => Some(connection),
            _ => None,
        }
    }

    /// Opens a connection, inside TLS if that is what the endpoint speaks.
    async fn connect(&mut self) -> Option<Connection> {
        if !self.may_connect() {
            return None;
        }
        let Ok(stream) = Connection::open(self.address, self.connect_until()).await else {
            self.endings.refused += 1;
            return None;
        };
        self.connections += 1;
        if !self.inside_tls {
            return Some(Connection::Plain(stream));
        }
        let shaken = self.shake(stream, self.alpn).await;
        shaken.stream.map(Connection::Tls)
    }

    async fn shake(&self, stream: TcpStream, alpn: &[&[u8]]) -> tls::Handshake {
        let now = Instant::now();
        let until = self.deadline.min(now + Duration::from_secs(4) + 4 * self.rtt());
        // Where TLS was asked for there is no doubt that it will come.
        let first = if self.sure_of_tls { until } else { until.min(now + self.patience().first) };
        let name = self.hints.hostname.as_deref();
        tls::handshake(stream, name, self.endpoint.address, alpn, first, until).await
    }

    /// Tries a TLS handshake; from its success on, everything is asked anew inside.
    async fn ask_tls(&mut self) {
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

    async fn ask_favicon(&mut self) {
        self.favicon_tried = true;
        let Some(reply) = self.exchange("favicon", &get("/favicon.ico"), false).await else { return };
        let Some(response) = Response::parse(&reply.bytes) else { return };
        let body = response.text();
        if response.status == 200 && !body.is_empty() && reply.end != End::Full {
            let hash = assemble::favicon_hash(&body);
            self.favicon = Some(hash);
            self.fields.add("favicon", "http.favicon", hash.to_string().as_bytes());
        }
    }

    /// Silent connections may have spoken by now.
    async fn await_late_greeting(&mut self) {
        let until = self.deadline.min(self.started + LATE_GREETING);
        let usual = self.patience();
        let patience = |now: Instant| Patience { first: until.saturating_duration_since(now), ..usual };
        let mut parked = std::mem::take(&mut self.parked);
        if let Some(Open::Fresh(connection)) = self.open.take() {
            parked.push((BANNER.to_owned(), connection));
        }
        // One after the other is enough: what came meanwhile is there at once, and only the first of
        // those that stay silent costs the time that is left.
        let mut replies = Vec::new();
        for (id, mut connection) in parked {
            let reply = connection.read(patience(Instant::now()), self.deadline).await;
            replies.push((id, reply));
        }
        for (id, reply) in replies {
            self.learn(&id, &reply);
        }
    }

    /// Files a reply.
    pub fn learn(&mut self, id: &str, reply: &Reply) {
        match reply.end {
            End::Closed if reply.bytes.is_empty() => self.endings.closed += 1,
            End::Dripping if reply.arrivals >= 5 && reply.bytes.len() < 64 * reply.arrivals => {
                self.endings.dripping += 1;
            }
            End::Full if id == BANNER => self.endings.endless += 1,
            End::Silent => self.endings.silent += 1,
            _ => {}
        }
        if reply.bytes.is_empty() {
            return;
        }
        if self.first_words.is_empty() {
            self.first_words = reply.bytes.get(..1024).unwrap_or(&reply.bytes).to_vec();
        }
        decode(id, &reply.bytes, &mut self.fields);
        if let Some(response) = Response::parse(&reply.bytes).filter(|response| response.protocol == "http") {
            self.learn_page(id, &reply.bytes, &response);
        }
        self.wants_tls |= !self.inside_tls && asks_for_tls(&reply.bytes);
    }

    fn learn_page(&mut self, id: &str, reply: &[u8], response: &Response<'_>) {
        if self.first_page.is_none() {
            self.first_page = Some(reply.to_vec());
        }
        let target = response.header("location").filter(|_| matches!(response.status, 301..=303 | 307 | 308));
        let path = target.and_then(|target| self.same_host(target));
        if let Some(path) = path.filter(|_| id == "http-get" && self.redirects < MAX_REDIRECTS) {
            self.redirects += 1;
            self.next_page = Some(path);
        }
    }

    /// The path of a redirect, if it stays on this very endpoint.
    fn same_host(&self, target: &[u8]) -> Option<String> {
        let target = std::str::from_utf8(target).ok()?;
        let is_plain = target.len() <= 1024 && target.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain {
            return None;
        }
        let scheme = if self.inside_tls { "https://" } else { "http://" };
        let path = match target.strip_prefix(scheme) {
            Some(rest) => {
                let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
                let known = host == self.host() || host == self.endpoint.address.to_string();
                known.then(|| format!("/{}", path.trim_start_matches('/')))?
            }
            None if target.contains("://") || target.starts_with("//") => return None,
            None => format!("/{}", target.trim_start_matches('/')),
        };
        Some(path.split('#').next().unwrap_or("/").to_owned())
    }

    pub fn understand(&mut self) {
        let hits = self.identifier.database.index().find(&self.fields);
        self.hits = hits.iter().map(|hit| hit.entry.id.clone()).collect();
        self.choice = choose(&hits).filter(|choice| choice.best.score >= assemble::LEAST_SCORE);
    }

    /// Fills `{host}`.
    fn address_in(&self, bytes: &[u8]) -> Vec<u8> {
        const HOST: &[u8] = b"{host}";
        match bytes.windows(HOST.len()).position(|window| window == HOST) {
            Some(at) => {
                let (before, after) = bytes.split_at(at);
                [before, self.host().as_bytes(), after.get(HOST.len()..).unwrap_or_default()].concat()
            }
            None => bytes.to_vec(),
        }
    }

    /// The `Host` that a browser would send.
    fn host(&self) -> String {
        let host = self.hints.hostname.clone().unwrap_or_else(|| match self.endpoint.address {
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("[{address}]"),
        });
        let usual = if self.inside_tls { 443 } else { 80 };
        if self.endpoint.port == usual { host } else { format!("{host}:{}", self.endpoint.port) }
    }

    pub fn rtt(&self) -> Duration {
        Duration::from_micros(self.hints.rtt_us.unwrap_or(1000).min(3_000_000).into())
    }

    fn connect_until(&self) -> Instant {
        let wait = (4 * self.rtt()).clamp(Duration::from_millis(1500), Duration::from_secs(5));
        self.deadline.min(Instant::now() + wait)
    }

    fn patience_for_greeting(&self) -> Patience {
        let least = Duration::from_millis(150);
        let first = (2 * self.rtt() + Duration::from_millis(120)).clamp(least, Duration::from_millis(1500));
        Patience { first, ..self.patience() }
    }

    fn patience(&self) -> Patience {
        let rtt = self.rtt();
        Patience {
            first: (3 * rtt + Duration::from_millis(500)).min(Duration::from_secs(4)),
            quiet: (3 * rtt / 2 + Duration::from_millis(60)).min(Duration::from_secs(2)),
            whole: 4 * rtt + Duration::from_secs(2),
        }
    }
}

fn get(path: &str) -> Vec<u8> {
    crate::database::get_request(path)
}

/// Whether a server that answered this will take another question on the same connection.
fn keeps_open(reply: &[u8]) -> bool {
    let Some(response) = Response::parse(reply) else { return true };
    let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    !closes && !reply.starts_with(b"HTTP/1.0")
}

/// Whether a plain question got the answer of a TLS server: an alert, or an error page that says so.
fn asks_for_tls(reply: &[u8]) -> bool {
    if matches!(reply, [21, 3, 0..=4, ..]) {
        return true;
    }
    let Some(response) = Response::parse(reply) else { return false };
    let says = |words: &[u8]| {
        let head = response.body.get(..4096).unwrap_or(response.body);
        head.windows(words.len()).any(|window| window.eq_ignore_ascii_case(words))
    };
    response.status == 400 && (says(b"https") || says(b"ssl-enabled") || says(b"tls"))
}
