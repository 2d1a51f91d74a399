//! Asks for scans, and calls them off, on a user's behalf.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use portreeve_model::protocol::JobKind;
use serde_json::json;

use crate::{
    api::Problem,
    audit::{Actor, Entry},
    auth::Caller,
    jobs::{self, CancelError, News, PlanError, ScanRequest, Trigger},
    state::AppState,
    store::{hosts, networks, scan_lifecycle},
};

/// Plans a scan of a network, or of one host in it, and returns its number.
pub async fn scan(
    state: &AppState,
    caller: &Caller,
    network_id: i64,
    target: Option<IpAddr>,
) -> Result<i64, Problem> {
    plan(state, caller, network_id, JobKind::Scan, target).await
}

/// Plans a search for hosts in a network and returns its number.
pub async fn discovery(state: &AppState, caller: &Caller, network_id: i64) -> Result<i64, Problem> {
    plan(state, caller, network_id, JobKind::Discovery, None).await
}

/// Cancels a scan that waits or runs; `None` when it is over already.
pub async fn cancel(
    state: &AppState,
    caller: &Caller,
    scan_id: i64,
) -> Result<Option<DateTime<Utc>>, Problem> {
    let now = state.clock.now();
    let mut tx = state.pool.begin().await?;
    let news = match jobs::cancel(&mut tx, scan_id, Some(caller.user_id), now).await {
        Ok(news) => news,
        Err(CancelError::NotRunning) => return Ok(None),
        Err(CancelError::Database(error)) => return Err(error.into()),
    };
    let entry = Entry::new("scan.cancel").target("scan", scan_id);
    entry.record(&mut tx, Actor::caller(caller), now).await?;
    tx.commit().await?;
    news.publish(&state.live);
    Ok(Some(now))
}

/// The network to scan a host in: of those it was seen in the most exact that holds the address, else the
/// most exact that holds it.
pub async fn network_of_host(state: &AppState, caller: &Caller, address: IpAddr) -> Result<i64, Problem> {
    let scope = caller.visible_networks();
    let Some(host) = hosts::at_address(&state.pool, scope, address).await? else {
        return Err(Problem::not_found(format!("Host {address} not found")));
    };
    let holding = networks::holding(&state.pool, scope, address).await?;
    let seen = holding.iter().find(|network_id| host.seen_by_networks.contains(network_id));
    let found = seen.or_else(|| holding.first()).copied();
    found.ok_or_else(|| Problem::not_found(format!("No valid network found for host {address}")))
}

/// An address in a path.
pub fn address(text: &str) -> Result<IpAddr, Problem> {
    let parsed = text.parse::<IpAddr>();
    parsed
        .map(|address| address.to_canonical())
        .map_err(|_| Problem::bad_request(format!("Invalid IP address: {text}")))
}

async fn plan(
    state: &AppState,
    caller: &Caller,
    network_id: i64,
    kind: JobKind,
    target: Option<IpAddr>,
) -> Result<i64, Problem> {
    let now = state.clock.now();
    let request = ScanRequest {
        network_id,
        kind,
        target,
        trigger: Trigger::Manual,
        triggered_by: Some(caller.user_id),
    };
    let mut tx = state.pool.begin().await?;
    let scan_id = jobs::plan(&mut tx, &request, now).await.map_err(refused)?;
    let entry = Entry::new("scan.start").target("scan", scan_id);
    let detail = json!({ "network_id": network_id, "kind": jobs::kind_name(kind), "target": target });
    entry.detail(detail).record(&mut tx, Actor::caller(caller), now).await?;
    tx.commit().await?;
    let line = scan_lifecycle::line(&state.pool, scan_id).await?;
    News { line, alerts: Vec::new() }.publish(&state.live);
    Ok(scan_id)
}

fn refused(error: PlanError) -> Problem {
    match error {
        PlanError::Database(error) => error.into(),
        PlanError::NoAgent | PlanError::Ports(_) => Problem::bad_request(error.to_string()),
        PlanError::UnknownNetwork => Problem::not_found(error.to_string()),
    }
}
