//! The protocol, call by call, against a real database.

use chrono::TimeDelta;
use portreeve_model::{
    HostProfile, PortState, Reason, SshAlgorithm, SshAudit, Timestamp, TlsCertificate, TlsInfo, VoteReason,
    protocol::{BASE_PATH, Job, JobKind, JobOutcome, JobSummary, LeasedJob, Record},
};
use serde_json::{Value, json};

use crate::{
    auth::{Role, Token, TokenKind},
    jobs,
    store::enrollment::{self, NewEnrollmentToken},
    test_support::{
        TestApp,
        scans::{Worker, host, manual, network, network_of, open, plan, seen, service, texts, value},
    },
};

const STATUS: &str = "select status from scans where id = $1";
const CHANGES: &str = "select kind || ' ' || host(address) || coalesce(':' || port, '') from changes where scan_id = $1 order by id";
const ALERTS: &str = "select message from alerts where scan_id = $1 order by id";

async fn enrollment_token(app: &TestApp, local: bool) -> String {
    let token = Token::generate(TokenKind::Enrollment);
    let new = NewEnrollmentToken {
        token_hash: &token.hash(),
        prefix: &token.display_prefix(),
        description: None,
        creates_local_network: local,
        created_by: None,
        expires_at: app.now() + TimeDelta::hours(1),
    };
    enrollment::insert(app.pool(), &new, app.now()).await.expect("a token");
    token.into_string()
}

fn enroll_body(token: &str) -> Value {
    json!({ "token": token, "name": "scanner", "version": "0.1.0" })
}

#[tokio::test]
async fn a_token_makes_one_agent_and_names_stay_apart() {
    let app = TestApp::new().await;
    let token = enrollment_token(&app, false).await;
    let enroll = format!("{BASE_PATH}/enroll");
    let first = app.anonymous().post(&enroll, enroll_body(&token)).await;
    let first = first.assert_status(200).json();
    assert_eq!(first["name"], "scanner");
    let again = app.anonymous().post(&enroll, enroll_body(&token)).await;
    assert!(again.assert_status(401).json()["detail"].as_str().is_some_and(|text| text.contains("used up")));

    let second = enrollment_token(&app, false).await;
    let second = app.anonymous().post(&enroll, enroll_body(&second)).await;
    assert_eq!(second.assert_status(200).json()["name"], "scanner-2");
    assert_eq!(app.audited().await, ["agent.enroll", "agent.enroll"]);

    let expired = enrollment_token(&app, false).await;
    app.clock().advance(TimeDelta::hours(2));
    app.anonymous().post(&enroll, enroll_body(&expired)).await.assert_status(401);
}

#[tokio::test]
async fn a_local_token_makes_this_machine_a_network_once() {
    let app = TestApp::new().await;
    for _ in 0..2 {
        let token = enrollment_token(&app, true).await;
        app.anonymous().post(&format!("{BASE_PATH}/enroll"), enroll_body(&token)).await.assert_status(200);
    }
    let networks = texts(
        &app,
        "select name || ' ' || cidr || ' ' || port_spec || ' ' || agent_id from networks where id > $1",
        0,
    )
    .await;
    assert_eq!(networks, ["This machine 127.0.0.1/32 1-65535 1"]);
}

#[tokio::test]
async fn only_agents_pass_and_only_with_their_own_credential() {
    let app = TestApp::new().await;
    let hello = json!({ "version": "0.1.0", "hostname": "h", "backends": ["batch"], "interfaces": [], "max_rate_pps": 1000 });
    let path = format!("{BASE_PATH}/hello");
    app.login(Role::Admin).await.post(&path, hello.clone()).await.assert_status(401);
    app.anonymous().post(&path, hello.clone()).await.assert_status(401);
    let agent = app.agent("a").await;
    let reply = agent.post(&path, hello).await.assert_status(200).json();
    assert_eq!(reply["server_time_ms"], app.now().timestamp_millis());
    let seen: String = value(
        &app,
        "select hostname || ' ' || version || ' ' || max_rate_pps from agents where id = $1",
        agent.agent_id(),
    )
    .await;
    assert_eq!(seen, "h 0.1.0 1000");
    // And an agent is no user.
    agent.get("/api/users").await.assert_status(401);
}

