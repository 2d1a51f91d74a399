//! A network's first scan: an inventory to be reviewed, not news.
//!
//! Until a scan of the whole network has been completed, every open port is new to it. Where they are many they make one
//! alert that says so and leads to the list of ports. What breaks a rule is told port by port as ever, and so is a new port
//! that a global BLOCK rule forbids.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::json;

use super::{
    AlertKind, NewAlert,
    group::{self, APART, Place},
};
use crate::{
    policy::{Policy, severity::Severity},
    store::{alert_evaluation::AlertRow, scan_lifecycle::RunningScan},
};

/// Takes the new ports of a first scan out of what is due, if they are many, and returns the alert in their place.
pub(super) fn take(due: &mut Vec<NewAlert>, scan: &RunningScan, policy: &Policy) -> Option<AlertRow> {
    if scan.first_scanned_at.is_some() {
        return None;
    }
    let belongs = |alert: &NewAlert| {
        let key = &alert.key;
        let forbidden = || policy.standing(key.address, key.port, key.transport).globally_blocked;
        key.kind == AlertKind::NewPort && !forbidden()
    };
    let place = |alert: &NewAlert| (alert.key.address, alert.key.port, alert.key.transport);
    let places: BTreeSet<Place> = due.iter().filter(|alert| belongs(alert)).map(place).collect();
    if places.len() <= APART {
        return None;
    }
    due.retain(|alert| !belongs(alert));
    Some(row(&places, scan))
}

