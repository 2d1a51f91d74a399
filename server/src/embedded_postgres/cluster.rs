//! The cluster's files: made once, adjusted at each start.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Account, EmbeddedError, Io, Programs, ROLE, Settings, socket};

/// A cluster that is ready to be run.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// Where its folders are.
    pub(super) folder: PathBuf,
    /// The data.
    pub(super) data: PathBuf,
    /// The socket.
    pub(super) socket_folder: PathBuf,
    /// Who runs it.
    pub(super) account: Account,
    /// What runs it.
    pub(super) programs: Programs,
    /// Connections that must be possible at once.
    pub(super) connections: u32,
}

impl Cluster {
    /// Finds the programs, makes the cluster where there is none, and sets who may connect.
    pub(super) fn prepare(
        folder: &Path,
        account: Account,
        settings: &Settings,
    ) -> Result<Self, EmbeddedError> {
        let data = folder.join("data");
        let programs = Programs::find(settings.programs.as_deref(), &data)?;
        let socket_folder = socket::folder(folder, &account)?;
        socket::make(&socket_folder, folder, &account)?;
        socket::write_down(&socket_folder, folder)?;
        account.make_folder(&folder.join("log"), 0o750)?;
        let cluster = Self {
            folder: folder.to_owned(),
            data,
            socket_folder,
            account,
            programs,
            connections: settings.connections,
        };
        if !cluster.data.join("PG_VERSION").exists() {
            cluster.make()?;
        }
        cluster.write_peers()?;
        Ok(cluster)
    }

    /// PostgreSQL's log folder.
    pub(super) fn log_folder(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Settings on PostgreSQL's command line: they hold whatever its configuration file says.
    pub(super) fn options(&self) -> Vec<String> {
        // A few for maintenance beside the pool's: LISTEN, command line, vacuum by hand.
        let connections = self.connections + 16;
        let socket = self.socket_folder.display();
        let log = self.log_folder();
        [
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={socket}"),
            "unix_socket_permissions=0770".to_owned(),
            format!("port={}", super::PORT),
            format!("max_connections={connections}"),
            format!("shared_buffers={}MB", shared_buffers_mb()),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
            // One file a weekday, overwritten a week later: the log stays bounded.
            "logging_collector=on".to_owned(),
            format!("log_directory={}", log.display()),
            "log_filename=postgresql-%a.log".to_owned(),
            "log_truncate_on_rotation=on".to_owned(),
            "log_rotation_age=1d".to_owned(),
            "log_rotation_size=0".to_owned(),
            // Short queries and planning are all there is; compiling them costs more than it saves.
            "jit=off".to_owned(),
        ]
        .to_vec()
    }

    fn make(&self) -> Result<(), EmbeddedError> {
        tracing::info!(folder = %self.folder.display(), "making the database cluster");
        let half_made = self.folder.join("data.new");
        if half_made.exists() {
            fs::remove_dir_all(&half_made).doing("remove", &half_made)?;
        }
        self.account.make_folder(&half_made, 0o700)?;
        let initdb = self.programs.program("initdb");
        let output = self
            .account
            .command(&initdb)
            .args(["--username", ROLE, "--auth-local=peer", "--auth-host=reject", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--data-checksums", "-D"])
            .arg(&half_made)
            .output()
            .doing("run", &initdb)?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(EmbeddedError::Initdb { words });
        }
        let hba = half_made.join("pg_hba.conf");
        fs::write(&hba, "local all all peer map=portreeve\n").doing("write", &hba)?;
        fs::rename(&half_made, &self.data).doing("put in place", &self.data)
    }

    /// Who may connect can change between starts: another user may start the server.
    fn write_peers(&self) -> Result<(), EmbeddedError> {
        let path = self.data.join("pg_ident.conf");
        let lines = self.account.peers().into_iter().map(|name| format!("portreeve \"{name}\" {ROLE}\n"));
        fs::write(&path, lines.collect::<String>()).doing("write", &path)
    }
}

/// An eighth of the memory, within sensible bounds: the machine has other work.
fn shared_buffers_mb() -> u64 {
    let facts = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = facts.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total_kb: u64 = total.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    (total_kb / 1024 / 8).clamp(32, 1024)
}
