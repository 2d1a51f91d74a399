//! Handing out scans, and following them: jobs, claims, logs, progress, status.

use std::net::IpAddr;

use axum::extract::State;
use chrono::{DateTime, Utc};
use portreeve_model::SafeText;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    clean,
    lax::{lax_float, lax_integer, lax_time},
    not_running,
};
use crate::{
    api::{ApiRouter, FieldError, Json, Path, Problem, ProblemBody, agent_protocol::heard_of},
    auth::{Access, AgentCaller},
    jobs,
    state::AppState,
    store::{
        scan_lifecycle::{self as scans, LogRow},
        scanner_contract as store,
    },
};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Agent, routes!(list_jobs))
        .route(Access::Agent, routes!(claim))
        .route(Access::Agent, routes!(submit_logs))
        .route(Access::Agent, routes!(submit_progress))
        .route(Access::Agent, routes!(scan_status))
}

/// A scan to be done.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerJobResponse {
    network_id: i64,
    cidr: String,
    port_spec: String,
    rate: Option<i32>,
    scanner_type: String,
    scan_timeout: i32,
    port_timeout: i32,
    scan_protocol: String,
    is_ipv6: bool,
    #[schema(value_type = Option<String>)]
    target_ip: Option<IpAddr>,
}

/// Scans to be done.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerJobListResponse {
    jobs: Vec<ScannerJobResponse>,
}

/// List the scans that wait for this agent: of each network the oldest.
#[utoipa::path(get, path = "/api/scanner/jobs", tag = "scanner", operation_id = "scanner_jobs",
    responses((status = 200, body = ScannerJobListResponse)))]
async fn list_jobs(
    State(app): State<AppState>,
    agent: AgentCaller,
) -> Result<Json<ScannerJobListResponse>, Problem> {
    heard_of(&app, &agent, None).await?;
    let jobs = store::jobs(&app.pool, agent.agent_id).await?.into_iter().map(|job| ScannerJobResponse {
        network_id: job.network_id,
        cidr: job.cidr,
        port_spec: job.port_spec,
        rate: job.scan_rate,
        scanner_type: job.scanner_type,
        scan_timeout: job.scan_timeout.unwrap_or(3600),
        port_timeout: job.port_timeout.unwrap_or(1500),
        scan_protocol: job.scan_protocol,
        is_ipv6: job.is_ipv6,
        target_ip: job.target,
    });
    Ok(Json(ScannerJobListResponse { jobs: jobs.collect() }))
}

/// A claimed scan.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerJobClaimResponse {
    scan_id: i64,
    network_id: i64,
    message: &'static str,
}

/// Claim the oldest planned scan of a network.
#[utoipa::path(post, path = "/api/scanner/jobs/{network_id}/claim", tag = "scanner", operation_id = "scanner_claim",
    params(("network_id" = i64, Path)),
    responses((status = 200, body = ScannerJobClaimResponse), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn claim(
    State(app): State<AppState>,
    agent: AgentCaller,
    Path(network_id): Path<i64>,
) -> Result<Json<ScannerJobClaimResponse>, Problem> {
    let running = || Problem::conflict("Job already claimed or running");
    let mut transaction = app.pool.begin().await?;
    if store::is_running(&mut *transaction, network_id).await? {
        return Err(running());
    }
    let claimed = match store::claim(&mut transaction, network_id, agent.agent_id, app.clock.now()).await {
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("scans_one_running") => {
            return Err(running());
        }
        other => other?,
    };
    let scan_id = claimed.ok_or_else(|| {
        Problem::not_found("No pending job found for this network or network not assigned to this site")
    })?;
    let line = scans::line(&mut *transaction, scan_id).await?;
    transaction.commit().await?;
    jobs::News { line, alerts: Vec::new() }.publish(&app.live);
    Ok(Json(ScannerJobClaimResponse { scan_id, network_id, message: "Job claimed successfully" }))
}

/// Lines for a scan's log.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ScannerLogsRequest {
    #[serde(deserialize_with = "lax_integer")]
    scan_id: i64,
    logs: Vec<ScannerLogEntry>,
}

/// A line of a scan's log.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ScannerLogEntry {
    #[serde(deserialize_with = "lax_time")]
    timestamp: DateTime<Utc>,
    /// `info`, `warning` or `error`, in any case.
    level: String,
    message: String,
}

/// How many lines were taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerLogsResponse {
    scan_id: i64,
    logs_recorded: usize,
    message: &'static str,
}

