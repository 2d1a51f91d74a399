//! Writes what scans see: set-based, one statement for a whole batch, never a statement a row.
//!
//! Arrays go in, `unnest` makes rows of them. The statements are not kept prepared: after five uses PostgreSQL would
//! plan them once for arrays of unknown length, which it takes for short ones, and join thousands of rows in loops.
//! Rows are written in the order of their keys, so that two batches cannot lock each other out.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use portreeve_model::{HostProfile, SafeText, Service, SshAlgorithm, TlsCertificate};
use serde_json::Value;
use sqlx::PgConnection;

use crate::ingest::{HostRow, Origin, PortRow, fingerprints};

/// A port that a batch opened or identified.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct OpenedPort {
    /// The host.
    pub address: IpAddr,
    /// The port.
    pub port: i32,
    /// Its transport.
    pub transport: String,
    /// What answers there.
    pub service: Option<String>,
    /// Which product.
    pub product: Option<String>,
    /// Which version.
    pub version: Option<String>,
}

/// Notes hosts, with what is new about them. A name a user gave is never replaced.
pub async fn upsert_hosts(db: &mut PgConnection, origin: &Origin, hosts: &[HostRow]) -> sqlx::Result<()> {
    if hosts.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- upsert_hosts
        with seen as materialized (
            select * from unnest($3::inet[], $4::timestamptz[], $5::boolean[], $6::macaddr[], $7::text[], $8::text[])
                as s(address, seen_at, pingable, mac, vendor, hostname)
        ), old as materialized (
            select h.* from hosts h join seen s on s.address = h.address
        ), written as (
            insert into hosts as h (address, hostname, hostname_source, is_pingable, mac_address, mac_vendor,
                                    first_seen_at, last_seen_at)
            select address, hostname, case when hostname is not null then 'agent' end, pingable, mac, vendor,
                   seen_at, seen_at
            from seen order by address
            on conflict (address) do update set
                last_seen_at = greatest(h.last_seen_at, excluded.last_seen_at),
                is_up = true,
                is_pingable = coalesce(excluded.is_pingable, h.is_pingable),
                mac_address = coalesce(excluded.mac_address, h.mac_address),
                mac_vendor = coalesce(excluded.mac_vendor, h.mac_vendor),
                hostname = case when h.hostname is null or h.hostname_source = 'agent'
                                then coalesce(excluded.hostname, h.hostname) else h.hostname end,
                hostname_source = case when h.hostname is null and excluded.hostname is not null
                                       then 'agent' else h.hostname_source end
            returning id, address, last_seen_at, hostname, mac_address, xmax = 0 as is_new
        ), at_address as (
            insert into host_addresses as a (host_id, address, first_seen_at, last_seen_at)
            select id, address, last_seen_at, last_seen_at from written order by address
            on conflict (address) where until is null do update set last_seen_at = excluded.last_seen_at
                -- Once a minute is often enough for a row nobody counts seconds in.
                where a.last_seen_at < excluded.last_seen_at - interval '1 minute'
        ), in_network as (
            insert into host_networks as n (host_id, network_id, first_seen_at, last_seen_at)
            select id, $1, last_seen_at, last_seen_at from written order by id
            on conflict (host_id, network_id) do update set last_seen_at = excluded.last_seen_at
                where n.last_seen_at < excluded.last_seen_at - interval '1 minute'
        )
        insert into changes (at, network_id, scan_id, host_id, kind, address, before, after)
        select w.last_seen_at, $1, $2, w.id, c.kind, w.address, c.before, c.after
        from written w left join old o on o.id = w.id
        cross join lateral (values
            ('host_appeared', w.is_new, null::jsonb, null::jsonb),
            ('host_returned', not w.is_new and not o.is_up, null, null),
            ('hostname_changed', o.hostname <> w.hostname,
                jsonb_build_object('hostname', o.hostname), jsonb_build_object('hostname', w.hostname)),
            ('mac_changed', o.mac_address <> w.mac_address,
                jsonb_build_object('mac_address', o.mac_address), jsonb_build_object('mac_address', w.mac_address))
        ) as c(kind, applies, before, after)
        where c.applies
        order by w.address",
    )
    .bind(origin.network_id)
    .bind(origin.scan_id)
    .bind(column(hosts, |host| host.address))
    .bind(column(hosts, |host| host.seen_at))
    .bind(column(hosts, |host| host.pingable))
    .bind(column(hosts, |host| host.mac.map(|mac| mac.to_string())))
    .bind(column(hosts, |host| host.mac_vendor.clone()))
    .bind(column(hosts, |host| host.hostname.clone()))
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}

