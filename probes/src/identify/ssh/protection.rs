//! Protects SSH packets: AES-GCM (RFC 5647), `chacha20-poly1305@openssh.com`, AES-CTR (RFC 4344) with HMAC.

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use hmac::{Hmac, Mac};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey, chacha20_poly1305_openssh};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// One direction of a connection. Packets are `length || padding length || payload || padding`.
pub(super) trait Protection: Send {
    /// The padded part is a multiple of this.
    fn block(&self) -> usize;
    /// Whether the four bytes of the length count as part of what is padded.
    fn pads_length(&self) -> bool;
    /// Seals a packet in place and appends its tag.
    fn seal(&mut self, sequence: u32, packet: &mut Vec<u8>);
    /// Bytes needed to learn a packet's length.
    fn head(&self) -> usize;
    /// The value of the length field, from the first [`Self::head`] bytes.
    fn length(&self, sequence: u32, head: &[u8]) -> Option<u32>;
    /// Bytes of the tag behind the packet.
    fn tag(&self) -> usize;
    /// Opens packet and tag; what is left is the packet in the clear.
    fn open(&mut self, sequence: u32, packet: Vec<u8>) -> Option<Vec<u8>>;
}

/// Sizes of the keys that a pair of algorithms needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub key: usize,
    pub iv: usize,
    pub mac: usize,
}

/// What the derived bytes are used for.
#[derive(Debug)]
pub(super) struct Secrets {
    pub key: Vec<u8>,
    pub iv: Vec<u8>,
    pub mac: Vec<u8>,
}

/// Ciphers we can use, best first: those that need no separate MAC are the commonest.
pub(super) const CIPHERS: &[&str] = &[
    "chacha20-poly1305@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
];

/// MACs we can use, for the ciphers that need one.
pub(super) const MACS: &[&str] = &[
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha1",
    "hmac-sha1-etm@openssh.com",
];

/// Whether a cipher protects integrity itself.
pub(super) fn is_authenticated(cipher: &str) -> bool {
    cipher.contains("poly1305") || cipher.contains("-gcm")
}

/// What a cipher and a MAC need.
pub(super) fn sizes(cipher: &str, mac: &str) -> Option<Sizes> {
    let mac = match mac {
        _ if is_authenticated(cipher) => 0,
        name if name.starts_with("hmac-sha2-256") => 32,
        name if name.starts_with("hmac-sha2-512") => 64,
        name if name.starts_with("hmac-sha1") => 20,
        _ => return None,
    };
    let (key, iv) = match cipher {
        "chacha20-poly1305@openssh.com" => (64, 0),
        "aes128-gcm@openssh.com" => (16, 12),
        "aes256-gcm@openssh.com" => (32, 12),
        "aes128-ctr" => (16, 16),
        "aes192-ctr" => (24, 16),
        "aes256-ctr" => (32, 16),
        _ => return None,
    };
    Some(Sizes { key, iv, mac })
}

/// The protection of one direction; `None` if the algorithms are not known here.
pub(super) fn protection(cipher: &str, mac: &str, secrets: &Secrets) -> Option<Box<dyn Protection>> {
    match cipher {
        "chacha20-poly1305@openssh.com" => Some(Box::new(ChaCha::new(secrets.key.first_chunk()?))),
        "aes128-gcm@openssh.com" | "aes256-gcm@openssh.com" => Some(Box::new(Gcm::new(secrets)?)),
        _ => Some(Box::new(Ctr::new(mac, secrets)?)),
    }
}

struct ChaCha {
    sealing: chacha20_poly1305_openssh::SealingKey,
    opening: chacha20_poly1305_openssh::OpeningKey,
}

impl ChaCha {
    fn new(key: &[u8; 64]) -> Self {
        Self {
            sealing: chacha20_poly1305_openssh::SealingKey::new(key),
            opening: chacha20_poly1305_openssh::OpeningKey::new(key),
        }
    }
}

impl Protection for ChaCha {
    fn block(&self) -> usize {
        8
    }

    fn pads_length(&self) -> bool {
        false
    }

