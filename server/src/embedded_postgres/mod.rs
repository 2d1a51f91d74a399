//! A private PostgreSQL from the system's packages: no set-up, no password, no TCP port.
//!
//! | in the folder | what |
//! |---|---|
//! | `data/` | the cluster; made as `data.new/` first, so that a half-made one is never taken for a good one |
//! | `run/` | the Unix socket, unless the path is too long for one (see [`socket`]); `socket-folder` says where |
//! | `log/` | PostgreSQL's own log, a file a weekday; `start.log` holds what it says before that |
//! | `lock` | held by the process that runs the cluster |
//!
//! What holds, and why:
//!
//! - **One owner.** The lock (flock) ends with its process, so it is never stale.
//! - **It ends with us.** The kernel sends SIGINT ("fast shutdown") to PostgreSQL when the supervising thread ends,
//!   however it ends (`PR_SET_PDEATHSIG`, set by `setpriv`, since that needs no unsafe code of ours).
//! - **It never runs as root.** Started by root it runs as the system user `portreeve`, else `postgres`.
//! - **Left-overs are ended, not adopted.** The kernel drops a dead parent's lock before it tells the child, so a
//!   "ready" PostgreSQL that we find may be on its way down.
//! - **It is watched.** If it ends unasked it is started again, with growing pauses; the connection pool finds it at the
//!   same socket.
//! - **It is never killed with SIGKILL**, which could leave shared memory and backends behind.

mod account;
mod cluster;
mod error;
mod leftovers;
mod process;
mod programs;
mod socket;
mod supervisor;

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use sqlx::postgres::PgConnectOptions;

pub use account::Account;
pub use error::{EmbeddedError, Io};
pub use programs::Programs;

use cluster::Cluster;
use supervisor::Supervisor;

/// The one database role, which peers are mapped to.
const ROLE: &str = "portreeve";
/// The database.
const DATABASE: &str = "portreeve";
/// Only names the socket file: nothing listens on TCP.
const PORT: u16 = 5432;

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's folder. Made if it is not there.
    pub folder: PathBuf,
    /// The folder with `initdb` and `postgres`, if not the system's newest.
    pub programs: Option<PathBuf>,
    /// Connections that must be possible at once.
    pub connections: u32,
}

/// A running private PostgreSQL. Dropping it stops it.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    supervisor: Supervisor,
    options: PgConnectOptions,
    // Freed after the supervisor: fields are dropped in order.
    _lock: File,
}

impl EmbeddedPostgres {
    /// Starts it, making the cluster first where there is none. Blocks until it takes connections: a tenth of a
    /// second for a known cluster, a few seconds for a new one, up to minutes after a crash under load.
    pub fn start(settings: &Settings) -> Result<Self, EmbeddedError> {
        let account = Account::find()?;
        let folder = account.make_folder(&settings.folder, 0o750)?;
        account.check_access(&folder)?;
        let lock = lock(&folder)?;
        let cluster = Cluster::prepare(&folder, account, settings)?;
        let options = options(&cluster.socket_folder);
        let supervisor = Supervisor::start(cluster)?;
        Ok(Self { supervisor, options, _lock: lock })
    }

    /// How to connect to it.
    pub fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// The process id of the postmaster at the moment; `None` while it is being started again.
    pub fn pid(&self) -> Option<u32> {
        self.supervisor.pid()
    }

    /// Stops it: connections are ended, everything is written, within a minute at most.
    pub fn stop(self) -> Result<(), EmbeddedError> {
        self.supervisor.stop()
    }
}

/// How to connect to a cluster that another process runs; `None` when none does.
pub fn running(folder: &Path) -> Result<Option<PgConnectOptions>, EmbeddedError> {
    let Ok(folder) = folder.canonicalize() else { return Ok(None) };
    match lock(&folder) {
        Ok(_nobody_runs_it) => Ok(None),
        Err(EmbeddedError::AlreadyRunning { .. }) => Ok(Some(options(&socket::written_down(&folder)?))),
        Err(error) => Err(error),
    }
}

fn lock(folder: &Path) -> Result<File, EmbeddedError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.doing("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EmbeddedError::AlreadyRunning { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(error).doing("lock", &path),
    }
}

fn options(socket_folder: &Path) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass().socket(socket_folder).port(PORT).username(ROLE).database(DATABASE)
}
