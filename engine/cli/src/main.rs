//! The command `portreeve`: stand-alone scanner, identifier, and agent of a server.

#![forbid(unsafe_code)]

#[macro_use]
mod stderr;

mod args;
mod argv;
mod checkpoint;
mod clock;
mod commands;
mod environment;
mod exit;
mod journal;
mod offline;
mod output;
mod rights;
mod settings;
mod status;
mod stop_file;
mod targets;
mod top_ports;
mod values;

use std::{
    env,
    io::{self, IsTerminal},
    process::{self, ExitCode},
};

use clap::{CommandFactory, FromArgMatches, error::ErrorKind};
use tracing_subscriber::EnvFilter;

use crate::{
    args::{Cli, Command},
    commands::UserDatabase,
    exit::{Exit, Failure},
    settings::Settings,
    stop_file::StopFile,
};

fn main() -> ExitCode {
    let cli = read_command_line();
    start_log(&cli);
    match dispatch(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say!("portreeve: {failure}");
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// The options, or else an explanation on stderr and the end.
fn read_command_line() -> Cli {
    let typed: Vec<_> = env::args_os().collect();
    let words = argv::translate(typed.clone());
    let matches = environment::heeding(Cli::command(), &words).try_get_matches_from(&words);
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).unwrap_or_else(|error| {
        match argv::advice(&typed).filter(|_| error.kind() == ErrorKind::UnknownArgument) {
            Some(advice) => {
                say!("portreeve: {advice}");
                process::exit(Exit::Usage as i32)
            }
            None => error.exit(),
        }
    })
}

fn dispatch(cli: &Cli) -> Result<(), Failure> {
    let mut usual: Vec<_> = Settings::of_user().into_iter().collect();
    if matches!(cli.command, Command::Agent(_)) {
        usual.insert(0, Settings::of_agent());
    }
    let settings = Settings::read(cli.config.as_deref(), &usual)?;
    let user = UserDatabase::choose(cli.user_database.as_ref(), settings.user_database.as_ref());
    let stop_file = StopFile::choose(cli.stop_file.as_ref(), settings.stop_file.as_ref());
    match &cli.command {
        Command::Agent(arguments) => commands::agent::agent(arguments, &settings.agent, &user, &stop_file),
        Command::Completions { shell } => commands::manual::completions(*shell),
        Command::Db { action } => commands::db::db(action, cli.verbose > 0, &user),
        Command::Discover(arguments) => {
            commands::scan::discover(arguments, &settings.scan, &user, &stop_file)
        }
        Command::Identify(arguments) => commands::identify::identify(arguments, &user, &stop_file),
        Command::Job(arguments) => commands::job::job(arguments),
        Command::Manual { folder } => commands::manual::manual(folder.as_deref()),
        Command::Scan(arguments) => commands::scan::scan(arguments, &settings.scan, &user, &stop_file),
        Command::Measure(arguments) => commands::tune::measure(arguments),
        Command::Tune(arguments) => commands::tune::tune(arguments, &settings.scan, &stop_file),
        Command::Selftest(arguments) => commands::selftest::selftest(arguments),
    }
}

/// Logs go to stderr. An agent tells what it does; the other commands only what is wrong, unless asked.
fn start_log(cli: &Cli) {
    let quiet = if matches!(cli.command, Command::Agent(_)) { "info" } else { "warn" };
    let level = match cli.verbose {
        0 => quiet,
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("PORTREEVE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // It would panic where the log cannot be written.
        .log_internal_errors(false)
        .init();
}
