//! How long to wait before trying again.

use std::time::Duration;

/// Exponential waits with full jitter, so that many agents do not return to a recovering server at once.
///
/// The n-th wait is drawn evenly from [`Self::FLOOR`] to `min(LONGEST, FIRST × 2ⁿ)`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FLOOR: Duration = Duration::from_millis(100);
    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(15);

    /// Forgets the failures.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits after a failure; the server's `Retry-After`, if any, is the least.
    pub(crate) async fn wait(&mut self, retry_after: Option<Duration>) {
        tokio::time::sleep(self.next(retry_after, rand::random())).await;
    }

    /// The next wait; `chance` is even over its whole range.
    fn next(&mut self, retry_after: Option<Duration>, chance: u32) -> Duration {
        let ceiling = Self::FIRST.saturating_mul(1 << self.failures.min(10)).min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        let drawn = ceiling.mul_f64(f64::from(chance) / f64::from(u32::MAX)).max(Self::FLOOR);
        drawn.max(retry_after.unwrap_or_default().min(Duration::from_mins(5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over() {
        let mut backoff = Backoff::default();
        let longest: Vec<_> = (0..8).map(|_| backoff.next(None, u32::MAX).as_millis()).collect();
        assert_eq!(longest, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
        backoff.reset();
        assert_eq!(backoff.next(None, 0), Backoff::FLOOR);
    }

    #[test]
    fn the_server_can_ask_for_more_patience_within_reason() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Some(Duration::from_secs(7)), 0), Duration::from_secs(7));
        assert_eq!(backoff.next(Some(Duration::from_hours(24)), 0), Duration::from_mins(5));
    }
}
