//! `doctor`: what is wrong here, and the way out.

use std::{fs, net::TcpListener};

use anyhow::bail;

use crate::{
    audit::{self, ChainState},
    cli::{Database, runtime},
    config::Config,
    disk,
    embedded_postgres::{self, Account, Programs},
    store,
};

/// Runs every check, prints a line for each, and fails if one did.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let mut report = Report::default();
    check_account(&mut report);
    check_programs(config, &mut report);
    check_state_folder(config, &mut report);
    check_port(config, &mut report);
    runtime()?.block_on(check_database(config, &mut report));
    if report.failures > 0 {
        bail!("{} of {} checks failed", report.failures, report.failures + report.successes);
    }
    Ok(())
}

#[derive(Default)]
struct Report {
    successes: usize,
    failures: usize,
}

impl Report {
    fn good(&mut self, what: &str, detail: impl std::fmt::Display) {
        self.successes += 1;
        println!("ok      {what}: {detail}");
    }

    fn bad(&mut self, what: &str, way_out: impl std::fmt::Display) {
        self.failures += 1;
        println!("FAILED  {what}: {way_out}");
    }
}

fn check_account(report: &mut Report) {
    match Account::find() {
        Ok(account) => report.good("account of the private database", account.name()),
        Err(error) => report.bad("account of the private database", error),
    }
}

fn check_programs(config: &Config, report: &mut Report) {
    if config.database_url.is_some() {
        return report.good("PostgreSQL's programs", "not needed, a database is given");
    }
    let data = config.postgres_folder().join("data");
    match Programs::find(config.postgres_programs.as_deref(), &data) {
        Ok(programs) => report.good("PostgreSQL's programs", programs.program("postgres").display()),
        Err(error) => report.bad("PostgreSQL's programs", error),
    }
}

fn check_state_folder(config: &Config, report: &mut Report) {
    let folder = config.state.display();
    match fs::create_dir_all(&config.state) {
        Ok(()) => {
            report.good("state folder", folder);
            check_room(config, report);
        }
        Err(error) => {
            report.bad("state folder", format!("cannot make {folder}: {error}; choose another with --state"));
        }
    }
}

fn check_room(config: &Config, report: &mut Report) {
    match disk::free_bytes(&config.state) {
        Ok(free) if free >= disk::SCARCE => report.good("room on its disk", disk::readable(free)),
        Ok(free) => report.bad(
            "room on its disk",
            format!(
                "only {} left; free space, or move the state folder and name it with --state",
                disk::readable(free)
            ),
        ),
        Err(error) => report.bad("room on its disk", error),
    }
}

fn check_port(config: &Config, report: &mut Report) {
    let is_running = matches!(embedded_postgres::running(&config.postgres_folder()), Ok(Some(_)));
    match TcpListener::bind(config.listen) {
        Ok(_) => report.good("address to listen on", config.listen),
        Err(_) if is_running => {
            report.good("address to listen on", format!("{} (a server is running)", config.listen));
        }
        Err(error) => report.bad(
            "address to listen on",
            format!("{}: {error}; choose another with serve --listen", config.listen),
        ),
    }
}

async fn check_database(config: &Config, report: &mut Report) {
    let (database, private) = match Database::for_command(config).await {
        Ok(opened) => opened,
        Err(error) => return report.bad("database", format!("{error:#}")),
    };
    match store::server_version(&database.pool).await {
        Ok(version) => {
            report.good("database", format!("PostgreSQL {}.{}", version / 10_000, version % 10_000));
        }
        Err(error) => report.bad("database", error),
    }
    match audit::verify(&database.pool).await {
        Ok(ChainState::Intact(entries)) => report.good("audit log", format!("{entries} entries, the chain is whole")),
        Ok(ChainState::BrokenAt(id)) => report.bad(
            "audit log",
            format!("the chain is broken at entry {id}: someone changed the database by hand; compare with a backup"),
        ),
        Err(error) => report.bad("audit log", error),
    }
    match store::users::any(&database.pool).await {
        Ok(true) => report.good("accounts", "there are some"),
        Ok(false) => report.bad(
            "accounts",
            "there are none; open the set-up link that `serve` prints, or run `user create … --role admin`",
        ),
        Err(error) => report.bad("accounts", error),
    }
    database.pool.close().await;
    if let Some(private) = private
        && let Err(error) = private.stop()
    {
        report.bad("stopping the database", error);
    }
}