/// Notes open ports and returns those that were not open before. Their hosts must be known.
pub async fn upsert_open_ports(
    db: &mut PgConnection,
    origin: &Origin,
    ports: &[&PortRow],
) -> sqlx::Result<Vec<OpenedPort>> {
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "-- upsert_open_ports
        with seen as materialized (
            select s.*, h.id as host_id
            from unnest($3::inet[], $4::integer[], $5::text[], $6::text[], $7::smallint[], $8::integer[], $9::timestamptz[])
                as s(address, port, transport, reason, ttl, rtt_us, seen_at)
            join hosts h on h.address = s.address
        ), everywhere as (
            insert into global_ports as g (address, port, transport, host_id, first_seen_at, last_seen_at)
            select address, port, transport, host_id, seen_at, seen_at from seen order by address, port, transport
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
            order by s.address, s.port, s.transport
            on conflict (network_id, address, port, transport) where closed_at is null do update set
                last_seen_at = greatest(p.last_seen_at, excluded.last_seen_at),
                last_scan_id = excluded.last_scan_id, misses = 0, host_id = excluded.host_id,
                reason = excluded.reason, ttl = excluded.ttl, rtt_us = excluded.rtt_us
            returning id, global_port_id, host_id, address, port, transport, first_seen_at, last_seen_at,
                      reason, ttl, rtt_us, service, product, version, banner, xmax = 0 as is_new
        ), in_run as (
            insert into scan_ports as r (scan_id, address, port, transport, ttl, rtt_us, reason, service, product,
                                         version, banner, first_seen_at, last_seen_at)
            select $2, address, port, transport, ttl, rtt_us, reason, service, product, version, banner,
                   first_seen_at, last_seen_at
            from written order by address, port, transport
            on conflict (scan_id, address, port, transport) do update set
                last_seen_at = greatest(r.last_seen_at, excluded.last_seen_at)
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
        select address::inet as address, port::integer as port, transport::text as transport, service, product, version
        from written where is_new",
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
    .persistent(false)
    .fetch_all(db)
    .await
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
            select * from unnest($3::inet[], $4::integer[], $5::text[], $6::timestamptz[])
                as s(address, port, transport, seen_at)
        ), closed as (
            update ports p set closed_at = r.seen_at
            from refused r
            where p.network_id = $1 and p.address = r.address and p.port = r.port and p.transport = r.transport
                and p.closed_at is null
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

/// Keeps every reply as it came.
pub async fn append_observations(
    db: &mut PgConnection,
    origin: &Origin,
    ports: &[&PortRow],
) -> sqlx::Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- append_observations
        insert into observations (network_id, scan_id, address, port, transport, state, reason, ttl, rtt_us, seen_at)
        select $1, $2, s.* from unnest($3::inet[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::smallint[],
                                       $9::integer[], $10::timestamptz[]) as s",
    )
    .bind(origin.network_id)
    .bind(origin.scan_id)
    .bind(column(ports, |port| port.endpoint.address))
    .bind(column(ports, |port| i32::from(port.endpoint.port)))
    .bind(column(ports, |port| port.endpoint.transport.as_str()))
    .bind(column(ports, |port| port.state.as_str()))
    .bind(column(ports, |port| port.reason.unwrap_or("unknown")))
    .bind(column(ports, |port| port.ttl))
    .bind(column(ports, |port| port.rtt_us))
    .bind(column(ports, |port| port.seen_at))
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}

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
                                 $15::text[], $16::text[], $17::text[], $18::text[])
                as s(address, port, transport, service, product, vendor, version, banner, verdict, confidence,
                     detail, seen_at, os, device, hostname, fingerprints)
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
                identified_at = o.seen_at
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
    .persistent(false)
    .fetch_all(db)
    .await
}

