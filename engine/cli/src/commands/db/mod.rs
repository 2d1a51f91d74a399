//! `db`: for those who write entries of the probe database, or bring them from elsewhere.

mod import;
mod retro;

use std::{
    fmt::{self, Write},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use portreeve_model::SafeText;
use portreeve_probes::{Database, DatabaseError, Stats};
use serde::Serialize;

use super::{UserDatabase, database};
use crate::{
    args::{DbAction, ImportFrom},
    exit::{Exit, Failure},
    output::print,
};

/// `portreeve db`.
pub(crate) fn db(action: &DbAction, verbose: bool, user: &UserDatabase) -> Result<(), Failure> {
    match action {
        DbAction::Test { path, alone, json } => test(path.as_deref(), *alone, *json, user),
        DbAction::Fmt { files, check, json } => format_files(files, *check, *json),
        DbAction::Import { from: ImportFrom::Recog { folder, output, json } } => {
            let shown = if verbose { usize::MAX } else { import::SHOWN };
            import::recog(folder, output.as_deref().unwrap_or(user.folder()), shown, *json)
        }
        DbAction::Retro { archive, changed, json } => retro::run(archive, changed, *json, user),
        DbAction::Stats { folder, json } => stats(folder.as_deref(), *json, user),
    }
}

/// Prints a document.
fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::new(Exit::Failure, format!("cannot write JSON: {error}")))?;
    print(&format!("{text}\n"))
}

/// A line each.
fn lines(of: impl IntoIterator<Item: fmt::Display>) -> String {
    of.into_iter().fold(String::new(), |mut text, item| {
        let _ = writeln!(text, "{item}");
        text
    })
}

#[derive(Serialize)]
struct Tested<'a> {
    entries: usize,
    examples: usize,
    findings: Vec<Found<'a>>,
}

#[derive(Serialize)]
struct Found<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    message: &'a str,
}

fn test(path: Option<&Path>, alone: bool, json: bool, user: &UserDatabase) -> Result<(), Failure> {
    let unusable = |error: DatabaseError| Failure::usage(error.to_string());
    let database = match path {
        Some(path) if alone => Arc::new(Database::load_dir(path).map_err(unusable)?),
        Some(path) => Arc::new(Database::builtin().overlaid(&[path.to_path_buf()]).map_err(unusable)?),
        None => user.load_over(Arc::clone(Database::builtin()))?,
    };
    let (findings, Stats { entries, examples, .. }) = (database.check(), database.stats());
    if json {
        let findings = findings.iter().map(|finding| Found {
            file: &finding.file,
            line: finding.line,
            id: finding.id.as_deref(),
            message: &finding.message,
        });
        print_json(&Tested { entries, examples, findings: findings.collect() })?;
    } else {
        print(&lines(&findings))?;
    }
    match findings.len() {
        0 if json => Ok(()),
        0 => print(&format!("{entries} entries agree with their {examples} examples\n")),
        1 => Err(Failure::new(Exit::Failure, "1 finding")),
        count => Err(Failure::new(Exit::Failure, format!("{count} findings"))),
    }
}

#[derive(Serialize)]
struct Counted {
    families: usize,
    services: usize,
    products: usize,
    probes: usize,
    entries: usize,
    examples: usize,
    not_redistributable: Vec<Restricted>,
}

/// A file that must not be handed on.
#[derive(Serialize)]
struct Restricted {
    file: SafeText,
    licence: SafeText,
}

fn stats(folder: Option<&Path>, json: bool, user: &UserDatabase) -> Result<(), Failure> {
    let database = database(folder, user)?;
    let Stats { families, services, products, probes, entries, examples } = database.stats();
    let restricted = database
        .not_redistributable()
        .map(|(file, licence)| Restricted { file: SafeText::from(file), licence: SafeText::from(licence) });
    let not_redistributable: Vec<_> = restricted.collect();
    if json {
        return print_json(&Counted {
            families,
            services,
            products,
            probes,
            entries,
            examples,
            not_redistributable,
        });
    }
    let mut text = format!(
        "families {families}\nservices {services}\nproducts {products}\nprobes   {probes}\nentries  {entries}\n\
         examples {examples}\n"
    );
    for Restricted { file, licence } in not_redistributable {
        text.push_str(&format!("{file} is not redistributable ({licence}): do not hand it on\n"));
    }
    print(&text)
}

#[derive(Serialize)]
struct Formatted {
    checked: usize,
    /// Files that are not in their form, or were not.
    changed: Vec<PathBuf>,
}

fn format_files(files: &[PathBuf], check: bool, json: bool) -> Result<(), Failure> {
    let mut changed = Vec::new();
    for path in files {
        let failed = |error: &dyn fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let formatted = Database::fmt(&name, &text).map_err(|error| failed(&error))?;
        if formatted == text {
            continue;
        }
        changed.push(path.clone());
        if !check {
            fs::write(path, formatted).map_err(|error| failed(&error))?;
        }
    }
    let count = changed.len();
    if json {
        print_json(&Formatted { checked: files.len(), changed })?;
    } else {
        print(&lines(changed.iter().map(|path| path.display())))?;
    }
    if check && count > 0 {
        let files = if count == 1 {
            "1 file is not in its form"
        } else {
            &format!("{count} files are not in their form")
        };
        return Err(Failure::new(Exit::Failure, format!("{files}; run it without --check")));
    }
    Ok(())
}