#[tokio::test]
async fn a_job_says_how_deep_to_look() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let operator = app.login(Role::Operator).await;
    let body = json!({ "name": "n", "cidr": "10.99.0.0/24", "port_spec": "443",
        "scanner_id": worker.client.agent_id(), "ssh_audit": false });
    let made = operator.post("/api/networks", body).await.assert_status(201).json();
    assert_eq!((&made["identify"], &made["tls_audit"]), (&json!(true), &json!(true)));
    let network_id = made["id"].as_i64().expect("a number");
    let depth = |job: &Job| (job.identify, job.ssh_audit, job.tls_audit);

    plan(&app, &manual(network_id)).await;
    let first = worker.lease().await.expect("a job");
    assert_eq!(depth(&first.job), (true, false, true));
    worker.finish(&first, 0, JobOutcome::Completed).await.assert_status(204);

    let path = format!("/api/networks/{network_id}");
    operator.put(&path, json!({ "tls_audit": false })).await.assert_status(200);
    plan(&app, &manual(network_id)).await;
    let mut second = serde_json::to_value(worker.lease().await.expect("a job").job).expect("JSON");
    assert_eq!(second["tls_audit"], false);
    // A server that does not know the setting leaves it out, and that means no.
    second.as_object_mut().expect("an object").remove("tls_audit");
    assert!(!serde_json::from_value::<Job>(second).expect("a job").tls_audit);
}

#[tokio::test]
async fn a_scan_goes_from_plan_to_changes_and_alerts() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    let scan_id = plan(&app, &manual(network_id)).await;
    assert_eq!(value::<String>(&app, STATUS, scan_id).await, "planned");

    let job = worker.lease().await.expect("a job");
    assert_eq!((job.job.scan_id, job.job.kind, job.job.ports.as_str()), (scan_id, JobKind::Scan, "T:1-1000"));
    assert_eq!(job.job.targets, ["10.99.0.0/24"]);
    assert_eq!(value::<String>(&app, STATUS, scan_id).await, "running");
    assert!(worker.lease().await.is_none(), "a job is leased once");

    let mut records = vec![
        Record::Host(Box::new(host(&app, "10.99.0.7"))),
        open(&app, "10.99.0.7", 22),
        open(&app, "10.99.0.7", 80),
        seen(&app, "10.99.0.7", 81, PortState::Closed, Reason::Reset),
    ];
    records.push(Record::Service(Box::new(service(&app, "10.99.0.7", 80, "http", "nginx", "1.24.0"))));
    let stored = worker.put(&job, 0, &records).await.assert_status(200).json();
    assert_eq!(stored, json!({ "stored": 5, "repeated": false }));
    let again = worker.put(&job, 0, &records).await.assert_status(200).json();
    assert_eq!(again, json!({ "stored": 0, "repeated": true }));

    let early = worker.finish(&job, 2, JobOutcome::Completed).await;
    assert_eq!(early.assert_status(409).json()["code"], "batches-missing");
    worker.finish(&job, 1, JobOutcome::Completed).await.assert_status(204);
    worker.finish(&job, 1, JobOutcome::Completed).await.assert_status(204);

    assert_eq!(value::<String>(&app, STATUS, scan_id).await, "completed");
    assert_eq!(
        texts(&app, CHANGES, scan_id).await,
        ["host_appeared 10.99.0.7", "port_opened 10.99.0.7:22", "port_opened 10.99.0.7:80"]
    );
    assert_eq!(
        texts(&app, ALERTS, scan_id).await,
        ["New open port detected globally: 10.99.0.7:22", "New open port detected globally: 10.99.0.7:80"]
    );
    let rows = texts(&app, "select port || ' ' || coalesce(service, '-') || ' ' || coalesce(product, '-') || ' ' || coalesce(version, '-') from scan_ports where scan_id = $1 order by port", scan_id).await;
    assert_eq!(rows, ["22 - - -", "80 http nginx 1.24.0"]);
    let figures: String = value(
        &app,
        "select open_ports || ' ' || progress_percent || ' ' || hosts_discovered from scans where id = $1",
        scan_id,
    )
    .await;
    assert_eq!(figures, "2 100 1");
    assert_eq!(value::<i64>(&app, "select count(*) from observations where scan_id = $1", scan_id).await, 3);
    assert_eq!(value::<i32>(&app, "select open_port_count from hosts where id > 0 and $1 > 0", 1).await, 2);
}

