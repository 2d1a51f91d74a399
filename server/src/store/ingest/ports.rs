//! Open ports, as intervals.

use std::net::IpAddr;

use sqlx::PgConnection;

use super::{OpenedPort, values::column};
use crate::ingest::{Origin, PortRow};

/// What became of a batch's open ports.
#[derive(Clone, Debug, Default)]
pub struct Upserted {
    /// Those that were not open before.
    pub opened: Vec<OpenedPort>,
    /// Those that the run had not seen before.
    pub new_in_run: i64,
}

#[derive(sqlx::FromRow)]
struct UpsertedRow {
    new_in_run: i64,
    address: Option<IpAddr>,
    port: Option<i32>,
    transport: Option<String>,
    service: Option<String>,
    product: Option<String>,
    version: Option<String>,
}

/// Notes open ports. Their hosts must be known.
///
/// Most ports of most scans are as they were: they cost one update and their row of the run. `global_ports` hears of them
/// at the scan's end (`settle_global_ports`).
pub async fn upsert_open_ports(
    db: &mut PgConnection,
    origin: &Origin,
    ports: &[&PortRow],
) -> sqlx::Result<Upserted> {
    if ports.is_empty() {
        return Ok(Upserted::default());
    }
    let rows: Vec<UpsertedRow> = sqlx::query_as(
        "-- upsert_open_ports
        with seen as materialized (
            select s.*, h.id as host_id,
                   (select p.id from ports p where p.network_id = $1 and p.address = s.address and p.port = s.port
                        and p.transport = s.transport and p.closed_at is null) as port_id
            from unnest($3::inet[], $4::integer[], $5::text[], $6::text[], $7::smallint[], $8::integer[], $9::timestamptz[])
                as s(address, port, transport, reason, ttl, rtt_us, seen_at)
            join hosts h on h.address = s.address
            order by s.address, s.port, s.transport
        ), again as (
            update ports p set
                last_seen_at = greatest(p.last_seen_at, s.seen_at), last_scan_id = $2, misses = 0, host_id = s.host_id,
                reason = s.reason, ttl = s.ttl, rtt_us = s.rtt_us
            -- What another scan closes at this moment stays closed until the next one sees it.
            from seen s where p.id = s.port_id and p.closed_at is null
            returning p.global_port_id, p.host_id, p.address, p.port, p.transport, p.first_seen_at, p.last_seen_at,
                      p.reason, p.ttl, p.rtt_us, p.service, p.product, p.version, p.banner
        ), everywhere as (
            insert into global_ports as g (address, port, transport, host_id, first_seen_at, last_seen_at)
            select address, port, transport, host_id, seen_at, seen_at from seen where port_id is null
            order by address, port, transport
            on conflict (address, port, transport) do update set
                last_seen_at = greatest(g.last_seen_at, excluded.last_seen_at), host_id = excluded.host_id
            returning id, address, port, transport
        ), written as (
            insert into ports as p (network_id, global_port_id, host_id, address, port, transport, first_seen_at,
                                    last_seen_at, first_scan_id, last_scan_id, reason, ttl, rtt_us)
            select $1, e.id, s.host_id, s.address, s.port, s.transport, s.seen_at, s.seen_at, $2, $2,
                   s.reason, s.ttl, s.rtt_us
            from seen s join everywhere e
                on e.address = s.address and e.port = s.port and e.transport = s.transport
            where s.port_id is null
            order by s.address, s.port, s.transport
            -- Another scan of the network may have opened it meanwhile.
            on conflict (network_id, address, port, transport) where closed_at is null do update set
                last_seen_at = greatest(p.last_seen_at, excluded.last_seen_at),
                last_scan_id = excluded.last_scan_id, misses = 0, host_id = excluded.host_id,
                reason = excluded.reason, ttl = excluded.ttl, rtt_us = excluded.rtt_us
            returning id, global_port_id, host_id, address, port, transport, first_seen_at, last_seen_at,
                      reason, ttl, rtt_us, service, product, version, banner, xmax = 0 as is_new
        ), in_run as (
            insert into scan_ports as r (scan_id, address, port, transport, ttl, rtt_us, reason, service, product,
                                         version, banner, first_seen_at, last_seen_at, shard_index)
            select $2, w.*, $10 from (
                select address, port, transport, ttl, rtt_us, reason, service, product, version, banner, first_seen_at,
                       last_seen_at
                from again
                union all
                select address, port, transport, ttl, rtt_us, reason, service, product, version, banner, first_seen_at,
                       last_seen_at
                from written
            ) w order by w.address, w.port, w.transport
            on conflict (scan_id, address, port, transport) do update set
                last_seen_at = greatest(r.last_seen_at, excluded.last_seen_at),
                shard_index = case when r.shard_index = excluded.shard_index then r.shard_index end
            returning xmax = 0 as is_new
        ), counted as (
            update hosts h set open_port_count = h.open_port_count + n.opened
            from (select host_id, count(*) as opened from written where is_new group by host_id) n
            where h.id = n.host_id
        ), changed as (
            insert into changes (at, network_id, scan_id, host_id, global_port_id, kind, address, port, transport)
            select w.first_seen_at, $1, $2, w.host_id, w.global_port_id,
                   case when exists (
                       select from ports b where b.network_id = $1 and b.address = w.address and b.port = w.port
                           and b.transport = w.transport and b.closed_at is not null
                   ) then 'port_reopened' else 'port_opened' end,
                   w.address, w.port, w.transport
            from written w where w.is_new order by w.address, w.port, w.transport
        )
        select r.new_in_run, w.address::inet as address, w.port::integer as port, w.transport::text as transport,
               w.service, w.product, w.version
        from (select count(*) filter (where is_new) as new_in_run from in_run) r left join written w on w.is_new",
    )
    .bind(origin.network_id)
    .bind(origin.scan_id)
    .bind(column(ports, |port| port.endpoint.address))
    .bind(column(ports, |port| i32::from(port.endpoint.port)))
    .bind(column(ports, |port| port.endpoint.transport.as_str()))
    .bind(column(ports, |port| port.reason))
    .bind(column(ports, |port| port.ttl))
    .bind(column(ports, |port| port.rtt_us))
    .bind(column(ports, |port| port.seen_at))
    .bind(origin.shard_index)
    .persistent(false)
    .fetch_all(db)
    .await?;
    let new_in_run = rows.first().map_or(0, |row| row.new_in_run);
    Ok(Upserted { opened: rows.into_iter().filter_map(UpsertedRow::opened).collect(), new_in_run })
}