    fn seal(&mut self, sequence: u32, packet: &mut Vec<u8>) {
        let mut tag = [0; 16];
        self.sealing.seal_in_place(sequence, packet, &mut tag);
        packet.extend(tag);
    }

    fn head(&self) -> usize {
        4
    }

    fn length(&self, sequence: u32, head: &[u8]) -> Option<u32> {
        let length = self.opening.decrypt_packet_length(sequence, *head.first_chunk()?);
        Some(u32::from_be_bytes(length))
    }

    fn tag(&self) -> usize {
        16
    }

    fn open(&mut self, sequence: u32, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        let tag: [u8; 16] = *packet.last_chunk()?;
        packet.truncate(packet.len() - tag.len());
        let length = self.length(sequence, &packet)?;
        let plain = self.opening.open_in_place(sequence, &mut packet, &tag).ok()?;
        Some([&length.to_be_bytes()[..], plain].concat())
    }
}

struct Gcm {
    key: LessSafeKey,
    nonce: [u8; 12],
}

impl Gcm {
    fn new(secrets: &Secrets) -> Option<Self> {
        let algorithm = if secrets.key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = UnboundKey::new(algorithm, &secrets.key).ok()?;
        Some(Self { key: LessSafeKey::new(key), nonce: *secrets.iv.first_chunk()? })
    }

    /// Four fixed bytes and a counter of packets (RFC 5647 7.1).
    fn next_nonce(&mut self) -> Nonce {
        let now = self.nonce;
        if let Some(counter) = self.nonce.last_chunk_mut::<8>() {
            *counter = u64::from_be_bytes(*counter).wrapping_add(1).to_be_bytes();
        }
        Nonce::assume_unique_for_key(now)
    }
}

impl Protection for Gcm {
    fn block(&self) -> usize {
        16
    }

    fn pads_length(&self) -> bool {
        false
    }

    fn seal(&mut self, _: u32, packet: &mut Vec<u8>) {
        let nonce = self.next_nonce();
        let mut sealed = packet.split_off(4);
        // Fails only beyond 64 GiB.
        if self.key.seal_in_place_append_tag(nonce, Aad::from(&packet), &mut sealed).is_ok() {
            packet.append(&mut sealed);
        }
    }

    fn head(&self) -> usize {
        4
    }

    fn length(&self, _: u32, head: &[u8]) -> Option<u32> {
        head.first_chunk().copied().map(u32::from_be_bytes)
    }

    fn tag(&self) -> usize {
        16
    }

    fn open(&mut self, _: u32, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        let length: [u8; 4] = *packet.first_chunk()?;
        let nonce = self.next_nonce();
        let mut sealed = packet.split_off(4);
        let plain = self.key.open_in_place(nonce, Aad::from(length), &mut sealed).ok()?;
        packet.extend_from_slice(plain);
        Some(packet)
    }
}

enum Block {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl Block {
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(|block| Self::Aes128(Box::new(block))),
            24 => Aes192::new_from_slice(key).ok().map(|block| Self::Aes192(Box::new(block))),
            _ => Aes256::new_from_slice(key).ok().map(|block| Self::Aes256(Box::new(block))),
        }
    }

    fn encrypt(&self, counter: u128) -> [u8; 16] {
        let mut block = counter.to_be_bytes().into();
        match self {
            Self::Aes128(cipher) => cipher.encrypt_block(&mut block),
            Self::Aes192(cipher) => cipher.encrypt_block(&mut block),
            Self::Aes256(cipher) => cipher.encrypt_block(&mut block),
        }
        block.into()
    }
}

/// Counter mode with an HMAC over the packet, or (`etm`) over what is sent of it.
struct Ctr {
    block: Block,
    counter: u128,
    mac: Digest,
    mac_key: Vec<u8>,
    etm: bool,
}

#[derive(Clone, Copy)]
enum Digest {
    Sha1,
    Sha256,
    Sha512,
}

impl Ctr {
    fn new(mac: &str, secrets: &Secrets) -> Option<Self> {
        let digest = match secrets.mac.len() {
            20 => Digest::Sha1,
            32 => Digest::Sha256,
            64 => Digest::Sha512,
            _ => return None,
        };
        Some(Self {
            block: Block::new(&secrets.key)?,
            counter: u128::from_be_bytes(*secrets.iv.first_chunk()?),
            mac: digest,
            mac_key: secrets.mac.clone(),
            etm: mac.contains("-etm@"),
        })
    }

