//! Random secrets that are shown once and stored as hashes.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::hex;

/// What a token is for. The prefix lets people and secret scanners see it; it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An agent's own credential.
    Agent,
    /// OPM's access token for an agent (15 minutes).
    AgentAccess,
    /// A key for automation.
    ApiKey,
    /// Turns a new agent into a known one, once.
    Enrollment,
    /// A user's session.
    Session,
    /// Makes the first admin, once.
    Setup,
}

impl TokenKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Agent => "pra_",
            Self::AgentAccess => "prt_",
            Self::ApiKey => "prk_",
            Self::Enrollment => "pre_",
            Self::Session => "prs_",
            Self::Setup => "pru_",
        }
    }
}

/// A secret on its way to the one who may have it. Not `Debug`, not `Clone`: it is shown once.
pub struct Token(String);

impl Token {
    /// 256 bits from the operating system's generator.
    pub fn generate(kind: TokenKind) -> Self {
        let secret: [u8; 32] = rand::random();
        Self(format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(secret)))
    }

    /// 256 bits as 64 hexadecimal digits: what OPM's agents expect of an API key.
    pub fn generate_hex() -> Self {
        let secret: [u8; 32] = rand::random();
        Self(hex::encode(&secret))
    }

    /// The text to hand over.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The text to hand over, once.
    pub fn into_string(self) -> String {
        self.0
    }

    /// What is stored.
    pub fn hash(&self) -> Vec<u8> {
        hash_token(&self.0)
    }

    /// The first characters, to tell tokens apart in a list: too few to guess the rest.
    pub fn display_prefix(&self) -> String {
        self.0.chars().take(10).collect()
    }
}

/// SHA-256 of a token as it was shown: enough for 256 random bits, and a plain index finds it. The look-up's
/// time tells nothing of the token, only of its hash.
pub fn hash_token(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_say_what_they_are() {
        let (one, other) = (Token::generate(TokenKind::ApiKey), Token::generate(TokenKind::ApiKey));
        assert!(one.reveal().starts_with("prk_") && one.reveal().len() == 4 + 43);
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(one.hash(), hash_token(one.reveal()));
        assert_eq!(Token::generate_hex().reveal().len(), 64);
    }
}
