//! What identification makes of real services and of hosts that mean harm, and how fast it is.
//!
//!     cargo bench -p portreeve-benches --bench identify -- lab [--truth FILE] [--nmap] [--json FILE] [--rows]
//!     cargo bench -p portreeve-benches --bench identify -- rate [--ports 2000] [--silent PERCENT] [--json FILE]
//!     cargo bench -p portreeve-benches --bench identify -- zoo [--hosts 1000] [--json FILE]
//!
//! `lab` asks every endpoint of a table of known services, ours first and then, with `--nmap`, `nmap -sV` over the same
//! endpoints in the same run, and prints a row for each: truth, ours, nmap's, time and connections. The table is
//! tab-separated with a head: `name address proto port service product version leak tls cpe`; `|` separates accepted
//! names. Run it where the services can be reached: `ip netns exec NAME cargo bench …`.
//!
//! `rate` identifies thousands of small servers on loopback, and prints how many a second.
//!
//! `zoo` talks to that many hostile hosts at once and prints the longest time, the most memory and the most connections.

mod lab;
mod rate;
mod zoo;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// What cargo passes to every benchmark.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// Known services
    Lab {
        /// Table of endpoints and what is there
        #[arg(long, env = "PORTREEVE_TRUTH")]
        truth: Option<PathBuf>,
        /// Ask nmap too, if it is installed
        #[arg(long)]
        nmap: bool,
        /// Print every row, not only those that are wrong
        #[arg(long)]
        rows: bool,
        /// Write all of it there
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Thousands of small servers on loopback
    Rate {
        /// How many
        #[arg(long, default_value_t = 2000)]
        ports: usize,
        /// How many in a hundred of them say nothing
        #[arg(long, default_value_t = 0)]
        silent: usize,
        /// How often
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Write the figures there
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Hostile hosts
    Zoo {
        /// How many at once
        #[arg(long, default_value_t = 1000)]
        hosts: usize,
        /// Write the figures there
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// The hostile hosts themselves, in a process of their own until its input ends
    #[command(hide = true)]
    Keep { hosts: usize },
}

fn main() {
    let done = match Arguments::parse().what {
        Some(What::Lab { truth: Some(truth), nmap, rows, json }) => {
            lab::run(&truth, nmap, rows, json.as_deref())
        }
        Some(What::Lab { truth: None, .. }) => {
            println!("identify: no table of known services; name one with --truth or PORTREEVE_TRUTH");
            Ok(())
        }
        Some(What::Rate { ports, silent, rounds, json }) => rate::run(ports, silent, rounds, json.as_deref()),
        Some(What::Zoo { hosts, json }) => zoo::run(hosts, json.as_deref()),
        Some(What::Keep { hosts }) => zoo::keep(hosts),
        None => {
            println!("identify: give lab, rate or zoo; see benches/benches/identify/main.rs");
            Ok(())
        }
    };
    if let Err(error) = done {
        eprintln!("identify: {error}");
        std::process::exit(1);
    }
}

/// Writes figures for programs.
fn write(
    json: Option<&std::path::Path>,
    value: &serde_json::Value,
) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_string_pretty(value)?)?;
    }
    Ok(())
}
