//! Notices what is not being watched: agents that stopped calling, scans that nobody began.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::{AlertKind, Uncovered, raise_coverage};
use crate::{
    jobs::reaper::GRACE,
    live::{AgentEvent, AlertEvent, Event},
    state::AppState,
    store::schedules as store,
};

/// An agent that has not called for so long is away. Agents of our own call every minute at least, OPM's between jobs only.
pub const ONLINE: TimeDelta = TimeDelta::minutes(5);

/// A scheduled scan that nobody has begun for so long is missed.
const LATE: TimeDelta = TimeDelta::minutes(15);

/// Looks once.
pub async fn round(app: AppState) -> sqlx::Result<()> {
    let now = app.clock.now();
    // While the server was away nobody could call.
    if now < app.started_at + GRACE {
        return Ok(());
    }
    let mut transaction = app.pool.begin().await?;
    let silent = store::mark_silent_agents(&mut *transaction, now - ONLINE).await?;
    let mut raised = Vec::new();
    for agent in silent.iter().filter(|agent| agent.scheduled_networks > 0) {
        let networks = match agent.scheduled_networks {
            1 => "1 network is".to_owned(),
            many => format!("{many} networks are"),
        };
        let message = format!(
            "Agent {} has not called since {}; {networks} not being scanned",
            agent.name,
            shown(agent.last_seen_at)
        );
        let about = Uncovered::Agent(agent.id);
        raised.extend(raise_coverage(&mut transaction, AlertKind::AgentOffline, about, message, now).await?);
    }
    for scan in store::late_scans(&mut *transaction, now - LATE).await? {
        let agent = match (&scan.agent_name, scan.last_seen_at) {
            (Some(name), Some(at)) => format!("; agent {name} was last heard of at {}", shown(at)),
            (Some(name), None) => format!("; agent {name} has never called"),
            (None, _) => "; no agent is assigned to it".to_owned(),
        };
        let message = format!(
            "The scan of network {} that was due at {} has not begun{agent}",
            scan.network_name,
            shown(scan.queued_at)
        );
        let about = Uncovered::Network(scan.network_id);
        raised.extend(raise_coverage(&mut transaction, AlertKind::ScanMissed, about, message, now).await?);
    }
    transaction.commit().await?;
    for agent in silent {
        app.live.publish(Event::Agent(AgentEvent { id: agent.id, name: agent.name, online: false }));
    }
    publish(&app, raised);
    Ok(())
}

fn publish(app: &AppState, raised: Vec<AlertEvent>) {
    for alert in raised {
        app.live.publish(Event::Alert(alert));
    }
}

fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        jobs::{ScanRequest, Trigger},
        test_support::{
            TestApp,
            scans::{Worker, manual, network, plan, texts, value},
        },
    };

    const ALERTS: &str = "select kind || ' ' || resolution_status || ' ' || raised_count || ': ' || message from alerts where id > $1 order by id";

    #[tokio::test]
    async fn an_agent_that_stops_calling_is_told_until_it_is_back() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "edge").await;
        let network_id = network(&app, "n", worker.client.agent_id()).await;
        sqlx::query("update networks set scan_schedule = '@daily' where id = $1")
            .bind(network_id)
            .execute(app.pool())
            .await
            .expect("scheduled");
        worker.lease().await;
        app.clock().advance(TimeDelta::minutes(4));
        round(app.state().clone()).await.expect("a round");
        assert!(texts(&app, ALERTS, 0).await.is_empty());
        app.clock().advance(TimeDelta::minutes(2));
        let mut events = app.state().live.subscribe();
        for _ in 0..2 {
            round(app.state().clone()).await.expect("a round");
        }
        assert_eq!(
            texts(&app, ALERTS, 0).await,
            [
                "agent_offline open 1: Agent edge has not called since 2026-01-01T00:00:00Z; 1 network is not being scanned"
            ]
        );
        assert_eq!(events.recv().await.expect("an event").name(), "agent");
        worker.lease().await;
        assert!(texts(&app, ALERTS, 0).await[0].starts_with("agent_offline resolved"));
        assert!(
            !value::<bool>(
                &app,
                "select reported_offline from agents where id = $1",
                worker.client.agent_id()
            )
            .await
        );
    }

    #[tokio::test]
    async fn a_scan_nobody_begins_is_told() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "edge").await;
        let network_id = network(&app, "office", worker.client.agent_id()).await;
        plan(&app, &ScanRequest { trigger: Trigger::Scheduled, ..manual(network_id) }).await;
        app.clock().advance(TimeDelta::minutes(16));
        for _ in 0..2 {
            round(app.state().clone()).await.expect("a round");
        }
        assert_eq!(
            texts(&app, ALERTS, 0).await,
            [
                "scan_missed open 2: The scan of network office that was due at 2026-01-01T00:00:00Z has not begun; agent edge has never called"
            ]
        );
    }

    #[tokio::test]
    async fn nothing_is_held_against_agents_just_after_a_start() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "edge").await;
        let hello = json!({ "version": "0", "hostname": "h", "backends": [], "interfaces": [], "max_rate_pps": null });
        worker.client.post("/api/agent/v1/hello", hello).await.assert_status(200);
        let mut state = app.state().clone();
        app.clock().advance(TimeDelta::hours(5));
        state.started_at = app.now();
        round(state).await.expect("a round");
        assert!(
            !value::<bool>(
                &app,
                "select reported_offline from agents where id = $1",
                worker.client.agent_id()
            )
            .await
        );
    }
}
