//! The words that scanner, agent and server share, and the protocol the last two speak.
//!
//! Everything here is data: no I/O, no clock, no randomness. Values that come from a scanned host or
//! a foreign agent are bounded by their types ([`SafeText`] for text) or checked by
//! [`protocol::Limits`] before they are used.
//!
//! Units are in the field's name: `_ms`, `_us`, `_bytes`, `_pps`. Times are milliseconds since the
//! Unix epoch, UTC. Ports and addresses are in host representation; `engine/wire` alone knows about
//! byte order.

#![forbid(unsafe_code)]

mod identity;
mod mac;
mod observation;
pub mod protocol;
mod service;
mod text;

pub use identity::{SshAlgorithm, SshAudit, SshHostKey, TlsCertificate, TlsInfo};
pub use mac::{MacAddress, ParseMacError};
pub use observation::{
    Endpoint, HostProfile, HostReason, HostSighting, Observation, PortState, Reason, SynAckTraits, Timestamp,
    Transport, VoteReason,
};
pub use service::{Alternative, DeviceInfo, Evidence, HttpInfo, NtlmInfo, Service, Verdict};
pub use text::SafeText;
