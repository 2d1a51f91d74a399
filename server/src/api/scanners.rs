//! `/api/scanners`: agents, under the name OPM gave them.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use portreeve_model::protocol::AgentInterface;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{ApiRouter, Json, OnConstraint, OptionalJson, Path, Problem, ProblemBody, at_least, at_most};
use crate::{
    alerts::coverage::ONLINE,
    audit::{Actor, Entry},
    auth::{Access, Caller, Permission, Token, TokenKind},
    state::AppState,
    store::{
        agents::{self as store, Agent, NewAgent},
        enrollment::{self, NewEnrollmentToken},
    },
};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    let (read, manage) = (Access::Needs(Permission::InventoryRead), Access::Needs(Permission::AgentsManage));
    ApiRouter::new()
        .route(read, routes!(list))
        .route(manage, routes!(create))
        .route(read, routes!(show))
        .route(manage, routes!(update, remove))
        .route(manage, routes!(regenerate_key))
        .route(manage, routes!(create_enrollment_token))
}

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerResponse {
    /// Number.
    id: i64,
    /// Name.
    name: String,
    /// What people say of it.
    description: Option<String>,
    /// When it last called.
    last_seen_at: Option<DateTime<Utc>>,
    /// Its version, as it told.
    scanner_version: Option<String>,
    /// When it was made known.
    created_at: DateTime<Utc>,
    /// `portreeve` speaks our protocol, `opm` that of Open Port Monitor.
    kind: String,
    /// It has called within the last five minutes.
    online: bool,
    /// First characters of its credential.
    key_prefix: String,
    /// Its host's name.
    hostname: Option<String>,
    /// Ways of sending that work there, best first.
    backends: Vec<String>,
    /// Its interfaces, and the networks they are attached to.
    interfaces: Vec<AgentInterface>,
    /// Packets per second that its host allows at most.
    max_rate_pps: Option<i32>,
    /// Networks assigned to it.
    network_count: i64,
}

impl ScannerResponse {
    fn new(agent: Agent, now: DateTime<Utc>) -> Self {
        let hello = agent.hello.map(|hello| hello.0);
        let (backends, interfaces) =
            hello.map(|hello| (hello.backends, hello.interfaces)).unwrap_or_default();
        Self {
            id: agent.id,
            name: agent.name,
            description: agent.description,
            last_seen_at: agent.last_seen_at,
            scanner_version: agent.version,
            created_at: agent.created_at,
            kind: agent.kind,
            online: agent.last_seen_at.is_some_and(|at| now - at <= ONLINE),
            key_prefix: agent.credential_prefix,
            hostname: agent.hostname,
            backends,
            interfaces,
            max_rate_pps: agent.max_rate_pps,
            network_count: agent.network_count,
        }
    }
}

/// All agents.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerListResponse {
    /// Newest first.
    scanners: Vec<ScannerResponse>,
    /// How many there are.
    total: usize,
}

/// List all agents, newest first.
#[utoipa::path(get, path = "/api/scanners", tag = "agents", operation_id = "list_scanners",
    responses((status = 200, body = ScannerListResponse)))]
async fn list(State(app): State<AppState>) -> Result<Json<ScannerListResponse>, Problem> {
    let now = app.clock.now();
    let agents = store::list(&app.pool).await?;
    let scanners: Vec<_> = agents.into_iter().map(|agent| ScannerResponse::new(agent, now)).collect();
    Ok(Json(ScannerListResponse { total: scanners.len(), scanners }))
}

/// Show an agent.
#[utoipa::path(get, path = "/api/scanners/{scanner_id}", tag = "agents", operation_id = "show_scanner",
    params(("scanner_id" = i64, Path)),
    responses((status = 200, body = ScannerResponse), (status = 404, body = ProblemBody)))]
async fn show(State(app): State<AppState>, Path(id): Path<i64>) -> Result<Json<ScannerResponse>, Problem> {
    let agent = store::find(&app.pool, id).await?.ok_or_else(unknown)?;
    Ok(Json(ScannerResponse::new(agent, app.clock.now())))
}

fn unknown() -> Problem {
    Problem::not_found("Scanner not found")
}

fn name_taken() -> Problem {
    Problem::bad_request("A scanner with this name already exists")
}

/// An agent to be made known by hand.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ScannerCreateRequest {
    /// Name, 1-255 characters, no other agent's.
    name: String,
    /// What people say of it.
    #[serde(default)]
    description: Option<String>,
    /// Which protocol it speaks: `opm` (the default) or `portreeve`. Agents of ours are better enrolled with a token.
    #[serde(default)]
    kind: AgentKind,
}

