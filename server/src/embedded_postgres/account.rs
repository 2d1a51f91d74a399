//! Who PostgreSQL runs as.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{Gid, Uid, User};

use super::{EmbeddedError, Io};

/// System users that root may lend the cluster to, best first.
const SYSTEM_USERS: [&str; 2] = ["portreeve", "postgres"];

/// A user of the system.
#[derive(Clone, Debug)]
pub struct Account {
    uid: Uid,
    gid: Gid,
    name: String,
}

impl Account {
    /// Ourselves, or a system user when we are root.
    pub fn find() -> Result<Self, EmbeddedError> {
        let own = Uid::effective();
        if !own.is_root() {
            return Ok(Self { uid: own, gid: Gid::effective(), name: own_name() });
        }
        let mut known = SYSTEM_USERS.iter().filter_map(|name| User::from_name(name).ok().flatten());
        let user = known.find(|user| !user.uid.is_root()).ok_or(EmbeddedError::NoAccount)?;
        Ok(Self { uid: user.uid, gid: user.gid, name: user.name })
    }

    /// The login name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names that may connect: the account itself, whoever runs us, and root.
    pub(super) fn peers(&self) -> Vec<String> {
        let mut names = vec![self.name.clone(), own_name(), "root".to_owned()];
        names.sort();
        names.dedup();
        names
    }

    /// A command that runs as this account, in a clean environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if Uid::effective().is_root() {
            // std drops the supplementary groups here too.
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Makes a folder that this account owns; its absolute path.
    pub(super) fn make_folder(&self, path: &Path, mode: u32) -> Result<PathBuf, EmbeddedError> {
        fs::create_dir_all(path).doing("make the folder", path)?;
        let path = path.canonicalize().doing("find", path)?;
        if Uid::effective().is_root() {
            chown(&path, Some(self.uid.as_raw()), Some(self.gid.as_raw())).doing("hand over", &path)?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .doing("set the permissions of", &path)?;
        Ok(path)
    }

    /// Whether a folder belongs to this account.
    pub(super) fn owns(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|facts| facts.is_dir() && facts.uid() == self.uid.as_raw())
    }

    /// Refuses a folder below one that the account cannot pass, as `/root`.
    pub(super) fn check_access(&self, folder: &Path) -> Result<(), EmbeddedError> {
        let status = self.command(Path::new("/usr/bin/test")).arg("-w").arg(folder).status();
        if status.doing("run", "/usr/bin/test")?.success() {
            return Ok(());
        }
        Err(EmbeddedError::CannotEnter { folder: folder.to_owned(), account: self.name.clone() })
    }
}

/// Our login name. A container may run us under a number that no name belongs to: then PostgreSQL's peer check has
/// none either, and initdb says so.
fn own_name() -> String {
    let own = Uid::effective();
    User::from_uid(own).ok().flatten().map_or_else(|| own.to_string(), |user| user.name)
}