    /// Adds the key stream from `counter` on.
    fn apply(&self, mut counter: u128, bytes: &mut [u8]) -> u128 {
        for chunk in bytes.chunks_mut(16) {
            for (byte, key) in chunk.iter_mut().zip(self.block.encrypt(counter)) {
                *byte ^= key;
            }
            counter = counter.wrapping_add(1);
        }
        counter
    }

    fn authenticate(&self, sequence: u32, packet: &[u8]) -> Vec<u8> {
        fn tag<M: Mac + KeyInit>(key: &[u8], sequence: u32, packet: &[u8]) -> Vec<u8> {
            // HMAC takes keys of any length.
            let Ok(mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
            mac.chain_update(sequence.to_be_bytes()).chain_update(packet).finalize().into_bytes().to_vec()
        }
        match self.mac {
            Digest::Sha1 => tag::<Hmac<Sha1>>(&self.mac_key, sequence, packet),
            Digest::Sha256 => tag::<Hmac<Sha256>>(&self.mac_key, sequence, packet),
            Digest::Sha512 => tag::<Hmac<Sha512>>(&self.mac_key, sequence, packet),
        }
    }
}

impl Protection for Ctr {
    fn block(&self) -> usize {
        16
    }

    fn pads_length(&self) -> bool {
        !self.etm
    }

    fn seal(&mut self, sequence: u32, packet: &mut Vec<u8>) {
        if self.etm {
            let mut sealed = packet.split_off(4);
            self.counter = self.apply(self.counter, &mut sealed);
            packet.append(&mut sealed);
            packet.extend(self.authenticate(sequence, packet));
        } else {
            let tag = self.authenticate(sequence, packet);
            self.counter = self.apply(self.counter, packet);
            packet.extend(tag);
        }
    }

    fn head(&self) -> usize {
        if self.etm { 4 } else { 16 }
    }

    fn length(&self, _: u32, head: &[u8]) -> Option<u32> {
        let mut head = head.to_vec();
        if !self.etm {
            self.apply(self.counter, &mut head);
        }
        head.first_chunk().copied().map(u32::from_be_bytes)
    }

    fn tag(&self) -> usize {
        self.mac_key.len()
    }

    fn open(&mut self, sequence: u32, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        let tag = packet.split_off(packet.len().checked_sub(self.tag())?);
        let is_ours = |ctr: &Self, packet: &[u8]| ctr.authenticate(sequence, packet) == tag;
        if self.etm {
            if !is_ours(self, &packet) {
                return None;
            }
            self.counter = self.apply(self.counter, packet.get_mut(4..)?);
            return Some(packet);
        }
        self.counter = self.apply(self.counter, &mut packet);
        is_ours(self, &packet).then_some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_algorithms_opens_what_it_sealed_and_nothing_else() {
        for cipher in CIPHERS {
            for mac in MACS {
                let sizes = sizes(cipher, mac).expect("known");
                let secrets =
                    Secrets { key: vec![1; sizes.key], iv: vec![2; sizes.iv], mac: vec![3; sizes.mac] };
                let mut here = protection(cipher, mac, &secrets).expect("known");
                let mut there = protection(cipher, mac, &secrets).expect("known");
                for sequence in 5..8 {
                    let packet = [&28_u32.to_be_bytes()[..], &[9; 28]].concat();
                    let mut sealed = packet.clone();
                    here.seal(sequence, &mut sealed);
                    assert_ne!(sealed[4..32], packet[4..32], "{cipher} {mac}");
                    assert_eq!(there.length(sequence, &sealed[..there.head()]), Some(28), "{cipher} {mac}");
                    assert_eq!(there.open(sequence, sealed), Some(packet), "{cipher} {mac}");
                }
                assert_eq!(there.open(9, vec![0; 64]), None, "{cipher} {mac}");
                assert_eq!(there.open(9, Vec::new()), None, "{cipher} {mac}");
            }
        }
    }
}
