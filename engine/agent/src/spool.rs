//! Results on disk until the server has them.
//!
//! ```text
//! spool/<job id>/lease.json         the right to hand in, written before the job starts
//!                0000000000.batch   NDJSON, zstd with checksum; removed when acknowledged
//!                finish.json        how the job ended; the folder goes when it is acknowledged
//!                damage.txt         why the result is not whole, if a batch had to be given up
//! spool/set-aside/                  what could not be read or was refused, for people; the newest few
//! ```
//!
//! Every file is written beside its place, synced, renamed, and the folder synced: after a power cut it is
//! there whole or not at all. All calls block; use them from a blocking thread.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use portreeve_model::{
    SafeText,
    protocol::{FinishRequest, JobOutcome},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::batch;

const SET_ASIDE: &str = "set-aside";
const SET_ASIDE_FILES: usize = 32;

/// What can go wrong with the spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The spool holds as much as it may.
    #[error(
        "the spool {} holds {limit_bytes} bytes, as many as it may: the server has not taken results for too long; \
         bring it back or raise the limit",
        path.display()
    )]
    Full {
        /// The spool's folder.
        path: PathBuf,
        /// The configured limit.
        limit_bytes: u64,
    },
    /// A file operation failed.
    #[error("cannot {doing} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; give the agent its own folder with --state",
        io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull => {
            "; free space there, or choose another folder with --state"
        }
        _ => "",
    }
}

/// A batch that cannot be handed in as it is.
#[derive(Debug, thiserror::Error)]
pub enum BatchUnreadable {
    /// The content does not match its checksum.
    #[error("damaged on disk: {0}")]
    Damaged(io::Error),
    /// The file cannot be read now.
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

/// All jobs' results that have not been acknowledged.
#[derive(Clone, Debug)]
pub struct Spool {
    root: PathBuf,
    limit_bytes: u64,
    used_bytes: Arc<AtomicU64>,
}

impl Spool {
    /// Opens the spool in `root`, which is made if it is missing; batches take at most `limit_bytes`.
    pub fn open(root: PathBuf, limit_bytes: u64) -> Result<Self, SpoolError> {
        make_folder(&root)?;
        make_folder(&root.join(SET_ASIDE))?;
        Ok(Self { root, limit_bytes, used_bytes: Arc::default() })
    }

    /// Starts a job's folder.
    pub fn begin(&self, job_id: Uuid, lease_token: Uuid) -> Result<JobSpool, SpoolError> {
        let folder = self.root.join(job_id.to_string());
        if folder.exists() {
            // The server gave the same job out again: what an earlier lease left is of no use to it.
            remove_folder(&folder)?;
        }
        make_folder(&folder)?;
        sync_folder(&self.root)?;
        let lease = Lease { job_id, lease_token };
        write_json(&folder, "lease.json", &lease)?;
        Ok(JobSpool::new(self.clone(), folder, lease, State::default()))
    }

