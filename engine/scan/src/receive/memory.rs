//! Where the bits and times of tallies are kept: in memory of their own, or in memory that programs in the kernel share.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use super::{Seen, Tally, Wanted, seen::SeenMemory};
use crate::{Page, ScanConfig, sys::bpf::SharedArray};

/// Memory of tallies that programs in the kernel share: they leave out who has answered, note when they send, and
/// note who says no more than that a port is closed.
#[derive(Clone, Debug)]
pub(crate) struct TallyMemory {
    /// For the bits of a stretch.
    pub(crate) answered: SeenMemory,
    /// For its times, if they are kept: two to a word.
    pub(crate) sent_at: Option<Arc<SharedArray>>,
    /// For the hosts that were met, if they are few enough.
    pub(crate) hosts: Option<SeenMemory>,
}

/// The memory of a scan's tallies, by what they are about. The bits of the hosts are the same.
#[derive(Clone, Debug)]
pub(crate) struct TallyMemories {
    /// Whether hosts are there.
    pub(crate) hosts: TallyMemory,
    pub(crate) ports: TallyMemory,
}

impl TallyMemories {
    /// Memory for all stages of a scan.
    pub(crate) fn new(config: &ScanConfig) -> io::Result<Self> {
        let hosts = config.targets.count();
        let looks = config.ping || config.ports.is_empty();
        // Shards share out the ports, and hosts only where there is nothing else to share out.
        let looking = hosts * if looks { config.host_probes.kinds().len() as u64 } else { 0 };
        let shared_out = if config.ports.is_empty() { looking } else { hosts * config.ports.len() as u64 };
        let positions = config.shard.positions(shared_out);
        let shared_out = positions.end - positions.start;
        if config.ports.is_empty() {
            let memory = TallyMemory::new(shared_out, hosts)?;
            return Ok(Self { hosts: memory.clone(), ports: memory });
        }
        let ports = TallyMemory::new(shared_out, hosts)?;
        let memory = if looks { TallyMemory::new(looking, 0)? } else { ports.clone() };
        Ok(Self { hosts: TallyMemory { hosts: ports.hosts.clone(), ..memory }, ports })
    }

    /// That of tallies that are about ports, or not.
    pub(crate) fn of(&self, wanted: Wanted) -> &TallyMemory {
        if wanted.ports { &self.ports } else { &self.hosts }
    }
}

impl TallyMemory {
    /// Memory for stretches of a scan of so many positions and hosts.
    pub(crate) fn new(positions: u64, hosts: u64) -> io::Result<Self> {
        let array = |label, words: usize| SharedArray::new(label, words.max(1) as u32, 1).map(Arc::new);
        let longest = positions.min(Tally::MAX_STRETCH);
        let bits = |label, numbers, changed| {
            Ok::<_, io::Error>(SeenMemory { words: array(label, Seen::words_for(numbers))?, changed })
        };
        let pages = Seen::words_for(longest).div_ceil(Page::WORDS);
        Ok(Self {
            answered: bits("pr_answered", longest, Some(array("pr_changed", pages)?))?,
            sent_at: (longest <= Tally::TIMED_TARGETS)
                .then(|| array("pr_sent_at", longest.div_ceil(2) as usize))
                .transpose()?,
            hosts: (hosts <= Seen::EXACT_LIMIT).then(|| bits("pr_hosts", hosts, None)).transpose()?,
        })
    }
}

/// When each target of a stretch was probed last: microseconds and attempt.
#[derive(Debug)]
pub(super) enum Stamps {
    Own(Box<[AtomicU32]>),
    Shared(Arc<SharedArray>),
}

impl Stamps {
    /// Zeros for so many targets, if memory allows.
    pub(super) fn new(targets: u64, memory: Option<&TallyMemory>) -> Option<Self> {
        if targets > Tally::TIMED_TARGETS {
            return None;
        }
        let Some(memory) = memory else {
            return Some(Self::Own((0..targets).map(|_| AtomicU32::new(0)).collect()));
        };
        // Times that the programs do not keep are unknown, not 0.
        let shared = memory.sent_at.as_ref().filter(|shared| shared.len() as u64 * 2 >= targets)?;
        shared.iter().for_each(|word| word.store(0, Relaxed));
        Some(Self::Shared(Arc::clone(shared)))
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&AtomicU32> {
        match self {
            Self::Own(stamps) => stamps.get(place),
            Self::Shared(stamps) => stamps.halves().get(place),
        }
    }
}
