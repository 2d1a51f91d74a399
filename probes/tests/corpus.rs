//! Recorded conversations, played back by servers inside the test at their own ports on addresses of
//! the loopback network: what was read from the real service must be read again.
//!
//! `corpus/*.jsonl` has one service a line: what it says unasked, what it answers to which question, and
//! what must come out. Values are in the database's notation of bytes.

mod support;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use portreeve_model::{Endpoint, SafeText, Service, Timestamp, Transport};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use serde::Deserialize;
use support::unescape;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

#[derive(Clone, Deserialize)]
struct Recording {
    name: String,
    transport: Transport,
    port: u16,
    #[serde(default)]
    greeting: String,
    answers: Vec<Answer>,
    expect: Expect,
}

#[derive(Clone, Deserialize)]
struct Answer {
    /// Bytes that the question contains.
    asked: String,
    reply: String,
    /// The server closes after it.
    #[serde(default)]
    close: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Expect {
    service: Option<String>,
    product: Option<String>,
    version: Option<String>,
    cpe: Vec<String>,
}

/// How long a server waits before it says anything: less than anyone waits for it.
const PAUSE: Duration = Duration::from_millis(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_services_are_identified_as_they_were() {
    let recordings = read();
    let config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
    let identifier = Identifier::new(Arc::clone(Database::builtin()), config);
    let mut tasks = Vec::new();
    for (number, recording) in recordings.into_iter().enumerate() {
        let identifier = identifier.clone();
        tasks.push(tokio::spawn(async move {
            let address = IpAddr::V4(Ipv4Addr::new(127, 77, (number / 250) as u8, (number % 250 + 1) as u8));
            let Some(server) = start(SocketAddr::new(address, recording.port), &recording).await else {
                return (recording, None);
            };
            let endpoint = Endpoint { address, port: recording.port, transport: recording.transport };
            let service = identifier.identify(endpoint, Hints::default()).await;
            server.abort();
            (recording, Some(service))
        }));
    }
    let mut wrong = Vec::new();
    let mut skipped = 0;
    let mut connections = Vec::new();
    for task in tasks {
        let (recording, service) = task.await.expect("no panic");
        let Some(service) = service else {
            skipped += 1;
            continue;
        };
        connections.push(service.connections);
        let came = outcome(&service);
        if came != recording.expect {
            wrong.push(format!(
                "{}: expected {:?}, came {came:?} ({:?})",
                recording.name,
                recording.expect,
                service.evidence.first()
            ));
        }
        assert!(service.connections <= 12, "{}: {} connections", recording.name, service.connections);
    }
    connections.sort_unstable();
    let median = connections.get(connections.len() / 2).copied().unwrap_or_default();
    println!(
        "{} played, {skipped} skipped (their port cannot be had here), median {median} connections",
        connections.len()
    );
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(connections.len() > skipped, "most ports could not be had");
    assert!(median <= 2, "median {median} connections");
}

fn read() -> Vec<Recording> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut recordings = Vec::new();
    for file in fs::read_dir(folder).expect("the corpus folder") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("readable");
        for line in text.lines() {
            recordings.push(serde_json::from_str(line).expect("a recording"));
        }
    }
    assert!(!recordings.is_empty());
    recordings
}

fn outcome(service: &Service) -> Expect {
    let text = |value: &Option<SafeText>| value.as_ref().map(|text| text.as_str().to_owned());
    Expect {
        service: text(&service.name),
        product: text(&service.product),
        version: text(&service.version),
        cpe: service.cpe.iter().map(|cpe| cpe.as_str().to_owned()).collect(),
    }
}

/// Starts a player, if the port is free and may be used.
async fn start(address: SocketAddr, recording: &Recording) -> Option<tokio::task::JoinHandle<()>> {
    let recording = Arc::new(recording.clone());
    match recording.transport {
        Transport::Tcp => {
            let listener = TcpListener::bind(address).await.ok()?;
            Some(tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(play(stream, Arc::clone(&recording)));
                }
            }))
        }
        _ => {
            let socket = UdpSocket::bind(address).await.ok()?;
            Some(tokio::spawn(async move {
                let mut buffer = [0; 2048];
                while let Ok((length, source)) = socket.recv_from(&mut buffer).await {
                    if let Some(answer) = answer(&recording, &buffer[..length]) {
                        let _ = socket.send_to(&unescape(&answer.reply), source).await;
                    }
                }
            }))
        }
    }
}

async fn play(mut stream: TcpStream, recording: Arc<Recording>) {
    tokio::time::sleep(PAUSE).await;
    let greeting = unescape(&recording.greeting);
    if !greeting.is_empty() && stream.write_all(&greeting).await.is_err() {
        return;
    }
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let Some(answer) = answer(&recording, &buffer[..length]) else { continue };
        tokio::time::sleep(PAUSE).await;
        if stream.write_all(&unescape(&answer.reply)).await.is_err() || answer.close {
            return;
        }
    }
}

fn answer<'a>(recording: &'a Recording, question: &[u8]) -> Option<&'a Answer> {
    recording.answers.iter().find(|answer| {
        let asked = unescape(&answer.asked);
        asked.is_empty() || question.windows(asked.len()).any(|window| window == asked)
    })
}
