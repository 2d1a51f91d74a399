//! How many connections what costs, what is asked side by side, and what is remembered.

mod support;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use portreeve_model::{Endpoint, SafeText, Service, Timestamp, Transport, Verdict};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig, Memory};
use support::{
    Script,
    process::{certificate, nginx, start},
    serve, serve_with,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn page(server: &str) -> Vec<u8> {
    let body = "<title>Start</title>";
    format!("HTTP/1.1 200 OK\r\nServer: {server}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn identifier(memory: &Arc<Memory>) -> Identifier {
    let config = IdentifyConfig::new(Arc::new(|| Timestamp(1_000)));
    Identifier::new(Arc::clone(Database::builtin()), config).with_memory(Arc::clone(memory))
}

async fn ask(identifier: &Identifier, port: u16) -> Service {
    let endpoint = Endpoint { address: Ipv4Addr::LOCALHOST.into(), port, transport: Transport::Tcp };
    identifier.identify(endpoint, Hints::default()).await
}

fn version(service: &Service) -> Option<&str> {
    service.version.as_ref().map(SafeText::as_str)
}

#[tokio::test]
async fn a_known_web_server_is_verified_on_one_connection_with_all_its_facts() {
    let server = serve(|_| Script::Answer(page("nginx/1.22.1"))).await;
    let memory = Arc::new(Memory::default());
    let identifier = identifier(&memory);
    let first = ask(&identifier, server.port()).await;
    assert_eq!(memory.len(), 1);
    let again = ask(&identifier, server.port()).await;
    assert_eq!(again.connections, 1);
    assert_eq!(Service { connections: first.connections, ..again }, first);
}

#[tokio::test]
async fn a_known_endpoint_that_changed_is_identified_anew() {
    let server =
        serve(|number| Script::Answer(page(if number < 3 { "nginx/1.22.1" } else { "nginx/1.24.0" }))).await;
    let memory = Arc::new(Memory::default());
    let identifier = identifier(&memory);
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(version(&ask(&identifier, server.port()).await).map(str::to_owned));
    }
    assert_eq!(seen.first(), Some(&Some("1.22.1".to_owned())));
    assert_eq!(seen.last(), Some(&Some("1.24.0".to_owned())), "{seen:?}");
}

#[tokio::test]
async fn a_known_tls_server_is_verified_by_certificate_and_page() {
    let Some(server) = start("nginx", "nginx-light", |folder, port| {
        let (key, cert) = certificate(folder);
        let tls = format!("ssl_certificate {cert}; ssl_certificate_key {key};");
        nginx(folder, &format!("listen 127.0.0.1:{port} ssl; {tls} location / {{ return 200 hello; }}"))
    }) else {
        return;
    };
    let identifier = identifier(&Arc::default());
    let first = ask(&identifier, server.port).await;
    let again = ask(&identifier, server.port).await;
    assert_eq!(again.connections, 1, "{again:?}");
    assert_eq!((again.product, again.tls), (first.product, first.tls));
}

#[tokio::test]
async fn a_plain_web_server_costs_no_connection_for_tls() {
    let server = serve(|_| Script::Answer(page("nginx/1.22.1"))).await;
    let service = support::identify(server.port()).await;
    assert!(service.connections <= 2, "{} connections", service.connections);
}

#[tokio::test]
async fn a_tls_server_that_ignores_plain_requests_is_found_beside_them() {
    let Some(server) = start("nginx", "nginx-light", |folder, port| {
        let (key, cert) = certificate(folder);
        let tls = format!("ssl_certificate {cert}; ssl_certificate_key {key};");
        nginx(folder, &format!("listen 127.0.0.1:{port} ssl; {tls} location / {{ return 200 hello; }}"))
    }) else {
        return;
    };
    let behind = server.port;
    let front = serve_with(move |mut stream| async move {
        let mut start = [0; 1];
        if stream.peek(&mut start).await? == 1 && start[0] == 22 {
            let mut tls = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await?;
            return tokio::io::copy_bidirectional(&mut stream, &mut tls).await.map(drop);
        }
        // Takes everything and never answers.
        let mut buffer = [0; 512];
        while stream.read(&mut buffer).await? > 0 {}
        Ok(())
    })
    .await;
    let service = support::identify(front.port()).await;
    assert_eq!(service.product.as_ref().map(SafeText::as_str), Some("nginx"), "{service:?}");
    assert!(service.tls.is_some() && service.connections <= 3, "{service:?}");
}

#[tokio::test]
async fn one_host_is_never_asked_on_more_ports_at_a_time_than_allowed() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut servers = Vec::new();
    for _ in 0..12 {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        servers.push(
            serve_with(move |mut stream| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    let said = stream.write_all(b"SSH-2.0-dropbear_2022.83\r\n").await;
                    let mut buffer = [0; 512];
                    while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
                    now.fetch_sub(1, Ordering::SeqCst);
                    said
                }
            })
            .await,
        );
    }
    let config =
        IdentifyConfig { per_host: 3, ssh_audit: false, ..IdentifyConfig::new(Arc::new(|| Timestamp(0))) };
    let identifier = Identifier::new(Arc::clone(Database::builtin()), config);
    let mut tasks = Vec::new();
    for server in &servers {
        let (identifier, port) = (identifier.clone(), server.port());
        tasks.push(tokio::spawn(async move { ask(&identifier, port).await }));
    }
    for task in tasks {
        assert_eq!(task.await.expect("no panic").verdict, Verdict::Identified);
    }
    // A connection may be closed a moment after its conversation has ended.
    assert!(most.load(Ordering::SeqCst) <= 6, "{} at a time", most.load(Ordering::SeqCst));
}