fn row(places: &BTreeSet<Place>, scan: &RunningScan) -> AlertRow {
    let hosts = places.iter().map(|(address, ..)| address).collect::<BTreeSet<&IpAddr>>().len();
    let on_hosts = if hosts == 1 { "on 1 host".to_owned() } else { format!("on {hosts} hosts") };
    let mut detail = group::listed(places.iter().map(group::shown));
    detail["first_scan"] = json!({ "ports": places.len(), "hosts": hosts });
    AlertRow {
        kind: AlertKind::NewPort,
        // Nobody opened them just now, as far as anyone can tell.
        severity: Severity::Medium,
        network_id: Some(scan.network_id),
        scan_id: Some(scan.id),
        agent_id: None,
        host: None,
        place: None,
        global_port_id: None,
        message: format!(
            "The first scan of network {} found {} open ports {on_hosts}: review them once, what opens from now on is told \
             port by port",
            scan.network_name,
            places.len()
        ),
        detail,
        dedup_key: format!("network-{}/{}/scan-{}", scan.network_id, AlertKind::NewPort, scan.id),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use portreeve_model::protocol::{JobOutcome, Record};

    use crate::{
        jobs::ScanRequest,
        test_support::{
            TestApp,
            scans::{Worker, manual, network, open, plan, texts, value},
        },
    };

    const ALERTS: &str =
        "select kind || ' ' || severity || ' ' || coalesce(host(address) || ':' || port, '-')
        from alerts where network_id = $1 order by created_at, kind desc, address nulls first, port";

    fn ports(app: &TestApp, host: &str, ports: std::ops::RangeInclusive<u16>) -> Vec<Record> {
        ports.map(|port| open(app, host, port)).collect()
    }

    async fn rule(app: &TestApp, sql: &'static str, network_id: Option<i64>) {
        let query = sqlx::query(sql);
        let query = match network_id {
            Some(id) => query.bind(id),
            None => query,
        };
        query.execute(app.pool()).await.expect("a rule");
    }

    #[tokio::test]
    async fn a_first_scan_is_an_inventory_and_the_next_one_news() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let network_id = network(&app, "office", worker.client.agent_id()).await;
        let mut found = [ports(&app, "10.99.0.7", 1..=10), ports(&app, "10.99.0.8", 1..=10)].concat();
        worker.scan(network_id, &found).await;
        assert_eq!(texts(&app, ALERTS, network_id).await, ["new_port medium -"]);
        let told =
            "select message || ' / ' || (detail->'first_scan')::text || ' / ' || (detail->>'place_count')
            || ' ' || (detail->'places'->>0) from alerts where network_id = $1";
        assert_eq!(
            texts(&app, told, network_id).await,
            [
                "The first scan of network office found 20 open ports on 2 hosts: review them once, what opens from now on \
                 is told port by port / {\"hosts\": 2, \"ports\": 20} / 20 10.99.0.7:1"
            ]
        );
        app.clock().advance(TimeDelta::hours(1));
        found.extend(ports(&app, "10.99.0.9", 1..=12));
        worker.scan(network_id, &found).await;
        let alerts = texts(&app, ALERTS, network_id).await;
        assert_eq!((alerts.len(), alerts[1].as_str()), (13, "new_port high 10.99.0.9:1"));
    }

    #[tokio::test]
    async fn what_breaks_a_rule_is_told_port_by_port() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let network_id = network(&app, "office", worker.client.agent_id()).await;
        let own = "insert into port_rules (network_id, port, port_first, port_last, rule_type) values ($1, '5', 5, 5, 'block')";
        rule(&app, own, Some(network_id)).await;
        for global in [
            "insert into global_port_rules (port, port_first, port_last, rule_type, description) values ('6', 6, 6, 'block', 'x')",
            "insert into global_port_rules (port, port_first, port_last, rule_type, description) values ('7-9', 7, 9, 'allow', 'x')",
        ] {
            rule(&app, global, None).await;
        }
        worker.scan(network_id, &ports(&app, "10.99.0.7", 1..=20)).await;
        assert_eq!(
            texts(&app, ALERTS, network_id).await,
            ["new_port medium -", "new_port critical 10.99.0.7:6", "blocked critical 10.99.0.7:5"]
        );
        let counted =
            "select (detail->>'place_count')::bigint from alerts where network_id = $1 and address is null";
        assert_eq!(
            value::<i64>(&app, counted, network_id).await,
            16,
            "neither the allowed nor the forbidden"
        );
    }

    #[tokio::test]
    async fn only_a_completed_scan_of_the_whole_network_makes_the_inventory() {
        let app = TestApp::new().await;
        let worker = Worker::new(&app, "a").await;
        let network_id = network(&app, "office", worker.client.agent_id()).await;
        let found = [ports(&app, "10.99.0.7", 1..=11), ports(&app, "10.99.0.8", 1..=11)].concat();

        plan(&app, &manual(network_id)).await;
        let job = worker.lease().await.expect("a job");
        worker.put(&job, 0, &found).await.assert_status(200);
        worker.finish(&job, 1, JobOutcome::Failed).await.assert_status(204);
        assert!(texts(&app, ALERTS, network_id).await.is_empty());

        app.clock().advance(TimeDelta::hours(1));
        let target = Some("10.99.0.7".parse().expect("an address"));
        plan(&app, &ScanRequest { target, ..manual(network_id) }).await;
        let job = worker.lease().await.expect("a job");
        worker.put(&job, 0, &found[..11]).await.assert_status(200);
        worker.finish(&job, 1, JobOutcome::Completed).await.assert_status(204);
        assert_eq!(texts(&app, ALERTS, network_id).await, ["new_port medium -"]);

        app.clock().advance(TimeDelta::hours(1));
        worker.scan(network_id, &found).await;
        assert_eq!(texts(&app, ALERTS, network_id).await, ["new_port medium -", "new_port medium -"]);

        // That its scans were deleted does not make a network unknown again.
        sqlx::query("delete from scans").execute(app.pool()).await.expect("deleted");
        app.clock().advance(TimeDelta::hours(1));
        worker.scan(network_id, &[found, ports(&app, "10.99.0.9", 1..=11)].concat()).await;
        assert_eq!(texts(&app, ALERTS, network_id).await.len(), 13);
    }
}
