//! Key exchange methods: what we send, and the secret that comes of the answer.
//!
//! Nothing secret ever goes over these connections, so a method that is weak by today's standards is good enough
//! to be shown a host key.

use num_bigint::BigUint;
use ring::{
    agreement::{self, ECDH_P256, ECDH_P384, EphemeralPrivateKey, UnparsedPublicKey, X25519},
    rand::{SecureRandom, SystemRandom},
};
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384};

/// Hash function of a method.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
}

impl Hash {
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
        }
    }
}

/// How the secret is agreed on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// An elliptic curve of ring's (RFC 5656, RFC 8731).
    Curve(&'static agreement::Algorithm),
    /// A fixed group, as hexadecimal prime; the generator is 2 (RFC 4253 8).
    Group(&'static str),
    /// A group of the server's choice (RFC 4419).
    GroupExchange,
}

/// A key exchange method.
#[derive(Debug)]
pub(super) struct Method {
    pub name: &'static str,
    pub kind: Kind,
    pub hash: Hash,
}

/// Methods we know, cheapest first.
pub(super) const METHODS: &[Method] = &[
    Method { name: "curve25519-sha256", kind: Kind::Curve(&X25519), hash: Hash::Sha256 },
    Method { name: "curve25519-sha256@libssh.org", kind: Kind::Curve(&X25519), hash: Hash::Sha256 },
    Method { name: "ecdh-sha2-nistp256", kind: Kind::Curve(&ECDH_P256), hash: Hash::Sha256 },
    Method { name: "ecdh-sha2-nistp384", kind: Kind::Curve(&ECDH_P384), hash: Hash::Sha384 },
    Method { name: "diffie-hellman-group14-sha256", kind: Kind::Group(GROUP_14), hash: Hash::Sha256 },
    Method { name: "diffie-hellman-group14-sha1", kind: Kind::Group(GROUP_14), hash: Hash::Sha1 },
    Method { name: "diffie-hellman-group1-sha1", kind: Kind::Group(GROUP_1), hash: Hash::Sha1 },
    Method { name: "diffie-hellman-group-exchange-sha256", kind: Kind::GroupExchange, hash: Hash::Sha256 },
    Method { name: "diffie-hellman-group-exchange-sha1", kind: Kind::GroupExchange, hash: Hash::Sha1 },
];

/// Second Oakley group, 1024 bits (RFC 2409 6.2).
const GROUP_1: &str = "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd\
                       ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed\
                       ee386bfb5a899fa5ae9f24117c4b1fe649286651ece65381ffffffffffffffff";
/// 2048 bits (RFC 3526 3).
const GROUP_14: &str = "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd\
                        ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed\
                        ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f\
                        83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b\
                        e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa0510\
                        15728e5a8aacaa68ffffffffffffffff";
/// The largest prime worth the arithmetic, in bits.
const MAX_PRIME_BITS: u64 = 8192;

/// Our half of an exchange.
pub(super) enum Ours {
    Curve(&'static agreement::Algorithm, EphemeralPrivateKey),
    Group { prime: BigUint, exponent: BigUint },
}

/// Our half and the public value to send, as the message has it.
pub(super) fn on_curve(curve: &'static agreement::Algorithm) -> Option<(Ours, Vec<u8>)> {
    let private = EphemeralPrivateKey::generate(curve, &SystemRandom::new()).ok()?;
    let public = private.compute_public_key().ok()?.as_ref().to_vec();
    Some((Ours::Curve(curve, private), public))
}

/// The same in a fixed group.
pub(super) fn in_fixed_group(prime: &str) -> Option<(Ours, Vec<u8>)> {
    let prime = BigUint::parse_bytes(prime.as_bytes(), 16)?;
    in_group(&prime.to_bytes_be(), &[2])
}

/// The same in a group that the server chose; `None` if that is no sensible group.
pub(super) fn in_group(prime: &[u8], generator: &[u8]) -> Option<(Ours, Vec<u8>)> {
    let (prime, generator) = (BigUint::from_bytes_be(prime), BigUint::from_bytes_be(generator));
    let one = BigUint::from(1_u8);
    let is_sensible = (512..=MAX_PRIME_BITS).contains(&prime.bits())
        && prime.bit(0)
        && generator > one
        && generator < prime;
    if !is_sensible {
        return None;
    }
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    let exponent = BigUint::from_bytes_be(&bytes) | one;
    let public = generator.modpow(&exponent, &prime).to_bytes_be();
    Some((Ours::Group { prime, exponent }, public))
}

impl Ours {
    /// The shared secret, as an unsigned number; `None` if the server's value is out of range.
    pub fn secret(self, theirs: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Curve(curve, private) => {
                let theirs = UnparsedPublicKey::new(curve, theirs);
                agreement::agree_ephemeral(private, &theirs, <[u8]>::to_vec).ok()
            }
            Self::Group { prime, exponent } => {
                let theirs = BigUint::from_bytes_be(theirs);
                let one = BigUint::from(1_u8);
                (theirs > one && theirs < prime).then(|| theirs.modpow(&exponent, &prime).to_bytes_be())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sides_agree_by_every_fixed_method() {
        for method in METHODS {
            let begin = || match method.kind {
                Kind::Curve(curve) => on_curve(curve).expect("a key"),
                Kind::Group(prime) => in_fixed_group(prime).expect("a group"),
                Kind::GroupExchange => in_fixed_group(GROUP_14).expect("a group"),
            };
            let ((here, from_here), (there, from_there)) = (begin(), begin());
            let secret = here.secret(&from_there).expect("a secret");
            assert_eq!(there.secret(&from_here), Some(secret), "{}", method.name);
        }
    }

    #[test]
    fn hostile_groups_and_values_are_refused() {
        for (prime, generator) in
            [(&[0_u8; 256][..], &[2_u8][..]), (&[0xff; 3000], &[2]), (&[0xff; 256], &[1]), (&[], &[])]
        {
            assert!(in_group(prime, generator).is_none());
        }
        let (ours, _) = in_fixed_group(GROUP_14).expect("a group");
        assert_eq!(ours.secret(&[1]), None);
        let (ours, _) = on_curve(&X25519).expect("a key");
        assert_eq!(ours.secret(&[0; 7]), None);
    }
}
