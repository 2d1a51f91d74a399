//! `cargo xtask bench`: us, masscan and zmap side by side, in the lab.

use std::process::Command;

use crate::{
    setup,
    tools::{Outcome, announce, execute, is_root, root, target},
};

/// Installs the peers, builds what users run, and hands over to the harness (`benches/src`).
pub fn bench(arguments: &[String]) -> Outcome {
    if !is_root() {
        return Err("the bench makes network namespaces, which needs root".into());
    }
    let peers = !arguments.iter().any(|word| word == "--no-peers");
    setup::for_benches(peers)?;
    announce("building the release binary and the harness");
    // A folder of its own: what is measured is a release build, whatever was built elsewhere before.
    let folder = target().join("bench");
    let folder = folder.to_string_lossy();
    let release = ["build", "--release", "--locked", "--target-dir", &folder];
    execute(Command::new("cargo").args(release).args(["-p", "portreeve-cli"]).current_dir(root()))?;
    execute(
        Command::new("cargo")
            .args(release)
            .args(["-p", "portreeve-benches", "--bin", "bench"])
            .current_dir(root()),
    )?;
    let built = target().join("bench/release");
    execute(Command::new(built.join("bench")).arg(built.join("portreeve")).args(arguments))
}
