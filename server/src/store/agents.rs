//! Agents: what users see of them, how they enrol, when they were last heard of.

use chrono::{DateTime, Utc};
use portreeve_model::protocol::Hello;
use sqlx::{PgConnection, PgExecutor, types::Json};

/// An agent, without its secret.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Agent {
    /// Number.
    pub id: i64,
    /// Name.
    pub name: String,
    /// What people say of it.
    pub description: Option<String>,
    /// `opm` or `portreeve`.
    pub kind: String,
    /// First characters of its credential.
    pub credential_prefix: String,
    /// When it last called.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// Its version.
    pub version: Option<String>,
    /// Its host's name.
    pub hostname: Option<String>,
    /// What it last said of itself.
    pub hello: Option<Json<Hello>>,
    /// Its host's own ceiling.
    pub max_rate_pps: Option<i32>,
    /// Its credential is no longer valid.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was made known.
    pub created_at: DateTime<Utc>,
    /// Networks assigned to it.
    pub network_count: i64,
}

/// All agents, newest first.
pub async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Agent>> {
    sqlx::query_as(
        "-- list_agents
        select a.id, a.name, a.description, a.kind, a.credential_prefix, a.last_seen_at, a.version, a.hostname, a.hello,
               a.max_rate_pps, a.revoked_at, a.created_at,
               (select count(*) from networks n where n.agent_id = a.id) as network_count
        from agents a order by a.created_at desc, a.id desc",
    )
    .fetch_all(db)
    .await
}

/// One agent.
pub async fn find(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<Option<Agent>> {
    sqlx::query_as(
        "-- find_agent
        select a.id, a.name, a.description, a.kind, a.credential_prefix, a.last_seen_at, a.version, a.hostname, a.hello,
               a.max_rate_pps, a.revoked_at, a.created_at,
               (select count(*) from networks n where n.agent_id = a.id) as network_count
        from agents a where a.id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await
}

/// An agent to be made known.
#[derive(Clone, Debug)]
pub struct NewAgent<'a> {
    /// Name; made unique by the caller or refused by `agents_name_key`.
    pub name: &'a str,
    /// What people say of it.
    pub description: Option<&'a str>,
    /// `opm` or `portreeve`.
    pub kind: &'a str,
    /// Hash of its credential.
    pub credential_hash: &'a [u8],
    /// First characters of its credential.
    pub credential_prefix: &'a str,
    /// The user who made it.
    pub created_by: Option<i64>,
}

/// Makes an agent known and returns its number.
pub async fn insert(db: impl PgExecutor<'_>, agent: &NewAgent<'_>, now: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- insert_agent
        insert into agents (name, description, kind, credential_hash, credential_prefix, created_by, created_at)
        values ($1, $2, $3, $4, $5, $6, $7) returning id",
    )
    .bind(agent.name)
    .bind(agent.description)
    .bind(agent.kind)
    .bind(agent.credential_hash)
    .bind(agent.credential_prefix)
    .bind(agent.created_by)
    .bind(now)
    .fetch_one(db)
    .await
}

/// Changes name and description; `None` leaves them.
pub async fn update(
    db: impl PgExecutor<'_>,
    id: i64,
    name: Option<&str>,
    description: Option<&str>,
) -> sqlx::Result<()> {
    let result = sqlx::query(
        "-- update_agent
        update agents set name = coalesce($2, name), description = coalesce($3, description) where id = $1",
    )
    .bind(id)
    .bind(name)
    .bind(description)
    .execute(db)
    .await?;
    super::one_row(&result)
}

/// Gives an agent a new credential; the old one and all access tokens end now.
pub async fn replace_credential(
    db: &mut PgConnection,
    id: i64,
    hash: &[u8],
    prefix: &str,
) -> sqlx::Result<()> {
    let result = sqlx::query(
        "-- replace_agent_credential
        update agents set credential_hash = $2, credential_prefix = $3, revoked_at = null where id = $1",
    )
    .bind(id)
    .bind(hash)
    .bind(prefix)
    .execute(&mut *db)
    .await?;
    super::one_row(&result)?;
    sqlx::query(
        "-- end_agent_tokens
        delete from agent_tokens where agent_id = $1",
    )
    .bind(id)
    .execute(db)
    .await?;
    Ok(())
}

/// Removes an agent. Its networks stay, without an agent.
pub async fn delete(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<bool> {
    let result = sqlx::query(
        "-- delete_agent
        delete from agents where id = $1",
    )
    .bind(id)
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// The OPM agent with this API key.
pub async fn find_opm(db: impl PgExecutor<'_>, key_hash: &[u8]) -> sqlx::Result<Option<(i64, String)>> {
    sqlx::query_as(
        "-- find_opm_agent
        select id, name from agents where kind = 'opm' and credential_hash = $1 and revoked_at is null",
    )
    .bind(key_hash)
    .fetch_optional(db)
    .await
}

/// Gives an OPM agent an access token, and forgets expired ones.
pub async fn insert_token(
    db: &mut PgConnection,
    agent_id: i64,
    hash: &[u8],
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- forget_expired_agent_tokens
        delete from agent_tokens where expires_at < $1",
    )
    .bind(now)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "-- insert_agent_token
        insert into agent_tokens (token_hash, agent_id, expires_at) values ($1, $2, $3)",
    )
    .bind(hash)
    .bind(agent_id)
    .bind(expires_at)
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that an agent called, and the version it told. True if it had been reported as away.
pub async fn touch(
    db: impl PgExecutor<'_>,
    id: i64,
    version: Option<&str>,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let was_away: Option<bool> = sqlx::query_scalar(
        "-- touch_agent
        with before as (select id, reported_offline from agents where id = $1 for update)
        update agents a set last_seen_at = $3, version = coalesce($2, a.version), reported_offline = false
        from before b where a.id = b.id returning b.reported_offline",
    )
    .bind(id)
    .bind(version)
    .bind(now)
    .fetch_optional(db)
    .await?;
    Ok(was_away.unwrap_or_default())
}

/// Notes what an agent says of itself.
pub async fn note_hello(db: impl PgExecutor<'_>, id: i64, hello: &Hello) -> sqlx::Result<()> {
    let result = sqlx::query(
        "-- note_hello
        update agents set hostname = $2, hello = $3, max_rate_pps = $4 where id = $1",
    )
    .bind(id)
    .bind(hello.hostname.as_str())
    .bind(Json(hello))
    .bind(hello.max_rate_pps.and_then(|rate| i32::try_from(rate).ok()).filter(|rate| *rate > 0))
    .execute(db)
    .await?;
    super::one_row(&result)
}

/// Which of these names are taken.
pub async fn taken_names(db: impl PgExecutor<'_>, names: &[String]) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "-- taken_agent_names
        select lower(name) from agents where lower(name) = any($1)",
    )
    .bind(names.iter().map(|name| name.to_lowercase()).collect::<Vec<_>>())
    .fetch_all(db)
    .await
}

/// Makes the network "This machine" for an agent if there is no network at all. Returns its number.
pub async fn insert_local_network(db: impl PgExecutor<'_>, agent_id: i64) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "-- insert_local_network
        insert into networks (name, cidr, port_spec, agent_id)
        select 'This machine', '127.0.0.1/32', '1-65535', $1 where not exists (select from networks)
        on conflict do nothing
        returning id",
    )
    .bind(agent_id)
    .fetch_optional(db)
    .await
}
