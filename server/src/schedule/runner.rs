//! Starts scans when their time has come.
//!
//! Any number of servers may look at the clock: a due network is locked by one of them and passed over by the others,
//! and what became of each due run is noted under its time. Runs that nobody was there for are caught up with one.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use portreeve_model::protocol::JobKind;

use super::cron::CronLine;
use crate::{
    alerts::{AlertKind, Uncovered, raise_coverage},
    jobs::{self, News, PlanError, ScanRequest, Trigger},
    state::AppState,
    store::{
        scan_lifecycle as scans,
        schedules::{self as store, DueNetwork},
    },
};

/// Looks at the clock once: every network that is due gets its scan, or a reason why not.
pub async fn round(app: AppState) -> sqlx::Result<()> {
    while start_one(&app).await? {}
    Ok(())
}

/// Starts the scan that has been due longest; false if none is due.
async fn start_one(app: &AppState) -> sqlx::Result<bool> {
    let now = app.clock.now();
    let mut transaction = app.pool.begin().await?;
    let Some(network) = store::lock_due(&mut transaction, now).await? else { return Ok(false) };
    // Before anything else: whatever is wrong with this network, it must not be due again at once.
    store::set_next_run(&mut *transaction, network.id, next_run(&network, now)).await?;
    let outcome = if network.is_active {
        Outcome::Skipped("a scan of the network was still waiting or running".to_owned())
    } else {
        let request = ScanRequest {
            network_id: network.id,
            kind: JobKind::Scan,
            target: None,
            trigger: Trigger::Scheduled,
            triggered_by: None,
        };
        match jobs::plan(&mut transaction, &request, now).await {
            Ok(scan_id) => Outcome::Planned(scan_id),
            Err(PlanError::Database(error)) => return Err(error),
            Err(error) => Outcome::Skipped(error.to_string()),
        }
    };
    let mut news = News::default();
    match outcome {
        Outcome::Planned(scan_id) => {
            store::note_claim(&mut *transaction, &network, Some(scan_id), None, now).await?;
            news.line = scans::line(&mut *transaction, scan_id).await?;
        }
        Outcome::Skipped(why) => {
            store::note_claim(&mut *transaction, &network, None, Some(&why), now).await?;
            let message = format!("The scheduled scan of network {} was not started: {why}", network.name);
            let about = Uncovered::Network(network.id);
            news.alerts =
                raise_coverage(&mut transaction, AlertKind::ScanMissed, about, message, now).await?;
        }
    }
    transaction.commit().await?;
    news.publish(&app.live);
    Ok(true)
}

enum Outcome {
    Planned(i64),
    Skipped(String),
}

