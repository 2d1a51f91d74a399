//! `/api/scanner`: the contract of Open Port Monitor's agents, kept to the letter, so that they work here unchanged.
//!
//! Deliberate differences, none of which such an agent can notice: at most one job of a network is offered at a time,
//! a scan belongs to the agent that claimed it, only wrong keys count towards the limit of attempts, results about
//! addresses outside the network are left out, and finished discoveries stay as they ended.

mod discovery;
mod jobs;
mod lax;
mod results;
#[cfg(test)]
mod tests;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use chrono::{DateTime, TimeDelta, Utc};
use portreeve_model::SafeText;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{ApiRouter, FieldError, Json, OptionalJson, Problem, ProblemBody};
use crate::{
    auth::{Access, ClientAddress, Token, TokenKind, hash_token},
    ingest::Origin,
    live::{AgentEvent, Event},
    state::AppState,
    store::{
        agents,
        scan_lifecycle::{self as scans, RunningScan},
        scanner_contract as store, throttle,
    },
};

/// How long an access token lasts.
const TOKEN_LIFE: TimeDelta = TimeDelta::minutes(15);
/// Wrong keys from one place in a minute.
const WRONG_KEYS: i32 = 10;

/// The whole contract.
pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Public, routes!(authenticate))
        .merge(jobs::routes())
        .merge(results::routes())
        .merge(discovery::routes())
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
fn not_running() -> Problem {
    Problem::not_found("Scan not found, not assigned to this site, or not in running status")
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
        shard_index: None,
        block: scan.block,
        started_at: scan.started_at.unwrap_or(now),
        now,
    }
}

/// Text from an agent, made harmless and cut.
fn clean(text: &str, max_bytes: usize) -> String {
    SafeText::sanitize_to(text.as_bytes(), max_bytes).into_string()
}
