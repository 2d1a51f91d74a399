//! Servers inside the test, and an identifier to point at them.

#![expect(dead_code, reason = "every test file uses its own part")]

pub mod process;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portreeve_model::{Endpoint, Service, Timestamp, Transport};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a server does with a connection.
#[derive(Clone)]
pub enum Script {
    /// Answers every request with the same bytes.
    Answer(Vec<u8>),
    /// Closes without a word.
    Close,
    /// Repeats bytes with pauses.
    Drip(Vec<u8>, Duration),
    /// Repeats bytes as fast as they are taken.
    Endless(Vec<u8>),
    /// Says something and waits for ever.
    Say(Vec<u8>),
}

/// A server that ends with the test.
pub struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Requests answered so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a server on a free loopback port; the argument of `script` counts connections from 0.
pub async fn serve(script: impl Fn(usize) -> Script + Send + 'static) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let task = tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(play(stream, script(number), Arc::clone(&counter)));
            number += 1;
        }
    });
    Server { address, requests, task }
}

/// Starts a server that does as it is told by a function over the stream.
pub async fn serve_with<F>(talk: impl Fn(TcpStream) -> F + Send + 'static) -> Server
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    Server { address, requests: Arc::new(AtomicUsize::new(0)), task }
}

/// An SMTP server that agrees to STARTTLS and hands the rest to a TLS server on loopback port `behind`.
pub async fn smtp_front(behind: u16) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak_smtp(stream, behind));
        }
    });
    Server { address, requests: Arc::new(AtomicUsize::new(0)), task }
}

async fn speak_smtp(mut stream: TcpStream, behind: u16) -> std::io::Result<()> {
    stream.write_all(b"220 mx.example ESMTP Postfix\r\n").await?;
    let mut buffer = [0; 512];
    loop {
        let length = stream.read(&mut buffer).await?;
        let reply: &[u8] = match &buffer[..length] {
            [] => return Ok(()),
            line if line.starts_with(b"EHLO") => b"250-mx.example\r\n250 STARTTLS\r\n",
            line if line.starts_with(b"STARTTLS") => break,
            _ => b"502 5.5.1 Error: command not implemented\r\n",
        };
        stream.write_all(reply).await?;
    }
    stream.write_all(b"220 2.0.0 Ready to start TLS\r\n").await?;
    let mut tls = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut tls).await.map(drop)
}

async fn play(mut stream: TcpStream, script: Script, requests: Arc<AtomicUsize>) {
    let mut buffer = [0; 2048];
    match script {
        Script::Answer(bytes) => {
            while let Ok(1..) = stream.read(&mut buffer).await {
                requests.fetch_add(1, Ordering::Relaxed);
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
        Script::Close => {}
        Script::Drip(bytes, pause) => {
            while stream.write_all(&bytes).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        }
        Script::Endless(bytes) => while stream.write_all(&bytes).await.is_ok() {},
        Script::Say(bytes) => {
            let _ = stream.write_all(&bytes).await;
            while let Ok(1..) = stream.read(&mut buffer).await {}
        }
    }
}

/// Identifies a loopback TCP port with the built-in database and ordinary limits.
pub async fn identify(port: u16) -> Service {
    identify_within(port, Duration::from_secs(12)).await
}

/// The same with another deadline.
pub async fn identify_within(port: u16, deadline: Duration) -> Service {
    identify_endpoint(port, Transport::Tcp, deadline).await
}

/// Identifies a loopback UDP port.
pub async fn identify_udp(port: u16) -> Service {
    identify_endpoint(port, Transport::Udp, Duration::from_secs(12)).await
}

/// Identifies a loopback TCP port with a changed configuration.
pub async fn identify_as(port: u16, change: impl FnOnce(&mut IdentifyConfig)) -> Service {
    let mut config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
    change(&mut config);
    let endpoint = Endpoint { address: Ipv4Addr::LOCALHOST.into(), port, transport: Transport::Tcp };
    Identifier::new(Arc::clone(Database::builtin()), config).identify(endpoint, Hints::default()).await
}

async fn identify_endpoint(port: u16, transport: Transport, deadline: Duration) -> Service {
    let config = IdentifyConfig { deadline, ..IdentifyConfig::new(Arc::new(|| Timestamp(0))) };
    let identifier = Identifier::new(Arc::clone(Database::builtin()), config);
    let endpoint = Endpoint { address: Ipv4Addr::LOCALHOST.into(), port, transport };
    let service = identifier.identify(endpoint, Hints::default()).await;
    assert!(service.connections <= 12, "{} connections", service.connections);
    service
}

/// Bytes written in the database's notation.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, c == '\\') {
            (_, true) => match rest.next().expect("an escape") {
                'r' => bytes.push(b'\r'),
                'n' => bytes.push(b'\n'),
                't' => bytes.push(b'\t'),
                '0' => bytes.push(0),
                '\\' => bytes.push(b'\\'),
                'x' => {
                    let digits: String = rest.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).expect("two digits"));
                }
                other => panic!("unknown escape {other:?}"),
            },
            (c, false) => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}
