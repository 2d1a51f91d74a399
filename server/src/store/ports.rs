//! The ports of networks: what is open now, and what was open before.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgExecutor, PgPool};
use utoipa::ToSchema;

use super::{Scope, contains_pattern};
use crate::{
    ingest::fingerprints::IDENTIFYING,
    input::{AddressRange, PortCursor},
};

/// A port that is open now in one network.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct Port {
    /// Number of this stretch of being open.
    pub id: i64,
    /// Number of the endpoint over all networks.
    pub global_port_id: i64,
    /// The network it was seen in.
    pub network_id: i64,
    /// Its name.
    pub network_name: String,
    /// The host behind the address.
    pub host_id: Option<i64>,
    /// Its name.
    pub hostname: Option<String>,
    /// The host's address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// Port number.
    #[sqlx(try_from = "i32")]
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Time to live of the last answer.
    pub ttl: Option<i16>,
    /// From probe to answer.
    pub rtt_us: Option<i32>,
    /// Name of the service.
    pub service_guess: Option<String>,
    /// Product, as `OpenSSH`.
    pub product: Option<String>,
    /// Vendor or project.
    pub vendor: Option<String>,
    /// Version of the product.
    pub version: Option<String>,
    /// First words of the service.
    pub banner: Option<String>,
    /// How the conversation with the service ended.
    pub verdict: Option<String>,
    /// 0-100: how sure the reading is.
    pub confidence: Option<i16>,
    /// Hardware address of the host.
    pub mac_address: Option<String>,
    /// Maker of the interface.
    pub mac_vendor: Option<String>,
    /// Since when it is open.
    pub first_seen_at: DateTime<Utc>,
    /// When it was last seen open.
    pub last_seen_at: DateTime<Utc>,
}

/// A stretch of time a port was open.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct PortInterval {
    /// Number of the stretch.
    pub id: i64,
    /// The network it was seen in.
    pub network_id: i64,
    /// From.
    pub first_seen_at: DateTime<Utc>,
    /// Last seen.
    pub last_seen_at: DateTime<Utc>,
    /// Found closed; null while open.
    pub closed_at: Option<DateTime<Utc>>,
    /// What answered.
    pub service_guess: Option<String>,
    /// Product.
    pub product: Option<String>,
    /// Version.
    pub version: Option<String>,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortSort {
    /// By address, as numbers, IPv4 first.
    #[default]
    Ip,
    /// By port number.
    Port,
    /// By when it was first seen.
    FirstSeenAt,
    /// By when it was last seen.
    LastSeenAt,
}

impl PortSort {
    /// The order a list is asked for by.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ip" => Some(Self::Ip),
            "port" => Some(Self::Port),
            "first_seen_at" => Some(Self::FirstSeenAt),
            "last_seen_at" => Some(Self::LastSeenAt),
            _ => None,
        }
    }
}

/// Which ports a list shows.
#[derive(Clone, Debug)]
pub struct PortFilter<'a> {
    /// Seen in one network.
    pub network_id: Option<i64>,
    /// From this port on.
    pub port_min: Option<u16>,
    /// Up to this port.
    pub port_max: Option<u16>,
    /// Addresses.
    pub range: Option<AddressRange>,
    /// Part of the service's name.
    pub service: Option<&'a str>,
    /// Of one transport.
    pub protocol: Option<&'a str>,
    /// Part of address, host name, service, product, version or banner.
    pub search: Option<&'a str>,
    /// Shows this fingerprint, as `ssh-key:SHA256:…`. Endpoints over all networks have none.
    pub fingerprint: Option<&'a str>,
    /// Order.
    pub sort: PortSort,
    /// Backwards.
    pub descending: bool,
    /// Only what follows this one, in order of address.
    pub after: Option<PortCursor>,
    /// How many to skip.
    pub offset: i64,
    /// How many at most.
    pub limit: i64,
}

