//! The command line.
//!
//! Every command but `serve` works beside a running server (through the socket of its private database) and without one
//! (the database is started for the moment).

mod database;
mod doctor;
mod password;
mod serve;
mod tokens;
mod user;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::{api, config::Config};

pub use database::Database;

/// Finds open ports on your networks, remembers, compares, and tells whoever must know.
#[derive(Debug, Parser)]
#[command(name = "portreeve-server", version, max_term_width = 100)]
pub struct CommandLine {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

/// Settings that any command takes. They win over the file.
#[derive(Debug, Args)]
struct Settings {
    /// File with settings (TOML; the names are those of the options, with _ for -).
    #[arg(long, global = true, env = "PORTREEVE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that must survive a restart, the private database foremost.
    #[arg(long, global = true, env = "PORTREEVE_STATE", value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// PostgreSQL (15 or newer) to use instead of the private one, as postgres://user@host/name.
    #[arg(long, global = true, env = "PORTREEVE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make keys for automation.
    ApiKey {
        #[command(subcommand)]
        command: tokens::ApiKeyCommand,
    },
    /// Check this machine and the installation, with ways out of what is wrong.
    Doctor,
    /// Make one-time tokens that turn a new agent into a known one.
    EnrollmentToken {
        #[command(subcommand)]
        command: tokens::EnrollmentCommand,
    },
    /// Bring the database's schema up to this version, and stop.
    Migrate,
    /// Print the document that describes the REST API (OpenAPI 3.1).
    Openapi,
    /// Run the server.
    Serve(ServeOptions),
    /// Make, list and repair accounts.
    User {
        #[command(subcommand)]
        command: user::UserCommand,
    },
}

/// Settings of `serve` alone.
#[derive(Debug, Args)]
struct ServeOptions {
    /// Address and port to listen on (plain HTTP; put a proxy with TLS before anything but loopback).
    #[arg(long, env = "PORTREEVE_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Address that users type, as `https://ports.example.org`.
    #[arg(long, env = "PORTREEVE_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
}

impl CommandLine {
    /// Does what was asked.
    pub fn run(self) -> anyhow::Result<()> {
        let mut config = self.settings.into_config()?;
        match self.command {
            Command::Openapi => print_openapi(),
            Command::Serve(options) => {
                config.listen = options.listen.unwrap_or(config.listen);
                config.public_url = options.public_url.or(config.public_url);
                serve::run(config.check()?)
            }
            Command::ApiKey { command } => {
                on_database(&config, async |database| command.run(&database).await)
            }
            Command::Doctor => doctor::run(&config),
            Command::EnrollmentToken { command } => {
                on_database(&config, async |database| command.run(&database).await)
            }
            Command::Migrate => on_database(&config, async |_migrated_by_opening| {
                println!("The schema is up to date.");
                Ok(())
            }),
            Command::User { command } => on_database(&config, async |database| command.run(&database).await),
        }
    }
}

impl Settings {
    fn into_config(self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        config.state = self.state.unwrap_or(config.state);
        config.database_url = self.database_url.or(config.database_url);
        Ok(config.check()?)
    }
}

/// Opens the database for one command, and closes it whatever comes of it.
fn on_database(
    config: &Config,
    work: impl AsyncFnOnce(Database) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let (database, private) = Database::for_command(config).await?;
        let pool = database.pool.clone();
        let result = work(database).await;
        pool.close().await;
        if let Some(private) = private {
            tokio::task::spawn_blocking(|| private.stop()).await??;
        }
        result
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

fn print_openapi() -> anyhow::Result<()> {
    println!("{}", api::openapi::document().to_pretty_json()?);
    Ok(())
}
