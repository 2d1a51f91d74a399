//! Failed log-ins, counted where every server process sees them.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgExecutor;

/// Until when the first blocked of these subjects has to wait.
pub async fn blocked_until(
    db: impl PgExecutor<'_>,
    subjects: &[String],
    now: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar(
        "-- login_blocked_until
        select max(blocked_until) from login_throttle where subject = any($1) and blocked_until > $2",
    )
    .bind(subjects)
    .bind(now)
    .fetch_one(db)
    .await
}

/// Counts a failure; how many there are now. Those older than `memory` are forgotten.
pub async fn count_failure(
    db: impl PgExecutor<'_>,
    subject: &str,
    now: DateTime<Utc>,
    memory: TimeDelta,
) -> sqlx::Result<i32> {
    sqlx::query_scalar(
        "-- count_login_failure
        insert into login_throttle as old (subject, failures, last_failure_at) values ($1, 1, $2)
        on conflict (subject) do update
            set failures = case when old.last_failure_at < $3 then 1 else old.failures + 1 end, last_failure_at = $2
        returning failures",
    )
    .bind(subject)
    .bind(now)
    .bind(now - memory)
    .fetch_one(db)
    .await
}

/// Makes a subject wait.
pub async fn block(db: impl PgExecutor<'_>, subject: &str, until: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query("-- block_login\n update login_throttle set blocked_until = $2 where subject = $1")
        .bind(subject)
        .bind(until)
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets a subject's failures.
pub async fn clear(db: impl PgExecutor<'_>, subject: &str) -> sqlx::Result<()> {
    sqlx::query("-- clear_login_failures\n delete from login_throttle where subject = $1")
        .bind(subject)
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets what is older than `before`; how many.
pub async fn delete_old(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> sqlx::Result<u64> {
    let result =
        sqlx::query("-- delete_old_login_failures\n delete from login_throttle where last_failure_at < $1")
            .bind(before)
            .execute(db)
            .await?;
    Ok(result.rows_affected())
}
