//! What comes in with the dependencies: licences and crates that must not be there. The same rules as
//! `deny.toml`, checked here without installing anything.

use std::process::Command;

use serde_json::Value;

use crate::tools::{Outcome, output, root};

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const BANNED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "openssl-sys"];

/// Checks every package of the lock file.
pub fn check() -> Outcome {
    let metadata = output(
        Command::new("cargo").args(["metadata", "--format-version=1", "--locked"]).current_dir(root()),
    )?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let foreign: Vec<&Value> = packages.iter().filter(|package| !package["source"].is_null()).collect();
    let complaints: Vec<String> = foreign.iter().filter_map(|package| complaint(package)).collect();
    if complaints.is_empty() {
        println!("{} packages, all under permissive licences", foreign.len());
        Ok(())
    } else {
        Err(complaints.join("\n").into())
    }
}

fn complaint(package: &Value) -> Option<String> {
    let name = package["name"].as_str().unwrap_or_default();
    if BANNED.contains(&name) {
        return Some(format!("{name} must not be a dependency (deny.toml says why)"));
    }
    let licence = package["license"].as_str().unwrap_or("none");
    (!permits(licence)).then(|| format!("{name}: licence {licence:?} is not on the list in deny.toml"))
}

/// Whether an SPDX expression can be met with allowed licences alone. Old manifests write `/` for `OR`.
fn permits(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    expression.split(" AND ").all(|part| part.split(" OR ").any(|licence| ALLOWED.contains(&licence.trim())))
}

#[cfg(test)]
mod tests {
    use super::permits;

    #[test]
    fn expressions_are_met_or_not() {
        assert!(permits("MIT OR GPL-3.0"));
        assert!(permits("MIT/Apache-2.0"));
        assert!(permits("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!permits("GPL-3.0-only"));
        assert!(!permits("MIT AND AGPL-3.0"));
        assert!(!permits("none"));
    }
}
