//! When the next probe is due: an absolute schedule, not a mean that is corrected afterwards.
//!
//! Probe `k` is due at `start + k / rate`. Errors cannot add up, so the rate is exact over any second. After
//! a stall (the machine was busy, the link was full) up to 10 ms' worth of probes is made up for, at no more than
//! one and a half times the rate; what was lost beyond is forgiven. So no stall is followed by a burst, and no
//! second gets more than 1 % above what was asked for.
//!
//! Pure: the time is an argument, measured from any fixed moment.

use std::time::Duration;

use crate::PacketsPerSecond;

/// A schedule for a rate.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    rate_pps: u64,
    /// When probe 0 of the running schedule was due, in nanoseconds.
    start_ns: u64,
    /// Probes granted since.
    granted: u64,
    /// The most that is made up for.
    debt_limit: u64,
    /// Probes that may leave at this moment, whatever is due.
    tokens: f64,
    /// When the tokens were counted.
    counted_ns: u64,
}

impl Pace {
    /// What is made up for after a stall.
    const CATCH_UP: Duration = Duration::from_millis(10);
    /// How fast it is made up for, as a multiple of the rate.
    const HURRY: f64 = 1.5;
    /// Tokens are kept for so long: what may leave at once.
    const MOMENT: Duration = Duration::from_millis(1);
    /// The longest wait, so that a cancelled scan is noticed.
    const LONGEST_WAIT: Duration = Duration::from_millis(100);

    /// A schedule that begins `now`. A rate of 0 is taken for 1.
    pub(crate) fn new(rate: PacketsPerSecond, now: Duration) -> Self {
        let rate_pps = u64::from(rate.0.max(1));
        let debt_limit = (rate_pps * Self::CATCH_UP.as_millis() as u64 / 1_000).max(1);
        Self { rate_pps, start_ns: nanos(now), granted: 0, debt_limit, tokens: 1.0, counted_ns: nanos(now) }
    }

    /// How many probes may leave now, at most `wanted`. What is granted counts as sent.
    pub(crate) fn grant(&mut self, now: Duration, wanted: u64) -> u64 {
        let now_ns = nanos(now);
        self.count_tokens(now_ns);
        let open = self.due(now_ns).saturating_sub(self.granted);
        if open > self.debt_limit {
            // Forgive: move the schedule so that no more than the limit is open.
            self.start_ns = now_ns.saturating_sub(self.offset_ns(self.debt_limit - 1));
            self.granted = 0;
        }
        let grant = open.min(self.debt_limit).min(self.tokens as u64).min(wanted);
        self.granted += grant;
        self.tokens -= grant as f64;
        grant
    }

    /// Takes back what was granted and not used: it stays due.
    pub(crate) fn give_back(&mut self, unused: u64) {
        self.granted = self.granted.saturating_sub(unused);
        self.tokens += unused as f64;
    }

    /// How long until the next probe may leave, at most [`Self::LONGEST_WAIT`].
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        let now_ns = nanos(now);
        let due_ns = self.start_ns.saturating_add(self.offset_ns(self.granted));
        let token_ns = self.counted_ns + ((1.0 - self.tokens).max(0.0) / self.hurried_per_ns()).ceil() as u64;
        Duration::from_nanos(due_ns.max(token_ns).saturating_sub(now_ns)).min(Self::LONGEST_WAIT)
    }

    fn count_tokens(&mut self, now_ns: u64) {
        let since_ns = now_ns.saturating_sub(self.counted_ns);
        let most = (self.rate_pps as f64 * Self::MOMENT.as_secs_f64()).max(1.0);
        self.tokens = (self.tokens + since_ns as f64 * self.hurried_per_ns()).min(most);
        self.counted_ns = now_ns;
    }

    fn hurried_per_ns(&self) -> f64 {
        self.rate_pps as f64 * Self::HURRY / 1e9
    }

    /// Probes due until `now_ns` since the schedule's start: probe 0 at once.
    fn due(&self, now_ns: u64) -> u64 {
        let Some(elapsed) = now_ns.checked_sub(self.start_ns) else { return 0 };
        (u128::from(elapsed) * u128::from(self.rate_pps) / 1_000_000_000) as u64 + 1
    }

    /// When probe `k` is due after the start; rounded up, so that it is due then.
    fn offset_ns(&self, k: u64) -> u64 {
        (u128::from(k) * 1_000_000_000).div_ceil(u128::from(self.rate_pps)) as u64
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sends as a loop would that wakes when told, late by `lateness`, for `seconds`; returns the departures.
    fn departures(rate: u32, seconds: u64, lateness: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut pace = Pace::new(PacketsPerSecond(rate), Duration::ZERO);
        let (mut now, mut turn) = (0, 0);
        let mut sent = Vec::new();
        while now < seconds * 1_000_000_000 {
            let grant = pace.grant(Duration::from_nanos(now), 64);
            sent.extend((0..grant).map(|_| now));
            let wait = pace.wait(Duration::from_nanos(now)).as_nanos() as u64;
            turn += 1;
            now += wait + lateness(turn);
        }
        sent
    }

    #[test]
    fn the_rate_is_exact_at_every_scale() {
        for rate in [1, 10, 333, 1_000, 10_000, 100_000, 1_000_000] {
            let seconds = if rate < 100 { 20 } else { 2 };
            let sent = departures(rate, seconds, |_| 1_000).len() as f64;
            let asked = f64::from(rate) * seconds as f64;
            assert!((sent - asked).abs() <= (asked * 0.01).max(1.0), "{sent} sent, {asked} asked");
        }
    }

    #[test]
    fn a_stall_is_not_followed_by_a_burst() {
        // Every 50th turn the machine is away for 80 ms.
        let sent = departures(10_000, 5, |turn| if turn % 50 == 0 { 80_000_000 } else { 1_000 });
        for (first, &at) in sent.iter().enumerate() {
            let within = |ns| sent[first..].iter().take_while(|&&later| later < at + ns).count();
            assert!(within(1_000_000) <= 26, "more than 2.5 times the share of 10 within 1 ms");
            assert!(within(10_000_000) <= 161, "more than 1.5 times the share of 100 within 10 ms");
        }
    }

    #[test]
    fn short_delays_are_made_good() {
        let sent = departures(10_000, 4, |turn| if turn % 500 == 0 { 8_000_000 } else { 50_000 }).len();
        assert!((39_800..=40_001).contains(&sent), "{sent} of 40000");
    }

    #[test]
    fn the_wait_is_never_long() {
        let mut pace = Pace::new(PacketsPerSecond(1), Duration::ZERO);
        assert_eq!(pace.grant(Duration::ZERO, 64), 1);
        assert_eq!(pace.grant(Duration::ZERO, 64), 0);
        assert_eq!(pace.wait(Duration::ZERO), Pace::LONGEST_WAIT);
    }

    proptest! {
        #[test]
        fn no_second_gets_more_than_asked(rate in 1_u32..5_000, waits in prop::collection::vec(0_u64..400_000_000, 1..200)) {
            let mut pace = Pace::new(PacketsPerSecond(rate), Duration::ZERO);
            let mut now = 0;
            let mut sent: Vec<u64> = Vec::new();
            for wait in waits {
                let grant = pace.grant(Duration::from_nanos(now), u64::MAX);
                sent.extend((0..grant).map(|_| now));
                now += wait;
            }
            for (first, &at) in sent.iter().enumerate() {
                let within = sent[first..].iter().take_while(|&&later| later < at + 1_000_000_000).count() as u64;
                prop_assert!(within <= u64::from(rate) + pace.debt_limit, "{} in a second at {}", within, rate);
            }
        }
    }
}
