//! What can go wrong with the private PostgreSQL, each with its way out.

use std::{io, path::PathBuf};

/// The private PostgreSQL could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another process holds the lock.
    #[error("another portreeve-server already runs the database in {}; stop it, or choose another folder with --state", .folder.display())]
    AlreadyRunning {
        /// The cluster's folder.
        folder: PathBuf,
    },
    /// The account that PostgreSQL runs as cannot get into the folder.
    #[error(
        "the user {account:?}, as whom PostgreSQL runs, cannot enter {}; choose a folder with --state that it can enter (such as /var/lib/portreeve), or open the folders above it with chmod o+x", .folder.display()
    )]
    CannotEnter {
        /// The cluster's folder.
        folder: PathBuf,
        /// The account.
        account: String,
    },
    /// A PostgreSQL that was left behind does not go away.
    #[error("process {pid} still works on {} and does not end; end it and start again", .folder.display())]
    DoesNotEnd {
        /// The process.
        pid: i32,
        /// The data folder.
        folder: PathBuf,
    },
    /// The program ended before it took connections.
    #[error("PostgreSQL ended at once ({status}): {words}\nIts log is in {}", .log.display())]
    EndedAtOnce {
        /// How it ended.
        status: String,
        /// The last lines it said.
        words: String,
        /// Where there may be more.
        log: PathBuf,
    },
    /// Making the cluster failed.
    #[error("making the database cluster failed: {words}")]
    Initdb {
        /// What initdb said.
        words: String,
    },
    /// A file or folder could not be used.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The data was made by a major version that is not installed.
    #[error(
        "the database in {} was made by PostgreSQL {major}, whose programs are not installed; install them (apt-get install postgresql-{major})", .folder.display()
    )]
    MajorMissing {
        /// The data folder.
        folder: PathBuf,
        /// Its version.
        major: u32,
    },
    /// Started by root on a machine without an account to run as.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user portreeve nor a user postgres; make one (useradd --system portreeve)"
    )]
    NoAccount,
    /// It did not take connections in time.
    #[error("PostgreSQL did not take connections within {seconds} s; its log is in {}", .log.display())]
    NotReady {
        /// How long we waited.
        seconds: u64,
        /// Where to look.
        log: PathBuf,
    },
    /// Not installed.
    #[error("PostgreSQL's programs were not found in {}; install them (apt-get install postgresql), or give --database-url", .searched.display())]
    ProgramsMissing {
        /// Where we looked.
        searched: PathBuf,
    },
    /// Too old.
    #[error("PostgreSQL {found} in {} is too old; version {least} or newer is needed (apt-get install postgresql)", .folder.display())]
    TooOld {
        /// Its version.
        found: u32,
        /// What is needed.
        least: u32,
        /// Where it is.
        folder: PathBuf,
    },
    /// The folder of the socket belongs to someone else.
    #[error("{} is not ours; remove it, or choose a --state folder with a shorter path", .folder.display())]
    SocketFolder {
        /// The folder.
        folder: PathBuf,
    },
}

/// Names what was tried, on what.
pub trait Io<T> {
    /// Turns an I/O error into a sentence.
    fn doing(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, EmbeddedError>;
}

impl<T> Io<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T, EmbeddedError> {
        self.map_err(|source| EmbeddedError::Io { action, path: path.into(), source })
    }
}
