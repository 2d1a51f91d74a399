//! The thread that owns PostgreSQL: starts it, watches it, starts it again, stops it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{EmbeddedError, cluster::Cluster, process::Postmaster};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After running so long the next end counts as the first again.
const HEALTHY: Duration = Duration::from_secs(60);

/// Handle of the supervising thread.
#[derive(Debug)]
pub(super) struct Supervisor {
    thread: Option<JoinHandle<Result<(), EmbeddedError>>>,
    stop: Sender<()>,
    pid: Arc<AtomicU32>,
}

impl Supervisor {
    /// Starts the thread and with it PostgreSQL; returns when it takes connections.
    pub(super) fn start(cluster: Cluster) -> Result<Self, EmbeddedError> {
        let (stop, stopped) = mpsc::channel();
        let (started, starts) = mpsc::channel();
        let pid = Arc::new(AtomicU32::new(0));
        let shown_pid = Arc::clone(&pid);
        let thread = std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || match Postmaster::start(&cluster) {
                Ok(postmaster) => {
                    shown_pid.store(postmaster.pid(), Ordering::Relaxed);
                    let _start_gave_up = started.send(Ok(()));
                    Watch { cluster, stopped, pid: shown_pid }.run(postmaster)
                }
                Err(error) => {
                    let _start_gave_up = started.send(Err(error));
                    Ok(())
                }
            })
            .map_err(|source| EmbeddedError::Io { action: "start", path: "a thread".into(), source })?;
        let ended = || EmbeddedError::Io {
            action: "start",
            path: "PostgreSQL".into(),
            source: std::io::Error::other("its thread ended"),
        };
        starts.recv().map_err(|_| ended())??;
        Ok(Self { thread: Some(thread), stop, pid })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    pub(super) fn stop(mut self) -> Result<(), EmbeddedError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), EmbeddedError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let _ended_already = self.stop.send(());
        // A panic there ended PostgreSQL too: the kernel told it.
        thread.join().unwrap_or(Ok(()))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::error!(%error, "stopping PostgreSQL failed");
        }
    }
}

struct Watch {
    cluster: Cluster,
    stopped: Receiver<()>,
    pid: Arc<AtomicU32>,
}

impl Watch {
    fn run(self, mut postmaster: Postmaster) -> Result<(), EmbeddedError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let since = Instant::now();
            if self.watch(&mut postmaster)? == Outcome::Stopped {
                return postmaster.stop();
            }
            self.pid.store(0, Ordering::Relaxed);
            if since.elapsed() >= HEALTHY {
                pause = FIRST_PAUSE;
            }
            match self.start_again(&mut pause) {
                Some(started) => postmaster = started,
                None => return Ok(()),
            }
            self.pid.store(postmaster.pid(), Ordering::Relaxed);
        }
    }

    /// Until it ends or we are told to stop.
    fn watch(&self, postmaster: &mut Postmaster) -> Result<Outcome, EmbeddedError> {
        loop {
            if self.told_to_stop_within(LOOK_EVERY) {
                return Ok(Outcome::Stopped);
            }
            if let Some(status) = postmaster.exited()? {
                tracing::error!(%status, "PostgreSQL ended unasked; starting it again");
                return Ok(Outcome::Ended);
            }
        }
    }

    /// Tries until it runs; `None` when told to stop meanwhile.
    fn start_again(&self, pause: &mut Duration) -> Option<Postmaster> {
        loop {
            if self.told_to_stop_within(*pause) {
                return None;
            }
            *pause = (*pause * 2).min(LONGEST_PAUSE);
            match Postmaster::start(&self.cluster) {
                Ok(postmaster) => {
                    tracing::info!(pid = postmaster.pid(), "PostgreSQL runs again");
                    return Some(postmaster);
                }
                Err(error) => {
                    tracing::error!(%error, retry_in_ms = pause.as_millis(), "PostgreSQL could not be started");
                }
            }
        }
    }

    fn told_to_stop_within(&self, time: Duration) -> bool {
        !matches!(self.stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Ended,
    Stopped,
}
