//! `/api/users`: accounts and their rights.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use utoipa_axum::routes;

use axum::{extract::State, http::StatusCode};

use super::{ApiRouter, Json, OnConstraint, Path, Problem, ProblemBody, present};
use crate::{
    audit::{Actor, Entry},
    auth::{self, Access, Caller, Permission, Role, check_new_password},
    state::AppState,
    store::{
        sessions,
        users::{self as store, NewUser, User, UserChange},
    },
};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    let access = Access::Needs(Permission::UsersManage);
    ApiRouter::new().route(access, routes!(list, create)).route(access, routes!(show, update, remove))
}

/// An account, as an admin sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct AdminUserResponse {
    /// Number.
    id: i64,
    /// E-mail address, which is also the log-in name.
    email: String,
    /// What the user may do.
    role: Role,
    /// Colours of the pages: `light`, `dark` or `system`.
    theme_preference: String,
    /// The only networks the user may see; null = all.
    network_ids: Option<Vec<i64>>,
    /// The account is closed.
    disabled: bool,
    /// Last time the password was given.
    last_login_at: Option<DateTime<Utc>>,
    /// When the account was made.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<User> for AdminUserResponse {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            role: user.role,
            theme_preference: user.theme_preference,
            network_ids: user.limited_to_networks.then_some(user.network_ids),
            disabled: user.disabled_at.is_some(),
            last_login_at: user.last_login_at,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// All accounts.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserListResponse {
    /// Newest first.
    users: Vec<AdminUserResponse>,
    /// How many there are.
    total: usize,
}

/// An account to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UserCreateRequest {
    /// E-mail address.
    #[schema(example = "ada@example.org")]
    email: String,
    /// At least 8 characters.
    password: String,
    /// What the user may do.
    #[serde(default = "viewer")]
    role: Role,
    /// The only networks the user may see; left out or null = all.
    #[serde(default)]
    network_ids: Option<Vec<i64>>,
}

fn viewer() -> Role {
    Role::Viewer
}

/// What to change; what is left out (or null) stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UserUpdateRequest {
    /// E-mail address.
    email: Option<String>,
    /// A new password; ends the user's sessions.
    password: Option<String>,
    /// What the user may do.
    role: Option<Role>,
    /// Closes or opens the account; closing ends the user's sessions.
    disabled: Option<bool>,
    /// The only networks the user may see; null = all.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<i64>>)]
    #[expect(clippy::option_option, reason = "left out and null mean different things")]
    network_ids: Option<Option<Vec<i64>>>,
}

/// List all accounts, newest first.
#[utoipa::path(get, path = "/api/users", tag = "users", operation_id = "list_users",
    responses((status = 200, body = UserListResponse)))]
async fn list(State(app): State<AppState>) -> Result<Json<UserListResponse>, Problem> {
    let users: Vec<_> = store::list(&app.pool).await?.into_iter().map(AdminUserResponse::from).collect();
    Ok(Json(UserListResponse { total: users.len(), users }))
}

/// Make an account.
#[utoipa::path(post, path = "/api/users", tag = "users", operation_id = "create_user",
    request_body = UserCreateRequest,
    responses((status = 201, body = AdminUserResponse), (status = 400, body = ProblemBody), (status = 422, body = ProblemBody)))]
async fn create(
    State(app): State<AppState>,
    caller: Caller,
    Json(request): Json<UserCreateRequest>,
) -> Result<(StatusCode, Json<AdminUserResponse>), Problem> {
    let email = check_email(&request.email)?;
    check_password(&request.password)?;
    let password_hash = app.passwords.hash(&request.password).await?;
    let now = app.clock.now();

    let mut transaction = app.pool.begin().await?;
    let new = NewUser { email, password_hash: &password_hash, role: request.role };
    let id =
        store::insert(&mut *transaction, &new, now).await.on_constraint("users_email_key", email_taken)?;
    limit(&mut transaction, id, request.network_ids.as_deref()).await?;
    Entry::new("user.create")
        .target("user", id)
        .detail(json!({ "email": email, "role": request.role, "network_ids": request.network_ids }))
        .record(&mut transaction, Actor::caller(&caller), now)
        .await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(find(&app, id).await?)))
}