#[tokio::test]
async fn what_a_host_is_comes_from_all_its_services_with_reasons() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    let mut web = service(&app, "10.99.0.7", 80, "http", "nginx", "1.24.0");
    web.os = Some("Linux".into());
    let profile = |address: &str, os: &str, device: &str| {
        Record::Profile(Box::new(HostProfile {
            address: address.parse().expect("an address"),
            os: Some(os.into()),
            device: Some(device.into()),
            device_confidence: 92,
            reasons: vec![VoteReason { text: "service jetdirect at port 9100".into(), points: 28 }],
            seen_at_ms: Timestamp(app.now().timestamp_millis()),
        }))
    };
    let records = [
        open(&app, "10.99.0.7", 80),
        Record::Service(Box::new(web)),
        profile("10.99.0.7", "Debian 12", "printer"),
        // Outside the scan: not believed.
        profile("10.98.0.7", "Debian 12", "printer"),
    ];
    worker.scan(network_id, &records).await;
    let facts = "select os || ', ' || device_type || ', ' || (device_reasons -> 0 ->> 'text') from hosts where $1 > 0";
    assert_eq!(value::<String>(&app, facts, 1).await, "Debian 12, printer, service jetdirect at port 9100");
}

#[tokio::test]
async fn a_second_scan_tells_what_opened_closed_and_changed() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    let at = |port| open(&app, "10.99.0.7", port);
    let web = |version| Record::Service(Box::new(service(&app, "10.99.0.7", 80, "http", "nginx", version)));
    worker.scan(network_id, &[at(22), at(80), web("1.24.0")]).await;

    app.clock().advance(TimeDelta::hours(1));
    let at = |port| open(&app, "10.99.0.7", port);
    let web = |version| Record::Service(Box::new(service(&app, "10.99.0.7", 80, "http", "nginx", version)));
    let second = worker.scan(network_id, &[at(80), at(443), web("1.26.0")]).await;
    assert_eq!(
        texts(&app, CHANGES, second).await,
        ["port_opened 10.99.0.7:443", "version_changed 10.99.0.7:80", "port_closed 10.99.0.7:22"]
    );
    assert_eq!(texts(&app, ALERTS, second).await, ["New open port detected globally: 10.99.0.7:443"]);

    app.clock().advance(TimeDelta::hours(1));
    let at = |port| open(&app, "10.99.0.7", port);
    let third = worker.scan(network_id, &[at(22), at(80), at(443)]).await;
    assert_eq!(texts(&app, CHANGES, third).await, ["port_reopened 10.99.0.7:22"]);
    // New to its network, not to the installation; the alert of the first scan is open still, under its own key.
    assert_eq!(texts(&app, ALERTS, third).await, ["New open port detected: 10.99.0.7:22"]);
    let product: String = value(
        &app,
        "select version from ports where port = 80 and closed_at is null and network_id = $1",
        network_id,
    )
    .await;
    assert_eq!(product, "1.26.0", "a scan that did not ask keeps what is known");
}