    /// Jobs that an earlier run of the agent left, to be handed in now. What cannot be read is set aside.
    pub fn leftovers(&self) -> Result<Vec<JobSpool>, SpoolError> {
        let mut jobs = Vec::new();
        for folder in list(&self.root)? {
            if folder.file_name().is_some_and(|name| name == SET_ASIDE) {
                continue;
            }
            match read_json::<Lease>(&folder.join("lease.json")) {
                Ok(lease) => jobs.push(self.leftover(folder, lease)?),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "a spooled job has no readable lease: set aside");
                    self.set_aside(&folder)?;
                }
            }
        }
        Ok(jobs)
    }

    fn leftover(&self, folder: PathBuf, lease: Lease) -> Result<JobSpool, SpoolError> {
        let mut state = State::default();
        for path in list(&folder)? {
            if let Some(number) = batch_number(&path) {
                let bytes = path.metadata().map_err(io_error("look at", &path))?.len();
                self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
                state.pending.insert(number, bytes);
                state.next = state.next.max(number.saturating_add(1));
            } else if path.extension().is_some_and(|extension| extension == "new") {
                // Not renamed before the crash: never promised to anyone.
                remove_file(&path)?;
            }
        }
        state.damage = fs::read(folder.join("damage.txt")).ok().map(|text| crate::plain(&text));
        state.finish = read_json(&folder.join("finish.json")).ok();
        if let Some(finish) = &state.finish {
            state.next = state.next.max(finish.batches);
        }
        Ok(JobSpool::new(self.clone(), folder, lease, state))
    }

    fn batch_fits(&self, bytes: u64) -> Result<(), SpoolError> {
        if self.used_bytes.load(Ordering::Relaxed).saturating_add(bytes) > self.limit_bytes {
            return Err(SpoolError::Full { path: self.root.clone(), limit_bytes: self.limit_bytes });
        }
        Ok(())
    }

    /// Moves a file or folder out of the way, where a person can look at it.
    fn set_aside(&self, path: &Path) -> Result<(), SpoolError> {
        let folder = self.root.join(SET_ASIDE);
        let parent = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let target = folder.join(format!("{parent}-{name}"));
        if target.is_dir() {
            remove_folder(&target)?;
        }
        fs::rename(path, &target).map_err(io_error("set aside", path))?;
        let mut kept = list(&folder)?;
        kept.sort_by_key(|path| path.metadata().and_then(|facts| facts.modified()).ok());
        for oldest in kept.iter().rev().skip(SET_ASIDE_FILES) {
            if oldest.is_dir() { remove_folder(oldest)? } else { remove_file(oldest)? }
        }
        Ok(())
    }
}

/// The right to hand results in.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) job_id: Uuid,
    pub(crate) lease_token: Uuid,
}

/// One job's results.
#[derive(Debug)]
pub struct JobSpool {
    spool: Spool,
    folder: PathBuf,
    pub(crate) lease: Lease,
    /// Held while files are written: the running job appends while the courier splits and gives up.
    writing: Mutex<()>,
    state: Mutex<State>,
    /// Told whenever there may be something new to hand in.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Number → bytes on disk.
    pending: BTreeMap<u32, u64>,
    /// The next batch's number.
    next: u32,
    finish: Option<FinishRequest>,
    damage: Option<String>,
}

