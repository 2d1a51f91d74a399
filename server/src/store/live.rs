//! Messages between server processes.

use sqlx::PgExecutor;

/// Rings at every process that listens on the channel.
pub async fn notify(db: impl PgExecutor<'_>, channel: &str, payload: &str) -> sqlx::Result<()> {
    sqlx::query("-- notify_live\n select pg_notify($1, $2)").bind(channel).bind(payload).execute(db).await?;
    Ok(())
}
