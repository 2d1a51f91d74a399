//! `/api/alerts`: what someone must look at, and what they made of it.

mod comments;
mod export;
mod rules;
mod triage;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    ApiRouter, FieldError, Json, Page, Path, Problem, Query,
    common::{address_range, filter_text},
    lax_bool,
    scans::one_of,
};
use crate::{
    auth::{Access, Caller, Permission},
    input::parse_time,
    state::AppState,
    store::alerts::{self as store, Alert, AlertComment, AlertFilter, AlertHistoryEntry, AlertSort},
};

/// Everything an alert can be about, OPM's eight first.
pub(super) const KINDS: [&str; 22] = [
    "new_port",
    "not_allowed",
    "blocked",
    "ssh_insecure_auth",
    "ssh_weak_cipher",
    "ssh_weak_kex",
    "ssh_outdated_version",
    "ssh_config_regression",
    "agent_offline",
    "host_identity_changed",
    "host_vanished",
    "new_host",
    "saved_query",
    "scan_failed",
    "scan_missed",
    "service_changed",
    "ssh_weak_host_key",
    "ssh_weak_mac",
    "suspicious_host",
    "tls_expired",
    "tls_expiring",
    "tls_weak",
];
const SEVERITIES: [&str; 4] = ["critical", "high", "medium", "info"];
const STATUSES: [&str; 3] = ["open", "in_progress", "resolved"];

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new()
        .route(Access::Needs(Permission::InventoryRead), routes!(list_alerts))
        .route(Access::Needs(Permission::InventoryRead), routes!(show_alert))
        .merge(comments::routes())
        .merge(export::routes())
        .merge(rules::routes())
        .merge(triage::routes())
}

/// Which alerts, in which order.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct AlertsQuery {
    /// Of one type, as `new_port`.
    r#type: Option<String>,
    /// Of one network.
    network_id: Option<i64>,
    /// Whether acknowledged.
    #[serde(deserialize_with = "lax_bool")]
    #[param(value_type = Option<bool>)]
    acknowledged: Option<bool>,
    /// About an address, a block or a range.
    ip: Option<String>,
    /// About this port.
    port: Option<u16>,
    /// Raised from here on.
    start_date: Option<String>,
    /// Raised up to here.
    end_date: Option<String>,
    /// As serious as this, as of now: `critical`, `high`, `medium` or `info`.
    severity: Option<String>,
    /// `open`, `in_progress` or `resolved`.
    resolution_status: Option<String>,
    /// Assigned to this user.
    assigned_to: Option<i64>,
    /// Neither acknowledged, resolved nor snoozed.
    #[serde(deserialize_with = "lax_bool")]
    #[param(value_type = Option<bool>)]
    needs_attention: Option<bool>,
    /// Raised by this scan.
    scan_id: Option<i64>,
    /// About this host.
    host_id: Option<i64>,
    /// Part of address, host name, network or message.
    search: Option<String>,
    /// `created_at` (newest first, the default) or `severity` (most serious first).
    sort_by: Option<String>,
    /// Alerts to skip.
    offset: Option<i64>,
    /// Alerts at most, 1-200; left out, 50.
    limit: Option<i64>,
}

impl AlertsQuery {
    fn filter(&self, page: Page) -> Result<AlertFilter<'_>, Problem> {
        let from = time("start_date", self.start_date.as_deref())?;
        let to = time("end_date", self.end_date.as_deref())?;
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(Problem::bad_request("start_date cannot be after end_date"));
        }
        let sort = match self.sort_by.as_deref() {
            None | Some("created_at") => AlertSort::Newest,
            Some("severity") => AlertSort::Severity,
            Some(_) => return Err(Problem::bad_request("Invalid sort_by value")),
        };
        Ok(AlertFilter {
            kind: choice("type", self.r#type.as_deref(), &KINDS)?,
            network_id: self.network_id,
            acknowledged: self.acknowledged,
            range: address_range(self.ip.as_deref())?,
            from,
            to,
            severity: choice("severity", self.severity.as_deref(), &SEVERITIES)?,
            resolution_status: choice("resolution_status", self.resolution_status.as_deref(), &STATUSES)?,
            assigned_to: self.assigned_to,
            needs_attention: self.needs_attention.unwrap_or(false),
            port: self.port,
            scan_id: self.scan_id,
            host_id: self.host_id,
            search: filter_text("search", self.search.as_deref())?,
            sort,
            offset: page.offset,
            limit: page.limit,
        })
    }
}

