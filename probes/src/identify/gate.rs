//! How many endpoints are talked to at the same time: more as long as all goes well, fewer when this machine cannot
//! keep up. A program that comes late to its answers takes them for silence, so it has to notice that it is late.
//!
//! Whoever waits first at the door watches the clock for all: while timers fire in time, the gate is opened further at
//! every look; that takes a fifth of a second from the least to a thousand.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

/// Where a gate begins, and below which it never goes.
const LEAST: usize = 32;
/// A task that waits so long for its turn would take a prompt answer for a late one.
const LATE: Duration = Duration::from_millis(25);
/// With waits below this there is room for more.
const PROMPT: Duration = Duration::from_millis(5);
/// Between two looks at the clock, while somebody waits at the door.
const LOOK: Duration = Duration::from_millis(10);
/// Places are taken away no more often than this: many conversations notice the same trouble.
const RELIEF: Duration = Duration::from_millis(100);

/// Lets endpoints in.
#[derive(Debug)]
pub(super) struct Gate {
    permits: Semaphore,
    /// Held by whoever watches the clock.
    watch: tokio::sync::Mutex<()>,
    /// When the clock is looked at next.
    next_look: Mutex<Option<Instant>>,
    /// When places were last taken away.
    narrowed: Mutex<Option<Instant>>,
    /// Places that there are, taken or not.
    width: AtomicUsize,
    /// Places to be taken away as soon as they are left.
    excess: AtomicUsize,
    most: usize,
}

/// A place inside.
#[derive(Debug)]
pub(super) struct Place<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
}

impl Gate {
    /// One that opens to `most` at the widest.
    pub fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let width = LEAST.min(most);
        Self {
            permits: Semaphore::new(width),
            watch: tokio::sync::Mutex::default(),
            next_look: Mutex::default(),
            narrowed: Mutex::default(),
            width: AtomicUsize::new(width),
            excess: AtomicUsize::new(0),
            most,
        }
    }

    /// Waits to be let in.
    pub async fn enter(&self) -> Place<'_> {
        let permit = tokio::select! {
            biased;
            // The semaphore is never closed; were it, going on without a permit would be right.
            permit = self.permits.acquire() => permit.ok(),
            never = self.keep_watch() => match never {},
        };
        Place { gate: self, permit }
    }

    /// Looks at the clock again and again; one of those who wait does.
    async fn keep_watch(&self) -> std::convert::Infallible {
        let _held = self.watch.lock().await;
        loop {
            let now = Instant::now();
            let planned = self.plan_look(now);
            sleep_until(planned).await;
            let awake = Instant::now();
            self.judge(awake.saturating_duration_since(planned.max(now)), awake);
            self.forget_look();
        }
    }

    /// When the next look is due; a watcher takes over the plan of the one before.
    fn plan_look(&self, now: Instant) -> Instant {
        self.next_look.lock().map_or(now + LOOK, |mut next| *next.get_or_insert(now + LOOK))
    }

    fn forget_look(&self) {
        if let Ok(mut next) = self.next_look.lock() {
            *next = None;
        }
    }

    /// Measures how late this program is, and takes places away if it is. `is_well`: the last conversation gave no
    /// reason for fewer.
    pub async fn adapt(&self, is_well: bool) {
        let start = Instant::now();
        tokio::task::yield_now().await;
        let lag = start.elapsed();
        if !is_well || lag > LATE {
            self.narrow(Instant::now());
        }
    }

    fn judge(&self, lag: Duration, now: Instant) {
        if lag > LATE {
            self.narrow(now);
        } else if lag < PROMPT && self.permits.available_permits() == 0 {
            self.widen();
        }
    }

    /// A quarter more.
    fn widen(&self) {
        let wider = |width: usize| (width + width.div_ceil(4)).min(self.most);
        let change = |width: usize| Some(wider(width)).filter(|new| *new > width);
        if let Ok(before) = self.width.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change) {
            let more = wider(before) - before;
            // Who was to leave may stay.
            let pardon = |excess: usize| Some(excess.saturating_sub(more));
            let excess = self.excess.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pardon);
            self.permits.add_permits(more.saturating_sub(excess.unwrap_or_default()));
        }
    }

    /// A quarter fewer, unless that was done just now.
    fn narrow(&self, now: Instant) {
        let is_first = self.narrowed.lock().is_ok_and(|mut last| {
            let is_first = last.is_none_or(|last| now.saturating_duration_since(last) >= RELIEF);
            if is_first {
                *last = Some(now);
            }
            is_first
        });
        if is_first {
            self.take_away();
        }
    }

    fn take_away(&self) {
        let least = LEAST.min(self.most);
        let narrower = |width: usize| Some((width - width.div_ceil(4)).max(least)).filter(|new| *new < width);
        if let Ok(before) = self.width.fetch_update(Ordering::Relaxed, Ordering::Relaxed, narrower) {
            let fewer = before - narrower(before).unwrap_or(before);
            let free = self.permits.forget_permits(fewer);
            self.excess.fetch_add(fewer - free, Ordering::Relaxed);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let less = |excess: usize| excess.checked_sub(1);
        if self.gate.excess.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn width(gate: &Gate) -> usize {
        gate.width.load(Ordering::Relaxed)
    }

    /// One that is full at 40 places.
    async fn full(gate: &Gate) -> Vec<Place<'_>> {
        let mut inside = Vec::new();
        while inside.len() < 40 {
            inside.push(gate.enter().await);
            gate.judge(Duration::ZERO, Instant::now());
        }
        inside
    }

    #[tokio::test]
    async fn a_gate_widens_while_prompt_and_narrows_when_late() {
        let gate = Gate::new(40);
        let mut inside = full(&gate).await;
        gate.judge(Duration::ZERO, Instant::now());
        assert_eq!(width(&gate), 40, "no wider than asked");
        gate.judge(2 * LATE, Instant::now());
        assert_eq!(width(&gate), LEAST);
        inside.clear();
        assert_eq!(gate.permits.available_permits(), LEAST, "places are taken away as they are left");
        gate.judge(Duration::ZERO, Instant::now());
        assert_eq!(width(&gate), LEAST, "no wider while there is room");
    }

    #[tokio::test]
    async fn who_was_to_leave_stays_when_there_is_room_again() {
        let gate = Gate::new(40);
        let mut inside = full(&gate).await;
        gate.judge(2 * LATE, Instant::now());
        gate.judge(Duration::ZERO, Instant::now());
        assert_eq!(width(&gate), 40);
        inside.clear();
        assert_eq!(gate.permits.available_permits(), 40);
    }

    /// The gate once opened by one place for each conversation that ended: silent hosts kept it shut for seconds.
    #[tokio::test]
    async fn those_who_wait_are_let_in_before_anybody_leaves_and_one_trouble_narrows_once() {
        let gate = Gate::new(256);
        let mut inside = Vec::new();
        while inside.len() < 256 {
            inside.push(gate.enter().await);
        }
        let now = Instant::now() + RELIEF;
        for _ in 0..100 {
            gate.judge(2 * LATE, now);
        }
        assert_eq!(width(&gate), 192);
        gate.judge(2 * LATE, now + RELIEF);
        assert_eq!(width(&gate), 144);
    }
}
