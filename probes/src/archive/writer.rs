//! Writes the archive from a thread of its own, so that no conversation waits for a disk.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use portreeve_model::{Endpoint, Service, Timestamp};

use super::{
    ArchiveConfig, ArchiveError, Replies, ReplySink,
    segment::{EXTENSION, Line, lines, segments, start_of},
};
use crate::{decode::hex, fields::Fields};

/// Conversations that may wait to be written; what comes while so many wait is not kept, and counted.
const WAITING: usize = 64;
/// A frame is written when it has grown to so many bytes, or nothing came for a while.
const FRAME: usize = 1 << 20;
const PAUSE: Duration = Duration::from_secs(2);
/// The archive is cut into so many segments, by size and by age, so that the oldest can go in small parts.
const SEGMENTS: u32 = 16;

/// An archive that is being written. Dropping it writes what waits.
///
/// The thread that writes is started with the first conversation: by then a scanner has given up its rights, and the
/// thread inherits none.
#[derive(Debug)]
pub struct Archive {
    config: ArchiveConfig,
    worker: Mutex<Option<Worker>>,
    left_out: AtomicU64,
}

#[derive(Debug)]
struct Worker {
    waiting: SyncSender<Arrival>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Arrival {
    endpoint: Endpoint,
    fields: Fields,
    at: Timestamp,
}

impl Archive {
    /// Opens or makes the archive.
    pub fn open(config: ArchiveConfig) -> Result<Self, ArchiveError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&config.folder)
            .map_err(ArchiveError::of(&config.folder))?;
        // Tells at once whether the folder can be read.
        segments(&config.folder)?;
        Ok(Self { config, worker: Mutex::new(None), left_out: AtomicU64::new(0) })
    }

    /// Conversations that were not kept because the disk was too slow.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Relaxed)
    }

    /// Hands a conversation to the writer; `false` if there is none, or too much waits for it.
    fn hand_over(&self, arrival: Arrival) -> bool {
        let Ok(mut worker) = self.worker.lock() else { return false };
        if worker.is_none() {
            *worker = Worker::start(self.config.clone());
        }
        worker.as_ref().is_some_and(|worker| worker.waiting.try_send(arrival).is_ok())
    }
}

impl Worker {
    fn start(config: ArchiveConfig) -> Option<Self> {
        let (waiting, arrivals) = sync_channel(WAITING);
        let thread = thread::Builder::new()
            .name("reply archive".to_owned())
            .spawn(move || Writer::new(config).write_all(&arrivals));
        Some(Self { waiting, thread: thread.ok()? })
    }
}

impl ReplySink for Archive {
    fn keep(&self, service: &Service, fields: &Fields, at: Timestamp) {
        if fields.is_empty() {
            return;
        }
        let arrival = Arrival { endpoint: service.endpoint, fields: fields.clone(), at };
        if !self.hand_over(arrival) {
            self.left_out.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if let Some(Worker { waiting, thread }) = self.worker.get_mut().ok().and_then(Option::take) {
            drop(waiting);
            // A writer that panicked has nothing left to write.
            let _ = thread.join();
        }
        if self.left_out() > 0 {
            tracing::warn!(
                conversations = self.left_out(),
                "the reply archive's disk was too slow for these"
            );
        }
    }
}

struct Writer {
    config: ArchiveConfig,
    segment: Option<Segment>,
    /// Lines of the frame that is being filled.
    frame: Vec<u8>,
    failed: bool,
}

/// The segment that is written to, locked against other writers.
struct Segment {
    file: File,
    path: PathBuf,
    start: Timestamp,
    bytes: u64,
    known: HashSet<[u8; 32]>,
    seen: HashSet<(Endpoint, [u8; 32])>,
}

impl Writer {
    fn new(config: ArchiveConfig) -> Self {
        Self { config, segment: None, frame: Vec::new(), failed: false }
    }

    fn write_all(mut self, arrivals: &Receiver<Arrival>) {
        loop {
            let written = match arrivals.recv_timeout(PAUSE) {
                Ok(arrival) => self.add(&arrival),
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.report(written);
        }
        let written = self.flush();
        self.report(written);
    }

    /// Says once that the archive cannot be written; identification goes on without it.
    fn report(&mut self, written: Result<(), ArchiveError>) {
        if let Err(error) = written
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::error!(%error, "replies are not kept");
        }
    }

    fn add(&mut self, arrival: &Arrival) -> Result<(), ArchiveError> {
        let replies = Replies::of(&arrival.fields);
        if replies.is_empty() {
            return Ok(());
        }
        self.turn_over(arrival.at)?;
        let Some(segment) = &mut self.segment else { return Ok(()) };
        let hash = replies.hash();
        if segment.known.insert(hash) {
            append(&mut self.frame, &Line::Replies(hex(&hash), replies));
        }
        if segment.seen.insert((arrival.endpoint, hash)) {
            append(&mut self.frame, &Line::Seen(arrival.endpoint, arrival.at, hex(&hash)));
        }
        if self.frame.len() >= FRAME { self.flush() } else { Ok(()) }
    }

