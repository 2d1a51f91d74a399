//! Slows down whoever guesses passwords.
//!
//! Failures are counted for the account and for the network the request came from, in the database, so that
//! all server processes see one count. From a few failures on each further one makes the subject wait, twice
//! as long each time. A correct password clears the account's count, not the network's: otherwise one known
//! account would buy free guesses at all others.

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::ClientAddress;
use crate::{hex, store::throttle as store};

/// Failures are forgotten after this.
const MEMORY: TimeDelta = TimeDelta::hours(1);
/// The longest wait. Short enough that nobody can lock a user out for long by guessing badly.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(15);

/// The limits on log-in attempts.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// Failures of one account before it has to wait.
    pub account_failures: i32,
    /// Failures from one network before it has to wait: many people may share one.
    pub network_failures: i32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { account_failures: 5, network_failures: 30 }
    }
}

/// One attempt at an account from somewhere.
#[derive(Clone, Debug)]
pub struct Attempt {
    account: String,
    network: Option<String>,
}

impl Attempt {
    /// An attempt to log in as `account`. The name is hashed: people type passwords into the wrong field.
    pub fn new(account: &str, address: Option<ClientAddress>) -> Self {
        let digest = Sha256::digest(account.to_lowercase().as_bytes());
        let network = address.map(|address| format!("network:{}", address.network()));
        Self { account: format!("account:{}", hex::encode(&digest)), network }
    }

    /// How long this attempt has to wait; `None` when it may go on.
    pub async fn wait(&self, pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<Option<TimeDelta>> {
        let subjects: Vec<String> =
            [Some(self.account.clone()), self.network.clone()].into_iter().flatten().collect();
        Ok(store::blocked_until(pool, &subjects, now).await?.map(|until| until - now))
    }

    /// Counts a wrong password.
    pub async fn failed(&self, pool: &PgPool, limits: Throttle, now: DateTime<Utc>) -> sqlx::Result<()> {
        Self::count(pool, &self.account, limits.account_failures, now).await?;
        if let Some(network) = &self.network {
            Self::count(pool, network, limits.network_failures, now).await?;
        }
        Ok(())
    }

    /// Forgets the account's failures after a correct password.
    pub async fn succeeded(&self, pool: &PgPool) -> sqlx::Result<()> {
        store::clear(pool, &self.account).await
    }

    async fn count(pool: &PgPool, subject: &str, free: i32, now: DateTime<Utc>) -> sqlx::Result<()> {
        let failures = store::count_failure(pool, subject, now, MEMORY).await?;
        if let Some(wait) = wait_after(failures, free) {
            store::block(pool, subject, now + wait).await?;
        }
        Ok(())
    }
}

/// The wait after the `failures`-th failure in a row when `free` of them cost nothing.
fn wait_after(failures: i32, free: i32) -> Option<TimeDelta> {
    let over = failures.checked_sub(free).filter(|over| *over >= 0)?;
    let seconds = 2_i64.saturating_pow(over.unsigned_abs().min(20));
    Some(TimeDelta::seconds(seconds).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        assert_eq!(wait_after(4, 5), None);
        assert_eq!(wait_after(5, 5), Some(TimeDelta::seconds(1)));
        assert_eq!(wait_after(8, 5), Some(TimeDelta::seconds(8)));
        assert_eq!(wait_after(i32::MAX, 5), Some(LONGEST_WAIT));
    }
}
