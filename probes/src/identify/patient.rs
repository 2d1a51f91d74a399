//! Servers that take their time, serve one client at a time, or only clients that call from a reserved port.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    connection::{Connection, End, Patience, Reply},
    conversation::{BANNER, Conversation, Open, PAGE},
    encryption::race,
    pages::keeps_open,
};
use crate::database::ProbeRef;

/// Silent connections are looked at once more this long after the start: some servers look up the
/// caller's name before they greet.
const LATE_GREETING: Duration = Duration::from_secs(6);
/// How long a greeting may take where one is usual, before TLS is tried beside the waiting connection.
const HEAD_START: Duration = Duration::from_secs(1);
/// How long a server may take to greet that hung up on what was said to it first.
const LONGER: Duration = Duration::from_secs(1);
/// Not more than this was said by whom further drops are awaited from, each for so long.
const MOST_OF_A_DROP: usize = 4;
const DROP: Duration = Duration::from_millis(1_200);
/// How long a server that takes one client at a time may need to take the next.
const TURNOVER: Duration = Duration::from_millis(100);
/// Questions asked once more, each on the only connection that is open.
const MAX_REPEATED: usize = 3;

impl Conversation<'_> {
    /// Listens where a greeting is usual: for as long as slow servers take, since whatever is said to them before they
    /// greet counts against us. What speaks TLS here does not greet, and is asked beside it.
    pub async fn await_greeting(&mut self) {
        self.listened = true;
        let fresh = self.reusable(false);
        let Some(mut plain) = (if fresh.is_some() { fresh } else { self.connect().await }) else { return };
        let (deadline, until) = (self.deadline, self.connect_until());
        let patience = Patience { first: LATE_GREETING, ..self.patience() };
        let may_shake = !self.inside_tls && !self.tls_tried && self.may_connect();
        let head_start =
            tokio::time::sleep(if may_shake { 2 * self.rtt() + HEAD_START } else { 2 * LATE_GREETING });
        let is_open = AtomicBool::new(false);
        let hello = async {
            head_start.await;
            let stream =
                Connection::open(self.address, until + HEAD_START).await.ok().filter(|_| may_shake)?;
            is_open.store(true, Ordering::Relaxed);
            Some(self.shake(stream, self.offer()).await)
        };
        let (reply, shaken) = race(plain.read(patience, deadline), hello).await;
        self.connections += u8::from(is_open.into_inner());
        if let Some(shaken) = shaken {
            self.tls_tried = true;
            self.take_handshake(shaken).await;
        }
        let Some(reply) = reply.filter(|_| !self.inside_tls || !may_shake) else { return };
        match reply.end {
            End::Silent => self.open = Some(Open::Fresh(plain)),
            End::Complete | End::Quiet => self.open = Some(Open::Greeted(plain)),
            _ => {}
        }
        self.learn(BANNER, &reply);
    }

    /// Whether a page was asked for that has not come yet, though the server answers other questions.
    pub fn awaits_page(&self) -> bool {
        self.is_web() && self.parked.iter().any(|(id, _)| id == PAGE)
    }

    /// Waits for such a page: what was answered first is the error that a web server makes of a TLS hello, or a
    /// redirect to a page that takes longer.
    pub async fn await_late_page(&mut self) {
        let Some(at) = self.parked.iter().position(|(id, _)| id == PAGE) else { return };
        let (id, mut connection) = self.parked.swap_remove(at);
        let reply = connection.read(self.patience(), self.deadline).await;
        if matches!(reply.end, End::Complete | End::Quiet) && keeps_open(&reply.bytes) {
            self.open = Some(Open::Idle(connection));
        }
        self.learn(&id, &reply);
    }

    /// Silent connections may have spoken by now.
    pub async fn await_late_greeting(&mut self) {
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

    /// Where the first words were a byte or two, more may come in drops: a trap that lets one go now and then.
    pub async fn await_drops(&mut self) {
        if self.first_words.is_empty() || self.first_words.len() > MOST_OF_A_DROP {
            return;
        }
        let open = match self.open.take() {
            Some(Open::Greeted(connection) | Open::Idle(connection)) => Some(connection),
            other => {
                self.open = other;
                None
            }
        };
        let Some(mut connection) = (if open.is_some() { open } else { self.connect().await }) else { return };
        let patience = Patience { first: DROP, quiet: DROP, whole: 5 * DROP };
        let reply = connection.read(patience, self.deadline).await;
        if reply.end == End::Dripping {
            self.learn(BANNER, &reply);
        }
    }

    /// A connection for a question on which nothing was said yet. Where the question before made the server hang up, and
    /// saying nothing did not, it may only want more time to greet: it gets that first.
    pub async fn connect_and_wait(&mut self) -> Result<Connection, Option<Reply>> {
        let mut connection = self.connect().await.ok_or(None)?;
        let may_greet = self.let_us_listen && self.endings.closed > 0 && self.endings.silent == 0;
        if self.waited || !may_greet || self.inside_tls || self.tls.is_some() || !self.first_words.is_empty()
        {
            return Ok(connection);
        }
        self.waited = true;
        let patience = Patience { first: LONGER + 4 * self.rtt(), ..self.patience() };
        let reply = connection.read(patience, self.deadline).await;
        if reply.end == End::Silent { Ok(connection) } else { Err(Some(reply)) }
    }

    /// Asks the best questions again, one connection after the other: a server that serves one client at a time did not
    /// hear what was said while an earlier connection was open.
    pub async fn ask_one_at_a_time(&mut self) {
        let is_silent = self.first_words.is_empty() && self.endings.closed == 0 && self.tls.is_none();
        if !is_silent || self.connections < 2 {
            return;
        }
        let most = self.identifier.most_daring();
        let questions = self.identifier.plan.questions(self.endpoint.port, most, &self.unanswered);
        // The first one had its connection for itself.
        let again: Vec<ProbeRef> = questions.skip(1).take(MAX_REPEATED).cloned().collect();
        for probe in again {
            self.parked.clear();
            self.open = None;
            if !self.may_connect() || Instant::now() >= self.deadline {
                return;
            }
            self.ask_probe(&probe).await;
            self.understand();
            if self.choice.is_some() {
                return;
            }
        }
    }

    /// Gives up all connections that are open, and gives a server that takes one client at a time the time to take the
    /// next.
    pub async fn let_go(&mut self) {
        self.parked.clear();
        self.open = None;
        tokio::time::sleep(TURNOVER + 2 * self.rtt()).await;
    }

    /// Calls from a reserved port, says nothing, and reads what comes: the r-services serve nobody else
    /// (RFC 1282). Not asked where this program may not use such a port.
    pub async fn call_from_reserved_port(&mut self, probe: &ProbeRef) {
        self.open = None;
        let until = self.connect_until();
        let Some(stream) = Connection::open_reserved(self.address, until).await else { return };
        self.connections += 1;
        let reply: Reply = Connection::Plain(stream).read(self.patience(), self.deadline).await;
        self.learn(&probe.probe.id, &reply);
    }
}
