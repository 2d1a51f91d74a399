//! SSH servers' offers, one row a run.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgExecutor, PgPool};
use utoipa::ToSchema;

use super::{Scope, contains_pattern};

/// What an SSH server offered in one run.
#[derive(Clone, Debug, Serialize, ToSchema, FromRow)]
#[schema(as = SshAuditOfScan)]
pub struct SshAudit {
    /// Number of the row.
    pub id: i64,
    /// The run.
    pub scan_id: i64,
    /// The network.
    pub network_id: i64,
    /// Its name.
    pub network_name: String,
    /// The server's address.
    #[schema(value_type = String)]
    pub host_ip: IpAddr,
    /// Its port.
    #[sqlx(try_from = "i32")]
    pub port: u16,
    /// When.
    pub timestamp: DateTime<Utc>,
    /// Logs in by public key.
    pub publickey_enabled: bool,
    /// Logs in by password.
    pub password_enabled: bool,
    /// Logs in by keyboard-interactive questions.
    pub keyboard_interactive_enabled: bool,
    /// Software version, as `OpenSSH_9.2p1`.
    pub ssh_version: Option<String>,
    /// Protocol version.
    pub protocol_version: Option<String>,
    /// The whole identification line.
    pub server_banner: Option<String>,
    /// Ciphers: `{name, keysize, is_weak, notes}`.
    #[schema(value_type = Option<Vec<Object>>)]
    pub supported_ciphers: Option<Value>,
    /// Key exchanges, in the same form.
    #[schema(value_type = Option<Vec<Object>>)]
    pub kex_algorithms: Option<Value>,
    /// Host key algorithms.
    #[schema(value_type = Option<Vec<String>>)]
    pub host_key_types: Option<Value>,
    /// Message authentication codes, in the same form.
    #[schema(value_type = Option<Vec<Object>>)]
    pub mac_algorithms: Option<Value>,
    /// Whether a cipher is weak.
    pub has_weak_ciphers: bool,
    /// Whether a key exchange is weak.
    pub has_weak_kex: bool,
    /// Whether a message authentication code is weak.
    pub has_weak_macs: bool,
    /// Fingerprint of what it offers, MD5 in hexadecimal.
    pub hassh: Option<String>,
    /// Fingerprints of its keys, as `SHA256:…`.
    #[schema(value_type = Option<Vec<String>>)]
    pub host_keys: Option<Value>,
}

/// The newest audit of a server, with what is needed of the one before to tell what changed.
#[derive(Clone, Debug, FromRow)]
pub struct SshLatest {
    /// The newest.
    #[sqlx(flatten)]
    pub now: SshAudit,
    /// Whether there was one before.
    pub has_before: bool,
    /// Of that one.
    pub before_publickey: Option<bool>,
    /// Of that one.
    pub before_password: Option<bool>,
    /// Of that one.
    pub before_keyboard_interactive: Option<bool>,
    /// Of that one.
    pub before_version: Option<String>,
    /// Of that one.
    pub before_ciphers: Option<Value>,
    /// Of that one.
    pub before_kex: Option<Value>,
}

/// Which servers a list shows.
#[derive(Clone, Debug, Default)]
pub struct SshFilter<'a> {
    /// Audited in one network.
    pub network_id: Option<i64>,
    /// Takes passwords.
    pub password_enabled: Option<bool>,
    /// Takes keyboard-interactive log-ins.
    pub keyboard_interactive_enabled: Option<bool>,
    /// Part of the version.
    pub version: Option<&'a str>,
    /// One address.
    pub address: Option<IpAddr>,
    /// How many to skip.
    pub offset: i64,
    /// How many at most.
    pub limit: i64,
}

/// Writes a query that reads audits from the alias `s`, with the given end.
macro_rules! audit_columns {
    () => {
        "s.id, s.scan_id, s.network_id, n.name as network_name, s.address as host_ip, s.port,
       s.observed_at as timestamp, s.publickey_enabled, s.password_enabled, s.keyboard_interactive_enabled,
       s.ssh_version, s.protocol_version, s.server_banner, s.supported_ciphers, s.kex_algorithms, s.host_key_types,
       s.mac_algorithms, s.has_weak_ciphers, s.has_weak_kex, s.has_weak_macs, s.hassh, s.host_keys"
    };
}

