//! Results reach the server once, whatever happens on the way.

mod server;

use std::{path::Path, sync::Arc};

use axum::http::StatusCode;
use portreeve_agent::{Delivery, Found, JobSpool, ServerUrl, Spool, Uplink, deliver, http_client, record};
use portreeve_model::{
    Observation, PortState, Reason, Timestamp, Transport,
    protocol::{FinishRequest, JobOutcome, JobSummary, Record},
};
use server::{CREDENTIAL, Server};
use uuid::Uuid;

fn open_port(port: u16) -> Record {
    Record::Port(Observation {
        address: [10, 99, 0, 1].into(),
        port,
        transport: Transport::Tcp,
        state: PortState::Open,
        reason: Reason::SynAck,
        ttl: None,
        rtt_us: None,
        seen_at_ms: Timestamp(0),
        syn_ack: None,
    })
}

fn lines(ports: std::ops::Range<u16>) -> Vec<u8> {
    let lines = ports.map(|port| serde_json::to_string(&open_port(port)).expect("JSON") + "\n");
    lines.collect::<String>().into_bytes()
}

fn ports(records: &[Record]) -> Vec<u16> {
    let ports = records.iter().map(|record| match record {
        Record::Port(observation) => observation.port,
        other => panic!("not a port: {other:?}"),
    });
    ports.collect()
}

fn uplink(server: &Server) -> Uplink {
    let url = ServerUrl::parse(&server.url(), false).expect("a loopback address");
    Uplink::new(http_client(&url, None).expect("client"), url, CREDENTIAL.to_owned())
}

/// A job that the server believes this agent has.
struct Leased {
    id: Uuid,
    token: Uuid,
    spool: Arc<JobSpool>,
}

fn leased(server: &Server, folder: &Path) -> Leased {
    let (id, token) = (Uuid::new_v4(), Uuid::new_v4());
    server.told().leases.insert(id, token);
    let spool = Spool::open(folder.to_owned(), 1 << 20).expect("spool");
    Leased { id, token, spool: Arc::new(spool.begin(id, token).expect("a job's folder")) }
}

impl Leased {
    fn finish(&self) {
        let finish = FinishRequest {
            lease_token: self.token,
            outcome: JobOutcome::Completed,
            error: None,
            batches: 0,
            summary: JobSummary::default(),
        };
        self.spool.finish(finish).expect("spooled");
    }
}

#[tokio::test]
async fn a_server_that_goes_away_gets_every_batch_once_when_it_is_back() {
    let mut server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = leased(&server, folder.path());
    let delivery = tokio::spawn(deliver(Arc::clone(&job.spool), uplink(&server)));

    job.spool.append(&lines(0..10)).expect("spooled");
    server.until("the first batch", |told| told.records(job.id).len() == 10).await;
    server.down().await;
    job.spool.append(&lines(10..20)).expect("spooled");
    job.spool.append(&lines(20..30)).expect("spooled");
    job.finish();
    server.told().swallowed_answers = 1;
    server.told().faults = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].into();
    server.up().await;

    assert_eq!(delivery.await.expect("no panic"), Delivery::Done);
    let told = server.told();
    assert_eq!(ports(&told.records(job.id)), (0..30).collect::<Vec<_>>());
    assert_eq!(told.repeats, 1, "the batch whose answer was lost is sent again and taken as a repeat");
    assert_eq!(told.finishes[&job.id].batches, 3);
    assert_eq!(told.finishes[&job.id].outcome, JobOutcome::Completed);
}

#[tokio::test]
async fn what_a_killed_agent_left_is_handed_in_once_by_the_next() {
    let mut server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = leased(&server, folder.path());
    job.spool.append(&lines(0..10)).expect("spooled");
    let delivery = tokio::spawn(deliver(Arc::clone(&job.spool), uplink(&server)));
    server.until("the first batch", |told| told.records(job.id).len() == 10).await;
    server.down().await;
    job.spool.append(&lines(10..20)).expect("spooled");
    job.finish();
    delivery.abort();
    let (id, _) = (job.id, delivery.await.expect_err("aborted"));
    drop(job);

    server.up().await;
    let spool = Spool::open(folder.path().to_owned(), 1 << 20).expect("spool");
    let leftover = spool.leftovers().expect("leftovers").pop().expect("one job");
    assert_eq!(deliver(Arc::new(leftover), uplink(&server)).await, Delivery::Done);
    assert_eq!(ports(&server.told().records(id)), (0..20).collect::<Vec<_>>());
    assert!(server.told().finishes.contains_key(&id));
    assert!(spool.leftovers().expect("leftovers").is_empty());
}

