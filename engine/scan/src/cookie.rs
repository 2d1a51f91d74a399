//! The mark by which a reply is known to answer one of our probes, with nothing remembered about the probe.
//!
//! SipHash-1-3 (Aumasson and Bernstein 2012) under a random key that lives as long as the scan. A SYN carries
//! the hash of its addresses and ports as its sequence number, an SCTP INIT as its Initiate Tag, an echo or timestamp
//! request in identifier and sequence number: whoever cannot see our probes guesses right once in 2³² (ICMP: 2²⁸) tries. UDP has room for
//! nothing but the source port, so a datagram counts if it comes from a probed address and port to one of
//! the few ports that this scan has reserved.

use std::{
    fs::File,
    io,
    io::Read,
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
};

use crate::sys::wide;

/// The secret of one scan.
#[derive(Clone, Copy)]
pub(crate) struct CookieKey {
    key: [u64; 2],
}

/// The cookie of an echo request: identifier, and sequence number with the attempt in its lowest bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EchoCookie {
    pub(crate) identifier: u16,
    pub(crate) sequence: u16,
}

impl EchoCookie {
    /// The bits of a sequence number that hold the attempt.
    pub(crate) const ATTEMPT_BITS: u16 = 0b1111;

    /// Both fields as one number.
    pub(crate) const fn to_bits(self) -> u32 {
        (self.identifier as u32) << 16 | self.sequence as u32
    }

    /// The fields that a number stands for.
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self { identifier: (bits >> 16) as u16, sequence: bits as u16 }
    }

    /// The attempt, if the rest is the cookie of `key` for an echo request between these addresses.
    pub(crate) fn attempt(self, key: &CookieKey, source: IpAddr, destination: IpAddr) -> Option<u8> {
        let attempt = (self.sequence & Self::ATTEMPT_BITS) as u8;
        (key.echo(source, destination, attempt) == self).then_some(attempt)
    }

    /// The same for a timestamp request.
    pub(crate) fn timestamp_attempt(
        self,
        key: &CookieKey,
        source: IpAddr,
        destination: IpAddr,
    ) -> Option<u8> {
        let attempt = (self.sequence & Self::ATTEMPT_BITS) as u8;
        (key.timestamp(source, destination, attempt) == self).then_some(attempt)
    }
}

impl CookieKey {
    /// What stands for ports in the cookies of ICMP: no scan sends from port 0.
    pub(crate) const ECHO: u32 = 1;
    pub(crate) const TIMESTAMP: u32 = 2;
    /// Tells an INIT from a SYN; over IPv4 the address is below it.
    const SCTP: u64 = 1 << 32;

    /// A key that nobody can guess, from the kernel.
    pub(crate) fn random() -> io::Result<Self> {
        let mut low = [0; 8];
        let mut high = [0; 8];
        let mut source = File::open("/dev/urandom")?;
        source.read_exact(&mut low)?;
        source.read_exact(&mut high)?;
        Ok(Self::new([u64::from_le_bytes(low), u64::from_le_bytes(high)]))
    }

    pub(crate) const fn new(key: [u64; 2]) -> Self {
        Self { key }
    }

    /// The sequence number of a SYN from `source` to `destination`.
    #[inline]
    pub(crate) fn syn(&self, source: (IpAddr, u16), destination: (IpAddr, u16)) -> u32 {
        self.hash(source.0, destination.0, ports(source.1, destination.1), 0) as u32
    }

    /// Replaces each destination, `address << 16 | port`, by a number whose low 32 bits are the sequence number of a SYN to
    /// it from `source`: what [`CookieKey::syn`] says one by one, in a quarter of the time.
    pub(crate) fn syns_v4(self, source: (Ipv4Addr, u16), row: &mut [u64]) {
        let (begun, port) = (self.begun(source.0.into()), u64::from(source.1) << 16);
        wide(
            #[inline(always)]
            || {
                for number in row {
                    let word = *number >> 16 << 32 | port | *number & 0xffff;
                    *number = finish(absorb_begun(begun, word), 2);
                }
            },
        );
    }

    /// Identifier and sequence number of an echo request.
    #[inline]
    pub(crate) fn echo(&self, source: IpAddr, destination: IpAddr, attempt: u8) -> EchoCookie {
        Self::icmp(self.hash(source, destination, Self::ECHO, 0), attempt)
    }

    /// Identifier and sequence number of a timestamp request.
    #[inline]
    pub(crate) fn timestamp(&self, source: IpAddr, destination: IpAddr, attempt: u8) -> EchoCookie {
        Self::icmp(self.hash(source, destination, Self::TIMESTAMP, 0), attempt)
    }

    /// The Initiate Tag of an INIT from `source` to `destination`; never 0, which has a meaning of its own.
    #[inline]
    pub(crate) fn sctp(&self, source: (IpAddr, u16), destination: (IpAddr, u16)) -> u32 {
        let ports = ports(source.1, destination.1);
        (self.hash(source.0, destination.0, ports, Self::SCTP) as u32).max(1)
    }

