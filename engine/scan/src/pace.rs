//! When the next probe is due: an absolute schedule, not a mean that is corrected afterwards.
//!
//! Probe `k` is due at `start + k / rate`. Errors cannot add up, so the rate is exact over any second. What a
//! stall holds up (the machine was busy, the link was full) stays due for a second and is paid back within two
//! bounds, both token buckets (Turner 1986) beside the schedule: in no second does more than 1 % above the rate
//! leave, and in no 10 ms more than 1.6 times their share. So no stall is followed by a burst; what is still due
//! after a second is forgiven.
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
    /// Keeps every second within its share.
    second: Bucket,
    /// Keeps every 10 ms within bounds.
    moment: Bucket,
    /// When the last probes were granted.
    granted_ns: u64,
}

/// Tokens that probes are paid with: they come at a rate, and only so many are kept.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    per_ns: f64,
    most: f64,
    tokens: f64,
    counted_ns: u64,
}

impl Bucket {
    fn new(per_second: f64, most: f64, now_ns: u64) -> Self {
        Self { per_ns: per_second / 1e9, most, tokens: 1.0, counted_ns: now_ns }
    }

    fn count(&mut self, now_ns: u64) {
        let since_ns = now_ns.saturating_sub(self.counted_ns);
        self.tokens = (self.tokens + since_ns as f64 * self.per_ns).min(self.most);
        self.counted_ns = now_ns;
    }

    /// When there is a whole token.
    fn ready_ns(&self) -> u64 {
        self.counted_ns + ((1.0 - self.tokens).max(0.0) / self.per_ns).ceil() as u64
    }
}

impl Pace {
    /// How long what was held up stays due.
    const MEMORY: Duration = Duration::from_secs(1);
    /// What may be made up for at once, and how much faster than the rate the rest is: together 1 % in a second.
    const AT_ONCE: Duration = Duration::from_millis(5);
    const LATER: f64 = 1.005;
    /// How fast it is made up for at most, as a multiple of the rate, and what may leave at one moment.
    const HURRY: f64 = 1.5;
    const MOMENT: Duration = Duration::from_millis(1);
    /// Probes leave in groups so far apart: waking for each would cost more than sending it.
    const QUANTUM: Duration = Duration::from_micros(250);
    /// The longest wait, so that a cancelled scan is noticed.
    const LONGEST_WAIT: Duration = Duration::from_millis(100);

    /// A schedule that begins `now`. A rate of 0 is taken for 1.
    pub(crate) fn new(rate: PacketsPerSecond, now: Duration) -> Self {
        let rate_pps = u64::from(rate.0.max(1));
        let (rate, now_ns) = (rate_pps as f64, nanos(now));
        let worth = |time: Duration| 1.0 + rate * time.as_secs_f64();
        Self {
            rate_pps,
            start_ns: now_ns,
            granted: 0,
            second: Bucket::new(rate * Self::LATER, worth(Self::AT_ONCE), now_ns),
            moment: Bucket::new(rate * Self::HURRY, worth(Self::MOMENT), now_ns),
            granted_ns: now_ns,
        }
    }

    /// A schedule for one of `parts` that share the rate, beginning `now`. The bounds of the parts add up to those
    /// of the whole, so they need not know of each other.
    pub(crate) fn share(&self, parts: usize, now: Duration) -> Self {
        let rate = u32::try_from(self.rate_pps / parts.max(1) as u64).unwrap_or(u32::MAX);
        Self::new(PacketsPerSecond(rate), now)
    }

    /// The rate that it keeps.
    pub(crate) fn rate(&self) -> PacketsPerSecond {
        PacketsPerSecond(u32::try_from(self.rate_pps).unwrap_or(u32::MAX))
    }

    /// How many probes may leave now, at most `wanted`. What is granted counts as sent.
    pub(crate) fn grant(&mut self, now: Duration, wanted: u64) -> u64 {
        let now_ns = nanos(now);
        self.second.count(now_ns);
        self.moment.count(now_ns);
        self.forgive(now_ns);
        let paid = self.second.tokens.min(self.moment.tokens) as u64;
        let grant = self.due(now_ns).saturating_sub(self.granted).min(paid).min(wanted);
        if grant > 0 {
            self.granted_ns = now_ns;
            self.granted += grant;
            self.second.tokens -= grant as f64;
            self.moment.tokens -= grant as f64;
        }
        grant
    }

