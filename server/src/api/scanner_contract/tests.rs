//! The contract, call by call, and the original's recorded traffic.

use std::{
    collections::BTreeMap,
    path::{Path as FilePath, PathBuf},
};

use axum::http::Method;
use portreeve_model::protocol::JobKind;
use serde_json::{Value, json};

use super::*;
use crate::{
    auth::Role,
    jobs::{self, ScanRequest},
    store::agents::NewAgent,
    test_support::{
        Client, TestApp,
        scans::{manual, network, network_of, plan, texts, value},
    },
};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

async fn opm_agent(app: &TestApp, name: &str, key: &str) -> i64 {
    let new = NewAgent {
        name,
        description: None,
        kind: "opm",
        credential_hash: &hash_token(key),
        credential_prefix: "00112233",
        created_by: None,
    };
    agents::insert(app.pool(), &new, app.now()).await.expect("a new agent")
}

async fn authenticated(app: &TestApp, key: &str) -> Client {
    let reply = app.anonymous().header("x-api-key", key).call(Method::POST, "/api/scanner/auth", None).await;
    let token = reply.assert_status(200).json()["access_token"].as_str().expect("a token").to_owned();
    app.anonymous().bearer(&token)
}

/// An agent with a network and a scan of it that it has claimed.
async fn claimed(app: &TestApp) -> (Client, i64, i64) {
    let agent_id = opm_agent(app, "HQ", KEY).await;
    let network_id = network_of(app, "n", agent_id, "192.0.2.0/24", "1-1000").await;
    let scan_id = plan(app, &manual(network_id)).await;
    let agent = authenticated(app, KEY).await;
    let reply = agent.call(Method::POST, &format!("/api/scanner/jobs/{network_id}/claim"), None).await;
    assert_eq!(
        reply.assert_status(200).json(),
        json!({ "scan_id": scan_id, "network_id": network_id, "message": "Job claimed successfully" })
    );
    (agent, network_id, scan_id)
}

#[tokio::test]
async fn a_key_becomes_a_token_for_fifteen_minutes() {
    let app = TestApp::new().await;
    let agent_id = opm_agent(&app, "HQ", KEY).await;
    let agent = app.anonymous().header("x-api-key", KEY);
    let reply = agent.post("/api/scanner/auth", json!({ "scanner_version": "1.1.19" })).await;
    let body = reply.assert_status(200).json();
    assert_eq!(body["expires_in"], 900);
    assert_eq!(
        (&body["scanner_id"], &body["scanner_name"], &body["token_type"]),
        (&json!(agent_id), &json!("HQ"), &json!("bearer"))
    );
    assert_eq!(value::<String>(&app, "select version from agents where id = $1", agent_id).await, "1.1.19");
    agent.post("/api/scanner/auth", Value::Null).await.assert_status(200);

    let token = app.anonymous().bearer(body["access_token"].as_str().expect("a token"));
    token.get("/api/scanner/jobs").await.assert_status(200);
    token.get("/api/users").await.assert_status(401);
    app.clock().advance(TimeDelta::minutes(15));
    let late = token.get("/api/scanner/jobs").await;
    late.assert_problem(401, "Could not validate scanner credentials");
    assert_eq!(late.header("www-authenticate"), Some("Bearer"));
}

#[tokio::test]
async fn wrong_keys_are_refused_and_then_slowed_down() {
    let app = TestApp::new().await;
    opm_agent(&app, "HQ", KEY).await;
    let missing = app.anonymous().post("/api/scanner/auth", json!({})).await;
    assert_eq!(
        missing.assert_status(422).json()["detail"],
        json!([{ "type": "missing", "loc": ["header", "x-api-key"], "msg": "Field required", "input": null }])
    );
    let wrong = app.anonymous().header("x-api-key", "wrong");
    for _ in 0..10 {
        wrong.post("/api/scanner/auth", json!({})).await.assert_problem(401, "Invalid API key");
    }
    let slowed = wrong.post("/api/scanner/auth", json!({})).await;
    slowed.assert_problem(429, "Rate limit exceeded. Maximum 10 attempts per minute.");
    authenticated(&app, KEY).await;
    app.clock().advance(TimeDelta::seconds(61));
    wrong.post("/api/scanner/auth", json!({})).await.assert_status(401);
    // A user's token is none of an agent's.
    app.login(Role::Admin).await.get("/api/scanner/jobs").await.assert_status(401);
}