/// Notes what hosts are, judged from all their services.
pub async fn apply_profiles(db: &mut PgConnection, profiles: &[&HostProfile]) -> sqlx::Result<()> {
    if profiles.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- apply_profiles
        update hosts h set os = coalesce(p.os, h.os), device_type = coalesce(p.device, h.device_type),
            device_confidence = case when p.device is null then h.device_confidence else p.confidence end,
            device_reasons = p.reasons
        from unnest($1::inet[], $2::text[], $3::text[], $4::smallint[], $5::jsonb[])
            as p(address, os, device, confidence, reasons)
        where h.address = p.address",
    )
    .bind(column(profiles, |profile| profile.address))
    .bind(column(profiles, |profile| owned(profile.os.as_ref())))
    .bind(column(profiles, |profile| owned(profile.device.as_ref())))
    .bind(column(profiles, |profile| i16::from(profile.device_confidence.min(100))))
    .bind(column(profiles, |profile| json(&profile.reasons)))
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps what says who a host is: its keys, its certificates, and the names and serial numbers it gives itself.
pub async fn record_identifiers(
    db: &mut PgConnection,
    origin: &Origin,
    services: &[&Service],
) -> sqlx::Result<()> {
    let mut told: Vec<_> = services
        .iter()
        .flat_map(|service| {
            identifiers(service).into_iter().map(|(kind, value)| (kind, value, service.endpoint.address))
        })
        .collect();
    told.sort();
    told.dedup();
    if told.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- record_identifiers
        insert into host_identifiers as i (host_id, kind, value, first_seen_at, last_seen_at)
        select h.id, s.kind, s.value, $4, $4
        from unnest($1::text[], $2::text[], $3::inet[]) as s(kind, value, address) join hosts h on h.address = s.address
        order by s.kind, s.value, h.id
        on conflict (kind, value, host_id) do update set last_seen_at = excluded.last_seen_at
            where i.last_seen_at < excluded.last_seen_at - interval '1 hour'",
    )
    .bind(column(&told, |(kind, ..)| *kind))
    .bind(column(&told, |(_, value, _)| value.clone()))
    .bind(column(&told, |(.., address)| *address))
    .bind(origin.now)
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}

/// Kind and value, as `host_identifiers` has them.
fn identifiers(service: &Service) -> Vec<(&'static str, String)> {
    let shown = fingerprints::of(service).into_iter().filter_map(|fingerprint| {
        let (kind, value) = fingerprint.split_once(':')?;
        match kind {
            "cert" => Some(("certificate", value.to_owned())),
            "ssh-key" => Some(("ssh_host_key", value.to_owned())),
            _ => None,
        }
    });
    let announced = service.announced.as_ref();
    let ntlm = service.ntlm.as_ref();
    let names = [
        service.hostname.as_ref(),
        announced.and_then(|device| device.name.as_ref()),
        ntlm.and_then(|ntlm| ntlm.dns_name.as_ref()),
        ntlm.and_then(|ntlm| ntlm.netbios_name.as_ref()),
    ];
    let names = names.into_iter().map(|name| ("name", name));
    let serial = [("serial", announced.and_then(|device| device.serial.as_ref()))];
    let told = names.chain(serial).filter_map(|(kind, text)| {
        // An index entry has its limits.
        let value: String = owned(text)?.chars().take(255).collect();
        Some((kind, value))
    });
    shown.chain(told).collect()
}

