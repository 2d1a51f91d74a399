//! One competitor at work: what it costs and how long it takes.

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        signal::{Signal, kill},
        time::TimeValLike,
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use crate::Outcome;

/// How often the peak of the memory is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// A running tool, in a session of its own with the highest priority that sessions have. It dies with the harness.
#[derive(Debug)]
pub struct Running {
    child: Child,
    begun: Instant,
    cpu_before: Duration,
}

/// What a tool that has ended took.
#[derive(Clone, Copy, Debug)]
pub struct Finished {
    /// From start to exit.
    pub wall: Duration,
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// Peak of the resident memory.
    pub peak_bytes: u64,
    /// It was ended because its time was over.
    pub timed_out: bool,
    /// It said that it succeeded.
    pub succeeded: bool,
}

impl Running {
    /// Starts a command line in the calling thread's network namespace, and in `folder`, where it may leave
    /// things; its output goes to `log` there.
    pub fn start(words: &[OsString], folder: &Path) -> Outcome<Self> {
        let log = fs::File::create(folder.join("log"))?;
        let cpu_before = cpu_of_children();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "setsid"]).args(words);
        // No configuration and no history of the user who measures.
        command.env("HOME", "/nonexistent").current_dir(folder);
        command.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
        let begun = Instant::now();
        let child = command.spawn()?;
        let running = Self { child, begun, cpu_before };
        running.raise();
        Ok(running)
    }

    /// CPU time of all its threads so far, by the scheduler's own clock.
    pub fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let nanoseconds = threads.filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Peak of the resident memory so far.
    pub fn peak_bytes(&self) -> u64 {
        peak_of(self.child.id())
    }

    /// Waits for its end; ends it when `limit` is over.
    pub fn finish(mut self, limit: Duration) -> Outcome<Finished> {
        let glances = Glances::begin(self.child.id(), self.begun + limit);
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // Without reaping it, so that the number stays its own until nobody looks at it any more.
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
        let wall = self.begun.elapsed();
        let (peak_bytes, timed_out) = glances.end();
        let status = self.child.wait()?;
        let cpu = cpu_of_children().saturating_sub(self.cpu_before);
        Ok(Finished { wall, cpu, peak_bytes, timed_out, succeeded: status.success() })
    }

    /// Its session gets the highest priority, once it has one: until then it is ours.
    fn raise(&self) {
        let number = self.child.id();
        for _ in 0..200 {
            let text = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
            let session =
                text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(3)?.parse().ok());
            if session == Some(number) {
                // A kernel without such groups has nothing to raise.
                let _ = fs::write(format!("/proc/{number}/autogroup"), "-20");
                return;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks at a process's memory now and then, and ends it in time.
struct Glances {
    done: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    thread: JoinHandle<bool>,
}

impl Glances {
    fn begin(number: u32, deadline: Instant) -> Self {
        let (done, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, highest) = (Arc::clone(&done), Arc::clone(&peak));
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Acquire) {
                highest.fetch_max(peak_of(number), Ordering::Relaxed);
                if Instant::now() > deadline {
                    let _ = kill(Pid::from_raw(number.cast_signed()), Signal::SIGKILL);
                    return true;
                }
                thread::park_timeout(GLANCE);
            }
            false
        });
        Self { done, peak, thread }
    }

    fn end(self) -> (u64, bool) {
        self.done.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let timed_out = self.thread.join().unwrap_or(false);
        (self.peak.load(Ordering::Relaxed), timed_out)
    }
}

/// The kernel's own record of the highest resident memory.
fn peak_of(number: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// CPU time of all children that were waited for.
fn cpu_of_children() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Duration::ZERO };
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(microseconds.max(0).cast_unsigned())
}
