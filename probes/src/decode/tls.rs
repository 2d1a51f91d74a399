//! ServerHello (RFC 8446 4.1.3) and certificates (RFC 5280), read for what they tell.
//!
//! Fields: `tls.alert` of a reply that is a TLS alert record.

use md5::{Digest, Md5};
use portreeve_model::{SafeText, Timestamp, TlsCertificate};
use sha2::Sha256;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{Oid, OidRegistry},
    prelude::FromDer,
    public_key::PublicKey,
};

use super::hex;

/// The parts of a ServerHello that tell implementations apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerHello {
    version: u16,
    cipher: u16,
    extensions: Vec<u16>,
    selected: Option<u16>,
}

/// What a server said before anything was encrypted (up to TLS 1.2: all of its first flight).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flight {
    pub hello: Option<ServerHello>,
    pub certificates: Vec<TlsCertificate>,
    pub client_certificate_requested: bool,
    /// Level and description.
    pub alert: Option<(u8, u8)>,
    /// Nothing more comes unless we go on.
    pub is_over: bool,
}

/// Names kept of one certificate.
const MAX_NAMES: usize = 100;
/// Certificates kept of one chain.
pub(crate) const MAX_CHAIN: usize = 10;
/// Longer encodings are not looked at; real ones are below 16 KiB.
pub(crate) const MAX_CERTIFICATE: usize = 64 * 1024;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const SUPPORTED_VERSIONS: u16 = 43;

impl ServerHello {
    /// JA3S: MD5 over `version,cipher,extensions`, decimal, lower-case hexadecimal.
    pub fn ja3s(&self) -> String {
        let extensions: Vec<_> = self.extensions.iter().map(u16::to_string).collect();
        let text = format!("{},{},{}", self.version, self.cipher, extensions.join("-"));
        hex(&Md5::digest(text.as_bytes()))
    }

    /// The cipher suite's number.
    pub fn cipher(&self) -> u16 {
        self.cipher
    }

    /// The version agreed to, as on the wire.
    pub fn version(&self) -> u16 {
        self.selected.unwrap_or(self.version)
    }

    /// The version agreed to, as `TLSv1.2`.
    pub fn version_name(&self) -> &'static str {
        version_name(self.version())
    }
}

/// A version as on the wire, in words.
pub(crate) fn version_name(version: u16) -> &'static str {
    match version {
        0x0300 => "SSLv3",
        0x0301 => "TLSv1.0",
        0x0302 => "TLSv1.1",
        0x0303 => "TLSv1.2",
        0x0304 => "TLSv1.3",
        _ => "unknown",
    }
}

pub(super) fn decode(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    if let [21, 3, 0..=4, 0, 2, level @ 1..=2, alert, ..] = reply {
        add("tls.alert", format!("{level}/{alert}").as_bytes());
    }
}

/// The ServerHello that a record stream begins with.
pub(crate) fn server_hello(records: &[u8]) -> Option<ServerHello> {
    let [HANDSHAKE, 3, _, high, low, rest @ ..] = records else { return None };
    let record = rest.get(..usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()))?;
    let [SERVER_HELLO, _, _, _, rest @ ..] = record else { return None };
    hello(rest)
}

/// The body of a ServerHello.
fn hello(body: &[u8]) -> Option<ServerHello> {
    let (version, rest) = be16(body)?;
    let (&session, rest) = rest.get(32..)?.split_first()?;
    let (cipher, rest) = be16(rest.get(usize::from(session)..)?)?;
    let mut hello = ServerHello { version, cipher, extensions: Vec::new(), selected: None };
    // One byte of compression; a hello without extensions ends there.
    let Some((length, rest)) = rest.get(1..).and_then(be16) else { return Some(hello) };
    let mut rest = rest.get(..usize::from(length).min(rest.len()))?;
    while let Some((kind, tail)) = be16(rest) {
        let (length, tail) = be16(tail)?;
        let (value, tail) = tail.split_at_checked(length.into())?;
        hello.extensions.push(kind);
        if kind == SUPPORTED_VERSIONS {
            hello.selected = be16(value).map(|(version, _)| version);
        }
        rest = tail;
    }
    Some(hello)
}

/// Reads a server's records from the first on, as far as they are in the clear and whole (RFC 6101, 2246,
/// 4346, 5246). `None` if these are no TLS records.
pub(crate) fn flight(records: &[u8]) -> Option<Flight> {
    let [ALERT | HANDSHAKE, 3, 0..=4, ..] = records else { return None };
    let mut flight = Flight::default();
    let mut messages = Vec::new();
    let mut rest = records;
    while let [kind, 3, _, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((body, tail)) = tail.split_at_checked(length) else { break };
        match (*kind, body) {
            (HANDSHAKE, body) => messages.extend_from_slice(body),
            (ALERT, [level, description, ..]) => {
                flight.alert = Some((*level, *description));
                flight.is_over = true;
            }
            // From here on it is encrypted.
            _ => flight.is_over = true,
        }
        if flight.is_over {
            break;
        }
        rest = tail;
    }
    flight.read(&messages);
    Some(flight)
}

impl Flight {
    fn read(&mut self, mut rest: &[u8]) {
        while let [kind, a, b, c, tail @ ..] = rest {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let Some((body, tail)) = tail.split_at_checked(length) else { return };
            match *kind {
                SERVER_HELLO => self.hello = hello(body),
                CERTIFICATE => self.certificates = chain(body),
                CERTIFICATE_REQUEST => self.client_certificate_requested = true,
                SERVER_HELLO_DONE => self.is_over = true,
                _ => {}
            }
            rest = tail;
        }
    }
}

