//! `/api/setup`: makes the first admin, once.

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    ApiRouter, Json, Problem, ProblemBody,
    login::{self, UserResponse},
    users::{check_email, check_password},
};
use crate::{
    audit::{Actor, Entry},
    auth::{Access, Attempt, ClientAddress, Role, Throttle, hash_token, session_cookie},
    state::AppState,
    store::{
        setup,
        users::{self, NewUser},
    },
};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Public, routes!(state, complete))
}

/// Whether the first account is still to be made.
#[derive(Debug, Serialize, ToSchema)]
pub struct SetupState {
    /// True until there is an account.
    required: bool,
}

/// The first account.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SetupRequest {
    /// From the link that the server printed.
    token: String,
    /// E-mail address of the admin.
    email: String,
    /// At least 8 characters.
    password: String,
}

/// Say whether the first account is still to be made.
#[utoipa::path(get, path = "/api/setup", tag = "setup", operation_id = "setup_state",
    responses((status = 200, body = SetupState)))]
async fn state(State(app): State<AppState>) -> Result<Json<SetupState>, Problem> {
    Ok(Json(SetupState { required: !users::any(&app.pool).await? }))
}

/// Make the first account, an admin, and sign it in. Works once, with the token of the link that the server printed.
#[utoipa::path(post, path = "/api/setup", tag = "setup", operation_id = "complete_setup",
    request_body = SetupRequest,
    responses((status = 200, body = UserResponse), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn complete(
    State(app): State<AppState>,
    address: Option<ClientAddress>,
    headers: HeaderMap,
    Json(request): Json<SetupRequest>,
) -> Result<Response, Problem> {
    let email = check_email(&request.email)?;
    check_password(&request.password)?;
    let now = app.clock.now();
    let attempt = Attempt::new("set-up", address);
    login::refuse_if_blocked(&app, &attempt).await?;
    let password_hash = app.passwords.hash(&request.password).await?;

    let mut transaction = app.pool.begin().await?;
    // Taking the only row first makes two set-ups at the same moment wait for each other.
    let is_right = setup::take(&mut *transaction, &hash_token(&request.token), now).await?;
    if users::any(&mut *transaction).await? {
        return Err(Problem::conflict("Portreeve is already set up; sign in"));
    }
    if !is_right {
        transaction.rollback().await?;
        attempt.failed(&app.pool, Throttle::default(), now).await?;
        return Err(Problem::forbidden(
            "The set-up link is wrong or too old; restart the server for a new one",
        ));
    }
    let new = NewUser { email, password_hash: &password_hash, role: Role::Admin };
    let id = users::insert(&mut *transaction, &new, now).await?;
    let token = login::begin_session(&mut transaction, id, address, &headers, now).await?;
    Entry::new("setup.complete")
        .target("user", id)
        .detail(json!({ "email": email }))
        .record(&mut transaction, Actor::anonymous(email, address), now)
        .await?;
    transaction.commit().await?;

    let user = users::find(&app.pool, id).await?.ok_or_else(Problem::internal)?;
    let cookie = [(header::SET_COOKIE, session_cookie(&app.config, token.reveal()))];
    Ok((cookie, Json(UserResponse::from(user))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::{Token, TokenKind},
        test_support::TestApp,
    };
    use chrono::TimeDelta;

    async fn app_with_link() -> (TestApp, String) {
        let app = TestApp::new().await;
        let (token, now) = (Token::generate(TokenKind::Setup), app.now());
        setup::replace(app.pool(), &token.hash(), now, now + TimeDelta::hours(1)).await.unwrap();
        (app, token.into_string())
    }

    fn body(token: &str) -> serde_json::Value {
        json!({"token": token, "email": "ada@example.org", "password": "long enough"})
    }

    #[tokio::test]
    async fn the_link_makes_one_admin_and_signs_it_in() {
        let (app, token) = app_with_link().await;
        let client = app.anonymous();
        assert_eq!(client.get("/api/setup").await.json(), json!({"required": true}));
        let made = client.post("/api/setup", body(&token)).await;
        made.assert_status(200);
        assert_eq!(made.json()["role"], "admin");
        let cookie = made.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        client.clone().header("cookie", &cookie).get("/api/users").await.assert_status(200);

        assert_eq!(client.get("/api/setup").await.json(), json!({"required": false}));
        client
            .post("/api/setup", body(&token))
            .await
            .assert_problem(409, "Portreeve is already set up; sign in");
        app.assert_audited(&["setup.complete"]).await;
    }

    #[tokio::test]
    async fn a_wrong_or_old_link_makes_nothing() {
        let (app, token) = app_with_link().await;
        let client = app.anonymous();
        client.post("/api/setup", body("pru_wrong")).await.assert_status(403);
        app.clock().advance(TimeDelta::hours(2));
        client.post("/api/setup", body(&token)).await.assert_status(403);
        assert_eq!(client.get("/api/setup").await.json(), json!({"required": true}));
    }

    #[tokio::test]
    async fn guessing_is_slowed_down() {
        let (app, _) = app_with_link().await;
        for _ in 0..5 {
            app.anonymous().post("/api/setup", body("pru_wrong")).await.assert_status(403);
        }
        app.anonymous().post("/api/setup", body("pru_wrong")).await.assert_status(429);
    }
}
