//! `/api/scanner`: the contract of Open Port Monitor's agents, kept to the letter, so that they work here unchanged.
//!
//! Deliberate differences, none of which such an agent can notice: at most one job of a network is offered at a time,
//! a scan belongs to the agent that claimed it, only wrong keys count towards the limit of attempts, results about
//! addresses outside the network are left out, and finished discoveries stay as they ended.

use std::{collections::BTreeMap, net::IpAddr};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use chrono::{DateTime, TimeDelta, Utc};
use portreeve_model::{
    Endpoint, MacAddress, PortState, SafeText, Service, SshAlgorithm, SshAudit, Timestamp, Transport, Verdict,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    ApiRouter, FieldError, Json, OptionalJson, Path, Problem, ProblemBody, agent_protocol::heard_of,
};
use crate::{
    auth::{Access, AgentCaller, ClientAddress, Token, TokenKind, hash_token},
    ingest::{self, HostRow, Origin, PortRow, Sightings},
    jobs,
    live::{AgentEvent, Event},
    state::AppState,
    store::{
        agents,
        scan_lifecycle::{self as scans, LogRow, RunningScan, ScanEnd},
        scanner_contract as store, throttle,
    },
};

/// How long an access token lasts.
const TOKEN_LIFE: TimeDelta = TimeDelta::minutes(15);
/// Wrong keys from one place in a minute.
const WRONG_KEYS: i32 = 10;

/// The routes of this file.
pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Public, routes!(authenticate))
        .route(Access::Agent, routes!(list_jobs))
        .route(Access::Agent, routes!(claim))
        .route(Access::Agent, routes!(submit_logs))
        .route(Access::Agent, routes!(submit_progress))
        .route(Access::Agent, routes!(scan_status))
        .route(Access::Agent, routes!(submit_results))
        .route(Access::Agent, routes!(list_discoveries))
        .route(Access::Agent, routes!(claim_discovery))
        .route(Access::Agent, routes!(submit_discovery))
}

/// What an agent may say when it authenticates.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ScannerAuthRequest {
    /// Its version.
    #[serde(default)]
    scanner_version: Option<String>,
}

/// An access token.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerAuthResponse {
    /// To be sent as bearer.
    access_token: String,
    /// Always `bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    /// The agent's number.
    scanner_id: i64,
    /// Its name.
    scanner_name: String,
}

/// Exchange an API key for an access token.
#[utoipa::path(post, path = "/api/scanner/auth", tag = "scanner", operation_id = "scanner_auth",
    params(("x-api-key" = String, Header)), request_body = Option<ScannerAuthRequest>,
    responses((status = 200, body = ScannerAuthResponse), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
async fn authenticate(
    State(app): State<AppState>,
    address: Option<ClientAddress>,
    headers: HeaderMap,
    OptionalJson(request): OptionalJson<Option<ScannerAuthRequest>>,
) -> Result<Json<ScannerAuthResponse>, Problem> {
    let Some(key) = headers.get("x-api-key") else { return Err(missing_key()) };
    let now = app.clock.now();
    let found = agents::find_opm(&app.pool, &hash_token(key.to_str().unwrap_or_default())).await?;
    let Some((agent_id, name)) = found else { return Err(refuse_key(&app, address).await?) };

    let version = request.flatten().and_then(|request| request.scanner_version);
    let version = version.map(|text| clean(&text, 50));
    let token = Token::generate(TokenKind::AgentAccess);
    let mut transaction = app.pool.begin().await?;
    agents::insert_token(&mut transaction, agent_id, &token.hash(), now + TOKEN_LIFE, now).await?;
    let was_away = agents::touch(&mut *transaction, agent_id, version.as_deref(), now).await?;
    if was_away {
        crate::alerts::resolve_agent(&mut transaction, agent_id, now).await?;
    }
    transaction.commit().await?;
    app.live.publish(Event::Agent(AgentEvent { id: agent_id, name: name.clone(), online: true }));
    Ok(Json(ScannerAuthResponse {
        access_token: token.into_string(),
        token_type: "bearer",
        expires_in: TOKEN_LIFE.num_seconds(),
        scanner_id: agent_id,
        scanner_name: name,
    }))
}

fn missing_key() -> Problem {
    Problem::invalid(vec![FieldError {
        r#type: "missing".into(),
        loc: vec!["header".into(), "x-api-key".into()],
        msg: "Field required".to_owned(),
        input: Value::Null,
    }])
}

/// Counts wrong keys only: agents behind one address must not lock each other out by starting together.
async fn refuse_key(app: &AppState, address: Option<ClientAddress>) -> Result<Problem, Problem> {
    let now = app.clock.now();
    let minute = TimeDelta::minutes(1);
    let from = address.map_or_else(|| "unknown".to_owned(), |address| address.network().to_string());
    let subject = format!("agent-key:{from}");
    let blocked = throttle::blocked_until(&app.pool, std::slice::from_ref(&subject), now).await?;
    if let Some(until) = blocked {
        let seconds = u64::try_from((until - now).num_seconds()).unwrap_or_default().max(1);
        return Ok(Problem::too_many("Rate limit exceeded. Maximum 10 attempts per minute.", seconds));
    }
    if throttle::count_failure(&app.pool, &subject, now, minute).await? >= WRONG_KEYS {
        throttle::block(&app.pool, &subject, now + minute).await?;
    }
    Ok(Problem::new(StatusCode::UNAUTHORIZED, "Invalid API key"))
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

fn not_running() -> Problem {
    Problem::not_found("Scan not found, not assigned to this site, or not in running status")
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

/// What a scan found.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ScannerResultRequest {
    #[serde(deserialize_with = "lax_integer")]
    scan_id: i64,
    /// `success`; anything else means that the scan failed.
    status: String,
    #[serde(default)]
    open_ports: Vec<OpenPortData>,
    #[serde(default)]
    ssh_results: Vec<SshProbeResultData>,
    #[serde(default)]
    error_message: Option<String>,
}

/// An open port.
#[derive(Debug, Deserialize, ToSchema)]
pub struct OpenPortData {
    ip: String,
    #[serde(deserialize_with = "lax_integer")]
    port: i64,
    #[serde(default = "tcp")]
    protocol: String,
    #[serde(default)]
    ttl: Option<i64>,
    #[serde(default)]
    banner: Option<String>,
    #[serde(default)]
    service_guess: Option<String>,
    #[serde(default)]
    mac_address: Option<String>,
    #[serde(default)]
    mac_vendor: Option<String>,
}

fn tcp() -> String {
    "tcp".to_owned()
}

/// What an SSH server offers.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SshProbeResultData {
    host: String,
    #[serde(deserialize_with = "lax_integer")]
    port: i64,
    success: bool,
    #[serde(default)]
    publickey_enabled: bool,
    #[serde(default)]
    password_enabled: bool,
    #[serde(default)]
    keyboard_interactive_enabled: bool,
    #[serde(default)]
    ssh_version: Option<String>,
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default)]
    server_banner: Option<String>,
    #[serde(default)]
    ciphers: Vec<SshAlgorithm>,
    #[serde(default)]
    kex_algorithms: Vec<SshAlgorithm>,
    #[serde(default)]
    mac_algorithms: Vec<SshAlgorithm>,
    #[serde(default)]
    host_key_types: Vec<SafeText>,
}

