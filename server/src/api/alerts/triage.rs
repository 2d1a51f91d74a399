//! What people do with alerts: acknowledge, open again, assign, move on, snooze.

use std::collections::BTreeSet;

use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::find;
use crate::{
    api::{ApiRouter, Json, OnConstraint, Path, Problem, common::at_most_items},
    auth::{Access, Caller, Permission},
    live::{AlertEvent, Event},
    state::AppState,
    store::{
        alerts::{self as store, Alert, By},
        users,
    },
};

/// Alerts that one call may name.
pub(super) const MOST_ALERTS: usize = 10_000;
/// The longest snooze.
const LONGEST_SNOOZE: TimeDelta = TimeDelta::days(366);

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::AlertsTriage), routes!(acknowledge_alert))
        .route(Access::Needs(Permission::AlertsTriage), routes!(unacknowledge_alert))
        .route(Access::Needs(Permission::AlertsTriage), routes!(acknowledge_alerts))
        .route(Access::Needs(Permission::AlertsTriage), routes!(assign_alert))
        .route(Access::Needs(Permission::AlertsTriage), routes!(set_alert_status))
        .route(Access::Needs(Permission::AlertsTriage), routes!(snooze_alert))
}

/// What became of several alerts.
#[derive(Debug, Serialize, ToSchema)]
struct AlertsAcknowledged {
    /// Acknowledged now or before.
    acknowledged_ids: Vec<i64>,
    /// There is no such alert.
    missing_ids: Vec<i64>,
}

/// To whom.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
struct AlertAssign {
    /// The user; null for nobody.
    user_id: Option<i64>,
}

/// How far the work on an alert has come.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ResolutionStatus {
    Open,
    InProgress,
    Resolved,
}

/// How far the work on an alert has come.
#[derive(Debug, Deserialize, ToSchema)]
struct AlertStatus {
    /// `open`, `in_progress` or `resolved`.
    resolution_status: ResolutionStatus,
}

/// Until when an alert is out of the way.
#[derive(Debug, Deserialize, ToSchema)]
struct AlertSnooze {
    /// A point in time within a year; null brings it back.
    until: Option<DateTime<Utc>>,
}

/// Acknowledges an alert: somebody has seen to it.
#[utoipa::path(put, path = "/api/alerts/{alert_id}/acknowledge", tag = "alerts",
    params(("alert_id" = i64, Path, description = "Number of the alert")),
    responses((status = 200, body = Alert), (status = 404, description = "No such alert")))]
async fn acknowledge_alert(
    State(state): State<AppState>,
    caller: Caller,
    Path(alert_id): Path<i64>,
) -> Result<Json<Alert>, Problem> {
    find(&state, &caller, alert_id).await?;
    let mut tx = state.pool.begin().await?;
    store::acknowledge(&mut tx, &[alert_id], by(&state, &caller)).await?;
    tx.commit().await?;
    changed(&state, &caller, alert_id).await
}

/// Opens an acknowledged alert again.
#[utoipa::path(put, path = "/api/alerts/{alert_id}/unacknowledge", tag = "alerts",
    params(("alert_id" = i64, Path, description = "Number of the alert")),
    responses((status = 200, body = Alert), (status = 404, description = "No such alert"),
              (status = 409, description = "The same was raised again and is open already")))]
async fn unacknowledge_alert(
    State(state): State<AppState>,
    caller: Caller,
    Path(alert_id): Path<i64>,
) -> Result<Json<Alert>, Problem> {
    find(&state, &caller, alert_id).await?;
    let mut tx = state.pool.begin().await?;
    let reopened = store::reopen(&mut tx, alert_id, by(&state, &caller)).await;
    reopened.on_constraint("alerts_one_open", open_already)?;
    tx.commit().await?;
    changed(&state, &caller, alert_id).await
}

/// Acknowledges several alerts.
#[utoipa::path(put, path = "/api/alerts/acknowledge-bulk", tag = "alerts", request_body = Vec<i64>,
    responses((status = 200, body = AlertsAcknowledged), (status = 400, description = "No numbers")))]