/// The certificates of a Certificate message (RFC 5246 7.4.2), leaf first.
fn chain(body: &[u8]) -> Vec<TlsCertificate> {
    let mut certificates = Vec::new();
    let mut rest = body.get(3..).unwrap_or_default();
    while let [a, b, c, tail @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((der, tail)) = tail.split_at_checked(length) else { break };
        if certificates.len() == MAX_CHAIN {
            break;
        }
        if der.len() <= MAX_CERTIFICATE {
            certificates.extend(certificate(der));
        }
        rest = tail;
    }
    certificates
}

/// Describes a certificate; `None` if it is not one.
pub(crate) fn certificate(der: &[u8]) -> Option<TlsCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let registry = OidRegistry::default().with_crypto().with_x509();
    let millis = |time: x509_parser::time::ASN1Time| Timestamp(time.timestamp().saturating_mul(1000));
    Some(TlsCertificate {
        subject: text(certificate.subject().to_string()),
        issuer: text(certificate.issuer().to_string()),
        alternative_names: alternative_names(&certificate),
        serial: text(hex(certificate.raw_serial())),
        not_before_ms: millis(certificate.validity().not_before),
        not_after_ms: millis(certificate.validity().not_after),
        sha256: hex(&Sha256::digest(der)),
        key: text(key(&certificate)),
        signature: text(oid_name(&certificate.signature_algorithm.algorithm, &registry)),
        self_signed: certificate.subject().as_raw() == certificate.issuer().as_raw(),
        expired: false,
    })
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<SafeText> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(text(*name)),
        GeneralName::IPAddress(bytes) => address(bytes).map(text),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).take(MAX_NAMES).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    <[u8; 4]>::try_from(bytes)
        .map(|four| std::net::Ipv4Addr::from(four).to_string())
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(|six| std::net::Ipv6Addr::from(six).to_string()))
        .ok()
}

/// Algorithm and size, as `RSA 2048` or `ECDSA P-256`.
fn key(certificate: &X509Certificate<'_>) -> String {
    let info = certificate.public_key();
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(point)) => match point.key_size() {
            // An uncompressed P-521 point is 66 bytes a coordinate: 528 bits of field.
            521..=528 => "ECDSA P-521".to_owned(),
            bits => format!("ECDSA P-{bits}"),
        },
        Ok(PublicKey::DSA(_)) => "DSA".to_owned(),
        _ => match info.algorithm.algorithm.to_id_string().as_str() {
            "1.3.101.112" => "Ed25519".to_owned(),
            "1.3.101.113" => "Ed448".to_owned(),
            other => other.to_owned(),
        },
    }
}

fn oid_name(oid: &Oid<'_>, registry: &OidRegistry<'_>) -> String {
    registry.get(oid).map_or_else(|| oid.to_id_string(), |entry| entry.sn().to_owned())
}

fn text(value: impl AsRef<str>) -> SafeText {
    SafeText::sanitize_to(value.as_ref().as_bytes(), 512)
}

fn be16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    bytes.split_first_chunk::<2>().map(|(two, rest)| (u16::from_be_bytes(*two), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_hello_with_extensions_and_hashes_its_parts() {
        let mut hello = vec![22, 3, 3, 0, 0, 2, 0, 0, 0, 3, 3];
        hello.extend([9; 32]);
        hello.extend([0, 0xc0, 0x2f, 0, 0, 11]);
        hello.extend([0xff, 0x01, 0, 1, 0, 0, 43, 0, 2, 3, 4]);
        let length = (hello.len() - 5) as u8;
        hello[4] = length;
        hello[8] = length - 4;
        let parsed = server_hello(&hello).expect("a hello");
        assert_eq!((parsed.version, parsed.cipher), (0x0303, 0xc02f));
        assert_eq!(parsed.extensions, [0xff01, 43]);
        assert_eq!(parsed.version_name(), "TLSv1.3");
        assert_eq!(parsed.ja3s(), hex(&Md5::digest(b"771,49199,65281-43")));
    }

    #[test]
    fn a_flight_is_read_across_records_and_as_far_as_it_came() {
        let body = [&[3, 0][..], &[9; 32], &[0, 0, 5, 0]].concat();
        let hello = [&[2, 0, 0, body.len() as u8][..], &body].concat();
        let messages = [&hello[..], &[11, 0, 0, 3, 0, 0, 0, 13, 0, 0, 0, 14, 0, 0, 0]].concat();
        let mut records = Vec::new();
        for part in messages.chunks(7) {
            records.extend([22, 3, 0, 0, part.len() as u8]);
            records.extend(part);
        }
        let read = flight(&records).expect("records");
        assert_eq!(read.hello.expect("a hello").version_name(), "SSLv3");
        assert!(read.client_certificate_requested && read.is_over && read.certificates.is_empty());
        for end in 5..records.len() {
            assert!(!flight(&records[..end]).expect("records").is_over, "{end}");
        }
        assert_eq!(flight(&[21, 3, 1, 0, 2, 2, 40]).expect("records").alert, Some((2, 40)));
        assert_eq!(flight(b"HTTP/1.1 400 Bad Request"), None);
    }

    #[test]
    fn other_bytes_are_no_hello_and_no_certificate() {
        assert_eq!(server_hello(b"HTTP/1.1 400 Bad Request\r\n\r\n"), None);
        assert_eq!(server_hello(&[22, 3, 1, 0, 4, 2, 0, 0, 0]), None);
        assert!(certificate(&[0x30, 0x82, 0xff, 0xff]).is_none());
    }
}
