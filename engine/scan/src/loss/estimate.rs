//! How many targets would have answered and did not: estimated from which attempt the others answered.
//!
//! Each attempt at the silent targets takes those that answer out of the silent ones. That is the removal method
//! of counting a population (Zippin 1956, "An evaluation of the removal method of estimating animal
//! populations", Biometrics 12): if a probe or its answer is lost with probability p, a target that answers does
//! so at attempt a with probability p^a (1 - p), and after k attempts p^k of all are missed. From the attempts that
//! were answered p follows as the value that makes their mean likeliest, the geometric distribution cut off at k.
//!
//! Only TCP answers count: what ICMP says is rate-limited by those who say it, which is not loss.
//!
//! The bound holds 19 times in 20 where losses strike targets alike. Where they do not, the later attempts show
//! it: they then take out fewer than the first would have it, and the bound is drawn from them.

/// Targets by the attempt that they answered first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Histories {
    /// How many answered attempt 0, 1, 2 ….
    pub(crate) first_answers: [u64; Self::ATTEMPTS],
    /// How many attempts were made.
    pub(crate) attempts: u8,
}

impl Histories {
    /// Attempts that are counted apart; later ones count with the last.
    pub(crate) const ATTEMPTS: usize = 16;
    /// Losses above this are not told apart: next to nothing comes through.
    const WORST: f64 = 0.99;
    /// Answers to later attempts that say something about those attempts on their own.
    const ENOUGH: f64 = 30.0;

    /// Targets that answered.
    pub(crate) fn answered(&self) -> f64 {
        self.first_answers.iter().sum::<u64>() as f64
    }

    /// Probes to them that went unanswered before.
    fn failures(&self) -> f64 {
        (0_u64..).zip(self.first_answers).map(|(attempt, count)| attempt * count).sum::<u64>() as f64
    }

    fn count(&self, attempts: std::ops::Range<usize>) -> f64 {
        self.first_answers.get(attempts).unwrap_or_default().iter().sum::<u64>() as f64
    }

    /// What came of the attempts from `first` on, as if those had been all.
    pub(crate) fn since(&self, first: u8) -> Self {
        let mut first_answers = [0; Self::ATTEMPTS];
        for (count, &later) in first_answers.iter_mut().zip(self.first_answers.iter().skip(first.into())) {
            *count = later;
        }
        Self { first_answers, attempts: self.attempts.saturating_sub(first) }
    }

    /// The share of probes that go unanswered though their target answers; `None` if nothing can be said.
    pub(crate) fn loss(&self) -> Option<f64> {
        let (answered, attempts) = (self.answered(), f64::from(self.attempts));
        let mean = self.failures() / answered;
        if self.attempts < 2 || answered == 0.0 {
            return None;
        }
        if mean == 0.0 {
            return Some(0.0);
        }
        // Zippin's condition: as many take part in the last attempt as in the first, so there is no end in sight.
        if mean >= (attempts - 1.0) / 2.0 {
            return Some(Self::WORST);
        }
        let (mut low, mut high) = (0.0, Self::WORST);
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if mean_of_cut_geometric(middle, attempts) < mean { low = middle } else { high = middle }
        }
        Some(f64::midpoint(low, high))
    }

    /// As [`Self::loss`], one-sided upper bound at 95 %.
    fn loss_at_most(&self, loss: f64) -> f64 {
        let trials = self.answered() + self.failures();
        // Without any loss among n, the rule of three.
        (loss + 1.645 * (loss * (1.0 - loss) / trials).sqrt()).max(3.0 / trials).min(Self::WORST)
    }

    /// How many targets are expected to answer yet, where losses were seen; 0 where none were.
    pub(crate) fn expected_missing(&self) -> f64 {
        if self.failures() == 0.0 {
            return 0.0;
        }
        self.loss().map_or(0.0, |loss| self.missing(self.loss_at_most(loss)))
    }

    fn missing(&self, loss: f64) -> f64 {
        let missed_share = loss.powi(i32::from(self.attempts));
        self.answered() * missed_share / (1.0 - missed_share)
    }

    /// At most so many are missing.
    fn missing_at_most(&self, loss: f64) -> f64 {
        let attempts = usize::from(self.attempts);
        let alike = self.missing(self.loss_at_most(loss));
        let before_last = self.count(1..attempts.saturating_sub(1));
        let later = poisson_at_most(self.count(2..attempts)) / before_last.max(1.0);
        let unlike = if before_last < Self::ENOUGH { 0.0 } else { later.min(0.9) };
        let ratio = unlike.max(self.loss_at_most(loss));
        let last = poisson_at_most(self.count(attempts.saturating_sub(1)..attempts));
        let by_the_last = if unlike > 0.0 { last * ratio / (1.0 - ratio) } else { 0.0 };
        let expected = alike.max(by_the_last);
        expected + 1.645 * expected.sqrt()
    }
}

