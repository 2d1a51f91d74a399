//! Jobs in processes of their own: what strangers send is parsed by one without rights, which may open no file and start
//! no program.
//!
//! For each job the agent starts the [`Worker`] and writes an [`Order`] to its standard input; what it [`Told`] comes back
//! on its standard output, everything in lines of JSON. Standard input stays open for as long as the job is wanted: its
//! end, whoever brings it about, is the word to stop. So a worker never outlives its agent.
//!
//! A worker that dies costs the agent its job, and nothing else. What it says is held to be a stranger's word, too: lines
//! are bounded, records are read into their types, and they pass for findings of this job only.

mod child;
mod parent;

use std::{ffi::OsString, path::PathBuf};

use portreeve_model::protocol::{Job, JobProgress, Record};
use portreeve_probes::Known;
use serde::{Deserialize, Serialize};

pub use child::{Apart, OrderError};
pub(crate) use parent::relay;

use crate::{limits::HostLimits, task::Ended};

/// The longest line in either direction; an order holds what is known of the targets.
const LONGEST_ORDER: u64 = 512 << 20;
const LONGEST_TOLD: u64 = 8 << 20;

/// The program that carries jobs out, started anew for each.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Who carries jobs out.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) command: WorkerCommand,
    /// Where it may keep replies, and how many bytes of them.
    pub(crate) archive: Option<(PathBuf, u64)>,
}

/// What a worker is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    job: Job,
    limits: HostLimits,
    archive: Option<(PathBuf, u64)>,
    /// The operator's files over the probe database, as the agent has checked them.
    user_files: Vec<(String, String)>,
    known: Vec<Known>,
}

/// What a worker tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Told {
    /// The sockets are open, and the process has given its rights up.
    Begun {
        backend: String,
        why: String,
    },
    Progress(JobProgress),
    Found(Record),
    /// What the next job at these targets should know.
    Learned(Box<Known>),
    /// The last word.
    Ended(Ended),
}
