//! The folder of a journal, written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    mem,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use portreeve_model::protocol::Record;
use portreeve_scan::{Checkpoint, Page};

use super::Resumed;
use crate::{checkpoint::Unfinished, exit::Failure};

pub(super) const FOUND: &str = "found.ndjson";
pub(super) const HOSTS: &str = "hosts.bits";
pub(super) const SCAN: &str = "scan.json";

/// What a running scan keeps. Its folder is made at the first checkpoint: short scans leave no trace.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    scan: Unfinished,
    files: Option<Files>,
    /// What was found before there were files.
    waiting: Vec<Record>,
    /// It could not be written, and is not kept any more.
    broken: bool,
}

#[derive(Debug)]
struct Files {
    found: BufWriter<File>,
    answered: File,
    hosts: File,
    stretch: u64,
}

impl Folder {
    /// That of a new scan, to be made in this folder.
    pub(crate) fn of_new(scan: Unfinished, parent: &Path) -> Self {
        let path = parent.join(format!("portreeve-{:016x}.resume", scan.seed));
        Self { path, scan, files: None, waiting: Vec::new(), broken: false }
    }

    /// Goes on with that of an earlier scan, cutting off what it did not finish writing.
    pub(crate) fn of_resumed(path: &Path, resumed: &Resumed) -> Result<Self, Failure> {
        let failed = |error| cannot_resume(path, &error);
        let found = OpenOptions::new().append(true).create(true).open(path.join(FOUND)).map_err(failed)?;
        found.set_len(resumed.found_bytes).map_err(failed)?;
        let stretch = resumed.scan.stretch;
        let files = Files {
            found: BufWriter::new(found),
            answered: bits(&path.join(answered(stretch))).map_err(failed)?,
            hosts: bits(&path.join(HOSTS)).map_err(failed)?,
            stretch,
        };
        Ok(Self {
            path: path.to_owned(),
            scan: resumed.scan.clone(),
            files: Some(files),
            waiting: Vec::new(),
            broken: false,
        })
    }

    /// Where it is, if there is something to go on from.
    pub(crate) fn path(&self) -> Option<&Path> {
        (self.files.is_some() && !self.broken).then_some(&self.path)
    }

    /// Takes records in.
    pub(super) fn note(&mut self, mut records: Vec<Record>) {
        if self.broken {
            return;
        }
        let Some(files) = &mut self.files else { return self.waiting.append(&mut records) };
        if let Err(error) = lines(&mut files.found, &records) {
            self.give_up(&error);
        }
    }

    /// Makes everything until now durable.
    pub(super) fn keep(&mut self, checkpoint: &Checkpoint) {
        if !self.broken
            && let Err(error) = self.write(checkpoint)
        {
            self.give_up(&error);
        }
    }

    /// The scan is over: nobody needs it any more.
    pub(crate) fn remove(self) {
        if self.files.is_some()
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "cannot remove the checkpoint");
        }
    }

    fn write(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut files = match self.files.take() {
            Some(files) => files,
            None => self.create(checkpoint.stretch)?,
        };
        files.found.flush()?;
        files.found.get_ref().sync_data()?;
        let old = files.stretch;
        if checkpoint.stretch != old {
            files.answered = bits(&self.path.join(answered(checkpoint.stretch)))?;
            files.stretch = checkpoint.stretch;
        }
        for (file, pages) in [(&files.answered, &checkpoint.answered), (&files.hosts, &checkpoint.hosts)] {
            for page in pages {
                let bytes: Vec<u8> = page.words.iter().flat_map(|word| word.to_le_bytes()).collect();
                file.write_all_at(&bytes, u64::from(page.number) * PAGE_BYTES as u64)?;
            }
            if !pages.is_empty() {
                file.sync_data()?;
            }
        }
        self.files = Some(files);
        self.scan.advance(checkpoint);
        self.write_scan()?;
        if checkpoint.stretch != old {
            fs::remove_file(self.path.join(answered(old)))?;
        }
        Ok(())
    }

    fn create(&mut self, stretch: u64) -> io::Result<Files> {
        fs::create_dir_all(&self.path)?;
        let mut found = BufWriter::new(File::create(self.path.join(FOUND))?);
        lines(&mut found, &mem::take(&mut self.waiting))?;
        let answered = bits(&self.path.join(answered(stretch)))?;
        let hosts = bits(&self.path.join(HOSTS))?;
        Ok(Files { found, answered, hosts, stretch })
    }

    fn write_scan(&self) -> io::Result<()> {
        let (path, new) = (self.path.join(SCAN), self.path.join("scan.json.new"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(&self.scan)?)?;
        file.sync_data()?;
        fs::rename(&new, &path)?;
        File::open(&self.path)?.sync_all()
    }

    fn give_up(&mut self, error: &io::Error) {
        self.broken = true;
        say!(
            "portreeve: cannot keep the checkpoint {}: {error}; the scan goes on without",
            self.path.display()
        );
    }
}

pub(super) const PAGE_BYTES: usize = Page::WORDS * 8;

pub(super) fn answered(stretch: u64) -> String {
    format!("answered-{stretch}.bits")
}

fn bits(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn lines(out: &mut impl Write, records: &[Record]) -> io::Result<()> {
    records.iter().try_for_each(|record| {
        serde_json::to_writer(&mut *out, record)?;
        out.write_all(b"\n")
    })
}

pub(super) fn cannot_resume(folder: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("cannot resume from {}: {error}", folder.display()))
}
