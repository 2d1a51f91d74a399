//! Asks an SSH server for its host keys and for the ways to log in, and leaves before anyone could.
//!
//! Every kind of key costs a key exchange, and the first of them is done on the connection that is open already.
//! After the last one the user `portreeve` asks for the method `none`, which RFC 4252 5.2 has for just this.

mod exchange;
mod packets;
mod protection;

use std::time::Duration;

use portreeve_model::{SafeText, SshHostKey};
use tokio::time::Instant;

use self::{
    exchange::{Kind, METHODS, Method},
    packets::Packets,
    protection::{CIPHERS, MACS, Secrets, protection, sizes},
};
use super::{
    connection::Connection,
    conversation::{Conversation, Open},
};
use crate::decode::{
    ssh::{Offer, identification, offer_of},
    ssh_kex::{KexReply, group, host_key, methods, reply},
};

/// Our identification line, as the database's `ssh-kex` sends it.
const IDENTIFICATION: &str = "SSH-2.0-Portreeve";
/// The user who asks; need not exist.
const USER: &str = "portreeve";
/// Time for all of it, on top of twelve round trips.
const PATIENCE: Duration = Duration::from_secs(4);
/// Kinds of host keys asked for at most, and so connections.
const MAX_KINDS: usize = 4;
/// Messages that may come before the one waited for: banners, notices, extension lists.
const MAX_BETWEEN: usize = 8;

const MSG_DISCONNECT: u8 = 1;
const MSG_SERVICE_REQUEST: u8 = 5;
const MSG_SERVICE_ACCEPT: u8 = 6;
const MSG_KEXINIT: u8 = 20;
const MSG_NEWKEYS: u8 = 21;
const MSG_KEX_INIT: u8 = 30;
const MSG_KEX_REPLY: u8 = 31;
const MSG_KEX_GEX_INIT: u8 = 32;
const MSG_KEX_GEX_REPLY: u8 = 33;
const MSG_KEX_GEX_REQUEST: u8 = 34;
const MSG_USERAUTH_REQUEST: u8 = 50;
const MSG_USERAUTH_FAILURE: u8 = 51;
const MSG_USERAUTH_SUCCESS: u8 = 52;

/// What could be learnt.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    pub keys: Vec<SshHostKey>,
    pub methods: Option<Vec<SafeText>>,
}

impl Conversation<'_> {
    /// Exchanges keys once for every kind of host key, and asks how to log in the last time.
    pub async fn audit_ssh(&mut self) {
        let Some((server, first)) = self.ssh_greeting() else { return };
        let Some(offer) = first.get(1..).and_then(offer_of) else { return };
        let mut kinds = key_kinds(&offer);
        kinds.truncate(MAX_KINDS);
        let until = self.deadline.min(Instant::now() + PATIENCE + 12 * self.rtt());
        let mut open = match self.open.take() {
            Some(Open::Idle(connection)) => Some((Packets::after_kexinit(connection), server, first)),
            Some(Open::Greeted(connection)) => {
                let mut packets = Packets::after_kexinit(connection);
                let said = packets.say(format!("{IDENTIFICATION}\r\n").as_bytes(), until).await;
                said.map(|()| (packets, server, first))
            }
            _ => None,
        };
        for (number, kind) in kinds.iter().enumerate() {
            let session = match open.take() {
                Some(session) => session,
                None => match self.greet_ssh(until).await {
                    Some(session) => session,
                    None => return,
                },
            };
            let is_last = number + 1 == kinds.len();
            let learnt = one_key(session, kind, is_last, until).await;
            for key in learnt.keys {
                if !self.ssh.keys.contains(&key) {
                    self.ssh.keys.push(key);
                }
            }
            self.ssh.methods = learnt.methods.or(self.ssh.methods.take());
        }
    }

    /// The server's identification and its KEXINIT, as the conversation so far has them.
    fn ssh_greeting(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let banner = self.fields.get("ssh.banner")?.to_vec();
        let packets = identification(&self.ssh_reply).map_or(self.ssh_reply.as_slice(), |(_, rest)| rest);
        Some((banner, packets::clear_payload(packets)?.to_vec()))
    }

    /// A new connection, up to the server's KEXINIT.
    async fn greet_ssh(&mut self, until: Instant) -> Option<(Packets, Vec<u8>, Vec<u8>)> {
        let mut packets = Packets::new(self.connect().await?);
        let server = packets.identification(until).await?;
        packets.say(format!("{IDENTIFICATION}\r\n").as_bytes(), until).await?;
        let first = packets.receive_of(MSG_KEXINIT, until).await?;
        Some((packets, server, first))
    }
}

