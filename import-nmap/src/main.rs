//! The command `portreeve-import-nmap`.

#![forbid(unsafe_code)]

mod write;

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use portreeve_import_nmap::{MAX_FILE, convert, read};

use crate::write::{WriteError, write};

/// Turn a file in the format of nmap's service probes into a user database
///
/// Reads the file that is named and nothing else, and downloads nothing. nmap's own file is under the Nmap Public Source
/// License, whose authors regard programs that read it as derivative works: whether to use it here is your decision.
/// What is written is marked as not redistributable; do not hand it on.
#[derive(Debug, Parser)]
#[command(
    name = "portreeve-import-nmap",
    version,
    after_help = "Exit codes: 0 converted, 1 not written, 2 wrong command line or file."
)]
struct Cli {
    /// The file to read
    file: PathBuf,
    /// Where to write, as /etc/portreeve/db.d/nmap.toml; without it nothing is written
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the output file if it exists
    #[arg(long, requires = "output")]
    force: bool,
    /// Ask every port the probes of at most this rarity; others are asked on their own ports alone
    #[arg(long, value_name = "0-9", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=9))]
    intensity: u8,
    /// Report as one JSON document
    #[arg(long)]
    json: bool,
    /// List all that is left out
    #[arg(long)]
    all: bool,
}

/// A sentence for the user, and the exit code.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("portreeve-import-nmap: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let bytes = bytes_of(&cli.file)
        .map_err(|error| Failure::new(2, format!("cannot read {}: {error}", cli.file.display())))?;
    let file = read(&bytes).map_err(|error| Failure::new(2, format!("{}:{error}", cli.file.display())))?;
    let (family, report) = convert(&file, cli.intensity);
    if let Some(output) = &cli.output {
        let text = format!(
            "# Converted from a file in nmap's format. Data of nmap is under the NPSL: do not hand this file on.\n{}",
            family.to_toml()
        );
        if text.len() > MAX_FILE {
            return Err(Failure::new(
                1,
                format!("what comes out is longer than {MAX_FILE} bytes; split the file"),
            ));
        }
        write(output, &text, cli.force).map_err(|error| {
            let code = if matches!(error, WriteError::Name(_) | WriteError::Exists(_)) { 2 } else { 1 };
            Failure::new(code, error.to_string())
        })?;
    }
    let told = if cli.json {
        serde_json::to_string_pretty(&report).map_err(|error| Failure::new(1, error.to_string()))?
    } else {
        told(cli.output.as_deref(), &report.text(cli.all))
    };
    match writeln!(io::stdout(), "{told}") {
        // Whoever read it has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(1, error.to_string())),
        _ => Ok(()),
    }
}

fn told(output: Option<&Path>, report: &str) -> String {
    match output {
        Some(path) => format!(
            "{report}written       {}\n\nIf this is data of nmap, it is under the NPSL: the file is marked as not \
             redistributable.",
            path.display()
        ),
        None => format!("{report}nothing is written without --output"),
    }
}

/// The whole file, or the reason why not; never more than can be used.
fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
