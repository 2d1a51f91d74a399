//! `/api/auth`: signing in and out, and one's own account.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    ApiRouter, Json, Path, Problem, ProblemBody,
    users::{check_email, check_password},
};
use crate::{
    audit::{Actor, Entry},
    auth::{
        Access, Attempt, Caller, ClientAddress, Permission, Role, SESSION_IDLE, SESSION_LIFE, Throttle,
        Token, TokenKind, Via, removal_cookie, session_cookie,
    },
    state::AppState,
    store::{
        sessions::{self, NewSession},
        users::{self, User, UserChange},
    },
};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    let own = Access::Needs(Permission::AccountOwn);
    ApiRouter::new()
        .route(Access::Public, routes!(login))
        .route(own, routes!(logout))
        .route(own, routes!(me, change_me))
        .route(own, routes!(change_password))
        .route(own, routes!(list_sessions, end_other_sessions))
        .route(own, routes!(end_session))
}

/// Who signs in.
#[derive(Debug, Deserialize, ToSchema)]
pub struct LoginRequest {
    /// E-mail address.
    email: String,
    /// Password.
    password: String,
}

/// A session, for clients that do not keep cookies.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenResponse {
    /// To be sent as `Authorization: Bearer …`.
    access_token: String,
    /// Always `bearer`.
    token_type: &'static str,
}

/// One's own account.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserResponse {
    /// Number.
    id: i64,
    /// E-mail address.
    email: String,
    /// What the user may do.
    role: Role,
    /// `light`, `dark` or `system`.
    theme_preference: String,
    /// The only networks the user may see; null = all.
    network_ids: Option<Vec<i64>>,
}

impl From<User> for UserResponse {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            role: user.role,
            theme_preference: user.theme_preference,
            network_ids: user.limited_to_networks.then_some(user.network_ids),
        }
    }
}

/// Colours of the pages.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ThemePreference {
    /// Dark.
    Dark,
    /// Light.
    Light,
    /// As the system has it.
    System,
}

impl ThemePreference {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::System => "system",
        }
    }
}

/// What to change of one's own account.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UserThemeUpdateRequest {
    /// Colours of the pages.
    theme_preference: ThemePreference,
}

/// A new password of one's own.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PasswordChange {
    /// The password so far.
    current_password: String,
    /// At least 8 characters.
    new_password: String,
}

/// A session of one's own.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// Number.
    id: i64,
    /// `cookie` (a browser) or `bearer` (a program).
    kind: String,
    /// The one this request was made with.
    current: bool,
    /// When it began.
    created_at: DateTime<Utc>,
    /// Last time it was used, to the minute.
    last_used_at: DateTime<Utc>,
    /// When it ends unless used.
    expires_at: DateTime<Utc>,
    /// Where it began.
    address: Option<String>,
    /// What the client called itself.
    user_agent: Option<String>,
}

/// Sessions of one's own.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionList {
    /// Last used first.
    sessions: Vec<Session>,
}

/// Sign in. The session comes as a cookie for browsers and as a bearer token for programs.
#[utoipa::path(post, path = "/api/auth/login", tag = "auth", operation_id = "login", request_body = LoginRequest,
    responses((status = 200, body = TokenResponse), (status = 401, body = ProblemBody), (status = 422, body = ProblemBody), (status = 429, body = ProblemBody)))]