/// Show an account.
#[utoipa::path(get, path = "/api/users/{user_id}", tag = "users", operation_id = "show_user",
    params(("user_id" = i64, Path)),
    responses((status = 200, body = AdminUserResponse), (status = 404, body = ProblemBody)))]
async fn show(State(app): State<AppState>, Path(id): Path<i64>) -> Result<Json<AdminUserResponse>, Problem> {
    Ok(Json(find(&app, id).await?))
}

/// Change an account. A new password, a new role and closing it end its sessions.
#[utoipa::path(put, path = "/api/users/{user_id}", tag = "users", operation_id = "update_user",
    params(("user_id" = i64, Path)), request_body = UserUpdateRequest,
    responses((status = 200, body = AdminUserResponse), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn update(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(request): Json<UserUpdateRequest>,
) -> Result<Json<AdminUserResponse>, Problem> {
    let email = request.email.as_deref().map(check_email).transpose()?;
    let password_hash = match &request.password {
        Some(password) => {
            check_password(password)?;
            Some(app.passwords.hash(password).await?)
        }
        None => None,
    };
    let now = app.clock.now();

    let mut transaction = app.pool.begin().await?;
    let before = store::find(&mut *transaction, id).await?.ok_or_else(unknown_user)?;
    let loses_admin = request.role.is_some_and(|role| role < Role::Admin) || request.disabled == Some(true);
    if loses_admin {
        keep_one_admin(&mut transaction, &before).await?;
    }
    let change = UserChange {
        email,
        password_hash: password_hash.as_deref(),
        role: request.role,
        disabled: request.disabled,
        theme_preference: None,
    };
    store::update(&mut *transaction, id, &change, now).await.on_constraint("users_email_key", email_taken)?;
    if let Some(networks) = &request.network_ids {
        limit(&mut transaction, id, networks.as_deref()).await?;
    }
    if password_hash.is_some() || loses_admin {
        let keep = own_session(&caller, id);
        sessions::delete_of_user(&mut *transaction, id, keep).await?;
    }
    Entry::new("user.update")
        .target("user", id)
        .detail(json!({
            "email": request.email, "role": request.role, "disabled": request.disabled,
            "network_ids": request.network_ids, "password_changed": password_hash.is_some(),
        }))
        .record(&mut transaction, Actor::caller(&caller), now)
        .await?;
    transaction.commit().await?;
    Ok(Json(find(&app, id).await?))
}

/// Remove an account. What its user wrote stays under the name it was written under.
#[utoipa::path(delete, path = "/api/users/{user_id}", tag = "users", operation_id = "delete_user",
    params(("user_id" = i64, Path)),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 404, body = ProblemBody)))]
