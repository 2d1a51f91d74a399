//! The worker's side: reads the order, and tells what comes of it.

use std::{
    io::{self, BufRead, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use portreeve_model::protocol::{Job, JobProgress};
use portreeve_probes::{
    Database, DatabaseError, Memory,
    archive::{Archive, ArchiveConfig, ArchiveError, ReplySink},
};
use portreeve_scan::{BackendChoice, Clock, Control};
use tokio::{sync::mpsc, time::interval};

use super::{LONGEST_ORDER, Order, Told};
use crate::{
    lease::progress,
    run::{Found, Tally},
    task::{Ended, Prepared, Task},
};

/// Found and not told yet, at most.
const FOUND: usize = 4_096;
/// What was found waits no longer before it is told, and progress is told so often.
const TELL: Duration = Duration::from_millis(200);

/// Why a worker cannot even begin.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The reply archive cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The operator's files no longer fit the database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// There is no order on standard input.
    #[error("standard input holds no order of an agent, which is who starts this command: {0}")]
    Malformed(String),
    /// Standard input or output broke.
    #[error("cannot talk to the agent: {0}")]
    Pipe(#[from] io::Error),
}

/// A job in this process, its sockets open. The process should give its rights up before it runs it.
pub struct Apart {
    job: Job,
    archive: Option<PathBuf>,
    memory: Arc<Memory>,
    prepared: Prepared,
}

impl Apart {
    /// Reads the order and opens the sockets. `None` if the job cannot be done, which the agent has been told.
    pub fn prepare(backend: BackendChoice, clock: Clock) -> Result<Option<Self>, OrderError> {
        let Order { job, limits, archive, user_files, known } = read_order(&mut io::stdin().lock())?;
        let builtin = Database::builtin();
        let database = if user_files.is_empty() {
            Arc::clone(builtin)
        } else {
            Arc::new(builtin.with_user_texts(user_files)?)
        };
        let memory = Arc::new(Memory::default());
        memory.relearn(|_| true, known);
        let task = Task {
            job,
            limits,
            backend,
            database,
            archive: archive.clone().map(open_archive).transpose()?,
            memory: Arc::clone(&memory),
            clock,
        };
        match task.prepare() {
            Ok(prepared) => {
                let archive = archive.map(|(folder, _)| folder);
                Ok(Some(Self { job: task.job, archive, memory, prepared }))
            }
            Err(error) => {
                let mut agent = Agent::new();
                agent.tell(&Told::Ended(Ended::failed(error)))?;
                agent.flush()?;
                Ok(None)
            }
        }
    }

    /// The folder that replies are kept in.
    pub fn archive(&self) -> Option<&Path> {
        self.archive.as_deref()
    }

    /// Carries the job out. Whatever ends standard input stops it.
    pub async fn run(self) -> io::Result<()> {
        let (control, tally) = (Control::new(), Tally::default());
        let mut agent = Agent::new();
        let (backend, why) = self.prepared.backend();
        agent.tell(&Told::Begun { backend: backend.to_owned(), why: why.to_owned() })?;
        agent.flush()?;
        stop_at_end_of_input(control.clone());
        let (out, found) = mpsc::channel(FOUND);
        let identifies = Task::identifies(&self.job);
        let scanning = self.prepared.run(control.clone(), tally.clone(), out);
        let telling = tell_found(&mut agent, found, || progress(&control, &tally, identifies));
        let (ended, told) = tokio::join!(scanning, telling);
        told?;
        for known in self.memory.known_of(|_| true) {
            agent.tell(&Told::Learned(Box::new(known)))?;
        }
        agent.tell(&Told::Ended(ended))?;
        agent.flush()
    }
}

fn read_order(input: &mut impl BufRead) -> Result<Order, OrderError> {
    let mut line = Vec::new();
    input.take(LONGEST_ORDER).read_until(b'\n', &mut line)?;
    serde_json::from_slice(&line).map_err(|error| OrderError::Malformed(error.to_string()))
}

fn open_archive((folder, max_bytes): (PathBuf, u64)) -> Result<Arc<dyn ReplySink>, ArchiveError> {
    let archive = Archive::open(ArchiveConfig { max_bytes, ..ArchiveConfig::new(folder) })?;
    Ok(Arc::new(archive))
}

/// In a thread that is never waited for: nothing wakes it but the end of the input, or of the process.
fn stop_at_end_of_input(control: Control) {
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        control.cancel();
    });
}

/// Tells what is found until nothing more can come.
async fn tell_found(
    agent: &mut Agent,
    mut found: mpsc::Receiver<Found>,
    progress: impl Fn() -> JobProgress,
) -> io::Result<()> {
    let mut tick = interval(TELL);
    loop {
        tokio::select! {
            found = found.recv() => match found {
                Some(Found::Record(record)) => agent.tell(&Told::Found(record))?,
                // The agent asks for no checkpoints, and suspicious hosts are in the summary.
                Some(Found::Checkpoint(_) | Found::Suspicious(_)) => {}
                None => return Ok(()),
            },
            _ = tick.tick() => {
                agent.tell(&Told::Progress(progress()))?;
                agent.flush()?;
            }
        }
    }
}

/// The agent, at the other end of standard output.
struct Agent {
    out: BufWriter<io::Stdout>,
}

impl Agent {
    fn new() -> Self {
        Self { out: BufWriter::with_capacity(1 << 16, io::stdout()) }
    }

    fn tell(&mut self, told: &Told) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, told)?;
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_order_is_refused() {
        for input in ["", "\n", "{}\n", "portreeve\n"] {
            let refused = read_order(&mut input.as_bytes()).expect_err(input);
            assert!(refused.to_string().contains("order of an agent"), "{refused}");
        }
    }
}