/// The newest audit of each server; the filters look at those.
///
/// First which audits count (scope and network), then which is the newest: an audit from a network that
/// was not asked for never hides one from a network that was.
macro_rules! latest {
    () => {
        "
  from (select distinct on (address, port) * from ssh_audits
         where ($1::bigint[] is null or network_id = any($1)) and ($2::bigint is null or network_id = $2)
           and ($6::inet is null or address = $6)
         order by address, port, observed_at desc, id desc) s
 where ($3::bool is null or s.password_enabled = $3)
   and ($4::bool is null or s.keyboard_interactive_enabled = $4)
   and ($5::text is null or s.ssh_version ilike $5)
"
    };
}

/// The newest audit of each server, by address and port, and how many the filter finds.
pub async fn latest(
    db: &PgPool,
    scope: Scope<'_>,
    filter: &SshFilter<'_>,
) -> sqlx::Result<(Vec<SshLatest>, i64)> {
    let version = filter.version.map(contains_pattern);
    let rows = sqlx::query_as(concat!(
        "-- latest_ssh_audits
         select ",
        audit_columns!(),
        ", before.id is not null as has_before, before.publickey_enabled as before_publickey,
           before.password_enabled as before_password,
           before.keyboard_interactive_enabled as before_keyboard_interactive,
           before.ssh_version as before_version, before.supported_ciphers as before_ciphers,
           before.kex_algorithms as before_kex
      from (select s.*",
        latest!(),
        " order by s.address, s.port offset $7 limit $8) s
      join networks n on n.id = s.network_id
      left join lateral (
           select * from ssh_audits
            where address = s.address and port = s.port and (observed_at, id) < (s.observed_at, s.id)
              and ($1::bigint[] is null or network_id = any($1)) and ($2::bigint is null or network_id = $2)
            order by observed_at desc, id desc limit 1) before on true
     order by s.address, s.port"
    ))
    .bind(scope)
    .bind(filter.network_id)
    .bind(filter.password_enabled)
    .bind(filter.keyboard_interactive_enabled)
    .bind(&version)
    .bind(filter.address)
    .bind(filter.offset)
    .bind(filter.limit)
    .persistent(false)
    .fetch_all(db)
    .await?;
    let total = sqlx::query_scalar(concat!("-- count_latest_ssh_audits\n select count(*)", latest!()))
        .bind(scope)
        .bind(filter.network_id)
        .bind(filter.password_enabled)
        .bind(filter.keyboard_interactive_enabled)
        .bind(&version)
        .bind(filter.address)
        .persistent(false)
        .fetch_one(db)
        .await?;
    Ok((rows, total))
}

/// All audits of one server, newest first, and how many there are.
pub async fn history(
    db: &PgPool,
    scope: Scope<'_>,
    address: IpAddr,
    port: u16,
    offset: i64,
    limit: i64,
) -> sqlx::Result<(Vec<SshAudit>, i64)> {
    let rows = sqlx::query_as(concat!(
        "-- ssh_history
         select ",
        audit_columns!(),
        " from ssh_audits s join networks n on n.id = s.network_id
          where s.address = $2 and s.port = $3 and ($1::bigint[] is null or s.network_id = any($1))
          order by s.observed_at desc, s.id desc offset $4 limit $5"
    ))
    .bind(scope)
    .bind(address)
    .bind(i32::from(port))
    .bind(offset)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let total = sqlx::query_scalar(
        "-- count_ssh_history
         select count(*) from ssh_audits
          where address = $2 and port = $3 and ($1::bigint[] is null or network_id = any($1))",
    )
    .bind(scope)
    .bind(address)
    .bind(i32::from(port))
    .fetch_one(db)
    .await?;
    Ok((rows, total))
}

/// What one run found, by address and port, at most 1000.
pub async fn of_scan(db: impl PgExecutor<'_>, scan_id: i64) -> sqlx::Result<Vec<SshAudit>> {
    sqlx::query_as(concat!(
        "-- ssh_audits_of_scan
         select ",
        audit_columns!(),
        " from ssh_audits s join networks n on n.id = s.network_id
          where s.scan_id = $1 order by s.address, s.port limit 1000"
    ))
    .bind(scan_id)
    .fetch_all(db)
    .await
}
