//! Servers that take their time, serve one client at a time, or only callers from a reserved port.

mod support;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use portreeve_model::{Endpoint, SafeText, Service, Timestamp, Transport, Verdict};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Tests of this file have a loopback network of their own, and a host each: usual ports matter here.
async fn listen(host: u8, port: u16) -> TcpListener {
    let address = SocketAddr::new(Ipv4Addr::new(127, 79, 0, host).into(), port);
    TcpListener::bind(address).await.unwrap_or_else(|error| panic!("{address}: {error}; run as root"))
}

async fn identify(host: u8, port: u16) -> Service {
    let address = IpAddr::V4(Ipv4Addr::new(127, 79, 0, host));
    let endpoint = Endpoint { address, port, transport: Transport::Tcp };
    let config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
    Identifier::new(Arc::clone(Database::builtin()), config).identify(endpoint, Hints::default()).await
}

/// Serves one client after the other; the next one is accepted when the one before has gone.
fn one_by_one<F>(listener: TcpListener, talk: impl Fn(TcpStream) -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Peers that go without a word are no trouble.
            let _ = talk(stream).await;
        }
    })
}

fn named(service: &Service) -> (Option<&str>, Option<&str>) {
    (service.name.as_ref().map(SafeText::as_str), service.product.as_ref().map(SafeText::as_str))
}

/// Sendmail looks up its client's name before it greets, and takes what was said before for an attack.
#[tokio::test]
async fn nothing_is_said_to_a_mail_server_before_it_greets_late() {
    let listener = listen(1, 25).await;
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut early = [0; 64];
                if let Ok(Ok(1..)) = timeout(Duration::from_secs(2), stream.read(&mut early)).await {
                    return stream.write_all(b"554 5.5.0 not accepting messages\r\n").await;
                }
                stream
                    .write_all(b"220 mx.example ESMTP Sendmail 8.17.1/8.17.1; Sun, 22 Nov 2026\r\n")
                    .await?;
                while stream.read(&mut early).await? > 0 {}
                Ok(())
            });
        }
    });
    let service = identify(1, 25).await;
    assert_eq!(named(&service), (Some("smtp"), Some("Sendmail")), "{service:?}");
    assert_eq!(service.version.as_ref().map(SafeText::as_str), Some("8.17.1"));
    server.abort();
}

/// LibVNCServer waits for a browser's first word before it greets, and takes any other for a broken browser.
#[tokio::test]
async fn a_greeting_that_is_a_little_late_is_heard_on_any_port() {
    for (host, port) in [(10, 5900), (11, 7777)] {
        let listener = listen(host, port).await;
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if timeout(Duration::from_millis(600), stream.read(&mut [0; 64])).await.is_err() {
                        stream.write_all(b"RFB 003.008\n").await?;
                        return stream.read(&mut [0; 64]).await.map(drop);
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        let service = identify(host, port).await;
        assert_eq!(named(&service).0, Some("vnc"), "{service:?}");
        server.abort();
    }
}

/// A connection that waits for an answer keeps such a server from everybody else.
#[tokio::test]
async fn a_server_of_one_client_at_a_time_is_heard() {
    // 4242 is usual for two services; the question for the other one comes first.
    let server = one_by_one(listen(2, 4242).await, |mut stream| async move {
        let mut buffer = [0; 512];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                8 => stream.write_all(b"\0\0\0\x02").await?,
                _ => {}
            }
        }
    });
    // On a machine under load its answer may be later than anybody waits for it.
    let mut service = identify(2, 4242).await;
    for _ in 0..2 {
        if service.name.is_none() {
            service = identify(2, 4242).await;
        }
    }
    assert_eq!(named(&service), (Some("quassel"), Some("Quassel core")));
    server.abort();
}

