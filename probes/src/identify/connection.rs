//! One connection, and reading from it within limits.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::client::TlsStream;

use crate::decode;

/// The most bytes read as one reply.
pub(super) const MAX_REPLY: usize = 64 * 1024;

/// Ports that only privileged programs may call from, those tried.
const RESERVED: Range<u16> = 960..1024;

/// How long to wait for a socket when there is none left.
const SHORTAGE: Duration = Duration::from_millis(50);

/// Whether a connection failed for want of descriptors, ports or memory here (EMFILE, ENFILE, EADDRNOTAVAIL,
/// ENOBUFS).
fn is_local(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || matches!(error.raw_os_error(), Some(23 | 24 | 105))
}

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed or reset the connection.
    Closed,
    /// The reply is whole by its protocol's rules.
    Complete,
    /// Bytes were still coming when time was up.
    Dripping,
    /// [`MAX_REPLY`] bytes came.
    Full,
    /// Bytes came, then none for a while.
    Quiet,
    /// Nothing came.
    Silent,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Reply {
    pub bytes: Vec<u8>,
    pub end: End,
    /// How often bytes arrived.
    pub arrivals: usize,
}

impl Reply {
    /// How long nothing may come before the reply counts as whole: longer for what comes in drops.
    fn pause(&self, usual: Duration) -> Duration {
        let drips = self.arrivals >= 2 && self.bytes.len() < 8 * self.arrivals;
        if drips { DRIP_PATIENCE * usual } else { usual }
    }
}

/// How much longer to wait between drops than after a reply in one piece.
const DRIP_PATIENCE: u32 = 8;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the first byte.
    pub first: Duration,
    /// After the last byte, where the reply's end cannot be told otherwise.
    pub quiet: Duration,
    /// For the whole reply, from its first byte.
    pub whole: Duration,
}

/// A connection in the clear or inside TLS.
#[derive(Debug)]
pub(super) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<Recorder>>),
}

impl Connection {
    pub async fn open(address: SocketAddr, until: Instant) -> io::Result<TcpStream> {
        loop {
            let stream = match timeout_at(until, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => stream,
                // Nothing was asked of the host: this machine has to wait for a socket of its own.
                Ok(Err(error)) if is_local(&error) && Instant::now() + SHORTAGE < until => {
                    sleep(SHORTAGE).await;
                    continue;
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            };
            stream.set_nodelay(true)?;
            return Ok(stream);
        }
    }

    /// The same from a port below 1024. `None` if none can be used here, or the peer refuses.
    pub async fn open_reserved(address: SocketAddr, until: Instant) -> Option<TcpStream> {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // From the top, as rcmd(3) does.
        for port in RESERVED.rev() {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.ok()?;
            socket.set_reuseaddr(true).ok()?;
            match socket.bind(SocketAddr::new(any, port)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                Err(_) => return None,
            }
            match timeout_at(until, socket.connect(address)).await {
                // That port has talked to this server a moment ago.
                Ok(Err(error)) if is_local(&error) || error.kind() == io::ErrorKind::AddrInUse => {}
                connected => return connected.ok()?.ok(),
            }
        }
        None
    }

    /// Sends all bytes; `false` if the peer does not take them.
    pub async fn send(&mut self, bytes: &[u8], until: Instant) -> bool {
        let sending = async {
            match self {
                Self::Plain(stream) => stream.write_all(bytes).await,
                Self::Tls(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
            }
        };
        matches!(timeout_at(until, sending).await, Ok(Ok(())))
    }

    /// Tells the peer that nothing more will be said; it can still answer.
    pub async fn finish(&mut self, until: Instant) {
        let finishing = async {
            match self {
                Self::Plain(stream) => stream.shutdown().await,
                Self::Tls(stream) => stream.shutdown().await,
            }
        };
        // Where that fails, the answer stays away too.
        let _ = timeout_at(until, finishing).await;
    }

    /// Reads whatever comes next; `None` if the peer closed or time is up.
    pub async fn read_some(&mut self, until: Instant) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 8192];
        let read = async {
            match self {
                Self::Plain(stream) => stream.read(&mut buffer).await,
                Self::Tls(stream) => stream.read(&mut buffer).await,
            }
        };
        match timeout_at(until, read).await {
            Ok(Ok(count @ 1..)) => {
                buffer.truncate(count);
                Some(buffer)
            }
            _ => None,
        }
    }

    /// Reads one reply, at most until `deadline`.
    pub async fn read(&mut self, patience: Patience, deadline: Instant) -> Reply {
        let mut reply = Reply { bytes: Vec::new(), end: End::Silent, arrivals: 0 };
        let mut until = deadline.min(Instant::now() + patience.first);
        let mut whole = deadline;
        let mut buffer = vec![0; 8192];
        loop {
            let read = async {
                match self {
                    Self::Plain(stream) => stream.read(&mut buffer).await,
                    Self::Tls(stream) => stream.read(&mut buffer).await,
                }
            };
            let count = match timeout_at(until, read).await {
                Ok(Ok(0) | Err(_)) => {
                    reply.end = End::Closed;
                    return reply;
                }
                Ok(Ok(count)) => count,
                Err(_) => {
                    reply.end = if reply.bytes.is_empty() {
                        End::Silent
                    } else if Instant::now() >= whole {
                        End::Dripping
                    } else {
                        End::Quiet
                    };
                    return reply;
                }
            };
            if reply.bytes.is_empty() {
                whole = deadline.min(Instant::now() + patience.whole);
            }
            reply.arrivals += 1;
            let room = MAX_REPLY - reply.bytes.len();
            reply.bytes.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
            if reply.bytes.len() >= MAX_REPLY {
                reply.end = End::Full;
                return reply;
            }
            until = match decode::is_complete(&reply.bytes) {
                Some(true) => {
                    reply.end = End::Complete;
                    return reply;
                }
                Some(false) => whole,
                None => whole.min(Instant::now() + reply.pause(patience.quiet)),
            };
        }
    }
}

/// A TCP stream that remembers the first bytes the peer sent, for what rustls does not tell: the
/// ServerHello itself, and answers that were no TLS at all.
#[derive(Debug)]
pub(super) struct Recorder {
    stream: TcpStream,
    heard: Heard,
}

/// What a [`Recorder`] remembers; outlives a failed handshake.
pub(super) type Heard = Arc<Mutex<Vec<u8>>>;

/// Enough for a ServerHello, or for the answer of a server that speaks something else.
const MAX_HEARD: usize = 4096;

impl Recorder {
    pub fn new(stream: TcpStream, heard: Heard) -> Self {
        Self { stream, heard }
    }
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        if let Ok(mut heard) = self.heard.lock() {
            let room = MAX_HEARD.saturating_sub(heard.len()).min(new.len());
            heard.extend_from_slice(new.get(..room).unwrap_or_default());
        }
        poll
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
