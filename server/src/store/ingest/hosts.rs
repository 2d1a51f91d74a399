//! Hosts: that they are there, and what they are.

use portreeve_model::HostProfile;
use sqlx::PgConnection;

use super::values::{column, json, owned};
use crate::ingest::{HostRow, Origin};

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
