//! One file per command.

pub(crate) mod agent;
pub(crate) mod db;
pub(crate) mod identify;
pub(crate) mod scan;
pub(crate) mod selftest;

use std::{path::Path, sync::Arc};

use portreeve_probes::{Database, IdentifyConfig};
use portreeve_scan::Clock;

use crate::{
    clock,
    exit::{Exit, Failure},
};

/// The built-in database, or that of a folder.
fn database(folder: Option<&Path>) -> Result<Arc<Database>, Failure> {
    match folder {
        Some(folder) => {
            let database = Database::load_dir(folder).map_err(|error| Failure::usage(error.to_string()))?;
            Ok(Arc::new(database))
        }
        None => Ok(Arc::clone(Database::builtin())),
    }
}

fn scan_clock() -> Clock {
    Clock::new(clock::now)
}

fn identify_config(ssh_audit: bool) -> IdentifyConfig {
    let mut config = IdentifyConfig::new(Arc::new(clock::now));
    config.ssh_audit = ssh_audit;
    config
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot start threads: {error}")))
}
