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

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use portreeve_model::protocol::Record;
use portreeve_scan::{Checkpoint, Page};

use crate::{checkpoint::Unfinished, exit::Failure, output::Findings};

const FOUND: &str = "found.ndjson";
const HOSTS: &str = "hosts.bits";
const SCAN: &str = "scan.json";

/// The journal of a running scan. Its folder is made at the first checkpoint: short scans leave no trace.
pub(crate) struct Journal {
    folder: PathBuf,
    scan: Unfinished,
    files: Option<Files>,
    /// Why it is not kept any more.
    broken: bool,
}

struct Files {
    found: BufWriter<File>,
    answered: File,
    hosts: File,
    stretch: u64,
}

impl Journal {
    /// The journal of a new scan, in the current folder.
    pub(crate) fn of_new(scan: Unfinished) -> Self {
        let folder = PathBuf::from(format!("portreeve-{:016x}.resume", scan.seed));
        Self { folder, scan, files: None, broken: false }
    }

    /// Goes on with the journal of an earlier scan, cutting off what it did not finish writing.
    pub(crate) fn of_resumed(folder: &Path, resumed: &Resumed) -> Result<Self, Failure> {
        let failed = |error| cannot_resume(folder, &error);
        let found = OpenOptions::new().append(true).create(true).open(folder.join(FOUND)).map_err(failed)?;
        found.set_len(resumed.found_bytes).map_err(failed)?;
        let stretch = resumed.scan.stretch;
        let files = Files {
            found: BufWriter::new(found),
            answered: bits(&folder.join(answered(stretch))).map_err(failed)?,
            hosts: bits(&folder.join(HOSTS)).map_err(failed)?,
            stretch,
        };
        Ok(Self { folder: folder.to_owned(), scan: resumed.scan.clone(), files: Some(files), broken: false })
    }

    /// The folder, if there is one to go on from.
    pub(crate) fn folder(&self) -> Option<&Path> {
        (self.files.is_some() && !self.broken).then_some(&self.folder)
    }

    /// Takes a record in.
    pub(crate) fn note(&mut self, record: &Record) {
        if let Some(files) = &mut self.files
            && let Err(error) = line(&mut files.found, record)
        {
            self.give_up(&error);
        }
    }

    /// Makes everything until now durable. `findings` are all records, needed the first time.
    pub(crate) fn keep(&mut self, checkpoint: &Checkpoint, findings: &Findings) {
        if !self.broken
            && let Err(error) = self.write(checkpoint, findings)
        {
            self.give_up(&error);
        }
    }

    /// The scan is over: nobody needs the journal any more.
    pub(crate) fn remove(self) {
        if self.files.is_some()
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(folder = %self.folder.display(), %error, "cannot remove the checkpoint");
        }
    }

    fn write(&mut self, checkpoint: &Checkpoint, findings: &Findings) -> io::Result<()> {
        let mut files = match self.files.take() {
            Some(files) => files,
            None => self.create(checkpoint.stretch, findings)?,
        };
        files.found.flush()?;
        files.found.get_ref().sync_data()?;
        let old = files.stretch;
        if checkpoint.stretch != old {
            files.answered = bits(&self.folder.join(answered(checkpoint.stretch)))?;
            files.stretch = checkpoint.stretch;
        }
        for (file, pages) in [(&files.answered, &checkpoint.answered), (&files.hosts, &checkpoint.hosts)] {
            for page in pages {
                let bytes: Vec<u8> = page.words.iter().flat_map(|word| word.to_le_bytes()).collect();
                file.write_all_at(&bytes, u64::from(page.number) * PAGE_BYTES as u64)?;
            }
            file.sync_data()?;
        }
        self.files = Some(files);
        self.scan.advance(checkpoint);
        self.write_scan()?;
        if checkpoint.stretch != old {
            fs::remove_file(self.folder.join(answered(old)))?;
        }
        Ok(())
    }

    fn create(&self, stretch: u64, findings: &Findings) -> io::Result<Files> {
        fs::create_dir_all(&self.folder)?;
        let mut found = BufWriter::new(File::create(self.folder.join(FOUND))?);
        for record in findings.records() {
            line(&mut found, &record)?;
        }
        let answered = bits(&self.folder.join(answered(stretch)))?;
        let hosts = bits(&self.folder.join(HOSTS))?;
        Ok(Files { found, answered, hosts, stretch })
    }

    fn write_scan(&self) -> io::Result<()> {
        let (path, new) = (self.folder.join(SCAN), self.folder.join("scan.json.new"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(&self.scan)?)?;
        file.sync_data()?;
        fs::rename(&new, &path)?;
        File::open(&self.folder)?.sync_all()
    }

    fn give_up(&mut self, error: &io::Error) {
        self.broken = true;
        eprintln!(
            "portreeve: cannot keep the checkpoint {}: {error}; the scan goes on without",
            self.folder.display()
        );
    }
}

const PAGE_BYTES: usize = Page::WORDS * 8;

fn answered(stretch: u64) -> String {
    format!("answered-{stretch}.bits")
}

