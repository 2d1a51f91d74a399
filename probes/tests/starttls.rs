//! Protocols that change to TLS on request: fronts that speak as the real services do, with Debian's OpenSSL behind.

mod support;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use portreeve_model::{Endpoint, SafeText, Timestamp, Transport};
use portreeve_probes::{Database, Hints, Identifier, IdentifyConfig};
use support::{
    Server, identify,
    process::{certificate, start},
    serve_with,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// How a service speaks before TLS.
struct Front {
    service: &'static str,
    greeting: &'static [u8],
    /// What is answered to requests that contain this.
    answers: &'static [(&'static [u8], &'static [u8])],
    /// The request for TLS, and the agreement.
    request: &'static [u8],
    agreed: &'static [u8],
}

const STREAM: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' from='lab.example' \
    id='1' version='1.0' xmlns='jabber:client'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\
    </stream:features>";

const FRONTS: &[Front] = &[
    Front {
        service: "mysql",
        greeting: b"d\0\0\0\n5.5.5-10.11.19-MariaDB-0+deb12u1\0\x04\0\0\0:})O4W7M\0\xfe\xff\x08\x02\0\xff\x81\x15\0\0\0\0\0\0\x1d\0\0\0\
            ^n2Le;56OiCT\0mysql_native_password\0",
        answers: &[],
        request: b"\x20\0\0\x01",
        agreed: b"",
    },
    Front {
        service: "xmpp-client",
        greeting: b"",
        answers: &[(b"GET /", STREAM), (b"<stream:stream to='lab.example'", STREAM)],
        request: b"<starttls",
        agreed: b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    },
    Front {
        service: "irc",
        greeting: b":hybrid8.debian.local NOTICE * :*** Looking up your hostname\r\n:hybrid8.debian.local NOTICE * :*** Checking Ident\r\n",
        answers: &[],
        request: b"STARTTLS",
        agreed: b":hybrid8.debian.local 670 * :STARTTLS successful, proceed with TLS handshake\r\n",
    },
    Front {
        service: "sieve",
        greeting: b"\"IMPLEMENTATION\" \"Dovecot Pigeonhole\"\r\n\"SIEVE\" \"fileinto\"\r\n\"STARTTLS\"\r\nOK \"Dovecot ready.\"\r\n",
        answers: &[],
        request: b"STARTTLS",
        agreed: b"OK \"Begin TLS negotiation now.\"\r\n",
    },
    Front {
        service: "lmtp",
        greeting: b"220 mail.example LMTP ready\r\n",
        answers: &[(b"LHLO", b"250-mail.example\r\n250 STARTTLS\r\n")],
        request: b"STARTTLS",
        agreed: b"220 2.0.0 Begin TLS\r\n",
    },
];

async fn serve(front: &'static Front, behind: u16) -> Server {
    serve_with(move |mut stream| async move {
        stream.write_all(front.greeting).await?;
        let mut buffer = [0; 2048];
        let early = loop {
            let length = stream.read(&mut buffer).await?;
            let asked = &buffer[..length];
            let has = |part: &[u8]| asked.windows(part.len()).any(|window| window == part);
            if asked.is_empty() {
                return Ok(());
            }
            if has(front.request) {
                // Where nothing is agreed to, the hello may come together with the request of 36 bytes.
                break if front.agreed.is_empty() { asked[36..].to_vec() } else { Vec::new() };
            }
            if let Some((_, reply)) = front.answers.iter().find(|(part, _)| has(part)) {
                stream.write_all(reply).await?;
            }
        };
        stream.write_all(front.agreed).await?;
        let mut tls = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await?;
        tls.write_all(&early).await?;
        tokio::io::copy_bidirectional(&mut stream, &mut tls).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn certificates_behind_a_request_for_tls_are_read() {
    let Some(tls) = start("openssl", "openssl", |folder, port| {
        let (key, cert) = certificate(folder);
        let accept = format!("127.0.0.1:{port}");
        ["s_server", "-quiet", "-accept", &accept, "-key", &key, "-cert", &cert].map(str::to_owned).to_vec()
    }) else {
        return;
    };
    for front in FRONTS {
        let server = serve(front, tls.port).await;
        let service = identify(server.port()).await;
        assert_eq!(service.name.as_ref().map(SafeText::as_str), Some(front.service), "{service:?}");
        let tls = service.tls.unwrap_or_else(|| panic!("{}: no TLS", front.service));
        let leaf = tls.certificates.first().unwrap_or_else(|| panic!("{}: {tls:?}", front.service));
        assert_eq!(leaf.subject.as_str(), "CN=lab.example", "{}", front.service);
    }
}

/// One packet of TDS.
fn packet(kind: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16 + 8).to_be_bytes();
    [&[kind, 1, high, low, 0, 0, 1, 0], payload].concat()
}

/// Speaks TDS 7.4 up to the end of a handshake: a pre-login response, then TLS of the server `behind` in packets of
/// 512 bytes.
async fn speak_tds(mut stream: TcpStream, behind: u16) -> std::io::Result<()> {
    const PRE_LOGIN: &[u8] = b"\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\x0f\0\x10\x1b\0\0\x01";
    let mut head = [0; 8];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]])) - 8];
    stream.read_exact(&mut payload).await?;
    stream.write_all(&packet(4, PRE_LOGIN)).await?;
    let mut tls = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await?;
    stream.read_exact(&mut head).await?;
    let mut hello = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]])) - 8];
    stream.read_exact(&mut hello).await?;
    tls.write_all(&hello).await?;
    let mut buffer = [0; 504];
    loop {
        let length = tls.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&packet(0x12, &buffer[..length])).await?;
    }
}

#[tokio::test]
async fn sql_servers_show_their_certificate_inside_tds() {
    let Some(tls) = start("openssl", "openssl", |folder, port| {
        let (key, cert) = certificate(folder);
        let accept = format!("127.0.0.1:{port}");
        ["s_server", "-quiet", "-accept", &accept, "-key", &key, "-cert", &cert].map(str::to_owned).to_vec()
    }) else {
        return;
    };
    let address = IpAddr::V4(Ipv4Addr::new(127, 78, 0, 1));
    let listener = TcpListener::bind((address, 1433)).await.expect("an address of its own");
    let behind = tls.port;
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak_tds(stream, behind));
        }
    });
    let config = IdentifyConfig::new(Arc::new(|| Timestamp(0)));
    let identifier = Identifier::new(Arc::clone(Database::builtin()), config);
    let endpoint = Endpoint { address, port: 1433, transport: Transport::Tcp };
    let service = identifier.identify(endpoint, Hints::default()).await;
    server.abort();
    let text = |value: &Option<SafeText>| value.as_ref().map(|text| text.as_str().to_owned());
    assert_eq!(text(&service.product).as_deref(), Some("Microsoft SQL Server 2019"), "{service:?}");
    assert_eq!(text(&service.version).as_deref(), Some("15.0.4123"));
    assert_eq!(text(&service.info).as_deref(), Some("CU10"));
    let tls = service.tls.expect("a certificate");
    assert_eq!(tls.certificates.first().map(|leaf| leaf.subject.as_str()), Some("CN=lab.example"), "{tls:?}");
}
