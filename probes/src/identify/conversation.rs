//! One endpoint, from the first connection to the result.
//!
//! The order of questions: listen, unless the port's usual service waits to be asked; then what suits the
//! port, then what suits any port, TLS among it. As soon as a reply is recognised, only questions that
//! depend on that reading follow. A connection is used again wherever its state allows.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use portreeve_model::{Endpoint, NtlmInfo, SafeText, Service, TlsInfo, Verdict};
use tokio::{net::TcpStream, time::Instant};

use super::{
    Hints, Identifier, assemble,
    connection::{Connection, End, Patience, Reply},
    guard::Turn,
    http2,
    pages::{asks_for_tls, get, keeps_open},
    plan,
    question::Question,
    ssh,
};
use crate::{
    database::ProbeRef,
    decode::{decode, http::Response, windows::challenge},
    fields::Fields,
    matcher::{Choice, Search, choose},
};

/// Name under which the reply to nothing is filed.
pub(super) const BANNER: &str = "banner";
/// The question for a web server's first page.
pub(super) const PAGE: &str = "http-get";
/// How long a server that has shown to be a web server may take to make a page: applications that have just started,
/// or look something up for it, take seconds.
pub(super) const PAGE_TIME: Duration = Duration::from_secs(3);

/// A connection that can be used again, and for what.
pub(super) enum Open {
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
    turn: Turn,
    pub started: Instant,
    pub deadline: Instant,
    pub connections: u8,
    pub fields: Fields,
    pub search: Search,
    pub asked: HashSet<String>,
    pub listened: bool,
    /// The server kept the connection while nothing was said.
    pub let_us_listen: bool,
    /// A server that hangs up was given more time to greet.
    pub waited: bool,
    pub open: Option<Open>,
    pub parked: Vec<(String, Connection)>,
    pub tls_tried: bool,
    pub inside_tls: bool,
    pub wants_tls: bool,
    pub sure_of_tls: bool,
    /// Which of the offers in `ALPN` is made.
    pub alpn: usize,
    pub wants_h2: bool,
    pub h2_tried: bool,
    pub speaks_h2: bool,
    pub tls: Option<TlsInfo>,
    pub first_words: Vec<u8>,
    pub endings: Endings,
    /// Which questions got no byte, and how they ended, as `help silent`.
    pub unanswered: HashSet<String>,
    pub redirects: Vec<SafeText>,
    pub next_page: Option<String>,
    /// The path of the page asked for last.
    pub page: String,
    pub favicon_tried: bool,
    pub favicon: Option<i32>,
    pub ntlm: Option<NtlmInfo>,
    pub ntlm_tried: bool,
    pub ssh_reply: Vec<u8>,
    pub ssh_audited: bool,
    pub ssh: ssh::Learnt,
    pub first_page: Option<Vec<u8>>,
    pub choice: Option<Choice>,
    /// The entries that have matched, readings or not.
    pub hits: HashSet<String>,
}

impl<'a> Conversation<'a> {
    pub fn new(
        identifier: &'a Identifier,
        endpoint: Endpoint,
        address: SocketAddr,
        hints: Hints,
        turn: Turn,
        deadline: Instant,
    ) -> Self {
        Self {
            identifier,
            endpoint,
            address,
            hints,
            turn,
            started: Instant::now(),
            deadline,
            connections: 0,
            fields: Fields::default(),
            search: Search::default(),
            asked: HashSet::new(),
            listened: false,
            let_us_listen: false,
            waited: false,
            open: None,
            parked: Vec::new(),
            tls_tried: false,
            inside_tls: false,
            wants_tls: false,
            sure_of_tls: false,
            alpn: 0,
            wants_h2: false,
            h2_tried: false,
            speaks_h2: false,
            tls: None,
            first_words: Vec::new(),
            endings: Endings::default(),
            unanswered: HashSet::new(),
            redirects: Vec::new(),
            next_page: None,
            page: "/".to_owned(),
            favicon_tried: false,
            favicon: None,
            ntlm: None,
            ntlm_tried: false,
            ssh_reply: Vec::new(),
            ssh_audited: false,
            ssh: ssh::Learnt::default(),
            first_page: None,
            choice: None,
            hits: HashSet::new(),
        }
    }

