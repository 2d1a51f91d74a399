//! Gives up jobs that nobody will finish.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::{News, lease::server_line, settle};
use crate::{
    state::AppState,
    store::{jobs as store, scan_lifecycle as scans},
};

/// A server that has just started leaves lapsed leases alone for so long: they lapsed because it was away, and the agents
/// come back with what they found meanwhile.
pub const GRACE: TimeDelta = TimeDelta::seconds(90);

/// A lease that ran out so long ago has nobody left who would come back for it.
const LOST_AFTER: TimeDelta = TimeDelta::minutes(10);

/// The time before which a lease must have ended for its job to be handed out again or given up.
pub fn lapsed_before(now: DateTime<Utc>, server_started_at: DateTime<Utc>) -> DateTime<Utc> {
    if now < server_started_at + GRACE { DateTime::UNIX_EPOCH } else { now }
}

/// Looks once.
pub async fn round(app: AppState) -> sqlx::Result<()> {
    for news in reap(&app.pool, app.clock.now(), app.started_at).await? {
        news.publish(&app.live);
    }
    Ok(())
}

/// Gives up what is lost, and ends the scans that this leaves without work.
pub async fn reap(
    pool: &PgPool,
    now: DateTime<Utc>,
    server_started_at: DateTime<Utc>,
) -> sqlx::Result<Vec<News>> {
    if now < server_started_at + GRACE {
        return Ok(Vec::new());
    }
    let mut transaction = pool.begin().await?;
    let lost = store::give_up_lost(&mut transaction, now, now - LOST_AFTER, now).await?;
    let mut news = Vec::new();
    for job in lost {
        let agent = job.agent_name.as_deref().unwrap_or("an agent");
        let message = format!("Given up: {agent} stopped answering (attempt {})", job.attempts);
        scans::append_logs(&mut *transaction, job.scan_id, &[server_line("error", message, now)]).await?;
        news.push(settle(&mut transaction, job.scan_id, now).await?);
    }
    transaction.commit().await?;
    Ok(news)
}
