//! Users, and the networks that limited users may see.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::one_row;
use crate::auth::Role;

/// A user as stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct User {
    /// Number.
    pub id: i64,
    /// E-mail address, which is also the log-in name.
    pub email: String,
    /// argon2id, in PHC form.
    pub password_hash: String,
    /// What the user may do.
    pub role: Role,
    /// `light`, `dark` or `system`.
    pub theme_preference: String,
    /// Sees only some networks.
    pub limited_to_networks: bool,
    /// Since when the account is closed.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Last time the password was given.
    pub last_login_at: Option<DateTime<Utc>>,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// The networks a limited user may see.
    pub network_ids: Vec<i64>,
}

/// A user to be made.
#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    /// E-mail address.
    pub email: &'a str,
    /// argon2id, in PHC form.
    pub password_hash: &'a str,
    /// What the user may do.
    pub role: Role,
}

/// What to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChange<'a> {
    /// E-mail address.
    pub email: Option<&'a str>,
    /// argon2id, in PHC form.
    pub password_hash: Option<&'a str>,
    /// What the user may do.
    pub role: Option<Role>,
    /// Closes (true) or opens (false) the account.
    pub disabled: Option<bool>,
    /// `light`, `dark` or `system`.
    pub theme_preference: Option<&'a str>,
}

/// All users, newest first.
pub async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<User>> {
    sqlx::query_as(
        "-- list_users
        select users.*, array(select network_id from user_networks where user_id = users.id order by network_id) as network_ids
        from users order by created_at desc, id desc",
    )
    .fetch_all(db)
    .await
}

/// One user.
pub async fn find(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<Option<User>> {
    sqlx::query_as(
        "-- find_user
        select users.*, array(select network_id from user_networks where user_id = users.id order by network_id) as network_ids
        from users where id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await
}

/// The user with this e-mail address, however it is spelt.
pub async fn find_by_email(db: impl PgExecutor<'_>, email: &str) -> sqlx::Result<Option<User>> {
    sqlx::query_as(
        "-- find_user_by_email
        select users.*, array(select network_id from user_networks where user_id = users.id order by network_id) as network_ids
        from users where lower(email) = lower($1)",
    )
    .bind(email)
    .fetch_optional(db)
    .await
}

/// Whether anybody can log in yet.
pub async fn any(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar("-- any_user\n select exists (select from users)").fetch_one(db).await
}

/// Makes a user; its number. Fails on `users_email_key` when the address is taken.
pub async fn insert(db: impl PgExecutor<'_>, user: &NewUser<'_>, now: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "-- insert_user
        insert into users (email, password_hash, role, created_at, updated_at) values ($1, $2, $3, $4, $4) returning id",
    )
    .bind(user.email)
    .bind(user.password_hash)
    .bind(user.role)
    .bind(now)
    .fetch_one(db)
    .await
}

/// Changes a user. Fails on `users_email_key` when the address is taken.
pub async fn update(
    db: impl PgExecutor<'_>,
    id: i64,
    change: &UserChange<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let result = sqlx::query(
        "-- update_user
        update users set
            email = coalesce($2, email),
            password_hash = coalesce($3, password_hash),
            role = coalesce($4, role),
            disabled_at = case $5 when true then coalesce(disabled_at, $7) when false then null else disabled_at end,
            theme_preference = coalesce($6, theme_preference),
            updated_at = $7
        where id = $1",
    )
    .bind(id)
    .bind(change.email)
    .bind(change.password_hash)
    .bind(change.role)
    .bind(change.disabled)
    .bind(change.theme_preference)
    .bind(now)
    .execute(db)
    .await?;
    one_row(&result)
}

/// Limits a user to some networks, or (`None`) to none in particular. Unknown networks fail on a foreign key.
pub async fn limit_to_networks(db: &mut PgConnection, id: i64, networks: Option<&[i64]>) -> sqlx::Result<()> {
    sqlx::query("-- clear_user_networks\n delete from user_networks where user_id = $1")
        .bind(id)
        .execute(&mut *db)
        .await?;
    sqlx::query("-- limit_user\n update users set limited_to_networks = $2 where id = $1")
        .bind(id)
        .bind(networks.is_some())
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "-- insert_user_networks
        insert into user_networks (user_id, network_id) select $1, unnest($2::bigint[]) on conflict do nothing",
    )
    .bind(id)
    .bind(networks.unwrap_or_default())
    .execute(db)
    .await?;
    Ok(())
}

/// Notes a log-in, with a better hash of the same password where there is one.
pub async fn logged_in(
    db: impl PgExecutor<'_>,
    id: i64,
    better_hash: Option<&str>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let result = sqlx::query(
        "-- user_logged_in
        update users set last_login_at = $2, password_hash = coalesce($3, password_hash) where id = $1",
    )
    .bind(id)
    .bind(now)
    .bind(better_hash)
    .execute(db)
    .await?;
    one_row(&result)
}

/// Removes a user; what the user wrote stays under the name it was written under.
pub async fn delete(db: impl PgExecutor<'_>, id: i64) -> sqlx::Result<()> {
    let result = sqlx::query("-- delete_user\n delete from users where id = $1").bind(id).execute(db).await?;
    one_row(&result)
}

/// How many open admin accounts there are besides `id`. Locks them, so that two admins cannot remove each other at
/// the same moment.
pub async fn other_admins(db: &mut PgConnection, id: i64) -> sqlx::Result<usize> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "-- other_admins
        select id from users where role = 'admin' and disabled_at is null order by id for update",
    )
    .fetch_all(db)
    .await?;
    Ok(ids.into_iter().filter(|other| *other != id).count())
}