/// The first run after now. A line or zone that is no longer understood stops the schedule: it was checked when it was
/// set, so this is a zone that was dropped, or a row changed by hand.
fn next_run(network: &DueNetwork, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let line: Result<CronLine, _> = network.scan_schedule.parse();
    let zone: Result<Tz, _> = network.time_zone.parse();
    match (line, zone) {
        (Ok(line), Ok(zone)) => line.next_after(now, zone),
        (line, zone) => {
            let error = line
                .err()
                .map(|error| error.to_string())
                .or_else(|| zone.err().map(|error| error.to_string()));
            tracing::error!(
                network = network.id,
                ?error,
                "the schedule of a network is not understood; it is stopped"
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::test_support::{
        TestApp,
        scans::{Worker, network, open, texts, value},
    };

    const CLAIMS: &str = "select to_char(due_at at time zone 'UTC', 'DD HH24:MI') || ' ' || coalesce(skipped, 'scan ' || scan_id) from schedule_claims where network_id = $1 order by due_at";

    async fn schedule(app: &TestApp, network_id: i64, line: &str, zone: &str) {
        let next = line.parse::<CronLine>().expect(line).next_after(app.now(), zone.parse().expect(zone));
        sqlx::query("update networks set scan_schedule = $2, time_zone = $3, next_run_at = $4 where id = $1")
            .bind(network_id)
            .bind(line)
            .bind(zone)
            .bind(next)
            .execute(app.pool())
            .await
            .expect("a schedule");
    }

    #[tokio::test]
    async fn a_scan_starts_when_its_time_has_come_and_once() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let network_id = network(&app, "n", worker.client.agent_id()).await;
        schedule(&app, network_id, "30 2 * * *", "Europe/Berlin").await;
        round(app.state().clone()).await.expect("a round");
        assert!(texts(&app, CLAIMS, network_id).await.is_empty());

        app.clock().advance(TimeDelta::minutes(90));
        round(app.state().clone()).await.expect("a round");
        round(app.state().clone()).await.expect("a round");
        assert_eq!(texts(&app, CLAIMS, network_id).await, ["01 01:30 scan 1"]);
        let next: DateTime<Utc> =
            value(&app, "select next_run_at from networks where id = $1", network_id).await;
        assert_eq!(next.to_rfc3339(), "2026-01-02T01:30:00+00:00");
        let trigger: String =
            value(&app, "select trigger_type || ' ' || status from scans where network_id = $1", network_id)
                .await;
        assert_eq!(trigger, "scheduled planned");
        assert!(worker.lease().await.is_some());
    }

    #[tokio::test]
    async fn missed_runs_are_caught_up_with_one() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let network_id = network(&app, "n", worker.client.agent_id()).await;
        schedule(&app, network_id, "@hourly", "UTC").await;
        app.clock().advance(TimeDelta::minutes(5 * 60 + 20));
        round(app.state().clone()).await.expect("a round");
        assert_eq!(texts(&app, CLAIMS, network_id).await, ["01 01:00 scan 1"]);
        let next: DateTime<Utc> =
            value(&app, "select next_run_at from networks where id = $1", network_id).await;
        assert_eq!(next.to_rfc3339(), "2026-01-01T06:00:00+00:00");
    }

    #[tokio::test]
    async fn a_run_that_cannot_start_is_told_and_its_alert_ends_with_the_next_scan() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let network_id = network(&app, "office", worker.client.agent_id()).await;
        schedule(&app, network_id, "@hourly", "UTC").await;
        for _ in 0..2 {
            app.clock().advance(TimeDelta::hours(1));
            round(app.state().clone()).await.expect("a round");
        }
        let alerts =
            "select kind || ' ' || resolution_status || ': ' || message from alerts where network_id = $1";
        assert_eq!(
            texts(&app, alerts, network_id).await,
            [
                "scan_missed open: The scheduled scan of network office was not started: a scan of the network was still waiting or running"
            ]
        );
        let job = worker.lease().await.expect("the first run's job");
        worker.put(&job, 0, &[open(&app, "10.99.0.7", 22)]).await.assert_status(200);
        worker.finish(&job, 1, portreeve_model::protocol::JobOutcome::Completed).await.assert_status(204);
        assert!(
            texts(&app, alerts, network_id)
                .await
                .iter()
                .any(|alert| alert.starts_with("scan_missed resolved"))
        );
    }

    #[tokio::test]
    async fn one_broken_network_does_not_hold_up_the_others() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let agent_id = worker.client.agent_id();
        let (broken, orphan, good) = (
            network(&app, "broken", agent_id).await,
            network(&app, "orphan", agent_id).await,
            network(&app, "good", agent_id).await,
        );
        for network_id in [broken, orphan, good] {
            schedule(&app, network_id, "@hourly", "UTC").await;
        }
        sqlx::query("update networks set scan_schedule = '99 * * * *', port_spec = 'x' where id = $1")
            .bind(broken)
            .execute(app.pool())
            .await
            .expect("broken");
        sqlx::query("update networks set agent_id = null where id = $1")
            .bind(orphan)
            .execute(app.pool())
            .await
            .expect("orphaned");
        app.clock().advance(TimeDelta::hours(1));
        round(app.state().clone()).await.expect("a round");
        assert_eq!(texts(&app, CLAIMS, good).await.len(), 1);
        assert_eq!(
            texts(&app, CLAIMS, orphan).await,
            ["01 01:00 No agent is assigned to this network; choose one in its settings"]
        );
        assert!(texts(&app, CLAIMS, broken).await[0].starts_with("01 01:00 The port specification"));
        let stopped: Option<DateTime<Utc>> =
            value(&app, "select next_run_at from networks where id = $1", broken).await;
        assert_eq!(stopped, None);
    }

    #[tokio::test]
    async fn servers_side_by_side_start_each_run_once() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        for number in 0..12 {
            let network_id = network(&app, &format!("n{number}"), worker.client.agent_id()).await;
            schedule(&app, network_id, "@hourly", "UTC").await;
        }
        app.clock().advance(TimeDelta::hours(1));
        let rounds = (0..4).map(|_| round(app.state().clone()));
        for done in futures_util::future::join_all(rounds).await {
            done.expect("a round");
        }
        assert_eq!(value::<i64>(&app, "select count(*) from scans where id > $1", 0).await, 12);
    }
}