pub(super) fn choice<'a>(
    name: &str,
    given: Option<&'a str>,
    choices: &[&str],
) -> Result<Option<&'a str>, Problem> {
    match given {
        Some(text) if !choices.contains(&text) => Err(one_of(name, given, choices)),
        _ => Ok(given),
    }
}

pub(super) fn time(name: &str, text: Option<&str>) -> Result<Option<chrono::DateTime<chrono::Utc>>, Problem> {
    let parsed = text.map(parse_time).transpose();
    parsed.map_err(|msg| {
        let loc = vec!["query".into(), name.into()];
        Problem::invalid(vec![FieldError {
            r#type: "datetime_from_date_parsing".into(),
            loc,
            msg,
            input: text.into(),
        }])
    })
}

/// Alerts.
#[derive(Debug, Serialize, ToSchema)]
struct AlertList {
    /// In the order asked for.
    alerts: Vec<Alert>,
    /// How many the filter finds.
    total: i64,
}

/// An alert with what happened to it.
#[derive(Debug, Serialize, ToSchema)]
struct AlertDetail {
    #[serde(flatten)]
    alert: Alert,
    /// What happened to it, in order.
    history: Vec<AlertHistoryEntry>,
    /// What people wrote, oldest first.
    comments: Vec<AlertComment>,
}

/// Lists alerts.
#[utoipa::path(get, path = "/api/alerts", tag = "alerts",
    params(AlertsQuery),
    responses((status = 200, body = AlertList), (status = 400, description = "Wrong range or order"),
              (status = 422, description = "Wrong filter")))]
async fn list_alerts(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<AlertsQuery>,
) -> Result<Json<AlertList>, Problem> {
    let filter = query.filter(Page::new(query.offset, query.limit, 200)?)?;
    let (alerts, total) =
        store::list(&state.pool, caller.visible_networks(), &filter, state.clock.now()).await?;
    Ok(Json(AlertList { alerts, total }))
}

/// Shows an alert with its history and comments.
#[utoipa::path(get, path = "/api/alerts/{alert_id}", tag = "alerts",
    params(("alert_id" = i64, Path, description = "Number of the alert")),
    responses((status = 200, body = AlertDetail), (status = 404, description = "No such alert")))]
async fn show_alert(
    State(state): State<AppState>,
    caller: Caller,
    Path(alert_id): Path<i64>,
) -> Result<Json<AlertDetail>, Problem> {
    let alert = find(&state, &caller, alert_id).await?;
    let history = store::history(&state.pool, alert_id).await?;
    let comments = store::comments(&state.pool, alert_id).await?;
    Ok(Json(AlertDetail { alert, history, comments }))
}