    /// Writes the frame that was being filled.
    fn flush(&mut self) -> Result<(), ArchiveError> {
        let Some(segment) = self.segment.as_mut().filter(|_| !self.frame.is_empty()) else { return Ok(()) };
        let written = zstd::bulk::compress(&self.frame, 3)
            .and_then(|packed| segment.file.write_all(&packed).map(|()| packed.len()));
        self.frame.clear();
        segment.bytes += written.map_err(ArchiveError::of(&segment.path))? as u64;
        self.remove_oldest()
    }

    /// Sees to it that there is a segment with room that is not too old.
    fn turn_over(&mut self, now: Timestamp) -> Result<(), ArchiveError> {
        let is_full = |segment: &Segment, config: &ArchiveConfig| {
            segment.bytes >= config.max_bytes / u64::from(SEGMENTS)
                || now.0.saturating_sub(segment.start.0) >= millis(config.max_age / SEGMENTS)
        };
        if self.segment.as_ref().is_some_and(|segment| is_full(segment, &self.config)) {
            self.flush()?;
            self.segment = None;
        }
        if self.segment.is_none() {
            let newest = segments(&self.config.folder)?.pop();
            let resumed = newest.and_then(Segment::resume).filter(|segment| !is_full(segment, &self.config));
            self.segment = Some(match resumed {
                Some(segment) => segment,
                None => Segment::begin(&self.config, now)?,
            });
            self.remove_older_than(now)?;
        }
        Ok(())
    }

    /// Removes whole segments, oldest first, until the rest is within the size.
    fn remove_oldest(&self) -> Result<(), ArchiveError> {
        let mut sizes = Vec::new();
        for path in segments(&self.config.folder)? {
            let bytes = fs::metadata(&path).map(|facts| facts.len()).unwrap_or_default();
            sizes.push((path, bytes));
        }
        let mut total: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
        for (path, bytes) in sizes.iter().filter(|(path, _)| !self.is_current(path)) {
            if total <= self.config.max_bytes {
                break;
            }
            fs::remove_file(path).map_err(ArchiveError::of(path))?;
            total = total.saturating_sub(*bytes);
        }
        Ok(())
    }

    fn remove_older_than(&self, now: Timestamp) -> Result<(), ArchiveError> {
        let paths = segments(&self.config.folder)?;
        for path in paths.iter().filter(|path| !self.is_current(path)) {
            let age = start_of(path).map_or(0, |start| now.0.saturating_sub(start.0));
            if age > millis(self.config.max_age) {
                fs::remove_file(path).map_err(ArchiveError::of(path))?;
            }
        }
        Ok(())
    }

    fn is_current(&self, path: &PathBuf) -> bool {
        self.segment.as_ref().is_some_and(|segment| segment.path == *path)
    }
}

impl Segment {
    /// Goes on with a segment, unless another process writes to it.
    fn resume(path: PathBuf) -> Option<Self> {
        let start = start_of(&path)?;
        let file = OpenOptions::new().read(true).append(true).open(&path).ok()?;
        file.try_lock().ok()?;
        let mut segment = Self {
            bytes: file.metadata().ok()?.len(),
            file,
            path,
            start,
            known: HashSet::new(),
            seen: HashSet::new(),
        };
        for line in lines(File::open(&segment.path).ok()?) {
            match line {
                Line::Replies(hash, _) => segment.known.extend(bytes_of(&hash)),
                Line::Seen(endpoint, _, hash) => {
                    segment.seen.extend(bytes_of(&hash).map(|hash| (endpoint, hash)));
                }
            }
        }
        // After a frame that was cut off nothing more could be read.
        ends_well(&segment.path).then_some(segment)
    }