#[tokio::test]
async fn one_job_of_a_network_is_offered_at_a_time() {
    let app = TestApp::new().await;
    let agent_id = opm_agent(&app, "HQ", KEY).await;
    let (one, two) = (network(&app, "one", agent_id).await, network(&app, "two", agent_id).await);
    let rescan = ScanRequest { target: Some("10.99.0.5".parse().expect("an address")), ..manual(one) };
    plan(&app, &rescan).await;
    plan(&app, &manual(one)).await;
    plan(&app, &manual(two)).await;
    let agent = authenticated(&app, KEY).await;
    let jobs = agent.get("/api/scanner/jobs").await.assert_status(200).json();
    let listed: Vec<_> = jobs["jobs"]
        .as_array()
        .expect("jobs")
        .iter()
        .map(|job| (&job["network_id"], &job["target_ip"]))
        .collect();
    assert_eq!(listed, [(&json!(one), &json!("10.99.0.5")), (&json!(two), &Value::Null)]);
    let path = format!("/api/scanner/jobs/{one}/claim");
    agent.call(Method::POST, &path, None).await.assert_status(200);
    agent.call(Method::POST, &path, None).await.assert_problem(409, "Job already claimed or running");
    let jobs = agent.get("/api/scanner/jobs").await.json();
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "the full scan waits for the rescan");
}

#[tokio::test]
async fn foreign_and_unknown_things_are_not_found() {
    let app = TestApp::new().await;
    let other = opm_agent(&app, "Branch", &KEY.replace('0', "9")).await;
    opm_agent(&app, "HQ", KEY).await;
    let foreign = network(&app, "foreign", other).await;
    let scan_id = plan(&app, &manual(foreign)).await;
    let agent = authenticated(&app, KEY).await;
    let none = "No pending job found for this network or network not assigned to this site";
    for network in [foreign, 777] {
        agent
            .call(Method::POST, &format!("/api/scanner/jobs/{network}/claim"), None)
            .await
            .assert_problem(404, none);
    }
    let logs = agent.post("/api/scanner/logs", json!({ "scan_id": scan_id, "logs": [] })).await;
    logs.assert_problem(404, "Scan not found or not assigned to this site");
    let running = "Scan not found, not assigned to this site, or not in running status";
    agent
        .post("/api/scanner/progress", json!({ "scan_id": scan_id, "progress_percent": 1 }))
        .await
        .assert_problem(404, running);
    agent
        .post("/api/scanner/results", json!({ "scan_id": scan_id, "status": "success" }))
        .await
        .assert_problem(404, running);
    agent.get(&format!("/api/scanner/scans/{scan_id}/status")).await.assert_status(404);
    let gone = "Host discovery scan not found or not assigned to this scanner";
    agent
        .post("/api/scanner/host-discovery-results", json!({ "scan_id": 777, "status": "success" }))
        .await
        .assert_problem(404, gone);
}

#[tokio::test]
async fn a_scan_that_was_given_to_another_agent_is_the_claimants() {
    let app = TestApp::new().await;
    let first = opm_agent(&app, "HQ", KEY).await;
    let other_key = KEY.replace('0', "9");
    let second = opm_agent(&app, "Branch", &other_key).await;
    let network_id = network(&app, "n", first).await;
    let scan_id = plan(&app, &manual(network_id)).await;
    sqlx::query("update networks set agent_id = $1")
        .bind(second)
        .execute(app.pool())
        .await
        .expect("reassigned");
    let agent = authenticated(&app, &other_key).await;
    agent.call(Method::POST, &format!("/api/scanner/jobs/{network_id}/claim"), None).await.assert_status(200);
    agent
        .post("/api/scanner/progress", json!({ "scan_id": scan_id, "progress_percent": 5 }))
        .await
        .assert_status(200);
}

