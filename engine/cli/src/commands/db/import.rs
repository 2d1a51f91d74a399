//! `db import`: other projects' fingerprints as files of ours.

use std::{fs, path::Path};

use portreeve_model::SafeText;
use portreeve_probes::{
    Database,
    import::recog::{self, Report},
};
use serde::Serialize;

use super::print_json;
use crate::{
    exit::{Exit, Failure},
    output::print,
};

/// Left-outs shown without `--verbose`.
pub(super) const SHOWN: usize = 20;

/// What an import did.
#[derive(Serialize)]
struct Imported<'a> {
    files: usize,
    fingerprints: usize,
    examples: usize,
    examples_passed: usize,
    entries: usize,
    output: &'a Path,
    output_files: Vec<&'a str>,
    /// Fingerprints of texts that no decoder reads.
    without_field: usize,
    /// Expressions that no engine of linear time can have.
    not_linear: usize,
    left_out: Vec<SafeText>,
}

impl<'a> Imported<'a> {
    fn new(report: &'a Report, output: &'a Path) -> Self {
        Self {
            files: report.files,
            fingerprints: report.fingerprints,
            examples: report.examples,
            examples_passed: report.examples_passed,
            entries: report.entries,
            output,
            output_files: report.converted.iter().map(|(name, _)| name.as_str()).collect(),
            without_field: report.without_field,
            not_linear: report.not_linear,
            left_out: report.left_out.iter().map(|what| SafeText::from(what.as_str())).collect(),
        }
    }
}

/// The same for people, with so many of the fingerprints that were left out.
fn words(report: &Report, output: &Path, shown: usize) -> String {
    let Report { files, fingerprints, examples, examples_passed, entries, without_field, not_linear, .. } =
        report;
    let (written, left_out) = (report.converted.len(), report.left_out.len());
    let output = output.display();
    let mut text = format!(
        "files         {files}\n\
         fingerprints  {fingerprints}\n\
         examples      {examples_passed} of {examples} pass\n\
         entries       {entries} in {written} files in {output}\n\
         no such text  {without_field} fingerprints are about texts that no decoder of ours reads\n\
         not linear    {not_linear} expressions need look-around, back-references or atomic groups\n\
         left out      {left_out}\n"
    );
    for what in report.left_out.iter().take(shown) {
        text.push_str(&format!("  {}\n", SafeText::from(what.as_str())));
    }
    if left_out > shown {
        text.push_str(&format!("  … and {} more; --verbose shows them all\n", left_out - shown));
    }
    text
}

/// `portreeve db import recog`.
pub(super) fn recog(folder: &Path, output: &Path, shown: usize, json: bool) -> Result<(), Failure> {
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
    if json {
        print_json(&Imported::new(&report, output))?;
    } else {
        print(&words(&report, output, shown))?;
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
