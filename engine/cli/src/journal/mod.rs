//! The folder that a running scan keeps, so that `--resume` can go on after it was killed at any moment.
//!
//! | file | holds | written |
//! |---|---|---|
//! | `found.ndjson` | all records found, one a line | appended |
//! | `answered-N.bits` | who has answered, of the stretch that begins at position N | in place, bits are only ever set |
//! | `hosts.bits` | the hosts that were met | likewise |
//! | `scan.json` | the scan and how far it is | anew each time, and renamed over the old one |
//!
//! They are written and synced in this order at each checkpoint, which comes behind the records it covers. So
//! whatever moment the end comes at, what `scan.json` and the bits say is done has its records in `found.ndjson`.

mod folder;
mod resumed;

use std::{
    io, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use portreeve_model::protocol::Record;
use portreeve_scan::Checkpoint;

pub(crate) use self::{folder::Folder, resumed::Resumed};

/// Keeps a folder by a thread of its own: a disk that takes its time does not hold up what is found meanwhile.
#[derive(Debug)]
pub(crate) struct Journal {
    desk: Arc<Desk>,
    writer: JoinHandle<Folder>,
}

/// What lies between those who find and the thread that writes.
#[derive(Debug, Default)]
struct Desk {
    pile: Mutex<Pile>,
    /// There is more on the pile, or it is the last.
    grown: Condvar,
    /// The pile was taken away.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct Pile {
    found: Vec<Record>,
    /// How far the scan is, all records until then being written or in the pile.
    reached: Option<Box<Checkpoint>>,
    is_last: bool,
}

impl Journal {
    /// Records that may wait for the disk; whoever finds more waits, too.
    const WAITING: usize = 1 << 18;
    /// How often someone who waits looks whether the thread still lives.
    const LOOK: Duration = Duration::from_millis(100);

    /// Starts the thread; it may open the files that this one may.
    pub(crate) fn start(mut folder: Folder) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let writer = thread::Builder::new().name("journal".to_owned()).spawn({
            let desk = Arc::clone(&desk);
            move || {
                while let Some((found, reached)) = desk.take() {
                    folder.note(found);
                    if let Some(checkpoint) = reached {
                        folder.keep(&checkpoint);
                    }
                }
                folder
            }
        })?;
        Ok(Self { desk, writer })
    }

    /// Takes records in.
    pub(crate) fn note(&self, mut records: Vec<Record>) {
        let mut pile = self.desk.pile();
        while pile.found.len() >= Self::WAITING && !self.writer.is_finished() {
            let waited = self.desk.taken.wait_timeout(pile, Self::LOOK);
            pile = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        pile.found.append(&mut records);
        self.desk.grown.notify_one();
    }

    /// Has everything until now made durable, together with what comes before the disk is ready.
    pub(crate) fn keep(&self, checkpoint: Box<Checkpoint>) {
        let mut pile = self.desk.pile();
        pile.reached = Some(match pile.reached.take() {
            Some(earlier) => Box::new(checkpoint.after(*earlier)),
            None => checkpoint,
        });
        self.desk.grown.notify_one();
    }

    /// Waits until all is written.
    pub(crate) fn finish(self) -> Folder {
        self.desk.pile().is_last = true;
        self.desk.grown.notify_one();
        self.writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Desk {
    fn pile(&self) -> MutexGuard<'_, Pile> {
        self.pile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that is there, and waits for something; `None` after the last.
    fn take(&self) -> Option<(Vec<Record>, Option<Box<Checkpoint>>)> {
        let is_idle = |pile: &mut Pile| pile.is_empty() && !pile.is_last;
        let pile = self.grown.wait_while(self.pile(), is_idle);
        let mut pile = pile.unwrap_or_else(PoisonError::into_inner);
        let taken = (!pile.is_empty()).then(|| (mem::take(&mut pile.found), pile.reached.take()));
        self.taken.notify_one();
        taken
    }
}

impl Pile {
    fn is_empty(&self) -> bool {
        self.found.is_empty() && self.reached.is_none()
    }
}
#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use portreeve_scan::{Page, PortSet, ScanConfig, TargetSetBuilder};

    use super::*;
    use crate::{args::Part, checkpoint::Unfinished, output::table::tests::findings};

    fn page(number: u32, first_word: u64) -> Page {
        let mut words = vec![0; Page::WORDS];
        words[0] = first_word;
        Page { number, words }
    }

    fn unfinished() -> Unfinished {
        let targets = TargetSetBuilder::new().include("10.99.0.0/24").and_then(TargetSetBuilder::build);
        let ports: PortSet = "1-100".parse().expect("ports");
        Unfinished::new(&ScanConfig::new(targets.expect("targets"), ports), Part::WHOLE)
    }

    fn records() -> Vec<Record> {
        let findings = findings();
        let hosts = findings.hosts.into_values().map(|host| Record::Host(Box::new(host)));
        hosts.chain(findings.ports.into_values().map(Record::Port)).collect()
    }

    /// What a scan that got so far leaves, and that it has a name only once there is something.
    fn kept(folder: Folder, records: Vec<Record>, checkpoints: &[Checkpoint]) -> Folder {
        let journal = Journal::start(folder).expect("a thread");
        journal.note(records);
        for reached in checkpoints {
            journal.keep(Box::new(reached.clone()));
        }
        journal.finish()
    }

    #[test]
    fn what_was_kept_is_read_back_and_gone_on_with() {
        let folder = tempfile::tempdir().expect("folder");
        let new = || Folder::of_new(unfinished(), folder.path());
        assert_eq!(kept(new(), records(), &[]).path(), None, "nothing is kept before the first checkpoint");
        let first =
            Checkpoint { position: 5, answered: vec![page(0, 3), page(2, 8)], ..Checkpoint::default() };
        let second = Checkpoint { position: 9, answered: vec![page(0, 7)], ..Checkpoint::default() };
        let path = kept(new(), records(), &[first, second]).path().expect("kept").to_owned();

        // Killed in the middle of a line that no checkpoint covers.
        let found = path.join("found.ndjson");
        fs::write(&found, [fs::read(&found).expect("read"), b"{\"type\":\"po".to_vec()].concat())
            .expect("written");
        let resumed = Resumed::read(&path).expect("readable");
        assert_eq!(resumed.checkpoint.position, 9);
        assert_eq!(resumed.checkpoint.answered, [page(0, 7), page(2, 8)]);
        assert_eq!(resumed.records, records());

        let next =
            Checkpoint { stretch: 100, position: 100, answered: vec![page(1, 1)], ..Checkpoint::default() };
        let again = Folder::of_resumed(&path, &resumed).expect("writable");
        let left = kept(again, resumed.records[..1].to_vec(), std::slice::from_ref(&next));
        let again = Resumed::read(&path).expect("readable");
        assert_eq!(again.records.len(), resumed.records.len() + 1);
        assert_eq!(again.checkpoint, next);
        left.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_journal_is_refused_by_name() {
        let error = Resumed::read(Path::new("/nonexistent/x.resume")).expect_err("refused");
        assert!(error.message.contains("/nonexistent/x.resume"), "{error}");
    }
}