#[tokio::test]
async fn whoever_answers_in_words_is_not_asked_in_other_protocols_bytes() {
    let server = serve(|_| Script::Answer(b"what do you want?\n".to_vec())).await;
    let service = support::identify(server.port()).await;
    assert!(service.connections <= 3, "{service:?}");
}

#[tokio::test]
async fn whoever_hangs_up_unasked_is_not_asked_on() {
    let server = serve(|_| Script::Close).await;
    let service = support::identify(server.port()).await;
    assert_eq!(service.verdict, Verdict::ClosedAfterAccept);
    assert!(service.connections <= 6, "{service:?}");
}

/// What waits for a length's worth of bytes is asked in the words of those that do, and of no other.
#[tokio::test]
async fn how_questions_end_decides_what_is_asked_next() {
    use std::sync::Mutex;
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let ears = Arc::clone(&heard);
    let server = serve_with(move |mut stream| {
        let ears = Arc::clone(&ears);
        async move {
            let mut buffer = [0; 512];
            loop {
                let length = stream.read(&mut buffer).await?;
                let Some(first) = buffer.first().filter(|_| length > 0) else { return Ok(()) };
                if let Ok(mut heard) = ears.lock() {
                    heard.push(*first);
                }
                // A length of four bytes, of which a server takes no more than some thousands.
                if *first != 0 {
                    return Ok(());
                }
                if buffer.starts_with(b"\0\0\0\rO") {
                    stream.write_all(b"\0\0\0\rO\0\0\0\x06\0\0\0!\0\0\0\0").await?;
                }
            }
        }
    })
    .await;
    let service = support::identify(server.port()).await;
    assert_eq!(service.name.as_ref().map(SafeText::as_str), Some("milter"), "{service:?}");
    assert!(service.connections <= 8, "{service:?}");
    let heard = heard.lock().expect("not poisoned");
    assert!(!heard.contains(&0x12), "no question of AJP: {heard:?}");
}

/// A service that names itself, and a daring question that suits it, as controllers have them.
const DARING: &str = r"
schema = 1
service = 'toy'
family = 'test'
ports = { udp = [1] }

[[probe]]
id = 'toy-hello'
transport = 'udp'
send = ['HELLO']
tier = 1

[[probe]]
id = 'toy-read'
send = ['READ']
after = ['CAUSE']
tier = 9
safety = 'ot'

