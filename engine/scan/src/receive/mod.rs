//! Frames in, validated replies out; everything else is counted by cause.

mod classify;
mod drops;
mod kernel;
mod ring;
mod seen;
mod tally;

pub(crate) use classify::Classifier;
pub(crate) use drops::{DropCause, Drops};
pub(crate) use kernel::{KernelReceiver, Ledger};
pub(crate) use ring::RingReceiver;
pub(crate) use seen::Seen;
pub(crate) use tally::{Common, Passing, Reply, Tally, TallyMemories, TallyMemory, Wanted};