#[tokio::test]
async fn only_what_was_probed_is_closed_and_silence_counts_twice() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let agent_id = worker.client.agent_id();
    let network_id = network_of(&app, "n", agent_id, "10.99.0.0/24", "1-100").await;
    worker
        .scan(
            network_id,
            &[open(&app, "10.99.0.7", 22), open(&app, "10.99.0.7", 80), open(&app, "10.99.0.8", 22)],
        )
        .await;

    // Port 80 is no longer asked for; .8 says nothing at all.
    sqlx::query("update networks set port_spec = '22' where id = $1")
        .bind(network_id)
        .execute(app.pool())
        .await
        .expect("changed");
    app.clock().advance(TimeDelta::hours(1));
    let second = worker.scan(network_id, &[open(&app, "10.99.0.7", 22)]).await;
    assert!(texts(&app, CHANGES, second).await.is_empty());
    app.clock().advance(TimeDelta::hours(1));
    let third = worker.scan(network_id, &[open(&app, "10.99.0.7", 22)]).await;
    assert_eq!(texts(&app, CHANGES, third).await, ["port_closed 10.99.0.8:22", "host_vanished 10.99.0.8"]);
    let open_now = texts(&app, "select host(address) || ':' || port from ports where network_id = $1 and closed_at is null order by 1", network_id).await;
    assert_eq!(open_now, ["10.99.0.7:22", "10.99.0.7:80"]);

    app.clock().advance(TimeDelta::hours(1));
    let back = worker.scan(network_id, &[open(&app, "10.99.0.7", 22), open(&app, "10.99.0.8", 22)]).await;
    assert_eq!(texts(&app, CHANGES, back).await, ["host_returned 10.99.0.8", "port_reopened 10.99.0.8:22"]);
}

#[tokio::test]
async fn a_refusal_closes_at_once_and_a_lossy_scan_does_not() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    worker.scan(network_id, &[open(&app, "10.99.0.7", 22), open(&app, "10.99.0.7", 80)]).await;
    app.clock().advance(TimeDelta::hours(1));
    let scan_id = plan(&app, &manual(network_id)).await;
    let job = worker.lease().await.expect("a job");
    app.clock().advance(TimeDelta::seconds(5));
    worker
        .put(&job, 0, &[seen(&app, "10.99.0.7", 80, PortState::Closed, Reason::Reset)])
        .await
        .assert_status(200);
    assert_eq!(texts(&app, CHANGES, scan_id).await, ["port_closed 10.99.0.7:80"]);
    let lossy = JobSummary { miss_estimate: Some(0.2), ..JobSummary::default() };
    worker.finish_with(&job, 1, JobOutcome::Completed, lossy).await.assert_status(204);
    assert_eq!(texts(&app, CHANGES, scan_id).await.len(), 1, "port 22 may just have been missed");
}

#[tokio::test]
async fn a_failed_scan_closes_nothing_and_its_findings_are_told_by_the_next() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    worker.scan(network_id, &[open(&app, "10.99.0.7", 22)]).await;
    app.clock().advance(TimeDelta::hours(1));
    let failed = plan(&app, &manual(network_id)).await;
    let job = worker.lease().await.expect("a job");
    worker.put(&job, 0, &[open(&app, "10.99.0.7", 80)]).await.assert_status(200);
    worker.finish(&job, 1, JobOutcome::Failed).await.assert_status(204);
    let ended: String =
        value(&app, "select status || ': ' || error_message from scans where id = $1", failed).await;
    assert_eq!(ended, "failed: eth7 does not exist");
    assert_eq!(texts(&app, CHANGES, failed).await, ["port_opened 10.99.0.7:80"]);
    assert!(texts(&app, ALERTS, failed).await.is_empty());

    app.clock().advance(TimeDelta::hours(1));
    let next = worker.scan(network_id, &[open(&app, "10.99.0.7", 22), open(&app, "10.99.0.7", 80)]).await;
    assert_eq!(texts(&app, ALERTS, next).await, ["New open port detected globally: 10.99.0.7:80"]);
    sqlx::query("update alerts set acknowledged = true").execute(app.pool()).await.expect("acknowledged");
    app.clock().advance(TimeDelta::hours(1));
    let after = worker.scan(network_id, &[open(&app, "10.99.0.7", 22), open(&app, "10.99.0.7", 80)]).await;
    assert!(texts(&app, ALERTS, after).await.is_empty(), "told once");
}

