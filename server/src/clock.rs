//! What time it is: an argument, so that schedules, leases and expiries are tested without waiting.

use std::{fmt, sync::Arc};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

/// Tells the time, in UTC with microseconds (what PostgreSQL keeps, so that a value read back is equal).
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "this module is the one that asks the system")]
    pub fn system() -> Self {
        Self(Arc::new(Utc::now))
    }

    /// Any source of time.
    pub fn from_fn(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        let now = (self.0)();
        now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