/// Some of them refuse the next client, instead of letting it wait.
#[tokio::test]
async fn a_server_that_refuses_the_second_client_is_heard() {
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listen(3, 4242).await.accept().await.expect("a client");
            let mut buffer = [0; 512];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                if length == 8 {
                    let _ = stream.write_all(b"\0\0\0\x02").await;
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    sleep(Duration::from_millis(50)).await;
    assert_eq!(named(&identify(3, 4242).await), (Some("quassel"), Some("Quassel core")));
    server.abort();
}

/// What rlogind and rshd do: they hang up on callers from ordinary ports (RFC 1282).
async fn serve_reserved(host: u8, port: u16, is_strict: bool) -> JoinHandle<()> {
    let listener = listen(host, port).await;
    tokio::spawn(async move {
        while let Ok((mut stream, from)) = listener.accept().await {
            if is_strict && from.port() < 1024 {
                tokio::spawn(async move { stream.read(&mut [0; 64]).await });
            }
        }
    })
}

#[tokio::test]
async fn services_for_reserved_ports_are_known_by_whom_they_serve() {
    for (host, port, name) in [(4, 513, "login"), (5, 514, "shell")] {
        let server = serve_reserved(host, port, true).await;
        assert_eq!(named(&identify(host, port).await), (Some(name), None));
        server.abort();
        let server = serve_reserved(host + 2, port, false).await;
        let service = identify(host + 2, port).await;
        assert_eq!((service.verdict, service.name), (Verdict::ClosedAfterAccept, None));
        server.abort();
    }
}

/// Serves all clients at the same time.
fn all_at_once<F>(listener: TcpListener, talk: impl Fn(TcpStream) -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    })
}

/// A control channel reads a length, then so much; something that hangs up on everything is none.
#[tokio::test]
async fn a_control_channel_is_known_by_when_it_hangs_up() {
    let server = all_at_once(listen(8, 953).await, |mut stream| async move {
        let length = stream.read_u32().await?;
        if length < 0x8000 {
            stream.read_exact(&mut vec![0; length as usize]).await?;
        }
        Ok(())
    });
    assert_eq!(named(&identify(8, 953).await), (Some("rndc"), Some("BIND rndc")));
    server.abort();
    let server =
        all_at_once(
            listen(9, 953).await,
            |mut stream| async move { stream.read(&mut [0; 64]).await.map(drop) },
        );
    assert_eq!(identify(9, 953).await.name, None);
    server.abort();
}

/// Serves each client by itself: pages by their path after a while, an error at once to all that is no HTTP.
fn web(listener: TcpListener, pages: &'static [(&'static str, u64, &'static str)]) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut question = [0; 2048];
                loop {
                    let length = stream.read(&mut question).await?;
                    if length == 0 {
                        return Ok::<_, std::io::Error>(());
                    }
                    let question = String::from_utf8_lossy(&question[..length]).into_owned();
                    let path = question.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
                    let page = path.map(|path| pages.iter().find(|(known, ..)| *known == path));
                    let (pause, reply) = match page {
                        Some(Some((_, pause, reply))) => (*pause, (*reply).to_owned()),
                        Some(None) => (0, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned()),
                        None => (0, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned()),
                    };
                    sleep(Duration::from_millis(pause)).await;
                    stream.write_all(reply.as_bytes()).await?;
                }
            });
        }
    })
}

/// The error that it makes of a TLS hello comes before the page that it has to make first.
#[tokio::test]
async fn a_slow_page_is_waited_for_where_the_server_has_shown_to_be_a_web_server() {
    const PAGES: &[(&str, u64, &str)] =
        &[("/", 1500, "HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n<title>Login to Cacti</title>")];
    let server = web(listen(20, 8999).await, PAGES);
    let service = identify(20, 8999).await;
    assert_eq!(named(&service), (Some("http"), Some("Cacti")), "{service:?}");
    server.abort();
}

/// A page leads to another by its head, that one takes its time, and the version is below its folder.
#[tokio::test]
async fn an_application_is_known_below_the_folder_that_it_lives_in() {
    const PAGES: &[(&str, u64, &str)] = &[
        (
            "/",
            0,
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n<meta http-equiv=\"refresh\" content=\"0; url=ml/ui\">",
        ),
        ("/ml/ui", 1000, "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n<title>MLflow</title>"),
        ("/ml/version", 0, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n2.17.1"),
    ];
    let server = web(listen(21, 8998).await, PAGES);
    let service = identify(21, 8998).await;
    assert_eq!(named(&service), (Some("http"), Some("MLflow")), "{service:?}");
    assert_eq!(service.version.as_ref().map(SafeText::as_str), Some("2.17.1"), "{service:?}");
    server.abort();
}
