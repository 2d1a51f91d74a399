//! The one-time link that makes the first admin.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

/// Puts a new link in place of an old one.
pub async fn replace(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- replace_setup_link
        insert into setup_link (token_hash, created_at, expires_at) values ($1, $2, $3)
        on conflict (only_row) do update set token_hash = $1, created_at = $2, expires_at = $3",
    )
    .bind(token_hash)
    .bind(now)
    .bind(expires_at)
    .execute(db)
    .await?;
    Ok(())
}

/// Uses the link up; whether it was the right one and still valid.
pub async fn take(db: impl PgExecutor<'_>, token_hash: &[u8], now: DateTime<Utc>) -> sqlx::Result<bool> {
    let result =
        sqlx::query("-- take_setup_link\n delete from setup_link where token_hash = $1 and expires_at > $2")
            .bind(token_hash)
            .bind(now)
            .execute(db)
            .await?;
    Ok(result.rows_affected() > 0)
}
