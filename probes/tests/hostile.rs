//! Servers that mean harm: limits hold, nothing panics, text comes out harmless.

mod support;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use portreeve_model::{Endpoint, Timestamp, Transport, Verdict};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use support::{Script, identify, identify_within, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

#[tokio::test]
async fn a_server_that_closes_at_once_is_said_to() {
    let server = serve(|_| Script::Close).await;
    let service = identify(server.port()).await;
    assert_eq!(service.verdict, Verdict::ClosedAfterAccept, "{service:?}");
    assert!(service.connections <= 12);
}

#[tokio::test]
async fn an_endless_banner_is_a_trap_and_not_read_for_ever() {
    let server = serve(|_| Script::Endless(b"x".repeat(8192))).await;
    let service = identify(server.port()).await;
    assert_eq!(service.verdict, Verdict::Tarpit, "{service:?}");
    assert_eq!(service.connections, 1);
}

#[tokio::test]
async fn an_endless_answer_is_a_trap_too_unless_it_is_a_page() {
    let server = serve(|_| Script::Answer(b"A".repeat(200_000))).await;
    let service = identify(server.port()).await;
    assert_eq!(service.verdict, Verdict::Tarpit, "{service:?}");
    let page = [&b"HTTP/1.1 200 OK\r\nServer: nginx/1.2.3\r\n\r\n"[..], &b"A".repeat(200_000)].concat();
    let server = serve(move |_| Script::Answer(page.clone())).await;
    assert_eq!(identify(server.port()).await.verdict, Verdict::Identified);
}

#[tokio::test]
async fn a_dripping_banner_is_a_trap() {
    let server = serve(|_| Script::Drip(b"z".to_vec(), Duration::from_millis(20))).await;
    let service = identify(server.port()).await;
    assert_eq!(service.verdict, Verdict::Tarpit, "{service:?}");
    let slow = serve(|_| Script::Drip(b"z".to_vec(), Duration::from_millis(700))).await;
    let service = identify(slow.port()).await;
    assert_eq!(service.verdict, Verdict::Tarpit, "{service:?}");
}

#[tokio::test]
async fn the_deadline_ends_every_conversation() {
    let server = serve(|_| Script::Drip(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), Duration::from_millis(50))).await;
    let within = Duration::from_millis(1200);
    let service = tokio::time::timeout(within * 10, identify_within(server.port(), within)).await;
    assert!(service.is_ok(), "identification went on after its deadline");
}

#[tokio::test]
async fn escape_sequences_do_not_get_through() {
    let server = serve(|_| Script::Say(b"\x1b]0;owned\x07\x1b[2J\xe2\x80\xae220 hello\r\n".to_vec())).await;
    let service = identify(server.port()).await;
    let banner = service.banner.expect("a banner").into_string();
    assert!(banner.contains("owned"));
    assert!(!banner.chars().any(|c| c.is_control() || c == '\u{202e}'), "{banner:?}");
}

#[tokio::test]
async fn ten_thousand_headers_are_survived() {
    let mut page = b"HTTP/1.1 200 OK\r\nServer: nginx/1.2.3\r\n".to_vec();
    for number in 0..10_000 {
        page.extend(format!("X-{number}: {number}\r\n").into_bytes());
    }
    let server = serve(move |_| Script::Answer(page.clone())).await;
    let service = identify(server.port()).await;
    assert_eq!(service.product.expect("a product").as_str(), "nginx");
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let page = b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n".to_vec();
    let server = serve(move |_| Script::Answer(page.clone())).await;
    let service = identify(server.port()).await;
    assert_eq!(service.http.expect("a page").status, 302);
    assert!(server.requests() <= 8, "{} requests", server.requests());
}

