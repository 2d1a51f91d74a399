//! A server that keeps the protocol's promises in memory, and can be made to break them.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{post, put},
};
use portreeve_model::{
    Timestamp,
    protocol::{
        BASE_PATH, BatchResponse, EnrollRequest, EnrollResponse, FinishRequest, Hello, HelloResponse, Job,
        LEASE_HEADER, LeaseRequest, LeasedJob, LogLine, LogsRequest, Record, RenewRequest, RenewResponse,
    },
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinHandle, JoinSet},
};
use uuid::Uuid;

pub const TOKEN: &str = "enrol-me";
pub const CREDENTIAL: &str = "agent-credential";

/// What the server was told, and how it shall behave.
#[derive(Default)]
pub struct Told {
    pub hellos: Vec<Hello>,
    pub queue: VecDeque<Job>,
    pub leases: HashMap<Uuid, Uuid>,
    pub renewals: Vec<RenewRequest>,
    /// Batches by job and number, as first taken.
    pub batches: HashMap<Uuid, BTreeMap<u32, Vec<Record>>>,
    /// Batches that came again after they had been taken.
    pub repeats: u32,
    pub logs: Vec<LogLine>,
    pub finishes: HashMap<Uuid, FinishRequest>,
    /// Jobs whose lease is lost.
    pub lost: HashSet<Uuid>,
    pub cancelled: HashSet<Uuid>,
    pub revoked: bool,
    /// The next calls get these statuses and have no effect.
    pub faults: VecDeque<StatusCode>,
    /// The next so many batches are taken, and the connection breaks before the answer.
    pub swallowed_answers: u32,
    /// Batches with more records than this are too large.
    pub max_records: Option<usize>,
}

impl Told {
    /// Everything that a job's batches hold, in order.
    pub fn records(&self, job: Uuid) -> Vec<Record> {
        self.batches.get(&job).into_iter().flat_map(BTreeMap::values).flatten().cloned().collect()
    }
}

/// The server, behind a gate that can be shut.
pub struct Server {
    told: Shared,
    inner: SocketAddr,
    outer: SocketAddr,
    gate: Option<JoinHandle<()>>,
    _serving: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Shared {
    told: Arc<Mutex<Told>>,
    cut: Arc<Notify>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("not poisoned")
    }
}

