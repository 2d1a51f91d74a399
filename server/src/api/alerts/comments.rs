//! `/api/alerts/{alert_id}/comments`: what people wrote.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{find, triage::by};
use crate::{
    api::{
        ApiRouter, Json, Path, Problem,
        common::{Created, body_text},
    },
    auth::{Access, Caller, Permission, Role},
    state::AppState,
    store::alerts::{self as store, AlertComment},
};

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::InventoryRead), routes!(list_alert_comments))
        .route(Access::Needs(Permission::AlertsTriage), routes!(create_alert_comment))
        .route(Access::Needs(Permission::AlertsTriage), routes!(update_alert_comment, delete_alert_comment))
}

/// Words on an alert.
#[derive(Debug, Deserialize, ToSchema)]
struct AlertCommentText {
    /// 1-10000 characters.
    comment: String,
}

/// Comments on an alert.
#[derive(Debug, Serialize, ToSchema)]
struct AlertCommentList {
    /// Oldest first.
    comments: Vec<AlertComment>,
    /// How many there are.
    total: usize,
}

/// Lists the comments on an alert, oldest first.
#[utoipa::path(get, path = "/api/alerts/{alert_id}/comments", tag = "alerts",
    params(("alert_id" = i64, Path, description = "Number of the alert")),
    responses((status = 200, body = AlertCommentList), (status = 404, description = "No such alert")))]
async fn list_alert_comments(
    State(state): State<AppState>,
    caller: Caller,
    Path(alert_id): Path<i64>,
) -> Result<Json<AlertCommentList>, Problem> {
    find(&state, &caller, alert_id).await?;
    let comments = store::comments(&state.pool, alert_id).await?;
    Ok(Json(AlertCommentList { total: comments.len(), comments }))
}

/// Comments on an alert.
#[utoipa::path(post, path = "/api/alerts/{alert_id}/comments", tag = "alerts", request_body = AlertCommentText,
    params(("alert_id" = i64, Path, description = "Number of the alert")),
    responses((status = 201, body = AlertComment), (status = 404, description = "No such alert"),
              (status = 422, description = "Empty or too long")))]
async fn create_alert_comment(
    State(state): State<AppState>,
    caller: Caller,
    Path(alert_id): Path<i64>,
    Json(body): Json<AlertCommentText>,
) -> Result<Created<AlertComment>, Problem> {
    body_text("comment", &body.comment, 1, 10_000)?;
    find(&state, &caller, alert_id).await?;
    let comment = store::add_comment(&state.pool, alert_id, &body.comment, by(&state, &caller)).await?;
    Ok(Created(comment))
}

/// Changes a comment of one's own; an admin may change any.
#[utoipa::path(patch, path = "/api/alerts/{alert_id}/comments/{comment_id}", tag = "alerts",
    request_body = AlertCommentText,
    params(("alert_id" = i64, Path, description = "Number of the alert"),
           ("comment_id" = i64, Path, description = "Number of the comment")),
    responses((status = 200, body = AlertComment), (status = 404, description = "No such alert or comment")))]
async fn update_alert_comment(
    State(state): State<AppState>,
    caller: Caller,
    Path((alert_id, comment_id)): Path<(i64, i64)>,
    Json(body): Json<AlertCommentText>,
) -> Result<Json<AlertComment>, Problem> {
    body_text("comment", &body.comment, 1, 10_000)?;
    own_comment(&state, &caller, alert_id, comment_id, "edit").await?;
    let now = state.clock.now();
    Ok(Json(store::edit_comment(&state.pool, comment_id, &body.comment, now).await?))
}

/// Deletes a comment of one's own; an admin may delete any.
#[utoipa::path(delete, path = "/api/alerts/{alert_id}/comments/{comment_id}", tag = "alerts",
    params(("alert_id" = i64, Path, description = "Number of the alert"),
           ("comment_id" = i64, Path, description = "Number of the comment")),
    responses((status = 204, description = "Deleted"), (status = 404, description = "No such alert or comment")))]
async fn delete_alert_comment(
    State(state): State<AppState>,
    caller: Caller,
    Path((alert_id, comment_id)): Path<(i64, i64)>,
) -> Result<StatusCode, Problem> {
    own_comment(&state, &caller, alert_id, comment_id, "delete").await?;
    store::delete_comment(&state.pool, comment_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// 404 or 403 unless there is such a comment and the caller may touch it.
async fn own_comment(
    state: &AppState,
    caller: &Caller,
    alert_id: i64,
    comment_id: i64,
    verb: &str,
) -> Result<(), Problem> {
    find(state, caller, alert_id).await?;
    let comment = store::find_comment(&state.pool, alert_id, comment_id).await?;
    let comment = comment.ok_or_else(|| Problem::not_found("Comment not found"))?;
    if comment.user_id == Some(caller.user_id) || caller.role == Role::Admin {
        return Ok(());
    }
    Err(Problem::forbidden(format!("You can only {verb} your own comments")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn comments_belong_to_their_author_and_outlive_the_account() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let alert = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        let other = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 23).await;
        let (ada, bob) = (app.login(Role::Analyst).await, app.login(Role::Analyst).await);
        let admin = app.login(Role::Admin).await;
        let path = format!("/api/alerts/{alert}/comments");
        let made = ada.post(&path, json!({ "comment": "Looking at it" })).await.assert_status(201).json();
        let one = format!("{path}/{}", made["id"]);
        bob.patch(&one, json!({ "comment": "no" }))
            .await
            .assert_problem(403, "You can only edit your own comments");
        bob.delete(&one).await.assert_problem(403, "You can only delete your own comments");
        lab.pass(1);
        let edited = ada.patch(&one, json!({ "comment": "Done" })).await.assert_status(200).json();
        assert_eq!(
            (&edited["comment"], &edited["updated_at"]),
            (&json!("Done"), &json!("2026-01-01T00:01:00Z"))
        );
        let elsewhere = format!("/api/alerts/{other}/comments/{}", made["id"]);
        ada.patch(&elsewhere, json!({ "comment": "x" })).await.assert_problem(404, "Comment not found");

        admin.delete(&format!("/api/users/{}", ada.user_id())).await.assert_status(204);
        let kept = bob.get(&path).await.json();
        assert_eq!((&kept["total"], &kept["comments"][0]["user_id"]), (&json!(1), &Value::Null));
        assert_eq!(kept["comments"][0]["user_email"], ada.email());
        assert_eq!(bob.get(&format!("/api/alerts/{alert}")).await.json()["comments"], kept["comments"]);
        admin.delete(&one).await.assert_status(204);
        assert_eq!(bob.get(&path).await.json()["total"], 0);
    }

    #[tokio::test]
    async fn empty_endless_and_stray_comments_are_refused() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let alert = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        let analyst = app.login(Role::Analyst).await;
        let path = format!("/api/alerts/{alert}/comments");
        for comment in [String::new(), "x".repeat(10_001), "a\0b".to_owned()] {
            analyst.post(&path, json!({ "comment": comment })).await.assert_status(422);
        }
        analyst.post(&path, json!({ "comment": "ü".repeat(10_000) })).await.assert_status(201);
        analyst
            .post("/api/alerts/99/comments", json!({ "comment": "x" }))
            .await
            .assert_problem(404, "Alert not found");
        app.login(Role::Viewer).await.post(&path, json!({ "comment": "x" })).await.assert_status(403);
    }
}