    #[inline]
    fn icmp(hash: u64, attempt: u8) -> EchoCookie {
        let attempt = u16::from(attempt) & EchoCookie::ATTEMPT_BITS;
        EchoCookie {
            identifier: (hash >> 16) as u16,
            sequence: hash as u16 & !EchoCookie::ATTEMPT_BITS | attempt,
        }
    }

    /// The state that hashing begins with, for those who hash elsewhere.
    pub(crate) fn initial_state(&self) -> [u64; 4] {
        initial_state(self.key)
    }

    /// The state once our address is taken in, and what the next round does to its first half, which no word changes.
    pub(crate) fn begun(&self, source: IpAddr) -> [u64; 4] {
        let state = self.initial_state();
        begin_round(match source {
            IpAddr::V4(source) => absorb(state, source.to_bits().into()),
            IpAddr::V6(source) => words(source.into()).into_iter().fold(state, absorb),
        })
    }

    /// What follows so many words of a message: their length in bytes. Over IPv4 there are two, our address and
    /// `destination << 32 | source port << 16 | destination port`; over IPv6 five, the halves of both addresses and the ports.
    pub(crate) const fn last_word(words: usize) -> u64 {
        (words as u64 * 8) << 56
    }

    /// A number that only this scan knows.
    pub(crate) fn derived(&self) -> u64 {
        siphash13(self.key, [])
    }

    #[expect(clippy::inline_always, reason = "where the family is known, two words are left of it")]
    #[inline(always)]
    fn hash(&self, source: IpAddr, destination: IpAddr, ports: u32, protocol: u64) -> u64 {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let rest = u64::from(destination.to_bits()) << 32 | u64::from(ports);
                siphash13(self.key, [protocol | u64::from(source.to_bits()), rest])
            }
            _ => self.hash_v6(source, destination, protocol | u64::from(ports)),
        }
    }

    fn hash_v6(&self, source: IpAddr, destination: IpAddr, rest: u64) -> u64 {
        let ([a, b], [c, d]) = (words(source), words(destination));
        siphash13(self.key, [a, b, c, d, rest])
    }
}

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieKey(secret)")
    }
}

#[inline]
fn ports(source: u16, destination: u16) -> u32 {
    u32::from(source) << 16 | u32::from(destination)
}