async fn acknowledge_alerts(
    State(state): State<AppState>,
    caller: Caller,
    Json(alert_ids): Json<Vec<i64>>,
) -> Result<Json<AlertsAcknowledged>, Problem> {
    let (alerts, missing_ids) = find_all(&state, &caller, &alert_ids).await?;
    let acknowledged_ids: Vec<i64> = alerts.iter().map(|alert| alert.id).collect();
    let mut tx = state.pool.begin().await?;
    store::acknowledge(&mut tx, &acknowledged_ids, by(&state, &caller)).await?;
    tx.commit().await?;
    publish_all(&state, &alerts);
    Ok(Json(AlertsAcknowledged { acknowledged_ids, missing_ids }))
}

/// Gives an alert to a user who may see it, or takes it from everyone.
#[utoipa::path(patch, path = "/api/alerts/{alert_id}/assign", tag = "alerts", request_body = AlertAssign,
    params(("alert_id" = i64, Path, description = "Number of the alert")),
    responses((status = 200, body = Alert), (status = 400, description = "No such user"),
              (status = 404, description = "No such alert")))]
async fn assign_alert(
    State(state): State<AppState>,
    caller: Caller,
    Path(alert_id): Path<i64>,
    Json(body): Json<AlertAssign>,
) -> Result<Json<Alert>, Problem> {
    find(&state, &caller, alert_id).await?;
    let user = match body.user_id {
        None => None,
        Some(user_id) => {
            let user = users::find(&state.pool, user_id).await?.filter(|user| user.disabled_at.is_none());
            Some(user.ok_or_else(|| Problem::bad_request("User not found"))?)
        }
    };
    let user = user.as_ref().map(|user| (user.id, user.email.as_str()));
    let mut tx = state.pool.begin().await?;
    store::assign(&mut tx, alert_id, user, by(&state, &caller)).await?;
    tx.commit().await?;
    changed(&state, &caller, alert_id).await
}

/// Writes how far the work on an alert has come.
#[utoipa::path(patch, path = "/api/alerts/{alert_id}/status", tag = "alerts", request_body = AlertStatus,
    params(("alert_id" = i64, Path, description = "Number of the alert")),
    responses((status = 200, body = Alert), (status = 404, description = "No such alert"),
              (status = 409, description = "The same was raised again and is open already")))]
async fn set_alert_status(
    State(state): State<AppState>,
    caller: Caller,
    Path(alert_id): Path<i64>,
    Json(body): Json<AlertStatus>,
) -> Result<Json<Alert>, Problem> {
    find(&state, &caller, alert_id).await?;
    let status = match body.resolution_status {
        ResolutionStatus::InProgress => "in_progress",
        ResolutionStatus::Open => "open",
        ResolutionStatus::Resolved => "resolved",
    };
    let mut tx = state.pool.begin().await?;
    let set = store::set_status(&mut tx, alert_id, status, by(&state, &caller)).await;
    set.on_constraint("alerts_one_open", open_already)?;
    tx.commit().await?;
    changed(&state, &caller, alert_id).await
}

/// Puts an alert out of the way for a while.
#[utoipa::path(put, path = "/api/alerts/{alert_id}/snooze", tag = "alerts", request_body = AlertSnooze,
    params(("alert_id" = i64, Path, description = "Number of the alert")),
    responses((status = 200, body = Alert), (status = 404, description = "No such alert"),
              (status = 422, description = "Not within a year from now")))]
async fn snooze_alert(
    State(state): State<AppState>,
    caller: Caller,
    Path(alert_id): Path<i64>,
    Json(body): Json<AlertSnooze>,
) -> Result<Json<Alert>, Problem> {
    let now = state.clock.now();
    if body.until.is_some_and(|until| until <= now || until > now + LONGEST_SNOOZE) {
        let message = "until must lie within a year from now";
        return Err(Problem::invalid_value(
            &["body", "until"],
            message,
            body.until.map(|until| until.to_rfc3339()),
        ));
    }
    find(&state, &caller, alert_id).await?;
    let mut tx = state.pool.begin().await?;
    store::snooze(&mut tx, alert_id, body.until, by(&state, &caller)).await?;
    tx.commit().await?;
    changed(&state, &caller, alert_id).await
}

/// Who does it, now.
pub(super) fn by<'a>(state: &AppState, caller: &'a Caller) -> By<'a> {
    By { user_id: caller.user_id, email: &caller.email, at: state.clock.now() }
}

