//! Protocols that begin in the clear and change to TLS on request.

use tokio::{net::TcpStream, time::Instant};

use super::connection::{Connection, Patience};

/// What to say, after the greeting if there is one, and how an agreement begins.
#[derive(Debug)]
pub(super) struct Upgrade {
    greets: bool,
    steps: &'static [&'static [u8]],
    agreed: &'static [u8],
}

/// How `service` changes to TLS, if it can.
pub(super) fn upgrade(service: &str) -> Option<&'static Upgrade> {
    UPGRADES.iter().find(|(name, _)| *name == service).map(|(_, upgrade)| upgrade)
}

const UPGRADES: &[(&str, Upgrade)] = &[
    // RFC 4217 4.
    ("ftp", Upgrade { greets: true, steps: &[b"AUTH TLS\r\n"], agreed: b"234" }),
    // RFC 9051 6.2.1.
    ("imap", Upgrade { greets: true, steps: &[b"a1 STARTTLS\r\n"], agreed: b"a1 OK" }),
    // RFC 4511 4.14: extended request 1.3.6.1.4.1.1466.20037, answered with result code 0.
    (
        "ldap",
        Upgrade {
            greets: false,
            steps: &[b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"],
            agreed: b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00",
        },
    ),
    // RFC 4642 2.2.
    ("nntp", Upgrade { greets: true, steps: &[b"STARTTLS\r\n"], agreed: b"382" }),
    // RFC 2595 4.
    ("pop3", Upgrade { greets: true, steps: &[b"STLS\r\n"], agreed: b"+OK" }),
    // SSLRequest of protocol 3.0: one byte comes back.
    ("postgresql", Upgrade { greets: false, steps: &[b"\x00\x00\x00\x08\x04\xd2\x16\x2f"], agreed: b"S" }),
    // RFC 3207 4.
    (
        "smtp",
        Upgrade { greets: true, steps: &[b"EHLO portreeve.invalid\r\n", b"STARTTLS\r\n"], agreed: b"220" },
    ),
];

/// Asks for TLS; the stream, ready for a handshake, if the server agrees.
pub(super) async fn switch(
    stream: TcpStream,
    upgrade: &Upgrade,
    patience: Patience,
    deadline: Instant,
) -> Option<TcpStream> {
    let mut connection = Connection::Plain(stream);
    if upgrade.greets {
        connection.read(patience, deadline).await;
    }
    let mut last = Vec::new();
    for step in upgrade.steps {
        if !connection.send(step, deadline).await {
            return None;
        }
        last = connection.read(patience, deadline).await.bytes;
    }
    match connection {
        // Anything after the agreement would have come before the handshake: not a server to go on with.
        Connection::Plain(stream) if last.starts_with(upgrade.agreed) => Some(stream),
        _ => None,
    }
}
