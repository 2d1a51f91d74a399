//! How many ports a second are identified: thousands of small servers of usual kinds inside this program, each on
//! a loopback address of its own.
//!
//!     cargo run --release -p portreeve-probes --example throughput -- [ENDPOINTS] [PERCENT SILENT]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use portreeve_model::{Endpoint, Service, Timestamp, Transport};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

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

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok());
    let endpoints = numbers.next().unwrap_or(2_000).min(20_000);
    let silent = endpoints * numbers.next().unwrap_or(0).min(100) / 100;
    let mut asked = Vec::new();
    for number in 0..endpoints {
        let address = IpAddr::V4(Ipv4Addr::from(0x7f4f_0000 + (number / 8) as u32 + 1));
        let kind = if number < silent { &SILENT } else { KINDS.get(number % KINDS.len()).unwrap_or(&SILENT) };
        asked.push(serve(address, kind).await?);
    }
    let config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
    let identifier = Identifier::new(Arc::clone(Database::builtin()), config);
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for address in asked {
        let identifier = identifier.clone();
        let endpoint = Endpoint { address: address.ip(), port: address.port(), transport: Transport::Tcp };
        tasks.spawn(async move { identifier.identify(endpoint, Hints::default()).await });
    }
    let services: Vec<Service> = tasks.join_all().await;
    report(&services, start.elapsed().as_secs_f64());
    Ok(())
}

async fn serve(address: IpAddr, kind: &'static Kind) -> std::io::Result<SocketAddr> {
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

fn report(services: &[Service], seconds: f64) {
    let mut connections: Vec<_> = services.iter().map(|service| service.connections).collect();
    connections.sort_unstable();
    let at = |part: usize| connections.get(connections.len() * part / 100).copied().unwrap_or_default();
    let named = services.iter().filter(|service| service.name.is_some()).count();
    println!(
        "{} ports in {seconds:.2} s: {:.0} ports/s; {named} with a name; connections: median {}, 95 % {}, most {}",
        services.len(),
        services.len() as f64 / seconds,
        at(50),
        at(95),
        connections.last().copied().unwrap_or_default(),
    );
}