impl JobSpool {
    fn new(spool: Spool, folder: PathBuf, lease: Lease, state: State) -> Self {
        Self {
            spool,
            folder,
            lease,
            writing: Mutex::default(),
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// Adds a batch of NDJSON lines; when this returns it survives a crash. Its number comes back.
    pub fn append(&self, lines: &[u8]) -> Result<u32, SpoolError> {
        let _writing = self.writing();
        let number = self.state().next;
        self.write_batch(number, lines)?;
        self.changed.notify_one();
        Ok(number)
    }

    /// The lowest number that has not been acknowledged.
    pub fn first_pending(&self) -> Option<u32> {
        self.state().pending.keys().next().copied()
    }

    /// A batch as it goes over the wire, verified.
    pub fn read(&self, number: u32) -> Result<Vec<u8>, BatchUnreadable> {
        let body = fs::read(self.batch_path(number)).map_err(BatchUnreadable::Io)?;
        batch::decompress(&body).map_err(BatchUnreadable::Damaged)?;
        Ok(body)
    }

    /// The server has it: it is no longer kept.
    pub fn acknowledge(&self, number: u32) -> Result<(), SpoolError> {
        let mut state = self.state();
        if let Some(bytes) = state.pending.remove(&number) {
            self.spool.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
            remove_file(&self.batch_path(number))?;
        }
        Ok(())
    }

    /// Gives a batch up: the file is set aside, an empty batch takes its number, and the job will not be
    /// reported as complete.
    pub fn give_up(&self, number: u32, why: &str) -> Result<(), SpoolError> {
        let _writing = self.writing();
        let damage = format!("batch {number} could not be handed in ({why}); its results are missing");
        write_synced(&self.folder, "damage.txt", damage.as_bytes())?;
        self.state().damage = Some(damage);
        let path = self.batch_path(number);
        if path.exists() {
            self.spool.set_aside(&path)?;
        }
        if let Some(bytes) = self.state().pending.remove(&number) {
            self.spool.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.write_batch(number, b"")
    }

    /// Whether the batch is an empty one that [`Self::give_up`] put in place.
    pub fn is_stand_in(&self, number: u32) -> bool {
        fs::read(self.batch_path(number))
            .and_then(|body| batch::decompress(&body))
            .is_ok_and(|lines| lines.is_empty())
    }

    /// Splits a batch that is too large: its second half gets a new number. False if it is one record.
    pub fn split(&self, number: u32) -> Result<bool, SpoolError> {
        let _writing = self.writing();
        let path = self.batch_path(number);
        let body = fs::read(&path).map_err(io_error("read", &path))?;
        let lines = batch::decompress(&body).map_err(io_error("read", &path))?;
        let Some((first, second)) = batch::halve(&lines) else {
            return Ok(false);
        };
        // The second half first: a crash between the two repeats records, which the server bears.
        let next = self.state().next;
        self.write_batch(next, second)?;
        self.write_batch(number, first)?;
        let finish = self.state().finish.take();
        if let Some(finish) = finish {
            self.finish(finish)?;
        }
        Ok(true)
    }

    /// Records how the job ended. If the disk takes no more, the end is kept in memory and handed in from
    /// there; the error says so.
    pub fn finish(&self, mut finish: FinishRequest) -> Result<(), SpoolError> {
        finish.batches = self.state().next;
        let written = write_json(&self.folder, "finish.json", &finish);
        // Not before the file is there: whoever hands the end in removes the folder after it.
        self.state().finish = Some(finish);
        self.changed.notify_one();
        written
    }

    /// The end to be handed in once no batch is pending; `None` while the job runs.
    pub fn finish_request(&self) -> Option<FinishRequest> {
        let state = self.state();
        let mut finish = state.finish.clone()?;
        finish.batches = state.next;
        if let Some(damage) = &state.damage {
            if finish.outcome == JobOutcome::Completed {
                finish.outcome = JobOutcome::Failed;
            }
            let text = finish.error.map_or_else(|| damage.clone(), |error| format!("{error}; {damage}"));
            finish.error = Some(SafeText::from(text));
        }
        Some(finish)
    }

    /// Forgets the job: everything is acknowledged, or nobody wants it any more.
    pub fn discard(&self) -> Result<(), SpoolError> {
        let mut state = self.state();
        let bytes: u64 = std::mem::take(&mut state.pending).values().sum();
        self.spool.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if self.folder.exists() {
            remove_folder(&self.folder)?;
        }
        sync_folder(&self.spool.root)
    }

    fn write_batch(&self, number: u32, lines: &[u8]) -> Result<(), SpoolError> {
        let path = self.batch_path(number);
        let body = batch::compress(lines).map_err(io_error("compress", &path))?;
        let bytes = body.len() as u64;
        // Empty batches stand in for what is lost; they must fit even then.
        if !lines.is_empty() {
            self.spool.batch_fits(bytes)?;
        }
        write_synced(&self.folder, &batch_name(number), &body)?;
        let mut state = self.state();
        let before = state.pending.insert(number, bytes).unwrap_or_default();
        state.next = state.next.max(number.saturating_add(1));
        self.spool.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.spool.used_bytes.fetch_sub(before, Ordering::Relaxed);
        Ok(())
    }

    fn batch_path(&self, number: u32) -> PathBuf {
        self.folder.join(batch_name(number))
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds a lock, and the state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn batch_name(number: u32) -> String {
    format!("{number:010}.batch")
}

fn batch_number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_suffix(".batch")?.parse().ok()
}

fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> SpoolError + 'a {
    move |source| SpoolError::Io { doing, path: path.to_owned(), source }
}

fn make_folder(path: &Path) -> Result<(), SpoolError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("make the folder", path))
}

fn remove_folder(path: &Path) -> Result<(), SpoolError> {
    fs::remove_dir_all(path).map_err(io_error("remove", path))
}

fn remove_file(path: &Path) -> Result<(), SpoolError> {
    fs::remove_file(path).map_err(io_error("remove", path))
}

fn sync_folder(path: &Path) -> Result<(), SpoolError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error("sync", path))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let entries = fs::read_dir(folder).map_err(io_error("list", folder))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(io_error("list", folder))).collect()
}

