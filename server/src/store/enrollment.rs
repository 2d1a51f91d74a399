//! One-time tokens that turn a new agent into a known one.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewEnrollmentToken<'a> {
    /// SHA-256 of the token.
    pub token_hash: &'a [u8],
    /// Its first characters.
    pub prefix: &'a str,
    /// What it is for.
    pub description: Option<&'a str>,
    /// Enrolling with it makes the network "This machine" when there is none yet.
    pub creates_local_network: bool,
    /// Who made it; none on the command line.
    pub created_by: Option<i64>,
    /// When it stops working.
    pub expires_at: DateTime<Utc>,
}

/// Makes a token; its number.
pub async fn insert(
    db: impl PgExecutor<'_>,
    token: &NewEnrollmentToken<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- insert_enrollment_token
        insert into enrollment_tokens (token_hash, prefix, description, creates_local_network, created_by, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7) returning id",
    )
    .bind(token.token_hash)
    .bind(token.prefix)
    .bind(token.description)
    .bind(token.creates_local_network)
    .bind(token.created_by)
    .bind(now)
    .bind(token.expires_at)
    .fetch_one(db)
    .await
}

/// Uses a one-time token up; returns its number and whether it makes the local network. `None`: unknown, used or expired.
pub async fn use_up(
    db: impl PgExecutor<'_>,
    hash: &[u8],
    now: DateTime<Utc>,
) -> sqlx::Result<Option<(i64, bool)>> {
    sqlx::query_as(
        "-- use_enrollment_token
        update enrollment_tokens set used_at = $2
        where token_hash = $1 and used_at is null and expires_at > $2
        returning id, creates_local_network",
    )
    .bind(hash)
    .bind(now)
    .fetch_optional(db)
    .await
}

/// Notes which agent a token became.
pub async fn note_enrolled(db: impl PgExecutor<'_>, token_id: i64, agent_id: i64) -> sqlx::Result<()> {
    let result = sqlx::query(
        "-- note_enrolled
        update enrollment_tokens set used_by = $2 where id = $1",
    )
    .bind(token_id)
    .bind(agent_id)
    .execute(db)
    .await?;
    super::one_row(&result)
}
