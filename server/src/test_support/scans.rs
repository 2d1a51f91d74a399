//! Networks, agents' calls and what agents see, for tests.

use std::net::IpAddr;

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use portreeve_model::{
    Endpoint, HostReason, HostSighting, Observation, PortState, Reason, Service, Timestamp, Transport,
    Verdict,
    protocol::{BASE_PATH, FinishRequest, JobOutcome, JobSummary, LEASE_HEADER, LeasedJob, Record},
};
use serde_json::json;

use super::{
    TestApp,
    client::{Client, Reply},
};
use crate::jobs::{self, ScanRequest, Trigger};

/// A network 10.99.0.0/24 with ports 1-1000, assigned to an agent.
pub(crate) async fn network(app: &TestApp, name: &str, agent_id: i64) -> i64 {
    network_of(app, name, agent_id, "10.99.0.0/24", "1-1000").await
}

/// A network, assigned to an agent.
pub(crate) async fn network_of(app: &TestApp, name: &str, agent_id: i64, cidr: &str, ports: &str) -> i64 {
    sqlx::query_scalar(
        "insert into networks (name, cidr, port_spec, agent_id) values ($1, $2, $3, $4) returning id",
    )
    .bind(name)
    .bind(cidr)
    .bind(ports)
    .bind(agent_id)
    .fetch_one(app.pool())
    .await
    .expect("a new network")
}

/// A scan of the whole network, asked for by hand.
pub(crate) fn manual(network_id: i64) -> ScanRequest {
    ScanRequest {
        network_id,
        kind: portreeve_model::protocol::JobKind::Scan,
        target: None,
        trigger: Trigger::Manual,
        triggered_by: None,
    }
}

/// Plans a scan.
pub(crate) async fn plan(app: &TestApp, request: &ScanRequest) -> i64 {
    let mut transaction = app.pool().begin().await.expect("a transaction");
    let scan_id = jobs::plan(&mut transaction, request, app.now()).await.expect("a planned scan");
    transaction.commit().await.expect("committed");
    scan_id
}

/// An open port.
pub(crate) fn open(app: &TestApp, address: &str, port: u16) -> Record {
    seen(app, address, port, PortState::Open, Reason::SynAck)
}

/// A port in any state.
pub(crate) fn seen(app: &TestApp, address: &str, port: u16, state: PortState, reason: Reason) -> Record {
    Record::Port(Observation {
        address: ip(address),
        port,
        transport: Transport::Tcp,
        state,
        reason,
        ttl: Some(64),
        rtt_us: Some(250),
        seen_at_ms: Timestamp(app.now().timestamp_millis()),
        syn_ack: None,
    })
}

/// A host that answered an echo request.
pub(crate) fn host(app: &TestApp, address: &str) -> HostSighting {
    HostSighting {
        address: ip(address),
        reason: HostReason::EchoReply,
        mac: None,
        mac_vendor: None,
        hostname: None,
        ttl: Some(64),
        rtt_us: Some(90),
        seen_at_ms: Timestamp(app.now().timestamp_millis()),
    }
}

/// What answers at a TCP port.
pub(crate) fn service(
    app: &TestApp,
    address: &str,
    port: u16,
    name: &str,
    product: &str,
    version: &str,
) -> Service {
    let endpoint = Endpoint { address: ip(address), port, transport: Transport::Tcp };
    let mut service = Service::unrecognised(endpoint, Timestamp(app.now().timestamp_millis()));
    service.verdict = Verdict::Identified;
    service.name = Some(name.into());
    service.product = Some(product.into());
    service.version = Some(version.into());
    service.confidence = 95;
    service
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// An agent at work.
pub(crate) struct Worker<'a> {
    pub(crate) app: &'a TestApp,
    pub(crate) client: Client,
}

impl<'a> Worker<'a> {
    /// A new agent.
    pub(crate) async fn new(app: &'a TestApp, name: &str) -> Self {
        Self { app, client: app.agent(name).await }
    }

    /// Asks for work.
    pub(crate) async fn lease(&self) -> Option<LeasedJob> {
        let reply = self.client.post(&format!("{BASE_PATH}/lease"), json!({ "free_slots": 1 })).await;
        match reply.status.as_u16() {
            200 => Some(serde_json::from_slice(&reply.body).expect("a leased job")),
            204 => None,
            other => panic!("{other}: {}", reply.text()),
        }
    }

    /// Hands in a batch, packed.
    pub(crate) async fn put(&self, job: &LeasedJob, number: u32, records: &[Record]) -> Reply {
        let mut text = String::new();
        for record in records {
            text.push_str(&serde_json::to_string(record).expect("JSON"));
            text.push('\n');
        }
        let packed = zstd::encode_all(text.as_bytes(), 1).expect("in memory");
        self.put_bytes(job, number, packed, Some("zstd")).await
    }

    /// Hands in any bytes as a batch.
    pub(crate) async fn put_bytes(
        &self,
        job: &LeasedJob,
        number: u32,
        body: Vec<u8>,
        encoding: Option<&str>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(Method::PUT)
            .uri(format!("{BASE_PATH}/jobs/{}/batches/{number}", job.job.job_id))
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header(LEASE_HEADER, job.lease_token.to_string());
        if let Some(encoding) = encoding {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        self.client.send(request.body(Body::from(body)).expect("a request")).await
    }

    /// Ends a job.
    pub(crate) async fn finish(&self, job: &LeasedJob, batches: u32, outcome: JobOutcome) -> Reply {
        self.finish_with(job, batches, outcome, JobSummary::default()).await
    }

    /// Ends a job with a summary.
    pub(crate) async fn finish_with(
        &self,
        job: &LeasedJob,
        batches: u32,
        outcome: JobOutcome,
        summary: JobSummary,
    ) -> Reply {
        let error = (outcome == JobOutcome::Failed).then(|| "eth7 does not exist".into());
        let request = FinishRequest { lease_token: job.lease_token, outcome, error, batches, summary };
        let body = serde_json::to_value(request).expect("JSON");
        self.client.post(&format!("{BASE_PATH}/jobs/{}/finish", job.job.job_id), body).await
    }

    /// A whole scan of a network that sees these records; returns its number.
    pub(crate) async fn scan(&self, network_id: i64, records: &[Record]) -> i64 {
        let scan_id = plan(self.app, &manual(network_id)).await;
        let job = self.lease().await.expect("the job just planned");
        assert_eq!(job.job.scan_id, scan_id);
        self.put(&job, 0, records).await.assert_status(200);
        self.finish(&job, 1, JobOutcome::Completed).await.assert_status(204);
        scan_id
    }
}

/// One value out of the database.
pub(crate) async fn value<T>(app: &TestApp, sql: &'static str, id: i64) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query_scalar(sql).bind(id).fetch_one(app.pool()).await.expect("a row")
}

/// A list out of the database.
pub(crate) async fn texts(app: &TestApp, sql: &'static str, id: i64) -> Vec<String> {
    sqlx::query_scalar(sql).bind(id).fetch_all(app.pool()).await.expect("rows")
}
