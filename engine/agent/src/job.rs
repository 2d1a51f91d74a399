//! One leased job, from the lease to the acknowledged end.

use std::{convert::Infallible, sync::Arc, time::Duration};

use portreeve_model::{
    SafeText,
    protocol::{FinishRequest, Job, JobOutcome, LeasedJob, LogLevel},
};
use portreeve_probes::{Database, Memory, archive::ReplySink};
use portreeve_scan::{BackendChoice, Clock};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    apart::{Worker, relay},
    courier::{Delivery, blocking, deliver},
    lease::{StopCause, Underway, keep, tell_log},
    limits::HostLimits,
    recorder::record,
    run::Found,
    spool::JobSpool,
    task::{Done, Ended, Task},
    uplink::Uplink,
};

/// What was found and may wait for the disk.
const FOUND: usize = 4_096;
/// What every job on this host is done with.
#[derive(Clone)]
pub(crate) struct Workshop {
    pub(crate) uplink: Uplink,
    pub(crate) clock: Clock,
    pub(crate) databases: watch::Receiver<Arc<Database>>,
    pub(crate) archive: Option<Arc<dyn ReplySink>>,
    pub(crate) limits: HostLimits,
    pub(crate) backend: BackendChoice,
    /// What earlier jobs found, so that a known endpoint costs one connection.
    pub(crate) memory: Arc<Memory>,
    /// What carries jobs out, each in a process of its own; without, they are carried out in this one.
    pub(crate) worker: Option<Worker>,
}

impl Workshop {
    fn task(&self, job: Job) -> Task {
        Task {
            job,
            limits: self.limits.clone(),
            backend: self.backend,
            database: Arc::clone(&self.databases.borrow()),
            archive: self.archive.clone(),
            memory: Arc::clone(&self.memory),
            clock: self.clock.clone(),
        }
    }
}

/// Does a job and hands it in. `stop` ends it early; what was found is handed in all the same.
pub(crate) async fn carry_out(
    workshop: Workshop,
    leased: LeasedJob,
    spool: Arc<JobSpool>,
    stop: CancellationToken,
) -> Delivery {
    let underway = Underway::new(workshop.clock.clone());
    let mut courier = spawn(deliver(Arc::clone(&spool), workshop.uplink.clone()));
    // Kept up until the end is handed in: a lease that runs out meanwhile would cost the results.
    let _keeper = spawn({
        let (leased, uplink, underway) = (leased.clone(), workshop.uplink.clone(), underway.clone());
        async move { keep(&leased, &uplink, &underway).await }
    });
    let ended = tokio::select! {
        ended = scan_into(&spool, &workshop, &leased, &underway) => ended,
        never = stop_in_time(&leased.job, &stop, &underway) => match never {},
    };
    if let Some(StopCause::Lost(why)) = underway.cause() {
        drop(courier);
        let why = why.clone();
        if let Err(error) = blocking(&spool, JobSpool::discard).await {
            tracing::warn!(%error, "cannot clear the spool of a job that is lost");
        }
        return Delivery::Refused(why);
    }
    let finish = finish_request(&leased, &underway, ended);
    if let Some(error) = &finish.error {
        underway.log(LogLevel::Error, error.clone());
    }
    tell_log(&leased, &workshop.uplink, &underway).await;
    if let Err(error) = blocking(&spool, |spool| spool.finish(finish)).await {
        tracing::warn!(%error, "the end of a job is kept in memory only");
    }
    match (&mut courier).await {
        Ok(delivery) => delivery,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Delivery::Stuck("the agent is going down".to_owned()),
    }
}

/// Carries the job out, where the agent has that done, and has what is found spooled.
async fn scan_into(
    spool: &Arc<JobSpool>,
    workshop: &Workshop,
    leased: &LeasedJob,
    underway: &Underway,
) -> Ended {
    let (out, found) = mpsc::channel(FOUND);
    let recorder = spawn(record(Arc::clone(spool), found));
    let task = workshop.task(leased.job.clone());
    let mut ended = match &workshop.worker {
        Some(worker) => relay(worker, task, underway, out).await,
        None => carry_out_here(task, underway, out).await,
    };
    match recorder.await {
        Ok(Err(error)) => {
            ended.failure = Some(format!("results cannot be kept on the scanner host: {error}"));
        }
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        _ => {}
    }
    ended
}

async fn carry_out_here(task: Task, underway: &Underway, out: mpsc::Sender<Found>) -> Ended {
    let prepared = match spawn_blocking(move || task.prepare()).await {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(error)) => return Ended::failed(error),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let (backend, why) = prepared.backend();
    underway.begins(backend, why);
    prepared.run(underway.control().clone(), underway.tally().clone(), out).await
}

/// Stops the job when its time is up or the agent goes down.
async fn stop_in_time(job: &Job, stop: &CancellationToken, underway: &Underway) -> Infallible {
    tokio::select! {
        () = stop.cancelled() => underway.stop(StopCause::Stopped),
        () = sleep(Duration::from_secs(job.timeout_seconds.into())) => {
            underway.stop(StopCause::TimedOut(job.timeout_seconds));
        }
    }
    std::future::pending().await
}

fn finish_request(leased: &LeasedJob, underway: &Underway, ended: Ended) -> FinishRequest {
    let (outcome, error) = outcome(ended.failure, underway.cause(), ended.done.as_ref());
    FinishRequest {
        lease_token: leased.lease_token,
        outcome,
        error: error.map(SafeText::from),
        batches: 0,
        summary: ended.done.map(|done| done.summary).unwrap_or_default(),
    }
}

fn outcome(
    failure: Option<String>,
    cause: Option<&StopCause>,
    done: Option<&Done>,
) -> (JobOutcome, Option<String>) {
    let failed = |why: &str| (JobOutcome::Failed, Some(why.to_owned()));
    match (failure, cause) {
        (Some(failure), _) => failed(&failure),
        (None, Some(StopCause::Cancelled)) => (JobOutcome::Cancelled, None),
        (None, Some(StopCause::TimedOut(seconds))) => {
            failed(&format!("the time limit of {seconds} s was reached; results are partial"))
        }
        (None, Some(_)) => failed("the agent was stopped before the scan was over; results are partial"),
        (None, None) if done.is_some_and(|done| done.completed) => (JobOutcome::Completed, None),
        (None, None) => failed("the scan ended before every target was probed; results are partial"),
    }
}

fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_scan_is_called_complete() {
        let cause = StopCause::TimedOut(5);
        assert_eq!(outcome(None, None, None).0, JobOutcome::Failed);
        assert_eq!(outcome(None, Some(&StopCause::Cancelled), None), (JobOutcome::Cancelled, None));
        let (timed_out, why) = outcome(None, Some(&cause), None);
        assert_eq!(timed_out, JobOutcome::Failed);
        assert!(why.expect("a reason").contains("5 s"));
    }
}
