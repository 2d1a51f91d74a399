//! Figures by day, week or month. Days are UTC days; weeks begin on Monday.

use chrono::NaiveDate;
use serde::Serialize;
use sqlx::{FromRow, PgExecutor};
use utoipa::ToSchema;

use super::Scope;

/// A figure of one period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, FromRow)]
pub struct TrendPoint {
    /// First day of the period.
    pub date: NaiveDate,
    /// How many.
    pub count: i64,
}

/// Alerts of one period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, FromRow)]
pub struct AlertTrendPoint {
    /// First day of the period.
    pub date: NaiveDate,
    /// Raised.
    pub count: i64,
    /// Of those, acknowledged by now.
    pub acknowledged_count: i64,
}

/// What to count.
#[derive(Clone, Copy, Debug)]
pub struct TrendFilter<'a> {
    /// First day.
    pub start: NaiveDate,
    /// Last day.
    pub end: NaiveDate,
    /// `day`, `week` or `month`.
    pub period: &'static str,
    /// Of one network.
    pub network_id: Option<i64>,
    /// Of one type, for alerts.
    pub alert_kind: Option<&'a str>,
}

/// Endpoints by when they were first seen open in the networks asked for.
///
/// Over all networks that is known of each endpoint; for some of them it is the oldest of its stretches there,
/// so that a port that closed and opened again is not new.
pub async fn new_ports(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    filter: &TrendFilter<'_>,
) -> sqlx::Result<Vec<TrendPoint>> {
    let statement = if scope.is_none() && filter.network_id.is_none() {
        "-- trend_of_all_ports
         select date_trunc($3, first_seen_at at time zone 'UTC')::date as date, count(*) as count
           from global_ports
          where first_seen_at >= $4::date::timestamp at time zone 'UTC'
            and first_seen_at < ($5::date + 1)::timestamp at time zone 'UTC'
            and $1::bigint[] is null and $2::bigint is null
          group by 1 order by 1"
    } else {
        "-- trend_of_ports
         select date_trunc($3, first_seen_at at time zone 'UTC')::date as date, count(*) as count
           from (select global_port_id, min(first_seen_at) as first_seen_at from ports
                  where ($1::bigint[] is null or network_id = any($1)) and ($2::bigint is null or network_id = $2)
                  group by global_port_id) endpoint
          where first_seen_at >= $4::date::timestamp at time zone 'UTC'
            and first_seen_at < ($5::date + 1)::timestamp at time zone 'UTC'
          group by 1 order by 1"
    };
    sqlx::query_as(statement)
        .bind(scope)
        .bind(filter.network_id)
        .bind(filter.period)
        .bind(filter.start)
        .bind(filter.end)
        .persistent(false)
        .fetch_all(db)
        .await
}

/// Hosts by when they were first seen.
pub async fn new_hosts(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    filter: &TrendFilter<'_>,
) -> sqlx::Result<Vec<TrendPoint>> {
    sqlx::query_as(
        "-- trend_of_hosts
         select date_trunc($3, h.first_seen_at at time zone 'UTC')::date as date, count(*) as count
           from hosts h
          where h.first_seen_at >= $4::date::timestamp at time zone 'UTC'
            and h.first_seen_at < ($5::date + 1)::timestamp at time zone 'UTC'
            and ($1::bigint[] is null or exists (
                 select from host_networks where host_id = h.id and network_id = any($1)))
            and ($2::bigint is null or exists (
                 select from host_networks where host_id = h.id and network_id = $2))
          group by 1 order by 1",
    )
    .bind(scope)
    .bind(filter.network_id)
    .bind(filter.period)
    .bind(filter.start)
    .bind(filter.end)
    .persistent(false)
    .fetch_all(db)
    .await
}

/// Alerts by when they were raised.
pub async fn alerts(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    filter: &TrendFilter<'_>,
) -> sqlx::Result<Vec<AlertTrendPoint>> {
    sqlx::query_as(
        "-- trend_of_alerts
         select date_trunc($3, created_at at time zone 'UTC')::date as date, count(*) as count,
                count(*) filter (where acknowledged) as acknowledged_count
           from alerts
          where created_at >= $4::date::timestamp at time zone 'UTC'
            and created_at < ($5::date + 1)::timestamp at time zone 'UTC'
            and ($1::bigint[] is null or network_id = any($1)) and ($2::bigint is null or network_id = $2)
            and ($6::text is null or kind = $6)
          group by 1 order by 1",
    )
    .bind(scope)
    .bind(filter.network_id)
    .bind(filter.period)
    .bind(filter.start)
    .bind(filter.end)
    .bind(filter.alert_kind)
    .persistent(false)
    .fetch_all(db)
    .await
}