async fn remove(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    if id == caller.user_id {
        return Err(Problem::bad_request("You cannot delete your own account; ask another admin"));
    }
    let mut transaction = app.pool.begin().await?;
    let user = store::find(&mut *transaction, id).await?.ok_or_else(unknown_user)?;
    keep_one_admin(&mut transaction, &user).await?;
    store::delete(&mut *transaction, id).await?;
    Entry::new("user.delete")
        .target("user", id)
        .detail(json!({ "email": user.email, "role": user.role }))
        .record(&mut transaction, Actor::caller(&caller), app.clock.now())
        .await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(app: &AppState, id: i64) -> Result<AdminUserResponse, Problem> {
    Ok(store::find(&app.pool, id).await?.ok_or_else(unknown_user)?.into())
}

async fn limit(db: &mut PgConnection, id: i64, networks: Option<&[i64]>) -> Result<(), Problem> {
    let unknown = || Problem::bad_request("network_ids names a network that does not exist");
    store::limit_to_networks(db, id, networks).await.on_constraint("user_networks_network_id_fkey", unknown)
}

/// Without an admin nobody could ever make one again.
async fn keep_one_admin(db: &mut PgConnection, user: &User) -> Result<(), Problem> {
    let is_admin = user.role == Role::Admin && user.disabled_at.is_none();
    if is_admin && store::other_admins(db, user.id).await? == 0 {
        return Err(Problem::bad_request("This is the last admin; make another user an admin first"));
    }
    Ok(())
}

/// The caller's own session survives the change of the caller's own password.
fn own_session(caller: &Caller, id: i64) -> Option<i64> {
    match caller.via {
        auth::Via::Session { id: session } if caller.user_id == id => Some(session),
        _ => None,
    }
}

fn unknown_user() -> Problem {
    Problem::not_found("User not found")
}

fn email_taken() -> Problem {
    Problem::bad_request("A user with this email already exists")
}

pub(super) fn check_email(email: &str) -> Result<&str, Problem> {
    auth::check_email(email).map_err(|reason| Problem::invalid_value(&["body", "email"], reason, email))
}

pub(super) fn check_password(password: &str) -> Result<(), Problem> {
    check_new_password(password).map_err(|message| Problem::invalid_value(&["body", "password"], message, ""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::test_support::TestApp;

    #[tokio::test]
    async fn an_admin_makes_changes_and_removes_a_user() {
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;

        let made =
            admin.post("/api/users", json!({"email": "ada@example.org", "password": "long enough"})).await;
        made.assert_status(201);
        assert_eq!(made.json()["role"], "viewer");
        assert_eq!(made.json()["network_ids"], json!(null));
        let path = format!("/api/users/{}", made.json()["id"]);

        let changed = admin.put(&path, json!({"role": "operator", "email": "ada@example.com"})).await;
        changed.assert_status(200);
        assert_eq!(changed.json()["role"], "operator");
        assert_eq!(changed.json()["email"], "ada@example.com");
        assert_eq!(admin.get("/api/users").await.json()["total"], 2);

        admin.delete(&path).await.assert_status(204);
        admin.get(&path).await.assert_problem(404, "User not found");
        app.assert_audited(&["user.create", "user.update", "user.delete"]).await;
    }

    #[tokio::test]
    async fn the_same_address_is_taken_however_it_is_spelt() {
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        let body = json!({"email": "ada@example.org", "password": "long enough"});
        admin.post("/api/users", body).await.assert_status(201);
        let again = json!({"email": "ADA@example.org", "password": "long enough"});
        admin.post("/api/users", again).await.assert_problem(400, "A user with this email already exists");
    }

    #[tokio::test]
    async fn wrong_input_is_refused_with_its_place() {
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        for (body, place) in [
            (json!({"email": "root@localhost", "password": "long enough"}), "email"),
            (json!({"email": "a@example.org", "password": "short"}), "password"),
            (json!({"email": "a@example.org"}), "password"),
            (json!({"email": "a@example.org", "password": "long enough", "role": "god"}), "role"),
        ] {
            let refused = admin.post("/api/users", body).await;
            refused.assert_status(422);
            assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", place]));
        }
        let body = json!({"email": "a@example.org", "password": "long enough", "network_ids": [99]});
        admin.post("/api/users", body).await.assert_status(400);
        admin.get("/api/users/x").await.assert_status(422);
    }

    #[tokio::test]
    async fn the_last_admin_stays() {
        let app = TestApp::new().await;
        let admin = app.login(Role::Admin).await;
        let own = format!("/api/users/{}", admin.user_id());
        let sentence = "This is the last admin; make another user an admin first";
        admin.put(&own, json!({"role": "viewer"})).await.assert_problem(400, sentence);
        admin.put(&own, json!({"disabled": true})).await.assert_problem(400, sentence);
        admin.delete(&own).await.assert_status(400);
    }

    #[tokio::test]
    async fn only_admins_get_in() {
        let app = TestApp::new().await;
        for role in [Role::Viewer, Role::Analyst, Role::Operator] {
            let client = app.login(role).await;
            client.get("/api/users").await.assert_problem(403, "Admin access required");
        }
        app.anonymous().get("/api/users").await.assert_problem(401, "Not authenticated");
        app.anonymous()
            .bearer("prs_nonsense")
            .get("/api/users")
            .await
            .assert_problem(401, "Could not validate credentials");
    }

    #[tokio::test]
    async fn closing_an_account_ends_its_sessions() {
        let app = TestApp::new().await;
        let (admin, other) = (app.login(Role::Admin).await, app.login(Role::Admin).await);
        other.get("/api/users").await.assert_status(200);
        admin
            .put(&format!("/api/users/{}", other.user_id()), json!({"disabled": true}))
            .await
            .assert_status(200);
        other.get("/api/users").await.assert_status(401);
    }
}
