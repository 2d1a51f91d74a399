//! Tests over all routes: OPM's recorded answers, and what a limited user may see.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::fixtures::Lab;
use crate::{auth::Role, test_support::TestApp};

/// One recorded call of Open Port Monitor.
struct Sample {
    name: String,
    path: String,
    status: u16,
    body: Value,
}

/// Recorded calls, if they are on this machine: `$PORTREEVE_SHARED`, else `../shared` beside the workspace.
fn samples() -> Option<Vec<Sample>> {
    let root = std::env::var_os("PORTREEVE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let mut files: Vec<_> =
        std::fs::read_dir(root.join("opm-samples/api")).ok()?.filter_map(Result::ok).collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    let read = |file: std::fs::DirEntry| {
        let name = file.file_name().into_string().expect("a plain name");
        let call: Value = serde_json::from_slice(&std::fs::read(file.path()).expect("a file")).expect("JSON");
        let (request, response) = (&call["request"], &call["response"]);
        (request["method"] == "GET").then(|| Sample {
            name,
            path: request["path"].as_str().expect("a path").to_owned(),
            status: response["status"]
                .as_u64()
                .and_then(|status| u16::try_from(status).ok())
                .expect("a status"),
            body: response["body"].clone(),
        })
    };
    Some(files.into_iter().filter_map(read).collect())
}

/// Reads that we answer, recorded before the recording's own writes changed what numbers mean.
fn is_covered(sample: &Sample) -> bool {
    const PARTS: [&str; 10] = [
        "/api/networks",
        "/api/scans",
        "/api/ports",
        "/api/global-ports",
        "/api/hosts",
        "/api/alerts",
        "/api/policy",
        "/api/settings",
        "/api/ssh",
        "/api/trends",
    ];
    let number: u32 = sample.name[..3].parse().expect("a number");
    number <= 231
        && PARTS.iter().any(|part| sample.path.starts_with(part))
        // PDF comes later.
        && !sample.path.contains("/pdf")
        // Viewers may read here, which they could not there.
        && !sample.name.contains("viewer")
}

/// Where we answer otherwise on purpose.
fn expected_status(sample: &Sample) -> u16 {
    // Weekly trends were a server error.
    if sample.path.contains("period=week") { 200 } else { sample.status }
}

/// What the recording's networks hold, under the same numbers.
async fn replica(app: &TestApp) {
    let lab = Lab::new(app).await;
    let networks = [
        ("Lab v4", "10.99.0.8/29"),
        ("Lab nmap", "10.99.0.10/31"),
        ("Lab v6", "fd99::10/127"),
        ("Lab udp", "10.99.0.12"),
    ];
    for (name, cidr) in networks {
        lab.network(name, cidr).await;
    }
    for network in 1..=4 {
        assert_eq!(lab.scan(network, "completed").await, network);
    }
    for (network, ip, port, service) in [
        (1, "10.99.0.10", 22, "ssh"),
        (1, "10.99.0.11", 80, "http"),
        (1, "10.99.0.12", 23, "telnet"),
        (2, "10.99.0.10", 22, "ssh"),
        (4, "10.99.0.12", 53, "domain"),
        (3, "fd99::10", 22, "ssh"),
    ] {
        lab.port(network, network, ip, port, service).await;
        lab.alert(Some(network), "new_port", "high", ip, port).await;
    }
    lab.ssh(2, 2, "10.99.0.10", "OpenSSH_7.4", true, &["3des-cbc"]).await;
    lab.ssh(1, 1, "10.99.0.10", "OpenSSH_7.4", true, &["3des-cbc"]).await;
    lab.ssh(3, 3, "fd99::10", "OpenSSH_9.6p1", false, &["3des-cbc"]).await;
    for line in 1..=6 {
        lab.log(1, &format!("line {line}")).await;
    }
    let discovery = lab.scan(1, "completed").await;
    sqlx::query("update scans set kind = 'discovery' where id = $1")
        .bind(discovery)
        .execute(app.pool())
        .await
        .unwrap();
    sqlx::query("update hosts set is_pingable = false where address = '10.99.0.12'")
        .execute(app.pool())
        .await
        .unwrap();
    let admin = app.login(Role::Admin).await;
    let rule = json!({ "network_id": 1, "port": "22", "ip": "10.99.0.10" });
    admin.post("/api/policy", rule).await.assert_status(201);
    admin.post("/api/policy", json!({ "port": "23", "rule_type": "block" })).await.assert_status(201);
    admin.post("/api/alerts/3/comments", json!({ "comment": "Looking at it" })).await.assert_status(201);
}

/// Every key of theirs is in ours, at every depth; lists are compared by their first item.
fn missing_keys(theirs: &Value, ours: &Value, at: &str, missing: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(fields), Value::Object(own)) => {
            for (key, value) in fields {
                match own.get(key) {
                    None => missing.push(format!("{at}.{key}")),
                    Some(other) => missing_keys(value, other, &format!("{at}.{key}"), missing),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => match (theirs.first(), ours.first()) {
            (Some(first), Some(own)) => missing_keys(first, own, &format!("{at}[]"), missing),
            (Some(_), None) => missing.push(format!("{at}[] (empty here)")),
            (None, _) => {}
        },
        // A request id or an exception's context is no part of the contract.
        _ => {}
    }
}

#[tokio::test]
async fn recorded_reads_have_the_same_status_and_every_key() {
    let Some(samples) = samples() else {
        eprintln!("skipped: no recorded calls; set PORTREEVE_SHARED to the folder that holds opm-samples");
        return;
    };
    let app = TestApp::new().await;
    replica(&app).await;
    let admin = app.login(Role::Admin).await;
    let (mut replayed, mut differences) = (0, Vec::new());
    for sample in samples.iter().filter(|sample| is_covered(sample)) {
        replayed += 1;
        let reply = admin.get(&sample.path.replace(' ', "%20")).await;
        let expected = expected_status(sample);
        if reply.status.as_u16() != expected {
            differences.push(format!(
                "{}: {} instead of {expected}: {}",
                sample.name,
                reply.status,
                reply.text()
            ));
        } else if let Some(text) = sample.body.as_str().filter(|_| sample.status == 200) {
            if text.lines().next() != reply.text().lines().next() {
                differences.push(format!("{}: other columns", sample.name));
            }
        } else if expected == sample.status {
            let mut missing = Vec::new();
            missing_keys(&sample.body, &reply.json(), "", &mut missing);
            missing.retain(|key| key.rsplit('.').next() != Some("ctx"));
            differences
                .extend((!missing.is_empty()).then(|| format!("{}: {missing:?} missing", sample.name)));
        }
    }
    eprintln!("{replayed} recorded reads replayed");
    assert!(replayed >= 80, "only {replayed} recorded reads were found");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Every way to read, tried with the numbers of things one may see and of things one may not: nothing of a
/// foreign network shows.
#[tokio::test]
async fn a_limited_user_reads_nothing_of_other_networks_anywhere() {
    const MARK: &str = "10.77.";
    let app = TestApp::new().await;
    let lab = Lab::new(&app).await;
    let mut numbers: Vec<[(&str, i64); 6]> = Vec::new();
    let mut mine = 0;
    for (name, ip) in [("mine", "10.99.0.9"), ("10.77. other", "10.77.0.9")] {
        let network = lab.network(name, &format!("{ip}/32")).await;
        let scan = lab.scan(network, "completed").await;
        lab.scan(network, "running").await;
        let port = lab.port(network, scan, ip, 22, &format!("service at {ip}")).await;
        let host = lab.host(network, ip).await;
        lab.ssh(network, scan, ip, &format!("OpenSSH_9.2 {ip}"), true, &["3des-cbc"]).await;
        lab.change(network, scan, "port_opened", ip, 22).await;
        lab.log(scan, &format!("found {ip}")).await;
        let alert = lab.alert(Some(network), "new_port", "high", ip, 22).await;
        let admin = app.login(Role::Admin).await;
        let rule = json!({ "network_id": network, "port": "22", "ip": ip, "description": ip });
        admin.post("/api/policy", rule).await.assert_status(201);
        admin
            .post(&format!("/api/alerts/{alert}/comments"), json!({ "comment": ip }))
            .await
            .assert_status(201);
        let global: i64 = sqlx::query_scalar("select global_port_id from ports where id = $1")
            .bind(port)
            .fetch_one(app.pool())
            .await
            .unwrap();
        mine = if mine == 0 { network } else { mine };
        numbers.push([
            ("network_id", network),
            ("scan_id", scan),
            ("port_id", port),
            ("host_id", host),
            ("alert_id", alert),
            ("global", global),
        ]);
    }
    lab.alert(None, "new_port", "high", "10.77.0.9", 22).await;
    let limited = app.login_limited(Role::Admin, &[mine]).await;
    let all = app.login(Role::Admin).await;
    let document = all.get("/api/openapi.json").await.json();
    let (mut walked, mut marked) = (0, 0);
    for (path, item) in document["paths"].as_object().expect("paths") {
        if item["get"]["x-permission"] != "inventory:read" || path == "/api/events" {
            continue;
        }
        for (numbers, host_ip) in numbers.iter().zip(["10.99.0.9", "10.77.0.9"]) {
            let mut url = path.replace("{host_ip}", host_ip);
            for (name, number) in numbers {
                let name = if path.starts_with("/api/global-ports") && *name == "global" {
                    "port_id"
                } else {
                    *name
                };
                if !(path.starts_with("/api/global-ports") && name == "port_id" && *number != numbers[5].1) {
                    url = url.replace(&format!("{{{name}}}"), &number.to_string());
                }
            }
            // Agents and whatever comes later: any number will do.
            while let Some((before, (_, after))) =
                url.split_once('{').and_then(|(a, b)| Some((a, b.split_once('}')?)))
            {
                url = format!("{before}1{after}");
            }
            let query =
                format!("?start_date=2026-01-01&end_date=2026-12-31&compare_to={}&limit=100", numbers[1].1);
            for url in [format!("{url}{query}"), url.clone()] {
                let reply = limited.get(&url).await;
                assert!(reply.status.as_u16() < 500, "{url}: {}", reply.text());
                let text = reply.text();
                // The address that was asked for may come back in the sentence that there is none.
                let shown = if reply.status.as_u16() == 404 { text.replace(host_ip, "") } else { text };
                assert!(!shown.contains(MARK), "{url} shows {shown}");
                walked += 1;
                marked += usize::from(all.get(&url).await.text().contains(MARK));
            }
        }
    }
    assert!(walked >= 100, "only {walked} reads");
    assert!(
        marked >= 30,
        "only {marked} of {walked} reads would have shown anything: the test proves too little"
    );
}

/// Generated clients name their functions after operations, and their types after schemas.
#[tokio::test]
async fn operations_have_names_of_their_own() {
    let app = TestApp::new().await;
    let document = app.anonymous().get("/api/openapi.json").await.json();
    let mut seen = std::collections::BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in
            item.as_object().expect("operations").iter().filter(|(_, value)| value.is_object())
        {
            let name = operation["operationId"].as_str().unwrap_or_default().to_owned();
            assert!(!name.is_empty(), "{method} {path} has no name");
            let before = seen.insert(name.clone(), format!("{method} {path}"));
            assert_eq!(before, None, "{name} is also the name of {method} {path}");
        }
    }
}