/// The mean of a geometric distribution on 0, 1 … k-1 with ratio p.
fn mean_of_cut_geometric(p: f64, k: f64) -> f64 {
    let cut = p.powf(k);
    p / (1.0 - p) - k * cut / (1.0 - cut)
}

/// The mean of a Poisson variable of which `count` were seen is at most this, 95 times in 100 (within 3 %).
fn poisson_at_most(count: f64) -> f64 {
    ((count + 1.0).sqrt() + 0.76).powi(2)
}

/// What is known of losses, over all stretches of a scan.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    answered: f64,
    missed: f64,
    missed_at_most: f64,
    failures: f64,
    /// Whether any stretch told the loss.
    told: bool,
    /// A stretch of which nothing can be said: it had silent targets and one attempt only.
    unknown: bool,
}

impl Losses {
    /// Adds a stretch. Where everyone has answered (it is settled) nothing is missed. What is missed otherwise is
    /// estimated from the attempts since `even`: those before met another loss.
    pub(crate) fn add(&mut self, histories: &Histories, even: u8, settled: bool) {
        let answered = histories.answered();
        self.answered += answered;
        if settled {
            self.failures += histories.failures();
            self.told |= answered > 0.0;
            return;
        }
        let recent = Some(histories.since(even)).filter(|recent| recent.loss().is_some());
        // Too few since then: those before are better than none.
        let recent = recent.unwrap_or(*histories);
        let Some(loss) = recent.loss() else {
            self.unknown = true;
            return;
        };
        self.told = true;
        let missed = recent.missing(loss);
        self.missed += missed;
        self.missed_at_most += recent.missing_at_most(loss).max(missed);
        // Those that are missing cost a probe at each attempt.
        self.failures += histories.failures() + missed * f64::from(histories.attempts);
    }

    /// The share of answering targets that never answered, 0-1, if it can be estimated.
    pub(crate) fn missed(&self) -> Option<f32> {
        self.share(self.missed, self.answered + self.missed)
    }

    /// Most probably no larger a share was missed.
    pub(crate) fn missed_at_most(&self) -> Option<f32> {
        self.share(self.missed_at_most, self.answered + self.missed_at_most)
    }

    /// The share of probes to answering targets that went unanswered, 0-1: lost, or their answer.
    pub(crate) fn lost(&self) -> Option<f32> {
        let share = self.failures / (self.answered + self.failures);
        self.told.then_some(share as f32)
    }