    /// Holds the whole conversation.
    pub async fn hold(mut self) -> Service {
        let service = self.converse().await;
        match service.verdict {
            Verdict::ClosedAfterAccept | Verdict::Silent | Verdict::SynProxy | Verdict::Tarpit => {
                self.turn.note_port(true);
            }
            Verdict::NotProbed | Verdict::Unreachable => {}
            _ => self.turn.note_port(false),
        }
        service
    }

    async fn converse(&mut self) -> Service {
        let port = self.endpoint.port;
        let allowed = self.identifier.config.allow_print_and_ot;
        if !allowed && plan::is_ot_port(port) {
            return assemble::not_probed(self, self.identifier.plan.usual_name(port));
        }
        if !allowed && plan::is_print_port(port) {
            self.listen().await;
            self.understand();
            return match &self.choice {
                Some(_) => assemble::service(self, None),
                None => assemble::not_probed(self, self.identifier.plan.usual_name(port)),
            };
        }
        if let Some(service) = self.verify().await {
            return service;
        }
        if self.turn.is_hollow() {
            self.listen().await;
            self.understand();
            if self.first_words.is_empty() {
                return assemble::hollow(self);
            }
        }
        self.wants_tls = !self.tls_tried && self.identifier.plan.expects_tls(port);
        self.ask_all().await;
        if self.choice.is_none() && self.endings.endless + self.endings.dripping == 0 {
            self.await_late_greeting().await;
            self.await_drops().await;
            self.understand();
            if self.choice.is_none() {
                self.ask_one_at_a_time().await;
            }
            // What came late makes as much worth asking as what came at once.
            if self.choice.is_some() {
                self.ask_all().await;
            }
        }
        self.try_old_tls().await;
        self.try_starttls().await;
        self.ask_jarm().await;
        let service = assemble::service(self, self.identifier.plan.usual_name(port));
        self.remember(&service);
        service
    }

    /// Asks until nothing is worth asking any more, or time is up.
    async fn ask_all(&mut self) {
        while Instant::now() < self.deadline {
            let Some(question) = self.next() else { return };
            self.ask(question).await;
            self.understand();
        }
    }

    pub fn may_connect(&self) -> bool {
        self.connections < self.most_connections()
    }

    pub fn most_connections(&self) -> u8 {
        self.identifier.config.max_connections
    }

    async fn ask(&mut self, question: Question) {
        match question {
            Question::Favicon => self.ask_favicon().await,
            Question::Http2 => {
                self.h2_tried = true;
                self.ask_http2().await;
            }
            Question::LatePage => self.await_late_page().await,
            Question::Listen if self.identifier.plan.greets(self.endpoint.port) => {
                self.await_greeting().await;
            }
            Question::Listen => self.listen().await,
            Question::Ntlm(place) => {
                self.ntlm_tried = true;
                self.ask_ntlm(place).await;
            }
            Question::PageOrTls(probe) => self.ask_page_or_tls(&probe).await,
            Question::Probe(probe) => self.ask_probe(&probe).await,
            Question::Redirect(path) => self.ask_page(&path).await,
            Question::SshAudit => {
                self.ssh_audited = true;
                self.audit_ssh().await;
            }
            Question::Tls => self.ask_tls().await,
        }
    }

    /// Asks for another page of this host.
    pub async fn ask_page(&mut self, path: &str) {
        path.clone_into(&mut self.page);
        if let Some(reply) = self.exchange("http-get", &get(path), false).await {
            self.learn("http-get", &reply);
        }
    }

