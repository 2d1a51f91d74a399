//! Every fuzz target for a few seconds: enough to notice a parser that panics on little.

use std::{fs, path::Path, process::Command};

use crate::{
    setup,
    tools::{Outcome, announce, execute, output, root},
};

/// `fuzz [SECONDS]`.
pub fn fuzz(arguments: &[String]) -> Outcome {
    let seconds: u32 = match arguments.first() {
        Some(text) => text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?,
        None => 10,
    };
    if let Some(reason) = missing() {
        return unavailable(&reason);
    }
    // In CI a commit is judged by the same inputs each time; by hand each run tries others (0 is libFuzzer's word for that).
    let seed = format!("-seed={}", u8::from(in_ci()));
    let folder = root().join("fuzz");
    for target in targets(&folder)? {
        announce(&format!("fuzzing {target} for {seconds} s"));
        let limit = format!("-max_total_time={seconds}");
        execute(
            Command::new("cargo")
                .args([
                    "+nightly",
                    "fuzz",
                    "run",
                    "--sanitizer",
                    "none",
                    &target,
                    "--",
                    &limit,
                    &seed,
                    "-rss_limit_mb=2048",
                ])
                .current_dir(root()),
        )?;
    }
    Ok(())
}

/// What keeps libFuzzer from running here.
fn missing() -> Option<String> {
    if output(Command::new("cargo").args(["+nightly", "--version"])).is_err() {
        return Some("no nightly toolchain (libFuzzer's instrumentation needs one): `rustup toolchain install nightly`".into());
    }
    if let Err(error) = setup::cargo_tool("fuzz", "0.13.2") {
        return Some(error.to_string());
    }
    None
}

/// On a developer's machine a missing tool is said; in CI it is an error.
fn unavailable(reason: &str) -> Outcome {
    if in_ci() {
        return Err(format!("cannot fuzz: {reason}").into());
    }
    println!("skipped: {reason}");
    Ok(())
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some()
}

fn targets(folder: &Path) -> Outcome<Vec<String>> {
    let mut targets: Vec<String> = fs::read_dir(folder.join("fuzz_targets"))?
        .flatten()
        .filter_map(|entry| entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect();
    targets.sort();
    if targets.is_empty() { Err("fuzz/fuzz_targets holds no target".into()) } else { Ok(targets) }
}