/// What became of results.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerResultResponse {
    scan_id: i64,
    /// `completed`, `failed` or `cancelled`.
    status: String,
    ports_recorded: usize,
    message: &'static str,
}

/// Hand in what a scan found; ends it.
#[utoipa::path(post, path = "/api/scanner/results", tag = "scanner", operation_id = "scanner_results",
    request_body = ScannerResultRequest,
    responses((status = 200, body = ScannerResultResponse), (status = 404, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn submit_results(
    State(app): State<AppState>,
    agent: AgentCaller,
    Json(request): Json<ScannerResultRequest>,
) -> Result<Json<ScannerResultResponse>, Problem> {
    let now = app.clock.now();
    heard_of(&app, &agent, None).await?;
    let mut transaction = app.pool.begin().await?;
    let scan =
        own_scan(&mut transaction, request.scan_id, agent.agent_id, "scan").await?.ok_or_else(not_running)?;
    // A second submission finds the scan ended; so does one for a cancelled scan, which tells when it ended.
    if !matches!(scan.status.as_str(), "running" | "cancelled") || scan.completed_at.is_some() {
        return Err(not_running());
    }
    let origin = origin(&scan, now);
    let (sightings, ports_recorded) = request.sightings(&origin);
    ingest::apply(&mut transaction, &origin, &sightings).await?;
    let error = request.error_message.as_deref().map(|text| clean(text, SafeText::MAX_BYTES));
    let succeeded = request.status == "success";
    let end = ScanEnd {
        status: if succeeded { "completed" } else { "failed" },
        error: error.as_deref(),
        summary: None,
    };
    let news = jobs::end_scan(&mut transaction, &scan, &end, now).await?;
    transaction.commit().await?;
    let status = news.line.as_ref().map_or_else(|| end.status.to_owned(), |line| line.status.clone());
    news.publish(&app.live);
    Ok(Json(ScannerResultResponse {
        scan_id: request.scan_id,
        status,
        ports_recorded,
        message: "Results submitted successfully",
    }))
}

async fn own_scan(
    db: &mut PgConnection,
    scan_id: i64,
    agent_id: i64,
    kind: &str,
) -> sqlx::Result<Option<RunningScan>> {
    if store::status(&mut *db, scan_id, agent_id, kind).await?.is_none() {
        return Ok(None);
    }
    scans::lock(db, scan_id).await
}

fn origin(scan: &RunningScan, now: DateTime<Utc>) -> Origin {
    Origin {
        scan_id: scan.id,
        network_id: scan.network_id,
        block: scan.block,
        started_at: scan.started_at.unwrap_or(now),
        now,
    }
}

impl ScannerResultRequest {
    /// What is usable of it, and how many ports that are.
    fn sightings(&self, origin: &Origin) -> (Sightings, usize) {
        let mut sightings = Sightings::default();
        let mut recorded = 0;
        for data in &self.open_ports {
            let Some(endpoint) = endpoint(&data.ip, data.port, &data.protocol) else { continue };
            recorded += 1;
            sightings.add_port_row(data.port_row(endpoint, origin), origin);
            if let Some(host) = data.host_row(endpoint, origin) {
                sightings.add_host_row(host, origin);
            }
            if let Some(service) = data.service(endpoint, origin) {
                sightings.add_service(service, origin);
            }
        }
        for server in self.ssh_results.iter().filter(|server| server.success) {
            if let Some(endpoint) = endpoint(&server.host, server.port, "tcp") {
                sightings.add_service(server.service(endpoint, origin), origin);
            }
        }
        (sightings, recorded)
    }
}

fn endpoint(address: &str, port: i64, protocol: &str) -> Option<Endpoint> {
    Some(Endpoint {
        address: address.trim().parse().ok()?,
        port: u16::try_from(port).ok().filter(|port| *port > 0)?,
        transport: protocol.to_ascii_lowercase().parse::<Transport>().ok()?,
    })
}

impl OpenPortData {
    fn port_row(&self, endpoint: Endpoint, origin: &Origin) -> PortRow {
        PortRow {
            endpoint,
            state: PortState::Open,
            reason: None,
            ttl: self.ttl.and_then(|ttl| u8::try_from(ttl).ok()).map(i16::from),
            rtt_us: None,
            seen_at: origin.now,
        }
    }

    fn host_row(&self, endpoint: Endpoint, origin: &Origin) -> Option<HostRow> {
        let mac = self.mac_address.as_ref()?.parse::<MacAddress>().ok()?;
        let mac_vendor = self.mac_vendor.as_ref().map(|text| clean(text, 255));
        let address = endpoint.address;
        Some(HostRow {
            address,
            pingable: None,
            mac: Some(mac),
            mac_vendor,
            hostname: None,
            seen_at: origin.now,
        })
    }

    fn service(&self, endpoint: Endpoint, origin: &Origin) -> Option<Service> {
        let name = self.service_guess.as_deref().map(|text| SafeText::sanitize_to(text.as_bytes(), 100));
        let banner = self.banner.as_deref().map(SafeText::from);
        (name.is_some() || banner.is_some()).then(|| {
            let mut service = Service::unrecognised(endpoint, now_stamp(origin));
            if name.is_some() {
                service.verdict = Verdict::Identified;
            }
            Service { name, banner, ..service }
        })
    }
}

impl SshProbeResultData {
    fn service(&self, endpoint: Endpoint, origin: &Origin) -> Service {
        let text = |text: &Option<String>| text.as_deref().map(SafeText::from).unwrap_or_default();
        let methods = [
            ("publickey", self.publickey_enabled),
            ("password", self.password_enabled),
            ("keyboard-interactive", self.keyboard_interactive_enabled),
        ];
        let methods = methods.into_iter().filter(|(_, offered)| *offered).map(|(method, _)| method.into());
        let mut service = Service::unrecognised(endpoint, now_stamp(origin));
        service.verdict = Verdict::Identified;
        service.name = Some("ssh".into());
        service.banner = self.server_banner.as_deref().map(SafeText::from);
        service.ssh = Some(SshAudit {
            server_banner: text(&self.server_banner),
            protocol_version: text(&self.protocol_version),
            ssh_version: text(&self.ssh_version),
            ciphers: self.ciphers.clone(),
            kex_algorithms: self.kex_algorithms.clone(),
            mac_algorithms: self.mac_algorithms.clone(),
            host_key_types: self.host_key_types.clone(),
            hassh: None,
            host_keys: Vec::new(),
            auth_methods: Some(methods.collect()),
        });
        service
    }
}

fn now_stamp(origin: &Origin) -> Timestamp {
    Timestamp(origin.now.timestamp_millis())
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

/// Text from an agent, made harmless and cut.
fn clean(text: &str, max_bytes: usize) -> String {
    SafeText::sanitize_to(text.as_bytes(), max_bytes).into_string()
}

/// A whole number, also as text: OPM's server takes both.
fn lax_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
    match &value {
        Value::Number(number) => {
            number.as_i64().or_else(|| whole(number.as_f64()?)).ok_or_else(|| wrong_type(&value, "i64"))
        }
        Value::String(text) => text.trim().parse().map_err(D::Error::custom),
        _ => Err(wrong_type(&value, "i64")),
    }
}

/// A number, also as text.
fn lax_float<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| wrong_type(&value, "f64"))
}

