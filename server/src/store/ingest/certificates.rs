//! Certificates, and where they are shown.

use chrono::{DateTime, Utc};
use portreeve_model::{Service, TlsCertificate};
use sqlx::PgConnection;

use super::values::{column, json, owned, safe, time_of};
use crate::ingest::Origin;

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
