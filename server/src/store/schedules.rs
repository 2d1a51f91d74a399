//! What is due, and what was missed.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

/// A network whose time has come.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct DueNetwork {
    /// The network.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its cron line.
    pub scan_schedule: String,
    /// The zone the line is meant in.
    pub time_zone: String,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// A scan of it waits or runs.
    pub is_active: bool,
}

/// The network that has been due longest, locked until the caller's transaction ends; one that another server holds is
/// passed over.
pub async fn lock_due(db: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<Option<DueNetwork>> {
    sqlx::query_as(
        "-- lock_due_network
        select n.id, n.name, n.scan_schedule, n.time_zone, n.next_run_at as due_at,
               exists (select from scans s where s.network_id = n.id and s.kind = 'scan' and s.target_address is null
                       and s.status in ('planned', 'running')) as is_active
        from networks n
        where n.next_run_at <= $1
        order by n.next_run_at, n.id
        limit 1
        for update skip locked",
    )
    .bind(now)
    .fetch_optional(db)
    .await
}

/// Sets when a network is due next; `None` stops its schedule.
pub async fn set_next_run(
    db: impl PgExecutor<'_>,
    network_id: i64,
    next_run_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    let result = sqlx::query(
        "-- set_next_run
        update networks set next_run_at = $2 where id = $1",
    )
    .bind(network_id)
    .bind(next_run_at)
    .execute(db)
    .await?;
    super::one_row(&result)
}

/// Notes what became of a due run; false if that was noted before.
pub async fn note_claim(
    db: impl PgExecutor<'_>,
    network: &DueNetwork,
    scan_id: Option<i64>,
    skipped: Option<&str>,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let result = sqlx::query(
        "-- note_schedule_claim
        insert into schedule_claims (network_id, due_at, claimed_at, scan_id, skipped) values ($1, $2, $3, $4, $5)
        on conflict do nothing",
    )
    .bind(network.id)
    .bind(network.due_at)
    .bind(now)
    .bind(scan_id)
    .bind(skipped)
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// A planned scan that nobody has begun.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct LateScan {
    /// Its network.
    pub network_id: i64,
    /// The network's name.
    pub network_name: String,
    /// When it was planned.
    pub queued_at: DateTime<Utc>,
    /// The name of the agent it waits for.
    pub agent_name: Option<String>,
    /// When that agent was last heard of.
    pub last_seen_at: Option<DateTime<Utc>>,
}

/// Scheduled scans that were planned before a time and have not begun.
pub async fn late_scans(
    db: impl PgExecutor<'_>,
    planned_before: DateTime<Utc>,
) -> sqlx::Result<Vec<LateScan>> {
    sqlx::query_as(
        "-- late_scans
        select s.network_id, n.name as network_name, s.queued_at, a.name as agent_name, a.last_seen_at
        from scans s join networks n on n.id = s.network_id left join agents a on a.id = n.agent_id
        where s.status = 'planned' and s.trigger_type = 'scheduled' and s.queued_at < $1
        order by s.id",
    )
    .bind(planned_before)
    .fetch_all(db)
    .await
}

/// An agent that has stopped calling.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct SilentAgent {
    /// The agent.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// When it was last heard of.
    pub last_seen_at: DateTime<Utc>,
    /// Networks that are scanned by schedule and now are not.
    pub scheduled_networks: i64,
}

/// Marks agents as away that have called once and not since a time, and returns those that were not marked yet.
pub async fn mark_silent_agents(
    db: impl PgExecutor<'_>,
    silent_since: DateTime<Utc>,
) -> sqlx::Result<Vec<SilentAgent>> {
    sqlx::query_as(
        "-- mark_silent_agents
        update agents a set reported_offline = true
        where a.last_seen_at < $1 and not a.reported_offline and a.revoked_at is null
        returning a.id, a.name, a.last_seen_at,
            (select count(*) from networks n where n.agent_id = a.id and n.scan_schedule is not null) as scheduled_networks",
    )
    .bind(silent_since)
    .fetch_all(db)
    .await
}
