//! What every handler and every background task works with.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{auth::Passwords, clock::Clock, config::Config, live::Live, metrics::Metrics};

/// The server's parts. Cloning is cheap: everything inside is shared.
#[derive(Clone, Debug)]
pub struct AppState {
    /// Connections to the database. Sessions, leases, claims and limits live there, so that any number of
    /// servers can work side by side.
    pub pool: PgPool,
    /// The time.
    pub clock: Clock,
    /// Settings that are fixed while the server runs.
    pub config: Arc<Config>,
    /// Tells open pages what happens.
    pub live: Live,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// When this server started: leases that ran out before cannot be held against agents.
    pub started_at: DateTime<Utc>,
    /// What this process measures.
    pub metrics: Metrics,
    /// Cancelled when the server is about to stop: streams and long polls end, background tasks return.
    pub shutdown: CancellationToken,
}

impl AppState {
    /// Puts the parts together.
    pub fn new(pool: PgPool, clock: Clock, config: Config) -> Self {
        let started_at = clock.now();
        Self {
            pool,
            clock,
            config: Arc::new(config),
            live: Live::new(),
            passwords: Passwords::new(),
            metrics: Metrics::detached(),
            started_at,
            shutdown: CancellationToken::new(),
        }
    }
}
