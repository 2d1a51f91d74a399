//! What is particular to HTTP: host, redirects, favicon, and pages that say they want TLS.

use md5::{Digest, Md5};
use portreeve_model::SafeText;

use super::{assemble, connection::End, conversation::Conversation};
use crate::decode::{hex, http::Response};

/// Same-host redirects followed at most.
const MAX_REDIRECTS: usize = 3;

impl Conversation<'_> {
    pub async fn ask_favicon(&mut self) {
        self.favicon_tried = true;
        let named = self.fields.get("http.icon").map(<[u8]>::to_vec);
        let path = named.and_then(|icon| self.same_host(&icon)).unwrap_or_else(|| "/favicon.ico".to_owned());
        let Some(reply) = self.exchange("favicon", &get(&path), false).await else { return };
        let Some(response) = Response::parse(&reply.bytes) else { return };
        let body = response.text();
        if response.status == 200 && !body.is_empty() && reply.end != End::Full {
            let hash = assemble::favicon_hash(&body);
            self.favicon = Some(hash);
            self.fields.add("favicon", "http.favicon", hash.to_string().as_bytes());
            self.fields.add("favicon", "http.favicon-md5", hex(&Md5::digest(&body)).as_bytes());
        }
    }

    pub fn learn_page(&mut self, id: &str, reply: &[u8], response: &Response<'_>) {
        if self.first_page.is_none() {
            self.first_page = Some(reply.to_vec());
        }
        let target = response.header("location").filter(|_| matches!(response.status, 301..=303 | 307 | 308));
        let path = target.and_then(|target| self.same_host(target));
        if let Some(path) = path.filter(|_| id == "http-get" && self.redirects.len() < MAX_REDIRECTS) {
            self.redirects.push(SafeText::sanitize_to(target.unwrap_or_default(), 512));
            self.next_page = Some(path);
        }
    }

    /// The path of a redirect, if it stays on this very endpoint.
    fn same_host(&self, target: &[u8]) -> Option<String> {
        let target = std::str::from_utf8(target).ok()?;
        let is_plain = target.len() <= 1024 && target.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain {
            return None;
        }
        let scheme = if self.inside_tls { "https://" } else { "http://" };
        let path = match target.strip_prefix(scheme) {
            Some(rest) => {
                let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
                let known = host == self.host() || host == self.endpoint.address.to_string();
                known.then(|| format!("/{}", path.trim_start_matches('/')))?
            }
            None if target.contains("://") || target.starts_with("//") => return None,
            None => format!("/{}", target.trim_start_matches('/')),
        };
        Some(path.split('#').next().unwrap_or("/").to_owned())
    }

    /// Fills `{host}`.
    pub fn address_in(&self, bytes: &[u8]) -> Vec<u8> {
        const HOST: &[u8] = b"{host}";
        match bytes.windows(HOST.len()).position(|window| window == HOST) {
            Some(at) => {
                let (before, after) = bytes.split_at(at);
                [before, self.host().as_bytes(), after.get(HOST.len()..).unwrap_or_default()].concat()
            }
            None => bytes.to_vec(),
        }
    }

    /// The `Host` that a browser would send.
    pub fn host(&self) -> String {
        let host = self.hints.hostname.clone().unwrap_or_else(|| match self.endpoint.address {
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("[{address}]"),
        });
        let usual = if self.inside_tls { 443 } else { 80 };
        if self.endpoint.port == usual { host } else { format!("{host}:{}", self.endpoint.port) }
    }
}

pub(super) fn get(path: &str) -> Vec<u8> {
    crate::database::get_request(path)
}

/// Whether a server that answered this will take another question on the same connection.
pub(super) fn keeps_open(reply: &[u8]) -> bool {
    let Some(response) = Response::parse(reply) else { return true };
    let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    !closes && !reply.starts_with(b"HTTP/1.0")
}

/// Whether a plain question got the answer of a TLS server: an alert, or an error page that says so.
pub(super) fn asks_for_tls(reply: &[u8]) -> bool {
    if matches!(reply, [21, 3, 0..=4, ..]) {
        return true;
    }
    let Some(response) = Response::parse(reply) else { return false };
    let says = |words: &[u8]| {
        let head = response.body.get(..4096).unwrap_or(response.body);
        head.windows(words.len()).any(|window| window.eq_ignore_ascii_case(words))
    };
    response.status == 400 && (says(b"https") || says(b"ssl-enabled") || says(b"tls"))
}
