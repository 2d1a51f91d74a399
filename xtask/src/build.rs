//! Building the web UI and the binaries.

use std::{fs, path::Path, process::Command, time::SystemTime};

use crate::{
    setup::search_path,
    tools::{Outcome, announce, execute, output, root, run},
};

/// The web UI (if its sources are newer than what was built) and both release binaries.
pub fn release() -> Outcome {
    web()?;
    announce("building the release binaries");
    run("cargo", &["build", "--release", "--locked", "-p", "portreeve-cli", "-p", "portreeve-server"])
}

/// The web UI's bundle, which the server binary carries.
pub fn web() -> Outcome {
    let web = root().join("web");
    let built = modified(&web.join("dist/index.html"));
    if built.is_some_and(|built| newest(&web).is_none_or(|source| source <= built)) {
        return Ok(());
    }
    announce("building the web UI");
    npm(&["run", "build"])
}

/// Runs an npm script of the web UI.
pub fn npm(arguments: &[&str]) -> Outcome {
    execute(Command::new("npm").args(arguments).current_dir(root().join("web")).env("PATH", search_path()))
}

/// Writes the OpenAPI document and the typed client made from it.
pub fn client() -> Outcome {
    let document = output(
        Command::new("cargo")
            .args(["run", "--quiet", "-p", "portreeve-server", "--", "openapi"])
            .current_dir(root()),
    )?;
    fs::write(root().join("web/openapi.json"), document)?;
    npm(&["run", "api"])
}

/// The newest change among the web UI's sources.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let made = ["node_modules", "dist", "out"];
    let sources = entries.filter(|entry| !made.iter().any(|name| entry.file_name() == *name));
    sources
        .filter_map(
            |entry| if entry.path().is_dir() { newest(&entry.path()) } else { modified(&entry.path()) },
        )
        .max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|facts| facts.modified()).ok()
}
