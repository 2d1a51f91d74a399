//! Raw TLS: hellos that no library would say, and what comes back in the clear.
//!
//! For servers too old for rustls, for the question which versions a server takes, and for JARM. No handshake is
//! ever finished here: up to TLS 1.2 the certificate comes before anything is encrypted.

use std::net::SocketAddr;

use portreeve_model::TlsInfo;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::CipherSuite;
use tokio::time::Instant;

use super::{connection::Connection, tls::iana_name};
use crate::decode::tls::{Flight, flight};

/// The most bytes of a first flight.
pub(super) const MAX_FLIGHT: usize = 128 * 1024;
/// Pieces that it may come in: whoever sends it byte by byte shall not have it parsed as often.
pub(super) const MAX_PIECES: usize = 512;

/// A ClientHello (RFC 5246 7.4.1.2).
#[derive(Clone, Debug, Default)]
pub(super) struct Hello {
    /// Version in the record's header.
    pub record: u16,
    pub version: u16,
    pub session: Vec<u8>,
    pub ciphers: Vec<u16>,
    /// In order; with none of them the field itself is left out.
    pub extensions: Vec<(u16, Vec<u8>)>,
}

pub(super) const SERVER_NAME: u16 = 0;
pub(super) const GROUPS: u16 = 10;
pub(super) const POINT_FORMATS: u16 = 11;
pub(super) const SIGNATURES: u16 = 13;

/// Everything that was ever usual, strongest first: ECDHE, DHE and RSA with AES, ChaCha20, Camellia, SEED, 3DES,
/// RC4, DES, export and null ciphers.
const EVERY_CIPHER: &[u16] = &[
    0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0x009e, 0x009f, 0xc009, 0xc013, 0xc00a, 0xc014, 0xc023,
    0xc027, 0xc024, 0xc028, 0x0033, 0x0039, 0x0067, 0x006b, 0x0032, 0x0038, 0x009c, 0x009d, 0x002f, 0x0035,
    0x003c, 0x003d, 0x0041, 0x0084, 0x0045, 0x0088, 0x0096, 0x009a, 0xc008, 0xc012, 0x0016, 0x0013, 0x000a,
    0xc007, 0xc011, 0x0005, 0x0004, 0x0007, 0x0015, 0x0012, 0x0009, 0x0014, 0x0011, 0x0008, 0x0006, 0x0003,
    0x003b, 0x0002, 0x0001, 0x0018, 0x0034, 0x001b,
];
/// Those of SSL 3.0 (RFC 6101 A.6) and the AES suites that its last servers took.
const SSL3_CIPHERS: &[u16] = &[
    0x002f, 0x0035, 0x0033, 0x0039, 0x0005, 0x0004, 0x000a, 0x0016, 0x0013, 0x0009, 0x0015, 0x0008, 0x0003,
    0x0006,
];

impl Hello {
    /// One that servers of any age up to TLS 1.2 can answer. `newest` is the highest version agreed to.
    pub fn for_old_servers(newest: u16, name: Option<&str>) -> Self {
        if newest == 0x0300 {
            // Extensions came after SSL 3.0, and some of its servers refuse them.
            return Self {
                record: 0x0300,
                version: newest,
                ciphers: SSL3_CIPHERS.to_vec(),
                ..Self::default()
            };
        }
        let mut extensions: Vec<_> = name.map(|name| (SERVER_NAME, server_name(name))).into_iter().collect();
        extensions.push((GROUPS, list16(&[0x001d, 0x0017, 0x0018, 0x0019])));
        extensions.push((POINT_FORMATS, vec![1, 0]));
        if newest >= 0x0303 {
            let signatures =
                [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0601, 0x0203, 0x0201, 0x0202, 0x0101];
            extensions.push((SIGNATURES, list16(&signatures)));
        }
        Self {
            record: newest.min(0x0301),
            version: newest,
            ciphers: EVERY_CIPHER.to_vec(),
            extensions,
            ..Self::default()
        }
    }