/// The signature algorithms to ask for, one for each kind of key.
fn key_kinds(offer: &Offer) -> Vec<String> {
    let family =
        |name: &str| if name.starts_with("rsa-sha2-") { "ssh-rsa".to_owned() } else { name.to_owned() };
    let mut seen = Vec::new();
    let mut kinds = Vec::new();
    for name in &offer.host_keys {
        if !seen.contains(&family(name)) && !name.contains("-cert-") {
            seen.push(family(name));
            kinds.push(name.clone());
        }
    }
    kinds
}

/// One exchange: a host key and, if wanted, the authentication methods.
async fn one_key(
    (mut packets, server, first): (Packets, Vec<u8>, Vec<u8>),
    kind: &str,
    ask_methods: bool,
    until: Instant,
) -> Learnt {
    let mut learnt = Learnt::default();
    let Some(suite) = first.get(1..).and_then(offer_of).and_then(|offer| Suite::choose(&offer, kind)) else {
        return learnt;
    };
    let Some((blob, agreed)) = suite.exchange(&mut packets, &server, &first, until).await else {
        return learnt;
    };
    learnt.keys.extend(host_key(&blob));
    if ask_methods && suite.protect(&mut packets, &agreed, until).await.is_some() {
        learnt.methods = ask_for_methods(&mut packets, until).await;
    }
    // Code 11, by application: what a client says that has seen enough (RFC 4253 11.1).
    let bye = message(MSG_DISCONNECT, &[&11_u32.to_be_bytes(), &string(b""), &string(b"")]);
    packets.send(&bye, until).await;
    learnt
}

/// The algorithms of one connection.
struct Suite {
    method: &'static Method,
    key: String,
    /// Client to server, server to client.
    ciphers: [String; 2],
    macs: [String; 2],
    compression: String,
}

/// The secret, the exchange hash, and what they came of.
struct Agreed {
    secret: Vec<u8>,
    hash: Vec<u8>,
}

impl Suite {
    fn choose(offer: &Offer, key: &str) -> Option<Self> {
        let method = METHODS.iter().find(|method| offer.kex.iter().any(|name| name == method.name))?;
        let pick = |ours: &[&str], theirs: &[String]| {
            ours.iter().find(|name| theirs.iter().any(|other| other == *name)).map(ToString::to_string)
        };
        // The host key comes before any protection, so algorithms that we cannot use are agreed to all the same.
        let agree = |ours: &[&str], theirs: &[String]| pick(ours, theirs).or_else(|| theirs.first().cloned());
        let ciphers = [agree(CIPHERS, &offer.client_ciphers)?, agree(CIPHERS, &offer.ciphers)?];
        let macs = [
            agree(MACS, &offer.client_macs).unwrap_or_default(),
            agree(MACS, &offer.macs).unwrap_or_default(),
        ];
        let compression = agree(&["none"], &offer.compression)?;
        Some(Self { method, key: key.to_owned(), ciphers, macs, compression })
    }

    /// Sends our offer, which leaves the server nothing to choose, and exchanges keys: the host key's blob and
    /// the secret.
    async fn exchange(
        &self,
        packets: &mut Packets,
        server: &[u8],
        first: &[u8],
        until: Instant,
    ) -> Option<(Vec<u8>, Agreed)> {
        let ours = self.kexinit();
        packets.send(&ours, until).await?;
        let mut hashed = Vec::new();
        for part in [IDENTIFICATION.as_bytes(), server, &ours, first] {
            hashed.extend(string(part));
        }
        let is_number = !matches!(self.method.kind, Kind::Curve(_));
        let encode = |value: &[u8]| if is_number { number(value) } else { string(value) };
        let mut chosen_group = Vec::new();
        let (half, public, last) = match self.method.kind {
            Kind::Curve(curve) => {
                let (half, public) = exchange::on_curve(curve)?;
                (half, public, MSG_KEX_REPLY)
            }
            Kind::Group(prime) => {
                let (half, public) = exchange::in_fixed_group(prime)?;
                (half, public, MSG_KEX_REPLY)
            }
            Kind::GroupExchange => {
                let sizes = [1024_u32, 2048, 8192].map(u32::to_be_bytes).concat();
                packets.send(&message(MSG_KEX_GEX_REQUEST, &[&sizes]), until).await?;
                let payload = packets.receive_of(MSG_KEX_REPLY, until).await?;
                let (prime, generator) = group(&payload)?;
                chosen_group = [sizes, number(prime), number(generator)].concat();
                let (half, public) = exchange::in_group(prime, generator)?;
                (half, public, MSG_KEX_GEX_REPLY)
            }
        };
        let asking = if last == MSG_KEX_GEX_REPLY { MSG_KEX_GEX_INIT } else { MSG_KEX_INIT };
        packets.send(&message(asking, &[&encode(&public)]), until).await?;
        let payload = packets.receive_of(last, until).await?;
        let KexReply { host_key, public: theirs } = reply(&payload, last)?;
        let secret = half.secret(theirs)?;
        hashed.extend(string(host_key));
        hashed.extend(chosen_group);
        hashed.extend(encode(&public));
        hashed.extend(encode(theirs));
        hashed.extend(number(&secret));
        let hash = self.method.hash.of(&hashed);
        Some((host_key.to_vec(), Agreed { secret: number(&secret), hash }))
    }

