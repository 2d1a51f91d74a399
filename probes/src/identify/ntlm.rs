//! Asks for an NTLM challenge, which tells the exact build and the machine's names, and goes no further: there is
//! no user, no password and no third message.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{connection::Connection, conversation::Conversation};
use crate::decode::{http::Response, windows::challenge};

/// NEGOTIATE_MESSAGE of MS-NLMP 2.2.1.1: Unicode, target name and target information wanted, version 10.0.19041.
const NEGOTIATE: &[u8; 40] =
    b"NTLMSSP\0\x01\0\0\0\x97\x82\x08\x62\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a\0\x61\x4a\0\0\0\x0f";

/// Where a challenge can be had over HTTP.
pub(super) enum Place {
    /// The page that asked for a log-in, by this scheme.
    Page(&'static str),
    /// Windows remote management, behind the web server of Windows itself.
    Management,
}

impl Conversation<'_> {
    /// Where to ask this web server, if anywhere.
    pub fn ntlm_place(&self) -> Option<Place> {
        let challenges: Vec<_> =
            self.fields.values().iter().filter(|v| v.name == "http.header.www-authenticate").collect();
        let offers = |scheme: &str| {
            challenges.iter().any(|value| {
                value
                    .bytes
                    .get(..scheme.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
            })
        };
        if offers("NTLM") {
            return Some(Place::Page("NTLM"));
        }
        if offers("Negotiate") {
            return Some(Place::Page("Negotiate"));
        }
        let is_windows = self.fields.get("http.server").is_some_and(|s| s.starts_with(b"Microsoft-HTTPAPI/"));
        is_windows.then_some(Place::Management)
    }

    pub async fn ask_ntlm(&mut self, place: Place) {
        let (line, scheme) = match place {
            Place::Page(scheme) => ("GET /", scheme),
            Place::Management => ("POST /wsman", "Negotiate"),
        };
        let token = STANDARD.encode(NEGOTIATE);
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {{host}}\r\nUser-Agent: Mozilla/5.0 (compatible; Portreeve)\r\n\
             Authorization: {scheme} {token}\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
        );
        let Some(reply) = self.exchange("http-ntlm", request.as_bytes(), false).await else { return };
        let Some(response) = Response::parse(&reply.bytes) else { return };
        let answers = response.headers.iter().filter(|(name, _)| name == "www-authenticate");
        for (_, value) in answers {
            let text = value.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
            let message = STANDARD.decode(text).unwrap_or_default();
            self.ntlm = self.ntlm.take().or_else(|| challenge(&message));
        }
    }

    /// The first message of CredSSP inside RDP's TLS (MS-CSSP 2.2.1): a TSRequest that carries an NTLM token.
    pub async fn ask_credssp(&mut self, mut connection: Connection) {
        let head = b"\x30\x37\xa0\x03\x02\x01\x06\xa1\x30\x30\x2e\x30\x2c\xa0\x2a\x04\x28";
        if !connection.send(&[&head[..], NEGOTIATE].concat(), self.deadline).await {
            return;
        }
        let reply = connection.read(self.patience(), self.deadline).await;
        self.ntlm = challenge(&reply.bytes);
    }
}
