//! JARM's ten hellos, and the versions that a server takes. Asked only where that was asked for.

use std::{net::SocketAddr, time::Duration};

use portreeve_model::SafeText;
use tokio::time::Instant;

use super::hello::{
    GROUPS, Hello, POINT_FORMATS, SERVER_NAME, SIGNATURES, answer, first_flight, list16, server_name,
};
use crate::decode::{
    jarm::{HELLOS, MAX_ANSWER, fingerprint},
    tls::{flight, server_hello, version_name},
};

/// What the hellos found out.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub jarm: Option<String>,
    pub versions: Vec<SafeText>,
    /// Connections opened for it.
    pub connections: u8,
}

/// The order in which a list is offered.
#[derive(Clone, Copy)]
enum Order {
    Forward,
    Reverse,
    TopHalf,
    BottomHalf,
    MiddleOut,
}

/// What distinguishes one of the ten hellos.
struct Format {
    /// In the record and in the hello; TLS 1.3 goes by older names there (RFC 8446 4.1.2).
    version: u16,
    ciphers: Order,
    /// Whether the ciphers of TLS 1.3 are among them.
    modern: bool,
    grease: bool,
    /// Leave the protocols out that everybody speaks.
    rare_alpn: bool,
    /// The newest version in the extension for it, if that is there.
    supported: Option<u16>,
    /// The order of protocols and versions.
    lists: Order,
}

#[rustfmt::skip]
const FORMATS: [Format; HELLOS] = {
    use Order::{BottomHalf, Forward, MiddleOut, Reverse, TopHalf};
    const fn format(version: u16, ciphers: Order, rare_alpn: bool, supported: Option<u16>, lists: Order) -> Format {
        Format { version, ciphers, modern: true, grease: matches!(ciphers, MiddleOut), rare_alpn, supported, lists }
    }
    [
        format(0x0303, Forward, false, Some(0x0303), Reverse),
        format(0x0303, Reverse, false, Some(0x0303), Forward),
        format(0x0303, TopHalf, false, None, Forward),
        format(0x0303, BottomHalf, true, None, Forward),
        format(0x0303, MiddleOut, true, None, Reverse),
        format(0x0302, Forward, false, None, Forward),
        format(0x0304, Forward, false, Some(0x0304), Reverse),
        format(0x0304, Reverse, false, Some(0x0304), Forward),
        Format { modern: false, ..format(0x0304, Forward, false, Some(0x0304), Forward) },
        format(0x0304, MiddleOut, false, Some(0x0304), Reverse),
    ]
};

/// The ciphers in their first order.
const CIPHERS: &[u16] = &[
    0x0016, 0x0033, 0x0067, 0xc09e, 0xc0a2, 0x009e, 0x0039, 0x006b, 0xc09f, 0xc0a3, 0x009f, 0x0045, 0x00be,
    0x0088, 0x00c4, 0x009a, 0xc008, 0xc009, 0xc023, 0xc0ac, 0xc0ae, 0xc02b, 0xc00a, 0xc024, 0xc0ad, 0xc0af,
    0xc02c, 0xc072, 0xc073, 0xcca9, 0x1302, 0x1301, 0xcc14, 0xc007, 0xc012, 0xc013, 0xc027, 0xc02f, 0xc014,
    0xc028, 0xc030, 0xc060, 0xc061, 0xc076, 0xc077, 0xcca8, 0x1305, 0x1304, 0x1303, 0xcc13, 0xc011, 0x000a,
    0x002f, 0x003c, 0xc09c, 0xc0a0, 0x009c, 0x0035, 0x003d, 0xc09d, 0xc0a1, 0x009d, 0x0041, 0x00ba, 0x0084,
    0x00c0, 0x0007, 0x0004, 0x0005,
];
const ALPN: &[&str] = &["http/0.9", "http/1.0", "http/1.1", "spdy/1", "spdy/2", "spdy/3", "h2", "h2c", "hq"];
/// What the rare list leaves out.
const COMMON: &[&str] = &["http/1.1", "h2"];
/// A value reserved for nothing but this (RFC 8701).
const GREASE: u16 = 0x0a0a;
/// The oldest two versions, which the ten hellos do not ask for.
const OLDEST: [u16; 2] = [0x0300, 0x0301];
const NEWEST: [u16; 3] = [0x0302, 0x0303, 0x0304];

/// Says all hellos, two connections at a time, and two more for the oldest versions.
/// A hello that is not answered costs `patience`.
pub(super) async fn ask(address: SocketAddr, name: &str, patience: Duration, deadline: Instant) -> Found {
    let soon = || deadline.min(Instant::now() + patience);
    let mut found = Found::default();
    let mut answers: [Vec<u8>; HELLOS] = Default::default();
    for (formats, answers) in FORMATS.chunks(2).zip(answers.chunks_mut(2)) {
        let ([one, two], [first, second]) = (formats, answers) else { continue };
        let (a, b) = tokio::join!(ask_one(address, one, name, soon()), ask_one(address, two, name, soon()));
        found.connections += u8::from(a.is_some()) + u8::from(b.is_some());
        (*first, *second) = (a.unwrap_or_default(), b.unwrap_or_default());
    }
    found.jarm = fingerprint(&answers);
    for version in OLDEST {
        let hello = Hello::for_old_servers(version, Some(name));
        found.connections += 1;
        let flight = first_flight(address, &hello, soon()).await;
        if flight.and_then(|flight| flight.hello).is_some_and(|hello| hello.version() == version) {
            found.versions.push(version_name(version).into());
        }
    }
    let agreed = |version: u16| {
        answers.iter().any(|answer| server_hello(answer).is_some_and(|h| h.version() == version))
    };
    found
        .versions
        .extend(NEWEST.into_iter().filter(|version| agreed(*version)).map(|v| version_name(v).into()));
    found
}