    /// The record. Lists are far below the lengths that their fields can hold.
    pub fn emit(&self) -> Vec<u8> {
        let mut random = [0x50; 32];
        // A fixed value would do as well: nothing here is kept secret.
        let _ = SystemRandom::new().fill(&mut random);
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend(random);
        body.push(self.session.len() as u8);
        body.extend(&self.session);
        body.extend(list16(&self.ciphers));
        body.extend([1, 0]);
        if !self.extensions.is_empty() {
            let mut extensions = Vec::new();
            for (kind, value) in &self.extensions {
                extensions.extend(kind.to_be_bytes());
                extensions.extend((value.len() as u16).to_be_bytes());
                extensions.extend(value);
            }
            body.extend((extensions.len() as u16).to_be_bytes());
            body.extend(extensions);
        }
        let mut record = vec![22];
        record.extend(self.record.to_be_bytes());
        record.extend((body.len() as u16 + 4).to_be_bytes());
        record.push(1);
        record.extend((body.len() as u32).to_be_bytes().iter().skip(1));
        record.extend(body);
        record
    }
}

/// The value of a server name extension (RFC 6066 3).
pub(super) fn server_name(name: &str) -> Vec<u8> {
    let name = name.as_bytes().get(..255).unwrap_or(name.as_bytes());
    let length = name.len() as u16;
    let head = [(length + 3).to_be_bytes(), [0, 0]].concat();
    [head.get(..3).unwrap_or_default(), &length.to_be_bytes(), name].concat()
}

/// Numbers with the length of their bytes before them.
pub(super) fn list16(values: &[u16]) -> Vec<u8> {
    let mut out = (values.len() as u16 * 2).to_be_bytes().to_vec();
    out.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    out
}

/// Opens a connection, says `hello`, and returns what came until `is_enough`, the end, or `until`. `None` if no
/// connection could be had.
pub(super) async fn answer(
    address: SocketAddr,
    hello: &Hello,
    is_enough: impl Fn(&[u8]) -> bool,
    until: Instant,
) -> Option<Vec<u8>> {
    let mut connection = Connection::Plain(Connection::open(address, until).await.ok()?);
    let mut heard = Vec::new();
    if connection.send(&hello.emit(), until).await {
        for _ in 0..MAX_PIECES {
            if heard.len() >= MAX_FLIGHT || is_enough(&heard) {
                break;
            }
            let Some(more) = connection.read_some(until).await else { break };
            heard.extend(more);
        }
    }
    Some(heard)
}

/// The first flight of a server that rustls could not agree with. `None` if it is no TLS.
pub(super) async fn first_flight(address: SocketAddr, hello: &Hello, until: Instant) -> Option<Flight> {
    let is_over = |heard: &[u8]| !heard.is_empty() && flight(heard).is_none_or(|flight| flight.is_over);
    flight(&answer(address, hello, is_over, until).await?)
}

/// What a first flight tells, if the server agreed to anything.
pub(super) fn describe(flight: Flight) -> Option<TlsInfo> {
    let hello = flight.hello?;
    Some(TlsInfo {
        version: hello.version_name().into(),
        cipher: Some(iana_name(CipherSuite::from(hello.cipher())).into()),
        ja3s: Some(hello.ja3s()),
        certificates: flight.certificates,
        client_certificate_requested: flight.client_certificate_requested,
        ..TlsInfo::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fit_what_follows_them() {
        for newest in [0x0300, 0x0301, 0x0303] {
            let record = Hello::for_old_servers(newest, Some("a.example")).emit();
            assert_eq!(usize::from(u16::from_be_bytes([record[3], record[4]])), record.len() - 5);
            assert_eq!(u32::from_be_bytes([0, record[6], record[7], record[8]]) as usize, record.len() - 9);
            assert_eq!(u16::from_be_bytes([record[9], record[10]]), newest);
        }
        assert_eq!(server_name("ab"), [0, 5, 0, 0, 2, b'a', b'b']);
    }
}
