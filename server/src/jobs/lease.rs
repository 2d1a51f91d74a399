//! What an agent does with the jobs it holds.

use chrono::{DateTime, TimeDelta, Utc};
use portreeve_model::{
    SafeText,
    protocol::{FinishRequest, JobOutcome, LeasedJob, LogLevel, LogLine, RenewRequest, RenewResponse},
};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{News, error_text, settle};
use crate::{
    ingest::{self, Ingested, Origin, Sightings},
    store::{
        jobs::{self as store, HeldJob, LEASE},
        scan_lifecycle::{self as scans, LogRow},
    },
};

/// Agents renew this often: three tries before a lease runs out.
pub const RENEW_SECONDS: u32 = 15;

/// Why a call about a job is refused.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Not all batches are there yet.
    #[error("{missing} of the job's {expected} batches have not arrived; send them, then finish again")]
    BatchesMissing {
        /// How many.
        missing: i64,
        /// Of how many.
        expected: u32,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The job is somebody else's by now, or never was this agent's.
    #[error("The lease on this job is lost; drop what is left of it")]
    Lost,
}

/// Leases the oldest job an agent may take. Jobs whose lease ran out are handed out again from `lapsed_before` on.
pub async fn take(
    pool: &PgPool,
    agent_id: i64,
    now: DateTime<Utc>,
    lapsed_before: DateTime<Utc>,
) -> sqlx::Result<Option<(LeasedJob, News)>> {
    let token = Uuid::from_bytes(uuid::Builder::from_random_bytes(rand::random()).into_uuid().into_bytes());
    let mut transaction = pool.begin().await?;
    let leased = match store::lease(&mut transaction, agent_id, token, now, lapsed_before).await {
        Ok(Some(leased)) => leased,
        Ok(None) => return Ok(None),
        // Another server has just started a scan of the same thing: this one's turn comes later.
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("scans_one_running") => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let line = scans::line(&mut *transaction, leased.spec.0.scan_id).await?;
    transaction.commit().await?;
    let job = LeasedJob {
        job: leased.spec.0,
        lease_token: token,
        renew_seconds: RENEW_SECONDS,
        lease_expires_at_ms: portreeve_model::Timestamp(leased.lease_expires_at.timestamp_millis()),
    };
    Ok(Some((job, News { line, alerts: Vec::new() })))
}

/// Keeps a lease, also one that ran out and that nobody else has taken.
pub async fn renew(
    pool: &PgPool,
    agent_id: i64,
    job_id: Uuid,
    request: &RenewRequest,
    now: DateTime<Utc>,
) -> Result<(RenewResponse, News), LeaseError> {
    let mut transaction = pool.begin().await?;
    let job = held(&mut transaction, agent_id, job_id, request.lease_token).await?;
    if job.state != "leased" {
        return Err(LeaseError::Lost);
    }
    store::renew(&mut *transaction, job_id, &request.progress, now).await?;
    let line = store::sum_progress(&mut *transaction, job.scan_id).await?;
    transaction.commit().await?;
    let response = RenewResponse {
        lease_expires_at_ms: portreeve_model::Timestamp((now + LEASE).timestamp_millis()),
        cancelled: job.scan_status == "cancelled",
    };
    Ok((response, News { line, alerts: Vec::new() }))
}

/// What became of a batch.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Records stored.
    pub stored: u64,
    /// It had been taken before.
    pub repeated: bool,
    /// The job it belongs to.
    pub job: HeldJob,
    /// What it changed.
    pub ingested: Ingested,
}

/// Takes a batch in, once: its number and all it says are written together or not at all.
pub async fn take_batch(
    pool: &PgPool,
    agent_id: i64,
    job_id: Uuid,
    batch: &Batch,
    now: DateTime<Utc>,
) -> Result<Taken, LeaseError> {
    const ATTEMPTS: usize = 3;
    for _ in 1..ATTEMPTS {
        match try_take_batch(pool, agent_id, job_id, batch, now).await {
            Err(LeaseError::Database(error)) if is_deadlock(&error) => {
                tracing::debug!(%job_id, number = batch.number, "two batches got in each other's way; trying again");
            }
            other => return other,
        }
    }
    try_take_batch(pool, agent_id, job_id, batch, now).await
}

/// A batch as it came.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The lease it comes under.
    pub token: Uuid,
    /// Its number, from 0.
    pub number: u32,
    /// What it says.
    pub records: Vec<portreeve_model::protocol::Record>,
}

