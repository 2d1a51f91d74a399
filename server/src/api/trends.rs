//! `/api/trends`: what appeared, by day, week or month. Days are UTC days; weeks begin on Monday.

use axum::extract::State;
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    ApiRouter, Json, Problem, Query,
    alerts::{KINDS, choice},
};
use crate::{
    auth::{Access, Caller, Permission},
    state::AppState,
    store::trends::{self as store, AlertTrendPoint, TrendFilter, TrendPoint},
};

/// The longest stretch one call may ask for, in days.
const MOST_DAYS: i64 = 3_700;

pub(super) fn routes() -> ApiRouter {
    let access = Access::Needs(Permission::InventoryRead);
    ApiRouter::new()
        .route(access, routes!(trend_of_ports))
        .route(access, routes!(trend_of_hosts))
        .route(access, routes!(trend_of_alerts))
}

/// How long each figure's stretch is.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Period {
    #[default]
    Day,
    Week,
    Month,
}

/// What to count.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TrendQuery {
    /// First day, as 2026-01-31.
    start_date: NaiveDate,
    /// Last day.
    end_date: NaiveDate,
    /// `day` (default), `week` or `month`.
    #[serde(default)]
    #[param(inline)]
    period: Period,
    /// Of one network.
    network_id: Option<i64>,
    /// Of one type; for alerts only.
    alert_type: Option<String>,
}

impl TrendQuery {
    fn filter(&self) -> Result<TrendFilter<'_>, Problem> {
        if (self.end_date - self.start_date).num_days() > MOST_DAYS {
            let message = format!("a trend covers at most {MOST_DAYS} days");
            return Err(Problem::invalid_value(&["query", "end_date"], message, self.end_date.to_string()));
        }
        Ok(TrendFilter {
            start: self.start_date,
            end: self.end_date,
            period: match self.period {
                Period::Day => "day",
                Period::Week => "week",
                Period::Month => "month",
            },
            network_id: self.network_id,
            alert_kind: choice("alert_type", self.alert_type.as_deref(), &KINDS)?,
        })
    }
}

/// Figures.
#[derive(Debug, Serialize, ToSchema)]
struct Trend {
    /// In order; stretches without any are left out.
    data: Vec<TrendPoint>,
}

/// Figures of alerts.
#[derive(Debug, Serialize, ToSchema)]
struct AlertTrend {
    /// In order; stretches without any are left out.
    data: Vec<AlertTrendPoint>,
}

/// Counts endpoints by when they were first seen open.
#[utoipa::path(get, path = "/api/trends/open-ports", tag = "trends", params(TrendQuery), responses((status = 200, body = Trend)))]
async fn trend_of_ports(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<TrendQuery>,
) -> Result<Json<Trend>, Problem> {
    let data = store::new_ports(&state.pool, caller.visible_networks(), &query.filter()?).await?;
    Ok(Json(Trend { data }))
}

/// Counts hosts by when they were first seen.
#[utoipa::path(get, path = "/api/trends/hosts", tag = "trends", params(TrendQuery), responses((status = 200, body = Trend)))]
async fn trend_of_hosts(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<TrendQuery>,
) -> Result<Json<Trend>, Problem> {
    let data = store::new_hosts(&state.pool, caller.visible_networks(), &query.filter()?).await?;
    Ok(Json(Trend { data }))
}

/// Counts alerts by when they were raised.
#[utoipa::path(get, path = "/api/trends/alerts", tag = "trends", params(TrendQuery), responses((status = 200, body = AlertTrend)))]
async fn trend_of_alerts(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<TrendQuery>,
) -> Result<Json<AlertTrend>, Problem> {
    let data = store::alerts(&state.pool, caller.visible_networks(), &query.filter()?).await?;
    Ok(Json(AlertTrend { data }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    /// 2026-01-01 is a Thursday.
    #[tokio::test]
    async fn days_weeks_and_months_are_counted() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (office, plant) =
            (lab.network("Office", "10.99.0.0/24").await, lab.network("Plant", "10.99.1.0/24").await);
        let scan = lab.scan(office, "completed").await;
        let reopened = lab.port(office, scan, "10.99.0.9", 22, "ssh").await;
        lab.alert(Some(office), "new_port", "high", "10.99.0.9", 22).await;
        lab.close(reopened).await;
        lab.pass(4 * 24 * 60); // Monday 2026-01-05
        let later = lab.scan(office, "completed").await;
        lab.port(office, later, "10.99.0.9", 22, "ssh").await;
        lab.port(office, later, "10.99.0.9", 80, "http").await;
        let done = lab.alert(Some(plant), "blocked", "critical", "10.99.1.9", 80).await;
        let analyst = app.login(Role::Analyst).await;
        analyst.put(&format!("/api/alerts/{done}/acknowledge"), Value::Null).await.assert_status(200);
        let get = async |path: &str, more: &str| {
            let path = format!("/api/trends/{path}?start_date=2026-01-01&end_date=2026-01-31{more}");
            analyst.get(&path).await.assert_status(200).json()["data"].clone()
        };
        let point = |date: &str, count: i64| json!({ "date": date, "count": count });
        assert_eq!(get("open-ports", "").await, json!([point("2026-01-01", 1), point("2026-01-05", 1)]));
        assert_eq!(
            get("open-ports", "&period=week").await,
            json!([point("2025-12-29", 1), point("2026-01-05", 1)])
        );
        assert_eq!(get("open-ports", "&period=month").await, json!([point("2026-01-01", 2)]));
        assert_eq!(get("open-ports", &format!("&network_id={plant}")).await, json!([]));
        assert_eq!(get("hosts", "&period=week").await, json!([point("2025-12-29", 1)]));
        assert_eq!(get("hosts", &format!("&network_id={office}")).await, json!([point("2026-01-01", 1)]));
        assert_eq!(
            get("alerts", "&period=month").await,
            json!([{ "date": "2026-01-01", "count": 2, "acknowledged_count": 1 }])
        );
        assert_eq!(get("alerts", "&alert_type=blocked").await[0]["date"], "2026-01-05");
    }

    #[tokio::test]
    async fn wrong_stretches_are_refused_and_backward_ones_are_empty() {
        let app = TestApp::new().await;
        let viewer = app.login(Role::Viewer).await;
        for query in [
            "",
            "start_date=2026-01-01",
            "start_date=2026-01-01&end_date=2026-02-01&period=year",
            "start_date=2026-01-01&end_date=soon",
            "start_date=1900-01-01&end_date=2026-01-01",
        ] {
            viewer.get(&format!("/api/trends/hosts?{query}")).await.assert_status(422);
        }
        let backward = viewer.get("/api/trends/alerts?start_date=2026-02-01&end_date=2026-01-01").await;
        assert_eq!(backward.assert_status(200).json(), json!({ "data": [] }));
    }
}
