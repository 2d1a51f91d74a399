//! How many endpoints are talked to at the same time: more as long as all goes well, fewer when this machine cannot
//! keep up. A program that comes late to its answers takes them for silence, so it has to notice that it is late.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// Where a gate begins, and below which it never goes.
const LEAST: usize = 32;
/// A task that waits so long for its turn would take a prompt answer for a late one.
const LATE: Duration = Duration::from_millis(25);
/// With waits below this there is room for more.
const PROMPT: Duration = Duration::from_millis(5);

/// Lets endpoints in.
#[derive(Debug)]
pub(super) struct Gate {
    permits: Semaphore,
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
            width: AtomicUsize::new(width),
            excess: AtomicUsize::new(0),
            most,
        }
    }

    /// Waits to be let in.
    pub async fn enter(&self) -> Place<'_> {
        // The semaphore is never closed; were it, going on without a permit would be right.
        Place { gate: self, permit: self.permits.acquire().await.ok() }
    }

    /// Measures how late this program is, and makes room or takes it away. `is_well`: the last conversation gave no
    /// reason for fewer.
    pub async fn adapt(&self, is_well: bool) {
        let start = Instant::now();
        tokio::task::yield_now().await;
        self.judge(is_well, start.elapsed());
    }

    fn judge(&self, is_well: bool, lag: Duration) {
        if !is_well || lag > LATE {
            self.narrow();
        } else if lag < PROMPT && self.permits.available_permits() == 0 {
            self.widen();
        }
    }

    fn widen(&self) {
        let wider = |width: usize| (width < self.most).then_some(width + 1);
        if self.width.fetch_update(Ordering::Relaxed, Ordering::Relaxed, wider).is_ok() {
            self.permits.add_permits(1);
        }
    }

    /// A sixteenth fewer: many conversations notice the same trouble.
    fn narrow(&self) {
        let least = LEAST.min(self.most);
        let narrower =
            |width: usize| Some((width - width.div_ceil(16)).max(least)).filter(|new| *new < width);
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

    #[tokio::test]
    async fn a_gate_widens_while_prompt_and_narrows_when_late() {
        let gate = Gate::new(40);
        let mut inside = Vec::new();
        for _ in 0..40 {
            inside.push(gate.enter().await);
            gate.judge(true, Duration::ZERO);
        }
        assert_eq!(gate.width.load(Ordering::Relaxed), 40);
        gate.judge(true, Duration::ZERO);
        assert_eq!(gate.width.load(Ordering::Relaxed), 40, "no wider than asked");
        for _ in 0..20 {
            gate.judge(true, 2 * LATE);
        }
        assert_eq!(gate.width.load(Ordering::Relaxed), LEAST);
        inside.clear();
        assert_eq!(gate.permits.available_permits(), LEAST, "places are taken away as they are left");
        gate.judge(true, Duration::ZERO);
        assert_eq!(gate.width.load(Ordering::Relaxed), LEAST, "no wider while there is room");
    }
}
