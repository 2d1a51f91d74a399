//! `portreeve-server`: see `portreeve-server --help`.

use std::process::ExitCode;

use clap::Parser;
use portreeve_server::cli::CommandLine;

fn main() -> ExitCode {
    match CommandLine::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
