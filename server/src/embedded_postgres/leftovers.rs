//! What a killed server or a killed PostgreSQL left in the data folder.
//!
//! To be called with the lock held: no other portreeve-server wants the folder, so whoever works in it is left over.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{EmbeddedError, socket};

/// How long an old PostgreSQL may take to end: it may have much to write.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Ends what works in the folder and removes stale files, so that PostgreSQL can be started.
pub(super) fn clear(data: &Path, socket_folder: &Path) -> Result<(), EmbeddedError> {
    let until = Instant::now() + PATIENCE;
    if let Some(pid) = postmaster(data).map(|(pid, _)| pid).filter(|pid| works_in(*pid, data)) {
        tracing::warn!(pid, "ending a PostgreSQL that was left behind");
        let _ended_just_now = kill(Pid::from_raw(pid), Signal::SIGINT);
    }
    // Backends of a killed postmaster hold its shared memory for a moment longer.
    while let Some(pid) = anyone_in(data) {
        if Instant::now() > until {
            return Err(EmbeddedError::DoesNotEnd { pid, folder: data.to_owned() });
        }
        std::thread::sleep(LOOK_EVERY);
    }
    // Nobody works in the folder. A pid file that is still there names a dead process, a zombie, or a stranger that got
    // the same number; PostgreSQL would take the last two for itself and refuse to start.
    let _not_there = fs::remove_file(data.join("postmaster.pid"));
    socket::remove_stale(socket_folder);
    Ok(())
}

/// Process and state as the postmaster wrote them.
pub(super) fn postmaster(data: &Path) -> Option<(i32, String)> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    Some((pid, lines.last().unwrap_or_default().trim().to_owned()))
}

fn anyone_in(data: &Path) -> Option<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| works_in(*pid, data))
}

/// Whether the process is a PostgreSQL of this folder: pid numbers alone are given out again. A zombie has neither.
fn works_in(pid: i32, data: &Path) -> bool {
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).ok();
    // An upgraded package leaves "postgres (deleted)".
    let is_postgres = link("exe").and_then(|exe| Some(exe.file_name()?.to_str()?.starts_with("postgres")));
    is_postgres == Some(true) && link("cwd").as_deref() == Some(data)
}
