//! `db`: for those who write entries of the probe database, or bring them from elsewhere.

mod import;
mod retro;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use portreeve_model::SafeText;
use portreeve_probes::{Database, DatabaseError};

use super::{UserDatabase, database};
use crate::{
    args::{DbAction, ImportFrom},
    exit::{Exit, Failure},
};

/// `portreeve db`.
pub(crate) fn db(action: &DbAction, verbose: bool, user: &UserDatabase) -> Result<(), Failure> {
    match action {
        DbAction::Test { path, alone } => test(path.as_deref(), *alone, user),
        DbAction::Fmt { files, check } => format_files(files, *check),
        DbAction::Import { from: ImportFrom::Recog { folder, output } } => {
            import::recog(folder, output.as_deref().unwrap_or(user.folder()), verbose)
        }
        DbAction::Retro { archive, changed, json } => retro::run(archive, changed, *json, user),
        DbAction::Stats { folder } => stats(folder.as_deref(), user),
    }
}

fn test(path: Option<&Path>, alone: bool, user: &UserDatabase) -> Result<(), Failure> {
    let unusable = |error: DatabaseError| Failure::usage(error.to_string());
    let database = match path {
        Some(path) if alone => Arc::new(Database::load_dir(path).map_err(unusable)?),
        Some(path) => Arc::new(Database::builtin().overlaid(&[path.to_path_buf()]).map_err(unusable)?),
        None => user.load_over(Arc::clone(Database::builtin()))?,
    };
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

fn stats(folder: Option<&Path>, user: &UserDatabase) -> Result<(), Failure> {
    let database = database(folder, user)?;
    let stats = database.stats();
    println!("families {}", stats.families);
    println!("services {}", stats.services);
    println!("products {}", stats.products);
    println!("probes   {}", stats.probes);
    println!("entries  {}", stats.entries);
    println!("examples {}", stats.examples);
    for (file, licence) in database.not_redistributable() {
        let [file, licence] = [file, licence].map(SafeText::from);
        println!("{file} is not redistributable ({licence}): do not hand it on");
    }
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
