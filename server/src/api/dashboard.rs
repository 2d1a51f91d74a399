//! `/api/dashboard`: what changed, what needs me, can I trust what I see.

use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{ApiRouter, Json, Problem};
use crate::{
    auth::{Access, Caller, Permission},
    state::AppState,
    store::{
        alerts::{self, Alert, AlertFilter, AlertSort, OpenAlerts},
        changes::{self, Change, ChangeFilter},
        dashboard::{self as store, AgentState, Late, NetworkState, Totals},
        scans::{self, Scan},
    },
};

/// How far back "what changed" looks.
const RECENT: TimeDelta = TimeDelta::days(1);
/// An agent not heard of for so long is offline.
const AGENT_SILENCE: TimeDelta = TimeDelta::minutes(5);
/// A network whose scan is so late is overdue.
const SCAN_LATE: TimeDelta = TimeDelta::minutes(10);
/// A larger estimated share of missed ports is told.
const MISSES: f32 = 0.01;

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::InventoryRead), routes!(show_dashboard))
}

/// How many changes of one kind there were.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeCount {
    /// As `port_opened`.
    kind: String,
    /// How many.
    count: i64,
}

/// What changed.
#[derive(Debug, Serialize, ToSchema)]
struct Changed {
    /// From here on.
    since: DateTime<Utc>,
    /// By kind.
    counts: Vec<ChangeCount>,
    /// All together.
    total: i64,
    /// The newest, at most 20.
    newest: Vec<Change>,
}

/// What needs somebody.
#[derive(Debug, Serialize, ToSchema)]
struct Attention {
    /// Open alerts by severity.
    open: OpenAlerts,
    /// The most serious, at most 10; among equals the newest first.
    alerts: Vec<Alert>,
}

/// Whether what is shown can be trusted.
#[derive(Debug, Serialize, ToSchema)]
struct Trust {
    /// Agents, those offline first.
    agents: Vec<AgentState>,
    /// How many are online.
    agents_online: usize,
    /// How many are offline.
    agents_offline: usize,
    /// Networks with a reason for doubt.
    doubtful_networks: Vec<NetworkState>,
    /// The largest share of open ports that a network's last scan probably missed, 0-1.
    worst_miss_estimate: Option<f32>,
    /// Scans that run or wait, those that run first, at most 100.
    active_scans: Vec<Scan>,
}

/// The first page.
#[derive(Debug, Serialize, ToSchema)]
struct Dashboard {
    /// When this was read.
    generated_at: DateTime<Utc>,
    /// How much there is.
    totals: Totals,
    /// What changed since the last day.
    changed: Changed,
    /// What needs me.
    attention: Attention,
    /// Can I trust what I see.
    trust: Trust,
}

/// Shows what changed, what needs attention, and whether what is shown can be trusted.
#[utoipa::path(get, path = "/api/dashboard", tag = "dashboard", responses((status = 200, body = Dashboard)))]
async fn show_dashboard(State(state): State<AppState>, caller: Caller) -> Result<Json<Dashboard>, Problem> {
    let now = state.clock.now();
    Ok(Json(Dashboard {
        generated_at: now,
        totals: store::totals(&state.pool, caller.visible_networks()).await?,
        changed: changed(&state, &caller, now).await?,
        attention: attention(&state, &caller, now).await?,
        trust: trust(&state, &caller, now).await?,
    }))
}

async fn changed(state: &AppState, caller: &Caller, now: DateTime<Utc>) -> Result<Changed, Problem> {
    let (since, scope) = (now - RECENT, caller.visible_networks());
    let counts = changes::count_since(&state.pool, scope, since).await?;
    let filter = ChangeFilter { from: Some(since), limit: 20, ..ChangeFilter::default() };
    Ok(Changed {
        since,
        total: counts.iter().map(|(_, count)| count).sum(),
        counts: counts.into_iter().map(|(kind, count)| ChangeCount { kind, count }).collect(),
        newest: changes::list(&state.pool, scope, &filter).await?,
    })
}

async fn attention(state: &AppState, caller: &Caller, now: DateTime<Utc>) -> Result<Attention, Problem> {
    let scope = caller.visible_networks();
    let open = alerts::count_open(&state.pool, scope, caller.user_id, now).await?;
    let filter =
        AlertFilter { needs_attention: true, sort: AlertSort::Severity, limit: 10, ..AlertFilter::default() };
    let (alerts, _) = alerts::list(&state.pool, scope, &filter, now).await?;
    Ok(Attention { open, alerts })
}

