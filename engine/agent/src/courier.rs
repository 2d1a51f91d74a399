//! Hands a job's spooled results in, in their order, until the server has them all.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::{
    backoff::Backoff,
    spool::{BatchUnreadable, JobSpool, SpoolError},
    uplink::{Uplink, UplinkError},
};

/// How handing a job in ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The server has every batch and the end.
    Done,
    /// The server does not want the rest: the lease is lost, or the job is unknown there.
    Refused(String),
    /// The credential is not accepted; the results stay in the spool.
    Unauthorized(String),
    /// The spool cannot be read or written; what is there stays there.
    Stuck(String),
}

/// Hands in what `job` holds and will hold, and ends when its end is handed in, or never can be.
pub async fn deliver(job: Arc<JobSpool>, uplink: Uplink) -> Delivery {
    let mut backoff = Backoff::default();
    loop {
        let sent = match job.first_pending() {
            Some(number) => hand_in_batch(&job, &uplink, number).await,
            None => match hand_in_end(&job, &uplink).await {
                Some(Ok(())) => return forget(job, Delivery::Done).await,
                Some(Err(error)) => Err(error),
                None => {
                    job.changed.notified().await;
                    continue;
                }
            },
        };
        match sent {
            Ok(()) => backoff.reset(),
            Err(Obstacle::Uplink(error)) if error.is_transient() => {
                tracing::warn!(job = %job.lease.job_id, %error, "cannot hand results in; they are kept and tried again");
                backoff.wait(error.retry_after()).await;
            }
            Err(Obstacle::Uplink(UplinkError::Unauthorized(why))) => return Delivery::Unauthorized(why),
            Err(Obstacle::Uplink(error)) => return forget(job, Delivery::Refused(error.to_string())).await,
            Err(Obstacle::Spool(error)) => return Delivery::Stuck(error.to_string()),
        }
    }
}

/// What stands in the way of handing in.
enum Obstacle {
    Uplink(UplinkError),
    Spool(SpoolError),
}

impl From<SpoolError> for Obstacle {
    fn from(error: SpoolError) -> Self {
        Self::Spool(error)
    }
}

async fn hand_in_batch(job: &Arc<JobSpool>, uplink: &Uplink, number: u32) -> Result<(), Obstacle> {
    let body = match blocking(job, move |job| job.read(number)).await {
        Ok(body) => body,
        Err(error @ (BatchUnreadable::Damaged(_) | BatchUnreadable::Io(_))) => {
            return give_up(job, number, error.to_string()).await;
        }
    };
    let lease = job.lease;
    match uplink.batch(lease.job_id, number, lease.lease_token, body).await {
        Ok(response) => {
            tracing::debug!(job = %lease.job_id, number, stored = response.stored, "batch handed in");
            Ok(blocking(job, move |job| job.acknowledge(number)).await?)
        }
        Err(UplinkError::TooLarge) => {
            if blocking(job, move |job| job.split(number)).await? {
                return Ok(());
            }
            give_up(job, number, "one record is too large for the server".to_owned()).await
        }
        Err(UplinkError::Malformed(why)) => give_up(job, number, why).await,
        Err(error) => Err(Obstacle::Uplink(error)),
    }
}

/// Sets a batch aside. A batch that stands in for one already set aside is dropped instead.
async fn give_up(job: &Arc<JobSpool>, number: u32, why: String) -> Result<(), Obstacle> {
    tracing::error!(job = %job.lease.job_id, number, why, "a batch is set aside");
    if blocking(job, move |job| job.is_stand_in(number)).await {
        return Ok(blocking(job, move |job| job.acknowledge(number)).await?);
    }
    Ok(blocking(job, move |job| job.give_up(number, &why)).await?)
}

async fn hand_in_end(job: &Arc<JobSpool>, uplink: &Uplink) -> Option<Result<(), Obstacle>> {
    let finish = job.finish_request()?;
    Some(uplink.finish(job.lease.job_id, &finish).await.map_err(Obstacle::Uplink))
}

async fn forget(job: Arc<JobSpool>, delivery: Delivery) -> Delivery {
    if let Err(error) = blocking(&job, |job| job.discard()).await {
        // It will be offered to the server once more after a restart, and taken as a repeat.
        tracing::warn!(job = %job.lease.job_id, %error, "cannot clear the spool of a job that is over");
    }
    delivery
}

/// Runs a spool call where it may wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    job: &Arc<JobSpool>,
    call: impl FnOnce(&JobSpool) -> T + Send + 'static,
) -> T {
    let job = Arc::clone(job);
    match spawn_blocking(move || call(&job)).await {
        Ok(value) => value,
        // Only a panic ends it early; it goes on where it would have without the thread.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