/// The alert, unless there is none that the caller may see.
async fn find(state: &AppState, caller: &Caller, id: i64) -> Result<Alert, Problem> {
    let alert = store::find(&state.pool, caller.visible_networks(), id).await?;
    alert.ok_or_else(|| Problem::not_found("Alert not found"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        api::fixtures::{Lab, assert_times_are_utc},
        auth::Role,
        test_support::{Client, TestApp},
    };

    async fn ids(client: &Client, query: &str) -> Vec<i64> {
        let reply = client.get(&format!("/api/alerts?{query}")).await;
        let alerts = reply.assert_status(200).json()["alerts"].as_array().unwrap().clone();
        alerts.iter().map(|alert| alert["id"].as_i64().unwrap()).collect()
    }

    #[tokio::test]
    async fn alerts_are_filtered_sorted_and_counted() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (office, plant) =
            (lab.network("Office", "10.99.0.0/24").await, lab.network("Plant", "10.99.1.0/24").await);
        let old = lab.alert(Some(office), "blocked", "critical", "10.99.0.9", 23).await;
        lab.pass(60);
        let middle = lab.alert(Some(plant), "not_allowed", "medium", "10.99.1.1", 80).await;
        lab.pass(60);
        let new = lab.alert(None, "new_port", "high", "10.99.0.10", 22).await;
        let viewer = app.login(Role::Viewer).await;
        assert_eq!(ids(&viewer, "").await, [new, middle, old]);
        assert_eq!(ids(&viewer, "sort_by=severity").await, [old, new, middle]);
        assert_eq!(ids(&viewer, "type=blocked").await, [old]);
        assert_eq!(ids(&viewer, &format!("network_id={plant}")).await, [middle]);
        assert_eq!(ids(&viewer, "ip=10.99.0.10").await, [new]);
        assert_eq!(ids(&viewer, "ip=10.99.0.0/24").await, [new, old]);
        assert_eq!(ids(&viewer, "severity=medium").await, [middle]);
        assert_eq!(ids(&viewer, "port=22").await, [new]);
        assert_eq!(ids(&viewer, "search=plant").await, [middle]);
        assert_eq!(
            ids(&viewer, "start_date=2026-01-01T00:30:00&end_date=2026-01-01T01:30:00Z").await,
            [middle]
        );
        assert_eq!(
            ids(&viewer, "acknowledged=false&resolution_status=open&needs_attention=true").await,
            [new, middle, old]
        );
        assert_eq!(ids(&viewer, "acknowledged=true").await, [0; 0]);
        let page = viewer.get("/api/alerts?limit=1").await.json();
        assert_eq!((&page["total"], page["alerts"].as_array().unwrap().len()), (&json!(3), 1));
        assert_times_are_utc(&page);
    }

    #[tokio::test]
    async fn wrong_filters_are_told_as_clients_know_it() {
        let app = TestApp::new().await;
        let viewer = app.login(Role::Viewer).await;
        for query in [
            "type=critical",
            "limit=201",
            "severity=low",
            "start_date=soon",
            "resolution_status=closed",
            "acknowledged=maybe",
        ] {
            viewer.get(&format!("/api/alerts?{query}")).await.assert_status(422);
        }
        let wrong = viewer.get("/api/alerts?type=critical").await.json();
        assert_eq!(
            (&wrong["detail"][0]["type"], &wrong["detail"][0]["loc"]),
            (&json!("enum"), &json!(["query", "type"]))
        );
        viewer
            .get("/api/alerts?start_date=2026-02-01&end_date=2026-01-01")
            .await
            .assert_problem(400, "start_date cannot be after end_date");
        viewer.get("/api/alerts/9999").await.assert_problem(404, "Alert not found");
    }

    #[tokio::test]
    async fn severity_is_that_of_now() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let alert = lab.alert(Some(office), "new_port", "high", "10.99.0.9", 23).await;
        let admin = app.login(Role::Admin).await;
        let path = format!("/api/alerts/{alert}");
        assert_eq!(admin.get(&path).await.json()["severity"], "high");
        for (address, port, transport, severity) in [
            (Some("10.99.0.8"), 23, None, "high"),
            (Some("10.99.0.9"), 24, None, "high"),
            (Some("10.99.0.9"), 23, Some("udp"), "high"),
            (None, 23, Some("tcp"), "critical"),
        ] {
            sqlx::query(
                "insert into global_port_rules (address, port, port_first, port_last, transport, rule_type, description)
                 values ($1::inet, $2::text, $2, $2, $3, 'block', 'x')",
            )
            .bind(address.map(|address| address.parse::<std::net::IpAddr>().unwrap()))
            .bind(port)
            .bind(transport)
            .execute(app.pool())
            .await
            .unwrap();
            assert_eq!(
                admin.get(&path).await.json()["severity"],
                severity,
                "{address:?} {port} {transport:?}"
            );
        }
        assert_eq!(ids(&admin, "severity=critical").await, [alert]);
        admin.put(&format!("{path}/acknowledge"), Value::Null).await.assert_status(200);
        assert_eq!(admin.get(&path).await.json()["severity"], "info");
    }

    #[tokio::test]
    async fn limited_users_see_the_alerts_of_their_networks_only() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (mine, other) =
            (lab.network("Mine", "10.99.0.0/24").await, lab.network("Other", "10.99.1.0/24").await);
        let own = lab.alert(Some(mine), "new_port", "high", "10.99.0.9", 22).await;
        let foreign = lab.alert(Some(other), "new_port", "high", "10.99.1.9", 22).await;
        lab.alert(None, "new_port", "high", "10.99.1.9", 22).await;
        let limited = app.login_limited(Role::Admin, &[mine]).await;
        assert_eq!(ids(&limited, "").await, [own]);
        let path = format!("/api/alerts/{foreign}");
        limited.get(&path).await.assert_status(404);
        limited.put(&format!("{path}/acknowledge"), Value::Null).await.assert_status(404);
        let bulk = limited.put("/api/alerts/acknowledge-bulk", json!([own, foreign])).await.json();
        assert_eq!(bulk, json!({ "acknowledged_ids": [own], "missing_ids": [foreign] }));
        let body = json!({ "alert_ids": [own], "reason": "x" });
        limited.post("/api/alerts/bulk-whitelist-global", body.clone()).await.assert_status(403);
        limited.post("/api/alerts/bulk-whitelist-network", body).await.assert_status(200);
    }
}
