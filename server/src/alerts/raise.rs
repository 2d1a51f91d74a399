//! Reads what the rules look at, applies them, and writes what they raise.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::{
    AlertKind, Findings, NewAlert, Scope, config::AlertConfig, evaluate, inventory, standing,
    suspicion::Suspicion,
};
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
        suspicion: Suspicion::new(store::verdicts(&mut *db, scan.id).await?, scan.block),
    };
    let mut due = evaluate(&findings, &policy, &config);
    let untold: Vec<_> =
        findings.ports.iter().filter(|port| port.new_in_network && findings.hushed(port)).collect();
    store::leave_untold(&mut *db, scan, &untold).await?;
    let hosts = findings.suspicion.rows(scan);
    let keys: Vec<_> = hosts.iter().map(|row| row.dedup_key.clone()).collect();
    store::resolve_others(&mut *db, scan.network_id, AlertKind::SuspiciousHost, &keys, now).await?;
    let hosts = hosts.into_iter().filter(|row| config.wants(row.kind));
    let first = inventory::take(&mut due, scan, &policy);
    let ports = due.into_iter().map(|alert| row(alert, scan, &policy));
    let rows: Vec<_> = hosts.chain(first).chain(ports).collect();
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
