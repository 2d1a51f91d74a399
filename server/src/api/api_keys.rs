//! `/api/api-keys`: keys for automation.

use axum::{extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{ApiRouter, Json, Path, Problem, ProblemBody};
use crate::{
    audit::{Actor, Entry},
    auth::{Access, Caller, Permission, Token, TokenKind, Via},
    state::AppState,
    store::api_keys::{self as store, ApiKey, NewApiKey},
};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    let own = Access::Needs(Permission::AccountOwn);
    ApiRouter::new().route(own, routes!(list, create)).route(own, routes!(revoke))
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyResponse {
    /// Number.
    id: i64,
    /// What it is for.
    name: String,
    /// Its first characters.
    prefix: String,
    /// What it may do, as `inventory:read`; never more than its owner.
    scopes: Vec<String>,
    /// The owner.
    user_id: i64,
    /// The owner's e-mail address.
    user_email: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it stops working.
    expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    revoked_at: Option<DateTime<Utc>>,
    /// Last time it was used, to the minute.
    last_used_at: Option<DateTime<Utc>>,
    /// From where.
    last_used_address: Option<String>,
}

impl From<ApiKey> for ApiKeyResponse {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            prefix: key.prefix,
            scopes: key.scopes,
            user_id: key.user_id,
            user_email: key.user_email,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
            last_used_address: key.last_used_address.map(|address| address.to_string()),
        }
    }
}

/// Keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyList {
    /// Newest first.
    keys: Vec<ApiKeyResponse>,
    /// How many there are.
    total: usize,
    /// Every scope that a key can have.
    known_scopes: Vec<&'static str>,
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ApiKeyCreateRequest {
    /// What it is for.
    name: String,
    /// What it may do, as `inventory:read`.
    scopes: Vec<String>,
    /// When it is to stop working; left out = never.
    expires_at: Option<DateTime<Utc>>,
}

/// A new key.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyCreated {
    /// The key itself, shown this once: send it as `Authorization: Bearer …` or `X-API-Key`.
    api_key: String,
    /// The key's entry.
    #[serde(flatten)]
    entry: ApiKeyResponse,
}

/// List one's own keys; admins see everyone's.
#[utoipa::path(get, path = "/api/api-keys", tag = "api-keys", operation_id = "list_api_keys",
    responses((status = 200, body = ApiKeyList)))]
async fn list(State(app): State<AppState>, caller: Caller) -> Result<Json<ApiKeyList>, Problem> {
    let owner = if caller.may(Permission::UsersManage) { None } else { Some(caller.user_id) };
    let keys: Vec<_> = store::list(&app.pool, owner).await?.into_iter().map(ApiKeyResponse::from).collect();
    Ok(Json(ApiKeyList {
        total: keys.len(),
        keys,
        known_scopes: Permission::ALL.map(Permission::as_str).to_vec(),
    }))
}

/// Make a key of one's own.
#[utoipa::path(post, path = "/api/api-keys", tag = "api-keys", operation_id = "create_api_key",
    request_body = ApiKeyCreateRequest,
    responses((status = 201, body = ApiKeyCreated), (status = 403, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn create(
    State(app): State<AppState>,
    caller: Caller,
    Json(request): Json<ApiKeyCreateRequest>,
) -> Result<(StatusCode, Json<ApiKeyCreated>), Problem> {
    if matches!(caller.via, Via::ApiKey { .. }) {
        return Err(Problem::forbidden("A key cannot make keys; sign in"));
    }
    let now = app.clock.now();
    let name = check_name(&request.name)?;
    let scopes = check_scopes(&caller, &request.scopes)?;
    if request.expires_at.is_some_and(|end| end <= now) {
        return Err(Problem::invalid_value(
            &["body", "expires_at"],
            "must lie in the future",
            json!(request.expires_at),
        ));
    }
    let token = Token::generate(TokenKind::ApiKey);
    let new = NewApiKey {
        user_id: caller.user_id,
        name,
        prefix: &token.display_prefix(),
        secret_hash: &token.hash(),
        scopes: &scopes,
        expires_at: request.expires_at,
    };
    let mut transaction = app.pool.begin().await?;
    let id = store::insert(&mut *transaction, &new, now).await?;
    Entry::new("api_key.create")
        .target("api_key", id)
        .detail(json!({ "name": name, "scopes": scopes, "expires_at": request.expires_at }))
        .record(&mut transaction, Actor::caller(&caller), now)
        .await?;
    transaction.commit().await?;
    let entry = store::find(&app.pool, id).await?.ok_or_else(unknown_key)?.into();
    Ok((StatusCode::CREATED, Json(ApiKeyCreated { api_key: token.into_string(), entry })))
}

/// Revoke a key of one's own; admins, anyone's.
#[utoipa::path(delete, path = "/api/api-keys/{key_id}", tag = "api-keys", operation_id = "revoke_api_key",
    params(("key_id" = i64, Path)), responses((status = 204), (status = 404, body = ProblemBody)))]
