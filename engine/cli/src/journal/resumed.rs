//! Reading what an earlier scan left.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::Path,
};

use portreeve_model::protocol::Record;
use portreeve_scan::{Checkpoint, Page};

use super::folder::{FOUND, HOSTS, PAGE_BYTES, SCAN, answered, cannot_resume};
use crate::{checkpoint::Unfinished, exit::Failure};

/// What an earlier scan left.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) scan: Unfinished,
    /// With all pages.
    pub(crate) checkpoint: Checkpoint,
    /// What it found.
    pub(crate) records: Vec<Record>,
    /// The length of the whole lines of `found.ndjson`.
    pub(super) found_bytes: u64,
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
