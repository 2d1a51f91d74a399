//! Hosts, and what people say of them.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgExecutor, PgPool};
use utoipa::ToSchema;

use super::{Scope, contains_pattern};
use crate::input::AddressRange;

/// A host as lists show it.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct Host {
    /// Number of the host.
    pub id: i64,
    /// The address it is shown under.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// Its name.
    pub hostname: Option<String>,
    /// Where the name comes from: `user`, `dns`, `service` or `agent`.
    pub hostname_source: Option<String>,
    /// Whether it answers a ping; null when that was never tried.
    pub is_pingable: Option<bool>,
    /// Whether it answered the last run that looked for it.
    pub is_up: bool,
    /// Hardware address.
    pub mac_address: Option<String>,
    /// Maker of the interface.
    pub mac_vendor: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// What kind of device it is.
    pub device_type: Option<String>,
    /// 0-100: how sure that is.
    pub device_confidence: Option<i16>,
    /// A name given by people.
    pub label: Option<String>,
    /// What people say of it.
    pub user_comment: Option<String>,
    /// Who is responsible.
    pub owner: Option<String>,
    /// Zone of trust.
    pub zone: Option<String>,
    /// `low`, `normal`, `high` or `critical`.
    pub criticality: String,
    /// Whether people vouch for it.
    pub is_trusted: bool,
    /// 0-100.
    pub risk_score: i16,
    /// `none` to `critical`.
    pub risk_level: String,
    /// When it was first seen.
    pub first_seen_at: DateTime<Utc>,
    /// When it was last seen.
    pub last_seen_at: DateTime<Utc>,
    /// The networks it was seen in.
    pub seen_by_networks: Vec<i64>,
    /// Ports open now.
    pub open_port_count: i64,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSort {
    /// By when it was first seen.
    FirstSeenAt,
    /// By name, nameless last.
    Hostname,
    /// By address, as numbers, IPv4 first.
    Ip,
    /// By when it was last seen.
    LastSeenAt,
    /// By how many ports are open.
    OpenPorts,
}

impl HostSort {
    /// The order a list is asked for by.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "first_seen_at" => Some(Self::FirstSeenAt),
            "hostname" => Some(Self::Hostname),
            "ip" => Some(Self::Ip),
            "last_seen_at" => Some(Self::LastSeenAt),
            "open_port_count" => Some(Self::OpenPorts),
            _ => None,
        }
    }
}

/// Which hosts a list shows.
#[derive(Clone, Debug)]
pub struct HostFilter<'a> {
    /// Seen in one network.
    pub network_id: Option<i64>,
    /// Answers a ping.
    pub is_pingable: Option<bool>,
    /// Answered the last run.
    pub is_up: Option<bool>,
    /// Addresses.
    pub range: Option<AddressRange>,
    /// Part of the address.
    pub ip_search: Option<&'a str>,
    /// Part of address, names, hardware address, maker, comment or owner.
    pub search: Option<&'a str>,
    /// Order.
    pub sort: HostSort,
    /// Backwards.
    pub descending: bool,
    /// How many to skip.
    pub offset: i64,
    /// How many at most.
    pub limit: i64,
}

/// How many hosts there are.
#[derive(Clone, Copy, Debug, FromRow)]
pub struct HostCounts {
    /// That the whole filter finds.
    pub total: i64,
    /// That the filter finds, pingable or not.
    pub total_count: i64,
    /// Of those, the pingable ones.
    pub pingable_count: i64,
}

/// What people may say of a host; `None` leaves a field as it is, `Some(None)` empties it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostChange {
    /// Its name.
    pub hostname: Option<Option<String>>,
    /// What people say of it.
    pub user_comment: Option<Option<String>>,
    /// A name given by people.
    pub label: Option<Option<String>>,
    /// Who is responsible.
    pub owner: Option<Option<String>>,
    /// Zone of trust.
    pub zone: Option<Option<String>>,
    /// How much depends on it.
    pub criticality: Option<String>,
    /// Whether people vouch for it.
    pub is_trusted: Option<bool>,
}

/// An address a host has or had.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct HostAddress {
    /// The address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// From.
    pub first_seen_at: DateTime<Utc>,
    /// Last seen.
    pub last_seen_at: DateTime<Utc>,
    /// Given up; null while in use.
    pub until: Option<DateTime<Utc>>,
}

/// Evidence of who a host is.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct HostIdentifier {
    /// `mac`, `ssh_host_key`, `certificate`, `name` or `serial`.
    pub kind: String,
    /// The evidence.
    pub value: String,
    /// From.
    pub first_seen_at: DateTime<Utc>,
    /// Last seen.
    pub last_seen_at: DateTime<Utc>,
}

