//! Why something received was not used.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A cause. One line here is all that a new one needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropCause {
    /// Answered before: a repeat by the network or the answer to an earlier attempt.
    Duplicate,
    /// A local socket failed in a way that says nothing about the target.
    SocketError,
}

impl DropCause {
    const ALL: [Self; 2] = [Self::Duplicate, Self::SocketError];

    /// The kebab-case name used in reports.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::SocketError => "socket-error",
        }
    }
}

/// A counter for each cause.
#[derive(Debug, Default)]
pub(crate) struct Drops([AtomicU64; DropCause::ALL.len()]);

impl Drops {
    pub(crate) fn add(&self, cause: DropCause, count: u64) {
        if let Some(counter) = self.0.get(cause as usize) {
            counter.fetch_add(count, Relaxed);
        }
    }

    /// The causes that occurred.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts =
            DropCause::ALL.iter().zip(&self.0).map(|(cause, count)| (cause.as_str(), count.load(Relaxed)));
        counts.filter(|&(_, count)| count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_counter_of_its_own() {
        for (place, cause) in DropCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place);
            let drops = Drops::default();
            drops.add(cause, 3);
            assert_eq!(drops.counts(), [(cause.as_str(), 3)]);
        }
    }
}
