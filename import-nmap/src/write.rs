//! Writes the result: whole or not at all, and never over a file that nobody gave up.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use portreeve_probes::Database;

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It is there.
    #[error("{0} exists; name another file with --output, or replace it with --force")]
    Exists(PathBuf),
    /// The disk refused.
    #[error("cannot write {path}: {source}; name another file with --output, or run it with sudo")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no file that identification takes up.
    #[error("the converted file does not hold together, so it is not kept:\n{0}")]
    Unusable(String),
    /// The name does not end as names of database files do.
    #[error("{0} would not be read: the name of a database file ends in .toml")]
    Name(PathBuf),
}

/// Writes a text to `path`, if it can be laid over the built-in database.
pub fn write(path: &Path, text: &str, replace: bool) -> Result<(), WriteError> {
    if path.extension().is_none_or(|extension| extension != "toml") {
        return Err(WriteError::Name(path.to_path_buf()));
    }
    if !replace && path.symlink_metadata().is_ok() {
        return Err(WriteError::Exists(path.to_path_buf()));
    }
    // Beside it, so that it can be put into its place at one stroke; under an ending that no reader takes up.
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let outcome = fill(&part, text).and_then(|()| place(&part, path, replace));
    if outcome.is_err() {
        // What is reported is why it failed, not that the remains could not be removed.
        fs::remove_file(&part).ok();
    }
    outcome
}

fn fill(part: &Path, text: &str) -> Result<(), WriteError> {
    let failed = |source| WriteError::Io { path: part.to_path_buf(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).open(part).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    let usable = Database::builtin().with_files(&[part.to_path_buf()]);
    usable.map(|_| ()).map_err(|error| WriteError::Unusable(error.to_string()))
}

fn place(part: &Path, path: &Path, replace: bool) -> Result<(), WriteError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => WriteError::Exists(path.to_path_buf()),
        _ => WriteError::Io { path: path.to_path_buf(), source },
    };
    if replace {
        return fs::rename(part, path).map_err(failed);
    }
    // A link fails where something has come to be meanwhile; a renamed file would replace it.
    fs::hard_link(part, path).map_err(failed)?;
    fs::remove_file(part).map_err(failed)
}
