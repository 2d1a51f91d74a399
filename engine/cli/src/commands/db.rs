//! `db`: for those who write entries of the probe database.

use std::{
    fs,
    path::{Path, PathBuf},
};

use portreeve_probes::Database;

use super::database;
use crate::{
    args::DbAction,
    exit::{Exit, Failure},
};

/// `portreeve db`.
pub(crate) fn db(action: &DbAction) -> Result<(), Failure> {
    match action {
        DbAction::Test { folder } => test(folder.as_deref()),
        DbAction::Fmt { files, check } => format_files(files, *check),
        DbAction::Stats { folder } => stats(folder.as_deref()),
    }
}

fn test(folder: Option<&Path>) -> Result<(), Failure> {
    let database = database(folder)?;
    let findings = database.check();
    for finding in &findings {
        println!("{finding}");
    }
    let stats = database.stats();
    if !findings.is_empty() {
        return Err(Failure::new(Exit::Failure, format!("{} findings", findings.len())));
    }
    println!("{} entries agree with their {} examples", stats.entries, stats.examples);
    Ok(())
}

fn stats(folder: Option<&Path>) -> Result<(), Failure> {
    let stats = database(folder)?.stats();
    println!("families {}", stats.families);
    println!("services {}", stats.services);
    println!("products {}", stats.products);
    println!("probes   {}", stats.probes);
    println!("entries  {}", stats.entries);
    println!("examples {}", stats.examples);
    Ok(())
}

fn format_files(files: &[PathBuf], check: bool) -> Result<(), Failure> {
    let mut changed = 0_usize;
    for path in files {
        let failed = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let formatted = Database::fmt(&name, &text).map_err(|error| failed(&error))?;
        if formatted == text {
            continue;
        }
        changed += 1;
        println!("{}", path.display());
        if !check {
            fs::write(path, formatted).map_err(|error| failed(&error))?;
        }
    }
    if check && changed > 0 {
        return Err(Failure::new(
            Exit::Failure,
            format!("{changed} files are not in their form; run it without --check"),
        ));
    }
    Ok(())
}
