//! `/api/agent/v1`: what our own agents say to the server. The protocol, call by call: [`portreeve_model::protocol`].

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use portreeve_model::{
    Timestamp,
    protocol::{
        BatchResponse, EnrollRequest, EnrollResponse, FinishRequest, Hello, HelloResponse, LEASE_HEADER,
        LeaseRequest, LeasedJob, Limits, LogsRequest, RenewRequest, RenewResponse,
    },
};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use tokio::time::{Instant, timeout_at};
use utoipa_axum::routes;
use uuid::Uuid;

use super::{ApiRouter, Json, Path, Problem, ProblemBody, Query};
use crate::{
    audit::{Actor, Entry},
    auth::{Access, AgentCaller, Attempt, ClientAddress, Throttle, Token, TokenKind, hash_token},
    ingest::decode::{DecodeError, Packing, decode},
    jobs::{
        lease::{self, Batch, LeaseError},
        reaper,
    },
    live::{AgentEvent, Event, PortEvent},
    state::AppState,
    store::{agents as store, agents::NewAgent, enrollment},
};

/// An agent says hello this often; one that is silent for five minutes counts as away.
const HELLO_SECONDS: u32 = 60;

/// While an agent waits for work, the queue is looked at this often: another server may have filled it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Open pages are told at most so many ports of one batch, one by one; they read the rest.
const PORT_EVENTS: usize = 200;

/// The routes of this file.
pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Public, routes!(enroll))
        .route(Access::Agent, routes!(hello))
        .route(Access::Agent, routes!(lease_job))
        .route(Access::Agent, routes!(renew))
        .route(Access::Agent, routes!(put_batch))
        .route(Access::Agent, routes!(add_logs))
        .route(Access::Agent, routes!(finish))
}

/// Turn an enrolment token into an agent with a credential of its own.
#[utoipa::path(post, path = "/api/agent/v1/enroll", tag = "agent", operation_id = "agent_enroll",
    request_body = EnrollRequest,
    responses((status = 200, body = EnrollResponse), (status = 401, body = ProblemBody), (status = 429, body = ProblemBody)))]
async fn enroll(
    State(app): State<AppState>,
    address: Option<ClientAddress>,
    Json(request): Json<EnrollRequest>,
) -> Result<Json<EnrollResponse>, Problem> {
    let now = app.clock.now();
    let attempt = Attempt::new("enrollment", address);
    let mut transaction = app.pool.begin().await?;
    let Some((token_id, creates_local)) =
        enrollment::use_up(&mut *transaction, &hash_token(&request.token), now).await?
    else {
        drop(transaction);
        return Err(refuse_enrollment(&app, &attempt).await?);
    };
    let name = free_name(&mut transaction, &request.name).await?;
    let credential = Token::generate(TokenKind::Agent);
    let new = NewAgent {
        name: &name,
        description: None,
        kind: "portreeve",
        credential_hash: &credential.hash(),
        credential_prefix: &credential.display_prefix(),
        created_by: None,
    };
    let agent_id = store::insert(&mut *transaction, &new, now).await?;
    enrollment::note_enrolled(&mut *transaction, token_id, agent_id).await?;
    store::touch(&mut *transaction, agent_id, Some(&short(&request.version, 50)), now).await?;
    let network_id =
        if creates_local { store::insert_local_network(&mut *transaction, agent_id).await? } else { None };
    Entry::new("agent.enroll")
        .target("agent", agent_id)
        .detail(json!({ "name": name, "token_id": token_id, "network_id": network_id }))
        .record(&mut transaction, Actor::anonymous(&name, address), now)
        .await?;
    transaction.commit().await?;
    app.live.publish(Event::Agent(AgentEvent { id: agent_id, name: name.clone(), online: true }));
    Ok(Json(EnrollResponse { agent_id, name, credential: credential.into_string() }))
}

/// Guessing tokens is hopeless; guessing them fast is refused all the same.
async fn refuse_enrollment(app: &AppState, attempt: &Attempt) -> Result<Problem, Problem> {
    let now = app.clock.now();
    if let Some(wait) = attempt.wait(&app.pool, now).await? {
        let seconds = u64::try_from(wait.num_seconds()).unwrap_or_default().max(1);
        return Ok(Problem::too_many(format!("Too many wrong tokens; try again in {seconds} s"), seconds));
    }
    // Nobody's account is at stake, so only the network the calls come from is slowed down.
    let limits = Throttle { account_failures: i32::MAX, ..Throttle::default() };
    attempt.failed(&app.pool, limits, now).await?;
    Ok(Problem::unauthorized(
        "This enrolment token is unknown, used up or expired; make a new one under Agents, or with `portreeve-server enrollment-token`",
    ))
}

