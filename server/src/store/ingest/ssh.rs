//! What SSH servers offer.

use portreeve_model::{Service, SshAlgorithm};
use sqlx::PgConnection;

use super::values::{column, json, owned, safe, time_of};
use crate::ingest::Origin;

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

fn any_weak(algorithms: &[SshAlgorithm]) -> bool {
    algorithms.iter().any(|algorithm| algorithm.is_weak)
}
