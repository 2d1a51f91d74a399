//! One file of the archive: frames of lines, each a document.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use portreeve_model::{Endpoint, Timestamp};
use serde::{Deserialize, Serialize};

use super::Replies;

/// The end of a segment's name; before it stands the time of its first reply.
pub(super) const EXTENSION: &str = "replies.zst";
/// The longest line that is read.
const MAX_LINE: u64 = 2 << 20;
/// Bytes read of one segment, decompressed.
const MAX_SEGMENT: u64 = 4 << 30;

/// Why the archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The folder or a file of it.
    #[error("the reply archive {path}: {source}; check that it exists and that this user may use it")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ArchiveError {
    pub(super) fn of(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }
}

/// A line of a segment.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    /// Replies, under their hash.
    Replies(String, Replies),
    /// Who gave which replies.
    Seen(Endpoint, Timestamp, String),
}

/// An endpoint's newest replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where they came from.
    pub endpoint: Endpoint,
    /// When.
    pub at: Timestamp,
    /// What came.
    pub replies: Replies,
}

/// The newest replies of every endpoint in the archive, in the order of endpoints.
pub fn read(folder: &Path) -> Result<Vec<Kept>, ArchiveError> {
    let mut newest: HashMap<Endpoint, Kept> = HashMap::new();
    for path in segments(folder)? {
        for kept in read_segment(&path)? {
            let known = newest.get(&kept.endpoint);
            if known.is_none_or(|known| known.at <= kept.at) {
                newest.insert(kept.endpoint, kept);
            }
        }
    }
    let mut all: Vec<_> = newest.into_values().collect();
    all.sort_by_key(|kept| kept.endpoint);
    Ok(all)
}

/// The archive's segments, oldest first.
pub(super) fn segments(folder: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let mut paths = Vec::new();
    for file in fs::read_dir(folder).map_err(ArchiveError::of(folder))? {
        let path = file.map_err(ArchiveError::of(folder))?.path();
        if start_of(&path).is_some() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The time of a segment's first reply, by its name.
pub(super) fn start_of(path: &Path) -> Option<Timestamp> {
    let name = path.file_name()?.to_str()?.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    name.split('-').next()?.parse().ok().map(Timestamp)
}

fn read_segment(path: &Path) -> Result<Vec<Kept>, ArchiveError> {
    let file = File::open(path).map_err(ArchiveError::of(path))?;
    let mut replies = HashMap::new();
    let mut kept = Vec::new();
    for line in lines(file) {
        match line {
            Line::Replies(hash, came) => drop(replies.insert(hash, came)),
            Line::Seen(endpoint, at, hash) => {
                if let Some(replies) = replies.get(&hash) {
                    kept.push(Kept { endpoint, at, replies: Replies::clone(replies) });
                }
            }
        }
    }
    Ok(kept)
}

/// The lines of a segment up to its end, or to where it is damaged.
pub(super) fn lines(segment: impl Read) -> impl Iterator<Item = Line> {
    let plain = zstd::stream::read::Decoder::new(segment).ok();
    let mut plain = plain.map(|plain| BufReader::new(plain.take(MAX_SEGMENT)));
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        plain.as_mut()?.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
        serde_json::from_slice(line.strip_suffix(b"\n")?).ok()
    })
}
