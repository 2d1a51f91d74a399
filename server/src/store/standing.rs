//! Findings that last, and the alerts that stand for them (`alerts/standing.rs`).

use std::{collections::HashSet, net::IpAddr};

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use portreeve_model::{SafeText, SshAlgorithm, SshAudit, SshHostKey, TlsCertificate, TlsInfo};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use crate::alerts::standing::Shown;

/// Holds the network against others who settle its findings, and returns its alert settings (null for none). `None` if
/// there is no such network.
pub async fn lock_network(db: &mut PgConnection, network_id: i64) -> sqlx::Result<Option<Value>> {
    sqlx::query_scalar(
        "-- lock_network
        select coalesce(alert_config, 'null') from networks where id = $1 for no key update",
    )
    .bind(network_id)
    .fetch_optional(db)
    .await
}

#[derive(sqlx::FromRow)]
struct ShownRow {
    address: IpAddr,
    port: i32,
    transport: String,
    tls: Option<Value>,
    ssh: Option<Value>,
}

/// The parts of stored details that findings are made of.
#[derive(Deserialize)]
struct Tls {
    version: SafeText,
    versions: Vec<SafeText>,
    leaf: Option<TlsCertificate>,
}

#[derive(Deserialize)]
struct Ssh {
    version: SafeText,
    ciphers: Vec<SshAlgorithm>,
    kex: Vec<SshAlgorithm>,
    macs: Vec<SshAlgorithm>,
    keys: Vec<SshHostKey>,
    auth_methods: Option<Vec<SafeText>>,
}

/// Hands over what each open port of the network shows of TLS and SSH, one by one: there may be very many.
pub async fn each_shown(
    db: &mut PgConnection,
    network_id: i64,
    mut take: impl FnMut(Shown),
) -> sqlx::Result<()> {
    let mut rows = sqlx::query_as::<_, ShownRow>(
        "-- each_shown
        select address::inet as address, port::integer as port, transport::text as transport,
               case when tls is not null then jsonb_build_object(
                   'version', tls->'version', 'versions', coalesce(tls->'versions', '[]'),
                   'leaf', tls#>'{certificates,0}') end as tls,
               case when ssh is not null then jsonb_build_object(
                   'version', coalesce(ssh->'ssh_version', '\"\"'), 'ciphers', coalesce(ssh->'ciphers', '[]'),
                   'kex', coalesce(ssh->'kex_algorithms', '[]'), 'macs', coalesce(ssh->'mac_algorithms', '[]'),
                   'keys', coalesce(ssh->'keys', '[]'), 'auth_methods', ssh->'auth_methods') end as ssh
        from (select address, port, transport, detail->'tls' as tls, detail->'ssh' as ssh
              from ports where network_id = $1 and closed_at is null and shows_crypto offset 0) p
        where tls is not null or ssh is not null",
    )
    .bind(network_id)
    .fetch(db);
    while let Some(row) = rows.try_next().await? {
        if let Some(shown) = row.shown() {
            take(shown);
        }
    }
    Ok(())
}

impl ShownRow {
    /// `None` where the row is not what this version writes: a scan's end must not fail for it.
    fn shown(self) -> Option<Shown> {
        let tls = self.tls.and_then(read::<Tls>).map(|Tls { version, versions, leaf }| TlsInfo {
            version,
            versions,
            certificates: leaf.into_iter().collect(),
            ..TlsInfo::default()
        });
        let ssh = self.ssh.and_then(read::<Ssh>).map(|ssh| SshAudit {
            ssh_version: ssh.version,
            ciphers: ssh.ciphers,
            kex_algorithms: ssh.kex,
            mac_algorithms: ssh.macs,
            keys: ssh.keys,
            auth_methods: ssh.auth_methods,
            ..SshAudit::default()
        });
        Some(Shown {
            address: self.address,
            port: u16::try_from(self.port).ok()?,
            transport: self.transport.parse().ok()?,
            tls,
            ssh,
        })
    }
}

fn read<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

/// The findings that an unresolved alert tells of, acknowledged or not.
pub async fn standing(db: &mut PgConnection, network_id: i64) -> sqlx::Result<HashSet<String>> {
    let findings: Vec<String> = sqlx::query_scalar(
        "-- standing_findings
        select f.finding from alert_findings f join alerts a on a.id = f.alert_id
        where f.network_id = $1 and a.resolution_status <> 'resolved'",
    )
    .bind(network_id)
    .fetch_all(db)
    .await?;
    Ok(findings.into_iter().collect())
}

/// Forgets the findings that are not among these, and resolves the alerts that have none left.
pub async fn end_others(
    db: &mut PgConnection,
    network_id: i64,
    findings: &[String],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- end_other_findings
        with present as materialized (
            select finding from unnest($2::text[]) as p(finding)
        ), gone as (
            delete from alert_findings f
            where f.network_id = $1 and not exists (select from present p where p.finding = f.finding)
            returning alert_id
        ), resolved as (
            update alerts a set resolution_status = 'resolved', resolved_at = $3
            where a.id in (select alert_id from gone) and a.resolution_status <> 'resolved'
                and not exists (select from alert_findings f join present p on p.finding = f.finding
                                where f.alert_id = a.id)
            returning a.id
        )
        insert into alert_events (alert_id, at, kind) select id, $3, 'auto_resolved' from resolved",
    )
    .bind(network_id)
    .bind(findings)
    .bind(now)
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}

/// Notes which alert tells of which finding; each as finding and the alert's key.
pub async fn note(db: &mut PgConnection, network_id: i64, told: &[(&str, &str)]) -> sqlx::Result<()> {
    if told.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- note_findings
        insert into alert_findings (network_id, finding, alert_id)
        select $1, t.finding, a.id
        from unnest($2::text[], $3::text[]) as t(finding, dedup_key)
        join alerts a on a.dedup_key = t.dedup_key and not a.acknowledged and a.resolution_status <> 'resolved'
        order by t.finding
        on conflict (network_id, finding) do update set alert_id = excluded.alert_id",
    )
    .bind(network_id)
    .bind(told.iter().map(|(finding, _)| *finding).collect::<Vec<_>>())
    .bind(told.iter().map(|(_, key)| *key).collect::<Vec<_>>())
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}

/// Networks in which a certificate is shown that ends before then.
pub async fn networks_with_ending_certificates(db: &PgPool, before: DateTime<Utc>) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(
        "-- networks_with_ending_certificates
        select distinct e.network_id
        from tls_certificates c join tls_endpoints e on e.certificate_id = c.id and e.until is null
        where c.not_after < $1
        order by e.network_id",
    )
    .bind(before)
    .fetch_all(db)
    .await
}
