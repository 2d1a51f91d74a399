//! HTTP responses (RFC 9112) and the protocols that borrowed their form: RTSP, SIP and ICY.
//!
//! Fields: `http.status`, `http.reason`, `http.server`, `http.header.<name>`, `http.cookie` (names),
//! `http.realm`, `http.location`, `http.title`, `http.generator`, `http.icon`,
//! `http.body`; the others have their
//! own prefix (`sip.server`, `rtsp.header.public` …).

use memchr::memmem;

/// More header lines than this are not looked at.
const MAX_HEADERS: usize = 128;
/// The longest header value kept.
const MAX_VALUE: usize = 2048;

/// A response cut into its parts, borrowed from the reply.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub protocol: &'static str,
    pub status: u16,
    pub reason: &'a [u8],
    pub headers: Vec<(String, &'a [u8])>,
    /// As sent: still in chunks if it came in chunks.
    pub body: &'a [u8],
    /// Whether the empty line after the headers was seen.
    pub headers_end: bool,
}

/// Starts of status lines, and the fields' prefix.
const PROTOCOLS: &[(&[u8], &str)] = &[
    (b"HTTP/1.", "http"),
    // As `identify` writes answers of HTTP/2 out.
    (b"HTTP/2.0", "http"),
    (b"RTSP/1.", "rtsp"),
    (b"RTSP/2.", "rtsp"),
    (b"SIP/2.0", "sip"),
    (b"ICY ", "http"),
];

impl<'a> Response<'a> {
    pub fn parse(reply: &'a [u8]) -> Option<Self> {
        let &(_, protocol) = PROTOCOLS.iter().find(|(start, _)| reply.starts_with(start))?;
        let (line, mut rest) = cut_line(reply);
        let mut words = line.splitn(3, |&byte| byte == b' ').skip(1);
        let status = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let reason = words.next().unwrap_or_default();
        let mut headers = Vec::new();
        let mut headers_end = false;
        while !rest.is_empty() {
            let (line, tail) = cut_line(rest);
            rest = tail;
            if line.is_empty() {
                headers_end = true;
                break;
            }
            if headers.len() < MAX_HEADERS {
                headers.extend(header(line));
            }
        }
        Some(Self { protocol, status, reason, headers, body: rest, headers_end })
    }

    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The body with chunks joined; what is cut off stays cut off.
    pub fn text(&self) -> Vec<u8> {
        if self.is_chunked() { join_chunks(self.body).0 } else { self.body.to_vec() }
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"))
    }

    /// Whether the body is whole, where that can be told before the connection is closed.
    fn body_is_whole(&self) -> Option<bool> {
        if matches!(self.status, 100..=199 | 204 | 304) {
            return Some(true);
        }
        if self.is_chunked() {
            return Some(join_chunks(self.body).1);
        }
        let length: usize = std::str::from_utf8(self.header("content-length")?).ok()?.trim().parse().ok()?;
        Some(self.body.len() >= length)
    }
}

/// Adds a response's fields.
pub(super) fn decode(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    let Some(response) = Response::parse(reply) else { return };
    let prefix = response.protocol;
    let mut put = |name: &str, value: &[u8]| add(&format!("{prefix}.{name}"), value);
    put("status", response.status.to_string().as_bytes());
    put("reason", response.reason);
    for (name, value) in &response.headers {
        match name.as_str() {
            "server" => put("server", value),
            "location" => put("location", value),
            "set-cookie" => put("cookie", value.split(|&byte| byte == b'=').next().unwrap_or_default()),
            "www-authenticate" => {
                if let Some(realm) = realm(value) {
                    put("realm", realm);
                }
            }
            _ => {}
        }
        put(&format!("header.{name}"), value);
    }
    if prefix == "http" {
        let body = response.text();
        put("body", &body);
        let page = Page::new(&body);
        if let Some(title) = page.title() {
            put("title", &title);
        }
        if let Some(generator) = page.generator() {
            put("generator", generator);
        }
        if let Some(icon) = page.icon() {
            put("icon", icon);
        }
    }
}

/// Whether a response has arrived whole; `None` if it is not one, or only its end can tell.
pub(super) fn is_complete(reply: &[u8]) -> Option<bool> {
    let response = Response::parse(reply)?;
    if !response.headers_end {
        return Some(false);
    }
    match response.protocol {
        "http" => response.body_is_whole(),
        _ => Some(response.body_is_whole().unwrap_or(true)),
    }
}

fn cut_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => {
            let (line, rest) = bytes.split_at(end);
            (line.strip_suffix(b"\r").unwrap_or(line), rest.get(1..).unwrap_or_default())
        }
        None => (bytes, &[]),
    }
}

fn header(line: &[u8]) -> Option<(String, &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let value = value.get(1..)?.trim_ascii();
    let name = std::str::from_utf8(name).ok()?.trim().to_ascii_lowercase();
    let plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| (name, value.get(..MAX_VALUE).unwrap_or(value)))
}

/// Joins chunks (RFC 9112 7.1); the flag says whether the last one was seen.
fn join_chunks(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let (line, tail) = cut_line(rest);
        let size = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(size).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        match size {
            Some(0) => return (body, true),
            Some(size) => {
                let Some((chunk, tail)) = tail.split_at_checked(size) else {
                    body.extend_from_slice(tail);
                    return (body, false);
                };
                body.extend_from_slice(chunk);
                rest = cut_line(tail).1;
            }
            None => return (body, false),
        }
    }
}