#[tokio::test]
async fn rules_raise_alerts_once_while_they_are_open() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    for (port, kind) in [(22, "allow"), (23, "block")] {
        sqlx::query("insert into port_rules (network_id, port, port_first, port_last, rule_type) values ($1, $2::text, $2, $2, $3)")
            .bind(network_id).bind(port).bind(kind).execute(app.pool()).await.expect("a rule");
    }
    sqlx::query("insert into global_port_rules (port, port_first, port_last, rule_type, description) values ('80', 80, 80, 'allow', 'web')")
        .execute(app.pool()).await.expect("a rule");
    let found = [22, 23, 80].map(|port| open(&app, "10.99.0.7", port));
    let first = worker.scan(network_id, &found).await;
    assert_eq!(
        texts(&app, ALERTS, first).await,
        [
            "New open port detected globally: 10.99.0.7:22",
            "New open port detected globally: 10.99.0.7:23",
            "Blocked port detected: 10.99.0.7:23",
            "Open port not in allowlist: 10.99.0.7:23",
        ]
    );
    app.clock().advance(TimeDelta::hours(1));
    let again = worker.scan(network_id, &found).await;
    assert!(texts(&app, ALERTS, again).await.is_empty());
    let counts = texts(
        &app,
        "select kind || ' ' || severity || ' ' || raised_count from alerts where network_id = $1 order by id",
        network_id,
    )
    .await;
    assert_eq!(counts, ["new_port high 1", "new_port high 1", "blocked critical 2", "not_allowed medium 2"]);
    sqlx::query("update alerts set acknowledged = true").execute(app.pool()).await.expect("acknowledged");
    app.clock().advance(TimeDelta::hours(1));
    let third = worker.scan(network_id, &found).await;
    assert_eq!(texts(&app, ALERTS, third).await.len(), 2, "what is still wrong is told again");
}

#[tokio::test]
async fn ssh_and_certificates_are_kept_and_judged() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    let weak =
        |name: &str| SshAlgorithm { name: name.into(), keysize: None, is_weak: true, notes: Vec::new() };
    let server = |methods: &[&str], ciphers: Vec<SshAlgorithm>| {
        let mut service = service(&app, "10.99.0.7", 22, "ssh", "OpenSSH", "9.2p1");
        service.ssh = Some(SshAudit {
            ssh_version: "OpenSSH_9.2p1".into(),
            ciphers,
            auth_methods: Some(methods.iter().map(|method| (*method).into()).collect()),
            hassh: Some("with a \0 in it".to_owned()),
            ..SshAudit::default()
        });
        Record::Service(Box::new(service))
    };
    let secure = |digit: &str| {
        let mut service = service(&app, "10.99.0.7", 443, "http", "nginx", "1.24.0");
        let certificate = TlsCertificate {
            subject: format!("CN={digit}").into(),
            sha256: digit.repeat(64),
            not_after_ms: portreeve_model::Timestamp(i64::MAX),
            not_before_ms: portreeve_model::Timestamp(i64::MIN),
            ..TlsCertificate::default()
        };
        service.tls = Some(TlsInfo {
            version: "TLSv1.3".into(),
            certificates: vec![certificate],
            ..TlsInfo::default()
        });
        Record::Service(Box::new(service))
    };
    let ports = || vec![open(&app, "10.99.0.7", 22), open(&app, "10.99.0.7", 443)];
    worker.scan(network_id, &[ports(), vec![server(&["publickey"], Vec::new()), secure("a")]].concat()).await;

    app.clock().advance(TimeDelta::hours(1));
    let second = worker
        .scan(
            network_id,
            &[ports(), vec![server(&["publickey", "password"], vec![weak("3des-cbc")]), secure("b")]]
                .concat(),
        )
        .await;
    assert_eq!(
        texts(&app, ALERTS, second).await,
        [
            "SSH security regression detected (SSH OpenSSH_9.2p1) on 10.99.0.7:22: password authentication was enabled; weak ciphers added: 3des-cbc",
            "SSH server allows insecure authentication methods: password (SSH OpenSSH_9.2p1) on 10.99.0.7:22",
        ]
    );
    assert_eq!(texts(&app, CHANGES, second).await, ["certificate_changed 10.99.0.7:443"]);
    let shown = texts(&app, "select c.subject || ' ' || (e.until is null) from tls_endpoints e join tls_certificates c on c.id = e.certificate_id where e.network_id = $1 order by e.id", network_id).await;
    assert_eq!(shown, ["CN=a false", "CN=b true"]);
}

