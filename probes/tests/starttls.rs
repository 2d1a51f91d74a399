//! Protocols that change to TLS on request: fronts that speak as the real services do, with Debian's OpenSSL behind.

mod support;

use std::net::Ipv4Addr;

use portreeve_model::SafeText;
use support::{
    Server, identify,
    process::{certificate, start},
    serve_with,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
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
