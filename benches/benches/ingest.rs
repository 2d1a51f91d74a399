//! How fast a server takes results in, end to end: agent's batches over HTTP → current state, changes, alerts.
//!
//! `cargo bench -p portreeve-benches --bench ingest [-- --hosts 500 --ports 100 --rounds 5]`
//!
//! The server is the real one with its private PostgreSQL on this machine, in a folder that is removed afterwards. Each
//! round is a network of its own: a first scan in which everything is new, a second one in which nothing has changed, a
//! third in which every port is refused. The time is from the first batch sent to the last one acknowledged; the end of
//! the scan, which judges silence and raises alerts, is timed apart. The agent's side (one thread, batches packed
//! beforehand) waits for each acknowledgement before it sends the next, as an agent does.

use std::{
    error::Error,
    ffi::OsString,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use clap::Parser;
use portreeve_agent::{ServerUrl, Uplink, http_client};
use portreeve_lab::{Process, bound};
use portreeve_model::{
    Observation, PortState, Reason, SafeText, Timestamp, Transport,
    protocol::{EnrollRequest, FinishRequest, Hello, JobOutcome, JobSummary, LeasedJob, Limits, Record},
};
use serde_json::{Value, json};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What is measured.
#[derive(Debug, Parser)]
struct Options {
    /// Hosts of each network.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    hosts: u32,
    /// Open ports of each host.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    ports: u16,
    /// Networks, one after the other.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Cargo passes this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// With this as its first argument the program is the server: the bench starts itself again.
const SERVER: &str = "--as-server";

const EMAIL: &str = "bench@example.org";
const PASSWORD: &str = "ingest bench on loopback";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let done = if arguments.get(1).is_some_and(|first| first == SERVER) {
        let command = std::iter::once("portreeve-server".into()).chain(arguments.into_iter().skip(2));
        portreeve_server::cli::CommandLine::parse_from(command).run().map_err(Into::into)
    } else {
        measure(&Options::parse())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn measure(options: &Options) -> Outcome {
    let server = Server::start().await?;
    let agent = server.enrolled_agent().await?;
    println!(
        "{:<6} {:<10} {:>9} {:>10} {:>8} {:>12} {:>11}",
        "round", "scan", "records", "records/s", "batches", "worst batch", "scan's end"
    );
    let mut rates: [Vec<f64>; 3] = Default::default();
    for round in 1..=options.rounds {
        let network = server.make_network(round, agent.id).await?;
        for (kind, rates) in Kind::ALL.into_iter().zip(&mut rates) {
            let figures = server.take_in(&agent, network, round, kind, options).await?;
            println!(
                "{round:<6} {:<10} {:>9} {:>10.0} {:>8} {:>9.0} ms {:>8.0} ms",
                kind.name(),
                figures.records,
                figures.rate(),
                figures.batches,
                figures.worst_batch.as_secs_f64() * 1e3,
                figures.end.as_secs_f64() * 1e3,
            );
            rates.push(figures.rate());
        }
    }
    for (kind, mut rates) in Kind::ALL.into_iter().zip(rates) {
        rates.sort_by(f64::total_cmp);
        let median = rates.get(rates.len() / 2).copied().unwrap_or_default();
        println!("median {:<10} {median:>9.0} records/s", kind.name());
    }
    Ok(())
}

/// What a scan sees.
#[derive(Clone, Copy, Debug)]
enum Kind {
    New,
    Unchanged,
    Refused,
}

impl Kind {
    const ALL: [Self; 3] = [Self::New, Self::Unchanged, Self::Refused];

    fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Unchanged => "unchanged",
            Self::Refused => "closed",
        }
    }

    fn record(self, round: u32, host: u32, port: u16, at: Timestamp) -> Record {
        let (state, reason) = match self {
            Self::New | Self::Unchanged => (PortState::Open, Reason::SynAck),
            Self::Refused => (PortState::Closed, Reason::Reset),
        };
        Record::Port(Observation {
            address: std::net::Ipv4Addr::from(0x0a00_0000 + (round << 16) + host + 1).into(),
            port,
            transport: Transport::Tcp,
            state,
            reason,
            ttl: Some(64),
            rtt_us: Some(250),
            seen_at_ms: at,
            syn_ack: None,
        })
    }
}

/// What a scan took.
struct Figures {
    records: usize,
    batches: usize,
    taking_in: Duration,
    worst_batch: Duration,
    end: Duration,
}

impl Figures {
    fn rate(&self) -> f64 {
        self.records as f64 / self.taking_in.as_secs_f64()
    }
}

/// A server of our own, and a session on it.
struct Server {
    url: ServerUrl,
    base: String,
    state: PathBuf,
    token: String,
    process: Option<Process>,
}

struct Agent {
    id: i64,
    uplink: Uplink,
}

impl Server {
    /// How long a first start may take: it makes a database.
    const START: Duration = Duration::from_secs(120);

    async fn start() -> Outcome<Self> {
        // Not below root's home: PostgreSQL runs as another account then, which must reach the folder.
        let state = std::env::temp_dir().join(format!("portreeve-ingest-{}", std::process::id()));
        let listen = free_address()?;
        let mut command = bound(std::env::current_exe()?);
        command.args([SERVER, "serve", "--listen", &listen.to_string(), "--state"]).arg(&state);
        command.env("RUST_LOG", "warn");
        let process = Process::spawn(&mut command)?;
        let base = format!("http://{listen}");
        let url = ServerUrl::parse(&base, false)?;
        let mut server = Self { url, base, state, token: String::new(), process: Some(process) };
        server.wait_until_it_answers().await?;
        command_of(&server.state, &["user", "create", EMAIL, "--role", "admin"])?;
        server.token = server.log_in().await?;
        Ok(server)
    }

    async fn wait_until_it_answers(&self) -> Outcome {
        let client = http_client(&self.url, None)?;
        let deadline = Instant::now() + Self::START;
        while client.get(format!("{}/health", self.base)).send().await.is_err() {
            if Instant::now() > deadline {
                return Err("the server did not answer in time; its words are above".into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn log_in(&self) -> Outcome<String> {
        let answer = self.post("/api/auth/login", &json!({ "email": EMAIL, "password": PASSWORD })).await?;
        Ok(answer["access_token"].as_str().ok_or("the log-in has no access_token")?.to_owned())
    }

    async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        let request = http_client(&self.url, None)?.post(format!("{}{path}", self.base));
        let answer = request.bearer_auth(&self.token).json(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(format!("{path}: {status}: {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    }

    async fn enrolled_agent(&self) -> Outcome<Agent> {
        let token = command_of(&self.state, &["enrollment-token", "create"])?;
        let client = http_client(&self.url, None)?;
        let request = EnrollRequest {
            token: token.lines().next().unwrap_or_default().trim().to_owned(),
            name: "bench".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let enrolled = Uplink::enroll(&client, &self.url, &request).await?;
        let uplink = Uplink::new(client, self.url.clone(), enrolled.credential);
        uplink
            .hello(&Hello {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                hostname: SafeText::sanitize(b"bench"),
                backends: vec!["batch".to_owned()],
                interfaces: Vec::new(),
                max_rate_pps: None,
            })
            .await?;
        Ok(Agent { id: enrolled.agent_id, uplink })
    }

    async fn make_network(&self, round: u32, agent: i64) -> Outcome<i64> {
        let network = self
            .post(
                "/api/networks",
                &json!({ "name": format!("bench {round}"), "cidr": format!("10.{round}.0.0/16"),
                         "port_spec": "1-65535", "scanner_id": agent }),
            )
            .await?;
        Ok(network["id"].as_i64().ok_or("the new network has no id")?)
    }

    async fn take_in(
        &self,
        agent: &Agent,
        network: i64,
        round: u32,
        kind: Kind,
        options: &Options,
    ) -> Outcome<Figures> {
        self.post(&format!("/api/networks/{network}/scan"), &json!({})).await?;
        let leased = agent.uplink.lease(1, Duration::from_secs(5)).await?.ok_or("no job came")?;
        // What is refused must have been seen after what was open, by the server's clock too.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let batches = packed_batches(round, kind, options)?;
        let (mut worst_batch, begun) = (Duration::ZERO, Instant::now());
        for (number, batch) in (0u32..).zip(&batches) {
            let sent = Instant::now();
            agent.uplink.batch(leased.job.job_id, number, leased.lease_token, batch.clone()).await?;
            worst_batch = worst_batch.max(sent.elapsed());
        }
        let taking_in = begun.elapsed();
        let begun = Instant::now();
        finish(agent, &leased, batches.len()).await?;
        let records = options.hosts as usize * usize::from(options.ports);
        Ok(Figures { records, batches: batches.len(), taking_in, worst_batch, end: begun.elapsed() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.take());
        // A folder that cannot be removed is left behind in the system's temporary folder, nothing worse.
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

async fn finish(agent: &Agent, leased: &LeasedJob, batches: usize) -> Outcome {
    let request = FinishRequest {
        lease_token: leased.lease_token,
        outcome: JobOutcome::Completed,
        error: None,
        batches: u32::try_from(batches)?,
        summary: JobSummary::default(),
    };
    Ok(agent.uplink.finish(leased.job.job_id, &request).await?)
}

fn packed_batches(round: u32, kind: Kind, options: &Options) -> Outcome<Vec<Vec<u8>>> {
    let now = std::time::UNIX_EPOCH.elapsed()?;
    let at = Timestamp(i64::try_from(now.as_millis())?);
    let places = (0..options.hosts).flat_map(|host| (1..=options.ports).map(move |port| (host, port)));
    let mut batches = Vec::new();
    let mut lines = Vec::new();
    for (count, (host, port)) in places.enumerate() {
        if count > 0 && count % Limits::BATCH_RECORDS == 0 {
            batches.push(zstd::encode_all(lines.as_slice(), 1)?);
            lines.clear();
        }
        serde_json::to_writer(&mut lines, &kind.record(round, host, port, at))?;
        lines.push(b'\n');
    }
    batches.push(zstd::encode_all(lines.as_slice(), 1)?);
    Ok(batches)
}

/// Runs a command of the server beside it.
fn command_of(state: &Path, arguments: &[&str]) -> Outcome<String> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(SERVER).args(arguments).arg("--state").arg(state).env("PORTREEVE_PASSWORD", PASSWORD);
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
