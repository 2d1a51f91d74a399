//! Building the lab's C programs when they are first wanted.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{LabError, run};

/// What was built.
#[derive(Debug)]
pub(super) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// A program and its BPF object.
    pub(super) fn paths(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.folder.join(name), self.folder.join(format!("{name}.bpf.o")))
    }
}

/// Each is NAME.c and NAME.bpf.c with NAME.h.
const PROGRAMS: [&str; 2] = ["bare", "far"];
const SOURCES: [(&str, &str); 6] = [
    ("bare.h", include_str!("../../scan/bare.h")),
    ("bare.c", include_str!("../../scan/bare.c")),
    ("bare.bpf.c", include_str!("../../scan/bare.bpf.c")),
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
    Ok(Programs { folder })
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
    let what = "build the scan lab's programs (they need clang, libbpf-dev and gcc: `cargo xtask setup`)";
    // The kernel's headers include some of the architecture, which clang does not look for when it compiles for BPF.
    let headers = format!("-I/usr/include/{}-linux-gnu", env::consts::ARCH);
    let for_bpf = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", &headers, "-c"];
    for name in PROGRAMS {
        let (source, object) = (format!("{name}.bpf.c"), format!("{name}.bpf.o"));
        run(what, Command::new("clang").current_dir(folder).args(for_bpf).args([&source, "-o", &object]))?;
        let natively = ["-O2", "-Wall", "-Wextra", "-Werror", "-o", name];
        let libraries = ["-lbpf", "-lpthread"];
        let source = format!("{name}.c");
        run(what, Command::new("cc").current_dir(folder).args(natively).arg(source).args(libraries))?;
    }
    Ok(())
}
