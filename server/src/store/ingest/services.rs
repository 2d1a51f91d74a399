//! What answers at open ports.

use portreeve_model::{SafeText, Service};
use sqlx::PgConnection;

use super::{
    OpenedPort,
    values::{column, json, name_of, owned, time_of},
};
use crate::ingest::{Origin, fingerprints};

/// Notes what answers at open ports and returns the places. A conversation that recognised nothing does not wipe out what
/// an earlier one found.
pub async fn apply_services(
    db: &mut PgConnection,
    origin: &Origin,
    services: &[&Service],
) -> sqlx::Result<Vec<OpenedPort>> {
    if services.is_empty() {
        return Ok(Vec::new());
    }
    let text =
        |field: fn(&Service) -> &Option<SafeText>| column(services, |service| owned(field(service).as_ref()));
    sqlx::query_as(
        "-- apply_services
        with said as materialized (
            select * from unnest($3::inet[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                                 $10::text[], $11::text[], $12::smallint[], $13::jsonb[], $14::timestamptz[],
                                 $15::text[], $16::text[], $17::text[], $18::text[], $19::boolean[])
                as s(address, port, transport, service, product, vendor, version, banner, verdict, confidence,
                     detail, seen_at, os, device, hostname, fingerprints, shows_crypto)
        ), old as materialized (
            select p.id, p.global_port_id, p.host_id, p.service as old_service, p.product as old_product,
                   p.version as old_version, p.identified_at as old_identified_at, s.*
            from said s join ports p
                on p.network_id = $1 and p.address = s.address and p.port = s.port and p.transport = s.transport
                and p.closed_at is null
            where s.service is not null or p.service is null
        ), written as (
            update ports p set service = o.service, product = o.product, vendor = o.vendor, version = o.version,
                banner = coalesce(o.banner, p.banner), verdict = o.verdict, confidence = o.confidence,
                detail = coalesce(o.detail, p.detail), fingerprints = string_to_array(o.fingerprints, ' '),
                shows_crypto = o.shows_crypto, identified_at = o.seen_at
            from old o where p.id = o.id
        ), everywhere as (
            update global_ports g set service = coalesce(o.service, g.service), product = coalesce(o.product, g.product),
                version = coalesce(o.version, g.version), banner = coalesce(o.banner, g.banner)
            from old o where g.id = o.global_port_id
        ), in_run as (
            update scan_ports r set service = o.service, product = o.product, version = o.version,
                banner = coalesce(o.banner, r.banner)
            from old o
            where r.scan_id = $2 and r.address = o.address and r.port = o.port and r.transport = o.transport
        ), of_host as (
            -- A profile, judged from all services, is worth more than what one of them says.
            update hosts h set os = coalesce(h.os, t.os), device_type = coalesce(h.device_type, t.device),
                hostname = coalesce(h.hostname, t.hostname),
                hostname_source = case when h.hostname is null and t.hostname is not null then 'service'
                                       else h.hostname_source end
            from (select host_id, max(os) as os, max(device) as device, max(hostname) as hostname
                  from old group by host_id) t
            where h.id = t.host_id and (t.os is not null or t.device is not null or t.hostname is not null)
        ), changed as (
            insert into changes (at, network_id, scan_id, host_id, global_port_id, kind, address, port, transport,
                                 before, after)
            select seen_at, $1, $2, host_id, global_port_id,
                   case when (old_service, old_product) is distinct from (service, product)
                        then 'service_changed' else 'version_changed' end,
                   address, port, transport,
                   jsonb_build_object('service', old_service, 'product', old_product, 'version', old_version),
                   jsonb_build_object('service', service, 'product', product, 'version', version)
            from old
            where old_service is not null
                and (old_service, old_product, old_version) is distinct from (service, product, version)
            order by address, port, transport
        )
        select address, port, transport, service, product, version from old
        where old_identified_at is null
            or (old_service, old_product, old_version) is distinct from (service, product, version)",
    )
    .bind(origin.network_id)
    .bind(origin.scan_id)
    .bind(column(services, |service| service.endpoint.address))
    .bind(column(services, |service| i32::from(service.endpoint.port)))
    .bind(column(services, |service| service.endpoint.transport.as_str()))
    .bind(text(|service| &service.name))
    .bind(text(|service| &service.product))
    .bind(text(|service| &service.vendor))
    .bind(text(|service| &service.version))
    .bind(text(|service| &service.banner))
    .bind(column(services, |service| name_of(service.verdict)))
    .bind(column(services, |service| i16::from(service.confidence.min(100))))
    .bind(column(services, |service| json(service)))
    .bind(column(services, |service| time_of(service.seen_at_ms.0, origin)))
    .bind(text(|service| &service.os))
    .bind(text(|service| &service.device))
    .bind(column(services, |service| {
        owned(service.hostname.as_ref()).map(|name| name.chars().take(255).collect::<String>())
    }))
    .bind(column(services, |service| {
        let found = fingerprints::of(service);
        // None of them has a blank in it.
        (!found.is_empty()).then(|| found.join(" "))
    }))
    .bind(column(services, |service| service.tls.is_some() || service.ssh.is_some()))
    .persistent(false)
    .fetch_all(db)
    .await
}
