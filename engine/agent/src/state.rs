//! The agent's own folder: who it is, and the lock that keeps a second agent out.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::spool::{Spool, SpoolError, read_json, write_json};

const IDENTITY: &str = "credential.json";

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder cannot be made or opened.
    #[error("cannot use the state folder {}: {source}; choose one that this user may write with --state", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent uses it.
    #[error("another agent runs with the state folder {}; stop it, or give this one its own with --state", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The identity cannot be read.
    #[error("cannot read {}: {source}; remove it and enrol again with --enroll TOKEN", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The spool or the identity cannot be written.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Who this agent is at its server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The server that gave the credential.
    pub(crate) server: String,
    pub(crate) agent_id: i64,
    pub(crate) name: String,
    pub(crate) credential: String,
}

/// The folder, locked as long as this lives.
pub(crate) struct State {
    folder: PathBuf,
    _lock: File,
}

impl State {
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Folder { path: folder.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse { path: folder.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The identity of an earlier run, if there is one.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, StateError> {
        let path = self.folder.join(IDENTITY);
        match read_json(&path) {
            Ok(identity) => Ok(Some(identity)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Identity { path, source }),
        }
    }

    /// Keeps the identity, readable by this user only.
    pub(crate) fn keep(&self, identity: &Identity) -> Result<(), StateError> {
        Ok(write_json(&self.folder, IDENTITY, identity)?)
    }

    pub(crate) fn spool(&self, limit_bytes: u64) -> Result<Spool, StateError> {
        Ok(Spool::open(self.folder.join("spool"), limit_bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_identity_is_kept_for_the_owner_only() {
        let folder = tempfile::tempdir().expect("folder");
        let state = State::open(&folder.path().join("agent")).expect("opened");
        assert!(state.identity().expect("readable").is_none());
        let identity = Identity {
            server: "https://example.org".to_owned(),
            agent_id: 3,
            name: "attic".to_owned(),
            credential: "secret".to_owned(),
        };
        state.keep(&identity).expect("kept");
        assert!(state.identity().expect("readable") == Some(identity));
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&state.folder), 0o700);
        assert_eq!(mode(&state.folder.join(IDENTITY)), 0o600);
    }

    #[test]
    fn a_second_agent_is_kept_out_until_the_first_is_gone() {
        let folder = tempfile::tempdir().expect("folder");
        let first = State::open(folder.path()).expect("opened");
        assert!(matches!(State::open(folder.path()), Err(StateError::InUse { .. })));
        drop(first);
        assert!(State::open(folder.path()).is_ok());
    }

    #[test]
    fn an_unreadable_identity_names_the_file_and_the_way_out() {
        let folder = tempfile::tempdir().expect("folder");
        let state = State::open(folder.path()).expect("opened");
        fs::write(folder.path().join(IDENTITY), "{").expect("written");
        let Err(error) = state.identity() else { panic!("read nonsense") };
        assert!(
            error.to_string().contains("credential.json") && error.to_string().contains("--enroll"),
            "{error}"
        );
    }
}
