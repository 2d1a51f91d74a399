//! Agents, as far as telling who calls goes.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

/// An agent that showed a valid credential.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct KnownAgent {
    /// Number.
    pub id: i64,
    /// Name.
    pub name: String,
    /// `opm` or `portreeve`.
    pub kind: String,
}

/// The agent with this credential (own protocol) or live access token (OPM's contract). An OPM agent's API key
/// itself opens nothing but the route that turns it into an access token.
pub async fn find(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> sqlx::Result<Option<KnownAgent>> {
    sqlx::query_as(
        "-- find_agent_by_token
        select id, name, kind from agents
        where revoked_at is null and (
            (kind = 'portreeve' and credential_hash = $1)
            or id = (select agent_id from agent_tokens where token_hash = $1 and expires_at > $2))",
    )
    .bind(token_hash)
    .bind(now)
    .fetch_optional(db)
    .await
}