/// The realm of a challenge (RFC 9110 11.5).
fn realm(challenge: &[u8]) -> Option<&[u8]> {
    let start = find(challenge, b"realm=\"")? + 7;
    challenge.get(start..)?.split(|&byte| byte == b'"').next()
}

/// A page, and the same in lower case to search in: its tags may be written either way.
struct Page<'a> {
    text: &'a [u8],
    folded: Vec<u8>,
}

impl<'a> Page<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, folded: text.to_ascii_lowercase() }
    }

    /// Where `needle` (lower-case) first occurs at `from` or later.
    fn find(&self, from: usize, needle: &[u8]) -> Option<usize> {
        Some(from + memmem::find(self.folded.get(from..)?, needle)?)
    }

    /// The rest of the tag that `at` lies in.
    fn tag(&self, at: usize) -> Option<&'a [u8]> {
        self.text.get(at..)?.split(|&byte| byte == b'>').next()
    }

    /// The title with the commonest entities resolved and blanks joined.
    fn title(&self) -> Option<Vec<u8>> {
        let start = self.find(0, b"<title")?;
        let start = start + self.tag(start)?.len() + 1;
        let text = self.text.get(start..self.find(start, b"</title")?)?;
        let text = String::from_utf8_lossy(text.get(..512).unwrap_or(text)).into_owned();
        let text = text
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&nbsp;", " ")
            .replace("&amp;", "&");
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (!joined.is_empty()).then(|| joined.into_bytes())
    }

    /// What `<meta name="generator" content="…">` says.
    fn generator(&self) -> Option<&'a [u8]> {
        let start = self.find(0, b"name=\"generator\"").or_else(|| self.find(0, b"name='generator'"))?;
        let tag = self.tag(start)?;
        let content = tag.get(find(tag, b"content=")? + 8..)?;
        let (&quote, content) = content.split_first()?;
        content.split(|&byte| byte == quote).next()
    }

    /// Where the page says its icon is: the first `<link>` whose relation names one, if it is no picture in the page.
    fn icon(&self) -> Option<&'a [u8]> {
        let mut from = 0;
        for _ in 0..32 {
            from = self.find(from, b"<link")? + 5;
            let tag = self.tag(from)?;
            let is_icon = attribute(tag, b"rel=").is_some_and(|rel| find(rel, b"icon").is_some());
            let href = attribute(tag, b"href=").filter(|href| is_icon && !href.starts_with(b"data:"));
            if href.is_some() {
                return href;
            }
        }
        None
    }
}

/// The value of an attribute, quoted or not; `name` with its equals sign.
fn attribute<'a>(tag: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = tag.get(find(tag, name)? + name.len()..)?;
    match value.split_first()? {
        (&quote @ (b'"' | b'\''), rest) => rest.split(|&byte| byte == quote).next(),
        _ => value.split(|byte| byte.is_ascii_whitespace() || *byte == b'/').next(),
    }
}

/// Where `needle` (lower-case) first occurs, without regard to case.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Fields;

    fn fields(reply: &[u8]) -> Fields {
        let mut fields = Fields::default();
        decode(reply, &mut |name, value| fields.add("x", name, value));
        fields
    }

    #[test]
    fn reads_headers_title_realm_and_chunks() {
        let reply = b"HTTP/1.1 401 Unauthorized\r\nServer: a/1\r\nSet-Cookie: sid=1; Path=/\r\n\
            WWW-Authenticate: Basic realm=\"router x\"\r\nTransfer-Encoding: chunked\r\n\r\n\
            7\r\n<title>\r\nc\r\n A &amp; B\n \r\n8\r\n</title>\r\n0\r\n\r\n";
        let fields = fields(reply);
        for (name, value) in [
            ("http.status", "401"),
            ("http.reason", "Unauthorized"),
            ("http.server", "a/1"),
            ("http.cookie", "sid"),
            ("http.realm", "router x"),
            ("http.title", "A & B"),
        ] {
            assert_eq!(fields.get(name), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(is_complete(reply), Some(true));
        assert_eq!(is_complete(&reply[..reply.len() - 6]), Some(false));
    }

    #[test]
    fn completeness_follows_the_length_or_the_close() {
        assert_eq!(is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"), Some(false));
        assert_eq!(is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"), Some(true));
        assert_eq!(is_complete(b"HTTP/1.1 200 OK\r\n\r\nab"), None);
        assert_eq!(is_complete(b"HTTP/1.1 200 OK\r\nSer"), Some(false));
        assert_eq!(is_complete(b"220 hello"), None);
    }

    #[test]
    fn the_icon_is_the_one_that_the_page_names() {
        let page = b"<link rel=stylesheet href=a.css><link href='/i.png' rel=\"shortcut icon\"><link rel=icon href=b>";
        assert_eq!(Page::new(page).icon(), Some(&b"/i.png"[..]));
        assert_eq!(Page::new(b"<link rel=icon href='data:image/png;base64,xx'>").icon(), None);
        assert_eq!(Page::new(b"<link").icon(), None);
    }

    #[test]
    fn ten_thousand_headers_cost_little() {
        let mut reply = b"HTTP/1.1 200 OK\r\n".to_vec();
        for number in 0..10_000 {
            reply.extend(format!("X-{number}: y\r\n").into_bytes());
        }
        assert_eq!(Response::parse(&reply).expect("parsed").headers.len(), MAX_HEADERS);
    }
}
