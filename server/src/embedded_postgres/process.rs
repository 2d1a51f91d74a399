//! One run of the postmaster.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{EmbeddedError, Io, cluster::Cluster, leftovers};

/// Recovery after a crash under load may take long; nothing good comes of giving up on it.
const START: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A postmaster that is our child.
#[derive(Debug)]
pub(super) struct Postmaster(Child);

impl Postmaster {
    /// Starts one and waits until it takes connections. The calling thread must live as long as it shall run: the
    /// kernel tells it when that *thread* ends.
    pub(super) fn start(cluster: &Cluster) -> Result<Self, EmbeddedError> {
        leftovers::clear(&cluster.data, &cluster.socket_folder)?;
        let mut postmaster = Self(spawn(cluster)?);
        let until = Instant::now() + START;
        while !postmaster.is_ready(cluster) {
            if let Some(status) = postmaster.exited()? {
                return Err(ended_at_once(cluster, status));
            }
            if Instant::now() > until {
                postmaster.stop()?;
                return Err(EmbeddedError::NotReady { seconds: START.as_secs(), log: cluster.log_folder() });
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(postmaster)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub(super) fn exited(&mut self) -> Result<Option<ExitStatus>, EmbeddedError> {
        self.0.try_wait().doing("wait for", "PostgreSQL")
    }

    /// Fast shutdown, then immediate shutdown; never SIGKILL.
    pub(super) fn stop(&mut self) -> Result<(), EmbeddedError> {
        for (signal, patience) in [(Signal::SIGINT, 60), (Signal::SIGQUIT, 20)] {
            let _ended_just_now = kill(Pid::from_raw(self.0.id() as i32), signal);
            let until = Instant::now() + Duration::from_secs(patience);
            while Instant::now() < until {
                if self.exited()?.is_some() {
                    return Ok(());
                }
                std::thread::sleep(LOOK_EVERY);
            }
        }
        Err(EmbeddedError::DoesNotEnd { pid: self.0.id() as i32, folder: "PostgreSQL's data folder".into() })
    }

    fn is_ready(&self, cluster: &Cluster) -> bool {
        leftovers::postmaster(&cluster.data)
            .is_some_and(|(pid, state)| pid == self.0.id() as i32 && state == "ready")
    }
}

fn spawn(cluster: &Cluster) -> Result<Child, EmbeddedError> {
    let log = start_log(cluster);
    let file = File::create(&log).doing("write", &log)?;
    let errors = file.try_clone().doing("write", &log)?;
    // setpriv, since a change of user clears the setting and std makes that change before it runs the program.
    let mut command = cluster.account.command(Path::new("/usr/bin/setpriv"));
    command.args(["--pdeathsig", "INT", "--"]).arg(cluster.programs.program("postgres"));
    command.arg("-D").arg(&cluster.data);
    for option in cluster.options() {
        command.arg("-c").arg(option);
    }
    // A group of its own: Ctrl-C in a terminal is for us, we then stop PostgreSQL in order.
    command.process_group(0).stdout(file).stderr(errors);
    command.spawn().doing("run", "/usr/bin/setpriv (package util-linux)")
}

fn start_log(cluster: &Cluster) -> std::path::PathBuf {
    cluster.log_folder().join("start.log")
}

/// The last words of a PostgreSQL that could not start; they may be in its own log already.
fn ended_at_once(cluster: &Cluster, status: ExitStatus) -> EmbeddedError {
    let log = cluster.log_folder();
    let newest = fs::read_dir(&log).into_iter().flatten().flatten().filter_map(|entry| {
        let changed = entry.metadata().ok()?.modified().ok()?;
        entry.file_name().to_str()?.starts_with("postgresql-").then(|| (changed, entry.path()))
    });
    let newest = newest.max().map(|(_, path)| path);
    let files = [Some(start_log(cluster)), newest].into_iter().flatten();
    let text: String = files.filter_map(|path| fs::read_to_string(path).ok()).collect();
    let telling =
        |line: &&str| ["FATAL", "PANIC", "ERROR", "could not"].iter().any(|word| line.contains(word));
    let words: Vec<&str> = text.lines().filter(telling).collect();
    let words = words.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join("; ");
    EmbeddedError::EndedAtOnce { status: status.to_string(), words, log }
}
