//! `/api/changes`: the feed of what changed, newest first. Nothing in it is ever rewritten.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{ApiRouter, Json, Page, Problem, Query, alerts::time, common::address_range};
use crate::{
    auth::{Access, Caller, Permission},
    state::AppState,
    store::changes::{self as store, Change, ChangeFilter},
};

const KINDS: [&str; 16] = [
    "port_opened",
    "port_reopened",
    "port_closed",
    "service_changed",
    "version_changed",
    "banner_changed",
    "host_appeared",
    "host_returned",
    "host_vanished",
    "hostname_changed",
    "mac_changed",
    "os_changed",
    "address_changed",
    "certificate_changed",
    "host_key_changed",
    "ssh_changed",
];

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::InventoryRead), routes!(list_changes))
}

/// Which changes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ChangesQuery {
    /// In one network.
    network_id: Option<i64>,
    /// Of these kinds, with commas between them: `port_opened,port_closed`.
    kind: Option<String>,
    /// Of one host.
    host_id: Option<i64>,
    /// Found by one scan.
    scan_id: Option<i64>,
    /// About an address, a block or a range.
    ip: Option<String>,
    /// About this port.
    port: Option<u16>,
    /// Found from here on.
    start_date: Option<String>,
    /// Found up to here.
    end_date: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Changes at most, 1-500; left out, 50.
    limit: Option<i64>,
}

/// Changes.
#[derive(Debug, Serialize, ToSchema)]
struct ChangeList {
    /// Newest first.
    changes: Vec<Change>,
    /// Where the next page begins; null at the end.
    next_cursor: Option<String>,
}

/// Lists what changed, newest first.
#[utoipa::path(get, path = "/api/changes", tag = "changes",
    params(ChangesQuery),
    responses((status = 200, body = ChangeList), (status = 400, description = "Wrong range or cursor"),
              (status = 422, description = "Wrong filter")))]
async fn list_changes(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ChangesQuery>,
) -> Result<Json<ChangeList>, Problem> {
    let page = Page::new(None, query.limit, 500)?;
    let kinds = query.kind.as_deref().map(parse_kinds).transpose()?;
    let before_id = query.cursor.as_deref().map(str::parse::<i64>).transpose();
    let wrong_cursor = |_| Problem::bad_request("Invalid cursor; use next_cursor of the page before");
    let filter = ChangeFilter {
        network_id: query.network_id,
        kinds: kinds.as_deref(),
        host_id: query.host_id,
        scan_id: query.scan_id,
        range: address_range(query.ip.as_deref())?,
        port: query.port,
        from: time("start_date", query.start_date.as_deref())?,
        to: time("end_date", query.end_date.as_deref())?,
        before_id: before_id.map_err(wrong_cursor)?,
        // One more tells whether there is a next page.
        limit: page.limit + 1,
    };
    let mut changes = store::list(&state.pool, caller.visible_networks(), &filter).await?;
    let more = changes.len() as i64 > page.limit;
    changes.truncate(usize::try_from(page.limit).unwrap_or_default());
    let next_cursor = changes.last().filter(|_| more).map(|change| change.id.to_string());
    Ok(Json(ChangeList { changes, next_cursor }))
}

fn parse_kinds(text: &str) -> Result<Vec<String>, Problem> {
    let kinds: Vec<_> = text.split(',').map(|kind| kind.trim().to_owned()).collect();
    match kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        Some(unknown) => Err(super::scans::one_of("kind", Some(unknown), &KINDS)),
        None => Ok(kinds),
    }
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
        let reply = client.get(&format!("/api/changes?{query}")).await;
        let changes = reply.assert_status(200).json()["changes"].as_array().unwrap().clone();
        changes.iter().map(|change| change["id"].as_i64().unwrap()).collect()
    }

    #[tokio::test]
    async fn changes_are_filtered_and_read_page_by_page() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let (office, plant) =
            (lab.network("Office", "10.99.0.0/24").await, lab.network("Plant", "10.99.1.0/24").await);
        let host = lab.host(office, "10.99.0.9").await;
        let (one, two) = (lab.scan(office, "completed").await, lab.scan(plant, "completed").await);
        let first = lab.change(office, one, "port_opened", "10.99.0.9", 22).await;
        lab.pass(60);
        let second = lab.change(plant, two, "port_closed", "10.99.1.9", 80).await;
        let third = lab.change(office, one, "service_changed", "10.99.0.10", 22).await;
        let viewer = app.login(Role::Viewer).await;
        assert_eq!(ids(&viewer, "").await, [third, second, first]);
        assert_eq!(ids(&viewer, &format!("network_id={office}")).await, [third, first]);
        assert_eq!(ids(&viewer, "kind=port_opened,port_closed").await, [second, first]);
        assert_eq!(ids(&viewer, &format!("host_id={host}")).await, [first]);
        assert_eq!(ids(&viewer, &format!("scan_id={two}")).await, [second]);
        assert_eq!(ids(&viewer, "ip=10.99.0.0/24&port=22").await, [third, first]);
        assert_eq!(ids(&viewer, "start_date=2026-01-01T00:30:00").await, [third, second]);
        assert_eq!(ids(&viewer, "end_date=2026-01-01T00:30:00Z").await, [first]);
        let page = viewer.get("/api/changes?limit=2").await.json();
        assert_times_are_utc(&page);
        assert_eq!(
            (&page["next_cursor"], &page["changes"][0]["network_name"]),
            (&json!(second.to_string()), &json!("Office"))
        );
        let rest = viewer.get(&format!("/api/changes?limit=2&cursor={second}")).await.json();
        assert_eq!((&rest["changes"][0]["id"], &rest["next_cursor"]), (&json!(first), &Value::Null));
        let limited = app.login_limited(Role::Viewer, &[plant]).await;
        assert_eq!(ids(&limited, "").await, [second]);
    }

    #[tokio::test]
    async fn wrong_filters_are_refused() {
        let app = TestApp::new().await;
        let viewer = app.login(Role::Viewer).await;
        viewer.get("/api/changes?kind=odd").await.assert_status(422);
        viewer.get("/api/changes?limit=501").await.assert_status(422);
        viewer.get("/api/changes?cursor=x").await.assert_status(400);
        viewer.get("/api/changes?ip=x").await.assert_status(400);
    }
}
