//! A whole agent at work for a server, scanning listeners on loopback.

mod jobs;
mod nginx;
mod server;

use std::{
    net::TcpListener,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jobs::{endless_scan, scan_of};
use nginx::Nginx;
use portreeve_agent::{AgentConfig, AgentError, HostLimits, ServerUrl, run_agent};
use portreeve_model::{
    PortState, Timestamp,
    protocol::{Job, JobOutcome, Record},
};
use portreeve_probes::Database;
use portreeve_scan::{BackendChoice, Clock};
use server::{Server, TOKEN};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

#[expect(clippy::disallowed_methods, reason = "the test owns its clock")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp(i64::try_from(since.as_millis()).expect("before the year 292 million"))
}

fn config(server: &Server, state: &Path) -> AgentConfig {
    AgentConfig {
        server: ServerUrl::parse(&server.url(), false).expect("loopback"),
        authority: None,
        state: state.to_owned(),
        name: "attic".to_owned(),
        token: Some(TOKEN.to_owned()),
        slots: 2,
        limits: HostLimits::default(),
        spool_bytes: 1 << 20,
        archive_bytes: 1 << 20,
        backend: BackendChoice::Connect,
        worker: None,
    }
}

struct Running {
    task: JoinHandle<Result<(), AgentError>>,
    stop: CancellationToken,
}

fn start(config: AgentConfig) -> Running {
    let stop = CancellationToken::new();
    let (_, databases) = watch::channel(Arc::clone(Database::builtin()));
    let task = tokio::spawn(run_agent(config, databases, Clock::new(now), stop.clone()));
    Running { task, stop }
}

impl Running {
    async fn end(self) -> Result<(), AgentError> {
        self.stop.cancel();
        self.task.await.expect("no panic")
    }
}

fn listeners(count: usize) -> (Vec<TcpListener>, Vec<u16>) {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let mut ports: Vec<_> =
        listeners.iter().map(|listener| listener.local_addr().expect("bound").port()).collect();
    ports.sort_unstable();
    (listeners, ports)
}

fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