/// A time with an offset or without (then UTC), or seconds since 1970.
fn lax_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let time = match &value {
        Value::Number(number) => number.as_f64().and_then(epoch),
        Value::String(text) => DateTime::parse_from_rfc3339(text)
            .map(|time| time.to_utc())
            .ok()
            .or_else(|| text.parse::<chrono::NaiveDateTime>().ok().map(|time| time.and_utc()))
            .or_else(|| text.trim().parse().ok().and_then(epoch)),
        _ => None,
    };
    let in_range = time.filter(|time| (0..=253_402_300_799).contains(&time.timestamp()));
    in_range.ok_or_else(|| D::Error::custom("Input should be a valid datetime"))
}

fn epoch(seconds: f64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis((seconds * 1000.0) as i64)
}

fn wrong_type<E: serde::de::Error>(value: &Value, expected: &str) -> E {
    let kind = match value {
        Value::Array(_) => "sequence",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
        Value::Number(_) => "number",
        Value::Object(_) => "map",
        Value::String(_) => "string",
    };
    E::custom(format!("invalid type: {kind}, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use std::path::{Path as FilePath, PathBuf};

    use axum::http::Method;
    use portreeve_model::protocol::JobKind;
    use serde_json::json;

    use super::*;
    use crate::{
        auth::Role,
        jobs::ScanRequest,
        store::agents::NewAgent,
        test_support::{
            Client, TestApp,
            scans::{manual, network, network_of, plan, texts, value},
        },
    };

    const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    async fn opm_agent(app: &TestApp, name: &str, key: &str) -> i64 {
        let new = NewAgent {
            name,
            description: None,
            kind: "opm",
            credential_hash: &hash_token(key),
            credential_prefix: "00112233",
            created_by: None,
        };
        agents::insert(app.pool(), &new, app.now()).await.expect("a new agent")
    }

    async fn authenticated(app: &TestApp, key: &str) -> Client {
        let reply =
            app.anonymous().header("x-api-key", key).call(Method::POST, "/api/scanner/auth", None).await;
        let token = reply.assert_status(200).json()["access_token"].as_str().expect("a token").to_owned();
        app.anonymous().bearer(&token)
    }

    /// An agent with a network and a scan of it that it has claimed.
    async fn claimed(app: &TestApp) -> (Client, i64, i64) {
        let agent_id = opm_agent(app, "HQ", KEY).await;
        let network_id = network_of(app, "n", agent_id, "192.0.2.0/24", "1-1000").await;
        let scan_id = plan(app, &manual(network_id)).await;
        let agent = authenticated(app, KEY).await;
        let reply = agent.call(Method::POST, &format!("/api/scanner/jobs/{network_id}/claim"), None).await;
        assert_eq!(
            reply.assert_status(200).json(),
            json!({ "scan_id": scan_id, "network_id": network_id, "message": "Job claimed successfully" })
        );
        (agent, network_id, scan_id)
    }

    #[tokio::test]
    async fn a_key_becomes_a_token_for_fifteen_minutes() {
        let app = TestApp::new().await;
        let agent_id = opm_agent(&app, "HQ", KEY).await;
        let agent = app.anonymous().header("x-api-key", KEY);
        let reply = agent.post("/api/scanner/auth", json!({ "scanner_version": "1.1.19" })).await;
        let body = reply.assert_status(200).json();
        assert_eq!(body["expires_in"], 900);
        assert_eq!(
            (&body["scanner_id"], &body["scanner_name"], &body["token_type"]),
            (&json!(agent_id), &json!("HQ"), &json!("bearer"))
        );
        assert_eq!(
            value::<String>(&app, "select version from agents where id = $1", agent_id).await,
            "1.1.19"
        );
        agent.post("/api/scanner/auth", Value::Null).await.assert_status(200);

        let token = app.anonymous().bearer(body["access_token"].as_str().expect("a token"));
        token.get("/api/scanner/jobs").await.assert_status(200);
        token.get("/api/users").await.assert_status(401);
        app.clock().advance(TimeDelta::minutes(15));
        let late = token.get("/api/scanner/jobs").await;
        late.assert_problem(401, "Could not validate scanner credentials");
        assert_eq!(late.header("www-authenticate"), Some("Bearer"));
    }

    #[tokio::test]
    async fn wrong_keys_are_refused_and_then_slowed_down() {
        let app = TestApp::new().await;
        opm_agent(&app, "HQ", KEY).await;
        let missing = app.anonymous().post("/api/scanner/auth", json!({})).await;
        assert_eq!(
            missing.assert_status(422).json()["detail"],
            json!([{ "type": "missing", "loc": ["header", "x-api-key"], "msg": "Field required", "input": null }])
        );
        let wrong = app.anonymous().header("x-api-key", "wrong");
        for _ in 0..10 {
            wrong.post("/api/scanner/auth", json!({})).await.assert_problem(401, "Invalid API key");
        }
        let slowed = wrong.post("/api/scanner/auth", json!({})).await;
        slowed.assert_problem(429, "Rate limit exceeded. Maximum 10 attempts per minute.");
        authenticated(&app, KEY).await;
        app.clock().advance(TimeDelta::seconds(61));
        wrong.post("/api/scanner/auth", json!({})).await.assert_status(401);
        // A user's token is none of an agent's.
        app.login(Role::Admin).await.get("/api/scanner/jobs").await.assert_status(401);
    }

    #[tokio::test]
    async fn one_job_of_a_network_is_offered_at_a_time() {
        let app = TestApp::new().await;
        let agent_id = opm_agent(&app, "HQ", KEY).await;
        let (one, two) = (network(&app, "one", agent_id).await, network(&app, "two", agent_id).await);
        let rescan = ScanRequest { target: Some("10.99.0.5".parse().expect("an address")), ..manual(one) };
        plan(&app, &rescan).await;
        plan(&app, &manual(one)).await;
        plan(&app, &manual(two)).await;
        let agent = authenticated(&app, KEY).await;
        let jobs = agent.get("/api/scanner/jobs").await.assert_status(200).json();
        let listed: Vec<_> = jobs["jobs"]
            .as_array()
            .expect("jobs")
            .iter()
            .map(|job| (&job["network_id"], &job["target_ip"]))
            .collect();
        assert_eq!(listed, [(&json!(one), &json!("10.99.0.5")), (&json!(two), &Value::Null)]);
        let path = format!("/api/scanner/jobs/{one}/claim");
        agent.call(Method::POST, &path, None).await.assert_status(200);
        agent.call(Method::POST, &path, None).await.assert_problem(409, "Job already claimed or running");
        let jobs = agent.get("/api/scanner/jobs").await.json();
        assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "the full scan waits for the rescan");
    }

    #[tokio::test]
    async fn foreign_and_unknown_things_are_not_found() {
        let app = TestApp::new().await;
        let other = opm_agent(&app, "Branch", &KEY.replace('0', "9")).await;
        opm_agent(&app, "HQ", KEY).await;
        let foreign = network(&app, "foreign", other).await;
        let scan_id = plan(&app, &manual(foreign)).await;
        let agent = authenticated(&app, KEY).await;
        let none = "No pending job found for this network or network not assigned to this site";
        for network in [foreign, 777] {
            agent
                .call(Method::POST, &format!("/api/scanner/jobs/{network}/claim"), None)
                .await
                .assert_problem(404, none);
        }
        let logs = agent.post("/api/scanner/logs", json!({ "scan_id": scan_id, "logs": [] })).await;
        logs.assert_problem(404, "Scan not found or not assigned to this site");
        let running = "Scan not found, not assigned to this site, or not in running status";
        agent
            .post("/api/scanner/progress", json!({ "scan_id": scan_id, "progress_percent": 1 }))
            .await
            .assert_problem(404, running);
        agent
            .post("/api/scanner/results", json!({ "scan_id": scan_id, "status": "success" }))
            .await
            .assert_problem(404, running);
        agent.get(&format!("/api/scanner/scans/{scan_id}/status")).await.assert_status(404);
        let gone = "Host discovery scan not found or not assigned to this scanner";
        agent
            .post("/api/scanner/host-discovery-results", json!({ "scan_id": 777, "status": "success" }))
            .await
            .assert_problem(404, gone);
    }

    #[tokio::test]
    async fn a_scan_that_was_given_to_another_agent_is_the_claimants() {
        let app = TestApp::new().await;
        let first = opm_agent(&app, "HQ", KEY).await;
        let other_key = KEY.replace('0', "9");
        let second = opm_agent(&app, "Branch", &other_key).await;
        let network_id = network(&app, "n", first).await;
        let scan_id = plan(&app, &manual(network_id)).await;
        sqlx::query("update networks set agent_id = $1")
            .bind(second)
            .execute(app.pool())
            .await
            .expect("reassigned");
        let agent = authenticated(&app, &other_key).await;
        agent
            .call(Method::POST, &format!("/api/scanner/jobs/{network_id}/claim"), None)
            .await
            .assert_status(200);
        agent
            .post("/api/scanner/progress", json!({ "scan_id": scan_id, "progress_percent": 5 }))
            .await
            .assert_status(200);
    }

    #[tokio::test]
    async fn progress_and_logs_take_what_the_original_takes() {
        let app = TestApp::new().await;
        let (agent, _, scan_id) = claimed(&app).await;
        let progress = |percent: Value| json!({ "scan_id": scan_id, "progress_percent": percent, "progress_message": "x" });
        let reply =
            agent.post("/api/scanner/progress", progress(json!("55"))).await.assert_status(200).json();
        assert_eq!(
            reply,
            json!({ "scan_id": scan_id, "progress_percent": 55.0, "message": "Progress updated successfully" })
        );
        for wrong in [json!(100.5), json!(-1)] {
            let reply = agent.post("/api/scanner/progress", progress(wrong)).await;
            let detail = &reply.assert_status(422).json()["detail"][0];
            assert_eq!(detail["msg"], "Value error, progress_percent must be between 0 and 100");
            assert_eq!(detail["loc"], json!(["body", "progress_percent"]));
        }
        agent.post("/api/scanner/progress", progress(json!({}))).await.assert_status(422);

        let line = |level: &str, timestamp: Value| json!({ "timestamp": timestamp, "level": level, "message": "hi\u{0}\u{1b}[1m" });
        let logs = json!({ "scan_id": scan_id, "logs": [
            line("INFO", json!("2026-01-01T01:00:00+01:00")), line("warning", json!("2026-01-01T00:00:01")), line("Error", json!(1_767_225_602)),
        ] });
        let reply = agent.post("/api/scanner/logs", logs).await.assert_status(200).json();
        assert_eq!(
            reply,
            json!({ "scan_id": scan_id, "logs_recorded": 3, "message": "Logs submitted successfully" })
        );
        let kept = texts(&app, "select extract(epoch from at)::bigint - 1767225600 || ' ' || level || ' ' || message from scan_logs where scan_id = $1 order by id", scan_id).await;
        assert_eq!(
            kept,
            [
                "0 info hi\u{fffd}\u{fffd}[1m",
                "1 warning hi\u{fffd}\u{fffd}[1m",
                "2 error hi\u{fffd}\u{fffd}[1m"
            ]
        );
        let bad = agent
            .post("/api/scanner/logs", json!({ "scan_id": scan_id, "logs": [line("debug", json!(1))] }))
            .await;
        let detail = bad.assert_status(422).json()["detail"][0].clone();
        assert_eq!(detail["loc"], json!(["body", "logs", 0, "level"]));
        assert_eq!(detail["msg"], "Value error, Level must be one of: info, warning, error");
    }

    fn results(scan_id: i64) -> Value {
        json!({ "scan_id": scan_id, "status": "success", "open_ports": [
            { "ip": "192.0.2.5", "port": 22, "protocol": "tcp", "ttl": 60, "banner": "SSH-2.0-x", "service_guess": "ssh",
              "mac_address": "00:11:22:33:44:55", "mac_vendor": "Cimsys" },
            { "ip": "192.0.2.5", "port": 53, "protocol": "tcp" },
            { "ip": "192.0.2.5", "port": 53, "protocol": "udp" },
            { "ip": "192.0.2.5", "port": 53, "protocol": "udp", "banner": "again" },
            { "ip": "192.0.2.5", "port": 70000 },
            { "ip": "banana", "port": 1 },
        ], "ssh_results": [
            { "host": "192.0.2.5", "port": 22, "success": true, "password_enabled": true, "ssh_version": "OpenSSH_7.4",
              "ciphers": [{ "name": "3des-cbc", "keysize": null, "is_weak": true, "notes": ["[FAIL] broken"] }] },
            { "host": "192.0.2.5", "port": 2222, "success": false, "error_message": "timed out" },
        ], "error_message": null, "extra": 1 })
    }

    #[tokio::test]
    async fn results_end_the_scan_once_and_logs_still_come() {
        let app = TestApp::new().await;
        let (agent, _, scan_id) = claimed(&app).await;
        let reply = agent.post("/api/scanner/results", results(scan_id)).await.assert_status(200).json();
        assert_eq!(
            reply,
            json!({ "scan_id": scan_id, "status": "completed", "ports_recorded": 4, "message": "Results submitted successfully" })
        );
        let rows = texts(&app, "select host(address) || ':' || port || '/' || transport || ' ' || coalesce(service, '-') || ' ' || coalesce(banner, '-') || ' ' || mac_address from scan_ports where scan_id = $1 order by port, transport", scan_id).await;
        assert_eq!(
            rows,
            [
                "192.0.2.5:22/tcp ssh SSH-2.0-x 00:11:22:33:44:55",
                "192.0.2.5:53/tcp - - 00:11:22:33:44:55",
                "192.0.2.5:53/udp - again 00:11:22:33:44:55"
            ]
        );
        let ssh = texts(&app, "select ssh_version || ' ' || password_enabled || ' ' || has_weak_ciphers from ssh_audits where scan_id = $1", scan_id).await;
        assert_eq!(ssh, ["OpenSSH_7.4 true true"]);
        let running = "Scan not found, not assigned to this site, or not in running status";
        agent.post("/api/scanner/results", results(scan_id)).await.assert_problem(404, running);
        agent
            .post("/api/scanner/progress", json!({ "scan_id": scan_id, "progress_percent": 100 }))
            .await
            .assert_problem(404, running);
        let late = json!({ "scan_id": scan_id, "logs": [{ "timestamp": "2026-01-01T00:00:00Z", "level": "info", "message": "bye" }] });
        agent.post("/api/scanner/logs", late).await.assert_status(200);
        let missing = agent.post("/api/scanner/results", json!({ "scan_id": scan_id })).await;
        assert_eq!(missing.assert_status(422).json()["detail"][0]["loc"], json!(["body", "status"]));
    }

    #[tokio::test]
    async fn anything_but_success_is_a_failure() {
        let app = TestApp::new().await;
        let (agent, _, scan_id) = claimed(&app).await;
        let failed = json!({ "scan_id": scan_id, "status": "banana", "open_ports": [], "error_message": "masscan exited with 1" });
        let reply = agent.post("/api/scanner/results", failed).await.assert_status(200).json();
        assert_eq!(reply["status"], "failed");
        let ended: String =
            value(&app, "select status || ': ' || error_message from scans where id = $1", scan_id).await;
        assert_eq!(ended, "failed: masscan exited with 1");
    }

    #[tokio::test]
    async fn a_cancelled_scan_takes_its_results_and_stays_cancelled() {
        let app = TestApp::new().await;
        let (agent, _, scan_id) = claimed(&app).await;
        let mut connection = app.pool().acquire().await.expect("a connection");
        jobs::cancel(&mut connection, scan_id, None, app.now()).await.expect("running");
        let status =
            agent.get(&format!("/api/scanner/scans/{scan_id}/status")).await.assert_status(200).json();
        assert_eq!(status["status"], "cancelled");
        let reply = agent.post("/api/scanner/results", results(scan_id)).await.assert_status(200).json();
        assert_eq!((&reply["status"], &reply["ports_recorded"]), (&json!("cancelled"), &json!(4)));
        assert_eq!(value::<i64>(&app, "select count(*) from alerts where scan_id = $1", scan_id).await, 0);
        assert_eq!(
            value::<i64>(&app, "select count(*) from scan_ports where scan_id = $1", scan_id).await,
            3
        );
    }

    #[tokio::test]
    async fn discoveries_find_hosts_and_stay_as_they_ended() {
        let app = TestApp::new().await;
        let agent_id = opm_agent(&app, "HQ", KEY).await;
        let network_id = network_of(&app, "n", agent_id, "192.0.2.0/24", "22").await;
        let scan_id = plan(&app, &ScanRequest { kind: JobKind::Discovery, ..manual(network_id) }).await;
        let agent = authenticated(&app, KEY).await;
        assert_eq!(
            agent.get("/api/scanner/host-discovery-jobs").await.assert_status(200).json(),
            json!({ "jobs": [{ "scan_id": scan_id, "network_id": network_id, "cidr": "192.0.2.0/24", "is_ipv6": false }] })
        );
        let claim = format!("/api/scanner/host-discovery-jobs/{scan_id}/claim");
        let reply = agent.call(Method::POST, &claim, None).await.assert_status(200).json();
        assert_eq!((&reply["known_hostnames"], &reply["ips_with_open_ports"]), (&json!({}), &json!([])));
        let refused = "Host discovery job not found or not assigned to this scanner";
        agent.call(Method::POST, &claim, None).await.assert_problem(404, refused);
        let found = json!({ "scan_id": scan_id, "status": "success", "error_message": null, "hosts": [
            { "ip": "192.0.2.5", "hostname": "gw.example", "is_pingable": true, "mac_address": "00:11:22:33:44:55", "mac_vendor": "Cimsys" },
            { "ip": "192.0.2.6" },
        ] });
        let reply = agent.post("/api/scanner/host-discovery-results", found).await.assert_status(200).json();
        assert_eq!((&reply["status"], &reply["hosts_recorded"]), (&json!("success"), &json!(2)));
        let hosts = texts(&app, "select host(address) || ' ' || coalesce(hostname, '-') || ' ' || is_pingable from hosts where id > $1 order by address", 0).await;
        assert_eq!(hosts, ["192.0.2.5 gw.example true", "192.0.2.6 - true"]);
        let again = json!({ "scan_id": scan_id, "status": "failed", "hosts": [], "error_message": "x" });
        agent.post("/api/scanner/host-discovery-results", again).await.assert_status(200);
        let ended: String =
            value(&app, "select status || ' ' || hosts_discovered from scans where id = $1", scan_id).await;
        assert_eq!(ended, "completed 2");
    }

    /// Where samples of the original's traffic are, if this machine has them.
    fn samples() -> Option<PathBuf> {
        let workspace = FilePath::new(env!("CARGO_MANIFEST_DIR")).parent()?;
        let shared =
            std::env::var_os("PORTREEVE_SHARED").map_or_else(|| workspace.join("../shared"), PathBuf::from);
        Some(shared.join("opm-samples/agent")).filter(|folder| folder.is_dir())
    }

    /// Plays what the original's unmodified agent said to its server, in order and by the original's clock, and compares our
    /// answers with the original's: the status, and the names and types of all fields.
    #[tokio::test]
    async fn the_originals_traffic_gets_the_originals_answers() {
        let Some(folder) = samples() else {
            println!(
                "skipped: no samples of the original's traffic here (PORTREEVE_SHARED names their folder)"
            );
            return;
        };
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("a folder")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        files.sort();
        let app = TestApp::new().await;
        let agent_id = opm_agent(&app, "HQ", KEY).await;
        for (name, cidr, ports) in [
            ("1", "10.99.0.8/29", "1-100,2222,8080,!25"),
            ("2", "10.99.0.10/31", "22,80,2222,8080"),
            ("3", "fd99::10/127", "22,80"),
            ("4", "10.99.0.12/32", "53,23"),
            ("5", "192.0.2.0/24", "22"),
            ("6", "10.99.0.10/32", "80,443"),
        ] {
            network_of(&app, name, agent_id, cidr, ports).await;
        }
        let mut replay = Replay {
            app: &app,
            client: app.anonymous(),
            scans: BTreeMap::new(),
            discoveries: BTreeMap::new(),
        };
        let mut played = 0;
        for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "json")) {
            let sample: Value =
                serde_json::from_slice(&std::fs::read(file).expect("a sample")).expect("JSON");
            replay.play(&sample, &file.display().to_string()).await;
            played += 1;
        }
        assert!(played > 0, "the folder of samples is empty");
        println!("{played} of {played} calls answered as the original does");
    }

    struct Replay<'a> {
        app: &'a TestApp,
        client: Client,
        /// The original's scan numbers and ours; it numbers scans and discoveries apart.
        scans: BTreeMap<i64, i64>,
        discoveries: BTreeMap<i64, i64>,
    }

    impl Replay<'_> {
        async fn play(&mut self, sample: &Value, name: &str) {
            let (request, response) = (&sample["request"], &sample["response"]);
            let at = DateTime::from_timestamp_millis((sample["t"].as_f64().expect("a time") * 1000.0) as i64);
            self.app.clock().set(at.expect("in range"));
            let method: Method = request["method"].as_str().expect("a method").parse().expect("known");
            let path = request["path"].as_str().expect("a path").to_owned();
            self.prepare(&path, &request["body"], response).await;

            let mut body = request["body"].clone();
            let ids = if path.contains("host-discovery") { &self.discoveries } else { &self.scans };
            if let Some(ours) = body["scan_id"].as_i64().and_then(|theirs| ids.get(&theirs)) {
                body["scan_id"] = json!(ours);
            }
            let client = if path.ends_with("/auth") {
                self.app.anonymous().header("x-api-key", KEY)
            } else {
                self.client.clone()
            };
            let reply =
                client.call(method, &self.our_path(&path), Some(body).filter(|body| !body.is_null())).await;
            assert_eq!(
                reply.status.as_u16(),
                response["status"].as_u64().expect("a status") as u16,
                "{name}: {}",
                reply.text()
            );
            let ours = reply.json();
            compare(&response["body"], &ours, name);
            if path.ends_with("/auth") {
                self.client = self.app.anonymous().bearer(ours["access_token"].as_str().expect("a token"));
            }
            if path.ends_with("/claim") && reply.status == StatusCode::OK {
                let ids =
                    if path.contains("host-discovery") { &mut self.discoveries } else { &mut self.scans };
                ids.insert(
                    response["body"]["scan_id"].as_i64().expect("a scan"),
                    ours["scan_id"].as_i64().expect("a scan"),
                );
            }
        }

        /// Does what the original's users did meanwhile: plans scans before they are listed or claimed, cancels one.
        async fn prepare(&mut self, path: &str, body: &Value, response: &Value) {
            for job in response["body"]["jobs"].as_array().into_iter().flatten() {
                let network_id = job["network_id"].as_i64().expect("a network");
                match job["scan_id"].as_i64() {
                    Some(theirs) => self.plan_discovery(theirs, network_id).await,
                    None => self.plan_scan(network_id).await,
                }
            }
            let claimed = || path.split('/').nth(4).and_then(|id| id.parse::<i64>().ok());
            if path.starts_with("/api/scanner/jobs/") {
                self.plan_scan(claimed().expect("a network")).await;
            } else if path.ends_with("/claim") {
                self.plan_discovery(
                    claimed().expect("a scan"),
                    response["body"]["network_id"].as_i64().expect("a network"),
                )
                .await;
            }
            let refused = path.ends_with("/progress") && response["status"] == 404;
            if refused || response["body"]["status"] == "cancelled" {
                let theirs = body["scan_id"]
                    .as_i64()
                    .or_else(|| response["body"]["scan_id"].as_i64())
                    .expect("a scan");
                let mut connection = self.app.pool().acquire().await.expect("a connection");
                // After the results it has ended already.
                let _ended = jobs::cancel(&mut connection, self.scans[&theirs], None, self.app.now()).await;
            }
        }

        async fn plan_scan(&self, network_id: i64) {
            let waiting: i64 = value(
                self.app,
                "select count(*) from scans where network_id = $1 and kind = 'scan' and status = 'planned'",
                network_id,
            )
            .await;
            if waiting == 0 {
                plan(self.app, &manual(network_id)).await;
            }
        }

        async fn plan_discovery(&mut self, theirs: i64, network_id: i64) {
            if !self.discoveries.contains_key(&theirs) {
                let ours =
                    plan(self.app, &ScanRequest { kind: JobKind::Discovery, ..manual(network_id) }).await;
                self.discoveries.insert(theirs, ours);
            }
        }

        fn our_path(&self, path: &str) -> String {
            let parts: Vec<_> = path.split('/').collect();
            let ids = match parts.as_slice() {
                [_, "api", "scanner", "scans", ..] => &self.scans,
                [_, "api", "scanner", "host-discovery-jobs", ..] => &self.discoveries,
                _ => return path.to_owned(),
            };
            let ours = |part: &&str| {
                part.parse()
                    .ok()
                    .and_then(|theirs: i64| ids.get(&theirs))
                    .map_or_else(|| (*part).to_owned(), i64::to_string)
            };
            parts.iter().map(ours).collect::<Vec<_>>().join("/")
        }
    }

    /// The same names and types. Problems may say more than the original's do.
    fn compare(theirs: &Value, ours: &Value, place: &str) {
        match (theirs, ours) {
            (Value::Object(theirs), Value::Object(ours)) => {
                let is_problem = theirs.keys().eq(["detail"]);
                for (key, value) in theirs {
                    let own =
                        ours.get(key).unwrap_or_else(|| panic!("{place}: {key} is missing in {ours:?}"));
                    // What is keyed by addresses or may be null is compared where both have something.
                    if !value.is_null() && !own.is_null() {
                        compare(value, own, &format!("{place}.{key}"));
                    }
                }
                let free = place.ends_with("known_hostnames") || is_problem;
                assert!(
                    free || ours.keys().all(|key| theirs.contains_key(key)),
                    "{place}: more than {theirs:?} in {ours:?}"
                );
            }
            (Value::Array(theirs), Value::Array(ours)) => {
                if let (Some(first), Some(own)) = (theirs.first(), ours.first()) {
                    compare(first, own, &format!("{place}[]"));
                }
            }
            _ => {
                let same = std::mem::discriminant(theirs) == std::mem::discriminant(ours);
                assert!(same, "{place}: {ours} instead of {theirs}");
            }
        }
        if place.ends_with("detail") || place.ends_with("message") || place.ends_with("status") {
            assert_eq!(theirs, ours, "{place}");
        }
    }
}