#[tokio::test]
async fn progress_and_logs_take_what_the_original_takes() {
    let app = TestApp::new().await;
    let (agent, _, scan_id) = claimed(&app).await;
    let progress =
        |percent: Value| json!({ "scan_id": scan_id, "progress_percent": percent, "progress_message": "x" });
    let reply = agent.post("/api/scanner/progress", progress(json!("55"))).await.assert_status(200).json();
    assert_eq!(
        reply,
        json!({ "scan_id": scan_id, "progress_percent": 55.0, "message": "Progress updated successfully" })
    );
    for wrong in [json!(100.5), json!(-1)] {
        let reply = agent.post("/api/scanner/progress", progress(wrong)).await;
        let detail = &reply.assert_status(422).json()["detail"][0];
        assert_eq!(detail["msg"], "Value error, progress_percent must be between 0 and 100");
        assert_eq!(detail["loc"], json!(["body", "progress_percent"]));
    }
    agent.post("/api/scanner/progress", progress(json!({}))).await.assert_status(422);

    let line = |level: &str, timestamp: Value| json!({ "timestamp": timestamp, "level": level, "message": "hi\u{0}\u{1b}[1m" });
    let logs = json!({ "scan_id": scan_id, "logs": [
        line("INFO", json!("2026-01-01T01:00:00+01:00")), line("warning", json!("2026-01-01T00:00:01")), line("Error", json!(1_767_225_602)),
    ] });
    let reply = agent.post("/api/scanner/logs", logs).await.assert_status(200).json();
    assert_eq!(
        reply,
        json!({ "scan_id": scan_id, "logs_recorded": 3, "message": "Logs submitted successfully" })
    );
    let kept = texts(&app, "select extract(epoch from at)::bigint - 1767225600 || ' ' || level || ' ' || message from scan_logs where scan_id = $1 order by id", scan_id).await;
    assert_eq!(
        kept,
        ["0 info hi\u{fffd}\u{fffd}[1m", "1 warning hi\u{fffd}\u{fffd}[1m", "2 error hi\u{fffd}\u{fffd}[1m"]
    );
    let bad = agent
        .post("/api/scanner/logs", json!({ "scan_id": scan_id, "logs": [line("debug", json!(1))] }))
        .await;
    let detail = bad.assert_status(422).json()["detail"][0].clone();
    assert_eq!(detail["loc"], json!(["body", "logs", 0, "level"]));
    assert_eq!(detail["msg"], "Value error, Level must be one of: info, warning, error");
}

fn results(scan_id: i64) -> Value {
    json!({ "scan_id": scan_id, "status": "success", "open_ports": [
        { "ip": "192.0.2.5", "port": 22, "protocol": "tcp", "ttl": 60, "banner": "SSH-2.0-x", "service_guess": "ssh",
          "mac_address": "00:11:22:33:44:55", "mac_vendor": "Cimsys" },
        { "ip": "192.0.2.5", "port": 53, "protocol": "tcp" },
        { "ip": "192.0.2.5", "port": 53, "protocol": "udp" },
        { "ip": "192.0.2.5", "port": 53, "protocol": "udp", "banner": "again" },
        { "ip": "192.0.2.5", "port": 70000 },
        { "ip": "banana", "port": 1 },
    ], "ssh_results": [
        { "host": "192.0.2.5", "port": 22, "success": true, "password_enabled": true, "ssh_version": "OpenSSH_7.4",
          "ciphers": [{ "name": "3des-cbc", "keysize": null, "is_weak": true, "notes": ["[FAIL] broken"] }] },
        { "host": "192.0.2.5", "port": 2222, "success": false, "error_message": "timed out" },
    ], "error_message": null, "extra": 1 })
}

