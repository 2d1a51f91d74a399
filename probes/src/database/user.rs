//! Databases of users: files laid over another database, accepted only if everything holds together.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Database, DatabaseError, File, parse};

/// The largest file read, in bytes.
const MAX_FILE: u64 = 16 << 20;

impl Database {
    /// This database with more files over it: each path is a TOML file, or a folder whose `*.toml` are meant.
    ///
    /// A probe or an entry of the same id replaces the one below. Nothing is taken unless all checks hold for the
    /// whole: an entry that would steal another product's example is refused like one that does not compile.
    pub fn with_files(&self, paths: &[PathBuf]) -> Result<Self, DatabaseError> {
        let database = self.overlaid(paths)?;
        let findings = database.check();
        if !findings.is_empty() {
            return Err(DatabaseError::Findings(findings));
        }
        // Checking has compiled every expression; a fresh one compiles only those that replies need.
        Self::from_files(database.files)
    }

    /// The texts of the user's files in this database, by name.
    pub fn user_texts(&self) -> Vec<(String, String)> {
        let files = self.files.iter().filter(|file| file.of_user);
        files.map(|file| (file.name.clone(), file.text.clone())).collect()
    }

    /// This database with the texts of files over it that were checked when they were read.
    pub fn with_user_texts(&self, texts: Vec<(String, String)>) -> Result<Self, DatabaseError> {
        let file = |(name, text): (String, String)| {
            let family = parse(&name, &text)?;
            Ok(File { name, text, family, of_user: true })
        };
        let files = texts.into_iter().map(file).collect::<Result<_, DatabaseError>>()?;
        Self::from_files(overlay(self.files.clone(), files))
    }

    /// The same without the checks, for those who want to see all findings.
    pub fn overlaid(&self, paths: &[PathBuf]) -> Result<Self, DatabaseError> {
        let mut files = Vec::new();
        for path in paths {
            for path in toml_files(path)? {
                let text = read(&path)?;
                let name = path.display().to_string();
                let family = parse(&name, &text)?;
                files.push(File { name, text, family, of_user: true });
            }
        }
        Self::from_files(overlay(self.files.clone(), files))
    }
}

/// Takes what is replaced out of the files below.
fn overlay(mut below: Vec<File>, above: Vec<File>) -> Vec<File> {
    let probes: HashSet<_> =
        above.iter().flat_map(|file| &file.family.probes).map(|probe| &probe.id).collect();
    let entries: HashSet<_> =
        above.iter().flat_map(|file| &file.family.entries).map(|entry| &entry.id).collect();
    for file in &mut below {
        file.family.probes.retain(|probe| !probes.contains(&probe.id));
        file.family.entries.retain(|entry| !entries.contains(&entry.id));
    }
    below.into_iter().chain(above).collect()
}

/// The path itself, or the `*.toml` of a folder in the order of their names.
pub(super) fn toml_files(path: &Path) -> Result<Vec<PathBuf>, DatabaseError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let unreadable = |source| DatabaseError::Read { path: path.to_path_buf(), source };
    let mut files = Vec::new();
    for file in fs::read_dir(path).map_err(unreadable)? {
        let file = file.map_err(unreadable)?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn read(path: &Path) -> Result<String, DatabaseError> {
    let unreadable = |source| DatabaseError::Read { path: path.to_path_buf(), source };
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
        return Err(DatabaseError::TooLarge(path.to_path_buf()));
    }
    fs::read_to_string(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode::decode, fields::Fields, matcher::choose};

    fn entry(id: &str, regex: &str, product: &str, example: &str) -> String {
        format!(
            "\n[[match]]\nid = '{id}'\nfield = 'http.server'\nregex = '{regex}'\nscore = 85\nset = {{ product = '{product}' }}\n\
             [[match.example]]\nreply = '{example}'\nexpect = {{ product = '{product}' }}\nsource = 'our own device'\n"
        )
    }

    fn file(entries: &str) -> String {
        format!("schema = 1\nservice = 'http'\nfamily = 'web'\n{entries}")
    }

    fn load(name: &str, text: &str) -> Result<Database, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        Database::builtin().with_files(&[folder.path().to_path_buf()]).map_err(|error| error.to_string())
    }

    fn product(database: &Database, reply: &[u8]) -> Option<String> {
        let mut fields = Fields::default();
        decode("http-get", reply, &mut fields);
        choose(&database.index().find(&fields))?.best.get("product").map(ToString::to_string)
    }

    const PUMP: &str = "HTTP/1.1 200 OK\\r\\nServer: PumpControl/3\\r\\n\\r\\n";

    #[test]
    fn a_users_entry_is_known_beside_the_builtin_ones() {
        let database = load("pump.toml", &file(&entry("pump/http", "^PumpControl", "Pump Control", PUMP)));
        let database = database.expect("accepted");
        let reply = b"HTTP/1.1 200 OK\r\nServer: PumpControl/3\r\n\r\n";
        assert_eq!(product(&database, reply).as_deref(), Some("Pump Control"));
        // The built-in database knows only what the server calls itself.
        assert_eq!(product(Database::builtin(), reply).as_deref(), Some("PumpControl"));
        let nginx = b"HTTP/1.1 200 OK\r\nServer: nginx/1.2.3\r\n\r\n";
        assert_eq!(product(&database, nginx).as_deref(), Some("nginx"));
    }

    #[test]
    fn a_broken_file_is_refused_with_its_name_line_and_what_to_do() {
        let error = load("bad.toml", "schema = 1\nservice = 'http'\nfamly = 'web'\n").expect_err("refused");
        assert!(error.contains("bad.toml") && error.contains("line 3") && error.contains("famly"), "{error}");

        let text = file(&entry("pump/http", "^PumpControl(", "Pump Control", PUMP));
        let error = load("bad.toml", &text).expect_err("refused");
        assert!(error.contains("bad.toml:6: pump/http") && error.contains("does not compile"), "{error}");
    }

    #[test]
    fn an_entry_that_steals_is_refused_and_one_that_replaces_is_not() {
        let nginx = "HTTP/1.1 200 OK\\r\\nServer: nginx/1.2.3\\r\\n\\r\\n";
        let thief =
            file(&entry("pump/http", "^nginx/1", "Pump Control", nginx).replace("score = 85", "score = 100"));
        let error = load("thief.toml", &thief).expect_err("refused");
        assert!(error.contains("pump/http takes it for"), "{error}");

        let id = Database::builtin()
            .families()
            .flat_map(|family| &family.entries)
            .find(|entry| entry.field == "http.server" && entry.set.contains_key("product"))
            .map(|entry| entry.id.clone())
            .expect("an entry that reads the server header");
        let replacement = file(&entry(&id, "^PumpControl", "Pump Control", PUMP));
        assert!(load("own.toml", &replacement).is_ok(), "{id}");
    }

    #[test]
    fn two_entries_of_one_name_in_users_files_are_one_too_many() {
        let twice = entry("pump/http", "^PumpControl", "Pump Control", PUMP);
        let error = load("twice.toml", &file(&format!("{twice}{twice}"))).expect_err("refused");
        assert!(error.contains("taken"), "{error}");
    }

    #[test]
    fn an_empty_folder_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::builtin().with_files(&[folder.path().to_path_buf()]).expect("accepted");
        assert_eq!(database.stats(), Database::builtin().stats());
    }
}