impl UpsertedRow {
    /// The port that opened; the first row has none where none did.
    fn opened(self) -> Option<OpenedPort> {
        let Self { service, product, version, .. } = self;
        Some(OpenedPort {
            address: self.address?,
            port: self.port?,
            transport: self.transport?,
            service,
            product,
            version,
        })
    }
}

/// Closes ports whose host answered that nothing listens there any more.
pub async fn close_refused_ports(
    db: &mut PgConnection,
    origin: &Origin,
    ports: &[&PortRow],
) -> sqlx::Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- close_refused_ports
        with refused as materialized (
            select s.seen_at,
                   (select p.id from ports p where p.network_id = $1 and p.address = s.address and p.port = s.port
                        and p.transport = s.transport and p.closed_at is null) as port_id
            from unnest($3::inet[], $4::integer[], $5::text[], $6::timestamptz[])
                as s(address, port, transport, seen_at)
        ), closed as (
            update ports p set closed_at = r.seen_at
            from refused r
            where p.id = r.port_id and p.closed_at is null
                -- What this very scan saw open, or anyone later, is not undone by an older answer.
                and p.last_seen_at < r.seen_at and p.last_scan_id is distinct from $2
            returning p.global_port_id, p.host_id, p.address, p.port, p.transport, p.closed_at, p.service, p.product, p.version
        ), counted as (
            update hosts h set open_port_count = greatest(h.open_port_count - n.closed, 0)
            from (select host_id, count(*) as closed from closed group by host_id) n
            where h.id = n.host_id
        )
        insert into changes (at, network_id, scan_id, host_id, global_port_id, kind, address, port, transport, before)
        select closed_at, $1, $2, host_id, global_port_id, 'port_closed', address, port, transport,
               jsonb_strip_nulls(jsonb_build_object('service', service, 'product', product, 'version', version))
        from closed order by address, port, transport",
    )
    .bind(origin.network_id)
    .bind(origin.scan_id)
    .bind(column(ports, |port| port.endpoint.address))
    .bind(column(ports, |port| i32::from(port.endpoint.port)))
    .bind(column(ports, |port| port.endpoint.transport.as_str()))
    .bind(column(ports, |port| port.seen_at))
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}