    /// Takes back what was granted and not used: it stays due.
    pub(crate) fn give_back(&mut self, unused: u64) {
        self.granted = self.granted.saturating_sub(unused);
        self.second.tokens += unused as f64;
        self.moment.tokens += unused as f64;
    }

    /// How long until the next probes may leave, at most [`Self::LONGEST_WAIT`].
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        let due_ns = self.start_ns.saturating_add(self.offset_ns(self.granted));
        let group_ns = self.granted_ns + nanos(Self::QUANTUM);
        let next_ns = due_ns.max(group_ns).max(self.second.ready_ns()).max(self.moment.ready_ns());
        Duration::from_nanos(next_ns.saturating_sub(nanos(now))).min(Self::LONGEST_WAIT)
    }

    /// Moves the schedule so that no more than the memory is open.
    fn forgive(&mut self, now_ns: u64) {
        let most = (self.rate_pps as f64 * Self::MEMORY.as_secs_f64()) as u64;
        if self.due(now_ns).saturating_sub(self.granted) > most {
            self.start_ns = now_ns.saturating_sub(self.offset_ns(most.saturating_sub(1)));
            self.granted = 0;
        }
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
            let wait = if grant < 64 { pace.wait(Duration::from_nanos(now)).as_nanos() as u64 } else { 0 };
            turn += 1;
            now += wait + lateness(turn);
        }
        sent
    }

    /// The most departures in any `window_ns`.
    fn busiest(sent: &[u64], window_ns: u64) -> usize {
        let within = |first: usize| sent[first..].partition_point(|&later| later < sent[first] + window_ns);
        (0..sent.len()).map(within).max().unwrap_or(0)
    }

    #[test]
    fn the_rate_is_exact_at_every_scale() {
        for rate in [1, 10, 333, 1_000, 10_000, 100_000, 1_000_000] {
            let seconds = if rate < 100 { 20 } else { 2 };
            let sent = departures(rate, seconds, |_| 1_000).len() as f64;
            let asked = f64::from(rate) * seconds as f64;
            assert!((sent - asked).abs() <= (asked * 0.001).max(1.0), "{sent} sent, {asked} asked");
        }
    }

    #[test]
    fn a_stall_is_not_followed_by_a_burst() {
        // Every 50th turn the machine is away for 80 ms.
        let sent = departures(10_000, 5, |turn| if turn % 50 == 0 { 80_000_000 } else { 1_000 });
        assert!(busiest(&sent, 1_000_000) <= 26, "more than 2.5 times the share of 10 within 1 ms");
        assert!(busiest(&sent, 10_000_000) <= 161, "more than 1.6 times the share of 100 within 10 ms");
        assert!(busiest(&sent, 1_000_000_000) <= 10_101, "more than 1 % above the rate within a second");
    }

    #[test]
    fn delays_are_made_good() {
        // 3 ms late twenty times a second would be 6 % less.
        let sent = departures(10_000, 4, |turn| if turn % 200 == 0 { 3_000_000 } else { 50_000 }).len();
        assert!((39_800..=40_001).contains(&sent), "{sent} of 40000");
        // One long stall is paid back over the seconds that follow.
        let sent = departures(10_000, 12, |turn| if turn == 100 { 50_000_000 } else { 1_000 });
        assert!((119_990..=120_001).contains(&sent.len()), "{} of 120000", sent.len());
        assert!(busiest(&sent, 1_000_000_000) <= 10_101);
    }

    #[test]
    fn probes_leave_in_groups() {
        let mut pace = Pace::new(PacketsPerSecond(100_000), Duration::ZERO);
        let (mut now, mut wakes) = (Duration::ZERO, 0);
        while now < Duration::from_secs(1) {
            pace.grant(now, 64);
            now += pace.wait(now);
            wakes += 1;
        }
        assert!(wakes <= 4_100, "{wakes} wakes a second");
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
            let most = (f64::from(rate) * 1.01 + 1.0).ceil() as usize;
            prop_assert!(busiest(&sent, 1_000_000_000) <= most, "more than {} in a second", most);
        }
    }
}