#[tokio::test]
async fn a_cancelled_scan_keeps_what_was_found_and_stays_cancelled() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    let scan_id = plan(&app, &manual(network_id)).await;
    let job = worker.lease().await.expect("a job");
    let mut transaction = app.pool().begin().await.expect("a transaction");
    jobs::cancel(&mut transaction, scan_id, None, app.now()).await.expect("running");
    assert!(jobs::cancel(&mut transaction, scan_id, None, app.now()).await.is_err(), "only once");
    transaction.commit().await.expect("committed");

    let renewed = worker.client.post(&renew_path(&job), renew_body(&job)).await;
    assert_eq!(renewed.assert_status(200).json()["cancelled"], true);
    worker.put(&job, 0, &[open(&app, "10.99.0.7", 22)]).await.assert_status(200);
    worker.finish(&job, 1, JobOutcome::Cancelled).await.assert_status(204);
    let ended: String = value(
        &app,
        "select status || ' ' || open_ports || ' ' || (completed_at is not null) from scans where id = $1",
        scan_id,
    )
    .await;
    assert_eq!(ended, "cancelled 1 true");
    assert!(texts(&app, ALERTS, scan_id).await.is_empty());

    // A planned scan can be cancelled, too; nobody gets its job then.
    let planned = plan(&app, &manual(network_id)).await;
    let mut connection = app.pool().acquire().await.expect("a connection");
    jobs::cancel(&mut connection, planned, None, app.now()).await.expect("planned");
    assert!(worker.lease().await.is_none());
}

fn renew_path(job: &LeasedJob) -> String {
    format!("{BASE_PATH}/jobs/{}/renew", job.job.job_id)
}

fn renew_body(job: &LeasedJob) -> Value {
    json!({ "lease_token": job.lease_token, "progress": { "percent": 40.5, "phase": "Probing", "probes_sent": 10,
        "probes_total": 20, "open_ports": 1, "rate_pps": 1000 } })
}

#[tokio::test]
async fn renewing_tells_the_progress() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    let scan_id = plan(&app, &manual(network_id)).await;
    let job = worker.lease().await.expect("a job");
    let mut events = app.state().live.subscribe();
    worker.client.post(&renew_path(&job), renew_body(&job)).await.assert_status(200);
    let progress: String = value(&app, "select progress_percent || ' ' || progress_message || ' ' || probes_sent || '/' || probes_total || ' ' || rate_pps from scans where id = $1", scan_id).await;
    assert_eq!(progress, "40.5 Probing 10/20 1000");
    let event = events.recv().await.expect("an event");
    assert_eq!((event.name(), event.network_id()), ("scan", Some(network_id)));
}