/// Which protocol an agent speaks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentKind {
    /// Open Port Monitor's.
    #[default]
    Opm,
    /// Our own.
    Portreeve,
}

/// A new agent, with its key.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerCreateResponse {
    /// Number.
    id: i64,
    /// Name.
    name: String,
    /// What people say of it.
    description: Option<String>,
    /// Null: it has not called yet.
    last_seen_at: Option<DateTime<Utc>>,
    /// Now.
    created_at: DateTime<Utc>,
    /// Which protocol it speaks.
    kind: AgentKind,
    /// Its key; shown this once.
    api_key: String,
}

/// Make an agent known, with a key that is shown once.
#[utoipa::path(post, path = "/api/scanners", tag = "agents", operation_id = "create_scanner",
    request_body = ScannerCreateRequest,
    responses((status = 201, body = ScannerCreateResponse), (status = 400, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn create(
    State(app): State<AppState>,
    caller: Caller,
    Json(request): Json<ScannerCreateRequest>,
) -> Result<(StatusCode, Json<ScannerCreateResponse>), Problem> {
    let name = check_name(&request.name)?;
    let (now, key) = (app.clock.now(), new_key(request.kind));
    let kind = match request.kind {
        AgentKind::Opm => "opm",
        AgentKind::Portreeve => "portreeve",
    };
    let mut transaction = app.pool.begin().await?;
    let new = NewAgent {
        name,
        description: request.description.as_deref(),
        kind,
        credential_hash: &key.hash(),
        credential_prefix: &key.display_prefix(),
        created_by: Some(caller.user_id),
    };
    let id =
        store::insert(&mut *transaction, &new, now).await.on_constraint("agents_name_key", name_taken)?;
    Entry::new("agent.create")
        .target("agent", id)
        .detail(json!({ "name": name, "kind": kind }))
        .record(&mut transaction, Actor::caller(&caller), now)
        .await?;
    transaction.commit().await?;
    let response = ScannerCreateResponse {
        id,
        name: name.to_owned(),
        description: request.description,
        last_seen_at: None,
        created_at: now,
        kind: request.kind,
        api_key: key.into_string(),
    };
    Ok((StatusCode::CREATED, Json(response)))
}

fn new_key(kind: AgentKind) -> Token {
    match kind {
        AgentKind::Opm => Token::generate_hex(),
        AgentKind::Portreeve => Token::generate(TokenKind::Agent),
    }
}

fn check_name(name: &str) -> Result<&str, Problem> {
    let trimmed = name.trim();
    if trimmed.is_empty() || trimmed.chars().count() > 255 || trimmed.chars().any(char::is_control) {
        let message = "name must have 1-255 characters, none of them a control character";
        return Err(Problem::invalid_value(&["body", "name"], message, name));
    }
    Ok(trimmed)
}

/// What to change; what is left out (or null) stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ScannerUpdateRequest {
    /// Name.
    #[serde(default)]
    name: Option<String>,
    /// What people say of it.
    #[serde(default)]
    description: Option<String>,
}

/// Rename or describe an agent.
#[utoipa::path(put, path = "/api/scanners/{scanner_id}", tag = "agents", operation_id = "update_scanner",
    params(("scanner_id" = i64, Path)), request_body = ScannerUpdateRequest,
    responses((status = 200, body = ScannerResponse), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn update(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(request): Json<ScannerUpdateRequest>,
) -> Result<Json<ScannerResponse>, Problem> {
    let name = request.name.as_deref().map(check_name).transpose()?;
    let mut transaction = app.pool.begin().await?;
    find(&mut transaction, id).await?;
    store::update(&mut *transaction, id, name, request.description.as_deref())
        .await
        .on_constraint("agents_name_key", name_taken)?;
    Entry::new("agent.update")
        .target("agent", id)
        .detail(json!({ "name": name, "description": request.description }))
        .record(&mut transaction, Actor::caller(&caller), app.clock.now())
        .await?;
    let agent = find(&mut transaction, id).await?;
    transaction.commit().await?;
    Ok(Json(ScannerResponse::new(agent, app.clock.now())))
}

async fn find(db: &mut PgConnection, id: i64) -> Result<Agent, Problem> {
    store::find(db, id).await?.ok_or_else(unknown)
}

/// Remove an agent. Its networks stay and wait for another; what it found stays, too.
#[utoipa::path(delete, path = "/api/scanners/{scanner_id}", tag = "agents", operation_id = "delete_scanner",
    params(("scanner_id" = i64, Path)),
    responses((status = 204), (status = 404, body = ProblemBody)))]