#[tokio::test]
async fn a_lost_lease_drops_what_is_left() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = leased(&server, folder.path());
    server.told().lost.insert(job.id);
    job.spool.append(&lines(0..10)).expect("spooled");
    let delivery = deliver(Arc::clone(&job.spool), uplink(&server)).await;
    assert!(matches!(delivery, Delivery::Refused(_)), "{delivery:?}");
    assert!(server.told().records(job.id).is_empty());
    let spool = Spool::open(folder.path().to_owned(), 1 << 20).expect("spool");
    assert!(spool.leftovers().expect("leftovers").is_empty());
}

#[tokio::test]
async fn a_revoked_agent_stops_and_keeps_its_results() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = leased(&server, folder.path());
    server.told().revoked = true;
    job.spool.append(&lines(0..10)).expect("spooled");
    let delivery = deliver(Arc::clone(&job.spool), uplink(&server)).await;
    assert!(matches!(delivery, Delivery::Unauthorized(_)), "{delivery:?}");
    assert_eq!(job.spool.first_pending(), Some(0));
}

#[tokio::test]
async fn a_damaged_batch_costs_only_itself_and_the_word_complete() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = leased(&server, folder.path());
    for start in [0, 10, 20] {
        job.spool.append(&lines(start..start + 10)).expect("spooled");
    }
    let damaged = folder.path().join(job.id.to_string()).join("0000000001.batch");
    let mut bytes = std::fs::read(&damaged).expect("the second batch");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&damaged, bytes).expect("damaged");
    job.finish();

    assert_eq!(deliver(Arc::clone(&job.spool), uplink(&server)).await, Delivery::Done);
    let told = server.told();
    assert_eq!(ports(&told.records(job.id)), (0..10).chain(20..30).collect::<Vec<_>>());
    let finish = &told.finishes[&job.id];
    assert_eq!(finish.outcome, JobOutcome::Failed);
    assert!(finish.error.as_ref().expect("why").as_str().contains("batch 1"), "{finish:?}");
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_split_until_it_fits() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = leased(&server, folder.path());
    server.told().max_records = Some(3);
    job.spool.append(&lines(0..10)).expect("spooled");
    job.finish();
    assert_eq!(deliver(Arc::clone(&job.spool), uplink(&server)).await, Delivery::Done);
    let told = server.told();
    let mut found = ports(&told.records(job.id));
    found.sort_unstable();
    assert_eq!(found, (0..10).collect::<Vec<_>>());
    assert_eq!(told.finishes[&job.id].outcome, JobOutcome::Completed);
}

#[tokio::test]
async fn a_batch_the_server_refuses_is_set_aside() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = leased(&server, folder.path());
    job.spool.append(b"{\"type\":\"nonsense\"}\n").expect("spooled");
    job.spool.append(&lines(0..2)).expect("spooled");
    job.finish();
    assert_eq!(deliver(Arc::clone(&job.spool), uplink(&server)).await, Delivery::Done);
    let told = server.told();
    assert_eq!(ports(&told.records(job.id)), [0, 1]);
    assert_eq!(told.finishes[&job.id].outcome, JobOutcome::Failed);
}

#[tokio::test]
async fn records_are_handed_in_while_the_job_runs() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let job = leased(&server, folder.path());
    let delivery = tokio::spawn(deliver(Arc::clone(&job.spool), uplink(&server)));
    let (sender, records) = tokio::sync::mpsc::channel(16);
    let recorder = tokio::spawn(record(Arc::clone(&job.spool), records));

    sender.send(Found::Record(open_port(1))).await.expect("taken");
    server.until("the first record, while more may come", |told| told.records(job.id).len() == 1).await;
    for port in 2..6_000 {
        sender.send(Found::Record(open_port(port))).await.expect("taken");
    }
    drop(sender);
    recorder.await.expect("no panic").expect("spooled");
    job.finish();
    assert_eq!(delivery.await.expect("no panic"), Delivery::Done);
    assert_eq!(ports(&server.told().records(job.id)), (1..6_000).collect::<Vec<_>>());
}