/// A network in short.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct NetworkInfo {
    /// Number.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Block or address, as typed.
    pub cidr: String,
}

/// Who may see a host: someone who sees a network it was seen in.
macro_rules! host_condition {
    () => {
        "
       ($1::bigint[] is null or exists (
           select from host_networks where host_id = h.id and network_id = any($1)))
   and ($2::bigint is null or exists (
           select from host_networks where host_id = h.id and network_id = $2))
   and ($3::inet is null or h.address between $3 and $4)
   and ($5::text is null or host(h.address) like $5)
   and ($6::text is null or host(h.address) like $6 or h.hostname ilike $6 or h.label ilike $6
        or h.mac_address::text ilike $6 or h.mac_vendor ilike $6 or h.user_comment ilike $6 or h.owner ilike $6)
   and ($7::bool is null or h.is_up = $7)
"
    };
}

/// Writes a query that reads the hosts a subquery chose.
macro_rules! select_hosts {
    ($name:literal, $order:literal, $($chosen:expr),+) => {
        concat!("-- ", $name, "
select h.id, h.address as ip, h.hostname, h.hostname_source, h.is_pingable, h.is_up,
       upper(h.mac_address::text) as mac_address, h.mac_vendor, h.os, h.device_type, h.device_confidence, h.label, h.user_comment,
       h.owner, h.zone, h.criticality, h.is_trusted, h.risk_score, h.risk_level, h.first_seen_at, h.last_seen_at,
       array(select network_id from host_networks
              where host_id = h.id and ($1::bigint[] is null or network_id = any($1))
              order by network_id) as seen_by_networks,
       -- The count kept in the host is over all networks.
       case when $1::bigint[] is null then h.open_port_count::bigint
            else (select count(*) from ports
                   where host_id = h.id and closed_at is null and network_id = any($1)) end as open_port_count
  from (select h.* from hosts h where ", $($chosen),+, ") h
 order by ", $order)
    };
}

/// Writes the query of one order.
macro_rules! list_in_order {
    ($order:literal) => {
        select_hosts!(
            "list_hosts",
            $order,
            host_condition!(),
            " and ($8::bool is null or h.is_pingable = $8) order by ",
            $order,
            " offset $9 limit $10"
        )
    };
}

/// Hosts in the order asked for, and how many there are.
pub async fn list(
    db: &PgPool,
    scope: Scope<'_>,
    filter: &HostFilter<'_>,
) -> sqlx::Result<(Vec<Host>, HostCounts)> {
    let statement = match (filter.sort, filter.descending) {
        (HostSort::FirstSeenAt, false) => list_in_order!("h.first_seen_at, h.id"),
        (HostSort::FirstSeenAt, true) => list_in_order!("h.first_seen_at desc, h.id"),
        (HostSort::Hostname, false) => list_in_order!("lower(h.hostname) nulls last, h.id"),
        (HostSort::Hostname, true) => list_in_order!("lower(h.hostname) desc nulls last, h.id"),
        (HostSort::Ip, false) => list_in_order!("h.address"),
        (HostSort::Ip, true) => list_in_order!("h.address desc"),
        (HostSort::LastSeenAt, false) => list_in_order!("h.last_seen_at, h.id"),
        (HostSort::LastSeenAt, true) => list_in_order!("h.last_seen_at desc, h.id"),
        (HostSort::OpenPorts, false) => list_in_order!("h.open_port_count, h.id"),
        (HostSort::OpenPorts, true) => list_in_order!("h.open_port_count desc, h.id"),
    };
    let ip_search = filter.ip_search.map(contains_pattern);
    let search = filter.search.map(contains_pattern);
    let rows = sqlx::query_as(statement)
        .bind(scope)
        .bind(filter.network_id)
        .bind(filter.range.map(|range| range.first))
        .bind(filter.range.map(|range| range.last))
        .bind(&ip_search)
        .bind(&search)
        .bind(filter.is_up)
        .bind(filter.is_pingable)
        .bind(filter.offset)
        .bind(filter.limit)
        .persistent(false)
        .fetch_all(db)
        .await?;
    let counts = sqlx::query_as(concat!(
        "-- count_hosts
         select count(*) filter (where $8::bool is null or h.is_pingable = $8) as total,
                count(*) as total_count, count(*) filter (where h.is_pingable) as pingable_count
           from hosts h where ",
        host_condition!()
    ))
    .bind(scope)
    .bind(filter.network_id)
    .bind(filter.range.map(|range| range.first))
    .bind(filter.range.map(|range| range.last))
    .bind(&ip_search)
    .bind(&search)
    .bind(filter.is_up)
    .bind(filter.is_pingable)
    .persistent(false)
    .fetch_one(db)
    .await?;
    Ok((rows, counts))
}

/// One host, if it was seen in the scope.
pub async fn find(db: impl PgExecutor<'_>, scope: Scope<'_>, id: i64) -> sqlx::Result<Option<Host>> {
    sqlx::query_as(select_hosts!(
        "find_host",
        "h.id",
        "h.id = $2 and ($1::bigint[] is null or exists (
             select from host_networks where host_id = h.id and network_id = any($1)))"
    ))
    .bind(scope)
    .bind(id)
    .fetch_optional(db)
    .await
}

