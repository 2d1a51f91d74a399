//! Processes that end with us.

use std::{
    io,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{SigSet, SigmaskHow, Signal, kill},
    unistd::Pid,
};

/// A child that gets SIGTERM when this process dies, however it dies, and when the value is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

/// How long a process may take to end after SIGTERM before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

impl Process {
    /// Starts a command that was made by [`in_namespace`] or [`bound`].
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        // A child inherits the caller's signal mask, and one that blocks SIGTERM could never be asked to end.
        let mask = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let child = command.stdin(Stdio::null()).spawn();
        mask.thread_set_mask()?;
        Ok(Self { child: child? })
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, once it has ended.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// SIGTERM, then patience, then SIGKILL.
    pub fn stop(&mut self) {
        let Ok(None) = self.child.try_wait() else { return };
        // A failure means that it has just ended.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A command that runs `program` in a network namespace and gets SIGTERM when the caller dies.
pub fn in_namespace(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    // `ip netns exec` replaces itself, and so does `setpriv`: the child's number is the program's.
    command.args(["netns", "exec", namespace, "setpriv", "--pdeathsig", "TERM", "--", program]);
    command
}

/// A command that gets SIGTERM when the caller dies, in a process group of its own so that a Ctrl-C in the terminal
/// reaches the caller alone, who then ends things in order.
pub fn bound(program: impl AsRef<std::ffi::OsStr>) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program).process_group(0);
    command
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_caller_that_holds_signals_back_can_still_end_its_children() {
        let mut held = SigSet::empty();
        held.add(Signal::SIGTERM);
        held.thread_block().expect("block");
        let mut process = Process::spawn(bound("sleep").arg("60")).expect("sleep");
        process.stop();
        let status = process.exited().expect("status").expect("ended");
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
    }
}
