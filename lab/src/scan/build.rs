//! Building the lab's C programs when they are first wanted.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{LabError, run};

/// What was built.
pub(super) struct Programs {
    pub(super) far: PathBuf,
    pub(super) far_object: PathBuf,
}

const SOURCES: [(&str, &str); 3] = [
    ("far.h", include_str!("../../scan/far.h")),
    ("far.c", include_str!("../../scan/far.c")),
    ("far.bpf.c", include_str!("../../scan/far.bpf.c")),
];

/// Builds what is not there yet. Results are kept in the target folder, by the contents of the sources.
pub(super) fn programs() -> Result<Programs, LabError> {
    let mut hasher = DefaultHasher::new();
    SOURCES.hash(&mut hasher);
    let folder = target().join("scan-lab").join(format!("{:016x}", hasher.finish()));
    if !folder.exists() {
        build_into(&folder)?;
    }
    Ok(Programs { far: folder.join("far"), far_object: folder.join("far.bpf.o") })
}

/// Cargo's target folder, which belongs to whoever builds: nobody else can put a program there for root to run.
fn target() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    env::var_os("CARGO_TARGET_DIR").map_or_else(beside, PathBuf::from)
}

/// Builds in a folder of its own and renames it at the end: of several tests that start at once, one wins.
fn build_into(folder: &Path) -> Result<(), LabError> {
    let draft = folder.with_extension(std::process::id().to_string());
    let written = fs::create_dir_all(&draft)
        .and_then(|()| SOURCES.iter().try_for_each(|(name, text)| fs::write(draft.join(name), text)));
    written.map_err(|error| LabError::new(format!("write {}", draft.display()), error))?;
    compile(&draft)?;
    if fs::rename(&draft, folder).is_err() {
        // Another was faster, and built the same.
        let _ = fs::remove_dir_all(&draft);
    }
    Ok(())
}

fn compile(folder: &Path) -> Result<(), LabError> {
    let what = "build the far end of the scan lab (it needs clang, libbpf-dev and gcc: `cargo xtask setup`)";
    // The kernel's headers include some of the architecture, which clang does not look for when it compiles for BPF.
    let headers = format!("-I/usr/include/{}-linux-gnu", env::consts::ARCH);
    let for_bpf = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", &headers, "-c"];
    run(
        what,
        Command::new("clang").current_dir(folder).args(for_bpf).args(["far.bpf.c", "-o", "far.bpf.o"]),
    )?;
    let natively = ["-O2", "-Wall", "-Wextra", "-Werror", "-o", "far", "far.c", "-lbpf", "-lpthread"];
    run(what, Command::new("cc").current_dir(folder).args(natively)).map(drop)
}
