//! Running other programs, and finding our way about the tree.

use std::{
    error::Error,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{SigSet, SigmaskHow, Signal, killpg},
    unistd::Pid,
};

use crate::signals::guarded;

/// How often a child is looked at, and a signal waited for.
const LOOK: Duration = Duration::from_millis(20);
/// What a child gets to end its own children: longer than the test runner gives to tests.
const GRACE: Duration = Duration::from_secs(20);

/// Whatever went wrong, in a sentence.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The path of one of our release binaries.
pub fn binary(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// A step of a longer job, so that a reader of the output knows where it is.
pub fn announce(step: &str) {
    println!("\n== {step}");
}

/// Runs a program in a folder, its output going where ours goes.
pub fn run_in(folder: &Path, program: &str, arguments: &[&str]) -> Outcome {
    execute(Command::new(program).args(arguments).current_dir(folder))
}

/// Runs a program at the workspace's root.
pub fn run(program: &str, arguments: &[&str]) -> Outcome {
    run_in(&root(), program, arguments)
}

/// Runs a prepared command to its end.
pub fn execute(command: &mut Command) -> Outcome {
    let shown = show(command);
    println!("$ {shown}");
    let watched = guarded(|ending| watch(command, |pause| ending.came_within(pause)));
    let ended = watched.unwrap_or_else(|| command.status().map(Some));
    let status = ended.map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    let status = status.ok_or_else(|| format!("interrupted; `{shown}` and what it started were ended"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` ended with {status}").into()) }
}

/// Runs a command in a process group of its own until it ends, or until a signal has come: then the group is ended. `None`
/// if so.
fn watch(command: &mut Command, mut came: impl FnMut(Duration) -> bool) -> io::Result<Option<ExitStatus>> {
    // A child inherits the signals that are held back here, and could neither be asked to end nor be interrupted.
    let mask = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let child = command.process_group(0).spawn();
    mask.thread_set_mask()?;
    let mut child = child?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if came(LOOK) {
            end(&mut child)?;
            return Ok(None);
        }
    }
}

/// Ends a child with its process group: first by asking, so that those who have groups of their own below them can end
/// these.
fn end(child: &mut Child) -> io::Result<()> {
    let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let signal = |signal| match killpg(group, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(io::Error::from(error)),
    };
    signal(Signal::SIGTERM)?;
    let deadline = Instant::now() + GRACE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            signal(Signal::SIGKILL)?;
            child.wait()?;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// What a program prints, if it succeeds.
pub fn output(command: &mut Command) -> Outcome<String> {
    let shown = show(command);
    let output = command.output().map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let reason = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{shown}` ended with {}: {}", output.status, reason.trim()).into())
    }
}

/// Whether a program can be started at all.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Whether we are root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.strip_prefix(root()).unwrap_or(program).display().to_string();
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(program).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::process::ExitStatusExt};

    use super::*;

    fn state_of(process: &str) -> Option<char> {
        let status = fs::read_to_string(format!("/proc/{}/status", process.trim())).ok()?;
        status.lines().find_map(|line| line.strip_prefix("State:"))?.trim().chars().next()
    }

    #[test]
    fn a_signal_ends_a_child_with_what_it_started() {
        let note = std::env::temp_dir().join(format!("xtask-grandchild-{}", std::process::id()));
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 1000 & echo $! > \"$0.new\"; mv \"$0.new\" \"$0\"; wait"]).arg(&note);
        let mut grandchild = None;
        let ended = watch(&mut shell, |pause| {
            std::thread::sleep(pause);
            grandchild = fs::read_to_string(&note).ok();
            grandchild.is_some()
        });
        fs::remove_file(&note).expect("it was there");
        assert_eq!(ended.expect("ended"), None);
        let grandchild = grandchild.expect("its number");
        for _ in 0..500 {
            // Whoever adopted it may not have looked after it yet.
            if matches!(state_of(&grandchild), None | Some('Z')) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        panic!("process {grandchild} outlives the signal");
    }

    #[test]
    fn a_child_hears_the_signals_that_are_held_back_here() {
        let mut held = SigSet::empty();
        held.add(Signal::SIGTERM);
        held.thread_block().expect("blocked");
        let ended = watch(Command::new("sh").args(["-c", "kill -TERM $$; exit 3"]), |pause| {
            std::thread::sleep(pause);
            false
        });
        let status = ended.expect("ended").expect("not interrupted");
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
        assert!(
            SigSet::thread_get_mask().expect("a mask").contains(Signal::SIGTERM),
            "it is held back still"
        );
    }

    #[test]
    fn a_child_that_ends_by_itself_tells_how() {
        let mut shell = Command::new("sh");
        let ended = watch(shell.args(["-c", "exit 3"]), |pause| {
            std::thread::sleep(pause);
            false
        });
        assert_eq!(ended.expect("ended").and_then(|status| status.code()), Some(3));
    }
}
