//! How many endpoints are talked to at the same time: more as long as all goes well, fewer when this machine runs
//! out of sockets or connections begin to time out.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Where a gate begins, and below which it never goes.
const LEAST: usize = 32;

/// Lets endpoints in.
#[derive(Debug)]
pub(super) struct Gate {
    permits: Semaphore,
    /// Permits that there are, in use or not.
    width: AtomicUsize,
    most: usize,
}

impl Gate {
    /// One that opens to `most` at the widest.
    pub fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let width = LEAST.min(most);
        Self { permits: Semaphore::new(width), width: AtomicUsize::new(width), most }
    }

    /// Waits to be let in.
    pub async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed; were it, going on without a permit would be right.
        self.permits.acquire().await.ok()
    }

    /// A conversation went well: one more, as long as all places are taken.
    pub fn widen(&self) {
        let is_full = self.permits.available_permits() == 0;
        if is_full && self.width.fetch_add(1, Ordering::Relaxed) < self.most {
            self.permits.add_permits(1);
        } else if is_full {
            self.width.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// This machine had no socket left, or connections time out: a quarter fewer.
    pub fn narrow(&self) {
        let width = self.width.load(Ordering::Relaxed);
        let fewer = (width / 4).min(width.saturating_sub(LEAST.min(self.most)));
        // Only places that are free can be taken away at once; the others follow with the next trouble.
        let taken = self.permits.forget_permits(fewer);
        self.width.fetch_sub(taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_widens_when_full_and_narrows_to_its_least() {
        let gate = Gate::new(40);
        let mut inside = Vec::new();
        for _ in 0..40 {
            inside.push(gate.enter().await);
            gate.widen();
        }
        assert_eq!(gate.width.load(Ordering::Relaxed), 40);
        gate.widen();
        assert_eq!(gate.width.load(Ordering::Relaxed), 40);
        inside.clear();
        for _ in 0..9 {
            gate.narrow();
        }
        assert_eq!(gate.width.load(Ordering::Relaxed), LEAST);
        assert_eq!(gate.permits.available_permits(), LEAST);
    }
}