async fn ask_one(address: SocketAddr, format: &Format, name: &str, until: Instant) -> Option<Vec<u8>> {
    let is_enough = |heard: &[u8]| {
        heard.len() >= MAX_ANSWER
            || flight(heard).is_some_and(|flight| flight.hello.is_some() || flight.is_over)
    };
    answer(address, &format.hello(name), is_enough, until).await
}

impl Format {
    fn hello(&self, name: &str) -> Hello {
        let ciphers = CIPHERS.iter().copied().filter(|cipher| self.modern || cipher >> 8 != 0x13).collect();
        let mut ciphers = arrange(ciphers, self.ciphers);
        if self.grease {
            ciphers.insert(0, GREASE);
        }
        let (record, version) =
            if self.version == 0x0304 { (0x0301, 0x0303) } else { (self.version, self.version) };
        Hello { record, version, session: vec![0x4a; 32], ciphers, extensions: self.extensions(name) }
    }

    fn extensions(&self, name: &str) -> Vec<(u16, Vec<u8>)> {
        let mut extensions = Vec::new();
        if self.grease {
            extensions.push((GREASE, Vec::new()));
        }
        // Extended master secret, fragment length, renegotiation: RFC 7627, 6066, 5746.
        extensions.extend([
            (SERVER_NAME, server_name(name)),
            (23, Vec::new()),
            (1, vec![1]),
            (0xff01, vec![0]),
        ]);
        extensions.push((GROUPS, list16(&[0x001d, 0x0017, 0x0018, 0x0019])));
        extensions.push((POINT_FORMATS, vec![1, 0]));
        // Session ticket (RFC 5077).
        extensions.push((35, Vec::new()));
        extensions.push((16, self.protocols()));
        let signatures = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601, 0x0201];
        extensions.push((SIGNATURES, list16(&signatures)));
        extensions.push((51, self.key_share()));
        // Resumption with a fresh key exchange only (RFC 8446 4.2.9).
        extensions.push((45, vec![1, 1]));
        if let Some(newest) = self.supported {
            let mut versions = arrange((0x0301..=newest).collect(), self.lists);
            if self.grease {
                versions.insert(0, GREASE);
            }
            let length = versions.len() as u8 * 2;
            let bytes = versions.iter().flat_map(|version| version.to_be_bytes());
            extensions.push((43, std::iter::once(length).chain(bytes).collect()));
        }
        extensions
    }

    fn protocols(&self) -> Vec<u8> {
        let names = ALPN.iter().filter(|name| !self.rare_alpn || !COMMON.contains(name)).copied().collect();
        let mut bytes = Vec::new();
        for name in arrange(names, self.lists) {
            bytes.push(name.len() as u8);
            bytes.extend(name.as_bytes());
        }
        [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
    }

    /// One share for X25519; any 32 bytes are a public key.
    fn key_share(&self) -> Vec<u8> {
        let mut shares = Vec::new();
        if self.grease {
            shares.extend(GREASE.to_be_bytes());
            shares.extend([0, 1, 0]);
        }
        shares.extend([0, 0x1d, 0, 32]);
        shares.extend([0x2b; 32]);
        [&(shares.len() as u16).to_be_bytes()[..], &shares].concat()
    }
}

/// A list in another order; halves leave the rest out, and the middle one counts to the top half.
fn arrange<T: Copy>(list: Vec<T>, order: Order) -> Vec<T> {
    let middle = list.len() / 2;
    let is_odd = list.len() % 2 == 1;
    match order {
        Order::Forward => list,
        Order::Reverse => list.into_iter().rev().collect(),
        Order::BottomHalf => list.into_iter().skip(middle + usize::from(is_odd)).collect(),
        Order::TopHalf => list.into_iter().take(middle + usize::from(is_odd)).rev().collect(),
        Order::MiddleOut => {
            let (low, high) = list.split_at(middle);
            let (centre, high) = high.split_at(usize::from(is_odd));
            let pairs = high.iter().zip(low.iter().rev()).flat_map(|(above, below)| [*above, *below]);
            centre.iter().copied().chain(pairs).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_arranged_as_the_description_says() {
        let (odd, even) = (vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4]);
        assert_eq!(arrange(odd.clone(), Order::MiddleOut), [3, 4, 2, 5, 1]);
        assert_eq!(arrange(even.clone(), Order::MiddleOut), [3, 2, 4, 1]);
        assert_eq!(arrange(odd.clone(), Order::TopHalf), [3, 2, 1]);
        assert_eq!(arrange(odd, Order::BottomHalf), [4, 5]);
        assert_eq!(arrange(even.clone(), Order::TopHalf), [2, 1]);
        assert_eq!(arrange(even, Order::BottomHalf), [3, 4]);
    }

    #[test]
    fn the_ten_hellos_differ_and_are_well_formed() {
        let mut seen = Vec::new();
        for format in &FORMATS {
            let hello = format.hello("host.example");
            let record = hello.emit();
            assert_eq!(usize::from(u16::from_be_bytes([record[3], record[4]])), record.len() - 5);
            let distinct = (hello.record, hello.ciphers.clone(), hello.extensions.clone());
            assert!(!seen.contains(&distinct));
            seen.push(distinct);
        }
    }
}
