//! Frames in, validated replies out; everything else is counted by cause.

mod classify;
mod common;
mod drops;
mod kernel;
mod memory;
mod ring;
mod seen;
mod tally;

pub(crate) use classify::Classifier;
pub(crate) use common::{Common, Passing};
pub use drops::UNSENT;
pub(crate) use drops::{DropCause, Drops};
pub(crate) use kernel::{KernelReceiver, Ledger};
pub(crate) use memory::{TallyMemories, TallyMemory};
pub(crate) use ring::RingReceiver;
pub(crate) use seen::Seen;
pub(crate) use tally::{Reply, Tally, Wanted};