/// The alerts of those numbers that the caller may see, by number, and the numbers of the others.
pub(super) async fn find_all(
    state: &AppState,
    caller: &Caller,
    ids: &[i64],
) -> Result<(Vec<Alert>, Vec<i64>), Problem> {
    if ids.is_empty() {
        return Err(Problem::bad_request("alert_ids cannot be empty"));
    }
    at_most_items("alert_ids", ids.len(), MOST_ALERTS)?;
    let alerts = store::find_all(&state.pool, caller.visible_networks(), ids).await?;
    let mut missing: BTreeSet<i64> = ids.iter().copied().collect();
    for alert in &alerts {
        missing.remove(&alert.id);
    }
    Ok((alerts, missing.into_iter().collect()))
}

/// The alert as it is now; open pages hear of it.
pub(super) async fn changed(state: &AppState, caller: &Caller, id: i64) -> Result<Json<Alert>, Problem> {
    let alert = find(state, caller, id).await?;
    publish(state, &alert);
    Ok(Json(alert))
}

fn publish(state: &AppState, alert: &Alert) {
    state.live.publish(Event::Alert(AlertEvent {
        id: alert.id,
        alert_type: alert.kind.clone(),
        severity: alert.severity.clone(),
        network_id: alert.network_id,
        ip: alert.ip.map(|ip| ip.to_string()),
        port: alert.port.and_then(|port| u16::try_from(port).ok()),
        message: alert.message.clone(),
    }));
}

/// Tells open pages of several changed alerts: one by one, or when they are many to read again.
pub(super) fn publish_all(state: &AppState, alerts: &[Alert]) {
    if alerts.len() > 50 {
        state.live.publish(Event::Resync);
        return;
    }
    for alert in alerts {
        publish(state, alert);
    }
}

