//! Says what answers at a port, and why.
//!
//! [`Identifier::identify`] talks to an endpoint and returns a [`portreeve_model::Service`]. What it
//! knows about products is data: the [`Database`] of `probes/db/*.toml`, one file per product family,
//! every entry with examples that are tested (`probes/db/README.md` tells the format).
//!
//! The way of one endpoint: `identify` plans which question comes next, asks it and collects replies
//! → `decode` turns the bytes of known protocols into named [`Fields`] → `matcher` finds every entry
//! whose condition holds and scores it → the best reading is chosen; fields of two readings are never
//! mixed.
//!
//! Scanned hosts are hostile. Every conversation is bounded in time, bytes and connections, decoders
//! never panic and never allocate by a length they were told, regular expressions run in linear time,
//! and text leaves this crate only as [`portreeve_model::SafeText`].

#![forbid(unsafe_code)]

pub mod archive;
mod database;
mod decode;
pub mod device;
mod fields;
#[cfg(fuzzing)]
pub mod fuzzing;
mod identify;
pub mod import;
pub mod mac;
mod matcher;

pub use database::{Database, DatabaseError, Finding, Stats};

/// For programs that write files of the database: its shape, its notation of bytes, what its checks ask.
pub mod files {
    pub use crate::{
        database::{Avoid, Carrier, Condition, Entry, Example, Family, Layer, Ports, Probe, Safety, escape},
        identify::is_delicate_port,
        matcher::has_literal,
    };
}
pub use fields::Fields;
pub use identify::{Clock, Hints, Identifier, IdentifyConfig, Known, Memory};
pub use matcher::Reading;