/// Puts a file in its place whole and for good, readable by its owner only.
pub(crate) fn write_synced(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), SpoolError> {
    let path = folder.join(name);
    let new = folder.join(format!("{name}.new"));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, &path));
    if let Err(source) = written {
        // Half a file would only take the room that is missing. It is no loss if it stays.
        let _ = fs::remove_file(&new);
        return Err(SpoolError::Io { doing: "write", path, source });
    }
    sync_folder(folder)
}

pub(crate) fn write_json<T: Serialize>(folder: &Path, name: &str, value: &T) -> Result<(), SpoolError> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| io_error("write", &folder.join(name))(io::Error::other(error)))?;
    write_synced(folder, name, &text)
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use portreeve_model::protocol::JobSummary;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn ended(lease: Lease, outcome: JobOutcome) -> FinishRequest {
        FinishRequest {
            lease_token: lease.lease_token,
            outcome,
            error: None,
            batches: 0,
            summary: JobSummary::default(),
        }
    }

    fn job(spool: &Spool) -> JobSpool {
        spool.begin(Uuid::new_v4(), Uuid::new_v4()).expect("a job's folder")
    }

    #[test]
    fn batches_and_the_end_survive_a_restart() {
        let folder = tempfile::tempdir().expect("folder");
        let spool = Spool::open(folder.path().join("spool"), MIB).expect("open");
        let before = job(&spool);
        assert_eq!(before.append(b"{\"a\":1}\n").expect("batch"), 0);
        assert_eq!(before.append(b"{\"a\":2}\n").expect("batch"), 1);
        before.acknowledge(0).expect("acknowledged");
        before.finish(ended(before.lease, JobOutcome::Completed)).expect("finish");
        let file = before.batch_path(1);
        assert_eq!(file.metadata().expect("file").permissions().mode() & 0o777, 0o600);
        drop(before);

        let again = Spool::open(folder.path().join("spool"), MIB).expect("open again");
        let [after] = &again.leftovers().expect("leftovers")[..] else { panic!("not one job") };
        assert_eq!(after.first_pending(), Some(1));
        let body = after.read(1).expect("readable");
        assert_eq!(batch::decompress(&body).expect("whole"), b"{\"a\":2}\n");
        assert_eq!(after.finish_request().expect("the end").batches, 2);
        after.discard().expect("discarded");
        assert!(again.leftovers().expect("leftovers").is_empty());
        assert_eq!(again.used_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_damaged_batch_is_set_aside_and_the_job_is_not_called_complete() {
        let folder = tempfile::tempdir().expect("folder");
        let spool = Spool::open(folder.path().to_owned(), MIB).expect("open");
        let job = job(&spool);
        job.append(b"{\"a\":1}\n").expect("batch");
        fs::write(job.batch_path(0), b"not zstd").expect("damaged");
        assert!(matches!(job.read(0), Err(BatchUnreadable::Damaged(_))));
        job.give_up(0, "damaged on disk").expect("given up");
        assert_eq!(batch::decompress(&job.read(0).expect("stand-in")).expect("whole"), b"");
        job.finish(ended(job.lease, JobOutcome::Completed)).expect("finish");
        let finish = job.finish_request().expect("the end");
        assert_eq!((finish.outcome, finish.batches), (JobOutcome::Failed, 1));
        assert!(finish.error.expect("why").as_str().contains("batch 0"));
        let kept = list(&folder.path().join(SET_ASIDE)).expect("listed");
        assert_eq!(fs::read(&kept[0]).expect("kept"), b"not zstd");
    }

    #[test]
    fn disk_use_is_bounded_and_room_comes_back() {
        let folder = tempfile::tempdir().expect("folder");
        let spool = Spool::open(folder.path().to_owned(), 60).expect("open");
        let job = job(&spool);
        let first = job.append(b"{\"a\":1}\n").expect("fits");
        let noise: Vec<u8> = (0..100_u32).map(|byte| (byte.wrapping_mul(2654435761) >> 24) as u8).collect();
        let error = job.append(&noise).expect_err("does not fit");
        assert!(matches!(error, SpoolError::Full { limit_bytes: 60, .. }), "{error}");
        job.acknowledge(first).expect("acknowledged");
        assert_eq!(job.append(b"{\"a\":2}\n").expect("fits again"), 1);
    }

    #[test]
    fn a_batch_too_large_is_handed_in_as_two() {
        let folder = tempfile::tempdir().expect("folder");
        let spool = Spool::open(folder.path().to_owned(), MIB).expect("open");
        let job = job(&spool);
        job.append(b"1\n2\n3\n").expect("batch");
        job.finish(ended(job.lease, JobOutcome::Completed)).expect("finish");
        assert!(job.split(0).expect("split"));
        let lines = |number| batch::decompress(&job.read(number).expect("readable")).expect("whole");
        assert_eq!((lines(0), lines(1)), (b"1\n".to_vec(), b"2\n3\n".to_vec()));
        assert_eq!(job.finish_request().expect("the end").batches, 2);
        assert!(!job.split(0).expect("looked at"), "one record cannot be split");
    }

    #[test]
    fn a_job_without_a_readable_lease_is_set_aside() {
        let folder = tempfile::tempdir().expect("folder");
        let spool = Spool::open(folder.path().to_owned(), MIB).expect("open");
        let job = job(&spool);
        fs::write(job.folder.join("lease.json"), b"{").expect("damaged");
        assert!(spool.leftovers().expect("leftovers").is_empty());
        assert!(!job.folder.exists());
        assert_eq!(list(&folder.path().join(SET_ASIDE)).expect("listed").len(), 1);
    }

    /// A file system of 256 KiB that only this thread sees; `None` without root, which CI has.
    fn tiny_disk(folder: &Path) -> Option<()> {
        use nix::{
            mount::{MsFlags, mount},
            sched::{CloneFlags, unshare},
        };
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "a disk of its own needs root in CI");
            eprintln!("skipped: mounting a file system needs root");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNS).expect("mounts of its own");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("size=256k")).expect("tmpfs");
        Some(())
    }

    #[test]
    fn a_full_disk_is_told_and_costs_nothing_that_was_kept() {
        let folder = tempfile::tempdir().expect("folder");
        if tiny_disk(folder.path()).is_none() {
            return;
        }
        let spool = Spool::open(folder.path().join("spool"), 1 << 30).expect("open");
        let job = job(&spool);
        let first = job.append(b"{\"a\":1}\n").expect("fits");
        let noise = |seed: u32| {
            let bytes = (0..100_000_u32).scan(seed, |state, _| {
                *state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                Some((*state >> 24) as u8)
            });
            bytes.collect::<Vec<_>>()
        };
        let error = (1..9).find_map(|seed| job.append(&noise(seed)).err()).expect("the disk fills up");
        let text = error.to_string();
        assert!(text.contains("No space left") && text.contains("--state"), "{text}");
        assert!(text.contains(&folder.path().display().to_string()), "{text}");
        assert_eq!(batch::decompress(&job.read(first).expect("kept")).expect("whole"), b"{\"a\":1}\n");
        let unfinished = list(&job.folder).expect("listed");
        assert!(unfinished.iter().all(|path| path.extension().is_none_or(|extension| extension != "new")));
        // The end may find no room, and is handed in from memory then.
        let _ = job.finish(ended(job.lease, JobOutcome::Failed));
        assert!(job.finish_request().is_some());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = Spool::open("/proc/portreeve".into(), MIB).expect_err("not writable");
        assert!(error.to_string().contains("/proc/portreeve"), "{error}");
    }
}
