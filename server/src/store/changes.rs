//! The feed of what changed.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgExecutor};
use utoipa::ToSchema;

use super::Scope;
use crate::input::AddressRange;

/// Something that is different from before.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct Change {
    /// Number of the change; later changes have higher numbers.
    pub id: i64,
    /// When it was found.
    pub at: DateTime<Utc>,
    /// `port_opened`, `port_closed`, `service_changed`, `host_appeared` …
    pub kind: String,
    /// `info` to `critical`.
    pub severity: String,
    /// The network.
    pub network_id: i64,
    /// Its name.
    pub network_name: String,
    /// The scan that found it.
    pub scan_id: Option<i64>,
    /// The host.
    pub host_id: Option<i64>,
    /// Its name.
    pub hostname: Option<String>,
    /// The endpoint over all networks.
    pub global_port_id: Option<i64>,
    /// The address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// The port, unless it is about the host.
    pub port: Option<i32>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Option<String>,
    /// The fields that differ, before.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// The fields that differ, after.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
}

/// Which changes.
#[derive(Clone, Debug, Default)]
pub struct ChangeFilter<'a> {
    /// In one network.
    pub network_id: Option<i64>,
    /// Of these kinds.
    pub kinds: Option<&'a [String]>,
    /// Of one host.
    pub host_id: Option<i64>,
    /// Found by one scan.
    pub scan_id: Option<i64>,
    /// About these addresses.
    pub range: Option<AddressRange>,
    /// About this port.
    pub port: Option<u16>,
    /// Found from here on.
    pub from: Option<DateTime<Utc>>,
    /// Found up to here.
    pub to: Option<DateTime<Utc>>,
    /// Only what came before this one.
    pub before_id: Option<i64>,
    /// How many at most.
    pub limit: i64,
}

/// Changes, newest first.
pub async fn list(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    filter: &ChangeFilter<'_>,
) -> sqlx::Result<Vec<Change>> {
    sqlx::query_as(
        "-- list_changes
         select c.id, c.at, c.kind, c.severity, c.network_id, n.name as network_name, c.scan_id, c.host_id, h.hostname,
                c.global_port_id, c.address as ip, c.port, c.transport as protocol, c.before, c.after
           from (select * from changes
                  where ($1::bigint[] is null or network_id = any($1)) and ($2::bigint is null or network_id = $2)
                    and ($3::text[] is null or kind = any($3)) and ($4::bigint is null or host_id = $4)
                    and ($5::bigint is null or scan_id = $5) and ($6::inet is null or address between $6 and $7)
                    and ($8::int is null or port = $8)
                    and ($9::timestamptz is null or at >= $9) and ($10::timestamptz is null or at <= $10)
                    and ($11::bigint is null or id < $11)
                  order by id desc limit $12) c
           join networks n on n.id = c.network_id
           left join hosts h on h.id = c.host_id
          order by c.id desc",
    )
    .bind(scope)
    .bind(filter.network_id)
    .bind(filter.kinds)
    .bind(filter.host_id)
    .bind(filter.scan_id)
    .bind(filter.range.map(|range| range.first))
    .bind(filter.range.map(|range| range.last))
    .bind(filter.port.map(i32::from))
    .bind(filter.from)
    .bind(filter.to)
    .bind(filter.before_id)
    .bind(filter.limit)
    .persistent(false)
    .fetch_all(db)
    .await
}

/// How many changes of each kind there were since then.
pub async fn count_since(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    since: DateTime<Utc>,
) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as(
        "-- count_changes_since
         select kind, count(*) from changes
          where at >= $2 and ($1::bigint[] is null or network_id = any($1))
          group by kind order by kind",
    )
    .bind(scope)
    .bind(since)
    .fetch_all(db)
    .await
}
