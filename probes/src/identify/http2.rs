//! HTTP/2 (RFC 9113) for servers that speak nothing older: one GET, put into HTTP/1's form.

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};

use super::{
    connection::{Connection, End, MAX_REPLY, Reply},
    conversation::{Conversation, PAGE},
};

/// The most bytes of headers taken, and the window for bodies.
const MAX_HEADERS: u32 = 32 * 1024;
const WINDOW: u32 = 64 * 1024;

/// Whether these are frames that an HTTP/2 server says before or instead of what it was asked: settings, or that it
/// goes away.
pub(super) fn is_frame(reply: &[u8]) -> bool {
    match reply {
        [0, 0, length, 4, 0, 0, 0, 0, 0, ..] => length % 6 == 0,
        [0, 0, 8..=255, 7, 0, 0, 0, 0, 0, ..] => true,
        _ => false,
    }
}

impl Conversation<'_> {
    /// Asks for the first page by prior knowledge.
    pub async fn ask_http2(&mut self) {
        self.speaks_h2 = true;
        self.open = None;
        let reply = self.exchange_h2("/").await;
        match reply.filter(|reply| !reply.bytes.is_empty()) {
            Some(reply) => {
                self.asked.insert(PAGE.to_owned());
                self.learn(PAGE, &reply);
            }
            None => self.speaks_h2 = false,
        }
    }

    /// One GET on a connection of its own.
    pub async fn exchange_h2(&mut self, path: &str) -> Option<Reply> {
        let authority = self.host();
        match self.connect().await? {
            Connection::Plain(stream) => self.get_h2(stream, &format!("http://{authority}{path}")).await,
            Connection::Tls(stream) => self.get_h2(stream, &format!("https://{authority}{path}")).await,
        }
    }

    async fn get_h2<S>(&self, stream: S, uri: &str) -> Option<Reply>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let until = self.deadline.min(Instant::now() + self.patience().first + self.patience().whole);
        let bytes = timeout_at(until, get(stream, uri)).await.ok().flatten();
        let end = if bytes.is_some() { End::Complete } else { End::Closed };
        Some(Reply { bytes: bytes.unwrap_or_default(), end, arrivals: 1 })
    }
}

/// Sends one GET and reads its answer. `None` if the server does not speak HTTP/2 after all.
async fn get<S>(stream: S, uri: &str) -> Option<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = h2::client::Builder::new();
    builder.max_header_list_size(MAX_HEADERS).enable_push(false);
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (mut sender, connection) = builder.handshake::<_, Bytes>(stream).await.ok()?;
    let request = http::Request::get(uri)
        .version(http::Version::HTTP_2)
        .header("user-agent", "Mozilla/5.0 (compatible; Portreeve)")
        .header("accept", "*/*")
        .body(())
        .ok()?;
    let talk = async {
        let (response, _) = sender.send_request(request, true).ok()?;
        Some(written_out(response.await.ok()?).await)
    };
    tokio::pin!(talk, connection);
    tokio::select! {
        biased;
        reply = &mut talk => reply,
        _ = &mut connection => talk.await,
    }
}

/// The answer as HTTP/1 would have it, body cut to what one window holds.
async fn written_out(response: http::Response<h2::RecvStream>) -> Vec<u8> {
    let (head, mut body) = response.into_parts();
    let mut out = format!("HTTP/2.0 {}\r\n", head.status.as_u16()).into_bytes();
    for (name, value) in &head.headers {
        out.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    out.extend(b"\r\n");
    while let Some(Ok(chunk)) = body.data().await {
        let room = MAX_REPLY.saturating_sub(out.len());
        out.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if out.len() >= MAX_REPLY {
            break;
        }
        let _ = body.flow_control().release_capacity(chunk.len());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_from_other_replies() {
        assert!(is_frame(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"));
        assert!(is_frame(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01"));
        assert!(!is_frame(b"HTTP/1.1 400 Bad Request\r\n"));
        assert!(!is_frame(b"\0\0\x05\x04\0\0\0\0\0"));
    }
}
