//! The one place that asks the system for the time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use portreeve_model::Timestamp;

/// The time of day; 0 before 1970.
#[expect(clippy::disallowed_methods, reason = "the clock that main hands to everything else")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
