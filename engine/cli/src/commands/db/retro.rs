//! `db retro`: what a changed database would say of replies that are kept.

use std::{path::Path, sync::Arc};

use portreeve_model::SafeText;
use portreeve_probes::{
    Database,
    archive::{
        self,
        retro::{Said, retro},
    },
};

use super::{super::UserDatabase, lines, print_json};
use crate::{exit::Failure, output::print};

/// `portreeve db retro`: `changed` is laid over the built-in database, and compared with the one in use.
pub(super) fn run(archive: &Path, changed: &Path, json: bool, user: &UserDatabase) -> Result<(), Failure> {
    let kept = archive::read(archive).map_err(|error| Failure::usage(error.to_string()))?;
    let before = user.load_over(Arc::clone(Database::builtin()))?;
    let after = Database::builtin()
        .with_files(&[changed.to_path_buf()])
        .map_err(|error| Failure::usage(error.to_string()))?;
    let retro = retro(&kept, &before, &after);
    if json {
        return print_json(&retro);
    }
    let changes = retro
        .changes
        .iter()
        .map(|change| format!("{}  {} → {}", change.endpoint, words(&change.before), words(&change.after)));
    print(&lines(changes))?;
    print(&format!(
        "{} endpoints with stored replies: {} newly identified, {} identified otherwise, {} no longer identified\n",
        retro.endpoints, retro.newly_identified, retro.identified_otherwise, retro.no_longer_identified
    ))
}

/// What is said, on one line.
fn words(said: &Said) -> String {
    let fields = [&said.service, &said.product, &said.version, &said.os, &said.device];
    let words: Vec<_> = fields.into_iter().flatten().map(SafeText::as_str).collect();
    if words.is_empty() { "?".to_owned() } else { words.join(" ") }
}