fn open_ports(records: &[Record]) -> Vec<u16> {
    let mut ports: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Port(seen) if seen.state == PortState::Open => Some(seen.port),
            _ => None,
        })
        .collect();
    ports.sort_unstable();
    ports
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_is_leased_done_and_handed_in() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let (_listening, ports) = listeners(3);
    let job = scan_of(&list(&ports));
    server.told().queue.push_back(job.clone());
    let agent = start(config(&server, folder.path()));
    server.until("the end", |told| told.finishes.contains_key(&job.job_id)).await;
    agent.end().await.expect("stops in peace");

    let told = server.told();
    let records = told.records(job.job_id);
    assert_eq!(open_ports(&records), ports);
    let services = records.iter().filter(|record| matches!(record, Record::Service(_))).count();
    assert_eq!(services, 3, "every open port is asked what answers there");
    let profiles = records.iter().filter(|record| matches!(record, Record::Profile(_))).count();
    assert_eq!(profiles, 0, "listeners that say nothing make no profile");
    let finish = &told.finishes[&job.job_id];
    assert_eq!((finish.outcome, &finish.error), (JobOutcome::Completed, &None));
    assert_eq!((finish.summary.open_ports, finish.summary.addresses), (3, 1));
    assert_eq!(finish.summary.backend.as_str(), "connect");
    assert!(!told.logs.is_empty() && !told.renewals.is_empty());
    assert!(told.hellos[0].backends.contains(&"connect".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_servers_are_audited_where_the_job_says_so_even_known_ones() {
    let Some(web) = Nginx::start("ssl_protocols TLSv1.2 TLSv1.3;") else { return };
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let agent = start(config(&server, folder.path()));
    let mut audits = Vec::new();
    for tls_audit in [false, true] {
        let job = Job { tls_audit, ..scan_of(&web.port.to_string()) };
        server.told().queue.push_back(job.clone());
        server.until("the end", |told| told.finishes.contains_key(&job.job_id)).await;
        let records = server.told().records(job.job_id);
        let tls = records.into_iter().find_map(|record| match record {
            Record::Service(service) => service.tls,
            _ => None,
        });
        let tls = tls.expect("a TLS server");
        let versions: Vec<_> = tls.versions.iter().map(ToString::to_string).collect();
        audits.push((versions, tls.jarm.map(|jarm| jarm.len())));
    }
    agent.end().await.expect("stops in peace");
    let versions = ["TLSv1.2", "TLSv1.3"].map(str::to_owned).to_vec();
    assert_eq!(audits, [(Vec::new(), None), (versions, Some(62))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_under_a_scan_gets_the_whole_result_afterwards() {
    let mut server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let (_listening, ports) = listeners(40);
    let job = Job { rate_pps: Some(20), ..scan_of(&list(&ports)) };
    server.told().queue.push_back(job.clone());
    let agent = start(config(&server, folder.path()));
    server.until("first results", |told| !told.records(job.job_id).is_empty()).await;
    server.down().await;
    let known = server.told().records(job.job_id).len();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(server.told().records(job.job_id).len(), known, "the server is away");
    server.up().await;
    server.until("the end", |told| told.finishes.contains_key(&job.job_id)).await;
    agent.end().await.expect("stops in peace");
    let told = server.told();
    assert_eq!(open_ports(&told.records(job.job_id)), ports);
    assert_eq!(told.finishes[&job.job_id].outcome, JobOutcome::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_hands_in_what_it_had_when_it_is_back() {
    let mut server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let (_listening, ports) = listeners(5);
    let job = Job { rate_pps: Some(20), ..scan_of(&format!("{},1-9000", list(&ports))) };
    server.told().queue.push_back(job.clone());
    let agent = start(config(&server, folder.path()));
    server.until("the lease", |told| !told.renewals.is_empty()).await;
    server.down().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    agent.task.abort();
    let _ = agent.task.await;

    server.up().await;
    let again = start(config(&server, folder.path()));
    server.until("the end", |told| told.finishes.contains_key(&job.job_id)).await;
    again.end().await.expect("stops in peace");
    let told = server.told();
    let finish = &told.finishes[&job.job_id];
    assert_eq!(finish.outcome, JobOutcome::Failed);
    assert!(finish.error.as_ref().expect("why").as_str().contains("restarted"), "{finish:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_scan_hands_in_what_was_found() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = endless_scan();
    server.told().queue.push_back(job.clone());
    let agent = start(config(&server, folder.path()));
    server.until("the lease", |told| !told.renewals.is_empty()).await;
    server.told().cancelled.insert(job.job_id);
    server.until("the end", |told| told.finishes.contains_key(&job.job_id)).await;
    agent.end().await.expect("stops in peace");
    assert_eq!(server.told().finishes[&job.job_id].outcome, JobOutcome::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_is_up_makes_a_scan_fail_with_the_reason() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = Job { timeout_seconds: 1, ..endless_scan() };
    server.told().queue.push_back(job.clone());
    let agent = start(config(&server, folder.path()));
    server.until("the end", |told| told.finishes.contains_key(&job.job_id)).await;
    agent.end().await.expect("stops in peace");
    let told = server.told();
    let finish = &told.finishes[&job.job_id];
    assert_eq!(finish.outcome, JobOutcome::Failed);
    assert!(finish.error.as_ref().expect("why").as_str().contains("1 s"), "{finish:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_done_fails_with_a_sentence_that_names_the_input() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = Job { targets: vec!["127.0.0.1/99".to_owned()], ..scan_of("80") };
    server.told().queue.push_back(job.clone());
    let agent = start(config(&server, folder.path()));
    server.until("the end", |told| told.finishes.contains_key(&job.job_id)).await;
    agent.end().await.expect("stops in peace");
    let told = server.told();
    let finish = &told.finishes[&job.job_id];
    assert!(finish.error.as_ref().expect("why").as_str().contains("127.0.0.1/99"), "{finish:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_full_makes_the_scan_fail_with_the_reason() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let (_listening, ports) = listeners(1);
    let job = scan_of(&list(&ports));
    server.told().queue.push_back(job.clone());
    let agent = start(AgentConfig { spool_bytes: 10, ..config(&server, folder.path()) });
    server.until("the end", |told| told.finishes.contains_key(&job.job_id)).await;
    agent.end().await.expect("stops in peace");
    let told = server.told();
    let finish = &told.finishes[&job.job_id];
    assert_eq!(finish.outcome, JobOutcome::Failed);
    assert!(finish.error.as_ref().expect("why").as_str().contains("holds 10 bytes"), "{finish:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_told_to_stop_hands_in_and_leaves_nothing() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = endless_scan();
    server.told().queue.push_back(job.clone());
    let agent = start(config(&server, folder.path()));
    server.until("the lease", |told| !told.renewals.is_empty()).await;
    agent.end().await.expect("stops in peace");
    let told = server.told();
    assert_eq!(told.finishes[&job.job_id].outcome, JobOutcome::Failed);
    assert!(!folder.path().join("spool").join(job.job_id.to_string()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_jobs_are_taken_than_there_are_slots() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    server.told().queue.extend((0..3).map(|_| endless_scan()));
    let agent = start(config(&server, folder.path()));
    server.until("two leases", |told| told.leases.len() == 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.told().queue.len(), 1, "the third waits for a slot");
    agent.end().await.expect("stops in peace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_frees_the_slot_and_the_disk() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let (lost, next) = (endless_scan(), endless_scan());
    server.told().queue.push_back(lost.clone());
    let agent = start(AgentConfig { slots: 1, ..config(&server, folder.path()) });
    server.until("the lease", |told| !told.renewals.is_empty()).await;
    server.told().queue.push_back(next.clone());
    server.told().lost.insert(lost.job_id);
    server.until("the next lease", |told| told.leases.contains_key(&next.job_id)).await;
    assert!(!folder.path().join("spool").join(lost.job_id.to_string()).exists());
    assert!(!server.told().finishes.contains_key(&lost.job_id));
    agent.end().await.expect("stops in peace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_agent_ends_with_a_sentence() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let agent = start(config(&server, folder.path()));
    server.until("hello", |told| !told.hellos.is_empty()).await;
    server.told().revoked = true;
    let error = agent.task.await.expect("no panic").expect_err("revoked");
    assert!(matches!(error, AgentError::Unauthorized { .. }), "{error}");
    assert!(error.to_string().contains("--enroll TOKEN"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolment_is_done_once_and_its_refusal_is_explained() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let without_token = AgentConfig { token: None, ..config(&server, folder.path()) };
    let error = start(without_token.clone()).task.await.expect("no panic").expect_err("no token");
    assert!(matches!(error, AgentError::NotEnrolled { .. }), "{error}");

    let wrong = AgentConfig { token: Some("wrong".to_owned()), ..without_token.clone() };
    let error = start(wrong).task.await.expect("no panic").expect_err("wrong token");
    assert!(matches!(error, AgentError::Enrolment { .. }), "{error}");

    let first = start(config(&server, folder.path()));
    server.until("hello", |told| told.hellos.len() == 1).await;
    first.end().await.expect("stops in peace");
    let second = start(without_token);
    server.until("hello without a token", |told| told.hellos.len() == 2).await;
    second.end().await.expect("stops in peace");
}

#[tokio::test]
async fn exclusions_that_cannot_be_read_keep_the_agent_from_starting() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let limits = HostLimits { exclude: vec!["10.0.0.0/33".to_owned()], ..HostLimits::default() };
    let error = start(AgentConfig { limits, ..config(&server, folder.path()) }).task.await;
    let error = error.expect("no panic").expect_err("malformed");
    assert!(error.to_string().contains("10.0.0.0/33"), "{error}");
}
