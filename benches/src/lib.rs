//! Side by side: Portreeve, masscan and zmap do the same work on the same link in one run.
//!
//! How it stays honest on a small and noisy machine:
//! * what was sent is counted by the receiver, an XDP program in a namespace of its own (`portreeve_lab::scan`), never
//!   taken from a tool's own status line; what had to be found is known beforehand;
//! * competitors take turns within a round, so that whatever the machine does happens to all of them; figures are
//!   medians, and ratios are taken within rounds;
//! * each runs in a session of its own with the highest priority that sessions have, and gets its best options;
//! * stolen time, load and foreign CPU time are recorded with each sample; a round in which more was stolen than
//!   [`machine::STOLEN_LIMIT`] is done again, for all of them;
//! * a tool that is not installed is said to be missing.
//!
//! A measurement is a [`rows::Row`]: some entries, each a closure that gives named values. `session::Session` runs
//! them; [`report`] prints, [`goals`] judges, [`plot`] draws.

#![forbid(unsafe_code)]

pub mod goals;
pub mod job;
pub mod machine;
pub mod plot;
pub mod process;
pub mod report;
pub mod rows;
pub mod session;
pub mod statistics;
pub mod tool;

/// Whatever went wrong, in a sentence.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;