#[tokio::test]
async fn a_lapsed_lease_is_its_holders_until_someone_else_takes_the_job() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    plan(&app, &manual(network_id)).await;
    let first = worker.lease().await.expect("a job");
    app.clock().advance(TimeDelta::minutes(3));
    worker.put(&first, 0, &[open(&app, "10.99.0.7", 22)]).await.assert_status(200);
    worker.client.post(&renew_path(&first), renew_body(&first)).await.assert_status(200);

    app.clock().advance(TimeDelta::minutes(3));
    let second = worker.lease().await.expect("the lapsed job");
    assert_eq!(second.job.job_id, first.job.job_id);
    let late = worker.put(&first, 1, &[open(&app, "10.99.0.7", 23)]).await;
    assert_eq!(late.assert_status(409).json()["code"], "lease-lost");
    worker.client.post(&renew_path(&first), renew_body(&first)).await.assert_status(409);
    worker.finish(&first, 1, JobOutcome::Completed).await.assert_status(409);
    worker.finish(&second, 1, JobOutcome::Completed).await.assert_status(204);
}

#[tokio::test]
async fn a_job_nobody_finishes_is_given_up_with_a_sentence() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "edge").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    let scan_id = plan(&app, &manual(network_id)).await;
    let started = app.now() - TimeDelta::hours(1);
    let mut last = None;
    for _ in 0..3 {
        last = Some(worker.lease().await.expect("a job"));
        app.clock().advance(TimeDelta::minutes(2));
    }
    assert!(worker.lease().await.is_none(), "three times is enough");
    jobs::reaper::reap(app.pool(), app.now(), started).await.expect("reaped");
    let ended: String =
        value(&app, "select status || ': ' || error_message from scans where id = $1", scan_id).await;
    assert_eq!(
        ended,
        "failed: The agent edge stopped answering while it worked on this scan (3 attempts). Check that it runs and reaches the server, then scan again."
    );
    // What it found and hands in after all is kept.
    let last = last.expect("a job");
    worker.put(&last, 0, &[open(&app, "10.99.0.7", 22)]).await.assert_status(200);
    worker.finish(&last, 1, JobOutcome::Completed).await.assert_status(204);
    assert_eq!(value::<String>(&app, STATUS, scan_id).await, "failed");
}

#[tokio::test]
async fn after_a_restart_agents_get_time_to_come_back() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    let scan_id = plan(&app, &manual(network_id)).await;
    let job = worker.lease().await.expect("a job");
    // The server was away for hours.
    app.clock().advance(TimeDelta::hours(5));
    let news =
        jobs::reaper::reap(app.pool(), app.now(), app.now() - TimeDelta::seconds(5)).await.expect("reaped");
    assert!(news.is_empty());
    worker.put(&job, 0, &[open(&app, "10.99.0.7", 22)]).await.assert_status(200);
    worker.finish(&job, 1, JobOutcome::Completed).await.assert_status(204);
    assert_eq!(value::<String>(&app, STATUS, scan_id).await, "completed");
}

#[tokio::test]
async fn a_sharded_scan_ends_with_its_last_job() {
    let app = TestApp::new().await;
    let (one, two) = (Worker::new(&app, "one").await, Worker::new(&app, "two").await);
    let network_id = network(&app, "n", one.client.agent_id()).await;
    sqlx::query("update networks set shards = 2, scan_rate = 1001 where id = $1")
        .bind(network_id)
        .execute(app.pool())
        .await
        .expect("changed");
    let scan_id = plan(&app, &manual(network_id)).await;
    let (first, second) = (one.lease().await.expect("a job"), two.lease().await.expect("another"));
    assert_eq!((first.job.shard.index, second.job.shard.index, first.job.shard.count), (0, 1, 2));
    assert_eq!((first.job.seed, first.job.rate_pps), (second.job.seed, Some(500)));
    one.put(&first, 0, &[open(&app, "10.99.0.7", 22)]).await.assert_status(200);
    two.put(&second, 0, &[open(&app, "10.99.0.7", 80)]).await.assert_status(200);
    one.finish(&first, 1, JobOutcome::Completed).await.assert_status(204);
    assert_eq!(value::<String>(&app, STATUS, scan_id).await, "running");
    two.finish(&second, 1, JobOutcome::Completed).await.assert_status(204);
    let ended: String =
        value(&app, "select status || ' ' || open_ports from scans where id = $1", scan_id).await;
    assert_eq!(ended, "completed 2");
}

