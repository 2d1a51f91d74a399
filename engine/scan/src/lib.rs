//! The stateless scanning pipeline: targets in, observations out.
//!
//! ```text
//! targets → permutation → transmit → (network) → receive → observations
//! ```
//!
//! A scan is prepared once ([`Scan::prepare`]: every socket is opened there, so that rights can be dropped
//! after it) and then run ([`Scan::run`]: blocking, on its own threads). What it finds is handed to a
//! closure as [`Event`]s; how far it is, and the switch that stops it, are in a [`Control`].
//!
//! What this crate promises:
//! * each (address, port) of the [`TargetSet`] and [`PortSet`] is probed exactly once in a pass, and nothing
//!   outside of them ever; exclusions and reserved ranges are subtracted before the order is made, and the
//!   address is checked again right before it is sent to;
//! * a reply counts only if it carries the keyed cookie of its probe; all else is counted by cause and
//!   dropped, never an error, never a panic;
//! * no second gets more than 1 % above the rate asked for, no 10 ms more than twice their share;
//! * where answers are lost, who stays silent is asked again until nothing worth mention is missing, and the
//!   report says what was lost and what was probably missed.
//!
//! Addresses, ports and counts are in host representation; only `portreeve-wire` knows about byte order.

mod ceilings;
mod checkpoint;
mod config;
mod control;
mod cookie;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host_probes;
mod kernel_code;
mod loss;
mod network;
mod pace;
mod permutation;
#[cfg(feature = "pieces")]
pub mod pieces;
mod ports;
mod probe;
mod receive;
mod rehearsal;
mod report;
mod route;
mod sandbox;
mod scan;
mod space;
mod stages;
mod stretches;
mod summary;
mod suspicion;
pub mod sys;
pub mod targets;
#[cfg(test)]
mod testing;
mod transmit;

pub use checkpoint::{Checkpoint, Page};
pub use config::{BackendChoice, Clock, PacketsPerSecond, ScanConfig, Shard, UdpPayloads};
pub use control::{Control, Phase, Progress};
pub use error::ScanError;
pub use host_probes::{HostProbeError, HostProbes};
pub use permutation::Permutation;
pub use portreeve_wire::ethernet::VlanId;
pub use ports::{PortError, PortSet};
pub use receive::UNSENT;
pub use rehearsal::{Rehearsal, Rehearsed};
pub use report::{Event, ScanReport};
pub use sandbox::{Attempt, Sandbox};
pub use scan::Scan;
pub use suspicion::{Suspicion, SuspiciousHost};
pub use targets::{TargetError, TargetSet, TargetSetBuilder};
