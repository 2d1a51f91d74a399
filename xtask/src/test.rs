//! `cargo xtask test`: everything, cheapest first, so that failures come early.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    build, fuzz, setup,
    signals::guard_children,
    tools::{Outcome, announce, execute, has, output, root, run, target},
};

/// A named part of the tests.
struct Stage {
    name: &'static str,
    run: fn() -> Outcome,
}

const STAGES: &[Stage] = &[
    Stage { name: "format", run: || run("cargo", &["fmt", "--all", "--check"]) },
    Stage { name: "web", run: web },
    Stage { name: "lint", run: lint },
    Stage { name: "licences", run: licences },
    Stage { name: "rust", run: rust },
    Stage { name: "proof", run: proof },
    Stage { name: "docs", run: docs },
    Stage { name: "client", run: client },
    Stage { name: "release", run: build::release },
    Stage { name: "browser", run: browser },
    Stage { name: "demo", run: lab_demo },
    Stage { name: "fuzz", run: || fuzz::fuzz(&[]) },
];

/// Runs all stages, or those named.
pub fn test(names: &[String]) -> Outcome {
    let known = |name: &str| STAGES.iter().any(|stage| stage.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
        return Err(format!("unknown stage {unknown:?}; there are: {}", all.join(" ")).into());
    }
    setup::everything()?;
    // Tests that outlive us would go on with their namespaces and ports, in the way of the next run.
    guard_children()?;
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for stage in STAGES.iter().filter(|stage| names.is_empty() || names.iter().any(|name| name == stage.name))
    {
        announce(&format!("stage {}", stage.name));
        let started = Instant::now();
        (stage.run)().map_err(|error| format!("stage {}: {error}", stage.name))?;
        times.push((stage.name, started.elapsed()));
    }
    println!("\nall stages passed");
    for (name, time) in &times {
        println!("  {name:<10} {:>6.1} s", time.as_secs_f32());
    }
    println!("{} passed, 0 failed", times.len());
    Ok(())
}

fn lint() -> Outcome {
    run("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
}

/// Licences, banned crates and sources of everything that comes in, by the rules of `deny.toml`.
fn licences() -> Outcome {
    setup::cargo_tool("deny", "0.20.2")?;
    run("cargo", &["deny", "--all-features", "check", "bans", "licenses", "sources"])
}

fn web() -> Outcome {
    for script in ["check", "lint", "test"] {
        build::npm(&["run", script])?;
    }
    build::web()?;
    build::npm(&["run", "budget"])
}

fn rust() -> Outcome {
    if has("cargo-nextest") {
        run("cargo", &["nextest", "run", "--workspace", "--locked", "--no-fail-fast"])?;
        return run("cargo", &["test", "--workspace", "--locked", "--doc"]);
    }
    run("cargo", &["test", "--workspace", "--locked"])
}

/// "Each target exactly once, no excluded one" over all 2^32 positions: minutes unoptimised, so it is built for
/// release and runs apart.
fn proof() -> Outcome {
    run("cargo", &["test", "--release", "--locked", "-p", "portreeve-scan", "--test", "permutation_proof"])
}

/// Private items too: most of these crates are programs, and their readers are the people who change them.
fn docs() -> Outcome {
    execute(
        Command::new("cargo")
            .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")
            .current_dir(root()),
    )
}

/// The committed client is the one that the server's routes make.
fn client() -> Outcome {
    build::client()?;
    let changed = output(
        Command::new("git")
            .args(["status", "--porcelain", "--", "web/openapi.json", "web/src/api"])
            .current_dir(root()),
    )?;
    if changed.trim().is_empty() {
        return Ok(());
    }
    Err(format!(
        "the web client is not what the server's routes make; run `cargo xtask client` and commit:\n{changed}"
    )
    .into())
}

/// The journey of a new user in a real browser.
fn browser() -> Outcome {
    let binaries = target().join("release");
    execute(
        Command::new("npm")
            .args(["run", "e2e"])
            .current_dir(root().join("web"))
            .env("PATH", setup::search_path())
            .env("PORTREEVE_BIN_DIR", binaries),
    )
}

/// The demo from start to end: it fails when nothing is found or no alert is raised.
fn lab_demo() -> Outcome {
    if !crate::tools::is_root() {
        assert!(std::env::var_os("CI").is_none(), "CI runs as root, so that no lab test is skipped");
        println!("skipped: network namespaces need root");
        return Ok(());
    }
    // A process of its own: it looks after signals and children itself. By this process rather than its path: an earlier
    // stage's build may have replaced the file.
    let this = format!("/proc/{}/exe", std::process::id());
    execute(Command::new(this).args(["demo", "--exit", "--listen", "127.0.0.1:18080"]))
}