    /// Waits for what the server says unasked.
    pub async fn listen(&mut self) {
        self.listened = true;
        let fresh = self.reusable(false);
        let Some(mut connection) = (if fresh.is_some() { fresh } else { self.connect().await }) else {
            return;
        };
        let reply = connection.read(self.patience_for_greeting(), self.deadline).await;
        if reply.end == End::Silent {
            self.let_us_listen = true;
            self.open = Some(Open::Fresh(connection));
            return;
        }
        if matches!(reply.end, End::Complete | End::Quiet) {
            self.open = Some(Open::Greeted(connection));
        }
        self.learn(BANNER, &reply);
    }

    pub async fn ask_probe(&mut self, probe: &ProbeRef) {
        let id = &probe.probe.id;
        self.asked.insert(id.clone());
        if probe.probe.reserved {
            return self.call_from_reserved_port(probe).await;
        }
        // What is known of others' questions was learnt on connections that carried nothing else.
        if probe.foreign.is_some() && matches!(self.open, Some(Open::Idle(_))) {
            self.open = None;
        }
        for (number, step) in probe.steps.iter().enumerate() {
            let greets = probe.probe.greets && number == 0;
            let finishes = probe.probe.finishes && number + 1 == probe.steps.len();
            if finishes && number == 0 {
                self.open = None;
            }
            let reply =
                if finishes { self.exchange_last(step).await } else { self.exchange(id, step, greets).await };
            let Some(reply) = reply else { return };
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
    pub async fn exchange(&mut self, id: &str, bytes: &[u8], greets: bool) -> Option<Reply> {
        let bytes = self.address_in(bytes);
        if self.speaks_h2 {
            let path =
                bytes.strip_prefix(b"GET ").and_then(|rest| rest.split(|&byte| byte == b' ').next())?;
            return self.exchange_h2(&String::from_utf8_lossy(path)).await;
        }
        if let Some(connection) = self.reusable(greets) {
            let reply = self.exchange_on(connection, id, &bytes).await;
            if !reply.bytes.is_empty() || reply.end == End::Silent || !self.may_connect() {
                return Some(reply);
            }
            // The server had closed meanwhile; that says nothing about the question.
        }
        let mut connection = match self.connect_and_wait().await {
            Ok(connection) => connection,
            Err(Some(reply)) if !reply.bytes.is_empty() => {
                self.learn(BANNER, &reply);
                return None;
            }
            Err(Some(_)) => self.connect().await?,
            Err(None) => return None,
        };
        if greets {
            let greeting = connection.read(self.patience_for_greeting(), self.deadline).await;
            if greeting.end == End::Closed {
                return Some(greeting);
            }
        }
        Some(self.exchange_on(connection, id, &bytes).await)
    }

    /// Sends `bytes` and the end of all that is said, on a fresh connection or after the steps before.
    async fn exchange_last(&mut self, bytes: &[u8]) -> Option<Reply> {
        let reused = self.reusable(false);
        let mut connection = if reused.is_some() { reused? } else { self.connect().await? };
        if !connection.send(&self.address_in(bytes), self.deadline).await {
            return None;
        }
        connection.finish(self.deadline).await;
        Some(connection.read(self.patience(), self.deadline).await)
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
    pub fn reusable(&mut self, greets: bool) -> Option<Connection> {
        match self.open.take()? {
            Open::Greeted(connection) if greets => Some(connection),
            Open::Fresh(connection) | Open::Idle(connection) if !greets => Some(connection),
            _ => None,
        }
    }

    /// Opens a connection, inside TLS if that is what the endpoint speaks.
    pub async fn connect(&mut self) -> Option<Connection> {
        if !self.may_connect() {
            return None;
        }
        let stream = self.open_stream().await?;
        if !self.inside_tls {
            return Some(Connection::Plain(stream));
        }
        let shaken = self.shake(stream, self.offer()).await;
        shaken.stream.map(Connection::Tls)
    }

    /// Opens a connection in the clear, after a pause if the host has refused.
    pub async fn open_stream(&mut self) -> Option<TcpStream> {
        self.turn.pause(self.deadline).await;
        let mut stream = Connection::open(self.address, self.connect_until()).await.ok();
        if stream.is_none() && self.connections > 0 {
            self.let_go().await;
            stream = Connection::open(self.address, self.connect_until()).await.ok();
        }
        self.turn.note(stream.is_some());
        match stream {
            Some(_) => self.connections += 1,
            None => self.endings.refused += 1,
        }
        stream
    }

    /// Files a reply.
    pub fn learn(&mut self, id: &str, reply: &Reply) {
        match reply.end {
            End::Closed if reply.bytes.is_empty() => self.endings.closed += 1,
            End::Dripping if reply.arrivals >= 5 && reply.bytes.len() < 64 * reply.arrivals => {
                self.endings.dripping += 1;
            }
            End::Full if Response::parse(&reply.bytes).is_none() => self.endings.endless += 1,
            End::Silent => self.endings.silent += 1,
            _ => {}
        }
        if reply.bytes.is_empty() {
            self.learn_ending(id, reply.end);
            return;
        }
        if self.first_words.is_empty() {
            self.first_words = reply.bytes.get(..1024).unwrap_or(&reply.bytes).to_vec();
        }
        decode(id, &reply.bytes, &mut self.fields);
        self.ntlm = self.ntlm.take().or_else(|| challenge(&reply.bytes));
        if id == BANNER && self.fields.get("ssh.hassh").is_some() {
            // Some servers send their offer with the greeting.
            self.ssh_reply.clone_from(&reply.bytes);
        }
        if let Some(response) = Response::parse(&reply.bytes).filter(|response| response.protocol == "http") {
            self.learn_page(id, &reply.bytes, &response);
        }
        self.wants_h2 |= http2::is_frame(&reply.bytes);
        self.wants_tls |= !self.inside_tls && asks_for_tls(&reply.bytes);
    }

    /// Files how a question ended that got no byte.
    fn learn_ending(&mut self, id: &str, end: End) {
        let ending = match end {
            End::Closed => "closed",
            End::Silent => "silent",
            _ => return,
        };
        self.unanswered.insert(format!("{id} {ending}"));
        let name = format!("end.{id}");
        if self.identifier.database.index().reads(&name) {
            self.fields.add(id, &name, ending.as_bytes());
        }
    }

    pub fn understand(&mut self) {
        let hits = self.identifier.database.index().find_more(&mut self.search, &self.fields);
        self.hits = hits.iter().map(|hit| hit.entry.id.clone()).collect();
        self.choice = choose(&hits).filter(|choice| choice.best.score >= assemble::LEAST_SCORE);
    }

    /// Whether the endpoint has shown to be a web server.
    pub fn is_web(&self) -> bool {
        self.choice.as_ref().is_some_and(|choice| choice.best.name.as_str() == "http")
    }

    pub fn rtt(&self) -> Duration {
        Duration::from_micros(self.hints.rtt_us.unwrap_or(1000).min(3_000_000).into())
    }

    pub fn connect_until(&self) -> Instant {
        let wait = (4 * self.rtt()).clamp(Duration::from_millis(1500), Duration::from_secs(5));
        self.deadline.min(Instant::now() + wait)
    }

    fn patience_for_greeting(&self) -> Patience {
        let least = Duration::from_millis(150);
        let first = (2 * self.rtt() + Duration::from_millis(120)).clamp(least, Duration::from_millis(1500));
        Patience { first, ..self.patience() }
    }

    pub fn patience(&self) -> Patience {
        let rtt = self.rtt();
        let first = if self.is_web() { PAGE_TIME } else { Duration::from_millis(500) };
        Patience {
            first: (3 * rtt + first).min(Duration::from_secs(4)),
            quiet: (3 * rtt / 2 + Duration::from_millis(60)).min(Duration::from_secs(2)),
            whole: 4 * rtt + Duration::from_secs(2),
        }
    }
}
