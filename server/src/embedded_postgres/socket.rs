//! Where the Unix socket lives.
//!
//! A socket's path has at most 107 bytes (`sun_path` holds 108 with the NUL), whatever the file system allows. A cluster
//! with a longer path gets a folder of its own elsewhere, named after the cluster's path, so that every process
//! finds the same one.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    os::unix::{
        ffi::OsStringExt,
        fs::{DirBuilderExt, MetadataExt, chown},
    },
    path::{Path, PathBuf},
};

use nix::unistd::Uid;
use sha2::{Digest, Sha256};

use super::{Account, EmbeddedError, Io, PORT};
use crate::hex;

/// The longest path that is taken: a reserve stays for the systems with shorter limits.
const LONGEST: usize = 103;
/// The file in the cluster's folder that says where the socket is.
const NOTE: &str = "socket-folder";

/// Where the socket's folder is to be; not made yet.
pub(super) fn folder(cluster: &Path, account: &Account) -> Result<PathBuf, EmbeddedError> {
    let own = cluster.join("run");
    if longest_name_in(&own) <= LONGEST {
        return Ok(own);
    }
    let digest = Sha256::digest(cluster.as_os_str().as_encoded_bytes());
    let mut name = hex::encode(&digest);
    name.truncate(16);
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let parent = match runtime {
        _ if Uid::effective().is_root() => PathBuf::from("/run"),
        Some(folder) if longest_name_in(&folder.join(format!("portreeve-{name}"))) <= LONGEST => folder,
        _ => PathBuf::from("/tmp"),
    };
    let folder = parent.join(format!("portreeve-{name}"));
    // In /tmp anyone could have made it before us.
    if folder.exists() && !account.owns(&folder) {
        return Err(EmbeddedError::SocketFolder { folder });
    }
    Ok(folder)
}

/// Makes the folder, owned by the account and closed to others but its group.
pub(super) fn make(folder: &Path, cluster: &Path, account: &Account) -> Result<(), EmbeddedError> {
    if folder.starts_with(cluster) {
        account.make_folder(folder, 0o750)?;
        return Ok(());
    }
    if !folder.exists() {
        // Not create_dir_all: it must be ours from its first moment.
        DirBuilder::new().mode(0o750).create(folder).doing("make the folder", folder)?;
        if Uid::effective().is_root() {
            let owner = fs::metadata(cluster).doing("look at", cluster)?;
            chown(folder, Some(owner.uid()), Some(owner.gid())).doing("hand over", folder)?;
        }
    }
    Ok(())
}

/// Writes down where the socket is, for commands that run beside the server, maybe as another user.
pub(super) fn write_down(folder: &Path, cluster: &Path) -> Result<(), EmbeddedError> {
    let note = cluster.join(NOTE);
    fs::write(&note, folder.as_os_str().as_encoded_bytes()).doing("write", &note)
}

/// Where the socket of a running cluster is.
pub(super) fn written_down(cluster: &Path) -> Result<PathBuf, EmbeddedError> {
    let note = cluster.join(NOTE);
    let bytes = fs::read(&note).doing("read", &note)?;
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

/// Removes what a killed PostgreSQL left; only to be called when none runs.
pub(super) fn remove_stale(folder: &Path) {
    for name in [format!(".s.PGSQL.{PORT}"), format!(".s.PGSQL.{PORT}.lock")] {
        let _not_there = fs::remove_file(folder.join(name));
    }
}

fn longest_name_in(folder: &Path) -> usize {
    folder.as_os_str().len() + format!("/.s.PGSQL.{PORT}.lock").len()
}
