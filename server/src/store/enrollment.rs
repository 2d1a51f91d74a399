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
