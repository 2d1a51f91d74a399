//! Puts the built web UI into the program: every file of `web/dist`, or, where the UI was not built, a page that
//! says so. So `cargo build` never needs Node.

use std::{
    env, fs,
    io::Result,
    path::{Path, PathBuf},
};

const STUB: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Portreeve</title>\
<h1>Portreeve</h1><p>This server was built without its pages. Build them with <code>cargo xtask build</code>; \
the API works: see <a href=/api/docs>its description</a>.";

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../migrations");
    let dist = Path::new("../web/dist");
    if Path::new("../web").is_dir() {
        // A folder that is not there would be "changed" at every build.
        fs::create_dir_all(dist)?;
        println!("cargo:rerun-if-changed=../web/dist");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        collect(dist, dist, &mut files)?;
        files.sort();
    } else {
        let stub = out.join("index.html");
        fs::write(&stub, STUB)?;
        files.push(("index.html".to_owned(), stub));
    }
    let entries = files
        .iter()
        .map(|(name, path)| format!("    ({name:?}, include_bytes!({:?})),\n", path.to_string_lossy()));
    fs::write(out.join("web_files.rs"), format!("&[\n{}]\n", entries.collect::<String>()))
}

/// Names relative to `root`, with slashes, and absolute paths.
fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            files.push((name.to_string_lossy().into_owned(), path.canonicalize()?));
        }
    }
    Ok(())
}