async fn login(
    State(app): State<AppState>,
    address: Option<ClientAddress>,
    headers: HeaderMap,
    Json(request): Json<LoginRequest>,
) -> Result<Response, Problem> {
    let email = check_email(&request.email)?;
    let attempt = Attempt::new(email, address);
    refuse_if_blocked(&app, &attempt).await?;
    let user = users::find_by_email(&app.pool, email).await?.filter(|user| user.disabled_at.is_none());
    let stored = user.as_ref().map(|user| user.password_hash.as_str());
    let is_right = app.passwords.verify(&request.password, stored).await?;
    let now = app.clock.now();
    let Some(user) = user.filter(|_| is_right) else {
        refuse(&app, &attempt, email, address, now).await?;
        return Err(Problem::unauthorized("Incorrect email or password"));
    };

    let mut transaction = app.pool.begin().await?;
    let token = begin_session(&mut transaction, user.id, address, &headers, now).await?;
    users::logged_in(&mut *transaction, user.id, None, now).await?;
    Entry::new("auth.login")
        .target("user", user.id)
        .record(&mut transaction, Actor::user(user.id, &user.email, address), now)
        .await?;
    transaction.commit().await?;
    attempt.succeeded(&app.pool).await?;
    let cookie = [(header::SET_COOKIE, session_cookie(&app.config, token.reveal()))];
    let body = TokenResponse { access_token: token.into_string(), token_type: "bearer" };
    Ok((cookie, Json(body)).into_response())
}

/// Sign out: the session is worth nothing from now on.
#[utoipa::path(post, path = "/api/auth/logout", tag = "auth", operation_id = "logout", responses((status = 204)))]
async fn logout(State(app): State<AppState>, caller: Caller) -> Result<Response, Problem> {
    if let Via::Session { id } = caller.via {
        let mut transaction = app.pool.begin().await?;
        sessions::delete(&mut *transaction, caller.user_id, id).await?;
        Entry::new("auth.logout").record(&mut transaction, Actor::caller(&caller), app.clock.now()).await?;
        transaction.commit().await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, removal_cookie(&app.config))]).into_response())
}

/// Show one's own account.
#[utoipa::path(get, path = "/api/auth/me", tag = "auth", operation_id = "me", responses((status = 200, body = UserResponse)))]
async fn me(State(app): State<AppState>, caller: Caller) -> Result<Json<UserResponse>, Problem> {
    Ok(Json(own_account(&app, &caller).await?.into()))
}

/// Choose the colours of the pages.
#[utoipa::path(put, path = "/api/auth/me", tag = "auth", operation_id = "update_me", request_body = UserThemeUpdateRequest,
    responses((status = 200, body = UserResponse), (status = 422, body = ProblemBody)))]
async fn change_me(
    State(app): State<AppState>,
    caller: Caller,
    Json(request): Json<UserThemeUpdateRequest>,
) -> Result<Json<UserResponse>, Problem> {
    let change =
        UserChange { theme_preference: Some(request.theme_preference.as_str()), ..UserChange::default() };
    users::update(&app.pool, caller.user_id, &change, app.clock.now()).await?;
    Ok(Json(own_account(&app, &caller).await?.into()))
}

/// Change one's own password. Ends all of one's other sessions.
#[utoipa::path(post, path = "/api/auth/password", tag = "auth", operation_id = "change_password", request_body = PasswordChange,
    responses((status = 204), (status = 400, body = ProblemBody), (status = 422, body = ProblemBody), (status = 429, body = ProblemBody)))]
async fn change_password(
    State(app): State<AppState>,
    caller: Caller,
    Json(request): Json<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let Via::Session { id: session } = caller.via else {
        return Err(Problem::forbidden("An API key cannot change its owner's password; sign in"));
    };
    let attempt = Attempt::new(&caller.email, caller.address);
    refuse_if_blocked(&app, &attempt).await?;
    let user = own_account(&app, &caller).await?;
    let now = app.clock.now();
    if !app.passwords.verify(&request.current_password, Some(&user.password_hash)).await? {
        attempt.failed(&app.pool, Throttle::default(), now).await?;
        return Err(Problem::bad_request("The current password is wrong"));
    }
    check_password(&request.new_password).map_err(|_| {
        Problem::invalid_value(&["body", "new_password"], "Password must have at least 8 characters", "")
    })?;
    let password_hash = app.passwords.hash(&request.new_password).await?;

    let mut transaction = app.pool.begin().await?;
    let change = UserChange { password_hash: Some(&password_hash), ..UserChange::default() };
    users::update(&mut *transaction, user.id, &change, now).await?;
    sessions::delete_of_user(&mut *transaction, user.id, Some(session)).await?;
    Entry::new("auth.change_password").record(&mut transaction, Actor::caller(&caller), now).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List one's own sessions, last used first.
#[utoipa::path(get, path = "/api/auth/sessions", tag = "auth", operation_id = "list_sessions",
    responses((status = 200, body = SessionList)))]
