//! `/api/scans/{scan_id}/diff`: what is different from another scan of the same network.

use std::{cmp::Ordering, net::IpAddr};

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{find, not_found};
use crate::{
    api::{ApiRouter, Json, Path, Problem, Query},
    auth::{Access, Caller, Permission},
    state::AppState,
    store::scans::{self as store, Scan, ScanPort},
};

/// Ports of each scan that are compared.
const MOST_COMPARED: i64 = 200_000;
/// Ports in each list of the answer.
const MOST_SHOWN: usize = 10_000;

pub(super) fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::InventoryRead), routes!(diff_scans))
}

/// With what.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// The scan to compare with, usually the older one.
    compare_to: i64,
}

/// The same port in both scans, with another service behind it.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct ChangedPort {
    /// In the scan compared with.
    before: ScanPort,
    /// In this scan.
    after: ScanPort,
}

/// How two scans differ. Each list has at most 10000 ports; the counts are of all.
#[derive(Debug, Serialize, ToSchema)]
struct ScanDiff {
    /// This scan.
    scan_id: i64,
    /// The scan compared with.
    compare_to_id: i64,
    /// The only address compared, when one of the scans was of one host.
    #[schema(value_type = Option<String>)]
    only_ip: Option<IpAddr>,
    /// Open in this scan only.
    added_ports: Vec<ScanPort>,
    /// Open in the other scan only.
    removed_ports: Vec<ScanPort>,
    /// Open in both, those in `changed_ports` included.
    unchanged_ports: Vec<ScanPort>,
    /// Open in both, with another service, product or version.
    changed_ports: Vec<ChangedPort>,
    /// How many were added.
    added_count: usize,
    /// How many were removed.
    removed_count: usize,
    /// How many are open in both.
    unchanged_count: usize,
    /// How many of those changed.
    changed_count: usize,
}

/// Compares a scan with another one of the same network.
#[utoipa::path(get, path = "/api/scans/{scan_id}/diff", tag = "scans",
    params(("scan_id" = i64, Path, description = "Number of the scan"), DiffQuery),
    responses((status = 200, body = ScanDiff), (status = 404, description = "No such scan"),
              (status = 400, description = "Of different networks, or not comparable")))]
async fn diff_scans(
    State(state): State<AppState>,
    caller: Caller,
    Path(scan_id): Path<i64>,
    Query(query): Query<DiffQuery>,
) -> Result<Json<ScanDiff>, Problem> {
    let scope = caller.visible_networks();
    let scan = find(&state, &caller, scan_id).await?;
    let other = store::find(&state.pool, scope, query.compare_to).await?;
    let other = other.ok_or_else(|| Problem::not_found("Compare scan not found"))?;
    let only_ip = comparable(&scan, &other)?;
    let after = store::ports(&state.pool, scan_id, only_ip, 0, MOST_COMPARED).await?;
    let before = store::ports(&state.pool, other.id, only_ip, 0, MOST_COMPARED).await?;
    Ok(Json(ScanDiff::new(scan_id, other.id, only_ip, before, after)))
}

/// The address that both scans looked at, if it is not the whole network.
fn comparable(scan: &Scan, other: &Scan) -> Result<Option<IpAddr>, Problem> {
    if scan.network_id != other.network_id {
        return Err(Problem::bad_request("Scans must belong to the same network"));
    }
    if scan.kind != "scan" || other.kind != "scan" {
        return Err(not_found());
    }
    match (scan.target_ip, other.target_ip) {
        (Some(one), Some(two)) if one != two => {
            Err(Problem::bad_request(format!("One scan looked at {one} only, the other at {two} only")))
        }
        (one, two) => Ok(one.or(two)),
    }
}