    fn kexinit(&self) -> Vec<u8> {
        let [client_cipher, cipher] = &self.ciphers;
        let [client_mac, mac] = &self.macs;
        let compression = &self.compression;
        let lists = [
            self.method.name,
            &self.key,
            client_cipher,
            cipher,
            client_mac,
            mac,
            compression,
            compression,
            "",
            "",
        ];
        let lists: Vec<u8> = lists.iter().flat_map(|list| string(list.as_bytes())).collect();
        // A cookie need not be secret, only there (RFC 4253 7.1).
        message(MSG_KEXINIT, &[&[0x70; 16], &lists, &[0; 5]])
    }

    /// Changes to the new keys, if we can use the algorithms.
    async fn protect(&self, packets: &mut Packets, agreed: &Agreed, until: Instant) -> Option<()> {
        let [client_cipher, cipher] = &self.ciphers;
        let [client_mac, mac] = &self.macs;
        if self.compression != "none" {
            return None;
        }
        let ours =
            protection(client_cipher, client_mac, &self.derive(agreed, *b"CAE", client_cipher, client_mac)?)?;
        let theirs = protection(cipher, mac, &self.derive(agreed, *b"DBF", cipher, mac)?)?;
        packets.send(&[MSG_NEWKEYS], until).await?;
        packets.receive_of(MSG_NEWKEYS, until).await?;
        packets.protect(ours, theirs);
        Some(())
    }

    /// Key, initial vector and MAC key by their letters (RFC 4253 7.2).
    fn derive(&self, agreed: &Agreed, letters: [u8; 3], cipher: &str, mac: &str) -> Option<Secrets> {
        let sizes = sizes(cipher, mac)?;
        let bytes = |letter: u8, length: usize| {
            let start = [&agreed.secret[..], &agreed.hash].concat();
            let mut out = self.method.hash.of(&[&start[..], &[letter], &agreed.hash].concat());
            while out.len() < length {
                out.extend(self.method.hash.of(&[&start[..], &out].concat()));
            }
            out.truncate(length);
            out
        };
        let [key, iv, mac] = letters;
        Some(Secrets { key: bytes(key, sizes.key), iv: bytes(iv, sizes.iv), mac: bytes(mac, sizes.mac) })
    }
}

/// Which methods could log `portreeve` in; `none` alone if the server lets everyone in.
async fn ask_for_methods(packets: &mut Packets, until: Instant) -> Option<Vec<SafeText>> {
    packets.send(&message(MSG_SERVICE_REQUEST, &[&string(b"ssh-userauth")]), until).await?;
    packets.receive_of(MSG_SERVICE_ACCEPT, until).await?;
    let request = [string(USER.as_bytes()), string(b"ssh-connection"), string(b"none")].concat();
    packets.send(&message(MSG_USERAUTH_REQUEST, &[&request]), until).await?;
    for _ in 0..MAX_BETWEEN {
        let payload = packets.receive(until).await?;
        match *payload.first()? {
            MSG_USERAUTH_FAILURE => return methods(&payload),
            MSG_USERAUTH_SUCCESS => return Some(vec![SafeText::from("none")]),
            _ => {}
        }
    }
    None
}

fn message(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[number][..], &parts.concat()].concat()
}

/// A string of RFC 4251 5.
fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// An unsigned number as mpint of RFC 4251 5.
fn number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len());
    let bytes = bytes.get(zeros..).unwrap_or_default();
    match bytes.first() {
        Some(0x80..) => string(&[&[0][..], bytes].concat()),
        _ => string(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Database;

    #[test]
    fn the_database_sends_the_line_that_is_hashed_here() {
        let probes = Database::builtin().probes();
        let probe = probes.iter().find(|probe| probe.probe.id == "ssh-kex").expect("the probe");
        assert_eq!(probe.steps[0].as_ref(), format!("{IDENTIFICATION}\r\n").as_bytes());
    }

    #[test]
    fn numbers_have_no_leading_zeros_and_no_sign() {
        assert_eq!(number(&[0, 0, 0x7f]), [0, 0, 0, 1, 0x7f]);
        assert_eq!(number(&[0x80]), [0, 0, 0, 2, 0, 0x80]);
        assert_eq!(number(&[0]), [0, 0, 0, 0]);
    }

    #[test]
    fn one_algorithm_stands_for_each_kind_of_key() {
        let names =
            ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa", "ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"];
        let offer = Offer { host_keys: names.map(str::to_owned).to_vec(), ..Offer::default() };
        assert_eq!(key_kinds(&offer), ["rsa-sha2-512", "ssh-ed25519"]);
    }
}
