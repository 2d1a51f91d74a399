//! Follows the probe database's files, so that a running agent knows what its operator has just written.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use portreeve_probes::{Database, DatabaseError};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};

/// How often the folder is looked at. No kernel notice is used: folders on network file systems send none.
const LOOK: Duration = Duration::from_secs(5);

/// A probe database with a folder of the operator's files over it.
#[derive(Clone, Debug)]
pub struct DatabaseFolder {
    base: Arc<Database>,
    folder: PathBuf,
}

/// What tells one state of a folder from another: names, sizes and times of its files.
type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl DatabaseFolder {
    /// The files of `folder` over `base`. A folder that does not exist is an empty one.
    pub fn new(base: Arc<Database>, folder: PathBuf) -> Self {
        Self { base, folder }
    }

    /// Reads and checks all files.
    pub fn load(&self) -> Result<Arc<Database>, DatabaseError> {
        let is_empty = match fs::read_dir(&self.folder) {
            Ok(_) => stamp(&self.folder).is_empty(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if is_empty {
            return Ok(Arc::clone(&self.base));
        }
        self.base.with_files(std::slice::from_ref(&self.folder)).map(Arc::new)
    }

    /// The database as it is now and after every change. A file that is wrong changes nothing and is reported in the
    /// log; at the start the base is used then. A value sent by `reload` (a signal, say) makes it look at once.
    ///
    /// The work ends when the last receiver is gone. Reading and checking runs on the blocking pool.
    pub async fn follow(self, reload: watch::Receiver<()>) -> watch::Receiver<Arc<Database>> {
        let seen = stamp(&self.folder);
        let first = self.clone().load_apart().await.unwrap_or_else(|| Arc::clone(&self.base));
        let (sender, receiver) = watch::channel(first);
        tokio::spawn(self.watch(seen, reload, sender));
        receiver
    }

    async fn watch(
        self,
        mut seen: Stamp,
        mut reload: watch::Receiver<()>,
        sender: watch::Sender<Arc<Database>>,
    ) {
        loop {
            let asked = tokio::select! {
                () = sender.closed() => return,
                () = sleep(LOOK) => false,
                Ok(()) = reload.changed() => true,
            };
            let now = stamp(&self.folder);
            if !asked && now == seen {
                continue;
            }
            seen = now;
            if let Some(database) = self.clone().load_apart().await {
                let stats = database.stats();
                tracing::info!(entries = stats.entries, probes = stats.probes, "probe database loaded anew");
                sender.send_replace(database);
            }
        }
    }

    /// `None`, and a line in the log, if a file is wrong.
    async fn load_apart(self) -> Option<Arc<Database>> {
        let folder = self.folder.clone();
        match spawn_blocking(move || self.load()).await {
            Ok(Ok(database)) => Some(database),
            Ok(Err(error)) => {
                tracing::error!(
                    folder = %folder.display(),
                    "the probe database in use stays as it is, because of the files over it:\n{error}"
                );
                None
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

fn stamp(folder: &Path) -> Stamp {
    let mut files: Stamp = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let facts = fs::metadata(&path).ok();
            let changed = facts.as_ref().and_then(|facts| facts.modified().ok());
            (path, facts.map_or(0, |facts| facts.len()), changed)
        })
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUMP: &str = "schema = 1\nservice = 'http'\nfamily = 'web'\n[[match]]\nid = 'pump/http'\nfield = 'http.server'\n\
        regex = '^PumpControl'\nscore = 85\nset = { product = 'Pump Control' }\n[[match.example]]\n\
        reply = 'HTTP/1.1 200 OK\\r\\nServer: PumpControl\\r\\n\\r\\n'\nexpect = { product = 'Pump Control' }\n\
        source = 'our own device'\n";

    #[tokio::test]
    async fn changes_are_taken_and_mistakes_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = Arc::clone(Database::builtin());
        let entries = base.stats().entries;
        let (reload, asked) = watch::channel(());
        let mut databases =
            DatabaseFolder::new(Arc::clone(&base), folder.path().to_path_buf()).follow(asked).await;
        assert_eq!(databases.borrow_and_update().stats().entries, entries);

        fs::write(folder.path().join("pump.toml"), PUMP).expect("written");
        reload.send_replace(());
        databases.changed().await.expect("a new one");
        assert_eq!(databases.borrow_and_update().stats().entries, entries + 1);

        let other = folder.path().join("other.toml");
        fs::write(&other, "schema = 'one'").expect("written");
        reload.send_replace(());
        let watched = DatabaseFolder::new(base, folder.path().to_path_buf());
        assert!(watched.load().is_err());
        assert_eq!(databases.borrow().stats().entries, entries + 1, "a mistake changes nothing");
        fs::write(&other, PUMP.replace("pump/http", "pump/tap").replace("PumpControl", "Tap"))
            .expect("written");
        reload.send_replace(());
        databases.changed().await.expect("a new one");
        assert_eq!(databases.borrow_and_update().stats().entries, entries + 2);
    }

    #[tokio::test]
    async fn a_mistake_at_the_start_leaves_the_base() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("broken.toml"), "schema = 'one'").expect("written");
        let watched = DatabaseFolder::new(Arc::clone(Database::builtin()), folder.path().to_path_buf());
        assert!(watched.load().is_err());
        let (_reload, asked) = watch::channel(());
        let databases = watched.follow(asked).await;
        assert!(Arc::ptr_eq(&databases.borrow(), Database::builtin()));
    }
}
