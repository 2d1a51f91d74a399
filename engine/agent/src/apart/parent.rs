//! The agent's side: starts the worker, and passes on what it tells.

use std::{io, process::Stdio, time::Duration};

use portreeve_probes::Known;
use portreeve_scan::TargetSet;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    time::{Instant, interval},
};

use super::{LONGEST_ORDER, LONGEST_TOLD, Order, Told, Worker};
use crate::{
    lease::Underway,
    run::Found,
    task::{Ended, Task, TaskError},
};

/// How often it is asked whether the job is still wanted.
const LOOK: Duration = Duration::from_millis(50);
/// How long a worker that was told to stop may take to hand over what it has.
const PATIENCE: Duration = Duration::from_secs(15);
/// The one variable of the environment that a worker gets; an enrolment token may stand in others.
const LOG_LEVEL: &str = "PORTREEVE_LOG";

/// Has a task carried out by a worker; what is found goes to `out` as it comes.
pub(crate) async fn relay(
    worker: &Worker,
    task: Task,
    underway: &Underway,
    out: mpsc::Sender<Found>,
) -> Ended {
    let targets = match task.limits.targets(&task.job) {
        Ok(targets) => targets,
        Err(error) => return Ended::failed(TaskError::from(error)),
    };
    match Relay::start(worker, &task, &targets).await {
        Ok(relay) => relay.run(task, &targets, underway, out).await,
        Err(error) => Ended::failed(format!(
            "cannot start a process for the job with {}: {error}",
            worker.command.program.display()
        )),
    }
}

/// A worker at work.
struct Relay {
    child: Child,
    /// Open for as long as the job is wanted.
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

/// What came of a line.
enum Heard {
    Nothing,
    Learned(Box<Known>),
    Ended(Box<Ended>),
}

impl Relay {
    async fn start(worker: &Worker, task: &Task, targets: &TargetSet) -> io::Result<Self> {
        let mut child = Command::new(&worker.command.program)
            .args(&worker.command.arguments)
            .env_clear()
            .envs(std::env::var_os(LOG_LEVEL).map(|level| (LOG_LEVEL, level)))
            // A Ctrl-C in the agent's terminal is the agent's business: it has jobs stop in their own time.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let lines = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        let known = if Task::identifies(&task.job) {
            task.memory.known_of(|address| targets.contains(address))
        } else {
            Vec::new()
        };
        let mut order = Order {
            job: task.job.clone(),
            limits: task.limits.clone(),
            archive: worker.archive.clone(),
            user_files: task.database.user_texts(),
            known,
        };
        let mut line = serde_json::to_vec(&order)?;
        if line.len() as u64 >= LONGEST_ORDER {
            // Hosts decide how much there is to know of them; it only makes the job cheaper.
            order.known.clear();
            line = serde_json::to_vec(&order)?;
        }
        line.push(b'\n');
        // One that ended before it read this has told why, or shows it by its status.
        match input.write_all(&line).await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        Ok(Self { child, input: Some(input), lines })
    }

    async fn run(
        mut self,
        task: Task,
        targets: &TargetSet,
        underway: &Underway,
        out: mpsc::Sender<Found>,
    ) -> Ended {
        let (mut line, mut ended) = (Vec::new(), None);
        let (mut learned, mut learned_bytes) = (Vec::new(), 0);
        let mut look = interval(LOOK);
        let mut given_up: Option<Instant> = None;
        loop {
            let read = tokio::select! {
                read = next_line(&mut self.lines, &mut line) => read,
                _ = look.tick() => {
                    if underway.control().is_cancelled() && self.input.take().is_some() {
                        given_up = Some(Instant::now() + PATIENCE);
                    }
                    if given_up.is_some_and(|at| Instant::now() >= at) {
                        break;
                    }
                    continue;
                }
            };
            let heard = match read {
                Ok(true) => hear(&line, targets, underway, &out).await,
                Ok(false) => break,
                Err(error) => Err(error.to_string()),
            };
            let heard_bytes = line.len() as u64;
            line.clear();
            match heard {
                Ok(Heard::Nothing) => {}
                Ok(Heard::Learned(known)) => {
                    learned_bytes += heard_bytes;
                    // No more than the next order can hold.
                    if learned_bytes < LONGEST_ORDER {
                        learned.push(*known);
                    }
                }
                Ok(Heard::Ended(told)) => ended = Some(*told),
                Err(error) => {
                    ended = Some(Ended::failed(format!("the job's process cannot be understood: {error}")));
                    break;
                }
            }
        }
        let ended = self.end(ended).await;
        if ended.failure.is_none() && Task::identifies(&task.job) {
            task.memory.relearn(|address| targets.contains(address), learned);
        }
        ended
    }

    /// Sees to it that the process is gone.
    async fn end(mut self, ended: Option<Ended>) -> Ended {
        drop(self.input.take());
        let Some(ended) = ended else {
            // Its output is closed, or it does not stop: it has nothing to say any more.
            let status = match self.child.try_wait() {
                Ok(Some(status)) => Some(status),
                _ => tokio::time::timeout(Duration::from_secs(1), self.child.wait())
                    .await
                    .ok()
                    .and_then(Result::ok),
            };
            let _ = self.child.kill().await;
            return Ended::failed(match status {
                Some(status) => {
                    format!("the job's process ended before the job was done ({status}); results are partial")
                }
                None => "the job's process did not stop when it was told to; results are partial".to_owned(),
            });
        };
        if tokio::time::timeout(Duration::from_secs(1), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        ended
    }
}

/// Reads on to the end of a line, over several calls if it is dropped in between; false at the end of all.
async fn next_line(lines: &mut BufReader<ChildStdout>, line: &mut Vec<u8>) -> io::Result<bool> {
    let room = LONGEST_TOLD.saturating_sub(line.len() as u64);
    lines.take(room).read_until(b'\n', line).await?;
    match line.last() {
        Some(b'\n') => Ok(true),
        None => Ok(false),
        Some(_) if line.len() as u64 >= LONGEST_TOLD => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"))
        }
        // It was cut off while it wrote.
        Some(_) => Ok(false),
    }
}

async fn hear(
    line: &[u8],
    targets: &TargetSet,
    underway: &Underway,
    out: &mpsc::Sender<Found>,
) -> Result<Heard, String> {
    match serde_json::from_slice(line).map_err(|error| error.to_string())? {
        Told::Begun { backend, why } => underway.begins(&backend, &why),
        Told::Progress(progress) => underway.hear(progress),
        Told::Found(record) => {
            let address = record.address();
            if !targets.contains(address) {
                return Err(format!("it tells of {address}, which is no target of this job"));
            }
            // If nobody takes it any more, the job is over in any case.
            let _ = out.send(Found::Record(record)).await;
        }
        Told::Learned(known) => return Ok(Heard::Learned(known)),
        Told::Ended(ended) => return Ok(Heard::Ended(Box::new(ended))),
    }
    Ok(Heard::Nothing)
}
