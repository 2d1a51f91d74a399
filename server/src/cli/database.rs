//! Opens the database, private or given.

use std::{io::ErrorKind, str::FromStr, time::Duration};

use anyhow::Context;
use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    clock::Clock,
    config::Config,
    embedded_postgres::{self, EmbeddedPostgres},
    store,
};

/// How long a command waits for a server that is just starting its database.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the schema needs (`nulls not distinct`), as PostgreSQL counts versions.
const OLDEST_VERSION: i32 = 150_000;

/// A migrated database, and the time.
#[derive(Clone, Debug)]
pub struct Database {
    /// Connections to it.
    pub pool: PgPool,
    /// The time.
    pub clock: Clock,
}

impl Database {
    /// For the server: the private database is started, and is ours to stop.
    pub async fn for_server(config: &Config) -> anyhow::Result<(Self, Option<EmbeddedPostgres>)> {
        if let Some(url) = &config.database_url {
            return Ok((Self::given(url, config).await?, None));
        }
        let private = start_private(config).await?;
        let database = Self::private(private.options(), config).await?;
        Ok((database, Some(private)))
    }

    /// For a command: beside a running server its database is used; otherwise it is started for the moment.
    pub async fn for_command(config: &Config) -> anyhow::Result<(Self, Option<EmbeddedPostgres>)> {
        if config.database_url.is_none()
            && let Some(options) = embedded_postgres::running(&config.postgres_folder())?
        {
            wait_for(&options).await?;
            return Ok((Self::private(options, config).await?, None));
        }
        Self::for_server(config).await
    }

    async fn given(url: &str, config: &Config) -> anyhow::Result<Self> {
        // The URL may hold a password: it never stands in a message.
        let options = PgConnectOptions::from_str(url).context(
            "the database URL is not understood; write it as postgres://user:password@host:5432/name",
        )?;
        let place = format!("{}:{}", options.get_host(), options.get_port());
        Self::open(options, config).await.with_context(|| {
            format!("cannot use the PostgreSQL at {place}; check that it runs, and the database URL's user and name")
        })
    }

    async fn private(options: PgConnectOptions, config: &Config) -> anyhow::Result<Self> {
        store::create_database(&options).await.context("cannot make the database")?;
        Self::open(options, config).await.context("cannot open the private database")
    }

    async fn open(options: PgConnectOptions, config: &Config) -> anyhow::Result<Self> {
        // A transaction that its task forgot must not hold locks for ever.
        let options = options
            .application_name("portreeve-server")
            .options([("idle_in_transaction_session_timeout", "120s")]);
        let pool = PgPoolOptions::new()
            .max_connections(config.database_connections)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await?;
        let version = store::server_version(&pool).await?;
        anyhow::ensure!(
            version >= OLDEST_VERSION,
            "it is PostgreSQL {}, and 15 or newer is needed",
            version / 10_000
        );
        store::migrate(&pool).await.context("cannot bring the schema up to date")?;
        Ok(Self { pool, clock: Clock::system() })
    }
}

async fn start_private(config: &Config) -> anyhow::Result<EmbeddedPostgres> {
    let settings = embedded_postgres::Settings {
        folder: config.postgres_folder(),
        programs: config.postgres_programs.clone(),
        connections: config.database_connections,
    };
    Ok(tokio::task::spawn_blocking(move || EmbeddedPostgres::start(&settings)).await??)
}

/// Until the database that another process has just started takes connections.
async fn wait_for(options: &PgConnectOptions) -> anyhow::Result<()> {
    let attempt = async {
        loop {
            match PgConnection::connect_with(&options.clone().database("postgres")).await {
                Ok(connection) => return connection.close().await,
                // A database that answers, and refuses, will not change its mind.
                Err(error @ sqlx::Error::Database(_)) if !is_starting(&error) => return Err(error),
                Err(sqlx::Error::Io(error)) if error.kind() == ErrorKind::PermissionDenied => {
                    return Err(error.into());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let connected = tokio::time::timeout(PATIENCE, attempt).await;
    connected.context("the running server's database does not answer")?.context(
        "the running server's database refuses us; run this command as the user that runs the server, or as root",
    )
}

/// 57P03: the database system is starting up.
fn is_starting(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "57P03")
}