/// The name asked for, or the first free one with a number behind it.
async fn free_name(db: &mut PgConnection, wanted: &str) -> Result<String, Problem> {
    let wanted = portreeve_model::SafeText::from(short(wanted.trim(), 200).as_str()).into_string();
    let wanted = if wanted.is_empty() { "agent".to_owned() } else { wanted };
    let numbered = (2..1_000).map(|number| format!("{wanted}-{number}"));
    let names: Vec<_> = std::iter::once(wanted.clone()).chain(numbered).collect();
    let taken = store::taken_names(db, &names).await?;
    let free = names.into_iter().find(|name| !taken.contains(&name.to_lowercase()));
    free.ok_or_else(|| {
        Problem::conflict(format!("There are too many agents named {wanted:?}; choose another name"))
    })
}

fn short(text: &str, max_characters: usize) -> String {
    text.chars().filter(|character| *character != '\0').take(max_characters).collect()
}

/// Say what the agent is and can do; on start, and again every `hello_seconds`.
#[utoipa::path(post, path = "/api/agent/v1/hello", tag = "agent", operation_id = "agent_hello",
    request_body = Hello, responses((status = 200, body = HelloResponse)))]
async fn hello(
    State(app): State<AppState>,
    agent: AgentCaller,
    Json(mut request): Json<Hello>,
) -> Result<Json<HelloResponse>, Problem> {
    const INTERFACES: usize = 256;
    const BACKENDS: usize = 16;
    let now = app.clock.now();
    request.version = short(&request.version, 50);
    request.interfaces.truncate(INTERFACES);
    request.backends.truncate(BACKENDS);
    request.backends.iter_mut().for_each(|backend| *backend = short(backend, 50));
    store::note_hello(&app.pool, agent.agent_id, &request).await?;
    heard_of(&app, &agent, Some(&request.version)).await?;
    Ok(Json(HelloResponse {
        server_time_ms: Timestamp(now.timestamp_millis()),
        hello_seconds: HELLO_SECONDS,
    }))
}

/// Notes that an agent called. One that had been reported as away is back.
pub(super) async fn heard_of(
    app: &AppState,
    agent: &AgentCaller,
    version: Option<&str>,
) -> Result<(), Problem> {
    let now = app.clock.now();
    let mut transaction = app.pool.begin().await?;
    let was_away = store::touch(&mut *transaction, agent.agent_id, version, now).await?;
    if was_away {
        crate::alerts::resolve_agent(&mut transaction, agent.agent_id, now).await?;
    }
    transaction.commit().await?;
    if was_away {
        let name = agent.name.clone();
        app.live.publish(Event::Agent(AgentEvent { id: agent.agent_id, name, online: true }));
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct LeaseQuery {
    /// Wait so long for work, at most 30 seconds.
    #[serde(default)]
    wait_seconds: u32,
}

/// Lease a job, waiting for one if there is none.
#[utoipa::path(post, path = "/api/agent/v1/lease", tag = "agent", operation_id = "agent_lease",
    params(("wait_seconds" = Option<u32>, Query, description = "Wait so long for work, at most 30")), request_body = LeaseRequest,
    responses((status = 200, body = LeasedJob), (status = 204, description = "No work")))]
async fn lease_job(
    State(app): State<AppState>,
    agent: AgentCaller,
    Query(query): Query<LeaseQuery>,
    Json(request): Json<LeaseRequest>,
) -> Result<Response, Problem> {
    heard_of(&app, &agent, None).await?;
    let wait = Duration::from_secs(query.wait_seconds.min(Limits::LEASE_WAIT_SECONDS).into());
    if request.free_slots == 0 {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (deadline, mut events) = (Instant::now() + wait, app.live.subscribe());
    loop {
        let now = app.clock.now();
        let lapsed_before = reaper::lapsed_before(now, app.started_at);
        if let Some((job, news)) = lease::take(&app.pool, agent.agent_id, now, lapsed_before).await? {
            news.publish(&app.live);
            return Ok(Json(job).into_response());
        }
        if Instant::now() >= deadline || app.shutdown.is_cancelled() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        // A planned scan wakes us; so does any other event of a scan, which costs one cheap query.
        let until = (Instant::now() + LOOK_AGAIN).min(deadline);
        let planned = async {
            loop {
                match events.recv().await.as_deref() {
                    Ok(Event::Scan(scan)) if scan.status == "running" => {}
                    Ok(Event::Scan(_)) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        };
        let _woken_or_late = timeout_at(until, app.shutdown.run_until_cancelled(planned)).await;
    }
}

/// Keep a lease and tell how far the job is.
#[utoipa::path(post, path = "/api/agent/v1/jobs/{job_id}/renew", tag = "agent", operation_id = "agent_renew",
    params(("job_id" = Uuid, Path)), request_body = RenewRequest,
    responses((status = 200, body = RenewResponse), (status = 409, body = ProblemBody)))]
async fn renew(
    State(app): State<AppState>,
    agent: AgentCaller,
    Path(job_id): Path<Uuid>,
    Json(mut request): Json<RenewRequest>,
) -> Result<Json<RenewResponse>, Problem> {
    if !request.progress.percent.is_finite() {
        request.progress.percent = 0.0;
    }
    let (response, news) = lease::renew(&app.pool, agent.agent_id, job_id, &request, app.clock.now()).await?;
    heard_of(&app, &agent, None).await?;
    news.publish(&app.live);
    Ok(Json(response))
}

/// Hand in a batch of results: NDJSON, plain or packed with zstd.
#[utoipa::path(put, path = "/api/agent/v1/jobs/{job_id}/batches/{number}", tag = "agent", operation_id = "agent_put_batch",
    params(("job_id" = Uuid, Path), ("number" = u32, Path), ("portreeve-lease" = Uuid, Header)),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = BatchResponse), (status = 409, body = ProblemBody), (status = 413, body = ProblemBody),
              (status = 422, body = ProblemBody)))]
