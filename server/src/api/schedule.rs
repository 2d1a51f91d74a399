//! `/api/schedule`: what a cron line means before it is saved.

use axum::extract::State;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{ApiRouter, Json, Problem, ProblemBody, Query, at_least, at_most};
use crate::{
    auth::{Access, Permission},
    schedule::cron::CronLine,
    state::AppState,
};

/// The routes of this file.
pub fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::InventoryRead), routes!(preview))
}

#[derive(Debug, Deserialize)]
struct PreviewQuery {
    expression: String,
    #[serde(default = "utc")]
    time_zone: String,
    #[serde(default = "five")]
    count: i64,
}

fn utc() -> String {
    "UTC".to_owned()
}

const fn five() -> i64 {
    5
}

/// What a cron line means.
#[derive(Debug, Serialize, ToSchema)]
pub struct SchedulePreview {
    /// The line.
    expression: String,
    /// The zone it is meant in.
    time_zone: String,
    /// The line in words.
    #[schema(example = "At 02:30, on Monday")]
    description: String,
    /// The next runs, soonest first.
    next_runs: Vec<DateTime<Utc>>,
    /// The same by the zone's clock.
    next_runs_local: Vec<String>,
}

/// Show when a schedule would run next.
///
/// Five fields (minute hour day-of-month month day-of-week) or six with the second in front; names, lists, ranges, steps and
/// `@daily` and its like. 0 and 7 are Sunday. A time skipped by the clocks going forward runs right after, one that
/// comes twice runs once.
#[utoipa::path(get, path = "/api/schedule/preview", tag = "networks", operation_id = "preview_schedule",
    params(("expression" = String, Query, example = "30 2 * * 1-5"), ("time_zone" = Option<String>, Query, example = "Europe/Berlin"),
           ("count" = Option<i64>, Query, description = "How many runs, 1-50; default 5")),
    responses((status = 200, body = SchedulePreview), (status = 422, body = ProblemBody)))]
async fn preview(
    State(app): State<AppState>,
    Query(query): Query<PreviewQuery>,
) -> Result<Json<SchedulePreview>, Problem> {
    at_least("query", "count", query.count, 1)?;
    at_most("query", "count", query.count, 50)?;
    let line: CronLine = query.expression.parse().map_err(|error| {
        Problem::invalid_value(&["query", "expression"], error, query.expression.as_str())
    })?;
    let zone: Tz = query.time_zone.parse().map_err(|_| {
        let message = format!("{:?} is not a time zone; use a name as Europe/Berlin or UTC", query.time_zone);
        Problem::invalid_value(&["query", "time_zone"], message, query.time_zone.as_str())
    })?;
    let runs = line.runs_after(app.clock.now(), zone).take(usize::try_from(query.count).unwrap_or_default());
    let next_runs: Vec<_> = runs.collect();
    let local = |run: &DateTime<Utc>| run.with_timezone(&zone).format("%Y-%m-%dT%H:%M:%S%:z").to_string();
    Ok(Json(SchedulePreview {
        description: line.describe(),
        next_runs_local: next_runs.iter().map(local).collect(),
        next_runs,
        expression: query.expression,
        time_zone: zone.name().to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{auth::Role, test_support::TestApp};

    #[tokio::test]
    async fn a_line_is_shown_in_words_and_times() {
        let app = TestApp::new().await;
        let viewer = app.login(Role::Viewer).await;
        let path = "/api/schedule/preview?expression=30%202%20*%20*%201&time_zone=Europe/Berlin&count=2";
        assert_eq!(
            viewer.get(path).await.assert_status(200).json(),
            json!({
                "expression": "30 2 * * 1",
                "time_zone": "Europe/Berlin",
                "description": "At 02:30, on Monday",
                "next_runs": ["2026-01-05T01:30:00Z", "2026-01-12T01:30:00Z"],
                "next_runs_local": ["2026-01-05T02:30:00+01:00", "2026-01-12T02:30:00+01:00"],
            })
        );
    }

    #[tokio::test]
    async fn mistakes_name_the_field() {
        let app = TestApp::new().await;
        let viewer = app.login(Role::Viewer).await;
        for (query, place, sentence) in [
            ("expression=99%20*%20*%20*%20*", "expression", "Value error, minute: 99 is out of range (0-59)"),
            (
                "expression=@daily&time_zone=Mars",
                "time_zone",
                "Value error, \"Mars\" is not a time zone; use a name as Europe/Berlin or UTC",
            ),
            ("expression=@daily&count=51", "count", "Input should be less than or equal to 50"),
            ("time_zone=UTC", "expression", "Field required"),
        ] {
            let reply = viewer.get(&format!("/api/schedule/preview?{query}")).await;
            let detail = reply.assert_status(422).json()["detail"][0].clone();
            assert_eq!((&detail["loc"], &detail["msg"]), (&json!(["query", place]), &json!(sentence)));
        }
        app.anonymous().get("/api/schedule/preview?expression=@daily").await.assert_status(401);
    }
}
