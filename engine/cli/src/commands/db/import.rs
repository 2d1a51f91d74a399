//! `db import`: other projects' fingerprints as files of ours.

use std::{fs, path::Path};

use portreeve_probes::{Database, import::recog};

use crate::exit::{Exit, Failure};

/// Left-outs shown without `--verbose`.
const SHOWN: usize = 20;

/// `portreeve db import recog`.
pub(super) fn recog(folder: &Path, output: &Path, all: bool) -> Result<(), Failure> {
    let report = recog::import(folder).map_err(|error| Failure::usage(error.to_string()))?;
    let unwritable = |path: &Path, error: std::io::Error| {
        Failure::usage(format!(
            "cannot write {}: {error}; name another folder with --output, or run it with sudo",
            path.display()
        ))
    };
    fs::create_dir_all(output).map_err(|error| unwritable(output, error))?;
    for (name, text) in &report.converted {
        let path = output.join(name);
        fs::write(&path, text).map_err(|error| unwritable(&path, error))?;
    }
    println!("files         {}", report.files);
    println!("fingerprints  {}", report.fingerprints);
    println!("examples      {} of {} pass", report.examples_passed, report.examples);
    println!("entries       {} in {} files in {}", report.entries, report.converted.len(), output.display());
    println!(
        "no such text  {} fingerprints are about texts that no decoder of ours reads",
        report.without_field
    );
    println!(
        "not linear    {} expressions need look-around, back-references or atomic groups",
        report.not_linear
    );
    println!("left out      {}", report.left_out.len());
    let shown = if all { report.left_out.len() } else { SHOWN };
    for what in report.left_out.iter().take(shown) {
        println!("  {}", portreeve_model::SafeText::from(what.as_str()));
    }
    if report.left_out.len() > shown {
        println!("  … and {} more; --verbose shows them all", report.left_out.len() - shown);
    }
    // What was written must be usable as it stands.
    let paths: Vec<_> = report.converted.iter().map(|(name, _)| output.join(name)).collect();
    match Database::builtin().with_files(&paths) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Failure::new(Exit::Failure, format!("the converted files do not hold together:\n{error}")))
        }
    }
}
