//! What is particular to HTTP: host, redirects, favicon, and pages that say they want TLS.

use md5::{Digest, Md5};
use portreeve_model::SafeText;

use super::{
    assemble,
    connection::End,
    conversation::{Conversation, PAGE},
};
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
        if id != PAGE || self.redirects.len() >= MAX_REDIRECTS {
            return;
        }
        let moved = response.header("location").filter(|_| matches!(response.status, 301..=303 | 307 | 308));
        let text = response.text();
        let target = moved.or_else(|| refresh(&text));
        let path = target.and_then(|target| self.same_host(target));
        // A page that leads to itself is no other.
        let path = path.filter(|path| *path != self.page);
        if let (Some(path), Some(target)) = (path, target) {
            self.redirects.push(SafeText::sanitize_to(target, 512));
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
            None => join(&self.page, target),
        };
        Some(path.split('#').next().unwrap_or("/").to_owned())
    }

    /// Fills `{host}` and `{base}`.
    pub fn address_in(&self, bytes: &[u8]) -> Vec<u8> {
        let bytes = fill(bytes, b"{base}", folder(&self.page));
        fill(&bytes, b"{host}", &self.host())
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

/// Puts `value` where `mark` first stands.
fn fill(bytes: &[u8], mark: &[u8], value: &str) -> Vec<u8> {
    match bytes.windows(mark.len()).position(|window| window == mark) {
        Some(at) => {
            let (before, after) = bytes.split_at(at);
            [before, value.as_bytes(), after.get(mark.len()..).unwrap_or_default()].concat()
        }
        None => bytes.to_vec(),
    }
}

/// The folder that a page is in, with its slash.
fn folder(page: &str) -> &str {
    let path = page.split(['?', '#']).next().unwrap_or_default();
    path.rfind('/').and_then(|slash| path.get(..=slash)).unwrap_or("/")
}

/// The path that a page means by a reference without a host (RFC 3986 5.2).
pub(crate) fn join(page: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    if target.starts_with('?') {
        return format!("{}{target}", page.split(['?', '#']).next().unwrap_or("/"));
    }
    let mut base = folder(page).trim_end_matches('/').to_owned();
    let mut rest = target;
    loop {
        if let Some(tail) = rest.strip_prefix("./") {
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix("../") {
            rest = tail;
            base.truncate(base.rfind('/').unwrap_or(0));
        } else {
            let rest = if matches!(rest, "." | "..") { "" } else { rest };
            return format!("{base}/{rest}");
        }
    }
}

/// Where a page sends its reader without being asked to: `<meta http-equiv="refresh" content="0; url=…">`.
pub(crate) fn refresh(body: &[u8]) -> Option<&[u8]> {
    let head = body.get(..8192).unwrap_or(body);
    let find = |text: &[u8], words: &[u8]| {
        text.windows(words.len()).position(|window| window.eq_ignore_ascii_case(words))
    };
    let at = find(head, b"http-equiv=\"refresh\"").or_else(|| find(head, b"http-equiv=refresh"))?;
    let start = head.get(..at)?.iter().rposition(|&byte| byte == b'<')?;
    let tag = head.get(start..)?.split(|&byte| byte == b'>').next()?;
    let url = tag.get(find(tag, b"url=")? + 4..)?;
    let url = url.strip_prefix(b"'").or_else(|| url.strip_prefix(b"\"")).unwrap_or(url);
    let end = url.iter().position(|&byte| matches!(byte, b'"' | b'\'' | b' ')).unwrap_or(url.len());
    url.get(..end).filter(|url| !url.is_empty())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_joined_to_the_page_that_makes_them() {
        for (page, target, path) in [
            ("/", "/login", "/login"),
            ("/", "login", "/login"),
            ("/", "./app", "/app"),
            ("/a/b?c=/d", "e", "/a/e"),
            ("/a/b/c", "../x?y", "/a/x?y"),
            ("/a/b", "../../../x", "/x"),
            ("/a/b?c", "?d", "/a/b?d"),
            ("/a/", ".", "/a/"),
        ] {
            assert_eq!(join(page, target), path, "{target} on {page}");
        }
    }

    #[test]
    fn a_page_may_send_its_reader_on() {
        let page = b"<head><META content='0; URL=ui/index.html' http-equiv=\"Refresh\"></head>";
        assert_eq!(refresh(page), Some(&b"ui/index.html"[..]));
        assert_eq!(refresh(b"<meta http-equiv=\"refresh\" content=\"0;url='/x?y'\"/>"), Some(&b"/x?y"[..]));
        assert_eq!(refresh(b"<meta http-equiv=\"refresh\" content=\"90\"><a href='?url=/x'>"), None);
        assert_eq!(refresh(b"<meta http-equiv=\"refresh\" content=\"1;url="), None);
        assert_eq!(refresh(b"http-equiv=refresh url=/x"), None);
    }

    #[test]
    fn the_folder_of_a_page_ends_with_its_slash() {
        assert_eq!(folder("/a/b.php?c=/d/e"), "/a/");
        assert_eq!(folder("/"), "/");
        assert_eq!(folder(""), "/");
    }
}