async fn remove(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    let mut transaction = app.pool.begin().await?;
    let agent = find(&mut transaction, id).await?;
    let news = crate::jobs::abandon(&mut transaction, id, app.clock.now()).await?;
    store::delete(&mut *transaction, id).await?;
    Entry::new("agent.delete")
        .target("agent", id)
        .detail(json!({ "name": agent.name }))
        .record(&mut transaction, Actor::caller(&caller), app.clock.now())
        .await?;
    transaction.commit().await?;
    for news in news {
        news.publish(&app.live);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A new key.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScannerRegenerateKeyResponse {
    /// Number.
    id: i64,
    /// Name.
    name: String,
    /// The key; shown this once.
    api_key: String,
}

/// Give an agent a new key; the old one and its access tokens end now.
#[utoipa::path(post, path = "/api/scanners/{scanner_id}/regenerate-key", tag = "agents", operation_id = "regenerate_scanner_key",
    params(("scanner_id" = i64, Path)),
    responses((status = 200, body = ScannerRegenerateKeyResponse), (status = 404, body = ProblemBody)))]
async fn regenerate_key(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Json<ScannerRegenerateKeyResponse>, Problem> {
    let mut transaction = app.pool.begin().await?;
    let agent = find(&mut transaction, id).await?;
    let key = new_key(if agent.kind == "opm" { AgentKind::Opm } else { AgentKind::Portreeve });
    store::replace_credential(&mut transaction, id, &key.hash(), &key.display_prefix()).await?;
    Entry::new("agent.regenerate_key")
        .target("agent", id)
        .detail(json!({ "name": agent.name }))
        .record(&mut transaction, Actor::caller(&caller), app.clock.now())
        .await?;
    transaction.commit().await?;
    Ok(Json(ScannerRegenerateKeyResponse { id, name: agent.name, api_key: key.into_string() }))
}

/// A one-time token to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct EnrollmentTokenCreateRequest {
    /// What it is for.
    #[serde(default)]
    description: Option<String>,
    /// The agent is on the server's own machine: enrolling makes the network "This machine" if there is no network yet.
    #[serde(default)]
    local: bool,
    /// How long it can be used, 1-720 hours; default 24.
    #[serde(default)]
    expires_in_hours: Option<i64>,
}

/// A one-time token.
#[derive(Debug, Serialize, ToSchema)]
pub struct EnrollmentTokenResponse {
    /// Number.
    id: i64,
    /// The token; shown this once.
    token: String,
    /// Until when it can be used.
    expires_at: DateTime<Utc>,
}

/// Make a token that enrols one agent: `portreeve agent enroll`.
#[utoipa::path(post, path = "/api/scanners/enrollment-tokens", tag = "agents", operation_id = "create_enrollment_token",
    request_body = Option<EnrollmentTokenCreateRequest>,
    responses((status = 201, body = EnrollmentTokenResponse), (status = 422, body = ProblemBody)))]