/// The host that has an address now, if it was seen in the scope.
pub async fn at_address(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    address: IpAddr,
) -> sqlx::Result<Option<Host>> {
    sqlx::query_as(select_hosts!(
        "host_at_address",
        "h.address <> $2, h.id limit 1",
        "h.id in (select id from hosts where address = $2
                  union all select host_id from host_addresses where address = $2 and until is null)
         and ($1::bigint[] is null or exists (
             select from host_networks where host_id = h.id and network_id = any($1)))"
    ))
    .bind(scope)
    .bind(address)
    .fetch_optional(db)
    .await
}

/// Writes what people say of a host; false when there is none of that number.
pub async fn update(db: impl PgExecutor<'_>, id: i64, change: &HostChange) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "-- update_host
         update hosts
            set hostname = case when $2 then $3 else hostname end,
                -- Emptied by hand: whoever finds a name next may write it.
                hostname_source = case when not $2 then hostname_source when $3 is null then null else 'user' end,
                user_comment = case when $4 then $5 else user_comment end,
                label = case when $6 then $7 else label end,
                owner = case when $8 then $9 else owner end,
                zone = case when $10 then $11 else zone end,
                criticality = coalesce($12, criticality),
                is_trusted = coalesce($13, is_trusted)
          where id = $1",
    )
    .bind(id)
    .bind(change.hostname.is_some())
    .bind(change.hostname.as_ref().and_then(Option::as_deref))
    .bind(change.user_comment.is_some())
    .bind(change.user_comment.as_ref().and_then(Option::as_deref))
    .bind(change.label.is_some())
    .bind(change.label.as_ref().and_then(Option::as_deref))
    .bind(change.owner.is_some())
    .bind(change.owner.as_ref().and_then(Option::as_deref))
    .bind(change.zone.is_some())
    .bind(change.zone.as_ref().and_then(Option::as_deref))
    .bind(&change.criticality)
    .bind(change.is_trusted)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes those hosts of the scope that there are, and returns their numbers. Their ports stay.
pub async fn delete(db: impl PgExecutor<'_>, scope: Scope<'_>, ids: &[i64]) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(
        "-- delete_hosts
         with gone as (
              delete from hosts h
               where h.id = any($2) and ($1::bigint[] is null or exists (
                     select from host_networks where host_id = h.id and network_id = any($1)))
              returning id)
         select id from gone order by id",
    )
    .bind(scope)
    .bind(ids)
    .fetch_all(db)
    .await
}

/// The networks of the scope a host was seen in.
pub async fn networks(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    host_id: i64,
) -> sqlx::Result<Vec<NetworkInfo>> {
    sqlx::query_as(
        "-- networks_of_host
         select n.id, n.name, n.cidr from host_networks w join networks n on n.id = w.network_id
          where w.host_id = $2 and ($1::bigint[] is null or n.id = any($1))
          order by masklen(n.block) desc, n.id",
    )
    .bind(scope)
    .bind(host_id)
    .fetch_all(db)
    .await
}

/// The addresses a host has and had, those in use first.
pub async fn addresses(db: impl PgExecutor<'_>, host_id: i64) -> sqlx::Result<Vec<HostAddress>> {
    sqlx::query_as(
        "-- addresses_of_host
         select address as ip, first_seen_at, last_seen_at, until from host_addresses
          where host_id = $1 order by until is not null, last_seen_at desc, address limit 100",
    )
    .bind(host_id)
    .fetch_all(db)
    .await
}

/// Evidence of who a host is.
pub async fn identifiers(db: impl PgExecutor<'_>, host_id: i64) -> sqlx::Result<Vec<HostIdentifier>> {
    sqlx::query_as(
        "-- identifiers_of_host
         select kind, value, first_seen_at, last_seen_at from host_identifiers
          where host_id = $1 order by kind, value limit 100",
    )
    .bind(host_id)
    .fetch_all(db)
    .await
}

/// Why a host is taken for the device it is taken for, and why its risk is what it is.
pub async fn reasons(db: impl PgExecutor<'_>, host_id: i64) -> sqlx::Result<Option<(Value, Value)>> {
    sqlx::query_as("-- reasons_of_host\n select device_reasons, risk_reasons from hosts where id = $1")
        .bind(host_id)
        .fetch_optional(db)
        .await
}