impl ScanDiff {
    fn new(
        scan_id: i64,
        compare_to_id: i64,
        only_ip: Option<IpAddr>,
        before: Vec<ScanPort>,
        after: Vec<ScanPort>,
    ) -> Self {
        let Compared { mut added, mut removed, mut unchanged, mut changed } = compare(before, after);
        let counts = (added.len(), removed.len(), unchanged.len(), changed.len());
        added.truncate(MOST_SHOWN);
        removed.truncate(MOST_SHOWN);
        unchanged.truncate(MOST_SHOWN);
        changed.truncate(MOST_SHOWN);
        Self {
            scan_id,
            compare_to_id,
            only_ip,
            added_ports: added,
            removed_ports: removed,
            unchanged_ports: unchanged,
            changed_ports: changed,
            added_count: counts.0,
            removed_count: counts.1,
            unchanged_count: counts.2,
            changed_count: counts.3,
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Compared {
    added: Vec<ScanPort>,
    removed: Vec<ScanPort>,
    unchanged: Vec<ScanPort>,
    changed: Vec<ChangedPort>,
}

/// Walks both lists, each in order of (address, port, transport), once.
fn compare(before: Vec<ScanPort>, after: Vec<ScanPort>) -> Compared {
    let mut result = Compared::default();
    let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return result,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => key(old).cmp(&key(new)),
        };
        match order {
            Ordering::Less => result.removed.extend(before.next()),
            Ordering::Greater => result.added.extend(after.next()),
            Ordering::Equal => {
                if let (Some(old), Some(new)) = (before.next(), after.next()) {
                    if facts(&old) != facts(&new) {
                        result.changed.push(ChangedPort { before: old, after: new.clone() });
                    }
                    result.unchanged.push(new);
                }
            }
        }
    }
}

fn key(port: &ScanPort) -> (IpAddr, u16, &str) {
    (port.ip, port.port, &port.protocol)
}

fn facts(port: &ScanPort) -> (&Option<String>, &Option<String>, &Option<String>) {
    (&port.service_guess, &port.product, &port.version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{api::fixtures::Lab, auth::Role, test_support::TestApp};

    fn port(ip: &str, port: u16, protocol: &str, version: &str) -> ScanPort {
        ScanPort {
            ip: ip.parse().unwrap(),
            port,
            protocol: protocol.to_owned(),
            ttl: None,
            banner: None,
            service_guess: Some("ssh".to_owned()),
            product: None,
            version: Some(version.to_owned()),
            mac_address: None,
            mac_vendor: None,
            first_seen_at: chrono::DateTime::UNIX_EPOCH,
            last_seen_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn ports_are_told_apart_by_address_port_and_transport() {
        let before = vec![
            port("10.0.0.2", 22, "tcp", "1"),
            port("10.0.0.2", 53, "udp", "1"),
            port("10.0.0.10", 1, "tcp", "1"),
        ];
        let after = vec![
            port("10.0.0.2", 22, "tcp", "2"),
            port("10.0.0.2", 53, "tcp", "1"),
            port("10.0.0.10", 1, "tcp", "1"),
            port("fd99::1", 22, "tcp", "1"),
        ];
        let result = compare(before.clone(), after.clone());
        assert_eq!(result.added, [after[1].clone(), after[3].clone()]);
        assert_eq!(result.removed, [before[1].clone()]);
        assert_eq!(result.unchanged, [after[0].clone(), after[2].clone()]);
        assert_eq!(result.changed, [ChangedPort { before: before[0].clone(), after: after[0].clone() }]);
    }

    #[test]
    fn a_scan_is_the_same_as_itself_and_different_from_nothing() {
        let ports = vec![port("10.0.0.2", 22, "tcp", "1"), port("10.0.0.10", 22, "tcp", "1")];
        let same = compare(ports.clone(), ports.clone());
        assert_eq!(
            (same.added.len(), same.removed.len(), same.unchanged.len(), same.changed.len()),
            (0, 0, 2, 0)
        );
        assert_eq!(compare(Vec::new(), ports.clone()).added.len(), 2);
        assert_eq!(compare(ports, Vec::new()).removed.len(), 2);
    }

    #[tokio::test]
    async fn scans_of_one_network_are_compared() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let old = lab.scan(office, "completed").await;
        lab.port(office, old, "10.99.0.9", 22, "ssh").await;
        lab.port(office, old, "10.99.0.9", 23, "telnet").await;
        let new = lab.scan(office, "completed").await;
        lab.port(office, new, "10.99.0.9", 22, "ssh").await;
        lab.port(office, new, "10.99.0.10", 80, "http").await;
        let viewer = app.login(Role::Viewer).await;
        let diff =
            viewer.get(&format!("/api/scans/{new}/diff?compare_to={old}")).await.assert_status(200).json();
        assert_eq!((&diff["added_count"], &diff["added_ports"][0]["port"]), (&json!(1), &json!(80)));
        assert_eq!((&diff["removed_count"], &diff["removed_ports"][0]["port"]), (&json!(1), &json!(23)));
        assert_eq!((&diff["unchanged_count"], &diff["changed_count"]), (&json!(1), &json!(0)));
    }

    #[tokio::test]
    async fn a_scan_of_one_host_is_compared_for_that_host() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let office = lab.network("Office", "10.99.0.0/24").await;
        let whole = lab.scan(office, "completed").await;
        lab.port(office, whole, "10.99.0.9", 22, "ssh").await;
        lab.port(office, whole, "10.99.0.10", 80, "http").await;
        let single = lab.scan(office, "completed").await;
        sqlx::query("update scans set target_address = '10.99.0.9' where id = $1")
            .bind(single)
            .execute(app.pool())
            .await
            .unwrap();
        let viewer = app.login(Role::Viewer).await;
        let diff = viewer.get(&format!("/api/scans/{single}/diff?compare_to={whole}")).await.json();
        assert_eq!((&diff["only_ip"], &diff["removed_count"]), (&json!("10.99.0.9"), &json!(1)));
    }

    #[tokio::test]
    async fn what_cannot_be_compared_is_told() {
        let app = TestApp::new().await;
        let lab = Lab::new(&app).await;
        let one = lab.scan(lab.network("Office", "10.99.0.0/24").await, "completed").await;
        let two = lab.scan(lab.network("Plant", "10.99.1.0/24").await, "completed").await;
        let viewer = app.login(Role::Viewer).await;
        let path = format!("/api/scans/{one}/diff");
        viewer
            .get(&format!("{path}?compare_to={two}"))
            .await
            .assert_problem(400, "Scans must belong to the same network");
        viewer.get(&format!("{path}?compare_to=777")).await.assert_problem(404, "Compare scan not found");
        viewer.get(&path).await.assert_status(422);
        viewer
            .get(&format!("/api/scans/99/diff?compare_to={one}"))
            .await
            .assert_problem(404, "Scan not found");
    }
}
