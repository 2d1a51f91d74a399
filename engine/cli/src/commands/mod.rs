//! One file per command.

pub(crate) mod agent;
pub(crate) mod db;
pub(crate) mod identify;
pub(crate) mod job;
pub(crate) mod manual;
mod reasons;
pub(crate) mod scan;
pub(crate) mod selftest;
pub(crate) mod tune;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use portreeve_agent::DatabaseFolder;
use portreeve_probes::{
    Database, IdentifyConfig,
    archive::{Archive, ArchiveConfig, ReplySink},
};
use portreeve_scan::{Clock, Sandbox};

use crate::{
    clock,
    exit::{Exit, Failure},
};

/// The folder whose files are laid over the probe database.
#[derive(Clone, Debug)]
pub(crate) struct UserDatabase {
    folder: PathBuf,
    /// Whether somebody asked for it, so that it must be there.
    is_named: bool,
}

impl UserDatabase {
    const USUAL: &str = "/etc/portreeve/db.d";

    /// Flag or environment, else file, else the usual place.
    pub(crate) fn choose(flag: Option<&PathBuf>, setting: Option<&PathBuf>) -> Self {
        let named = flag.or(setting);
        let folder = named.cloned().unwrap_or_else(|| PathBuf::from(Self::USUAL));
        Self { folder, is_named: named.is_some() }
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn over(&self, base: Arc<Database>) -> DatabaseFolder {
        DatabaseFolder::new(base, self.folder.clone())
    }

    /// `base` with the folder's files over it.
    fn load_over(&self, base: Arc<Database>) -> Result<Arc<Database>, Failure> {
        if self.is_named && !self.folder.is_dir() {
            return Err(Failure::usage(format!(
                "the user database {} is not a folder; make it, or name another with --user-database",
                self.folder.display()
            )));
        }
        self.over(base).load().map_err(|error| Failure::usage(error.to_string()))
    }
}

/// The built-in database or that of a folder, with the user's files over it. Who names a folder instead of the built-in
/// one wants that, and nothing else that lies about on this machine.
fn database(folder: Option<&Path>, user: &UserDatabase) -> Result<Arc<Database>, Failure> {
    let base = match folder {
        Some(folder) => {
            let base = Database::load_dir(folder).map_err(|error| Failure::usage(error.to_string()))?;
            Arc::new(base)
        }
        None => Arc::clone(Database::builtin()),
    };
    if folder.is_some() && !user.is_named { Ok(base) } else { user.load_over(base) }
}

/// Keeps replies in that folder, if there is one.
fn archive(folder: Option<&PathBuf>) -> Result<Option<Arc<dyn ReplySink>>, Failure> {
    let Some(folder) = folder else { return Ok(None) };
    let archive = Archive::open(ArchiveConfig::new(folder.clone()));
    let archive = archive.map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Some(Arc::new(archive)))
}

fn scan_clock() -> Clock {
    Clock::new(clock::now)
}

fn identify_config(ssh_audit: bool) -> IdentifyConfig {
    let mut config = IdentifyConfig::new(Arc::new(clock::now));
    config.ssh_audit = ssh_audit;
    config
}

/// The threads that parse what comes from the network; each loses its files before it does anything, but for the folder
/// that keeps replies.
fn runtime(sandbox: Sandbox, archive: Option<PathBuf>) -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(move || {
            if let Err(error) = sandbox.enter_parser(archive.as_deref()) {
                // It worked when it was tried; without it nothing is parsed.
                say!("portreeve: a thread cannot enter the sandbox: {error}");
                std::process::exit(Exit::Failure as i32);
            }
        })
        .build()
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot start threads: {error}")))
}
