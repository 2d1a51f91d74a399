//! Where PostgreSQL's programs are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::EmbeddedError;

/// Where Debian and Ubuntu put them, one folder a major version.
const SYSTEM_FOLDER: &str = "/usr/lib/postgresql";
/// The oldest version that has what the schema needs (`nulls not distinct`).
const OLDEST: u32 = 15;

/// A folder with `initdb` and `postgres`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs(PathBuf);

impl Programs {
    /// The folder given, else the one of the major version that made `data`, else the newest installed.
    pub fn find(given: Option<&Path>, data: &Path) -> Result<Self, EmbeddedError> {
        Self::find_in(Path::new(SYSTEM_FOLDER), given, data)
    }

    fn find_in(system: &Path, given: Option<&Path>, data: &Path) -> Result<Self, EmbeddedError> {
        if let Some(given) = given {
            let missing = || EmbeddedError::ProgramsMissing { searched: given.to_owned() };
            return complete(given.to_owned()).map(Self).ok_or_else(missing);
        }
        let installed = installed(system);
        let made_by =
            fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(major) = made_by {
            let own = installed.into_iter().find(|(installed, _)| *installed == major);
            let missing = || EmbeddedError::MajorMissing { folder: data.to_owned(), major };
            return own.map(|(_, folder)| Self(folder)).ok_or_else(missing);
        }
        let newest = installed.into_iter().max_by_key(|(major, _)| *major);
        let (found, folder) =
            newest.ok_or_else(|| EmbeddedError::ProgramsMissing { searched: system.to_owned() })?;
        if found < OLDEST {
            return Err(EmbeddedError::TooOld { found, least: OLDEST, folder });
        }
        Ok(Self(folder))
    }

    /// The path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn installed(system: &Path) -> Vec<(u32, PathBuf)> {
    let folders = fs::read_dir(system).into_iter().flatten().flatten();
    let majors = folders.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    majors.filter_map(|(major, folder)| Some((major, complete(folder.join("bin"))?))).collect()
}

fn complete(folder: PathBuf) -> Option<PathBuf> {
    ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file()).then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_majors(majors: &[u32]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for major in majors {
            let bin = folder.path().join(major.to_string()).join("bin");
            fs::create_dir_all(&bin).unwrap();
            for name in ["initdb", "postgres"] {
                fs::write(bin.join(name), "").unwrap();
            }
        }
        folder
    }

    #[test]
    fn takes_the_newest_for_a_new_cluster_and_the_maker_for_an_old_one() {
        let (system, data) = (with_majors(&[9, 15, 17]), tempfile::tempdir().unwrap());
        let found = Programs::find_in(system.path(), None, data.path()).unwrap();
        assert_eq!(found.program("postgres"), system.path().join("17/bin/postgres"));
        fs::write(data.path().join("PG_VERSION"), "15\n").unwrap();
        let found = Programs::find_in(system.path(), None, data.path()).unwrap();
        assert_eq!(found, Programs(system.path().join("15/bin")));
    }

    #[test]
    fn says_what_to_install() {
        let (nothing, data) = (with_majors(&[]), tempfile::tempdir().unwrap());
        let error = Programs::find_in(nothing.path(), None, data.path()).unwrap_err().to_string();
        assert!(error.contains("apt-get install postgresql"), "{error}");
        fs::write(data.path().join("PG_VERSION"), "16\n").unwrap();
        let error = Programs::find_in(with_majors(&[15]).path(), None, data.path()).unwrap_err().to_string();
        assert!(error.contains("apt-get install postgresql-16"), "{error}");
        let data = tempfile::tempdir().unwrap();
        let error = Programs::find_in(with_majors(&[13]).path(), None, data.path()).unwrap_err().to_string();
        assert!(error.contains("PostgreSQL 13") && error.contains("too old"), "{error}");
    }
}