    fn share(&self, part: f64, whole: f64) -> Option<f32> {
        (!self.unknown && whole > 0.0).then_some((part / whole) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `targets` that answer, how many do at each attempt if `loss` is lost each time.
    fn expected(targets: f64, loss: f64, attempts: u8) -> Histories {
        let mut first_answers = [0; Histories::ATTEMPTS];
        for (attempt, count) in (0..i32::from(attempts)).zip(&mut first_answers) {
            *count = (targets * loss.powi(attempt) * (1.0 - loss)).round() as u64;
        }
        Histories { first_answers, attempts }
    }

    fn losses(histories: &Histories, settled: bool) -> Losses {
        let mut losses = Losses::default();
        losses.add(histories, 0, settled);
        losses
    }

    #[test]
    fn what_answers_only_when_asked_again_tells_what_is_missed() {
        for (loss, attempts) in [(0.1, 2), (0.0975, 3), (0.2, 4), (0.5, 5), (0.01, 2)] {
            let losses = losses(&expected(1e6, loss, attempts), false);
            let missed = loss.powi(i32::from(attempts));
            let estimate = f64::from(losses.missed().expect("known"));
            assert!((estimate - missed).abs() <= missed * 0.02 + 1e-6, "{estimate}, {missed} expected");
            assert!((f64::from(losses.lost().expect("known")) - loss).abs() < 0.002);
            assert!(losses.missed_at_most() >= losses.missed());
        }
    }

    #[test]
    fn attempts_before_the_rate_was_changed_are_left_out() {
        // Three quarters are lost at first, nothing once it goes slower; a few packets filters stay silent.
        let mut histories = Histories { attempts: 4, ..Histories::default() };
        histories.first_answers[..4].copy_from_slice(&[2_000, 1_500, 4_500, 0]);
        let mut losses = Losses::default();
        losses.add(&histories, 2, false);
        assert_eq!(losses.missed(), Some(0.0));
        assert!((f64::from(losses.lost().expect("known")) - 10_500.0 / 18_500.0).abs() < 1e-6);
        // Ended before there was anything to compare at the slower rate.
        let mut both = Histories { attempts: 2, ..Histories::default() };
        both.first_answers[..2].copy_from_slice(&[2_000, 800]);
        let mut losses = Losses::default();
        losses.add(&both, 2, false);
        assert!(losses.missed().is_some_and(|missed| missed > 0.1));
    }

    #[test]
    fn one_attempt_tells_nothing_unless_everyone_has_answered() {
        let once = expected(1_000.0, 0.1, 1);
        assert_eq!(losses(&once, false).missed(), None);
        assert_eq!(losses(&once, false).lost(), None);
        let all = Histories { first_answers: expected(1_000.0, 0.0, 1).first_answers, attempts: 1 };
        assert_eq!((losses(&all, true).missed(), losses(&all, true).lost()), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn without_any_loss_the_bound_follows_from_how_many_answered() {
        let few = losses(&expected(20.0, 0.0, 2), false);
        let many = losses(&expected(20_000.0, 0.0, 2), false);
        assert_eq!((few.missed(), many.missed()), (Some(0.0), Some(0.0)));
        let (few, many) = (few.missed_at_most().expect("known"), many.missed_at_most().expect("known"));
        assert!(few > 0.01 && many < 1e-5, "{few} {many}");
        assert!(expected(20.0, 0.0, 2).expected_missing() <= 0.0);
    }

    #[test]
    fn hosts_that_lose_more_than_others_widen_the_bound() {
        // 10,000 targets lose nothing, 200 lose every second probe: after four attempts 12.5 are missing.
        let mut mixed = expected(200.0, 0.5, 4);
        mixed.first_answers[0] += 10_000;
        let bound = f64::from(losses(&mixed, false).missed_at_most().expect("known")) * 10_200.0;
        assert!((12.5..60.0).contains(&bound), "{bound}");
    }

    #[test]
    fn no_history_is_beyond_it() {
        let cases = [
            Histories { first_answers: [0; 16], attempts: 2 },
            Histories { first_answers: [1; 16], attempts: 16 },
            Histories { first_answers: [u64::from(u32::MAX); 16], attempts: 2 },
            Histories { first_answers: [0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], attempts: 2 },
        ];
        for histories in cases {
            let losses = losses(&histories, false);
            for share in [losses.missed(), losses.missed_at_most(), losses.lost()].into_iter().flatten() {
                assert!((0.0..=1.0).contains(&share), "{histories:?}: {share}");
            }
            assert!(histories.expected_missing().is_finite());
        }
    }
}
