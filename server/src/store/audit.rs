//! The audit log's rows and the end of its chain. What the hashes cover is [`crate::audit`]'s business.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

/// An entry as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AuditRow {
    /// Number, without gaps.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What kind of actor.
    pub actor_kind: String,
    /// Its number, where it has one.
    pub actor_id: Option<i64>,
    /// Its name at that time.
    pub actor_name: String,
    /// Dotted verb.
    pub action: String,
    /// What kind of thing it was done to.
    pub target_kind: Option<String>,
    /// Which one.
    pub target_id: Option<String>,
    /// More, as JSON text, byte for byte as hashed.
    pub detail: String,
    /// Whether it was done.
    pub succeeded: bool,
    /// From where.
    pub address: Option<IpAddr>,
    /// The hash of the entry before.
    pub previous_hash: Vec<u8>,
    /// The hash of this entry.
    pub hash: Vec<u8>,
}

/// Which entries to list.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter<'a> {
    /// Only entries before this number.
    pub before: Option<i64>,
    /// Only actions that begin so.
    pub action: Option<&'a str>,
    /// Only this actor's name.
    pub actor: Option<&'a str>,
    /// Leaves so many out.
    pub offset: i64,
    /// At most so many.
    pub limit: i64,
}

/// The end of the chain, locked until the transaction ends: this is what puts writers in order.
pub async fn lock_head(db: &mut PgConnection) -> sqlx::Result<(i64, Vec<u8>)> {
    sqlx::query_as("-- lock_audit_head\n select last_id, hash from audit_head for update").fetch_one(db).await
}

/// Adds an entry and moves the end of the chain to it.
pub async fn append(db: &mut PgConnection, row: &AuditRow) -> sqlx::Result<()> {
    sqlx::query(
        "-- append_audit
        insert into audit_log (id, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, detail,
                               succeeded, address, previous_hash, hash)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9::json, $10, $11, $12, $13)",
    )
    .bind(row.id)
    .bind(row.at)
    .bind(&row.actor_kind)
    .bind(row.actor_id)
    .bind(&row.actor_name)
    .bind(&row.action)
    .bind(&row.target_kind)
    .bind(&row.target_id)
    .bind(&row.detail)
    .bind(row.succeeded)
    .bind(row.address)
    .bind(&row.previous_hash)
    .bind(&row.hash)
    .execute(&mut *db)
    .await?;
    sqlx::query("-- move_audit_head\n update audit_head set last_id = $1, hash = $2")
        .bind(row.id)
        .bind(&row.hash)
        .execute(db)
        .await?;
    Ok(())
}

/// Entries, newest first.
pub async fn list(db: impl PgExecutor<'_>, filter: &AuditFilter<'_>) -> sqlx::Result<Vec<AuditRow>> {
    sqlx::query_as(
        "-- list_audit
        select id, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, detail::text as detail,
               succeeded, address, previous_hash, hash
        from audit_log
        where ($1::bigint is null or id < $1)
          and ($2::text is null or starts_with(action, $2))
          and ($3::text is null or actor_name = $3)
        order by id desc limit $4 offset $5",
    )
    .bind(filter.before)
    .bind(filter.action)
    .bind(filter.actor)
    .bind(filter.limit)
    .bind(filter.offset)
    .fetch_all(db)
    .await
}

/// How many entries a filter finds in all (`before`, `offset` and `limit` aside).
pub async fn count(db: impl PgExecutor<'_>, filter: &AuditFilter<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- count_audit
        select count(*) from audit_log
        where ($1::text is null or starts_with(action, $1)) and ($2::text is null or actor_name = $2)",
    )
    .bind(filter.action)
    .bind(filter.actor)
    .fetch_one(db)
    .await
}

/// At most `limit` entries from number `from` on, in order, for checking the chain.
pub async fn chain(db: impl PgExecutor<'_>, from: i64, limit: i64) -> sqlx::Result<Vec<AuditRow>> {
    sqlx::query_as(
        "-- audit_chain
        select id, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, detail::text as detail,
               succeeded, address, previous_hash, hash
        from audit_log where id >= $1 order by id limit $2",
    )
    .bind(from)
    .bind(limit)
    .fetch_all(db)
    .await
}

/// The end of the chain, as it is now.
pub async fn head(db: impl PgExecutor<'_>) -> sqlx::Result<(i64, Vec<u8>)> {
    sqlx::query_as("-- audit_head\n select last_id, hash from audit_head").fetch_one(db).await
}