async fn create_enrollment_token(
    State(app): State<AppState>,
    caller: Caller,
    OptionalJson(request): OptionalJson<EnrollmentTokenCreateRequest>,
) -> Result<(StatusCode, Json<EnrollmentTokenResponse>), Problem> {
    let request = request.unwrap_or_default();
    let hours = request.expires_in_hours.unwrap_or(24);
    at_least("body", "expires_in_hours", hours, 1)?;
    at_most("body", "expires_in_hours", hours, 720)?;
    let now = app.clock.now();
    let (token, expires_at) = (Token::generate(TokenKind::Enrollment), now + TimeDelta::hours(hours));
    let mut transaction = app.pool.begin().await?;
    let new = NewEnrollmentToken {
        token_hash: &token.hash(),
        prefix: &token.display_prefix(),
        description: request.description.as_deref(),
        creates_local_network: request.local,
        created_by: Some(caller.user_id),
        expires_at,
    };
    let id = enrollment::insert(&mut *transaction, &new, now).await?;
    Entry::new("enrollment_token.create")
        .target("enrollment_token", id)
        .detail(
            json!({ "description": request.description, "local": request.local, "expires_at": expires_at }),
        )
        .record(&mut transaction, Actor::caller(&caller), now)
        .await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(EnrollmentTokenResponse { id, token: token.into_string(), expires_at })))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use serde_json::Value;

    use super::*;
    use crate::{
        auth::Role,
        test_support::{
            TestApp,
            scans::{Worker, manual, network, plan, value},
        },
    };

    #[tokio::test]
    async fn an_agent_is_made_shown_changed_and_removed() {
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        let made = admin.post("/api/scanners", json!({ "name": "HQ", "description": "lab" })).await;
        let made = made.assert_status(201).json();
        assert_eq!(made["api_key"].as_str().map(str::len), Some(64));
        assert_eq!(
            (&made["name"], &made["last_seen_at"], &made["kind"]),
            (&json!("HQ"), &Value::Null, &json!("opm"))
        );
        let again = admin.post("/api/scanners", json!({ "name": "hq" })).await;
        again.assert_problem(400, "A scanner with this name already exists");

        let path = format!("/api/scanners/{}", made["id"]);
        let shown = admin.put(&path, json!({ "description": "Head office", "name": null })).await;
        let shown = shown.assert_status(200).json();
        assert_eq!(
            (&shown["name"], &shown["description"], &shown["online"]),
            (&json!("HQ"), &json!("Head office"), &json!(false))
        );
        assert!(shown.get("api_key").is_none());

        let key = made["api_key"].as_str().expect("a key");
        let auth = |key: &str| app.anonymous().header("x-api-key", key);
        let token = auth(key).post("/api/scanner/auth", Value::Null).await.assert_status(200).json();
        let agent = app.anonymous().bearer(token["access_token"].as_str().expect("a token"));
        agent.get("/api/scanner/jobs").await.assert_status(200);
        assert_eq!(admin.get("/api/scanners").await.json()["scanners"][0]["online"], true);

        let fresh =
            admin.call(Method::POST, &format!("{path}/regenerate-key"), None).await.assert_status(200).json();
        agent.get("/api/scanner/jobs").await.assert_status(401);
        auth(key).post("/api/scanner/auth", Value::Null).await.assert_status(401);
        auth(fresh["api_key"].as_str().expect("a key"))
            .post("/api/scanner/auth", Value::Null)
            .await
            .assert_status(200);

        admin.delete(&path).await.assert_status(204);
        admin.get(&path).await.assert_problem(404, "Scanner not found");
        admin.delete(&path).await.assert_status(404);
        app.assert_audited(&["agent.create", "agent.update", "agent.regenerate_key", "agent.delete"]).await;
    }

    #[tokio::test]
    async fn only_admins_manage_and_everyone_reads() {
        let app = TestApp::new().await;
        let operator = app.login(Role::Operator).await;
        operator.post("/api/scanners", json!({ "name": "HQ" })).await.assert_status(403);
        operator.post("/api/scanners/enrollment-tokens", json!({})).await.assert_status(403);
        app.login(Role::Viewer).await.get("/api/scanners").await.assert_status(200);
        let admin = app.login(Role::Admin).await;
        for name in ["", " ", "a\u{7}"] {
            admin.post("/api/scanners", json!({ "name": name })).await.assert_status(422);
        }
    }

    #[tokio::test]
    async fn a_token_enrols_an_agent_that_shows_what_it_is() {
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        let token = admin.post("/api/scanners/enrollment-tokens", json!({ "local": true })).await;
        let token = token.assert_status(201).json()["token"].clone();
        let enrolled = app
            .anonymous()
            .post("/api/agent/v1/enroll", json!({ "token": token, "name": "here", "version": "0.1.0" }))
            .await;
        let credential =
            enrolled.assert_status(200).json()["credential"].as_str().expect("a credential").to_owned();
        let hello = json!({ "version": "0.1.0", "hostname": "box", "backends": ["ring"], "max_rate_pps": 5000,
            "interfaces": [{ "name": "lo", "networks": ["127.0.0.1/8"] }] });
        app.anonymous().bearer(&credential).post("/api/agent/v1/hello", hello).await.assert_status(200);
        let shown = admin.get("/api/scanners/1").await.assert_status(200).json();
        assert_eq!(
            (&shown["kind"], &shown["hostname"], &shown["online"]),
            (&json!("portreeve"), &json!("box"), &json!(true))
        );
        assert_eq!((&shown["backends"], &shown["network_count"]), (&json!(["ring"]), &json!(1)));
        assert_eq!(shown["interfaces"], json!([{ "name": "lo", "networks": ["127.0.0.1/8"] }]));
        admin
            .post("/api/scanners/enrollment-tokens", json!({ "expires_in_hours": 0 }))
            .await
            .assert_status(422);
    }

    #[tokio::test]
    async fn removing_an_agent_ends_its_scans_and_keeps_its_networks() {
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        let worker = Worker::new(&app, "edge").await;
        let network_id = network(&app, "n", worker.client.agent_id()).await;
        let scan_id = plan(&app, &manual(network_id)).await;
        worker.lease().await.expect("a job");
        admin.delete(&format!("/api/scanners/{}", worker.client.agent_id())).await.assert_status(204);
        let ended: String =
            value(&app, "select status || ': ' || error_message from scans where id = $1", scan_id).await;
        assert_eq!(ended, "failed: The agent that worked on this scan was removed.");
        let orphan: Option<i64> =
            value(&app, "select agent_id from networks where id = $1", network_id).await;
        assert_eq!(orphan, None);
    }
}