#[tokio::test]
async fn results_end_the_scan_once_and_logs_still_come() {
    let app = TestApp::new().await;
    let (agent, _, scan_id) = claimed(&app).await;
    let reply = agent.post("/api/scanner/results", results(scan_id)).await.assert_status(200).json();
    assert_eq!(
        reply,
        json!({ "scan_id": scan_id, "status": "completed", "ports_recorded": 4, "message": "Results submitted successfully" })
    );
    let rows = texts(&app, "select host(address) || ':' || port || '/' || transport || ' ' || coalesce(service, '-') || ' ' || coalesce(banner, '-') || ' ' || mac_address from scan_ports where scan_id = $1 order by port, transport", scan_id).await;
    assert_eq!(
        rows,
        [
            "192.0.2.5:22/tcp ssh SSH-2.0-x 00:11:22:33:44:55",
            "192.0.2.5:53/tcp - - 00:11:22:33:44:55",
            "192.0.2.5:53/udp - again 00:11:22:33:44:55"
        ]
    );
    let ssh = texts(&app, "select ssh_version || ' ' || password_enabled || ' ' || has_weak_ciphers from ssh_audits where scan_id = $1", scan_id).await;
    assert_eq!(ssh, ["OpenSSH_7.4 true true"]);
    let running = "Scan not found, not assigned to this site, or not in running status";
    agent.post("/api/scanner/results", results(scan_id)).await.assert_problem(404, running);
    agent
        .post("/api/scanner/progress", json!({ "scan_id": scan_id, "progress_percent": 100 }))
        .await
        .assert_problem(404, running);
    let late = json!({ "scan_id": scan_id, "logs": [{ "timestamp": "2026-01-01T00:00:00Z", "level": "info", "message": "bye" }] });
    agent.post("/api/scanner/logs", late).await.assert_status(200);
    let missing = agent.post("/api/scanner/results", json!({ "scan_id": scan_id })).await;
    assert_eq!(missing.assert_status(422).json()["detail"][0]["loc"], json!(["body", "status"]));
}

#[tokio::test]
async fn anything_but_success_is_a_failure() {
    let app = TestApp::new().await;
    let (agent, _, scan_id) = claimed(&app).await;
    let failed = json!({ "scan_id": scan_id, "status": "banana", "open_ports": [], "error_message": "masscan exited with 1" });
    let reply = agent.post("/api/scanner/results", failed).await.assert_status(200).json();
    assert_eq!(reply["status"], "failed");
    let ended: String =
        value(&app, "select status || ': ' || error_message from scans where id = $1", scan_id).await;
    assert_eq!(ended, "failed: masscan exited with 1");
}

#[tokio::test]
async fn a_cancelled_scan_takes_its_results_and_stays_cancelled() {
    let app = TestApp::new().await;
    let (agent, _, scan_id) = claimed(&app).await;
    let mut connection = app.pool().acquire().await.expect("a connection");
    jobs::cancel(&mut connection, scan_id, None, app.now()).await.expect("running");
    let status = agent.get(&format!("/api/scanner/scans/{scan_id}/status")).await.assert_status(200).json();
    assert_eq!(status["status"], "cancelled");
    let reply = agent.post("/api/scanner/results", results(scan_id)).await.assert_status(200).json();
    assert_eq!((&reply["status"], &reply["ports_recorded"]), (&json!("cancelled"), &json!(4)));
    assert_eq!(value::<i64>(&app, "select count(*) from alerts where scan_id = $1", scan_id).await, 0);
    assert_eq!(value::<i64>(&app, "select count(*) from scan_ports where scan_id = $1", scan_id).await, 3);
}

#[tokio::test]
async fn discoveries_find_hosts_and_stay_as_they_ended() {
    let app = TestApp::new().await;
    let agent_id = opm_agent(&app, "HQ", KEY).await;
    let network_id = network_of(&app, "n", agent_id, "192.0.2.0/24", "22").await;
    let scan_id = plan(&app, &ScanRequest { kind: JobKind::Discovery, ..manual(network_id) }).await;
    let agent = authenticated(&app, KEY).await;
    assert_eq!(
        agent.get("/api/scanner/host-discovery-jobs").await.assert_status(200).json(),
        json!({ "jobs": [{ "scan_id": scan_id, "network_id": network_id, "cidr": "192.0.2.0/24", "is_ipv6": false }] })
    );
    let claim = format!("/api/scanner/host-discovery-jobs/{scan_id}/claim");
    let reply = agent.call(Method::POST, &claim, None).await.assert_status(200).json();
    assert_eq!((&reply["known_hostnames"], &reply["ips_with_open_ports"]), (&json!({}), &json!([])));
    let refused = "Host discovery job not found or not assigned to this scanner";
    agent.call(Method::POST, &claim, None).await.assert_problem(404, refused);
    let found = json!({ "scan_id": scan_id, "status": "success", "error_message": null, "hosts": [
        { "ip": "192.0.2.5", "hostname": "gw.example", "is_pingable": true, "mac_address": "00:11:22:33:44:55", "mac_vendor": "Cimsys" },
        { "ip": "192.0.2.6" },
    ] });
    let reply = agent.post("/api/scanner/host-discovery-results", found).await.assert_status(200).json();
    assert_eq!((&reply["status"], &reply["hosts_recorded"]), (&json!("success"), &json!(2)));
    let hosts = texts(&app, "select host(address) || ' ' || coalesce(hostname, '-') || ' ' || is_pingable from hosts where id > $1 order by address", 0).await;
    assert_eq!(hosts, ["192.0.2.5 gw.example true", "192.0.2.6 - true"]);
    let again = json!({ "scan_id": scan_id, "status": "failed", "hosts": [], "error_message": "x" });
    agent.post("/api/scanner/host-discovery-results", again).await.assert_status(200);
    let ended: String =
        value(&app, "select status || ' ' || hosts_discovered from scans where id = $1", scan_id).await;
    assert_eq!(ended, "completed 2");
}

