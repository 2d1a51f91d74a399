//! What a scan found, handed in whole.

use axum::extract::State;
use portreeve_model::{
    Endpoint, MacAddress, PortState, SafeText, Service, SshAlgorithm, SshAudit, Timestamp, Transport, Verdict,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{clean, lax::lax_integer, not_running, origin, own_scan};
use crate::{
    api::{ApiRouter, Json, Problem, ProblemBody, agent_protocol::heard_of},
    auth::{Access, AgentCaller},
    ingest::{self, HostRow, Origin, PortRow, Sightings},
    jobs,
    state::AppState,
    store::scan_lifecycle::ScanEnd,
};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Agent, routes!(submit_results))
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
            keys: Vec::new(),
            auth_methods: Some(methods.collect()),
        });
        service
    }
}

fn now_stamp(origin: &Origin) -> Timestamp {
    Timestamp(origin.now.timestamp_millis())
}
