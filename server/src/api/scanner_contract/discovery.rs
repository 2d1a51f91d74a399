//! Host discovery: jobs, claims, results.

use std::{collections::BTreeMap, net::IpAddr};

use axum::extract::State;
use portreeve_model::SafeText;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{clean, lax::lax_integer, origin, own_scan};
use crate::{
    api::{ApiRouter, Json, Path, Problem, ProblemBody, agent_protocol::heard_of},
    auth::{Access, AgentCaller},
    ingest::{self, HostRow, Origin, Sightings},
    jobs,
    state::AppState,
    store::{
        scan_lifecycle::{self as scans, ScanEnd},
        scanner_contract as store,
    },
};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Agent, routes!(list_discoveries))
        .route(Access::Agent, routes!(claim_discovery))
        .route(Access::Agent, routes!(submit_discovery))
}

/// A discovery to be done.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostDiscoveryJobResponse {
    scan_id: i64,
    network_id: i64,
    cidr: String,
    is_ipv6: bool,
}

/// Discoveries to be done.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostDiscoveryJobListResponse {
    jobs: Vec<HostDiscoveryJobResponse>,
}

/// List the discoveries that wait for this agent.
#[utoipa::path(get, path = "/api/scanner/host-discovery-jobs", tag = "scanner", operation_id = "scanner_discovery_jobs",
    responses((status = 200, body = HostDiscoveryJobListResponse)))]
async fn list_discoveries(
    State(app): State<AppState>,
    agent: AgentCaller,
) -> Result<Json<HostDiscoveryJobListResponse>, Problem> {
    let jobs = store::discoveries(&app.pool, agent.agent_id).await?.into_iter().map(|job| {
        HostDiscoveryJobResponse {
            scan_id: job.scan_id,
            network_id: job.network_id,
            cidr: job.cidr,
            is_ipv6: job.is_ipv6,
        }
    });
    Ok(Json(HostDiscoveryJobListResponse { jobs: jobs.collect() }))
}

/// A claimed discovery, with what is known already.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostDiscoveryJobClaimResponse {
    scan_id: i64,
    network_id: i64,
    cidr: String,
    is_ipv6: bool,
    #[schema(value_type = BTreeMap<String, String>)]
    known_hostnames: BTreeMap<IpAddr, String>,
    #[schema(value_type = Vec<String>)]
    ips_with_open_ports: Vec<IpAddr>,
    message: &'static str,
}

/// Claim a discovery.
#[utoipa::path(post, path = "/api/scanner/host-discovery-jobs/{scan_id}/claim", tag = "scanner", operation_id = "scanner_claim_discovery",
    params(("scan_id" = i64, Path)),
    responses((status = 200, body = HostDiscoveryJobClaimResponse), (status = 404, body = ProblemBody)))]
async fn claim_discovery(
    State(app): State<AppState>,
    agent: AgentCaller,
    Path(scan_id): Path<i64>,
) -> Result<Json<HostDiscoveryJobClaimResponse>, Problem> {
    let refused = || Problem::not_found("Host discovery job not found or not assigned to this scanner");
    let mut transaction = app.pool.begin().await?;
    let claimed =
        match store::claim_discovery(&mut transaction, scan_id, agent.agent_id, app.clock.now()).await {
            // Another discovery of the network runs: this one stays planned.
            Err(sqlx::Error::Database(error)) if error.constraint() == Some("scans_one_running") => {
                return Err(refused());
            }
            other => other?,
        };
    let job = claimed.ok_or_else(refused)?;
    let known_hostnames = store::known_hostnames(&mut *transaction, job.network_id).await?;
    let ips_with_open_ports = store::addresses_with_open_ports(&mut *transaction, job.network_id).await?;
    let line = scans::line(&mut *transaction, scan_id).await?;
    transaction.commit().await?;
    jobs::News { line, alerts: Vec::new() }.publish(&app.live);
    Ok(Json(HostDiscoveryJobClaimResponse {
        scan_id,
        network_id: job.network_id,
        cidr: job.cidr,
        is_ipv6: job.is_ipv6,
        known_hostnames,
        ips_with_open_ports,
        message: "Host discovery job claimed successfully",
    }))
}