/// Keeps what SSH servers offer, one row a run.
pub async fn record_ssh_audits(
    db: &mut PgConnection,
    origin: &Origin,
    services: &[&Service],
) -> sqlx::Result<()> {
    let audits: Vec<_> =
        services.iter().filter_map(|service| Some((*service, service.ssh.as_ref()?))).collect();
    if audits.is_empty() {
        return Ok(());
    }
    let offers = |method: &'static str| {
        column(&audits, |(_, audit)| {
            audit.auth_methods.iter().flatten().any(|offered| offered.as_str() == method)
        })
    };
    sqlx::query(
        "-- record_ssh_audits
        insert into ssh_audits (scan_id, network_id, host_id, address, port, observed_at, publickey_enabled,
            password_enabled, keyboard_interactive_enabled, ssh_version, protocol_version, server_banner,
            supported_ciphers, kex_algorithms, mac_algorithms, host_key_types, host_keys, hassh,
            has_weak_ciphers, has_weak_kex, has_weak_macs)
        select $1, $2, h.id, s.* from unnest($3::inet[], $4::integer[], $5::timestamptz[], $6::boolean[], $7::boolean[],
            $8::boolean[], $9::text[], $10::text[], $11::text[], $12::jsonb[], $13::jsonb[], $14::jsonb[], $15::jsonb[],
            $16::jsonb[], $17::text[], $18::boolean[], $19::boolean[], $20::boolean[])
            as s(address, port, observed_at, publickey, password, interactive, version, protocol, banner, ciphers,
                 kex, macs, host_key_types, host_keys, hassh, weak_ciphers, weak_kex, weak_macs)
        left join hosts h on h.address = s.address
        on conflict (scan_id, address, port) do update set
            observed_at = excluded.observed_at, publickey_enabled = excluded.publickey_enabled,
            password_enabled = excluded.password_enabled,
            keyboard_interactive_enabled = excluded.keyboard_interactive_enabled,
            ssh_version = excluded.ssh_version, protocol_version = excluded.protocol_version,
            server_banner = excluded.server_banner, supported_ciphers = excluded.supported_ciphers,
            kex_algorithms = excluded.kex_algorithms, mac_algorithms = excluded.mac_algorithms,
            host_key_types = excluded.host_key_types, host_keys = excluded.host_keys, hassh = excluded.hassh,
            has_weak_ciphers = excluded.has_weak_ciphers, has_weak_kex = excluded.has_weak_kex,
            has_weak_macs = excluded.has_weak_macs",
    )
    .bind(origin.scan_id)
    .bind(origin.network_id)
    .bind(column(&audits, |(service, _)| service.endpoint.address))
    .bind(column(&audits, |(service, _)| i32::from(service.endpoint.port)))
    .bind(column(&audits, |(service, _)| time_of(service.seen_at_ms.0, origin)))
    .bind(offers("publickey"))
    .bind(offers("password"))
    .bind(offers("keyboard-interactive"))
    .bind(column(&audits, |(_, audit)| owned(Some(&audit.ssh_version))))
    .bind(column(&audits, |(_, audit)| owned(Some(&audit.protocol_version))))
    .bind(column(&audits, |(_, audit)| owned(Some(&audit.server_banner))))
    .bind(column(&audits, |(_, audit)| json(&audit.ciphers)))
    .bind(column(&audits, |(_, audit)| json(&audit.kex_algorithms)))
    .bind(column(&audits, |(_, audit)| json(&audit.mac_algorithms)))
    .bind(column(&audits, |(_, audit)| json(&audit.host_key_types)))
    .bind(column(&audits, |(_, audit)| json(&audit.host_keys)))
    .bind(column(&audits, |(_, audit)| audit.hassh.as_deref().map(safe)))
    .bind(column(&audits, |(_, audit)| any_weak(&audit.ciphers)))
    .bind(column(&audits, |(_, audit)| any_weak(&audit.kex_algorithms)))
    .bind(column(&audits, |(_, audit)| any_weak(&audit.mac_algorithms)))
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps certificates, and where and when each was presented.
pub async fn record_certificates(
    db: &mut PgConnection,
    origin: &Origin,
    services: &[&Service],
) -> sqlx::Result<()> {
    let mut shown: Vec<_> = services.iter().filter_map(|service| Shown::of(service, origin)).collect();
    if shown.is_empty() {
        return Ok(());
    }
    let places = shown.clone();
    // A certificate on many ports is one row.
    shown.sort_by(|one, other| one.sha256.cmp(&other.sha256));
    shown.dedup_by(|one, other| one.sha256 == other.sha256);
    sqlx::query(
        "-- upsert_certificates
        insert into tls_certificates as c (sha256, subject, issuer, serial, alternative_names, not_before, not_after,
                                           key, signature, self_signed, first_seen_at, last_seen_at)
        select sha256, subject, issuer, serial, array(select jsonb_array_elements_text(names)), not_before, not_after,
               key, signature, self_signed, seen_at, seen_at
        from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::timestamptz[], $7::timestamptz[],
                    $8::text[], $9::text[], $10::boolean[], $11::timestamptz[])
            as s(sha256, subject, issuer, serial, names, not_before, not_after, key, signature, self_signed, seen_at)
        on conflict (sha256) do update set last_seen_at = excluded.last_seen_at
            where c.last_seen_at < excluded.last_seen_at - interval '1 hour'",
    )
    .bind(column(&shown, |one| one.sha256.clone()))
    .bind(column(&shown, |one| one.certificate.subject.as_str().to_owned()))
    .bind(column(&shown, |one| one.certificate.issuer.as_str().to_owned()))
    .bind(column(&shown, |one| one.certificate.serial.as_str().to_owned()))
    .bind(column(&shown, |one| json(&one.certificate.alternative_names)))
    .bind(column(&shown, |one| calendar(one.certificate.not_before_ms.0)))
    .bind(column(&shown, |one| calendar(one.certificate.not_after_ms.0)))
    .bind(column(&shown, |one| one.certificate.key.as_str().to_owned()))
    .bind(column(&shown, |one| one.certificate.signature.as_str().to_owned()))
    .bind(column(&shown, |one| one.certificate.self_signed))
    .bind(column(&shown, |one| one.seen_at))
    .persistent(false)
    .execute(&mut *db)
    .await?;
    end_replaced_certificates(&mut *db, origin, &places).await?;
    sqlx::query(
        "-- upsert_tls_endpoints
        insert into tls_endpoints as e (network_id, host_id, address, port, transport, certificate_id, tls_version, cipher,
                                        ja3s, first_seen_at, last_seen_at)
        select $1, h.id, s.address, s.port, s.transport, c.id, s.version, s.cipher, s.ja3s, s.seen_at, s.seen_at
        from unnest($2::inet[], $3::integer[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::text[], $9::timestamptz[])
            as s(address, port, transport, sha256, version, cipher, ja3s, seen_at)
        join tls_certificates c on c.sha256 = s.sha256
        left join hosts h on h.address = s.address
        order by s.address, s.port, s.transport
        on conflict (network_id, address, port, transport) where until is null do update set
            last_seen_at = greatest(e.last_seen_at, excluded.last_seen_at), tls_version = excluded.tls_version,
            cipher = excluded.cipher, ja3s = excluded.ja3s",
    )
    .bind(origin.network_id)
    .bind(column(&places, |one| one.service.endpoint.address))
    .bind(column(&places, |one| i32::from(one.service.endpoint.port)))
    .bind(column(&places, |one| one.service.endpoint.transport.as_str()))
    .bind(column(&places, |one| one.sha256.clone()))
    .bind(column(&places, |one| one.service.tls.as_ref().and_then(|tls| owned(Some(&tls.version)))))
    .bind(column(&places, |one| one.service.tls.as_ref().and_then(|tls| owned(tls.cipher.as_ref()))))
    .bind(column(&places, |one| one.service.tls.as_ref().and_then(|tls| tls.ja3s.as_deref().map(safe))))
    .bind(column(&places, |one| one.seen_at))
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}

