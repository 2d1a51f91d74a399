//! Who did what: entries that cannot be changed unseen.
//!
//! Each entry's hash is the SHA-256 of the hash before it and of every field of the entry, so that changing,
//! inserting or removing a line breaks the chain from there on; the end of the chain is stored apart, so
//! that cutting off the tail shows too. An entry is written in the transaction of what it tells of: a change
//! without an entry, or an entry without the change, cannot be.

use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};

use crate::{
    auth::{AgentCaller, Caller, ClientAddress, Via},
    store::audit::{self as store, AuditRow},
};

/// Who did it.
#[derive(Clone, Debug)]
pub struct Actor {
    kind: &'static str,
    id: Option<i64>,
    name: String,
    address: Option<IpAddr>,
}

impl Actor {
    /// A user, or a user's API key.
    pub fn caller(caller: &Caller) -> Self {
        let address = caller.address.map(|address| address.0);
        match &caller.via {
            Via::Session { .. } => {
                Self { kind: "user", id: Some(caller.user_id), name: caller.email.clone(), address }
            }
            Via::ApiKey { id, name } => {
                let name = format!("{} (key {name})", caller.email);
                Self { kind: "api_key", id: Some(*id), name, address }
            }
        }
    }

    /// A user who has just shown a password.
    pub fn user(id: i64, email: &str, address: Option<ClientAddress>) -> Self {
        Self { kind: "user", id: Some(id), name: email.to_owned(), address: address.map(|address| address.0) }
    }

    /// An agent.
    pub fn agent(agent: &AgentCaller) -> Self {
        let address = agent.address.map(|address| address.0);
        Self { kind: "agent", id: Some(agent.agent_id), name: agent.name.clone(), address }
    }

    /// Someone who has not shown who they are, under the name they gave.
    pub fn anonymous(name: &str, address: Option<ClientAddress>) -> Self {
        let name = name.chars().take(255).collect();
        Self { kind: "anonymous", id: None, name, address: address.map(|address| address.0) }
    }

    /// Whoever may run commands on the server's machine.
    pub fn command_line() -> Self {
        Self { kind: "command_line", id: None, name: "command line".to_owned(), address: None }
    }

    /// The server itself.
    pub fn system() -> Self {
        Self { kind: "system", id: None, name: "system".to_owned(), address: None }
    }
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Entry {
    action: &'static str,
    target: Option<(&'static str, String)>,
    detail: Value,
    succeeded: bool,
}

impl Entry {
    /// A dotted verb, as `user.create`.
    pub fn new(action: &'static str) -> Self {
        Self { action, target: None, detail: Value::Object(serde_json::Map::new()), succeeded: true }
    }

    /// What it was done to.
    pub fn target(mut self, kind: &'static str, id: impl ToString) -> Self {
        self.target = Some((kind, id.to_string()));
        self
    }

    /// More about it. Never a secret.
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// It was tried and refused.
    pub fn refused(mut self) -> Self {
        self.succeeded = false;
        self
    }

    /// Writes the entry in the caller's transaction. Entries are put in order by a lock that lasts until
    /// that transaction ends: write it last.
    pub async fn record(self, db: &mut PgConnection, actor: Actor, now: DateTime<Utc>) -> sqlx::Result<()> {
        let (last_id, previous_hash) = store::lock_head(db).await?;
        let (target_kind, target_id) = self.target.map_or((None, None), |(kind, id)| (Some(kind), Some(id)));
        let mut row = AuditRow {
            id: last_id + 1,
            at: now,
            actor_kind: actor.kind.to_owned(),
            actor_id: actor.id,
            actor_name: without_nul(&actor.name),
            action: self.action.to_owned(),
            target_kind: target_kind.map(str::to_owned),
            target_id,
            detail: without_nul(&self.detail.to_string()),
            succeeded: self.succeeded,
            address: actor.address,
            previous_hash,
            hash: Vec::new(),
        };
        row.hash = hash(&row);
        store::append(db, &row).await
    }
}

/// PostgreSQL's text holds no NUL.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// What the check of the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainState {
    /// Number of the first entry that does not fit.
    BrokenAt(i64),
    /// All entries fit; how many there are.
    Intact(i64),
}

/// Checks every entry against the chain.
pub async fn verify(pool: &PgPool) -> sqlx::Result<ChainState> {
    const PAGE: i64 = 1_000;
    let (last_id, head_hash) = store::head(pool).await?;
    let (mut next, mut previous_hash) = (1, vec![0; 32]);
    let verdict = |next: i64, previous_hash: &[u8]| {
        let complete = next == last_id + 1 && previous_hash == head_hash;
        if complete { ChainState::Intact(last_id) } else { ChainState::BrokenAt(next) }
    };
    loop {
        let rows = store::chain(pool, next, PAGE).await?;
        let full = rows.len() as i64 == PAGE;
        for row in rows {
            if next > last_id {
                // Written after the end was read, or the end was set back.
                return Ok(verdict(next, &previous_hash));
            }
            if row.id != next || row.previous_hash != previous_hash || row.hash != hash(&row) {
                return Ok(ChainState::BrokenAt(next));
            }
            next += 1;
            previous_hash = row.hash;
        }
        if !full {
            return Ok(verdict(next, &previous_hash));
        }
    }
}

/// SHA-256 over every field, each with its length before it, so that no two entries have the same bytes.
fn hash(row: &AuditRow) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update(&row.previous_hash);
    let mut field = |text: &str| {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    };
    field(&row.id.to_string());
    field(&row.at.to_rfc3339_opts(SecondsFormat::Micros, true));
    field(&row.actor_kind);
    field(&row.actor_id.map_or_else(String::new, |id| id.to_string()));
    field(&row.actor_name);
    field(&row.action);
    field(row.target_kind.as_deref().unwrap_or_default());
    field(row.target_id.as_deref().unwrap_or_default());
    field(&row.detail);
    field(if row.succeeded { "1" } else { "0" });
    field(&row.address.map_or_else(String::new, |address| address.to_string()));
    hasher.finalize().to_vec()
}
