//! Jobs and their leases.
//!
//! A lease that ran out is not taken away: the job may be leased by someone else from then on, and until that happens the
//! holder of its token can still renew it and hand results in. Nothing has to sweep for that to work.

use chrono::{DateTime, TimeDelta, Utc};
use portreeve_model::protocol::{Job, JobProgress, JobSummary};
use sqlx::{PgConnection, PgExecutor, types::Json};
use uuid::Uuid;

/// A lease is lost this often before its job is given up.
pub const MAX_ATTEMPTS: i32 = 3;

/// How long a lease lasts.
pub const LEASE: TimeDelta = TimeDelta::seconds(60);

/// A part of a scan to be worked on.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What to do.
    pub job: Job,
    /// The only agent that may take it; `None`: any of our own kind.
    pub agent_id: Option<i64>,
}

/// Puts jobs in the queue.
pub async fn insert(db: &mut PgConnection, jobs: &[NewJob], now: DateTime<Utc>) -> sqlx::Result<()> {
    for NewJob { job, agent_id } in jobs {
        let kind = match job.kind {
            portreeve_model::protocol::JobKind::Discovery => "discovery",
            portreeve_model::protocol::JobKind::Scan => "scan",
        };
        sqlx::query(
            "-- insert_job
            insert into jobs (id, scan_id, agent_id, kind, shard_index, shard_count, spec, created_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(job.job_id)
        .bind(job.scan_id)
        .bind(agent_id)
        .bind(kind)
        .bind(job.shard.index as i32)
        .bind(job.shard.count as i32)
        .bind(Json(job))
        .bind(now)
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// A job that was leased.
#[derive(Debug, sqlx::FromRow)]
pub struct Leased {
    /// The work.
    pub spec: Json<Job>,
    /// When the lease ends.
    pub lease_expires_at: DateTime<Utc>,
    /// How often the job has been leased, this time included.
    pub attempts: i32,
}

/// Leases the oldest job that an agent may take. `lapsed_before`: leases that ended before then are up for grabs; it
/// lies in the past while a server has just started, so that agents get the time to come back.
pub async fn lease(
    db: &mut PgConnection,
    agent_id: i64,
    token: Uuid,
    now: DateTime<Utc>,
    lapsed_before: DateTime<Utc>,
) -> sqlx::Result<Option<Leased>> {
    sqlx::query_as(
        "-- lease_job
        with candidate as (
            select j.id, j.scan_id
            from jobs j join scans s on s.id = j.scan_id join networks n on n.id = s.network_id
            where (j.agent_id is null or n.agent_id = $1)
                and (j.state = 'queued' and (j.not_before is null or j.not_before <= $3)
                     or j.state = 'leased' and j.lease_expires_at < $5 and j.attempts < $6)
                and (s.status = 'running'
                     or s.status = 'planned' and not exists (
                         select from scans r where r.network_id = s.network_id and r.kind = s.kind
                             and r.target_address is not distinct from s.target_address and r.status = 'running'))
            order by j.created_at, j.scan_id, j.shard_index
            limit 1
            for update of j skip locked
        ), started as (
            update scans s set status = 'running', agent_id = $1, started_at = coalesce(s.started_at, $3)
            from candidate c where s.id = c.scan_id and s.status = 'planned'
        )
        update jobs j set state = 'leased', lease_token = $2, lease_expires_at = $4, leased_by = $1,
                          attempts = j.attempts + 1, started_at = coalesce(j.started_at, $3)
        from candidate c where j.id = c.id
        returning j.spec, j.lease_expires_at, j.attempts",
    )
    .bind(agent_id)
    .bind(token)
    .bind(now)
    .bind(now + LEASE)
    .bind(lapsed_before)
    .bind(MAX_ATTEMPTS)
    .fetch_optional(db)
    .await
}

/// A job, its scan, and who holds it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct HeldJob {
    /// The job.
    pub id: Uuid,
    /// `queued`, `leased`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// The token its holder shows.
    pub lease_token: Option<Uuid>,
    /// Who holds it.
    pub leased_by: Option<i64>,
    /// Its place among the jobs of the scan.
    pub shard_index: i32,
    /// Its scan.
    pub scan_id: i64,
    /// Its network.
    pub network_id: i64,
    /// The scan's status.
    pub scan_status: String,
    /// When the scan began.
    pub scan_started_at: Option<DateTime<Utc>>,
    /// The addresses the scan is for.
    pub block: ipnet::IpNet,
}

/// The job, if the agent holds it with this token or was the last to hold it. Locks the job, so that a batch, a
/// finish and another agent's lease come one after the other.
pub async fn held(
    db: &mut PgConnection,
    job_id: Uuid,
    agent_id: i64,
    token: Uuid,
) -> sqlx::Result<Option<HeldJob>> {
    sqlx::query_as(
        "-- held_job
        select j.id, j.state, j.lease_token, j.leased_by, j.shard_index, j.scan_id, s.network_id, s.status as scan_status,
               s.started_at as scan_started_at, coalesce(s.target_address::inet, n.block::inet) as block
        from jobs j join scans s on s.id = j.scan_id join networks n on n.id = s.network_id
        where j.id = $1 and j.leased_by = $2 and j.lease_token = $3
        for update of j",
    )
    .bind(job_id)
    .bind(agent_id)
    .bind(token)
    .fetch_optional(db)
    .await
}

/// Keeps a lease and notes the progress.
pub async fn renew(
    db: impl PgExecutor<'_>,
    job_id: Uuid,
    progress: &JobProgress,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let result = sqlx::query(
        "-- renew_lease
        update jobs set lease_expires_at = $2, progress = $3 where id = $1 and state = 'leased'",
    )
    .bind(job_id)
    .bind(now + LEASE)
    .bind(Json(progress))
    .execute(db)
    .await?;
    super::one_row(&result)
}

/// Notes a batch's number; false if it was noted before.
pub async fn note_batch(
    db: impl PgExecutor<'_>,
    job_id: Uuid,
    number: u32,
    records: usize,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let result = sqlx::query(
        "-- note_batch
        insert into job_batches (job_id, number, records, received_at) values ($1, $2, $3, $4) on conflict do nothing",
    )
    .bind(job_id)
    .bind(i32::try_from(number).unwrap_or(i32::MAX))
    .bind(records as i32)
    .bind(now)
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// How many of a job's first `count` batches are there.
pub async fn batches_present(db: impl PgExecutor<'_>, job_id: Uuid, count: u32) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- count_batches
        select count(*) from job_batches where job_id = $1 and number < $2",
    )
    .bind(job_id)
    .bind(i32::try_from(count).unwrap_or(i32::MAX))
    .fetch_one(db)
    .await
}

/// Ends a job. The token stays, so that its holder may repeat the call.
pub async fn finish(
    db: impl PgExecutor<'_>,
    job_id: Uuid,
    outcome: &str,
    error: Option<&str>,
    summary: &JobSummary,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let result = sqlx::query(
        "-- finish_job
        update jobs set state = case $2 when 'completed' then 'done' else $2 end, outcome = $2, error_message = $3,
                        summary = $4, finished_at = $5
        where id = $1 and state = 'leased'",
    )
    .bind(job_id)
    .bind(outcome)
    .bind(error)
    .bind(Json(summary))
    .bind(now)
    .execute(db)
    .await?;
    super::one_row(&result)
}

/// Takes a scan's waiting jobs out of the queue.
pub async fn cancel_queued(db: impl PgExecutor<'_>, scan_id: i64, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query(
        "-- cancel_queued_jobs
        update jobs set state = 'cancelled', outcome = 'cancelled', finished_at = $2
        where scan_id = $1 and state = 'queued'",
    )
    .bind(scan_id)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// What the jobs of a scan amount to.
#[derive(Clone, Debug, Default, PartialEq, sqlx::FromRow)]
pub struct JobsOfScan {
    /// How many there are.
    pub jobs: i64,
    /// Those not yet ended.
    pub unfinished: i64,
    /// Those that failed.
    pub failed: i64,
    /// Those that were cancelled.
    pub cancelled: i64,
    /// What went wrong, one reason each.
    pub errors: Vec<String>,
    /// The summaries of those that ended.
    pub summaries: Vec<Json<JobSummary>>,
}

/// What the jobs of a scan amount to.
pub async fn of_scan(db: impl PgExecutor<'_>, scan_id: i64) -> sqlx::Result<JobsOfScan> {
    sqlx::query_as(
        "-- jobs_of_scan
        select count(*) as jobs,
               count(*) filter (where state in ('queued', 'leased')) as unfinished,
               count(*) filter (where state = 'failed') as failed,
               count(*) filter (where state = 'cancelled') as cancelled,
               coalesce(array_agg(distinct error_message) filter (where error_message is not null), '{}') as errors,
               coalesce(array_agg(summary order by shard_index) filter (where summary is not null), '{}') as summaries
        from jobs where scan_id = $1",
    )
    .bind(scan_id)
    .fetch_one(db)
    .await
}

/// Adds up what the jobs of a scan last told, and returns the scan's line for open pages.
pub async fn sum_progress(
    db: impl PgExecutor<'_>,
    scan_id: i64,
) -> sqlx::Result<Option<super::scan_lifecycle::ScanLine>> {
    sqlx::query_as(
        "-- sum_progress
        with told as (
            select avg(case when state in ('done', 'failed', 'cancelled') then 100
                            else coalesce((progress->>'percent')::real, 0) end) as percent,
                   coalesce(sum(coalesce((summary->>'probes_sent')::numeric, (progress->>'probes_sent')::numeric)), 0) as sent,
                   coalesce(sum((progress->>'probes_total')::numeric), 0) as total,
                   coalesce(sum((progress->>'rate_pps')::numeric) filter (where state = 'leased'), 0) as rate,
                   (array_agg(progress->>'phase' order by (progress->>'percent')::real nulls last)
                       filter (where state = 'leased'))[1] as phase
            from jobs where scan_id = $1
        )
        update scans s set
            progress_percent = least(greatest(t.percent, 0), 100)::real,
            progress_message = coalesce(t.phase, s.progress_message),
            probes_sent = least(t.sent, 9223372036854775807)::bigint,
            probes_total = least(t.total, 9223372036854775807)::bigint,
            rate_pps = least(t.rate, 2147483647)::integer
        from told t
        where s.id = $1 and s.status = 'running'
        returning s.id, s.network_id, s.status, s.progress_percent, s.progress_message, s.open_ports, s.probes_sent,
                  s.probes_total, s.rate_pps",
    )
    .bind(scan_id)
    .fetch_optional(db)
    .await
}

/// A job that nobody works on any more.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct LostJob {
    /// The job.
    pub id: Uuid,
    /// Its scan.
    pub scan_id: i64,
    /// The name of the agent that held it last.
    pub agent_name: Option<String>,
    /// How often it was leased.
    pub attempts: i32,
}

/// Gives up jobs whose lease ran out: for the last time allowed, or so long ago that nobody will come back for them. The
/// token stays, so that results which arrive after all are still taken.
pub async fn give_up_lost(
    db: &mut PgConnection,
    lapsed_before: DateTime<Utc>,
    lost_before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<LostJob>> {
    sqlx::query_as(
        "-- give_up_lost_jobs
        with lost as (
            select id from jobs
            where state = 'leased' and (lease_expires_at < $1 and attempts >= $4 or lease_expires_at < $2)
            order by id
            for update skip locked
        )
        update jobs j set state = 'failed', outcome = 'failed', finished_at = $3,
            error_message = 'The agent '
                || coalesce((select name from agents a where a.id = j.leased_by) || ' ', '')
                || 'stopped answering while it worked on this scan'
                || case when j.attempts > 1 then ' (' || j.attempts || ' attempts)' else '' end
                || '. Check that it runs and reaches the server, then scan again.'
        from lost l where j.id = l.id
        returning j.id, j.scan_id, (select name from agents a where a.id = j.leased_by) as agent_name, j.attempts",
    )
    .bind(lapsed_before)
    .bind(lost_before)
    .bind(now)
    .bind(MAX_ATTEMPTS)
    .fetch_all(db)
    .await
}