/// A place that presents another certificate than before starts a new interval.
async fn end_replaced_certificates(
    db: &mut PgConnection,
    origin: &Origin,
    places: &[Shown<'_>],
) -> sqlx::Result<()> {
    sqlx::query(
        "-- end_replaced_certificates
        with shown as materialized (
            select s.*, c.id as certificate_id, c.subject
            from unnest($3::inet[], $4::integer[], $5::text[], $6::bytea[], $7::timestamptz[])
                as s(address, port, transport, sha256, seen_at)
            join tls_certificates c on c.sha256 = s.sha256
        ), ended as (
            update tls_endpoints e set until = s.seen_at
            from shown s
            where e.network_id = $1 and e.address = s.address and e.port = s.port and e.transport = s.transport
                and e.until is null and e.certificate_id <> s.certificate_id
            returning e.host_id, e.address, e.port, e.transport, e.certificate_id as old_id, s.certificate_id, s.subject,
                      s.seen_at
        )
        insert into changes (at, network_id, scan_id, host_id, kind, address, port, transport, before, after)
        select e.seen_at, $1, $2, e.host_id, 'certificate_changed', e.address, e.port, e.transport,
               jsonb_build_object('certificate_id', e.old_id, 'subject', o.subject),
               jsonb_build_object('certificate_id', e.certificate_id, 'subject', e.subject)
        from ended e join tls_certificates o on o.id = e.old_id
        order by e.address, e.port, e.transport",
    )
    .bind(origin.network_id)
    .bind(origin.scan_id)
    .bind(column(places, |one| one.service.endpoint.address))
    .bind(column(places, |one| i32::from(one.service.endpoint.port)))
    .bind(column(places, |one| one.service.endpoint.transport.as_str()))
    .bind(column(places, |one| one.sha256.clone()))
    .bind(column(places, |one| one.seen_at))
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps the run's figures current.
pub async fn count_run(db: &mut PgConnection, scan_id: i64, hosts: i32) -> sqlx::Result<()> {
    sqlx::query(
        "-- count_run
        update scans set open_ports = (select count(*) from scan_ports where scan_id = $1),
                         hosts_discovered = hosts_discovered + $2
        where id = $1",
    )
    .bind(scan_id)
    .bind(hosts)
    .execute(db)
    .await?;
    Ok(())
}

/// A leaf certificate and where it was presented.
#[derive(Clone)]
struct Shown<'a> {
    service: &'a Service,
    certificate: &'a TlsCertificate,
    sha256: Vec<u8>,
    seen_at: DateTime<Utc>,
}

impl<'a> Shown<'a> {
    fn of(service: &'a Service, origin: &Origin) -> Option<Self> {
        let certificate = service.tls.as_ref()?.certificates.first()?;
        let sha256 = from_hex(&certificate.sha256).filter(|digest| digest.len() == 32)?;
        Some(Self { service, certificate, sha256, seen_at: time_of(service.seen_at_ms.0, origin) })
    }
}

fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

fn owned(text: Option<&SafeText>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(|text| text.as_str().to_owned())
}

/// Fields that are plain strings in the protocol hold what the agent put in, NUL included.
fn safe(text: &str) -> String {
    SafeText::from(text).into_string()
}

/// As JSON that PostgreSQL takes: it has no NUL, and the protocol's plain strings may.
fn json(value: impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(value).unwrap_or_default();
    disarm(&mut value);
    value
}

fn disarm(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(disarm),
        Value::Object(fields) => fields.values_mut().for_each(disarm),
        Value::String(text) if text.contains('\0') => *text = safe(text),
        _ => {}
    }
}

/// The name a choice has in the protocol.
fn name_of(value: impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

fn any_weak(algorithms: &[SshAlgorithm]) -> bool {
    algorithms.iter().any(|algorithm| algorithm.is_weak)
}

fn time_of(ms: i64, origin: &Origin) -> DateTime<Utc> {
    origin.time_of(portreeve_model::Timestamp(ms))
}

/// A date out of a certificate, kept within the years 1 to 9999: PostgreSQL's range and Rust's differ.
fn calendar(ms: i64) -> DateTime<Utc> {
    const FIRST_MS: i64 = -62_135_596_800_000;
    const LAST_MS: i64 = 253_402_300_799_000;
    DateTime::from_timestamp_millis(ms.clamp(FIRST_MS, LAST_MS)).unwrap_or_default()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits.len().is_multiple_of(2).then_some(())?;
    digits.chunks(2).map(|pair| Some((digit(*pair.first()?)? * 16 + digit(*pair.last()?)?) as u8)).collect()
}

#[cfg(test)]
mod tests;
