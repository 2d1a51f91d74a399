//! Every endpoint ever seen open, over all networks.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgExecutor, PgPool};
use utoipa::ToSchema;

use super::{
    Scope, contains_pattern,
    ports::{PortFilter, PortSort, port_condition},
};

/// An endpoint under its one number.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct GlobalPort {
    /// Number of the endpoint.
    pub id: i64,
    /// The host behind the address.
    pub host_id: Option<i64>,
    /// Its name.
    pub hostname: Option<String>,
    /// The address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// Port number.
    #[sqlx(try_from = "i32")]
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// First words of the service.
    pub banner: Option<String>,
    /// Name of the service.
    pub service_guess: Option<String>,
    /// Product, as `OpenSSH`.
    pub product: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Hardware address of the host.
    pub mac_address: Option<String>,
    /// Maker of the interface.
    pub mac_vendor: Option<String>,
    /// When it was first seen open anywhere.
    pub first_seen_at: DateTime<Utc>,
    /// When it was last seen open anywhere.
    pub last_seen_at: DateTime<Utc>,
    /// The networks it was seen in.
    pub seen_by_networks: Vec<i64>,
    /// Whether it is open now in any of them.
    pub is_open: bool,
}

/// Writes a query that reads the endpoints a subquery chose.
macro_rules! select_global_ports {
    ($name:literal, $order:literal, $($chosen:expr),+) => {
        concat!("-- ", $name, "
select p.id, p.host_id, h.hostname, p.address as ip, p.port, p.transport as protocol, p.banner,
       p.service as service_guess, p.product, p.version, upper(h.mac_address::text) as mac_address, h.mac_vendor,
       p.first_seen_at, greatest(p.last_seen_at, seen.last_seen_at) as last_seen_at, coalesce(seen.networks, '{}') as seen_by_networks,
       coalesce(seen.is_open, false) as is_open
  from (select p.* from global_ports p left join hosts h on h.id = p.host_id
         where ($1::bigint[] is null or exists (
                   select from ports where global_port_id = p.id and network_id = any($1)))
           and ($2::bigint is null or exists (
                   select from ports where global_port_id = p.id and network_id = $2))
", $($chosen),+, ") p
  left join hosts h on h.id = p.host_id
  left join lateral (
       select array_agg(distinct network_id order by network_id) as networks, bool_or(closed_at is null) as is_open,
              max(last_seen_at) as last_seen_at
         from ports where global_port_id = p.id and ($1::bigint[] is null or network_id = any($1))) seen on true
 order by ", $order)
    };
}

/// Writes the query of one order.
macro_rules! list_in_order {
    ($order:literal) => {
        select_global_ports!(
            "list_global_ports",
            $order,
            port_condition!(),
            " and ($10::inet is null or (p.address, p.port, p.id) > ($10, $11, $12)) order by ",
            $order,
            " offset $13 limit $14"
        )
    };
}

/// Endpoints in the order asked for, and how many the filter finds.
pub async fn list(
    db: &PgPool,
    scope: Scope<'_>,
    filter: &PortFilter<'_>,
) -> sqlx::Result<(Vec<GlobalPort>, i64)> {
    let statement = match (filter.sort, filter.descending) {
        (PortSort::Ip, false) => list_in_order!("p.address, p.port, p.id"),
        (PortSort::Ip, true) => list_in_order!("p.address desc, p.port desc, p.id desc"),
        (PortSort::Port, false) => list_in_order!("p.port, p.address, p.id"),
        (PortSort::Port, true) => list_in_order!("p.port desc, p.address, p.id"),
        (PortSort::FirstSeenAt, false) => list_in_order!("p.first_seen_at, p.id"),
        (PortSort::FirstSeenAt, true) => list_in_order!("p.first_seen_at desc, p.id"),
        (PortSort::LastSeenAt, false) => list_in_order!("p.last_seen_at, p.id"),
        (PortSort::LastSeenAt, true) => list_in_order!("p.last_seen_at desc, p.id"),
    };
    let service = filter.service.map(contains_pattern);
    let search = filter.search.map(contains_pattern);
    let rows = sqlx::query_as(statement)
        .bind(scope)
        .bind(filter.network_id)
        .bind(filter.port_min.map(i32::from))
        .bind(filter.port_max.map(i32::from))
        .bind(filter.range.map(|range| range.first))
        .bind(filter.range.map(|range| range.last))
        .bind(&service)
        .bind(filter.protocol)
        .bind(&search)
        .bind(filter.after.map(|after| after.address))
        .bind(filter.after.map(|after| i32::from(after.port)))
        .bind(filter.after.map(|after| after.id))
        .bind(filter.offset)
        .bind(filter.limit)
        .persistent(false)
        .fetch_all(db)
        .await?;
    let total = sqlx::query_scalar(concat!(
        "-- count_global_ports
         select count(*) from global_ports p left join hosts h on h.id = p.host_id
          where ($1::bigint[] is null or exists (
                    select from ports where global_port_id = p.id and network_id = any($1)))
            and ($2::bigint is null or exists (
                    select from ports where global_port_id = p.id and network_id = $2))",
        port_condition!()
    ))
    .bind(scope)
    .bind(filter.network_id)
    .bind(filter.port_min.map(i32::from))
    .bind(filter.port_max.map(i32::from))
    .bind(filter.range.map(|range| range.first))
    .bind(filter.range.map(|range| range.last))
    .bind(&service)
    .bind(filter.protocol)
    .bind(&search)
    .persistent(false)
    .fetch_one(db)
    .await?;
    Ok((rows, total))
}

/// One endpoint, if it was seen in the scope.
pub async fn find(db: impl PgExecutor<'_>, scope: Scope<'_>, id: i64) -> sqlx::Result<Option<GlobalPort>> {
    sqlx::query_as(select_global_ports!("find_global_port", "p.id", " and p.id = $3"))
        .bind(scope)
        .bind(None::<i64>)
        .bind(id)
        .fetch_optional(db)
        .await
}