async fn list_sessions(State(app): State<AppState>, caller: Caller) -> Result<Json<SessionList>, Problem> {
    let own = own_session(&caller);
    let sessions = sessions::list(&app.pool, caller.user_id, app.clock.now()).await?;
    let sessions = sessions.into_iter().map(|session| Session {
        id: session.id,
        kind: session.kind,
        current: own == Some(session.id),
        created_at: session.created_at,
        last_used_at: session.last_used_at,
        expires_at: session.expires_at,
        address: session.address.map(|address| address.to_string()),
        user_agent: session.user_agent,
    });
    Ok(Json(SessionList { sessions: sessions.collect() }))
}

/// End all of one's sessions but this one.
#[utoipa::path(delete, path = "/api/auth/sessions", tag = "auth", operation_id = "end_other_sessions", responses((status = 204)))]
async fn end_other_sessions(State(app): State<AppState>, caller: Caller) -> Result<StatusCode, Problem> {
    let mut transaction = app.pool.begin().await?;
    let ended = sessions::delete_of_user(&mut *transaction, caller.user_id, own_session(&caller)).await?;
    Entry::new("auth.end_sessions")
        .detail(json!({ "ended": ended }))
        .record(&mut transaction, Actor::caller(&caller), app.clock.now())
        .await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End one of one's sessions.
#[utoipa::path(delete, path = "/api/auth/sessions/{session_id}", tag = "auth", operation_id = "end_session",
    params(("session_id" = i64, Path)), responses((status = 204), (status = 404, body = ProblemBody)))]