async fn trust(state: &AppState, caller: &Caller, now: DateTime<Utc>) -> Result<Trust, Problem> {
    let scope = caller.visible_networks();
    let late =
        Late { agents_before: now - AGENT_SILENCE, networks_before: now - SCAN_LATE, misses_above: MISSES };
    let agents = store::agents(&state.pool, scope, late).await?;
    let mut networks = store::networks(&state.pool, scope, late).await?;
    let worst_miss_estimate =
        networks.iter().filter_map(|network| network.miss_estimate).max_by(f32::total_cmp);
    networks.retain(|network| !network.reasons.is_empty());
    let agents_online = agents.iter().filter(|agent| agent.online).count();
    Ok(Trust {
        agents_online,
        agents_offline: agents.len() - agents_online,
        agents,
        doubtful_networks: networks,
        worst_miss_estimate,
        active_scans: scans::active(&state.pool, scope).await?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        api::fixtures::{Lab, assert_times_are_utc},
        auth::Role,
        test_support::TestApp,
    };

    async fn run(app: &TestApp, sql: &'static str) {
        sqlx::query(sql).execute(app.pool()).await.unwrap();
    }

    #[tokio::test]
    async fn the_first_page_answers_its_three_questions() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (good, bad) =
            (lab.network("Good", "10.99.0.0/24").await, lab.network("Bad", "10.99.1.0/24").await);
        let old = lab.scan(good, "completed").await;
        lab.change(good, old, "port_closed", "10.99.0.9", 23).await;
        lab.pass(25 * 60);
        run(&app, "update agents set last_seen_at = '2026-01-02T00:58:00Z' where name = 'lab'").await;
        let scan = lab.scan(good, "completed").await;
        lab.port(good, scan, "10.99.0.9", 22, "ssh").await;
        let change = lab.change(good, scan, "port_opened", "10.99.0.9", 22).await;
        let medium = lab.alert(Some(good), "not_allowed", "medium", "10.99.0.9", 22).await;
        let critical = lab.alert(Some(good), "blocked", "critical", "10.99.0.9", 22).await;
        let snoozed = lab.alert(Some(good), "new_port", "high", "10.99.0.9", 22).await;
        lab.scan(bad, "failed").await;
        let running = lab.scan(bad, "running").await;
        let analyst = app.login(Role::Analyst).await;
        let until = json!({ "until": "2026-01-03T00:00:00Z" });
        analyst.put(&format!("/api/alerts/{snoozed}/snooze"), until).await.assert_status(200);
        analyst
            .patch(&format!("/api/alerts/{medium}/assign"), json!({ "user_id": analyst.user_id() }))
            .await
            .assert_status(200);

        let shown = analyst.get("/api/dashboard").await.assert_status(200).json();
        assert_times_are_utc(&shown);
        assert_eq!(shown["totals"], json!({ "networks": 2, "hosts": 1, "hosts_up": 1, "open_ports": 1 }));
        let changed = &shown["changed"];
        assert_eq!(
            (&changed["total"], &changed["counts"]),
            (&json!(1), &json!([{ "kind": "port_opened", "count": 1 }]))
        );
        assert_eq!(
            (&changed["newest"][0]["id"], changed["newest"].as_array().unwrap().len()),
            (&json!(change), 1)
        );
        assert_eq!(
            shown["attention"]["open"],
            json!({ "critical": 1, "high": 0, "medium": 1, "info": 0, "total": 2, "snoozed": 1, "assigned_to_me": 1 })
        );
        assert_eq!(
            (&shown["attention"]["alerts"][0]["id"], &shown["attention"]["alerts"][1]["id"]),
            (&json!(critical), &json!(medium))
        );
        let trust = &shown["trust"];
        assert_eq!((&trust["agents_online"], &trust["agents_offline"]), (&json!(1), &json!(0)));
        assert_eq!(
            (&trust["active_scans"][0]["id"], &trust["worst_miss_estimate"]),
            (&json!(running), &Value::Null)
        );
        let doubtful = trust["doubtful_networks"].as_array().unwrap();
        assert_eq!((&doubtful[0]["id"], doubtful.len()), (&json!(bad), 1));
        assert_eq!(doubtful[0]["reasons"], json!(["last_scan_failed", "never_scanned"]));
    }

    #[tokio::test]
    async fn every_reason_for_doubt_is_named() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        lab.scan(office, "completed").await;
        let viewer = app.login(Role::Viewer).await;
        let doubts = async || {
            let trust = viewer.get("/api/dashboard").await.json()["trust"].clone();
            trust["doubtful_networks"]
                .as_array()
                .unwrap()
                .iter()
                .map(|network| network["reasons"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(doubts().await, [json!(["agent_offline"])]);
        run(&app, "update agents set last_seen_at = '2026-01-01T00:00:00Z'").await;
        assert_eq!(doubts().await, [Value::Null; 0]);
        run(&app, "update scans set miss_estimate = 0.25").await;
        assert_eq!(doubts().await, [json!(["misses"])]);
        run(&app, "update networks set scan_schedule = '* * * * *', next_run_at = '2025-12-31T23:00:00Z'")
            .await;
        assert_eq!(doubts().await, [json!(["overdue", "misses"])]);
        run(&app, "update networks set agent_id = null, next_run_at = null").await;
        run(&app, "update scans set miss_estimate = null").await;
        assert_eq!(doubts().await, [json!(["no_agent"])]);
        lab.alert(Some(office), "scan_missed", "high", "10.99.0.9", 22).await;
        assert_eq!(doubts().await, [json!(["no_agent", "overdue"])]);
    }

    #[tokio::test]
    async fn a_limited_user_sees_a_page_about_some_networks() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (mine, other) =
            (lab.network("Mine", "10.99.0.0/24").await, lab.network("Other", "10.99.1.0/24").await);
        let scan = lab.scan(other, "running").await;
        lab.port(other, scan, "10.99.1.9", 22, "ssh").await;
        lab.change(other, scan, "port_opened", "10.99.1.9", 22).await;
        lab.alert(Some(other), "blocked", "critical", "10.99.1.9", 22).await;
        lab.alert(None, "new_port", "high", "10.99.1.9", 22).await;
        app.agent("unrelated").await;
        let limited = app.login_limited(Role::Viewer, &[mine]).await;
        let shown = limited.get("/api/dashboard").await.json();
        assert_eq!(shown["totals"], json!({ "networks": 1, "hosts": 0, "hosts_up": 0, "open_ports": 0 }));
        assert_eq!(
            (&shown["changed"]["total"], &shown["attention"]["open"]["total"]),
            (&json!(0), &json!(0))
        );
        assert_eq!(
            (&shown["trust"]["agents"][0]["name"], &shown["trust"]["agents_offline"]),
            (&json!("lab"), &json!(1))
        );
        assert_eq!(
            (&shown["trust"]["active_scans"], &shown["trust"]["doubtful_networks"][0]["id"]),
            (&json!([]), &json!(mine))
        );
    }
}
