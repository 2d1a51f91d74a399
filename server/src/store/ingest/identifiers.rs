//! What tells who a host is.

use portreeve_model::Service;
use sqlx::PgConnection;

use super::values::{column, owned};
use crate::ingest::{Origin, fingerprints};

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