async fn revoke(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    let key = store::find(&app.pool, id).await?.ok_or_else(unknown_key)?;
    if key.user_id != caller.user_id && !caller.may(Permission::UsersManage) {
        return Err(unknown_key());
    }
    let now = app.clock.now();
    let mut transaction = app.pool.begin().await?;
    if store::revoke(&mut *transaction, id, now).await? {
        Entry::new("api_key.revoke")
            .target("api_key", id)
            .detail(json!({ "name": key.name, "user": key.user_email }))
            .record(&mut transaction, Actor::caller(&caller), now)
            .await?;
    }
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_name(name: &str) -> Result<&str, Problem> {
    let trimmed = name.trim();
    if trimmed.is_empty() || trimmed.len() > 255 {
        return Err(Problem::invalid_value(&["body", "name"], "must have 1 to 255 characters", name));
    }
    Ok(trimmed)
}

/// Known scopes, each once, that the owner's role can have at all.
fn check_scopes(caller: &Caller, scopes: &[String]) -> Result<Vec<String>, Problem> {
    let refuse = |message: String| Problem::invalid_value(&["body", "scopes"], message, json!(scopes));
    let mut known = Vec::new();
    for scope in scopes {
        let permission: Permission = scope.parse().map_err(refuse)?;
        if !caller.may(permission) {
            return Err(refuse(format!("your own role does not have {permission}")));
        }
        known.push(permission.to_string());
    }
    known.sort();
    known.dedup();
    if known.is_empty() {
        return Err(refuse("must name at least one scope".to_owned()));
    }
    Ok(known)
}

fn unknown_key() -> Problem {
    Problem::not_found("API key not found")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::Role,
        test_support::{Client, TestApp},
    };
    use chrono::TimeDelta;

    async fn make(client: &Client, scopes: &[&str]) -> (i64, String) {
        let made = client.post("/api/api-keys", json!({"name": "backup job", "scopes": scopes})).await;
        made.assert_status(201);
        (made.json()["id"].as_i64().unwrap(), made.json()["api_key"].as_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_key_does_what_its_scopes_say_and_no_more() {
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        let (_, key) = make(&admin, &["users:manage"]).await;
        let automation = app.anonymous().bearer(&key);
        automation.get("/api/users").await.assert_status(200);
        automation.get("/api/auth/me").await.assert_problem(403, "This API key lacks the scope account:own");
        app.anonymous().header("x-api-key", &key).get("/api/users").await.assert_status(200);
        let list = admin.get("/api/api-keys").await.json();
        assert_eq!(list["keys"][0]["last_used_at"], json!(app.now()));
        assert!(list["keys"][0]["prefix"].as_str().unwrap().starts_with("prk_"));
        assert!(list["keys"][0].get("api_key").is_none());
    }

    #[tokio::test]
    async fn a_key_is_never_stronger_than_its_owner() {
        let app = TestApp::new().await;
        let viewer = app.login(Role::Viewer).await;
        let body = json!({"name": "x", "scopes": ["users:manage"]});
        let refused = viewer.post("/api/api-keys", body).await;
        refused.assert_status(422);
        assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", "scopes"]));

        let (admin, other) = (app.login(Role::Admin).await, app.login(Role::Admin).await);
        let (_, key) = make(&other, &["users:manage"]).await;
        admin
            .put(&format!("/api/users/{}", other.user_id()), json!({"role": "viewer"}))
            .await
            .assert_status(200);
        app.anonymous().bearer(&key).get("/api/users").await.assert_problem(403, "Admin access required");
    }

    #[tokio::test]
    async fn keys_end_by_time_and_by_revoking() {
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        let end = app.now() + TimeDelta::hours(1);
        let body = json!({"name": "x", "scopes": ["users:manage"], "expires_at": end});
        let key = admin.post("/api/api-keys", body).await.json()["api_key"].as_str().unwrap().to_owned();
        app.anonymous().bearer(&key).get("/api/users").await.assert_status(200);
        app.clock().advance(TimeDelta::hours(1));
        app.anonymous().bearer(&key).get("/api/users").await.assert_status(401);

        let (id, key) = make(&admin, &["users:manage"]).await;
        let viewer = app.login(Role::Viewer).await;
        viewer.delete(&format!("/api/api-keys/{id}")).await.assert_problem(404, "API key not found");
        admin.delete(&format!("/api/api-keys/{id}")).await.assert_status(204);
        app.anonymous().bearer(&key).get("/api/users").await.assert_status(401);
        app.assert_audited(&["api_key.create", "api_key.create", "api_key.revoke"]).await;
    }

    #[tokio::test]
    async fn a_key_cannot_make_keys_and_each_sees_its_own() {
        let app = TestApp::new().await;
        let viewer = app.login(Role::Viewer).await;
        let (_, key) = make(&viewer, &["account:own"]).await;
        let body = json!({"name": "x", "scopes": ["account:own"]});
        app.anonymous()
            .bearer(&key)
            .post("/api/api-keys", body)
            .await
            .assert_problem(403, "A key cannot make keys; sign in");
        assert_eq!(app.login(Role::Operator).await.get("/api/api-keys").await.json()["total"], 0);
        assert_eq!(app.login(Role::Admin).await.get("/api/api-keys").await.json()["total"], 1);
        for body in [
            json!({"name": " ", "scopes": ["account:own"]}),
            json!({"name": "x", "scopes": []}),
            json!({"name": "x", "scopes": ["all"]}),
        ] {
            viewer.post("/api/api-keys", body).await.assert_status(422);
        }
    }
}