/// Where samples of the original's traffic are, if this machine has them.
fn samples() -> Option<PathBuf> {
    let workspace = FilePath::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let shared =
        std::env::var_os("PORTREEVE_SHARED").map_or_else(|| workspace.join("../shared"), PathBuf::from);
    Some(shared.join("opm-samples/agent")).filter(|folder| folder.is_dir())
}

/// Plays what the original's unmodified agent said to its server, in order and by the original's clock, and compares our
/// answers with the original's: the status, and the names and types of all fields.
#[tokio::test]
async fn the_originals_traffic_gets_the_originals_answers() {
    let Some(folder) = samples() else {
        println!("skipped: no samples of the original's traffic here (PORTREEVE_SHARED names their folder)");
        return;
    };
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let app = TestApp::new().await;
    let agent_id = opm_agent(&app, "HQ", KEY).await;
    for (name, cidr, ports) in [
        ("1", "10.99.0.8/29", "1-100,2222,8080,!25"),
        ("2", "10.99.0.10/31", "22,80,2222,8080"),
        ("3", "fd99::10/127", "22,80"),
        ("4", "10.99.0.12/32", "53,23"),
        ("5", "192.0.2.0/24", "22"),
        ("6", "10.99.0.10/32", "80,443"),
    ] {
        network_of(&app, name, agent_id, cidr, ports).await;
    }
    let mut replay =
        Replay { app: &app, client: app.anonymous(), scans: BTreeMap::new(), discoveries: BTreeMap::new() };
    let mut played = 0;
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "json")) {
        let sample: Value = serde_json::from_slice(&std::fs::read(file).expect("a sample")).expect("JSON");
        replay.play(&sample, &file.display().to_string()).await;
        played += 1;
    }
    assert!(played > 0, "the folder of samples is empty");
    println!("{played} of {played} calls answered as the original does");
}

struct Replay<'a> {
    app: &'a TestApp,
    client: Client,
    /// The original's scan numbers and ours; it numbers scans and discoveries apart.
    scans: BTreeMap<i64, i64>,
    discoveries: BTreeMap<i64, i64>,
}