async fn try_take_batch(
    pool: &PgPool,
    agent_id: i64,
    job_id: Uuid,
    batch: &Batch,
    now: DateTime<Utc>,
) -> Result<Taken, LeaseError> {
    let mut transaction = pool.begin().await?;
    let job = held(&mut transaction, agent_id, job_id, batch.token).await?;
    if !store::note_batch(&mut *transaction, job_id, batch.number, batch.records.len(), now).await? {
        return Ok(Taken { stored: 0, repeated: true, job, ingested: Ingested::default() });
    }
    let origin = Origin {
        scan_id: job.scan_id,
        network_id: job.network_id,
        shard_index: Some(job.shard_index),
        block: job.block,
        started_at: job.scan_started_at.unwrap_or(now),
        now,
    };
    let sightings = Sightings::from_records(batch.records.clone(), &origin);
    let ingested = ingest::apply(&mut transaction, &origin, &sightings).await?;
    if sightings.foreign > 0 {
        let message =
            format!("{} records about addresses outside this scan were left out", sightings.foreign);
        scans::append_logs(&mut *transaction, job.scan_id, &[LogRow { at: now, level: "warning", message }])
            .await?;
    }
    transaction.commit().await?;
    let stored = batch.records.len() as u64 - sightings.foreign;
    Ok(Taken { stored, repeated: false, job, ingested })
}

/// Adds to the log of a job's scan, also after its end: the last lines come last.
pub async fn add_logs(
    pool: &PgPool,
    agent_id: i64,
    job_id: Uuid,
    token: Uuid,
    lines: &[LogLine],
    now: DateTime<Utc>,
) -> Result<(), LeaseError> {
    let mut transaction = pool.begin().await?;
    let job = held(&mut transaction, agent_id, job_id, token).await?;
    let rows: Vec<_> = lines.iter().map(|line| log_row(line, now)).collect();
    scans::append_logs(&mut *transaction, job.scan_id, &rows).await?;
    transaction.commit().await?;
    Ok(())
}

fn log_row(line: &LogLine, now: DateTime<Utc>) -> LogRow {
    // A wrong clock must not put lines where nobody looks for them.
    const FAR: TimeDelta = TimeDelta::days(7);
    let told = DateTime::from_timestamp_millis(line.at_ms.0).filter(|at| (now - *at).abs() < FAR);
    let level = match line.level {
        LogLevel::Error => "error",
        LogLevel::Info => "info",
        LogLevel::Warning => "warning",
    };
    LogRow { at: told.unwrap_or(now).min(now), level, message: line.message.as_str().to_owned() }
}

/// Ends a job, and its scan if it was the last. Repeating it changes nothing.
pub async fn finish(
    pool: &PgPool,
    agent_id: i64,
    job_id: Uuid,
    request: &FinishRequest,
    now: DateTime<Utc>,
) -> Result<News, LeaseError> {
    let mut transaction = pool.begin().await?;
    let job = held(&mut transaction, agent_id, job_id, request.lease_token).await?;
    if job.state != "leased" {
        return Ok(News::default());
    }
    let present = store::batches_present(&mut *transaction, job_id, request.batches).await?;
    let missing = i64::from(request.batches) - present;
    if missing > 0 {
        return Err(LeaseError::BatchesMissing { missing, expected: request.batches });
    }
    let error = match request.outcome {
        JobOutcome::Failed => {
            error_text(request.error.as_ref()).or_else(|| Some("The agent did not say why.".to_owned()))
        }
        JobOutcome::Cancelled | JobOutcome::Completed => error_text(request.error.as_ref()),
    };
    let outcome = outcome_name(request.outcome);
    store::finish(&mut *transaction, job_id, outcome, error.as_deref(), &request.summary, now).await?;
    let news = settle(&mut transaction, job.scan_id, now).await?;
    transaction.commit().await?;
    Ok(news)
}

const fn outcome_name(outcome: JobOutcome) -> &'static str {
    match outcome {
        JobOutcome::Cancelled => "cancelled",
        JobOutcome::Completed => "completed",
        JobOutcome::Failed => "failed",
    }
}

async fn held(
    db: &mut PgConnection,
    agent_id: i64,
    job_id: Uuid,
    token: Uuid,
) -> Result<HeldJob, LeaseError> {
    store::held(db, job_id, agent_id, token).await?.ok_or(LeaseError::Lost)
}

/// PostgreSQL ended the transaction because it and another waited for each other (40P01) or could not be put in
/// order (40001); repeating it is the remedy.
fn is_deadlock(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("40P01" | "40001"))
}

/// Text for a log line of the server's own.
pub fn server_line(level: &'static str, message: impl Into<String>, now: DateTime<Utc>) -> LogRow {
    LogRow { at: now, level, message: SafeText::from(message.into()).into_string() }
}
