//! A whole server for tests: real PostgreSQL, real routes, a clock that tests move.
//!
//! ```text
//! let app = TestApp::new().await;
//! let admin = app.login(Role::Admin).await;
//! admin.post("/api/users", json!({…})).await.assert_status(201);
//! app.clock().advance(TimeDelta::hours(13));
//! admin.get("/api/users").await.assert_problem(401, "Could not validate credentials");
//! ```
//!
//! Each [`TestApp`] has a database of its own, cloned from a migrated template. The PostgreSQL behind it is started
//! once a process (see [`cluster`]), so both `cargo test` and nextest's process for each test are fast, and it ends
//! with the process, however that ends.

mod client;
mod cluster;
pub(crate) mod scans;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use axum::Router;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgPool, postgres::PgPoolOptions};

pub(crate) use client::Client;

use crate::{
    api,
    auth::{Role, SESSION_IDLE, SESSION_LIFE, Token, TokenKind},
    clock::Clock,
    config::Config,
    state::AppState,
    store::{
        audit::{self, AuditFilter},
        sessions::{self, NewSession},
        users::{self, NewUser},
    },
};

/// A server with an empty, migrated database.
pub(crate) struct TestApp {
    state: AppState,
    clock: TestClock,
    users: AtomicU64,
    _database: cluster::Database,
}

impl TestApp {
    /// With the default settings.
    pub(crate) async fn new() -> Self {
        Self::with_config(Config::default()).await
    }

    /// With these settings.
    pub(crate) async fn with_config(config: Config) -> Self {
        let database = cluster::Database::create().await;
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .connect_with(database.options())
            .await
            .expect("the test database takes connections");
        let clock = TestClock::new();
        let state = AppState::new(pool, clock.clock(), config);
        Self { state, clock, users: AtomicU64::new(0), _database: database }
    }

    /// The server's parts.
    pub(crate) fn state(&self) -> &AppState {
        &self.state
    }

    /// Connections to the database.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.state.pool
    }

    /// The server's clock.
    pub(crate) fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// The time on the server's clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.state.clock.now()
    }

    /// The routes, for serving them on a real socket.
    pub(crate) fn router(&self) -> Router {
        api::app(&self.state)
    }

    /// Someone without any credential.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(self.router())
    }

    /// A new user with this role, signed in with a bearer session.
    pub(crate) async fn login(&self, role: Role) -> Client {
        let number = self.users.fetch_add(1, Ordering::Relaxed);
        let email = format!("{role}{number}@example.org");
        let (now, pool) = (self.now(), self.pool());
        let new = NewUser { email: &email, password_hash: "none", role };
        let user_id = users::insert(pool, &new, now).await.expect("a new user");
        let token = Token::generate(TokenKind::Session);
        let session = NewSession {
            user_id,
            token_hash: &token.hash(),
            kind: "bearer",
            expires_at: now + SESSION_IDLE,
            ends_at: now + SESSION_LIFE,
            address: None,
            user_agent: None,
        };
        sessions::insert(pool, &session, now).await.expect("a new session");
        self.anonymous().bearer(token.reveal()).user(user_id, email)
    }

    /// A new user with this role who sees only these networks.
    pub(crate) async fn login_limited(&self, role: Role, networks: &[i64]) -> Client {
        let client = self.login(role).await;
        let mut connection = self.pool().acquire().await.expect("a connection");
        users::limit_to_networks(&mut connection, client.user_id(), Some(networks))
            .await
            .expect("known networks");
        client
    }

    /// A new agent of our own kind, with its credential; its number is [`Client::agent_id`].
    pub(crate) async fn agent(&self, name: &str) -> Client {
        let token = Token::generate(TokenKind::Agent);
        let id: i64 = sqlx::query_scalar(
            "insert into agents (name, kind, credential_hash, credential_prefix) values ($1, 'portreeve', $2, $3) returning id",
        )
        .bind(name)
        .bind(token.hash())
        .bind(token.display_prefix())
        .fetch_one(self.pool())
        .await
        .expect("a new agent");
        self.anonymous().bearer(token.reveal()).agent(id)
    }

    /// The actions in the audit log, oldest first.
    pub(crate) async fn audited(&self) -> Vec<String> {
        let filter = AuditFilter { limit: 1_000, ..AuditFilter::default() };
        let rows = audit::list(self.pool(), &filter).await.expect("the audit log");
        rows.into_iter().rev().map(|row| row.action).collect()
    }

    /// The audit log holds exactly these actions, in this order, and its chain is whole.
    #[track_caller]
    pub(crate) fn assert_audited(&self, actions: &[&str]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            assert_eq!(self.audited().await, actions, "audit log at {caller}");
            let state = crate::audit::verify(self.pool()).await.expect("the audit log");
            assert_eq!(state, crate::audit::ChainState::Intact(actions.len() as i64), "chain at {caller}");
        }
    }
}

/// A clock that stands still until a test moves it. Starts at 2026-01-01T00:00:00Z.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<Mutex<DateTime<Utc>>>);

impl TestClock {
    fn new() -> Self {
        let start = DateTime::from_timestamp(1_767_225_600, 0).expect("a date");
        Self(Arc::new(Mutex::new(start)))
    }

    /// Moves the time.
    pub(crate) fn advance(&self, by: TimeDelta) {
        *self.0.lock().expect("no panic while held") += by;
    }

    /// Sets the time.
    pub(crate) fn set(&self, to: DateTime<Utc>) {
        *self.0.lock().expect("no panic while held") = to;
    }

    fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Clock::from_fn(move || *time.lock().expect("no panic while held"))
    }
}
