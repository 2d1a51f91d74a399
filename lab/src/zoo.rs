//! Hosts that mean harm, each in its own way, for those who must survive them.
//!
//! A [`Zoo`] keeps one listener per [`Animal`]; every connection is played by a thread with a small stack. Whatever is
//! sent is bounded by [`LONGEST`] and by the peer, who is expected to hang up. Only the addresses that are given are
//! bound: loopback, or those of a namespace.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// How long a connection is kept at most.
const LONGEST: Duration = Duration::from_secs(120);
/// Stack of a connection's thread: there may be thousands.
const STACK: usize = 128 * 1024;

/// What a host does to those who connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Animal {
    /// A certificate of one mebibyte in a TLS 1.2 handshake.
    BigCertificate,
    /// Numbered lines without end, each promising another.
    Chatterbox,
    /// Headers and a body of nested brackets, 100,000 deep.
    DeepDocument,
    /// One byte, ten times a second.
    Drip,
    /// Says back whatever it hears.
    Echo,
    /// Bytes without end, as fast as they are taken.
    Endless,
    /// Terminal escapes, formulas, markup and broken text in every place that is shown.
    Escapes,
    /// 10,000 header lines.
    Headers,
    /// A page that would unpack to 64 MiB, 150 times its size.
    GzipBomb,
    /// Claims to be many products at once.
    Mimic,
    /// Redirects to itself under ever new names.
    Redirects,
    /// Closes the connection at once; with what was sent unread, that resets it.
    Reset,
    /// Accepts and says nothing.
    Silent,
    /// One byte a second: every wait for the next one seems worth it.
    SlowDrip,
    /// Agrees to TLS in a mail conversation, and goes on in the clear.
    StarttlsInjection,
    /// A TLS record that never becomes whole.
    TlsDrip,
}

impl Animal {
    /// One of each.
    pub const ALL: [Self; 16] = [
        Self::BigCertificate,
        Self::Chatterbox,
        Self::DeepDocument,
        Self::Drip,
        Self::Echo,
        Self::Endless,
        Self::Escapes,
        Self::Headers,
        Self::GzipBomb,
        Self::Mimic,
        Self::Redirects,
        Self::Reset,
        Self::Silent,
        Self::SlowDrip,
        Self::StarttlsInjection,
        Self::TlsDrip,
    ];
}

/// Text that no output may show as it is: escapes of C0 and C1, OSC 8 and 52, bidirectional overrides, a byte order mark,
/// broken UTF-8, line breaks for logs, a formula, markup.
pub const VENOM: &[u8] = b"=cmd|'/C calc'!A0\x1b[2J\x1b]0;owned\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\x1b]52;c;b3duZWQ=\x07\
    \xc2\x9b31m\xe2\x80\xaegnp.exe\xe2\x80\x8b\xef\xbb\xbf\xc0\xaf\xff\xfe\x00<script>alert(1)</script>\"']]>&amp;\x08\x0b\x7f";

/// Listeners that stay until the value is dropped.
#[derive(Debug)]
pub struct Zoo {
    places: Vec<(SocketAddr, Animal)>,
    closed: Arc<AtomicBool>,
}

impl Zoo {
    /// Puts every animal at a free port of each address.
    pub fn open(addresses: &[IpAddr]) -> io::Result<Self> {
        let mut zoo = Self { places: Vec::new(), closed: Arc::new(AtomicBool::new(false)) };
        for address in addresses {
            for animal in Animal::ALL {
                let listener = TcpListener::bind((*address, 0))?;
                zoo.places.push((listener.local_addr()?, animal));
                let closed = Arc::clone(&zoo.closed);
                thread::Builder::new().stack_size(STACK).spawn(move || admit(&listener, animal, &closed))?;
            }
        }
        Ok(zoo)
    }

    /// Where which animal is.
    pub fn places(&self) -> &[(SocketAddr, Animal)] {
        &self.places
    }
}

impl Drop for Zoo {
    fn drop(&mut self) {
        self.closed.store(true, Relaxed);
        for (place, _) in &self.places {
            // Wakes the listener, which then sees that the zoo is closed.
            let _ = TcpStream::connect_timeout(place, Duration::from_millis(100));
        }
    }
}

fn admit(listener: &TcpListener, animal: Animal, closed: &Arc<AtomicBool>) {
    for visitor in listener.incoming() {
        if closed.load(Relaxed) {
            return;
        }
        let Ok(visitor) = visitor else { continue };
        let closed = Arc::clone(closed);
        // Without a thread the visitor is turned away.
        let _ = thread::Builder::new().stack_size(STACK).spawn(move || {
            let _ = Cage { visitor, closed, until: Instant::now() + LONGEST }.play(animal);
        });
    }
}

/// One connection.
struct Cage {
    visitor: TcpStream,
    closed: Arc<AtomicBool>,
    until: Instant,
}