#[tokio::test]
async fn a_redirect_to_itself_is_not_followed() {
    let page = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec();
    let server = serve(move |_| Script::Answer(page.clone())).await;
    let http = identify(server.port()).await.http.expect("a page");
    assert_eq!(http.location.expect("a target").as_str(), "/");
    assert!(http.redirects.is_empty(), "{:?}", http.redirects);
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let page = b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n".to_vec();
    let server = serve(move |_| Script::Answer(page.clone())).await;
    let service = identify(server.port()).await;
    assert_eq!(service.http.expect("a page").location.expect("a target").as_str(), "http://192.0.2.1/");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_silent_and_costs_few_connections() {
    let server = serve(|_| Script::Say(Vec::new())).await;
    let service = identify(server.port()).await;
    assert_eq!(service.verdict, Verdict::Silent, "{service:?}");
    assert!(service.product.is_none() && service.name.is_none(), "{service:?}");
}

#[tokio::test]
async fn what_says_nothing_of_a_product_gets_none() {
    let noise: Vec<u8> = (0..600_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for reply in
        [noise, b"what?\r\n".to_vec(), b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()]
    {
        let server = serve(move |_| Script::Answer(reply.clone())).await;
        let service = identify(server.port()).await;
        assert_eq!(service.product, None, "{service:?}");
        assert!(service.banner.is_some(), "{service:?}");
    }
}

#[tokio::test]
async fn a_broken_tls_server_is_still_tls() {
    // A record header that promises a handshake, then noise in place of a certificate chain.
    let mut reply = vec![22, 3, 3, 0x40, 0];
    reply.extend(std::iter::repeat_n(0xa5, 0x4000));
    let server = serve(move |_| Script::Answer(reply.clone())).await;
    let service = identify(server.port()).await;
    assert_eq!(service.product, None, "{service:?}");
    assert!(service.connections <= 12);
}

/// A KEXINIT that offers what every client knows.
fn kexinit() -> Vec<u8> {
    let lists =
        ["curve25519-sha256", "ssh-ed25519", "aes128-ctr", "aes128-ctr", "hmac-sha2-256", "hmac-sha2-256"];
    let mut payload = vec![20];
    payload.extend([7; 16]);
    for list in lists.iter().chain(&["none", "none", "", ""]) {
        payload.extend((list.len() as u32).to_be_bytes());
        payload.extend(list.as_bytes());
    }
    payload.extend([0; 5]);
    packet(&payload)
}

fn packet(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32 + 5).to_be_bytes()[..], &[4], payload, &[0; 4]].concat()
}

#[tokio::test]
async fn an_ssh_server_that_never_exchanges_keys_is_left_after_a_while() {
    let flood = packet(&[&[2][..], &[0; 100]].concat()).repeat(40);
    let huge = [&0x7fff_ffff_u32.to_be_bytes()[..], &[1; 64]].concat();
    for after in [Vec::new(), flood, huge, packet(&[31, 0xff, 0xff, 0xff, 0xff])] {
        let server = support::serve_with(move |mut stream| {
            let after = after.clone();
            async move {
                stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await?;
                let mut buffer = [0; 4096];
                let _line = stream.read(&mut buffer).await?;
                stream.write_all(&kexinit()).await?;
                let _offer = stream.read(&mut buffer).await?;
                stream.write_all(&after).await?;
                while stream.read(&mut buffer).await? > 0 {}
                Ok(())
            }
        })
        .await;
        let service = identify(server.port()).await;
        assert_eq!(service.product.expect("a product").as_str(), "OpenSSH");
        let audit = service.ssh.expect("its offer");
        assert!(audit.keys.is_empty() && audit.auth_methods.is_none(), "{audit:?}");
    }
}

#[tokio::test]
async fn an_http2_server_that_never_answers_is_left_after_a_while() {
    // Settings come, and then nothing but more of them.
    let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64".to_vec();
    let server = serve(move |_| Script::Drip(settings.clone(), Duration::from_millis(30))).await;
    let service = identify(server.port()).await;
    assert_eq!(service.product, None, "{service:?}");
}

#[tokio::test]
async fn print_and_controller_ports_get_no_payload() {
    for port in [9100, 502] {
        let service = identify(port).await;
        assert_eq!(service.verdict, Verdict::NotProbed, "{service:?}");
        assert!(service.connections <= 1, "{service:?}");
    }
}

/// A host on which every port accepts and none speaks is told from one whose services are shy, and costs little.
#[tokio::test]
async fn ports_of_a_host_that_only_accepts_are_told_to_be_a_proxys_and_left_alone() {
    const PORTS: usize = 64;
    let mut servers = Vec::new();
    let config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
    let identifier = Identifier::new(Arc::clone(Database::builtin()), config);
    let mut conversations = JoinSet::new();
    for _ in 0..PORTS {
        let server = serve(|_| Script::Close).await;
        let endpoint =
            Endpoint { address: Ipv4Addr::LOCALHOST.into(), port: server.port(), transport: Transport::Tcp };
        servers.push(server);
        let identifier = identifier.clone();
        conversations.spawn(async move { identifier.identify(endpoint, Hints::default()).await });
    }
    let services = conversations.join_all().await;
    let (told, asked): (Vec<_>, Vec<_>) =
        services.iter().partition(|service| service.verdict == Verdict::SynProxy);
    assert!(asked.iter().all(|service| service.verdict == Verdict::ClosedAfterAccept));
    assert!(told.iter().all(|service| service.evidence.iter().any(|one| one.field.as_str() == "verdict")));
    // Thirty ports are asked in full, and at most sixteen more were begun when the last of them ended.
    assert!((PORTS - 46..=PORTS - 30).contains(&told.len()), "{}", told.len());
    assert!(told.iter().all(|service| service.connections == 1));
}