fn open_already() -> Problem {
    Problem::conflict("The same was raised again and is open as a newer alert; work on that one")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{api::fixtures::Lab, auth::Role, live::Event, test_support::TestApp};

    #[tokio::test]
    async fn an_alert_remembers_who_did_what_and_when() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let alert = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        let analyst = app.login(Role::Analyst).await;
        let path = format!("/api/alerts/{alert}");
        let mut events = app.state().live.subscribe();

        lab.pass(5);
        let done = analyst.put(&format!("{path}/acknowledge"), Value::Null).await.assert_status(200).json();
        assert_eq!((&done["acknowledged"], &done["severity"]), (&json!(true), &json!("info")));
        assert_eq!(done["acknowledged_at"], "2026-01-01T00:05:00Z");
        assert_eq!(done["acknowledged_by_email"], analyst.email());
        assert!(
            matches!(events.try_recv().unwrap().as_ref(), Event::Alert(event) if event.id == alert && event.severity == "info")
        );

        analyst.put(&format!("{path}/acknowledge"), Value::Null).await.assert_status(200);
        let open = analyst.put(&format!("{path}/unacknowledge"), Value::Null).await.json();
        assert_eq!((&open["acknowledged"], &open["acknowledged_at"]), (&json!(false), &Value::Null));
        let assigned =
            analyst.patch(&format!("{path}/assign"), json!({ "user_id": analyst.user_id() })).await.json();
        assert_eq!(assigned["assigned_to_email"], analyst.email());
        let listed = analyst.get(&format!("/api/alerts?assigned_to={}", analyst.user_id())).await.json();
        assert_eq!(listed["alerts"][0]["assigned_to_email"], analyst.email());
        assert_eq!(
            analyst.patch(&format!("{path}/assign"), json!({})).await.json()["assigned_to_user_id"],
            Value::Null
        );
        let moved =
            analyst.patch(&format!("{path}/status"), json!({ "resolution_status": "resolved" })).await.json();
        assert_eq!(
            (&moved["resolution_status"], &moved["resolved_at"]),
            (&json!("resolved"), &json!("2026-01-01T00:05:00Z"))
        );
        let back = analyst
            .patch(&format!("{path}/status"), json!({ "resolution_status": "in_progress" }))
            .await
            .json();
        assert_eq!(back["resolved_at"], Value::Null);

        let history = analyst.get(&path).await.json()["history"].as_array().unwrap().clone();
        let kinds: Vec<_> = history.iter().map(|event| event["kind"].as_str().unwrap()).collect();
        assert_eq!(
            kinds,
            ["acknowledged", "reopened", "assigned", "unassigned", "status_changed", "status_changed"]
        );
        assert!(history.iter().all(|event| event["user_email"] == analyst.email()));
        assert_eq!(history[5]["detail"], json!({ "from": "resolved", "to": "in_progress" }));
    }

    #[tokio::test]
    async fn a_snoozed_alert_comes_back_by_itself() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let alert = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        let analyst = app.login(Role::Analyst).await;
        let path = format!("/api/alerts/{alert}/snooze");
        let attention = "/api/alerts?needs_attention=true";
        analyst.put(&path, json!({ "until": "2026-01-01T02:00:00Z" })).await.assert_status(200);
        assert_eq!(analyst.get(attention).await.json()["total"], 0);
        assert_eq!(analyst.get("/api/alerts").await.json()["total"], 1);
        lab.pass(120);
        assert_eq!(analyst.get(attention).await.json()["total"], 1);
        analyst.put(&path, json!({ "until": "2026-01-02T02:00:00+01:00" })).await.assert_status(200);
        analyst.put(&path, json!({ "until": null })).await.assert_status(200);
        assert_eq!(analyst.get(attention).await.json()["total"], 1);
        for until in ["2026-01-01T01:00:00Z", "2028-01-01T00:00:00Z", "tomorrow"] {
            analyst.put(&path, json!({ "until": until })).await.assert_status(422);
        }
    }

    #[tokio::test]
    async fn many_are_acknowledged_at_once() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let one = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        let two = lab.alert(None, "new_port", "high", "10.99.0.9", 23).await;
        let analyst = app.login(Role::Analyst).await;
        let path = "/api/alerts/acknowledge-bulk";
        let reply = analyst.put(path, json!([two, 9999, one, one])).await.assert_status(200).json();
        assert_eq!(reply, json!({ "acknowledged_ids": [one, two], "missing_ids": [9999] }));
        analyst.put(path, json!([])).await.assert_problem(400, "alert_ids cannot be empty");
        analyst.put(path, json!({})).await.assert_status(422);
    }

    #[tokio::test]
    async fn the_same_alert_is_never_open_twice() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let first = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        let analyst = app.login(Role::Analyst).await;
        analyst.put(&format!("/api/alerts/{first}/acknowledge"), Value::Null).await.assert_status(200);
        let second = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        sqlx::query("update alerts set dedup_key = 'same'").execute(app.pool()).await.unwrap();
        analyst.put(&format!("/api/alerts/{first}/unacknowledge"), Value::Null).await.assert_status(409);
        let resolve = json!({ "resolution_status": "resolved" });
        analyst.patch(&format!("/api/alerts/{second}/status"), resolve).await.assert_status(200);
        analyst.put(&format!("/api/alerts/{first}/unacknowledge"), Value::Null).await.assert_status(200);
        let open = json!({ "resolution_status": "open" });
        analyst.patch(&format!("/api/alerts/{second}/status"), open).await.assert_status(409);
    }

    #[tokio::test]
    async fn viewers_do_not_triage_and_unknown_users_get_nothing() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let alert = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        let viewer = app.login(Role::Viewer).await;
        let path = format!("/api/alerts/{alert}");
        viewer.put(&format!("{path}/acknowledge"), Value::Null).await.assert_status(403);
        viewer.patch(&format!("{path}/assign"), json!({ "user_id": null })).await.assert_status(403);
        let analyst = app.login(Role::Analyst).await;
        analyst
            .patch(&format!("{path}/assign"), json!({ "user_id": 99 }))
            .await
            .assert_problem(400, "User not found");
        analyst.put("/api/alerts/9999/acknowledge", Value::Null).await.assert_problem(404, "Alert not found");
        let wrong = analyst.patch(&format!("{path}/status"), json!({ "resolution_status": "closed" })).await;
        assert_eq!(
            wrong.assert_status(422).json()["detail"][0]["msg"],
            "Input should be 'open', 'in_progress' or 'resolved'"
        );
    }
}