impl Cage {
    fn play(mut self, animal: Animal) -> io::Result<()> {
        self.visitor.set_read_timeout(Some(Duration::from_millis(500)))?;
        self.visitor.set_write_timeout(Some(Duration::from_secs(30)))?;
        match animal {
            Animal::BigCertificate => self.answer(big_handshake()),
            Animal::Chatterbox => self.repeat(&b"220-and more to come\r\n".repeat(128), None),
            Animal::DeepDocument => self.answer(deep_page()),
            Animal::Drip => self.repeat(b"2", Some(Duration::from_millis(100))),
            Animal::Echo => self.echo(),
            Animal::Endless => self.repeat(&[b'x'; 4096], None),
            Animal::Escapes => self.spit(),
            Animal::Headers => self.answer(page_of_headers()),
            Animal::GzipBomb => self.answer(gzip_page()),
            Animal::Mimic => self.answer(mimicry()),
            Animal::Redirects => self.redirect(),
            Animal::Reset => Ok(()),
            Animal::Silent => self.wait(),
            Animal::SlowDrip => self.repeat(b"2", Some(Duration::from_secs(1))),
            Animal::StarttlsInjection => self.inject(),
            Animal::TlsDrip => {
                self.hear()?;
                self.visitor.write_all(&[22, 3, 3, 0x40, 0])?;
                self.repeat(&[2], Some(Duration::from_millis(100)))
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.closed.load(Relaxed) && Instant::now() < self.until
    }

    /// The next bytes of the visitor; an error at the end.
    fn hear(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 4096];
        while self.goes_on() {
            match self.visitor.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    buffer.truncate(length);
                    return Ok(buffer);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn wait(&mut self) -> io::Result<()> {
        loop {
            self.hear()?;
        }
    }

    fn answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        loop {
            self.hear()?;
            self.visitor.write_all(bytes)?;
        }
    }

    fn repeat(&mut self, bytes: &[u8], pause: Option<Duration>) -> io::Result<()> {
        while self.goes_on() {
            self.visitor.write_all(bytes)?;
            if let Some(pause) = pause {
                thread::sleep(pause);
            }
        }
        self.visitor.shutdown(Shutdown::Both)
    }

    fn echo(&mut self) -> io::Result<()> {
        loop {
            let heard = self.hear()?;
            self.visitor.write_all(&heard)?;
        }
    }

    /// Venom in a greeting, then in a page's title, server and realm.
    fn spit(&mut self) -> io::Result<()> {
        let venom = |end: &[u8]| [VENOM, end].concat();
        self.visitor.write_all(&[b"220 ".as_slice(), &venom(b" ESMTP Postfix\r\n")].concat())?;
        loop {
            self.hear()?;
            let title = [b"<title>".as_slice(), VENOM, b"</title>"].concat();
            let head = [
                b"HTTP/1.1 401 Unauthorized\r\nServer: ".as_slice(),
                VENOM,
                b"\r\nX-Powered-By: ",
                VENOM,
                b"\r\nWWW-Authenticate: Basic realm=\"",
                VENOM,
                b"\"\r\nConnection: close\r\n\r\n",
            ];
            self.visitor.write_all(&[head.concat(), title].concat())?;
        }
    }

    fn redirect(&mut self) -> io::Result<()> {
        for number in 0_u32.. {
            self.hear()?;
            let location = format!("Location: /{}{number}\r\n", "deeper/".repeat(20));
            let reply = format!("HTTP/1.1 302 Found\r\n{location}Content-Length: 0\r\n\r\n");
            self.visitor.write_all(reply.as_bytes())?;
        }
        Ok(())
    }

    fn inject(&mut self) -> io::Result<()> {
        self.visitor.write_all(b"220 mx.example ESMTP Postfix\r\n")?;
        loop {
            let heard = self.hear()?;
            let reply: &[u8] = if heard.starts_with(b"EHLO") {
                b"250-mx.example\r\n250 STARTTLS\r\n"
            } else if heard.starts_with(b"STARTTLS") {
                b"220 go ahead\r\n250 and this was said in the clear\r\n"
            } else {
                b"500 what?\r\n"
            };
            self.visitor.write_all(reply)?;
        }
    }
}

fn page(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nServer: zoo\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Greetings of many products in one reply, made once.
fn mimicry() -> &'static [u8] {
    static WORDS: OnceLock<Vec<u8>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let one = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\nHTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\r\n220 mx ESMTP Postfix\r\n\
            +OK Dovecot ready.\r\n* OK [CAPABILITY IMAP4rev1] Dovecot ready.\r\n+PONG\r\n$9\r\nredis_version:7.0.15\r\n\
            RFB 003.008\n@RSYNCD: 31.0\nVERSION 1.6.18\r\n\xffSMBr\0\0\0\0NTLMSSP\0\x02\0\0\0";
        one.repeat(200)
    })
}