async fn end_session(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    let mut transaction = app.pool.begin().await?;
    if !sessions::delete(&mut *transaction, caller.user_id, id).await? {
        return Err(Problem::not_found("Session not found"));
    }
    Entry::new("auth.end_session")
        .target("session", id)
        .record(&mut transaction, Actor::caller(&caller), app.clock.now())
        .await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins a session for whoever has just shown who they are.
pub(super) async fn begin_session(
    db: &mut PgConnection,
    user_id: i64,
    address: Option<ClientAddress>,
    headers: &HeaderMap,
    now: DateTime<Utc>,
) -> Result<Token, Problem> {
    let token = Token::generate(TokenKind::Session);
    let user_agent = user_agent(headers);
    let session = NewSession {
        user_id,
        token_hash: &token.hash(),
        // Every current browser sends this header, programs do not.
        kind: if headers.contains_key("sec-fetch-site") { "cookie" } else { "bearer" },
        expires_at: now + SESSION_IDLE,
        ends_at: now + SESSION_LIFE,
        address: address.map(|address| address.0),
        user_agent: user_agent.as_deref(),
    };
    sessions::insert(db, &session, now).await?;
    Ok(token)
}

/// 429 while the account or the network has to wait.
pub(super) async fn refuse_if_blocked(app: &AppState, attempt: &Attempt) -> Result<(), Problem> {
    match attempt.wait(&app.pool, app.clock.now()).await? {
        None => Ok(()),
        Some(wait) => {
            let seconds = wait.num_seconds().max(0).unsigned_abs() + 1;
            Err(Problem::too_many(format!("Too many failed attempts; try again in {seconds} s"), seconds))
        }
    }
}

async fn refuse(
    app: &AppState,
    attempt: &Attempt,
    email: &str,
    address: Option<ClientAddress>,
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    attempt.failed(&app.pool, Throttle::default(), now).await?;
    let mut transaction = app.pool.begin().await?;
    Entry::new("auth.login")
        .refused()
        .record(&mut transaction, Actor::anonymous(email, address), now)
        .await?;
    transaction.commit().await?;
    Ok(())
}

async fn own_account(app: &AppState, caller: &Caller) -> Result<User, Problem> {
    let gone = || Problem::unauthorized("Could not validate credentials");
    users::find(&app.pool, caller.user_id).await?.ok_or_else(gone)
}

fn own_session(caller: &Caller) -> Option<i64> {
    match caller.via {
        Via::Session { id } => Some(id),
        Via::ApiKey { .. } => None,
    }
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes)?;
    Some(portreeve_model::SafeText::sanitize_to(text, 255).into_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        test_support::{Client, TestApp},
    };
    use chrono::TimeDelta;
    use serde_json::Value;

    const EMAIL: &str = "ada@example.org";
    const PASSWORD: &str = "correct horse";

    async fn app_with_user() -> TestApp {
        let app = TestApp::new().await;
        add_user(&app).await;
        app
    }

    async fn add_user(app: &TestApp) {
        let hash = app.state().passwords.hash(PASSWORD).await.unwrap();
        let new = users::NewUser { email: EMAIL, password_hash: &hash, role: Role::Viewer };
        users::insert(app.pool(), &new, app.now()).await.unwrap();
    }

    fn credentials(password: &str) -> Value {
        json!({"email": EMAIL, "password": password})
    }

    async fn sign_in(app: &TestApp) -> Client {
        let reply = app.anonymous().post("/api/auth/login", credentials(PASSWORD)).await;
        reply.assert_status(200);
        assert_eq!(reply.json()["token_type"], "bearer");
        app.anonymous().bearer(reply.json()["access_token"].as_str().unwrap())
    }

    #[tokio::test]
    async fn a_bearer_session_lasts_until_logout() {
        let app = app_with_user().await;
        let client = sign_in(&app).await;
        let me = client.get("/api/auth/me").await;
        assert_eq!((&me.json()["email"], &me.json()["role"]), (&json!(EMAIL), &json!("viewer")));
        let changed = client.put("/api/auth/me", json!({"theme_preference": "dark"})).await;
        assert_eq!(changed.json()["theme_preference"], "dark");
        client.put("/api/auth/me", json!({"theme_preference": "pink"})).await.assert_status(422);

        client.post("/api/auth/logout", json!(null)).await.assert_status(204);
        client.get("/api/auth/me").await.assert_problem(401, "Could not validate credentials");
        app.assert_audited(&["auth.login", "auth.logout"]).await;
    }

    #[tokio::test]
    async fn a_cookie_works_like_a_bearer_and_only_from_our_own_pages() {
        let app = app_with_user().await;
        let browser = app.anonymous().header("sec-fetch-site", "same-origin");
        let reply = browser.post("/api/auth/login", credentials(PASSWORD)).await;
        let cookie = reply.header("set-cookie").unwrap().to_owned();
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        let browser = browser.header("cookie", cookie.split(';').next().unwrap());
        browser.put("/api/auth/me", json!({"theme_preference": "light"})).await.assert_status(200);

        let foreign =
            browser.clone().header("sec-fetch-site", "cross-site").header("origin", "https://evil.example");
        foreign.put("/api/auth/me", json!({"theme_preference": "dark"})).await.assert_status(403);
        let old_browser =
            app.anonymous().header("origin", "https://evil.example").header("host", "127.0.0.1:8080");
        old_browser.post("/api/auth/login", credentials(PASSWORD)).await.assert_status(403);
    }

    #[tokio::test]
    async fn with_tls_the_cookie_is_bound_to_the_host() {
        let config = Config { public_url: Some("https://ports.example.org".to_owned()), ..Config::default() };
        let app = TestApp::with_config(config).await;
        add_user(&app).await;
        let reply = app.anonymous().post("/api/auth/login", credentials(PASSWORD)).await;
        let cookie = reply.header("set-cookie").unwrap();
        assert!(cookie.starts_with("__Host-portreeve=prs_") && cookie.ends_with("; Secure"), "{cookie}");
    }

    #[tokio::test]
    async fn sessions_slide_with_use_and_end_without() {
        let app = app_with_user().await;
        let client = sign_in(&app).await;
        for _ in 0..3 {
            app.clock().advance(TimeDelta::hours(11));
            client.get("/api/auth/me").await.assert_status(200);
        }
        app.clock().advance(TimeDelta::hours(12));
        client.get("/api/auth/me").await.assert_status(401);
    }

    #[tokio::test]
    async fn no_session_outlives_its_end() {
        let app = app_with_user().await;
        let client = sign_in(&app).await;
        for _ in 0..65 {
            app.clock().advance(TimeDelta::hours(11));
            client.get("/api/auth/me").await.assert_status(200);
        }
        app.clock().advance(TimeDelta::hours(6));
        client.get("/api/auth/me").await.assert_status(401);
    }

    #[tokio::test]
    async fn wrong_passwords_and_unknown_accounts_read_alike_and_are_slowed_down() {
        let app = app_with_user().await;
        let sentence = "Incorrect email or password";
        for _ in 0..5 {
            app.anonymous().post("/api/auth/login", credentials("wrong")).await.assert_problem(401, sentence);
        }
        let unknown = json!({"email": "nobody@example.org", "password": "wrong"});
        app.anonymous().post("/api/auth/login", unknown).await.assert_problem(401, sentence);

        let blocked = app.anonymous().post("/api/auth/login", credentials(PASSWORD)).await;
        blocked.assert_status(429);
        assert!(blocked.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        app.clock().advance(TimeDelta::seconds(2));
        sign_in(&app).await;
        assert_eq!(app.audited().await.iter().filter(|action| *action == "auth.login").count(), 7);
    }

    #[tokio::test]
    async fn a_closed_account_does_not_open() {
        let app = app_with_user().await;
        let change = UserChange { disabled: Some(true), ..UserChange::default() };
        let user = users::find_by_email(app.pool(), EMAIL).await.unwrap().unwrap();
        users::update(app.pool(), user.id, &change, app.now()).await.unwrap();
        app.anonymous().post("/api/auth/login", credentials(PASSWORD)).await.assert_status(401);
    }

    #[tokio::test]
    async fn a_new_password_ends_the_other_sessions() {
        let app = app_with_user().await;
        let (here, there) = (sign_in(&app).await, sign_in(&app).await);
        let change = json!({"current_password": PASSWORD, "new_password": "another horse"});
        let wrong = json!({"current_password": "x", "new_password": "another horse"});
        here.post("/api/auth/password", wrong).await.assert_problem(400, "The current password is wrong");
        let short = json!({"current_password": PASSWORD, "new_password": "short"});
        here.post("/api/auth/password", short).await.assert_status(422);
        here.post("/api/auth/password", change).await.assert_status(204);
        here.get("/api/auth/me").await.assert_status(200);
        there.get("/api/auth/me").await.assert_status(401);
        app.anonymous().post("/api/auth/login", credentials("another horse")).await.assert_status(200);
    }

    #[tokio::test]
    async fn sessions_are_seen_and_ended() {
        let app = app_with_user().await;
        let (here, there) = (sign_in(&app).await, sign_in(&app).await);
        let list = here.get("/api/auth/sessions").await.json();
        let sessions = list["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), 2);
        let other = sessions.iter().find(|session| session["current"] == false).unwrap();
        let path = format!("/api/auth/sessions/{}", other["id"]);
        // Another user's session is not there to be ended.
        app.login(Role::Admin).await.delete(&path).await.assert_problem(404, "Session not found");
        here.delete(&path).await.assert_status(204);
        there.get("/api/auth/me").await.assert_status(401);
        let third = sign_in(&app).await;
        here.delete("/api/auth/sessions").await.assert_status(204);
        third.get("/api/auth/me").await.assert_status(401);
        here.get("/api/auth/me").await.assert_status(200);
    }

    #[tokio::test]
    async fn agents_and_users_never_mix() {
        let app = TestApp::new().await;
        let agent = app.agent("one").await;
        assert_eq!(agent.agent_id(), 1);
        // The agent's number is also the admin's: that must open nothing.
        let admin = app.login(Role::Admin).await;
        assert_eq!((admin.user_id(), admin.email()), (1, "admin0@example.org"));
        agent.get("/api/auth/me").await.assert_problem(401, "Could not validate credentials");
        agent.get("/api/users").await.assert_status(401);
    }
}
