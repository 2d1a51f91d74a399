//! SSH identification line (RFC 4253 4.2) and key exchange offer (RFC 4253 7.1).
//!
//! Fields: `ssh.banner`, `ssh.protocol`, `ssh.software`, `ssh.comments`, `ssh.text` (software and comments),
//! `ssh.hassh`.

use md5::{Digest, Md5};

use super::hex;

/// What a server's KEXINIT offers, in the order of RFC 4253 7.1, server to client where it differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    pub kex: Vec<String>,
    pub host_keys: Vec<String>,
    pub client_ciphers: Vec<String>,
    pub ciphers: Vec<String>,
    pub client_macs: Vec<String>,
    pub macs: Vec<String>,
    pub compression: Vec<String>,
}

/// The most names kept of one list.
const MAX_NAMES: usize = 128;
const MSG_KEXINIT: u8 = 20;
/// Lines that a server may say before its identification (RFC 4253 4.2).
const MAX_LINES_BEFORE: usize = 32;

impl Offer {
    /// HASSH server fingerprint: MD5 over `kex;ciphers;macs;compression`, lower-case hexadecimal.
    pub fn hassh(&self) -> String {
        let text =
            [&self.kex, &self.ciphers, &self.macs, &self.compression].map(|names| names.join(",")).join(";");
        hex(&Md5::digest(text.as_bytes()))
    }
}

pub(super) fn decode(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    let Some((banner, rest)) = identification(reply) else { return };
    add("ssh.banner", banner);
    let mut parts = banner.splitn(3, |&byte| byte == b'-').skip(1);
    add("ssh.protocol", parts.next().unwrap_or_default());
    let software = parts.next().unwrap_or_default();
    add("ssh.text", software);
    let mut words = software.splitn(2, |&byte| byte == b' ');
    add("ssh.software", words.next().unwrap_or_default());
    if let Some(comments) = words.next() {
        add("ssh.comments", comments);
    }
    if let Some(offer) = offer(rest) {
        add("ssh.hassh", offer.hassh().as_bytes());
    }
}

pub(super) fn is_complete(reply: &[u8]) -> Option<bool> {
    let (_, rest) = identification(reply)?;
    // Right after the identification nothing more comes until we have sent ours.
    let Some((length, packet)) = rest.split_first_chunk::<4>() else { return Some(rest.is_empty()) };
    let length = u32::from_be_bytes(*length) as usize;
    Some(packet.len() >= length || length > 65_536)
}

/// The identification line, and what follows it.
pub(crate) fn identification(reply: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = reply;
    for _ in 0..MAX_LINES_BEFORE {
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        let (line, tail) = rest.split_at_checked(end)?;
        rest = tail.get(1..)?;
        if line.starts_with(b"SSH-") {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            return Some((line.get(..255).unwrap_or(line), rest));
        }
    }
    None
}

/// The offer of the first packet, if that is a KEXINIT.
pub(crate) fn offer(packets: &[u8]) -> Option<Offer> {
    let (length, packet) = packets.split_first_chunk::<4>()?;
    let packet = packet.get(..u32::from_be_bytes(*length) as usize)?;
    let (&padding, payload) = packet.split_first()?;
    let payload = payload.get(..payload.len().checked_sub(padding.into())?)?;
    let (&kind, payload) = payload.split_first()?;
    (kind == MSG_KEXINIT).then(|| offer_of(payload))?
}

/// The offer in a KEXINIT's payload, its number taken off.
pub(crate) fn offer_of(payload: &[u8]) -> Option<Offer> {
    let mut rest = payload.get(16..)?;
    let mut list = || {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (names, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = tail;
        Some(split_names(names))
    };
    let kex = list()?;
    let host_keys = list()?;
    let client_ciphers = list()?;
    let ciphers = list()?;
    let client_macs = list()?;
    let macs = list()?;
    let _client_compression = list()?;
    let compression = list()?;
    Some(Offer { kex, host_keys, client_ciphers, ciphers, client_macs, macs, compression })
}

fn split_names(names: &[u8]) -> Vec<String> {
    names
        .split(|&byte| byte == b',')
        .filter(|name| !name.is_empty())
        .take(MAX_NAMES)
        .map(|name| String::from_utf8_lossy(name.get(..64).unwrap_or(name)).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A KEXINIT as a server sends it, with the given lists in RFC order.
    fn kexinit(lists: [&str; 10]) -> Vec<u8> {
        let mut payload = vec![MSG_KEXINIT];
        payload.extend([7; 16]);
        for list in lists {
            payload.extend((list.len() as u32).to_be_bytes());
            payload.extend(list.as_bytes());
        }
        payload.extend([0; 5]);
        let mut packet = ((payload.len() + 5) as u32).to_be_bytes().to_vec();
        packet.push(4);
        packet.extend(payload);
        packet.extend([0; 4]);
        packet
    }

    #[test]
    fn reads_identification_and_offer() {
        let mut reply = b"hello\r\nSSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n".to_vec();
        assert_eq!(is_complete(&reply), Some(true));
        reply.extend(kexinit(["k1,k2", "hk", "c-in", "c-out", "m-in", "m-out", "none", "zlib", "", ""]));
        assert_eq!(is_complete(&reply), Some(true));
        let (banner, rest) = identification(&reply).expect("identification");
        assert_eq!(banner, b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7");
        let offer = offer(rest).expect("offer");
        assert_eq!(offer.kex, ["k1", "k2"]);
        assert_eq!(offer.ciphers, ["c-out"]);
        assert_eq!(offer.macs, ["m-out"]);
        assert_eq!(offer.compression, ["zlib"]);
        // md5("k1,k2;c-out;m-out;zlib")
        assert_eq!(offer.hassh().len(), 32);
    }

    #[test]
    fn a_cut_or_lying_packet_is_no_offer() {
        let whole = kexinit(["k", "h", "c", "c", "m", "m", "n", "n", "", ""]);
        for end in 0..whole.len() {
            assert_eq!(offer(&whole[..end]), None, "{end}");
        }
        let mut lying = whole.clone();
        lying[4] = 255;
        assert_eq!(offer(&lying), None);
    }
}