impl Replay<'_> {
    async fn play(&mut self, sample: &Value, name: &str) {
        let (request, response) = (&sample["request"], &sample["response"]);
        let at = DateTime::from_timestamp_millis((sample["t"].as_f64().expect("a time") * 1000.0) as i64);
        self.app.clock().set(at.expect("in range"));
        let method: Method = request["method"].as_str().expect("a method").parse().expect("known");
        let path = request["path"].as_str().expect("a path").to_owned();
        self.prepare(&path, &request["body"], response).await;

        let mut body = request["body"].clone();
        let ids = if path.contains("host-discovery") { &self.discoveries } else { &self.scans };
        if let Some(ours) = body["scan_id"].as_i64().and_then(|theirs| ids.get(&theirs)) {
            body["scan_id"] = json!(ours);
        }
        let client = if path.ends_with("/auth") {
            self.app.anonymous().header("x-api-key", KEY)
        } else {
            self.client.clone()
        };
        let reply =
            client.call(method, &self.our_path(&path), Some(body).filter(|body| !body.is_null())).await;
        assert_eq!(
            reply.status.as_u16(),
            response["status"].as_u64().expect("a status") as u16,
            "{name}: {}",
            reply.text()
        );
        let ours = reply.json();
        compare(&response["body"], &ours, name);
        if path.ends_with("/auth") {
            self.client = self.app.anonymous().bearer(ours["access_token"].as_str().expect("a token"));
        }
        if path.ends_with("/claim") && reply.status == StatusCode::OK {
            let ids = if path.contains("host-discovery") { &mut self.discoveries } else { &mut self.scans };
            ids.insert(
                response["body"]["scan_id"].as_i64().expect("a scan"),
                ours["scan_id"].as_i64().expect("a scan"),
            );
        }
    }

    /// Does what the original's users did meanwhile: plans scans before they are listed or claimed, cancels one.
    async fn prepare(&mut self, path: &str, body: &Value, response: &Value) {
        for job in response["body"]["jobs"].as_array().into_iter().flatten() {
            let network_id = job["network_id"].as_i64().expect("a network");
            match job["scan_id"].as_i64() {
                Some(theirs) => self.plan_discovery(theirs, network_id).await,
                None => self.plan_scan(network_id).await,
            }
        }
        let claimed = || path.split('/').nth(4).and_then(|id| id.parse::<i64>().ok());
        if path.starts_with("/api/scanner/jobs/") {
            self.plan_scan(claimed().expect("a network")).await;
        } else if path.ends_with("/claim") {
            self.plan_discovery(
                claimed().expect("a scan"),
                response["body"]["network_id"].as_i64().expect("a network"),
            )
            .await;
        }
        let refused = path.ends_with("/progress") && response["status"] == 404;
        if refused || response["body"]["status"] == "cancelled" {
            let theirs =
                body["scan_id"].as_i64().or_else(|| response["body"]["scan_id"].as_i64()).expect("a scan");
            let mut connection = self.app.pool().acquire().await.expect("a connection");
            // After the results it has ended already.
            let _ended = jobs::cancel(&mut connection, self.scans[&theirs], None, self.app.now()).await;
        }
    }

    async fn plan_scan(&self, network_id: i64) {
        let waiting: i64 = value(
            self.app,
            "select count(*) from scans where network_id = $1 and kind = 'scan' and status = 'planned'",
            network_id,
        )
        .await;
        if waiting == 0 {
            plan(self.app, &manual(network_id)).await;
        }
    }

    async fn plan_discovery(&mut self, theirs: i64, network_id: i64) {
        if !self.discoveries.contains_key(&theirs) {
            let ours = plan(self.app, &ScanRequest { kind: JobKind::Discovery, ..manual(network_id) }).await;
            self.discoveries.insert(theirs, ours);
        }
    }

    fn our_path(&self, path: &str) -> String {
        let parts: Vec<_> = path.split('/').collect();
        let ids = match parts.as_slice() {
            [_, "api", "scanner", "scans", ..] => &self.scans,
            [_, "api", "scanner", "host-discovery-jobs", ..] => &self.discoveries,
            _ => return path.to_owned(),
        };
        let ours = |part: &&str| {
            part.parse()
                .ok()
                .and_then(|theirs: i64| ids.get(&theirs))
                .map_or_else(|| (*part).to_owned(), i64::to_string)
        };
        parts.iter().map(ours).collect::<Vec<_>>().join("/")
    }
}

/// The same names and types. Problems may say more than the original's do.
fn compare(theirs: &Value, ours: &Value, place: &str) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let is_problem = theirs.keys().eq(["detail"]);
            for (key, value) in theirs {
                let own = ours.get(key).unwrap_or_else(|| panic!("{place}: {key} is missing in {ours:?}"));
                // What is keyed by addresses or may be null is compared where both have something.
                if !value.is_null() && !own.is_null() {
                    compare(value, own, &format!("{place}.{key}"));
                }
            }
            let free = place.ends_with("known_hostnames") || is_problem;
            assert!(
                free || ours.keys().all(|key| theirs.contains_key(key)),
                "{place}: more than {theirs:?} in {ours:?}"
            );
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if let (Some(first), Some(own)) = (theirs.first(), ours.first()) {
                compare(first, own, &format!("{place}[]"));
            }
        }
        _ => {
            let same = std::mem::discriminant(theirs) == std::mem::discriminant(ours);
            assert!(same, "{place}: {ours} instead of {theirs}");
        }
    }
    if place.ends_with("detail") || place.ends_with("message") || place.ends_with("status") {
        assert_eq!(theirs, ours, "{place}");
    }
}