async fn put_batch(
    State(app): State<AppState>,
    agent: AgentCaller,
    Path((job_id, number)): Path<(Uuid, u32)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BatchResponse>, Problem> {
    let token = lease_token(&headers)?;
    let packing = packing(&headers)?;
    let body = to_bytes(body, Limits::BATCH_BYTES).await.map_err(|_| DecodeError::TooLarge("16 MiB"))?;
    // Decoding up to 16 MiB would hold up everyone else on this thread.
    let records = tokio::task::spawn_blocking(move || decode(&body, packing)).await.map_err(|error| {
        tracing::error!(%error, "decoding a batch failed");
        Problem::internal()
    })??;
    let batch = Batch { token, number, records };
    let taken = lease::take_batch(&app.pool, agent.agent_id, job_id, &batch, app.clock.now()).await?;
    for port in taken.ingested.opened.iter().chain(&taken.ingested.identified).take(PORT_EVENTS) {
        app.live.publish(Event::Port(PortEvent {
            scan_id: taken.job.scan_id,
            network_id: taken.job.network_id,
            ip: port.address.to_string(),
            port: u16::try_from(port.port).unwrap_or_default(),
            protocol: port.transport.parse().unwrap_or(portreeve_model::Transport::Tcp),
            state: "open".to_owned(),
            service: port.service.clone(),
            product: port.product.clone(),
            version: port.version.clone(),
        }));
    }
    Ok(Json(BatchResponse { stored: taken.stored, repeated: taken.repeated }))
}

fn lease_token(headers: &HeaderMap) -> Result<Uuid, Problem> {
    let given = headers.get(LEASE_HEADER).and_then(|value| value.to_str().ok());
    given.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let message = format!("the header {LEASE_HEADER} must carry the lease token");
        Problem::invalid_value(&["header", LEASE_HEADER], message, given)
    })
}

fn packing(headers: &HeaderMap) -> Result<Packing, Problem> {
    match headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or_default()) {
        None | Some("" | "identity") => Ok(Packing::None),
        Some("zstd") => Ok(Packing::Zstd),
        Some(other) => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("The batch is packed as {other:?}; use zstd or none"),
        )),
    }
}

/// Add lines to the scan's log.
#[utoipa::path(post, path = "/api/agent/v1/jobs/{job_id}/logs", tag = "agent", operation_id = "agent_add_logs",
    params(("job_id" = Uuid, Path)), request_body = LogsRequest,
    responses((status = 204), (status = 409, body = ProblemBody), (status = 413, body = ProblemBody)))]
async fn add_logs(
    State(app): State<AppState>,
    agent: AgentCaller,
    Path(job_id): Path<Uuid>,
    Json(request): Json<LogsRequest>,
) -> Result<StatusCode, Problem> {
    if request.lines.len() > Limits::LOG_LINES {
        let detail = format!("More than {} log lines in one call; send them in parts", Limits::LOG_LINES);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let now = app.clock.now();
    lease::add_logs(&app.pool, agent.agent_id, job_id, request.lease_token, &request.lines, now).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End a job. 409 `batches-missing` until all its batches are there.
#[utoipa::path(post, path = "/api/agent/v1/jobs/{job_id}/finish", tag = "agent", operation_id = "agent_finish",
    params(("job_id" = Uuid, Path)), request_body = FinishRequest,
    responses((status = 204), (status = 409, body = ProblemBody)))]
async fn finish(
    State(app): State<AppState>,
    agent: AgentCaller,
    Path(job_id): Path<Uuid>,
    Json(request): Json<FinishRequest>,
) -> Result<StatusCode, Problem> {
    let news = lease::finish(&app.pool, agent.agent_id, job_id, &request, app.clock.now()).await?;
    news.publish(&app.live);
    Ok(StatusCode::NO_CONTENT)
}

impl From<LeaseError> for Problem {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::BatchesMissing { .. } => Self::conflict(error.to_string()).code("batches-missing"),
            LeaseError::Database(error) => error.into(),
            LeaseError::Lost => Self::conflict(error.to_string()).code("lease-lost"),
        }
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            DecodeError::Line { .. } | DecodeError::Packing(_) => {
                Self::invalid_value(&["body"], error, serde_json::Value::Null)
            }
        }
    }
}

#[cfg(test)]
mod tests;
