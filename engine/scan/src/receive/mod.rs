//! Frames in, validated replies out; everything else is counted by cause.

mod drops;
mod seen;
mod tally;

pub(crate) use drops::{DropCause, Drops};
pub(crate) use seen::Seen;
pub(crate) use tally::{Common, Reply, Tally, Wanted};