fn words(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

/// SipHash with one compression and three finalisation rounds over whole little-endian words.
#[expect(clippy::inline_always, reason = "rows of hashes are compiled for wider vectors")]
#[inline(always)]
fn siphash13<const WORDS: usize>(key: [u64; 2], words: [u64; WORDS]) -> u64 {
    let mut state = initial_state(key);
    for word in words {
        state = absorb(state, word);
    }
    finish(state, WORDS)
}

/// What comes out of a state that has taken so many words in.
#[expect(clippy::inline_always, reason = "rows of hashes are compiled for wider vectors")]
#[inline(always)]
fn finish(mut state: [u64; 4], words: usize) -> u64 {
    // The last word holds what is left of the message, here nothing, and its length in the top byte.
    state = absorb(state, CookieKey::last_word(words));
    state[2] ^= 0xff;
    for _ in 0..3 {
        state = end_round(begin_round(state));
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

#[expect(clippy::inline_always, reason = "rows of hashes are compiled for wider vectors")]
#[inline(always)]
fn absorb(state: [u64; 4], word: u64) -> [u64; 4] {
    absorb_begun(begin_round(state), word)
}

/// Takes a word in once the first half of the round is done.
#[expect(clippy::inline_always, reason = "rows of hashes are compiled for wider vectors")]
#[inline(always)]
fn absorb_begun(mut state: [u64; 4], word: u64) -> [u64; 4] {
    state[3] ^= word;
    state = end_round(state);
    state[0] ^= word;
    state
}

#[expect(clippy::inline_always, reason = "rows of hashes are compiled for wider vectors")]
#[inline(always)]
fn initial_state([k0, k1]: [u64; 2]) -> [u64; 4] {
    [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ]
}

#[expect(clippy::inline_always, reason = "rows of hashes are compiled for wider vectors")]
#[inline(always)]
fn begin_round([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    let a = a.wrapping_add(b);
    [a.rotate_left(32), b.rotate_left(13) ^ a, c, d]
}

#[expect(clippy::inline_always, reason = "rows of hashes are compiled for wider vectors")]
#[inline(always)]
fn end_round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

/// The source ports of a scan: one for each attempt, so that a reply tells which attempt it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourcePorts {
    first: u16,
    count: u16,
}

impl SourcePorts {
    /// Ports from `first` on; `None` if there are not that many.
    pub(crate) fn new(first: u16, count: u16) -> Option<Self> {
        (count > 0 && first.checked_add(count - 1).is_some()).then_some(Self { first, count })
    }

    /// The port that an attempt is sent from.
    #[inline]
    pub(crate) fn port(self, attempt: u8) -> u16 {
        self.first.saturating_add(u16::from(attempt).min(self.count - 1))
    }

    /// The attempt that was sent from `port`.
    #[inline]
    pub(crate) fn attempt(self, port: u16) -> Option<u8> {
        let attempt = port.checked_sub(self.first)?;
        (attempt < self.count).then_some(attempt as u8)
    }

    /// First and last port.
    pub(crate) fn range(self) -> RangeInclusive<u16> {
        self.first..=self.first.saturating_add(self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    use super::*;

    const KEY: CookieKey = CookieKey::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    proptest! {
        #[test]
        fn the_hash_is_siphash(key: [u64; 2], words: [u64; 5]) {
            let reference = |words: &[u64]| {
                let mut reference = SipHasher13::new_with_keys(key[0], key[1]);
                for word in words {
                    reference.write(&word.to_le_bytes());
                }
                reference.finish()
            };
            prop_assert_eq!(siphash13(key, words), reference(&words));
            prop_assert_eq!(siphash13(key, [words[0], words[1]]), reference(&words[..2]));
            prop_assert_eq!(siphash13(key, []), reference(&[]));
        }

        #[test]
        fn rows_of_syns_have_the_cookies_of_single_ones(
            source: Ipv4Addr, port: u16, syns in prop::collection::vec(any::<(Ipv4Addr, u16)>(), 0..80),
        ) {
            let mut row: Vec<u64> =
                syns.iter().map(|(address, port)| u64::from(address.to_bits()) << 16 | u64::from(*port)).collect();
            KEY.syns_v4((source, port), &mut row);
            for (&(destination, to), cookie) in syns.iter().zip(row) {
                prop_assert_eq!(cookie as u32, KEY.syn((source.into(), port), (destination.into(), to)));
            }
        }

        #[test]
        fn echo_cookies_carry_their_attempt(attempt in 0_u8..16, other: u16) {
            let (ours, theirs) = (address("10.99.0.1"), address("10.99.0.2"));
            let cookie = KEY.echo(ours, theirs, attempt);
            prop_assert_eq!(cookie.attempt(&KEY, ours, theirs), Some(attempt));
            let forged = EchoCookie { identifier: other, ..cookie };
            prop_assert_eq!(forged.attempt(&KEY, ours, theirs).is_some(), other == cookie.identifier);
        }
    }

    #[test]
    fn every_part_of_the_four_tuple_matters() {
        for (ours, theirs, stranger) in
            [("10.99.0.1", "10.99.0.2", "10.99.0.3"), ("fd99::1", "fd99::2", "fd99::3")]
        {
            let (ours, theirs, stranger) = (address(ours), address(theirs), address(stranger));
            let cookie = KEY.syn((ours, 61_000), (theirs, 80));
            assert_eq!(cookie, KEY.syn((ours, 61_000), (theirs, 80)));
            assert_ne!(cookie, KEY.syn((stranger, 61_000), (theirs, 80)));
            assert_ne!(cookie, KEY.syn((ours, 61_001), (theirs, 80)));
            assert_ne!(cookie, KEY.syn((ours, 61_000), (stranger, 80)));
            assert_ne!(cookie, KEY.syn((ours, 61_000), (theirs, 81)));
        }
    }

    #[test]
    fn every_kind_of_probe_has_cookies_of_its_own() {
        let (ours, theirs) = (address("10.99.0.1"), address("10.99.0.2"));
        assert_ne!(KEY.echo(ours, theirs, 0), KEY.timestamp(ours, theirs, 0));
        let (from, to) = ((ours, 61_000), (theirs, 80));
        assert_ne!(KEY.syn(from, to), KEY.sctp(from, to));
        assert_ne!(KEY.sctp(from, to), KEY.sctp((ours, 61_001), to));
        let stamp = KEY.timestamp(ours, theirs, 5);
        assert_eq!(stamp.timestamp_attempt(&KEY, ours, theirs), Some(5));
        assert_eq!(stamp.attempt(&KEY, ours, theirs), None);
    }

    #[test]
    fn keys_differ_and_are_not_shown() {
        let (one, other) = (CookieKey::random().expect("random"), CookieKey::random().expect("random"));
        assert_ne!(one.key, other.key);
        assert_eq!(format!("{one:?}"), "CookieKey(secret)");
    }

    #[test]
    fn source_ports_tell_the_attempt() {
        let ports = SourcePorts::new(61_000, 3).expect("fits");
        for attempt in 0..3 {
            assert_eq!(ports.attempt(ports.port(attempt)), Some(attempt));
        }
        assert_eq!(ports.attempt(60_999), None);
        assert_eq!(ports.attempt(61_003), None);
        assert_eq!(SourcePorts::new(65_535, 2), None);
    }
}
