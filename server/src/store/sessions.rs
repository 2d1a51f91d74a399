//! Users' sessions.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use crate::auth::Role;

/// A session to be made.
#[derive(Clone, Debug)]
pub struct NewSession<'a> {
    /// Whose it is.
    pub user_id: i64,
    /// SHA-256 of the token.
    pub token_hash: &'a [u8],
    /// `cookie` or `bearer`.
    pub kind: &'a str,
    /// When it ends unless used.
    pub expires_at: DateTime<Utc>,
    /// When it ends whatever happens.
    pub ends_at: DateTime<Utc>,
    /// Where it began.
    pub address: Option<IpAddr>,
    /// What the client called itself, shortened.
    pub user_agent: Option<&'a str>,
}

/// A live session with its user, as a request needs it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct SessionUser {
    /// The session.
    pub session_id: i64,
    /// `cookie` or `bearer`.
    pub kind: String,
    /// Last time it was used (kept to the minute).
    pub last_used_at: DateTime<Utc>,
    /// When it ends whatever happens.
    pub ends_at: DateTime<Utc>,
    /// The user.
    pub user_id: i64,
    /// The user's e-mail address.
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// Sees only some networks.
    pub limited_to_networks: bool,
    /// Those networks.
    pub network_ids: Vec<i64>,
}

/// A session in its user's list.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Session {
    /// Number.
    pub id: i64,
    /// `cookie` or `bearer`.
    pub kind: String,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// Last time it was used (kept to the minute).
    pub last_used_at: DateTime<Utc>,
    /// When it ends unless used.
    pub expires_at: DateTime<Utc>,
    /// Where it began.
    pub address: Option<IpAddr>,
    /// What the client called itself.
    pub user_agent: Option<String>,
}

/// Begins a session; its number.
pub async fn insert(
    db: impl PgExecutor<'_>,
    session: &NewSession<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- insert_session
        insert into sessions (user_id, token_hash, kind, created_at, last_used_at, expires_at, ends_at, address, user_agent)
        values ($1, $2, $3, $4, $4, $5, $6, $7, $8) returning id",
    )
    .bind(session.user_id)
    .bind(session.token_hash)
    .bind(session.kind)
    .bind(now)
    .bind(session.expires_at)
    .bind(session.ends_at)
    .bind(session.address)
    .bind(session.user_agent)
    .fetch_one(db)
    .await
}

/// The live session with this token, if its user's account is open.
pub async fn find(
    db: impl PgExecutor<'_>,
    token_hash: &[u8],
    now: DateTime<Utc>,
) -> sqlx::Result<Option<SessionUser>> {
    sqlx::query_as(
        "-- find_session
        select sessions.id as session_id, kind, last_used_at, ends_at, users.id as user_id, email, role, limited_to_networks,
               array(select network_id from user_networks where user_id = users.id) as network_ids
        from sessions join users on users.id = sessions.user_id
        where token_hash = $1 and expires_at > $2 and disabled_at is null",
    )
    .bind(token_hash)
    .bind(now)
    .fetch_optional(db)
    .await
}

/// Notes that a session is in use.
pub async fn touch(
    db: impl PgExecutor<'_>,
    id: i64,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query("-- touch_session\n update sessions set last_used_at = $2, expires_at = least($3, ends_at) where id = $1")
        .bind(id)
        .bind(now)
        .bind(expires_at)
        .execute(db)
        .await?;
    Ok(())
}

/// A user's live sessions, last used first.
pub async fn list(db: impl PgExecutor<'_>, user_id: i64, now: DateTime<Utc>) -> sqlx::Result<Vec<Session>> {
    sqlx::query_as(
        "-- list_sessions
        select id, kind, created_at, last_used_at, expires_at, address, user_agent
        from sessions where user_id = $1 and expires_at > $2 order by last_used_at desc, id desc",
    )
    .bind(user_id)
    .bind(now)
    .fetch_all(db)
    .await
}

/// Ends one of a user's sessions; whether there was one.
pub async fn delete(db: impl PgExecutor<'_>, user_id: i64, id: i64) -> sqlx::Result<bool> {
    let result = sqlx::query("-- delete_session\n delete from sessions where user_id = $1 and id = $2")
        .bind(user_id)
        .bind(id)
        .execute(db)
        .await?;
    Ok(result.rows_affected() > 0)
}

/// Ends all of a user's sessions but `keep`; how many.
pub async fn delete_of_user(db: impl PgExecutor<'_>, user_id: i64, keep: Option<i64>) -> sqlx::Result<u64> {
    let result = sqlx::query(
        "-- delete_sessions_of_user
        delete from sessions where user_id = $1 and ($2::bigint is null or id <> $2)",
    )
    .bind(user_id)
    .bind(keep)
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// Removes what has expired; how many.
pub async fn delete_expired(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> sqlx::Result<u64> {
    let result = sqlx::query("-- delete_expired_sessions\n delete from sessions where expires_at <= $1")
        .bind(now)
        .execute(db)
        .await?;
    Ok(result.rows_affected())
}