impl Server {
    pub async fn start() -> Self {
        let told = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let inner = listener.local_addr().expect("bound");
        let app = router(told.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("serving") });
        let outer = ([127, 0, 0, 1], 0).into();
        let mut server = Self { told, inner, outer, gate: None, _serving: serving };
        server.up().await;
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.outer)
    }

    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock()
    }

    /// Goes away: the port refuses, open connections break.
    pub async fn down(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.abort();
            let _ = gate.await;
        }
    }

    /// Comes back on the same port.
    pub async fn up(&mut self) {
        let listener = TcpListener::bind(self.outer).await.expect("the port is free");
        self.outer = listener.local_addr().expect("bound");
        self.gate = Some(tokio::spawn(gate(listener, self.inner, Arc::clone(&self.told.cut))));
    }

    /// Waits until `done` says so; the test fails if it never does.
    pub async fn until(&self, what: &str, done: impl Fn(&Told) -> bool) {
        for _ in 0..6_000 {
            if done(&self.told()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never happened: {what}");
    }
}

/// Passes connections on until it is aborted; `cut` breaks those that are open.
async fn gate(listener: TcpListener, inner: SocketAddr, cut: Arc<Notify>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((mut near, _)) = accepted else { continue };
                connections.spawn(async move {
                    let mut far = TcpStream::connect(inner).await.expect("the inner server is up");
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
            () = cut.notified() => connections.abort_all(),
        }
    }
}

fn router(told: Shared) -> Router {
    let routes = Router::new()
        .route("/hello", post(hello))
        .route("/lease", post(lease))
        .route("/jobs/{job}/renew", post(renew))
        .route("/jobs/{job}/batches/{number}", put(batch))
        .route("/jobs/{job}/logs", post(logs))
        .route("/jobs/{job}/finish", post(finish))
        .layer(from_fn_with_state(told.clone(), admit))
        .route("/enroll", post(enroll))
        .layer(DefaultBodyLimit::max(64 << 20))
        .with_state(told);
    Router::new().nest(BASE_PATH, routes)
}

type Answer = Result<Response, StatusCode>;

async fn admit(State(shared): State<Shared>, request: Request, next: Next) -> Answer {
    let credential = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if shared.lock().revoked || credential != Some(&format!("Bearer {CREDENTIAL}")) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let fault = shared.lock().faults.pop_front();
    match fault {
        Some(status) => Err(status),
        None => Ok(next.run(request).await),
    }
}

async fn enroll(Json(request): Json<EnrollRequest>) -> Answer {
    if request.token != TOKEN {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let response = EnrollResponse { agent_id: 7, name: request.name, credential: CREDENTIAL.to_owned() };
    Ok(Json(response).into_response())
}

async fn hello(State(shared): State<Shared>, Json(hello): Json<Hello>) -> Answer {
    shared.lock().hellos.push(hello);
    Ok(Json(HelloResponse { server_time_ms: Timestamp(0), hello_seconds: 60 }).into_response())
}

async fn lease(State(shared): State<Shared>, Json(request): Json<LeaseRequest>) -> Answer {
    for _ in 0..20 {
        if request.free_slots > 0 {
            let mut told = shared.lock();
            if let Some(job) = told.queue.pop_front() {
                let lease_token = Uuid::new_v4();
                told.leases.insert(job.job_id, lease_token);
                let leased = LeasedJob {
                    job,
                    lease_token,
                    renew_seconds: 3,
                    lease_expires_at_ms: Timestamp(i64::MAX),
                };
                return Ok(Json(leased).into_response());
            }
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn check_lease(told: &Told, job: Uuid, token: Uuid) -> Result<(), StatusCode> {
    let ours = told.leases.get(&job) == Some(&token) && !told.lost.contains(&job);
    if ours { Ok(()) } else { Err(StatusCode::CONFLICT) }
}

async fn renew(
    State(shared): State<Shared>,
    Path(job): Path<Uuid>,
    Json(request): Json<RenewRequest>,
) -> Answer {
    let mut told = shared.lock();
    check_lease(&told, job, request.lease_token)?;
    told.renewals.push(request);
    let cancelled = told.cancelled.contains(&job);
    Ok(Json(RenewResponse { lease_expires_at_ms: Timestamp(i64::MAX), cancelled }).into_response())
}

async fn batch(
    State(shared): State<Shared>,
    Path((job, number)): Path<(Uuid, u32)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let repeated = {
        let mut told = shared.lock();
        let token = headers.get(LEASE_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        check_lease(&told, job, token.ok_or(StatusCode::BAD_REQUEST)?)?;
        let records = read(&body)?;
        if told.max_records.is_some_and(|max| records.len() > max) {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let repeated = told.batches.entry(job).or_default().contains_key(&number);
        if repeated {
            told.repeats += 1;
        } else {
            told.batches.entry(job).or_default().insert(number, records);
        }
        let swallowed = told.swallowed_answers > 0;
        told.swallowed_answers = told.swallowed_answers.saturating_sub(1);
        if swallowed {
            shared.cut.notify_one();
        }
        (!swallowed).then_some(repeated)
    };
    let Some(repeated) = repeated else { return std::future::pending().await };
    Ok(Json(BatchResponse { stored: 0, repeated }).into_response())
}

fn read(body: &[u8]) -> Result<Vec<Record>, StatusCode> {
    let lines = zstd::decode_all(body).map_err(|_| StatusCode::UNPROCESSABLE_ENTITY)?;
    let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|_| StatusCode::UNPROCESSABLE_ENTITY)).collect()
}

async fn logs(
    State(shared): State<Shared>,
    Path(job): Path<Uuid>,
    Json(request): Json<LogsRequest>,
) -> Answer {
    let mut told = shared.lock();
    check_lease(&told, job, request.lease_token)?;
    told.logs.extend(request.lines);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn finish(
    State(shared): State<Shared>,
    Path(job): Path<Uuid>,
    Json(request): Json<FinishRequest>,
) -> Answer {
    let mut told = shared.lock();
    check_lease(&told, job, request.lease_token)?;
    let batches = told.batches.get(&job).map_or(0, BTreeMap::len);
    if batches < request.batches as usize {
        let problem = serde_json::json!({ "type": "batches-missing", "detail": "send them first" });
        return Ok((StatusCode::CONFLICT, Json(problem)).into_response());
    }
    told.finishes.insert(job, request);
    Ok(StatusCode::NO_CONTENT.into_response())
}
