//! What the server does beside answering requests.

use std::{future::Future, time::Duration};

use chrono::TimeDelta;
use tokio_util::task::TaskTracker;

use crate::{
    alerts::{coverage, standing},
    disk, jobs, schedule,
    state::AppState,
    store::{self, retention},
};

/// Counts of failed log-ins are forgotten after this.
const THROTTLE_MEMORY: TimeDelta = TimeDelta::days(1);

/// Starts every background task. They end when [`AppState::shutdown`] is cancelled; wait for them with the tracker.
pub fn start(app: &AppState) -> TaskTracker {
    let tracker = TaskTracker::new();
    every(&tracker, app, "schedules", Duration::from_secs(5), schedule::runner::round);
    every(&tracker, app, "lost jobs", Duration::from_secs(15), jobs::reaper::round);
    every(&tracker, app, "coverage", Duration::from_secs(60), coverage::round);
    every(&tracker, app, "certificates", Duration::from_secs(3600), standing::round);
    every(&tracker, app, "disk", Duration::from_secs(60), look_at_disk);
    every(&tracker, app, "housekeeping", Duration::from_secs(15 * 60), housekeeping);
    let live = app.live.clone();
    tracker.spawn(live.join(app.pool.clone(), app.shutdown.clone()));
    tracker.close();
    tracker
}

/// Runs `work` now and then after each `pause`, until the server stops. A failure is logged and does not end it: the
/// database may be restarting.
pub fn every<F, E>(
    tracker: &TaskTracker,
    app: &AppState,
    name: &'static str,
    pause: Duration,
    work: impl Fn(AppState) -> F + Send + 'static,
) where
    F: Future<Output = Result<(), E>> + Send,
    E: std::fmt::Display + Send,
{
    let app = app.clone();
    let shutdown = app.shutdown.clone();
    let rounds = async move {
        loop {
            if let Err(error) = work(app.clone()).await {
                tracing::warn!(task = name, %error, "a background task failed; it is tried again later");
            }
            tokio::time::sleep(pause).await;
        }
    };
    tracker.spawn(async move {
        shutdown.run_until_cancelled(rounds).await;
    });
}

/// Removes what has expired, and makes room for what is to come.
async fn housekeeping(app: AppState) -> sqlx::Result<()> {
    let now = app.clock.now();
    store::observations::make_partitions(&app.pool, now).await?;
    let sessions = store::sessions::delete_expired(&app.pool, now).await?;
    store::throttle::delete_old(&app.pool, now - THROTTLE_MEMORY).await?;
    let identifiers = retention::forget_identifiers(&app.pool, now - retention::IDENTIFIERS).await?;
    let certificates = retention::forget_certificates(&app.pool, now - retention::CERTIFICATES).await?;
    app.metrics.tidy();
    tracing::debug!(sessions, identifiers, certificates, "housekeeping is done");
    Ok(())
}

/// Says so before the disk is full. A database elsewhere has a disk of its own, which is not ours to see.
async fn look_at_disk(app: AppState) -> std::io::Result<()> {
    if app.config.database_url.is_some() {
        return Ok(());
    }
    let free = disk::free_bytes(&app.config.state)?;
    metrics::gauge!("portreeve_state_free_bytes").set(free as f64);
    if free < disk::SCARCE {
        let (left, folder) = (disk::readable(free), app.config.state.display());
        tracing::warn!(left, %folder, "the disk is nearly full; results are refused once it is");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{auth::Role, test_support::TestApp};

    use super::*;

    #[tokio::test]
    async fn housekeeping_removes_expired_sessions_and_makes_months() {
        let app = TestApp::new().await;
        app.login(Role::Viewer).await;
        app.clock().advance(TimeDelta::hours(13));
        housekeeping(app.state().clone()).await.unwrap();
        let (sessions, months): (i64, i64) = sqlx::query_as(
            "select (select count(*) from sessions),
                    (select count(*) from pg_class where relname in ('observations_2026_01', 'observations_2026_02'))",
        )
        .fetch_one(app.pool())
        .await
        .unwrap();
        assert_eq!((sessions, months), (0, 2));
        housekeeping(app.state().clone()).await.unwrap();
    }

    #[tokio::test]
    async fn tasks_end_with_the_server() {
        let app = TestApp::new().await;
        let tracker = start(app.state());
        app.state().shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(20), tracker.wait()).await.expect("all tasks end");
    }
}