[[probe]]
id = 'toy-read-udp'
transport = 'udp'
send = ['READ']
after = ['toy']
tier = 9
safety = 'ot'

[[match]]
id = 'toy/any'
field = 'raw'
regex = '^TOY'
score = SCORE
";

/// Questions that follow a reading once ignored the policy: a controller found on a foreign port was asked what the
/// policy forbids.
#[tokio::test]
async fn what_follows_a_reading_keeps_to_the_policy_too() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reads);
    let tcp = serve_with(move |mut stream| {
        let counter = Arc::clone(&counter);
        async move {
            stream.write_all(b"TOY 1\r\n").await?;
            let mut buffer = [0; 64];
            loop {
                match stream.read(&mut buffer).await? {
                    0 => return Ok(()),
                    length => counter
                        .fetch_add(usize::from(buffer.get(..length) == Some(b"READ")), Ordering::Relaxed),
                };
            }
        }
    })
    .await;
    let udp = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let udp_port = udp.local_addr().expect("an address").port();
    let counter = Arc::clone(&reads);
    let answers = tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            counter.fetch_add(usize::from(buffer.get(..length) == Some(b"READ")), Ordering::Relaxed);
            let _ = udp.send_to(b"TOY 1\r\n", from).await;
        }
    });
    // After a service, after an entry, and after one that is only a hint.
    for (cause, score) in [("toy", "80"), ("toy/any", "80"), ("toy/any", "40")] {
        let text = DARING.replace("CAUSE", cause).replace("SCORE", score);
        let database = Arc::new(Database::from_texts([("toy.toml".to_owned(), text)]).expect("a database"));
        for (transport, port) in [(Transport::Tcp, tcp.port()), (Transport::Udp, udp_port)] {
            for allowed in [false, true] {
                let config = IdentifyConfig {
                    allow_print_and_ot: allowed,
                    deadline: Duration::from_secs(3),
                    ..IdentifyConfig::new(Arc::new(|| Timestamp(0)))
                };
                let identifier = Identifier::new(Arc::clone(&database), config);
                reads.store(0, Ordering::Relaxed);
                identifier
                    .identify(
                        Endpoint { address: Ipv4Addr::LOCALHOST.into(), port, transport },
                        Hints::default(),
                    )
                    .await;
                // Datagrams follow a service alone.
                let is_asked = allowed && (transport == Transport::Tcp || score == "80");
                let asked = reads.load(Ordering::Relaxed) > 0;
                assert_eq!(asked, is_asked, "after {cause} at {score}, {transport:?}, allowed: {allowed}");
            }
        }
    }
    answers.abort();
}

/// Some follow-ups make sense where the service is usual alone: they would cost every web server a request.
#[tokio::test]
async fn a_follow_up_for_usual_ports_is_asked_there_and_nowhere_else() {
    let mut asked = Vec::new();
    for port in [8008, 8009] {
        let listener =
            tokio::net::TcpListener::bind((Ipv4Addr::new(127, 80, 0, 1), port)).await.expect("a port");
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    loop {
                        let length = stream.read(&mut buffer).await?;
                        let request = buffer.get(..length).unwrap_or_default();
                        let body = match request {
                            [] => return std::io::Result::Ok(()),
                            _ if request.starts_with(b"GET /setup/eureka_info ") => {
                                r#"{"cast_build_revision":"1.56.250533","name":"Den"}"#
                            }
                            _ => "hello",
                        };
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                        stream.write_all((head + body).as_bytes()).await?;
                    }
                });
            }
        });
        let config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
        let endpoint =
            Endpoint { address: Ipv4Addr::new(127, 80, 0, 1).into(), port, transport: Transport::Tcp };
        let identifier = Identifier::new(Arc::clone(Database::builtin()), config);
        asked
            .push(identifier.identify(endpoint, Hints::default()).await.product.map(|name| name.to_string()));
        server.abort();
    }
    assert_eq!(asked, [Some("Google Cast".to_owned()), None]);
}
