//! Reads what the rules look at, applies them, and writes what they raise.

use std::{collections::BTreeSet, net::IpAddr};

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::{AlertKind, Findings, NewAlert, Scope, config::AlertConfig, evaluate, standing};
use crate::{
    live::AlertEvent,
    policy::{Policy, severity::severity},
    store::{
        alert_evaluation::{self as store, AlertRow},
        scan_lifecycle::RunningScan,
        settings,
    },
};

/// Judges what a scan found and raises what is due. Also settles the network's coverage alerts: it has been scanned.
pub async fn raise_for_scan(
    db: &mut PgConnection,
    scan: &RunningScan,
    suspicious: &[IpAddr],
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<AlertEvent>> {
    resolve_coverage(&mut *db, scan.network_id, now).await?;
    if scan.kind != "scan" {
        return Ok(Vec::new());
    }
    let policy = store::policy(&mut *db, scan.network_id).await?;
    let defaults = settings::alert_defaults(&mut *db).await?;
    let config = AlertConfig::resolve(scan.alert_config.as_ref(), &defaults);
    let findings = Findings {
        ports: store::port_findings(&mut *db, scan).await?,
        ssh: store::ssh_findings(&mut *db, scan).await?,
        suspicious: suspicious.iter().copied().collect(),
    };
    let due = evaluate(&findings, &policy, &config);
    let hosts = suspicious_rows(&findings.suspicious, scan);
    let keys: Vec<_> = hosts.iter().map(|row| row.dedup_key.clone()).collect();
    store::resolve_others(&mut *db, scan.network_id, AlertKind::SuspiciousHost, &keys, now).await?;
    let hosts = hosts.into_iter().filter(|row| config.wants(row.kind));
    let rows: Vec<_> = hosts.chain(due.into_iter().map(|alert| row(alert, scan, &policy))).collect();
    let mut raised = store::raise(&mut *db, &rows, now).await?;
    raised.extend(standing::settle(db, scan.network_id, Some(scan.id), now).await?);
    Ok(raised)
}

fn row(alert: NewAlert, scan: &RunningScan, policy: &Policy) -> AlertRow {
    let key = alert.key;
    let blocked = policy.standing(key.address, key.port, key.transport).globally_blocked;
    let place = format!("{}/{}/{}/{}", key.kind, key.address, key.port, key.transport);
    AlertRow {
        kind: key.kind,
        severity: severity(key.kind, false, blocked),
        network_id: Some(scan.network_id),
        scan_id: Some(scan.id),
        agent_id: None,
        host: None,
        place: Some((key.address, key.port, key.transport)),
        global_port_id: alert.global_open_port_id,
        message: alert.message,
        detail: json!({}),
        dedup_key: match key.scope {
            Scope::Global => format!("global/{place}"),
            Scope::Network => format!("network-{}/{place}", scan.network_id),
        },
    }
}

/// Hosts that are named in an alert of their own; more of them share one.
const APART: usize = 10;
/// Hosts listed in the detail of an alert that many share.
const LISTED: usize = 100;

/// One alert in place of one for each port, or one for all hosts where there are many: behind a filter that answers for
/// everyone they come by the thousand.
fn suspicious_rows(hosts: &BTreeSet<IpAddr>, scan: &RunningScan) -> Vec<AlertRow> {
    const WHAT: &str = "a SYN proxy, a tarpit or a trap; open ports there mean nothing";
    let kind = AlertKind::SuspiciousHost;
    let row = |host, message, detail, about: &str| AlertRow {
        kind,
        severity: severity(kind, false, false),
        network_id: Some(scan.network_id),
        scan_id: Some(scan.id),
        agent_id: None,
        host,
        place: None,
        global_port_id: None,
        message,
        detail,
        dedup_key: format!("network-{}/{kind}/{about}", scan.network_id),
    };
    if hosts.len() <= APART {
        let one = |host: &IpAddr| {
            let message = format!("{host} answers on every port: {WHAT}");
            row(Some(*host), message, json!({}), &host.to_string())
        };
        return hosts.iter().map(one).collect();
    }
    let places: Vec<_> = hosts.iter().take(LISTED).map(ToString::to_string).collect();
    let message = format!("{} hosts answer on every port: {WHAT}", hosts.len());
    vec![row(None, message, json!({ "places": places, "place_count": hosts.len() }), "many")]
}

/// Raises that a scheduled scan failed.
pub async fn raise_scan_failed(
    db: &mut PgConnection,
    scan: &RunningScan,
    error: Option<&str>,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<AlertEvent>> {
    let why = error.unwrap_or("no reason was given");
    let message = format!("The scheduled scan of network {} failed: {why}", scan.network_name);
    let row = coverage_row(AlertKind::ScanFailed, Some(scan.network_id), Some(scan.id), None, message);
    store::raise(db, &[row], now).await
}

/// Raises that a network, or what an agent should watch, is not being watched.
pub async fn raise_coverage(
    db: &mut PgConnection,
    kind: AlertKind,
    about: Uncovered,
    message: String,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<AlertEvent>> {
    let (network_id, agent_id) = match about {
        Uncovered::Agent(id) => (None, Some(id)),
        Uncovered::Network(id) => (Some(id), None),
    };
    store::raise(db, &[coverage_row(kind, network_id, None, agent_id, message)], now).await
}

/// What is not being watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncovered {
    /// Whatever this agent should scan.
    Agent(i64),
    /// This network.
    Network(i64),
}

/// A network was scanned: what was raised because it was not is over.
pub async fn resolve_coverage(
    db: &mut PgConnection,
    network_id: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let keys =
        [AlertKind::ScanFailed, AlertKind::ScanMissed].map(|kind| coverage_key(kind, Some(network_id), None));
    store::resolve(db, &keys, now).await
}

/// An agent is back.
pub async fn resolve_agent(db: &mut PgConnection, agent_id: i64, now: DateTime<Utc>) -> sqlx::Result<u64> {
    store::resolve(db, &[coverage_key(AlertKind::AgentOffline, None, Some(agent_id))], now).await
}

fn coverage_row(
    kind: AlertKind,
    network_id: Option<i64>,
    scan_id: Option<i64>,
    agent_id: Option<i64>,
    message: String,
) -> AlertRow {
    AlertRow {
        kind,
        severity: severity(kind, false, false),
        network_id,
        scan_id,
        agent_id,
        host: None,
        place: None,
        global_port_id: None,
        message,
        detail: json!({}),
        dedup_key: coverage_key(kind, network_id, agent_id),
    }
}

fn coverage_key(kind: AlertKind, network_id: Option<i64>, agent_id: Option<i64>) -> String {
    match (network_id, agent_id) {
        (Some(network), _) => format!("network-{network}/{kind}"),
        (None, Some(agent)) => format!("agent-{agent}/{kind}"),
        (None, None) => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use portreeve_model::protocol::{JobOutcome, JobSummary};

    use crate::test_support::{
        TestApp,
        scans::{Worker, manual, network, open, plan, texts},
    };

    const ALERTS: &str = "select kind || ' ' || resolution_status || ' ' || coalesce(host(address), 'no host') || ' '
        || coalesce(detail->>'place_count', '1') from alerts where network_id = $1 or network_id is null order by id";

    /// A scan that finds three ports open at each of these hosts, and takes some for suspicious.
    async fn scan(app: &TestApp, worker: &Worker<'_>, network_id: i64, hosts: &[&str], suspicious: &[&str]) {
        app.clock().advance(TimeDelta::minutes(1));
        let records: Vec<_> =
            hosts.iter().flat_map(|host| [22, 80, 443].map(|port| open(app, host, port))).collect();
        plan(app, &manual(network_id)).await;
        let job = worker.lease().await.expect("the job just planned");
        worker.put(&job, 0, &records).await.assert_status(200);
        let suspicious_hosts = suspicious.iter().map(|host| host.parse().expect("an address")).collect();
        let summary = JobSummary { suspicious_hosts, ..JobSummary::default() };
        worker.finish_with(&job, 1, JobOutcome::Completed, summary).await.assert_status(204);
    }

    #[tokio::test]
    async fn a_host_that_answers_everything_is_one_alert_and_its_ports_are_none() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let network_id = network(&app, "n", worker.client.agent_id()).await;
        let alerts = || texts(&app, ALERTS, network_id);
        scan(&app, &worker, network_id, &["10.99.0.7"], &["10.99.0.7"]).await;
        assert_eq!(alerts().await, ["suspicious_host open 10.99.0.7 1"]);
        scan(&app, &worker, network_id, &["10.99.0.7"], &["10.99.0.7"]).await;
        assert_eq!(alerts().await.len(), 1, "it is told once");
        scan(&app, &worker, network_id, &["10.99.0.7", "10.99.0.8"], &[]).await;
        let now = alerts().await;
        assert_eq!(now[0], "suspicious_host resolved 10.99.0.7 1");
        assert_eq!(now.iter().filter(|alert| alert.starts_with("new_port open 10.99.0.8")).count(), 3);
    }

    #[tokio::test]
    async fn many_of_them_share_an_alert() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let network_id = network(&app, "n", worker.client.agent_id()).await;
        let hosts: Vec<String> = (1..=11).map(|last| format!("10.99.0.{last}")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        scan(&app, &worker, network_id, &hosts, &hosts).await;
        assert_eq!(texts(&app, ALERTS, network_id).await, ["suspicious_host open no host 11"]);
    }
}
