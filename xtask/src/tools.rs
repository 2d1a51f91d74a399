//! Running other programs, and finding our way about the tree.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::Command,
};

/// Whatever went wrong, in a sentence.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The path of one of our release binaries.
pub fn binary(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// A step of a longer job, so that a reader of the output knows where it is.
pub fn announce(step: &str) {
    println!("\n== {step}");
}

/// Runs a program in a folder, its output going where ours goes.
pub fn run_in(folder: &Path, program: &str, arguments: &[&str]) -> Outcome {
    execute(Command::new(program).args(arguments).current_dir(folder))
}

/// Runs a program at the workspace's root.
pub fn run(program: &str, arguments: &[&str]) -> Outcome {
    run_in(&root(), program, arguments)
}

/// Runs a prepared command to its end.
pub fn execute(command: &mut Command) -> Outcome {
    let shown = show(command);
    println!("$ {shown}");
    let status = command.status().map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` ended with {status}").into()) }
}

/// What a program prints, if it succeeds.
pub fn output(command: &mut Command) -> Outcome<String> {
    let shown = show(command);
    let output = command.output().map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let reason = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{shown}` ended with {}: {}", output.status, reason.trim()).into())
    }
}

/// Whether a program can be started at all.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Whether we are root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.strip_prefix(root()).unwrap_or(program).display().to_string();
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(program).chain(words).collect::<Vec<_>>().join(" ")
}