/// A page that is packed, made once.
fn gzip_page() -> &'static [u8] {
    static PAGE: OnceLock<Vec<u8>> = OnceLock::new();
    PAGE.get_or_init(|| page("Content-Encoding: gzip\r\nContent-Type: text/html\r\n", &gzip_bomb()))
}

/// A page of nested brackets, made once.
fn deep_page() -> &'static [u8] {
    static PAGE: OnceLock<Vec<u8>> = OnceLock::new();
    PAGE.get_or_init(|| page("Content-Type: application/json\r\n", "[".repeat(100_000).as_bytes()))
}

/// A page with 10,000 header lines, made once.
fn page_of_headers() -> &'static [u8] {
    static PAGE: OnceLock<Vec<u8>> = OnceLock::new();
    PAGE.get_or_init(|| {
        let headers: Vec<_> = (0..10_000).map(|number| format!("X-{number}: {number}\r\n")).collect();
        page(&headers.concat(), b"")
    })
}

/// A server's first messages with a certificate of one mebibyte, made once.
fn big_handshake() -> &'static [u8] {
    static FLIGHT: OnceLock<Vec<u8>> = OnceLock::new();
    FLIGHT.get_or_init(|| [server_hello(), big_certificate()].concat())
}

/// TLS 1.2, an ordinary suite, no session, no extensions (RFC 5246 7.4.1.3).
fn server_hello() -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &[0, 0xc0, 0x2f, 0]].concat();
    record(&handshake(2, &body))
}

/// One certificate of 1 MiB of zeros (RFC 5246 7.4.2), in records of 16 KiB.
fn big_certificate() -> Vec<u8> {
    const SIZE: usize = 1 << 20;
    let length = |value: usize| [(value >> 16) as u8, (value >> 8) as u8, value as u8];
    let list = [&length(SIZE + 3)[..], &length(SIZE), &vec![0; SIZE]].concat();
    handshake(11, &list).chunks(16_384).flat_map(record).collect()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    [&[kind, (length >> 16) as u8, (length >> 8) as u8, length as u8][..], body].concat()
}

fn record(bytes: &[u8]) -> Vec<u8> {
    [&[22, 3, 3, (bytes.len() >> 8) as u8, bytes.len() as u8][..], bytes].concat()
}

/// 64 MiB of zeros as gzip (RFC 1952) with fixed codes (RFC 1951 3.2.6): a zero, then runs of 258 that repeat it.
fn gzip_bomb() -> Vec<u8> {
    const RUNS: usize = (64 << 20) / 258;
    let mut bits = Bits::default();
    // The last block, fixed codes.
    bits.push(1, 1);
    bits.push(0b01, 2);
    // The literal 0 is 0011_0000, sent from its highest bit.
    bits.push_reversed(0b0011_0000, 8);
    for _ in 0..RUNS {
        // Length 258 is code 285, 1100_0101; distance 1 is code 0, five bits.
        bits.push_reversed(0b1100_0101, 8);
        bits.push_reversed(0, 5);
    }
    bits.push_reversed(0, 7);
    let length = (1 + RUNS * 258) as u32;
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    // Nobody who survives gets as far as the checksum, which is wrong.
    [&head[..], &bits.bytes, &[0; 4], &length.to_le_bytes()].concat()
}

/// Bits from the lowest of each byte.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        for place in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> place & 1) as u8) << (self.used % 8);
            }
            self.used += 1;
        }
    }

    fn push_reversed(&mut self, value: u32, count: u32) {
        self.push(value.reverse_bits() >> (32 - count), count);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Cursor,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn the_bomb_unpacks_to_a_hundred_times_its_size() {
        let bomb = gzip_bomb();
        let mut gzip = Command::new("gzip")
            .args(["-dc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("gzip");
        let mut input = gzip.stdin.take().expect("its input");
        let size = bomb.len() as u64;
        thread::spawn(move || io::copy(&mut Cursor::new(bomb), &mut input));
        let unpacked = io::copy(&mut gzip.stdout.take().expect("its output"), &mut io::sink()).expect("read");
        let _ = gzip.wait();
        assert!(unpacked > 100 * size, "{size} bytes unpack to {unpacked}");
    }

    #[test]
    fn every_animal_is_at_home_and_gone_when_the_zoo_closes() {
        let zoo = Zoo::open(&["127.0.0.1".parse().expect("an address")]).expect("opens");
        let places = zoo.places().to_vec();
        assert_eq!(places.len(), Animal::ALL.len());
        let home = |wanted| places.iter().find(|(_, animal)| *animal == wanted).expect("every animal").0;
        let mut drip = TcpStream::connect(home(Animal::Drip)).expect("a connection");
        let mut byte = [0];
        drip.read_exact(&mut byte).expect("a drop");
        assert_eq!(byte, *b"2");
        drop(zoo);
        // The last visitor wakes each listener; the port is free when its thread has ended.
        let begun = Instant::now();
        while TcpStream::connect(home(Animal::Silent)).is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the listener stays");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
