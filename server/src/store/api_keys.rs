//! Keys for automation.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use crate::auth::Role;

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey<'a> {
    /// Whose rights bound it.
    pub user_id: i64,
    /// What it is for.
    pub name: &'a str,
    /// Its first characters.
    pub prefix: &'a str,
    /// SHA-256 of the key.
    pub secret_hash: &'a [u8],
    /// Names of permissions.
    pub scopes: &'a [String],
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key in a list.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ApiKey {
    /// Number.
    pub id: i64,
    /// Whose rights bound it.
    pub user_id: i64,
    /// That user's e-mail address.
    pub user_email: String,
    /// What it is for.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// Names of permissions.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Last time it was used (kept to the minute).
    pub last_used_at: Option<DateTime<Utc>>,
    /// From where.
    pub last_used_address: Option<IpAddr>,
}

/// A live key with its owner, as a request needs it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct KeyUser {
    /// The key.
    pub key_id: i64,
    /// Its name.
    pub name: String,
    /// Names of permissions.
    pub scopes: Vec<String>,
    /// Last time it was used (kept to the minute).
    pub last_used_at: Option<DateTime<Utc>>,
    /// The owner.
    pub user_id: i64,
    /// The owner's e-mail address.
    pub email: String,
    /// What the owner may do.
    pub role: Role,
    /// The owner sees only some networks.
    pub limited_to_networks: bool,
    /// Those networks.
    pub network_ids: Vec<i64>,
}

/// Makes a key; its number.
pub async fn insert(db: impl PgExecutor<'_>, key: &NewApiKey<'_>, now: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- insert_api_key
        insert into api_keys (user_id, name, prefix, secret_hash, scopes, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7) returning id",
    )
    .bind(key.user_id)
    .bind(key.name)
    .bind(key.prefix)
    .bind(key.secret_hash)
    .bind(key.scopes)
    .bind(now)
    .bind(key.expires_at)
    .fetch_one(db)
    .await
}

/// Keys of one user, or of all; newest first.
pub async fn list(db: impl PgExecutor<'_>, user_id: Option<i64>) -> sqlx::Result<Vec<ApiKey>> {
    sqlx::query_as(
        "-- list_api_keys
        select api_keys.*, users.email as user_email from api_keys join users on users.id = api_keys.user_id
        where ($1::bigint is null or user_id = $1) order by api_keys.id desc",
    )
    .bind(user_id)
    .fetch_all(db)
    .await
}

/// One key.
pub async fn find(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<Option<ApiKey>> {
    sqlx::query_as(
        "-- find_api_key
        select api_keys.*, users.email as user_email from api_keys join users on users.id = api_keys.user_id
        where api_keys.id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await
}

/// The live key with this hash, if its owner's account is open.
pub async fn find_live(
    db: impl PgExecutor<'_>,
    secret_hash: &[u8],
    now: DateTime<Utc>,
) -> sqlx::Result<Option<KeyUser>> {
    sqlx::query_as(
        "-- find_live_api_key
        select api_keys.id as key_id, name, scopes, last_used_at, users.id as user_id, email, role, limited_to_networks,
               array(select network_id from user_networks where user_id = users.id) as network_ids
        from api_keys join users on users.id = api_keys.user_id
        where secret_hash = $1 and revoked_at is null and (expires_at is null or expires_at > $2) and disabled_at is null",
    )
    .bind(secret_hash)
    .bind(now)
    .fetch_optional(db)
    .await
}

/// Notes that a key was used.
pub async fn touch(
    db: impl PgExecutor<'_>,
    id: i64,
    now: DateTime<Utc>,
    address: Option<IpAddr>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- touch_api_key\n update api_keys set last_used_at = $2, last_used_address = $3 where id = $1",
    )
    .bind(id)
    .bind(now)
    .bind(address)
    .execute(db)
    .await?;
    Ok(())
}

/// Revokes a key; whether it was live.
pub async fn revoke(db: impl PgExecutor<'_>, id: i64, now: DateTime<Utc>) -> sqlx::Result<bool> {
    let result = sqlx::query(
        "-- revoke_api_key
        update api_keys set revoked_at = $2 where id = $1 and revoked_at is null",
    )
    .bind(id)
    .bind(now)
    .execute(db)
    .await?;
    Ok(result.rows_affected() > 0)
}
