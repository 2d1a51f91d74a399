//! How many ports a second are identified: small servers of usual kinds inside this program, eight to a loopback address.

use std::{
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Instant,
};

use portreeve_model::{Endpoint, Service, Timestamp, Transport};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

/// Figures to reach.
const LEAST_RATE: f64 = 1_500.0;
const MOST_MEAN_CONNECTIONS: f64 = 4.0;
/// Ports of one host.
const PER_HOST: usize = 8;
/// As many as there are descriptors for.
const MOST: usize = 9_000;

/// What a server says unasked, and what it answers to anything.
struct Kind {
    greeting: &'static [u8],
    answer: &'static [u8],
}

const KINDS: &[Kind] = &[
    Kind { greeting: b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", answer: b"" },
    Kind {
        greeting: b"",
        answer: b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nContent-Length: 20\r\n\r\n<title>Start</title>",
    },
    Kind { greeting: b"220 (vsFTPd 3.0.3)\r\n", answer: b"530 Please login with USER and PASS.\r\n" },
    Kind {
        greeting: b"",
        answer: b"HTTP/1.1 404 Not Found\r\nServer: Apache/2.4.62 (Debian)\r\nContent-Length: 0\r\n\r\n",
    },
    Kind {
        greeting: b"220 mx.example ESMTP Postfix\r\n",
        answer: b"502 5.5.2 Error: command not recognized\r\n",
    },
    Kind { greeting: b"+OK Dovecot (Debian) ready.\r\n", answer: b"-ERR Unknown command.\r\n" },
    Kind { greeting: b"RFB 003.008\n", answer: b"" },
    Kind { greeting: b"", answer: b"-ERR unknown command 'GET'\r\n" },
];
const SILENT: Kind = Kind { greeting: b"", answer: b"" };

/// Identifies so many of them, `silent` in a hundred of which say nothing to anything, several times anew.
pub fn run(ports: usize, silent: usize, rounds: usize, json: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let ports = ports.clamp(1, MOST);
    let silent = ports * silent.min(100) / 100;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rounds = runtime.block_on(async {
        let mut places = Vec::with_capacity(ports);
        for number in 0..ports {
            let address = IpAddr::V4(Ipv4Addr::from(0x7f4f_0000 + (number / PER_HOST) as u32 + 1));
            let kind =
                if number < silent { &SILENT } else { KINDS.get(number % KINDS.len()).unwrap_or(&SILENT) };
            places.push(serve(address, kind).await?);
        }
        let mut told = Vec::new();
        for _ in 0..rounds.max(1) {
            told.push(identify(&places).await);
        }
        io::Result::Ok(told)
    })?;
    super::write(json, &json!({ "ports": ports, "silent": silent, "rounds": rounds }))
}

/// One round with an identifier that knows nothing of the earlier ones.
async fn identify(places: &[SocketAddr]) -> Value {
    let config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
    let identifier = Identifier::new(Arc::clone(Database::builtin()), config);
    let begun = Instant::now();
    let mut conversations = JoinSet::new();
    for place in places {
        let identifier = identifier.clone();
        let endpoint = Endpoint { address: place.ip(), port: place.port(), transport: Transport::Tcp };
        conversations.spawn(async move { identifier.identify(endpoint, Hints::default()).await });
    }
    report(&conversations.join_all().await, begun.elapsed().as_secs_f64())
}

/// Starts a server on a free port.
async fn serve(address: IpAddr, kind: &'static Kind) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((address, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(kind.greeting).await;
                let mut buffer = [0; 2048];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    let _ = stream.write_all(kind.answer).await;
                }
            });
        }
    });
    Ok(address)
}

fn report(services: &[Service], seconds: f64) -> Value {
    let mut connections: Vec<_> = services.iter().map(|service| service.connections).collect();
    connections.sort_unstable();
    let p95 = connections.get(connections.len() * 95 / 100).copied().unwrap_or_default();
    let most = connections.last().copied().unwrap_or_default();
    let mean = connections.iter().map(|count| f64::from(*count)).sum::<f64>() / connections.len() as f64;
    let named = services.iter().filter(|service| service.name.is_some()).count();
    let rate = services.len() as f64 / seconds;
    let word = |kept: bool| if kept { "kept" } else { "MISSED" };
    println!(
        "{} ports in {seconds:.2} s: {rate:.0} a second ({LEAST_RATE:.0}: {}), {named} with a name; connections: mean \
         {mean:.2} ({MOST_MEAN_CONNECTIONS:.0}: {}), 95 % {p95}, most {most}",
        services.len(),
        word(rate >= LEAST_RATE),
        word(mean <= MOST_MEAN_CONNECTIONS),
    );
    json!({
        "seconds": seconds, "ports_a_second": rate, "named": named, "mean_connections": mean,
        "p95_connections": p95, "most_connections": most,
    })
}