/// The condition of [`PortFilter`], for the alias `p` and parameters $1 to $9.
macro_rules! port_condition {
    () => {
        "
   and ($3::int is null or p.port >= $3) and ($4::int is null or p.port <= $4)
   and ($5::inet is null or p.address between $5 and $6)
   and ($7::text is null or p.service ilike $7) and ($8::text is null or p.transport = $8)
   and ($9::text is null or host(p.address) ilike $9 or p.service ilike $9 or p.product ilike $9
        or p.version ilike $9 or p.banner ilike $9 or h.hostname ilike $9)
"
    };
}
pub(super) use port_condition;

/// Writes a query that reads the ports a subquery chose.
///
/// The page is cut before names are joined, so that a list never looks up more hosts than it shows.
macro_rules! select_ports {
    ($name:literal, $order:literal, $($chosen:expr),+) => {
        concat!("-- ", $name, "
select p.id, p.global_port_id, p.network_id, n.name as network_name, p.host_id, h.hostname, p.address as ip,
       p.port, p.transport as protocol, p.ttl, p.rtt_us, p.service as service_guess, p.product, p.vendor,
       p.version, p.banner, p.verdict, p.confidence, upper(h.mac_address::text) as mac_address, h.mac_vendor,
       p.first_seen_at, p.last_seen_at
  from (select p.* from ports p left join hosts h on h.id = p.host_id
         where ($1::bigint[] is null or p.network_id = any($1)) and ($2::bigint is null or p.network_id = $2)
", $($chosen),+, ") p
  join networks n on n.id = p.network_id
  left join hosts h on h.id = p.host_id
 order by ", $order)
    };
}

/// Writes the query of one order.
macro_rules! list_in_order {
    ($order:literal) => {
        select_ports!(
            "list_ports",
            $order,
            " and p.closed_at is null",
            port_condition!(),
            " and ($10::inet is null or (p.address, p.port, p.id) > ($10, $11, $12))
              and ($15::text is null or p.fingerprints @> array[$15]) order by ",
            $order,
            " offset $13 limit $14"
        )
    };
}

/// Open ports in the order asked for, and how many the filter finds.
pub async fn list(db: &PgPool, scope: Scope<'_>, filter: &PortFilter<'_>) -> sqlx::Result<(Vec<Port>, i64)> {
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
        .bind(filter.fingerprint)
        .persistent(false)
        .fetch_all(db)
        .await?;
    // Without a search the count needs no hosts: the left join on their key is dropped by the planner.
    let total = sqlx::query_scalar(concat!(
        "-- count_ports
         select count(*) from ports p left join hosts h on h.id = p.host_id
          where ($1::bigint[] is null or p.network_id = any($1)) and ($2::bigint is null or p.network_id = $2)
            and p.closed_at is null and ($10::text is null or p.fingerprints @> array[$10])",
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
    .bind(filter.fingerprint)
    .persistent(false)
    .fetch_one(db)
    .await?;
    Ok((rows, total))
}

/// Open ports of one host, by port number.
pub async fn of_host(db: impl PgExecutor<'_>, scope: Scope<'_>, host_id: i64) -> sqlx::Result<Vec<Port>> {
    sqlx::query_as(select_ports!(
        "ports_of_host",
        "p.port, p.transport, p.network_id",
        " and p.closed_at is null and p.host_id = $3 order by p.port, p.transport, p.network_id limit 10000"
    ))
    .bind(scope)
    .bind(None::<i64>)
    .bind(host_id)
    .fetch_all(db)
    .await
}

/// One stretch, open or not.
pub async fn find(db: impl PgExecutor<'_>, scope: Scope<'_>, id: i64) -> sqlx::Result<Option<Port>> {
    sqlx::query_as(select_ports!("find_port", "p.id", " and p.id = $3"))
        .bind(scope)
        .bind(None::<i64>)
        .bind(id)
        .fetch_optional(db)
        .await
}

/// The whole finding about the service behind a port, as the agent told it.
pub async fn service_detail(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<Option<Value>> {
    sqlx::query_scalar("-- port_service_detail\n select detail from ports where id = $1")
        .bind(id)
        .fetch_one(db)
        .await
}

/// Another place that shows the same fingerprint.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct SamePlace {
    /// What both show, as `ssh-key:SHA256:…` or `cert:…`.
    pub fingerprint: String,
    /// Number of the stretch of being open.
    pub port_id: i64,
    /// The host behind the address.
    pub host_id: Option<i64>,
    /// Its name.
    pub hostname: Option<String>,
    /// Its address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// Port number.
    #[sqlx(try_from = "i32")]
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// Other open places with a host key or certificate of this one, for each at most 20, by address.
pub async fn also_on(db: impl PgExecutor<'_>, scope: Scope<'_>, id: i64) -> sqlx::Result<Vec<SamePlace>> {
    sqlx::query_as(
        "-- ports_with_the_same_fingerprint
         select f.fingerprint, o.id as port_id, o.host_id, h.hostname, o.address as ip, o.port, o.transport as protocol
           from ports p
          cross join lateral unnest(p.fingerprints) as f(fingerprint)
          cross join lateral (
                select distinct on (b.address, b.port, b.transport) b.*
                  from ports b
                 where b.closed_at is null and b.fingerprints @> array[f.fingerprint]
                   and b.global_port_id <> p.global_port_id
                   and ($1::bigint[] is null or b.network_id = any($1))
                 order by b.address, b.port, b.transport limit 20) o
           left join hosts h on h.id = o.host_id
          where p.id = $2 and split_part(f.fingerprint, ':', 1) = any($3)
          order by f.fingerprint, o.address, o.port, o.transport",
    )
    .bind(scope)
    .bind(id)
    .bind(IDENTIFYING.as_slice())
    .fetch_all(db)
    .await
}

/// What a service at a host says of the host.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
pub struct HostAnnouncement {
    /// Port number.
    #[sqlx(try_from = "i32")]
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Which service said it.
    pub service_guess: Option<String>,
    /// The name it gives the host.
    pub hostname: Option<String>,
    /// The device's own words.
    #[schema(value_type = Option<portreeve_model::DeviceInfo>)]
    pub announced: Option<Value>,
    /// What its log-in by NTLM tells.
    #[schema(value_type = Option<portreeve_model::NtlmInfo>)]
    pub ntlm: Option<Value>,
}

/// What the services of a host say of it, by port, at most 50.
pub async fn announcements(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    host_id: i64,
) -> sqlx::Result<Vec<HostAnnouncement>> {
    sqlx::query_as(
        "-- announcements_of_host
         select distinct on (port, transport) port, transport as protocol, service as service_guess,
                detail ->> 'hostname' as hostname, detail -> 'announced' as announced, detail -> 'ntlm' as ntlm
           from ports
          where host_id = $2 and closed_at is null and ($1::bigint[] is null or network_id = any($1))
            and detail ?| array['hostname', 'announced', 'ntlm']
          order by port, transport, identified_at desc limit 50",
    )
    .bind(scope)
    .bind(host_id)
    .fetch_all(db)
    .await
}

/// The stretches of time an endpoint was open, newest first, at most 100.
pub async fn intervals(
    db: impl PgExecutor<'_>,
    scope: Scope<'_>,
    global_port_id: i64,
) -> sqlx::Result<Vec<PortInterval>> {
    sqlx::query_as(
        "-- port_intervals
         select id, network_id, first_seen_at, last_seen_at, closed_at, service as service_guess, product, version
           from ports
          where global_port_id = $2 and ($1::bigint[] is null or network_id = any($1))
          order by first_seen_at desc, id desc limit 100",
    )
    .bind(scope)
    .bind(global_port_id)
    .fetch_all(db)
    .await
}
