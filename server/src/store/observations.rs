//! The months that raw observations are kept in.

use chrono::{DateTime, Months, Utc};
use sqlx::PgExecutor;

/// Makes the partitions of this month and the next, so that none is missing when the month turns.
pub async fn make_partitions(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> sqlx::Result<()> {
    let next = now.checked_add_months(Months::new(1)).unwrap_or(now);
    sqlx::query("-- make_observation_partitions\n select make_observation_partition($1), make_observation_partition($2)")
        .bind(now)
        .bind(next)
        .execute(db)
        .await?;
    Ok(())
}