#[tokio::test]
async fn jobs_are_handed_out_in_the_order_of_scans_and_shards() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let mut planned = Vec::new();
    for name in ["n", "m"] {
        let network_id = network(&app, name, worker.client.agent_id()).await;
        sqlx::query("update networks set shards = 8 where id = $1")
            .bind(network_id)
            .execute(app.pool())
            .await
            .expect("changed");
        // The clock stands still, so all sixteen jobs are equally old.
        planned.push(plan(&app, &manual(network_id)).await);
    }
    for scan_id in planned {
        for index in 0..8 {
            let job = worker.lease().await.expect("a job").job;
            assert_eq!((job.scan_id, job.shard.index), (scan_id, index));
        }
    }
}

#[tokio::test]
async fn a_network_can_be_scanned_again_at_once_after_its_agent_was_stopped() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    let stopped = plan(&app, &manual(network_id)).await;
    let job = worker.lease().await.expect("a job");
    worker.put(&job, 0, &[open(&app, "10.99.0.7", 22)]).await.assert_status(200);
    let path = format!("{BASE_PATH}/jobs/{}/finish", job.job.job_id);
    let body = json!({ "lease_token": job.lease_token, "outcome": "failed", "error": "the agent was stopped",
        "batches": 1, "summary": JobSummary::default() });
    worker.client.post(&path, body).await.assert_status(204);
    let ended: String =
        value(&app, "select status || ': ' || error_message from scans where id = $1", stopped).await;
    assert_eq!(ended, "failed: the agent was stopped");

    // Neither the clock nor anything else moves in between.
    let next = worker.scan(network_id, &[open(&app, "10.99.0.7", 22)]).await;
    assert_ne!(next, stopped);
    assert_eq!(value::<String>(&app, STATUS, next).await, "completed");
    assert!(worker.lease().await.is_none(), "nothing of the stopped scan is left");
}

#[tokio::test]
async fn bad_batches_are_refused_and_leave_nothing() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    let scan_id = plan(&app, &manual(network_id)).await;
    let job = worker.lease().await.expect("a job");
    worker.put_bytes(&job, 0, b"nonsense".to_vec(), None).await.assert_status(422);
    worker.put_bytes(&job, 0, b"nonsense".to_vec(), Some("zstd")).await.assert_status(422);
    worker.put_bytes(&job, 0, Vec::new(), Some("br")).await.assert_status(415);
    worker.put_bytes(&job, 0, vec![b' '; (16 << 20) + 1], None).await.assert_status(413);
    let foreign = worker.put(&job, 0, &[open(&app, "10.98.0.7", 22)]).await.assert_status(200).json();
    assert_eq!(foreign["stored"], 0);
    let log = texts(&app, "select message from scan_logs where scan_id = $1", scan_id).await;
    assert_eq!(log, ["1 records about addresses outside this scan were left out"]);
    assert_eq!(value::<i64>(&app, "select count(*) from ports where network_id = $1", network_id).await, 0);
}

#[tokio::test]
async fn a_waiting_agent_gets_a_job_as_soon_as_there_is_one() {
    let app = TestApp::new().await;
    let worker = Worker::new(&app, "a").await;
    let network_id = network(&app, "n", worker.client.agent_id()).await;
    let path = format!("{BASE_PATH}/lease?wait_seconds=30");
    let waiting = worker.client.post(&path, json!({ "free_slots": 1 }));
    let planning = async {
        tokio::task::yield_now().await;
        plan(&app, &manual(network_id)).await
    };
    let (reply, scan_id) = tokio::join!(waiting, planning);
    assert_eq!(reply.assert_status(200).json()["job"]["scan_id"], scan_id);
}
