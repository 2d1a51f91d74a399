//! From records as they come to batches in the spool.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    batch::Cutter,
    courier::blocking,
    run::Found,
    spool::{JobSpool, SpoolError},
};

/// A record waits no longer for its batch to fill up, so that open ports are seen live.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Spools all records until their senders are gone. Ends early if the spool takes no more.
pub async fn record(job: Arc<JobSpool>, mut found: mpsc::Receiver<Found>) -> Result<(), SpoolError> {
    let mut cutter = Cutter::default();
    let mut due: Option<Instant> = None;
    loop {
        let batch = tokio::select! {
            found = found.recv() => match found {
                // A job that an agent cannot finish goes back to the server as a whole, and suspicious hosts
                // are in its summary.
                Some(Found::Checkpoint(_) | Found::Suspicious(_)) => continue,
                Some(Found::Record(record)) => {
                    due.get_or_insert_with(|| Instant::now() + LONGEST_WAIT);
                    cutter.push(record)
                }
                None => break,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => cutter.cut(),
        };
        if let Some(batch) = batch {
            due = None;
            append(&job, batch).await?;
        }
    }
    match cutter.cut() {
        Some(batch) => append(&job, batch).await,
        None => Ok(()),
    }
}

async fn append(job: &Arc<JobSpool>, batch: Vec<u8>) -> Result<(), SpoolError> {
    blocking(job, move |job| job.append(&batch)).await.map(drop)
}
