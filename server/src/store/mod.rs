//! All SQL, one file per aggregate.
//!
//! # How to add an aggregate
//!
//! 1. A file named after it, with a `#[derive(sqlx::FromRow)]` struct of the row as it is read (names as in the
//!    schema) and a function per question. No other part of the crate contains SQL.
//! 2. A function takes `db: impl PgExecutor<'_>` (a pool or a transaction's connection) for one statement, and
//!    `&mut PgConnection` for several; the caller owns the transaction. It returns [`sqlx::Result`]; "not there" is
//!    `Ok(None)`, never an error. Times come in as arguments.
//! 3. SQL is lower case, and its first line is a comment with the function's name (`-- list_networks`), so that it can
//!    be found in `pg_stat_activity` and in slow-query logs. Text is a literal: `sqlx::query` takes no other.
//!    Optional filters are `($1::bigint is null or network_id = $1)`; who may see what is
//!    `($2::bigint[] is null or network_id = any($2))` with [`crate::auth::Caller::visible_networks`].
//! 4. A write that must hit one row ends in [`one_row`].
//! 5. A broken rule that is the user's mistake is told apart by its constraint's name:
//!    `.on_constraint("networks_name_key", || Problem::bad_request("…"))` ([`crate::api::OnConstraint`]).
//! 6. Tests stand below, against the real PostgreSQL: `let app = TestApp::new().await;` and `app.pool()`.

pub mod agents;
pub mod agents_auth;
pub mod alert_evaluation;
pub mod alerts;
pub mod api_keys;
pub mod audit;
pub mod changes;
pub mod dashboard;
pub mod enrollment;
pub mod global_ports;
pub mod hosts;
pub mod ingest;
pub mod jobs;
pub mod live;
pub mod networks;
pub mod observations;
pub mod ports;
pub mod retention;
pub mod rules;
pub mod scan_lifecycle;
pub mod scanner_contract;
pub mod scans;
pub mod schedules;
pub mod sessions;
pub mod settings;
pub mod setup;
pub mod ssh;
pub mod standing;
pub mod throttle;
pub mod trends;
pub mod users;

use sqlx::{
    Connection, Executor, PgConnection, PgExecutor, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgQueryResult},
};

/// The networks a caller may see, as [`crate::auth::Caller::visible_networks`] tells; `None` means all.
pub type Scope<'a> = Option<&'a [i64]>;

/// The schema, version by version.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Brings the schema up to this server's version.
pub async fn migrate(pool: &PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    MIGRATIONS.run(pool).await
}

/// Makes the private cluster's database if it is not there.
pub async fn create_database(options: &PgConnectOptions) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect_with(&options.clone().database("postgres")).await?;
    let exists: bool = sqlx::query_scalar(
        "-- database_exists
        select exists (select from pg_database where datname = 'portreeve')",
    )
    .fetch_one(&mut connection)
    .await?;
    if !exists {
        connection.execute("create database portreeve").await?;
    }
    connection.close().await
}

/// PostgreSQL's version, as 150018 for 15.18.
pub async fn server_version(db: impl PgExecutor<'_>) -> sqlx::Result<i32> {
    sqlx::query_scalar("-- server_version\n select current_setting('server_version_num')::integer")
        .fetch_one(db)
        .await
}

/// Turns "no row changed" into [`sqlx::Error::RowNotFound`], and more than one into a protocol error: for writes by id.
pub fn one_row(result: &PgQueryResult) -> sqlx::Result<()> {
    match result.rows_affected() {
        1 => Ok(()),
        0 => Err(sqlx::Error::RowNotFound),
        rows => Err(sqlx::Error::Protocol(format!("a write by id changed {rows} rows"))),
    }
}

/// `text` as a pattern for `like … escape '\'` that finds it anywhere, its own wildcards disarmed.
pub fn contains_pattern(text: &str) -> String {
    let escaped = text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
    format!("%{escaped}%")
}