/// Add to a scan's log, whatever its status: the last lines come after the results.
#[utoipa::path(post, path = "/api/scanner/logs", tag = "scanner", operation_id = "scanner_logs",
    request_body = ScannerLogsRequest,
    responses((status = 200, body = ScannerLogsResponse), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn submit_logs(
    State(app): State<AppState>,
    agent: AgentCaller,
    Json(request): Json<ScannerLogsRequest>,
) -> Result<Json<ScannerLogsResponse>, Problem> {
    let rows = request.logs.iter().enumerate().map(log_row).collect::<Result<Vec<_>, _>>()?;
    store::status(&app.pool, request.scan_id, agent.agent_id, "scan")
        .await?
        .ok_or_else(|| Problem::not_found("Scan not found or not assigned to this site"))?;
    heard_of(&app, &agent, None).await?;
    scans::append_logs(&app.pool, request.scan_id, &rows).await?;
    Ok(Json(ScannerLogsResponse {
        scan_id: request.scan_id,
        logs_recorded: rows.len(),
        message: "Logs submitted successfully",
    }))
}

fn log_row((position, entry): (usize, &ScannerLogEntry)) -> Result<LogRow, Problem> {
    let known =
        ["info", "warning", "error"].into_iter().find(|level| entry.level.eq_ignore_ascii_case(level));
    let level = known.ok_or_else(|| {
        let message = "Level must be one of: info, warning, error";
        let mut field = FieldError::value(&["body", "logs"], message, entry.level.as_str());
        field.loc.extend([position.into(), "level".into()]);
        Problem::invalid(vec![field])
    })?;
    Ok(LogRow { at: entry.timestamp, level, message: clean(&entry.message, SafeText::MAX_BYTES) })
}

/// How far a scan is.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ScannerProgressRequest {
    #[serde(deserialize_with = "lax_integer")]
    scan_id: i64,
    #[serde(deserialize_with = "lax_float")]
    progress_percent: f64,
    #[serde(default)]
    progress_message: Option<String>,
}

/// How far a scan is, as noted.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerProgressResponse {
    scan_id: i64,
    progress_percent: f64,
    message: &'static str,
}

/// Tell how far a running scan is. A missing message clears the one before.
#[utoipa::path(post, path = "/api/scanner/progress", tag = "scanner", operation_id = "scanner_progress",
    request_body = ScannerProgressRequest,
    responses((status = 200, body = ScannerProgressResponse), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn submit_progress(
    State(app): State<AppState>,
    agent: AgentCaller,
    Json(request): Json<ScannerProgressRequest>,
) -> Result<Json<ScannerProgressResponse>, Problem> {
    let percent = request.progress_percent;
    if !(0.0..=100.0).contains(&percent) {
        let message = "progress_percent must be between 0 and 100";
        return Err(Problem::invalid_value(&["body", "progress_percent"], message, percent));
    }
    let message = request.progress_message.map(|text| clean(&text, SafeText::MAX_BYTES));
    heard_of(&app, &agent, None).await?;
    let noted =
        store::set_progress(&app.pool, request.scan_id, agent.agent_id, percent as f32, message.as_deref())
            .await?;
    if !noted {
        return Err(not_running());
    }
    let line = scans::line(&app.pool, request.scan_id).await?;
    jobs::News { line, alerts: Vec::new() }.publish(&app.live);
    Ok(Json(ScannerProgressResponse {
        scan_id: request.scan_id,
        progress_percent: percent,
        message: "Progress updated successfully",
    }))
}

/// A scan's status.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerScanStatusResponse {
    scan_id: i64,
    status: String,
    message: &'static str,
}

/// Tell a scan's status; the agent stops when it reads `cancelled`.
#[utoipa::path(get, path = "/api/scanner/scans/{scan_id}/status", tag = "scanner", operation_id = "scanner_scan_status",
    params(("scan_id" = i64, Path)),
    responses((status = 200, body = ScannerScanStatusResponse), (status = 404, body = ProblemBody)))]
async fn scan_status(
    State(app): State<AppState>,
    agent: AgentCaller,
    Path(scan_id): Path<i64>,
) -> Result<Json<ScannerScanStatusResponse>, Problem> {
    let status = store::status(&app.pool, scan_id, agent.agent_id, "scan")
        .await?
        .ok_or_else(|| Problem::not_found("Scan not found or not assigned to this site"))?;
    Ok(Json(ScannerScanStatusResponse { scan_id, status, message: "Status retrieved successfully" }))
}