/// What a discovery found.
#[derive(Debug, Deserialize, ToSchema)]
pub struct HostDiscoveryResultRequest {
    #[serde(deserialize_with = "lax_integer")]
    scan_id: i64,
    /// `failed`, or anything else for success.
    status: String,
    #[serde(default)]
    hosts: Vec<DiscoveredHostData>,
    #[serde(default)]
    error_message: Option<String>,
}

/// A host that was found.
#[derive(Debug, Deserialize, ToSchema)]
pub struct DiscoveredHostData {
    ip: String,
    #[serde(default)]
    hostname: Option<String>,
    #[serde(default = "yes")]
    is_pingable: Option<bool>,
    #[serde(default)]
    mac_address: Option<String>,
    #[serde(default)]
    mac_vendor: Option<String>,
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn yes() -> Option<bool> {
    Some(true)
}

/// What became of a discovery's results.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostDiscoveryResultResponse {
    scan_id: i64,
    /// `success` or `failed`.
    status: &'static str,
    hosts_recorded: usize,
    message: &'static str,
}

/// Hand in what a discovery found; ends it. Sent again, it adds hosts and leaves the status as it is.
#[utoipa::path(post, path = "/api/scanner/host-discovery-results", tag = "scanner", operation_id = "scanner_discovery_results",
    request_body = HostDiscoveryResultRequest,
    responses((status = 200, body = HostDiscoveryResultResponse), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn submit_discovery(
    State(app): State<AppState>,
    agent: AgentCaller,
    Json(request): Json<HostDiscoveryResultRequest>,
) -> Result<Json<HostDiscoveryResultResponse>, Problem> {
    let now = app.clock.now();
    heard_of(&app, &agent, None).await?;
    let mut transaction = app.pool.begin().await?;
    let scan = own_scan(&mut transaction, request.scan_id, agent.agent_id, "discovery")
        .await?
        .ok_or_else(|| Problem::not_found("Host discovery scan not found or not assigned to this scanner"))?;
    let origin = origin(&scan, now);
    let mut sightings = Sightings::default();
    let rows: Vec<_> = request.hosts.iter().filter_map(|host| host.row(&origin)).collect();
    let hosts_recorded = rows.len();
    for row in rows {
        sightings.add_host_row(row, &origin);
    }
    ingest::apply(&mut transaction, &origin, &sightings).await?;
    let failed = request.status == "failed";
    let error = request.error_message.as_deref().map(|text| clean(text, SafeText::MAX_BYTES));
    let mut news = jobs::News::default();
    if matches!(scan.status.as_str(), "running" | "cancelled") && scan.completed_at.is_none() {
        let status = if failed { "failed" } else { "completed" };
        let error = failed.then(|| error.as_deref().unwrap_or("Unknown error"));
        news =
            jobs::end_scan(&mut transaction, &scan, &ScanEnd { status, error, summary: None }, now).await?;
    }
    transaction.commit().await?;
    news.publish(&app.live);
    Ok(Json(HostDiscoveryResultResponse {
        scan_id: request.scan_id,
        status: if failed { "failed" } else { "success" },
        hosts_recorded,
        message: "Host discovery results submitted successfully",
    }))
}

impl DiscoveredHostData {
    fn row(&self, origin: &Origin) -> Option<HostRow> {
        Some(HostRow {
            address: self.ip.trim().parse().ok()?,
            pingable: self.is_pingable,
            mac: self.mac_address.as_ref().and_then(|text| text.parse().ok()),
            mac_vendor: self.mac_vendor.as_ref().map(|text| clean(text, 255)),
            hostname: self.hostname.as_ref().map(|text| clean(text, 255)).filter(|name| !name.is_empty()),
            seen_at: origin.now,
        })
    }
}
