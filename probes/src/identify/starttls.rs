//! Protocols that begin in the clear and change to TLS on request.

use tokio::{net::TcpStream, time::Instant};

use super::connection::{Connection, Patience};

/// What to say, after the greeting if there is one, and how an agreement is known.
#[derive(Debug)]
pub(super) struct Upgrade {
    greets: bool,
    steps: &'static [&'static [u8]],
    agreed: Agreed,
}

/// How the last reply says yes.
#[derive(Debug)]
enum Agreed {
    /// It begins so.
    Begins(&'static [u8]),
    /// It has this somewhere.
    Contains(&'static [u8]),
    /// Nothing is said: the handshake begins at once.
    Silent,
    /// The negotiation response of MS-RDPBCGR 2.2.1.2.1, with TLS or CredSSP chosen.
    Rdp,
}

impl Agreed {
    fn is_met(&self, reply: &[u8]) -> bool {
        match self {
            Self::Begins(start) => reply.starts_with(start),
            Self::Contains(part) => reply.windows(part.len()).any(|window| window == *part),
            Self::Silent => true,
            Self::Rdp => {
                let chosen = reply.get(15).copied().unwrap_or_default();
                reply.get(5) == Some(&0xd0) && reply.get(11) == Some(&2) && chosen & 3 != 0
            }
        }
    }
}

/// How `service` changes to TLS, if it can.
pub(super) fn upgrade(service: &str) -> Option<&'static Upgrade> {
    UPGRADES.iter().find(|(name, _)| *name == service).map(|(_, upgrade)| upgrade)
}

const UPGRADES: &[(&str, Upgrade)] = &[
    // RFC 4217 4.
    ("ftp", Upgrade { greets: true, steps: &[b"AUTH TLS\r\n"], agreed: Agreed::Begins(b"234") }),
    // RFC 9051 6.2.1.
    ("imap", Upgrade { greets: true, steps: &[b"a1 STARTTLS\r\n"], agreed: Agreed::Begins(b"a1 OK") }),
    // RFC 4511 4.14: extended request 1.3.6.1.4.1.1466.20037, answered with result code 0.
    (
        "ldap",
        Upgrade {
            greets: false,
            steps: &[b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"],
            agreed: Agreed::Begins(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00"),
        },
    ),
    // The IRCv3 extension of that name: numeric 670.
    ("irc", Upgrade { greets: true, steps: &[b"STARTTLS\r\n"], agreed: Agreed::Contains(b" 670 ") }),
    // RFC 2033, RFC 3207 4.
    (
        "lmtp",
        Upgrade {
            greets: true,
            steps: &[b"LHLO portreeve.invalid\r\n", b"STARTTLS\r\n"],
            agreed: Agreed::Begins(b"220"),
        },
    ),
    (
        "ms-wbt-server",
        Upgrade {
            greets: false,
            steps: &[b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0"],
            agreed: Agreed::Rdp,
        },
    ),
    // SSLRequest of the client/server protocol: capabilities with SSL among them, and no name yet.
    (
        "mysql",
        Upgrade {
            greets: true,
            steps: &[
                b"\x20\0\0\x01\x01\x8a\x08\0\0\0\0\x01\x21\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ],
            agreed: Agreed::Silent,
        },
    ),
    // RFC 4642 2.2.
    ("nntp", Upgrade { greets: true, steps: &[b"STARTTLS\r\n"], agreed: Agreed::Begins(b"382") }),
    // RFC 2595 4.
    ("pop3", Upgrade { greets: true, steps: &[b"STLS\r\n"], agreed: Agreed::Begins(b"+OK") }),
    // SSLRequest of protocol 3.0: one byte comes back.
    (
        "postgresql",
        Upgrade {
            greets: false,
            steps: &[b"\x00\x00\x00\x08\x04\xd2\x16\x2f"],
            agreed: Agreed::Begins(b"S"),
        },
    ),
    // RFC 5804 2.2.
    ("sieve", Upgrade { greets: true, steps: &[b"STARTTLS\r\n"], agreed: Agreed::Begins(b"OK") }),
    // RFC 3207 4.
    (
        "smtp",
        Upgrade {
            greets: true,
            steps: &[b"EHLO portreeve.invalid\r\n", b"STARTTLS\r\n"],
            agreed: Agreed::Begins(b"220"),
        },
    ),
    // RFC 6120 5.4.
    (
        "xmpp-client",
        Upgrade {
            greets: false,
            steps: &[
                b"<?xml version='1.0'?><stream:stream to='{domain}' xmlns='jabber:client' \
                  xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>",
                b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            ],
            agreed: Agreed::Contains(b"<proceed"),
        },
    ),
    (
        "xmpp-server",
        Upgrade {
            greets: false,
            steps: &[
                b"<?xml version='1.0'?><stream:stream to='{domain}' xmlns='jabber:server' \
                  xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>",
                b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            ],
            agreed: Agreed::Contains(b"<proceed"),
        },
    ),
];

/// Asks for TLS; the stream, ready for a handshake, if the server agrees.
pub(super) async fn switch(
    stream: TcpStream,
    upgrade: &Upgrade,
    domain: &str,
    patience: Patience,
    deadline: Instant,
) -> Option<TcpStream> {
    let mut connection = Connection::Plain(stream);
    if upgrade.greets {
        connection.read(patience, deadline).await;
    }
    let mut last = Vec::new();
    for step in upgrade.steps {
        let said = match std::str::from_utf8(step) {
            Ok(text) => text.replace("{domain}", domain).into_bytes(),
            Err(_) => step.to_vec(),
        };
        if !connection.send(&said, deadline).await {
            return None;
        }
        if matches!(upgrade.agreed, Agreed::Silent) {
            break;
        }
        last = connection.read(patience, deadline).await.bytes;
    }
    match connection {
        // Anything after the agreement would have come before the handshake: not a server to go on with.
        Connection::Plain(stream) if upgrade.agreed.is_met(&last) => Some(stream),
        _ => None,
    }
}