    fn begin(config: &ArchiveConfig, now: Timestamp) -> Result<Self, ArchiveError> {
        let mut number = 0_u32;
        loop {
            let path = config.folder.join(format!("{:013}-{number:04}.{EXTENSION}", now.0.max(0)));
            let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
            match made {
                Ok(file) => {
                    // Nobody else knows the file yet.
                    let _ = file.try_lock();
                    let (known, seen) = (HashSet::new(), HashSet::new());
                    return Ok(Self { file, path, start: now, bytes: 0, known, seen });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 9_999 => {
                    number += 1;
                }
                Err(error) => return Err(ArchiveError::of(&path)(error)),
            }
        }
    }
}

/// Whether a segment decompresses to its end.
fn ends_well(path: &PathBuf) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let Ok(mut plain) = zstd::stream::read::Decoder::new(file) else { return false };
    std::io::copy(&mut plain, &mut std::io::sink()).is_ok()
}

fn append(frame: &mut Vec<u8>, line: &Line) {
    let before = frame.len();
    if serde_json::to_writer(&mut *frame, line).is_ok() {
        frame.push(b'\n');
    } else {
        frame.truncate(before);
    }
}

fn bytes_of(hash: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(hash.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    (hash.len() == 64).then_some(bytes)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use portreeve_model::Transport;

    use super::*;
    use crate::archive::read;

    const DAY: i64 = 24 * 3600 * 1000;

    fn service(last: u8) -> Service {
        let endpoint = Endpoint { address: [10, 99, 0, last].into(), port: 22, transport: Transport::Tcp };
        Service::unrecognised(endpoint, Timestamp(0))
    }

    fn fields(text: &str) -> Fields {
        let mut fields = Fields::default();
        crate::decode::decode("banner", text.as_bytes(), &mut fields);
        fields
    }

    fn keep(folder: &Path, seen: &[(u8, &str, i64)]) {
        keep_within(ArchiveConfig::new(folder.to_path_buf()), seen);
    }

    fn keep_within(config: ArchiveConfig, seen: &[(u8, &str, i64)]) {
        let archive = Archive::open(config).expect("opens");
        for (last, text, at) in seen {
            archive.keep(&service(*last), &fields(text), Timestamp(*at));
            // Slower than the writer, so that nothing is left out.
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(archive.left_out(), 0);
    }

    fn bytes(folder: &Path) -> u64 {
        segments(folder).expect("readable").iter().map(|path| path.metadata().expect("a file").len()).sum()
    }

    #[test]
    fn the_newest_replies_of_every_endpoint_come_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("replies");
        keep(&place, &[(1, "SSH-2.0-a\r\n", 1000), (2, "SSH-2.0-b\r\n", 1001), (1, "SSH-2.0-c\r\n", 1002)]);
        let kept = read(&place).expect("readable");
        let texts: Vec<_> = kept.iter().map(|kept| (kept.at.0, kept.replies.replies[0].1.as_str())).collect();
        assert_eq!(texts, [(1002, "SSH-2.0-c\\r\\n"), (1001, "SSH-2.0-b\\r\\n")]);
    }

    #[test]
    fn the_same_again_costs_nothing_even_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        keep(folder.path(), &[(1, "SSH-2.0-a\r\n", 1000)]);
        let once = bytes(folder.path());
        keep(folder.path(), &[(1, "SSH-2.0-a\r\n", 2000), (1, "SSH-2.0-a\r\n", 3000)]);
        assert_eq!(bytes(folder.path()), once);
        assert_eq!(segments(folder.path()).expect("readable").len(), 1);
    }

    #[test]
    fn old_replies_go_and_what_is_still_seen_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        keep(folder.path(), &[(1, "SSH-2.0-old\r\n", 0), (2, "SSH-2.0-new\r\n", 0)]);
        for day in [30, 60, 89, 100] {
            keep(folder.path(), &[(2, "SSH-2.0-new\r\n", day * DAY)]);
        }
        let kept = read(folder.path()).expect("readable");
        assert_eq!(
            kept.iter().map(|kept| kept.endpoint.address.to_string()).collect::<Vec<_>>(),
            ["10.99.0.2"]
        );
    }

    #[test]
    fn the_size_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = ArchiveConfig { max_bytes: 20_000, ..ArchiveConfig::new(folder.path().to_path_buf()) };
        for number in 0..60_u32 {
            // Noise does not compress.
            let noise: String =
                (0..400_u32).map(|n| char::from(33 + ((n * 7919 + number * 104_729) % 90) as u8)).collect();
            keep_within(config.clone(), &[(1, &format!("{number} {noise}"), i64::from(number))]);
        }
        assert!(bytes(folder.path()) <= 20_000, "{}", bytes(folder.path()));
        assert!(!read(folder.path()).expect("readable").is_empty());
    }

    #[test]
    fn a_segment_that_was_cut_off_is_read_up_to_there_and_not_written_to_again() {
        let folder = tempfile::tempdir().expect("a folder");
        keep(folder.path(), &[(1, "SSH-2.0-a\r\n", 1000)]);
        let segment = segments(folder.path()).expect("readable").remove(0);
        let mut file = OpenOptions::new().append(true).open(&segment).expect("opens");
        file.write_all(&[0x28, 0xb5, 0x2f, 0xfd, 4]).expect("half a frame");
        keep(folder.path(), &[(2, "SSH-2.0-b\r\n", 2000)]);
        assert_eq!(read(folder.path()).expect("readable").len(), 2);
        assert_eq!(segments(folder.path()).expect("readable").len(), 2);
    }

    #[test]
    fn two_writers_use_a_segment_each() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = ArchiveConfig::new(folder.path().to_path_buf());
        let archives = [Archive::open(config.clone()).expect("opens"), Archive::open(config).expect("opens")];
        for (number, archive) in archives.iter().enumerate() {
            archive.keep(&service(number as u8 + 1), &fields("SSH-2.0-a\r\n"), Timestamp(5));
            while segments(folder.path()).expect("readable").len() <= number {
                thread::sleep(Duration::from_millis(5));
            }
        }
        drop(archives);
        assert_eq!(read(folder.path()).expect("readable").len(), 2);
    }
}