fn bits(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn line(out: &mut impl Write, record: &Record) -> io::Result<()> {
    serde_json::to_writer(&mut *out, record)?;
    out.write_all(b"\n")
}

fn cannot_resume(folder: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("cannot resume from {}: {error}", folder.display()))
}

/// What an earlier scan left.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) scan: Unfinished,
    /// With all pages.
    pub(crate) checkpoint: Checkpoint,
    /// What it found.
    pub(crate) records: Vec<Record>,
    /// The length of the whole lines of `found.ndjson`.
    found_bytes: u64,
}

impl Resumed {
    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        Self::try_read(folder).map_err(|error| cannot_resume(folder, &error))
    }

    fn try_read(folder: &Path) -> io::Result<Self> {
        let scan: Unfinished = serde_json::from_slice(&fs::read(folder.join(SCAN))?)?;
        let checkpoint = Checkpoint {
            answered: pages(&fs::read(folder.join(answered(scan.stretch)))?),
            hosts: pages(&fs::read(folder.join(HOSTS))?),
            ..scan.checkpoint()
        };
        let (mut records, mut found_bytes) = (Vec::new(), 0);
        let mut found = BufReader::new(File::open(folder.join(FOUND))?);
        let mut line = Vec::new();
        while found.read_until(b'\n', &mut line)? > 0 {
            // The last line may have been cut off in the middle: it was not covered by any checkpoint.
            let Some(text) = line.strip_suffix(b"\n") else { break };
            records.push(serde_json::from_slice(text)?);
            found_bytes += line.len() as u64;
            line.clear();
        }
        Ok(Self { scan, checkpoint, records, found_bytes })
    }
}

/// The pages of a file that hold anything.
fn pages(bytes: &[u8]) -> Vec<Page> {
    let words = |bytes: &[u8]| {
        let words = bytes.chunks(8).map(|word| {
            let mut whole = [0; 8];
            whole.iter_mut().zip(word).for_each(|(whole, byte)| *whole = *byte);
            u64::from_le_bytes(whole)
        });
        words.collect::<Vec<_>>()
    };
    let pages = bytes.chunks(PAGE_BYTES).zip(0..).map(|(bytes, number)| Page { number, words: words(bytes) });
    pages.filter(|page| page.words.iter().any(|&word| word != 0)).collect()
}

#[cfg(test)]
mod tests {
    use portreeve_scan::{PortSet, ScanConfig, TargetSetBuilder};

    use super::*;
    use crate::{args::Part, output::table::tests::findings};

    fn page(number: u32, first_word: u64) -> Page {
        let mut words = vec![0; Page::WORDS];
        words[0] = first_word;
        Page { number, words }
    }

    fn journal(folder: &Path) -> Journal {
        let targets = TargetSetBuilder::new().include("10.99.0.0/24").and_then(TargetSetBuilder::build);
        let ports: PortSet = "1-100".parse().expect("ports");
        let config = ScanConfig::new(targets.expect("targets"), ports);
        let mut journal = Journal::of_new(Unfinished::new(&config, Part::WHOLE));
        journal.folder = folder.join("x.resume");
        journal
    }

    #[test]
    fn what_was_kept_is_read_back_and_gone_on_with() {
        let folder = tempfile::tempdir().expect("folder");
        let (mut journal, findings) = (journal(folder.path()), findings());
        assert_eq!(journal.folder(), None, "nothing is kept before the first checkpoint");
        let first =
            Checkpoint { position: 5, answered: vec![page(0, 3), page(2, 8)], ..Checkpoint::default() };
        journal.keep(&first, &findings);
        let second = Checkpoint { position: 9, answered: vec![page(0, 7)], ..Checkpoint::default() };
        journal.keep(&second, &findings);
        let path = journal.folder().expect("kept").to_owned();

        // Killed in the middle of a line that no checkpoint covers.
        let found = path.join(FOUND);
        fs::write(&found, [fs::read(&found).expect("read"), b"{\"type\":\"po".to_vec()].concat())
            .expect("written");
        let resumed = Resumed::read(&path).expect("readable");
        assert_eq!(resumed.checkpoint.position, 9);
        assert_eq!(resumed.checkpoint.answered, [page(0, 7), page(2, 8)]);
        assert_eq!(resumed.records.len(), findings.records().count());

        let mut journal = Journal::of_resumed(&path, &resumed).expect("writable");
        journal.note(&resumed.records[0]);
        let next =
            Checkpoint { stretch: 100, position: 100, answered: vec![page(1, 1)], ..Checkpoint::default() };
        journal.keep(&next, &findings);
        let again = Resumed::read(&path).expect("readable");
        assert_eq!(again.records.len(), resumed.records.len() + 1);
        assert_eq!(again.checkpoint, next);
        journal.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_journal_is_refused_by_name() {
        let error = Resumed::read(Path::new("/nonexistent/x.resume")).expect_err("refused");
        assert!(error.message.contains("/nonexistent/x.resume"), "{error}");
    }
}
