//! Passwords: argon2id, off the request threads, and never more at once than the machine can take.

use std::sync::{Arc, LazyLock};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

/// The shortest password taken for a new account (NIST SP 800-63B 3.1.1.2).
const SHORTEST: usize = 8;
/// The longest: long enough for any phrase, short enough that hashing it is no work.
const LONGEST: usize = 1024;

/// A password could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The stored hash is in no known form.
    #[error("the stored password hash is not in a known form; set a new password for this account")]
    UnknownForm,
    /// Hashing itself failed.
    #[error("hashing a password failed: {0}")]
    Hash(String),
}

/// Hashes and checks passwords with argon2id (RFC 9106; 19 MiB, 2 passes: OWASP's first choice).
#[derive(Clone, Debug)]
pub struct Passwords {
    /// Each hash takes 19 MiB and a core: as many at once as there are cores, the rest wait their turn.
    permits: Arc<Semaphore>,
}

/// A valid hash of nothing, checked when an account does not exist, so that its absence takes the same time.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash("no account has this password").unwrap_or_default());

impl Passwords {
    /// One hash a core at a time.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { permits: Arc::new(Semaphore::new(cores)) }
    }

    /// A new hash in PHC form, with a salt of its own.
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let password = password.to_owned();
        self.off_thread(move || hash(&password)).await
    }

    /// Whether `password` is the one `stored` was made from. With no account (`None`) the work is done all the
    /// same and the answer is no.
    pub async fn verify(&self, password: &str, stored: Option<&str>) -> Result<bool, PasswordError> {
        let (password, stored) = (password.to_owned(), stored.map(str::to_owned));
        self.off_thread(move || match stored {
            Some(stored) => verify(&password, &stored),
            None => verify(&password, &NOBODY).map(|_| false),
        })
        .await
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let closed = |error: &dyn std::fmt::Display| PasswordError::Hash(error.to_string());
        let _permit = self.permits.acquire().await.map_err(|error| closed(&error))?;
        tokio::task::spawn_blocking(work).await.map_err(|error| closed(&error))?
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a password is not good enough for a new account, in a sentence.
pub fn check_new_password(password: &str) -> Result<(), String> {
    match password.chars().count() {
        length if length < SHORTEST => Err(format!("Password must have at least {SHORTEST} characters")),
        length if length > LONGEST => Err(format!("Password must have at most {LONGEST} characters")),
        _ => Ok(()),
    }
}

fn hash(password: &str) -> Result<String, PasswordError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| PasswordError::Hash(error.to_string()))
}

fn verify(password: &str, stored: &str) -> Result<bool, PasswordError> {
    let stored = PasswordHash::new(stored).map_err(|_| PasswordError::UnknownForm)?;
    Ok(Argon2::default().verify_password(password.as_bytes(), &stored).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn checks_what_it_hashed() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse", Some(&hash)).await.unwrap());
        assert!(!passwords.verify("wrong horse", Some(&hash)).await.unwrap());
        assert!(!passwords.verify("no account has this password", None).await.unwrap());
        assert!(passwords.verify("x", Some("md5:abc")).await.is_err());
    }

    #[test]
    fn refuses_short_and_endless_passwords() {
        assert!(check_new_password("1234567").is_err());
        assert!(check_new_password("ächtzehn").is_ok());
        assert!(check_new_password(&"x".repeat(1025)).is_err());
    }
}
