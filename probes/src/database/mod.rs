//! The probe database: what to ask, and which answers are known.

mod bytes;
mod canonical;
mod check;
mod format;
mod user;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

pub use bytes::escape;
pub(crate) use bytes::unescape;
pub use check::{Finding, Stats};
pub use format::{Avoid, Carrier, Condition, Entry, Example, Family, Layer, Ports, Probe, Safety};

use crate::{
    decode::decode,
    fields::Fields,
    matcher::{Index, Reading},
};

mod builtin {
    include!(concat!(env!("OUT_DIR"), "/files.rs"));
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}; check that it exists and may be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not in the database's format.
    #[error("{file}: {reason}; see probes/db/README.md for the format")]
    Format {
        /// Which.
        file: String,
        /// Where and what.
        reason: String,
    },
    /// Files were read, and do not hold together.
    #[error("{}", list(.0))]
    Findings(Vec<Finding>),
    /// The folder has no `*.toml`.
    #[error("no *.toml in {0}; give the folder that holds the database's files")]
    Empty(PathBuf),
    /// A file is larger than any database.
    #[error("{0} is too large for a probe database; split it into files of at most 16 MiB")]
    TooLarge(PathBuf),
}

/// The probe database, ready for use. Loading takes milliseconds; expressions are compiled when a reply
/// first needs them.
#[derive(Debug)]
pub struct Database {
    files: Vec<File>,
    index: Index,
    probes: HashMap<String, ProbeRef>,
}

/// Probes of tiers up to this are asked of every port that does not say what it is.
pub(crate) const LAST_GENERAL_TIER: u8 = 4;

/// A file as it was read.
#[derive(Clone, Debug)]
struct File {
    name: String,
    text: String,
    family: Family,
    /// Laid over the others by a user, who need not write it in canonical form.
    of_user: bool,
}

/// A probe with its bytes made.
#[derive(Clone, Debug)]
pub(crate) struct ProbeRef {
    pub probe: Arc<Probe>,
    pub steps: Arc<[Arc<[u8]>]>,
    /// Of another's origin: asked after our own questions, and where it may not go.
    pub foreign: Option<Arc<Avoid>>,
    pub cookie: Option<Arc<[u8]>>,
}

impl Database {
    /// The database this program was built with.
    pub fn builtin() -> &'static Arc<Self> {
        static BUILTIN: OnceLock<Arc<Database>> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            let files = builtin::FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            // The crate's tests load the same files, so a program that was tested does not get here.
            Arc::new(Self::from_texts(files).unwrap_or_else(|error| panic!("built-in database: {error}")))
        })
    }

    /// Reads every `*.toml` of a folder, in the order of their names.
    pub fn load_dir(folder: &Path) -> Result<Self, DatabaseError> {
        // A file is no folder of files.
        fs::read_dir(folder).map_err(|source| DatabaseError::Read { path: folder.to_path_buf(), source })?;
        let paths = user::toml_files(folder)?;
        if paths.is_empty() {
            return Err(DatabaseError::Empty(folder.to_path_buf()));
        }
        let mut texts = Vec::with_capacity(paths.len());
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            texts.push((name, user::read(&path)?));
        }
        Self::from_texts(texts)
    }

    /// Builds a database from files' names and contents.
    pub fn from_texts(texts: impl IntoIterator<Item = (String, String)>) -> Result<Self, DatabaseError> {
        let mut files = Vec::new();
        for (name, text) in texts {
            let family = parse(&name, &text)?;
            files.push(File { name, text, family, of_user: false });
        }
        Self::from_files(files)
    }

    fn from_files(files: Vec<File>) -> Result<Self, DatabaseError> {
        let mut probes = HashMap::new();
        for file in &files {
            let foreign = file.family.origin.as_ref().map(|_| Arc::new(file.family.avoid.clone()));
            for probe in &file.family.probes {
                let compiled = compile(&file.name, probe, foreign.clone())?;
                if probes.insert(probe.id.clone(), compiled).is_some() {
                    return Err(format_error(&file.name, format!("probe id {:?} is taken", probe.id)));
                }
            }
        }
        let index = Index::new(files.iter().map(|file| &file.family));
        Ok(Self { files, index, probes })
    }

    /// What the entries read from a reply to the probe `on` (`banner`: said unasked), written in the
    /// notation of bytes; the best first, without any choice between layers.
    pub fn read(&self, on: &str, reply: &str) -> Result<Vec<Reading>, DatabaseError> {
        let bytes = unescape(reply).map_err(|error| format_error("reply", error.to_string()))?;
        let mut fields = Fields::default();
        decode(on, &bytes, &mut fields);
        let mut readings: Vec<_> = self.index.find(&fields).iter().map(Reading::from_hit).collect();
        readings.sort_by_cached_key(Reading::rank);
        Ok(readings)
    }

    /// The probe of ours that sends these bytes first, or asks a web server for the same page; and whether it stands in for
    /// that question wherever it would be asked: byte for byte, of every port. What follows a greeting is another question.
    pub fn asking(&self, carrier: Carrier, payload: &[u8]) -> Option<(&str, bool)> {
        let alike = |probe: &&ProbeRef| {
            probe.probe.transport == carrier && probe.foreign.is_none() && !probe.probe.greets
        };
        let mut probes: Vec<_> = self.probes.values().filter(alike).collect();
        probes.sort_by_key(|probe| (probe.probe.tier, &probe.probe.id));
        let same = probes.iter().find(|probe| probe.steps.first().is_some_and(|step| **step == *payload));
        let page = || {
            let path = page_of(payload)?;
            probes.iter().find(|probe| probe.probe.path.as_deref().is_some_and(|own| own.as_bytes() == path))
        };
        let is_general = |probe: &ProbeRef| probe.probe.tier <= LAST_GENERAL_TIER && probe.steps.len() == 1;
        let (probe, stands_in) =
            same.map(|probe| (probe, is_general(probe))).or_else(|| Some((page()?, false)))?;
        Some((&probe.probe.id, stands_in))
    }

    /// Files of this database that may not be handed on: name and licence.
    pub fn not_redistributable(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter().filter(|file| file.family.not_redistributable);
        files.map(|file| (&*file.name, file.family.licence.as_deref().unwrap_or("licence not named")))
    }

    pub(crate) fn families(&self) -> impl Iterator<Item = &Family> {
        self.files.iter().map(|file| &file.family)
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// All probes in a fixed order: ours before others', then by tier and rank, then by name.
    pub(crate) fn probes(&self) -> Vec<ProbeRef> {
        let mut probes: Vec<_> = self.probes.values().cloned().collect();
        let place = |one: &ProbeRef| (one.foreign.is_some(), one.probe.tier, one.probe.rank);
        probes.sort_by(|a, b| (place(a), &a.probe.id).cmp(&(place(b), &b.probe.id)));
        probes
    }
}

fn parse(name: &str, text: &str) -> Result<Family, DatabaseError> {
    let family: Family = toml::from_str(text).map_err(|error| format_error(name, error.to_string()))?;
    if family.schema != 1 {
        return Err(format_error(
            name,
            format!("schema {} is not known; this program reads 1", family.schema),
        ));
    }
    Ok(family)
}

fn compile(file: &str, probe: &Probe, foreign: Option<Arc<Avoid>>) -> Result<ProbeRef, DatabaseError> {
    let steps = match &probe.path {
        Some(path) => vec![Arc::from(get_request(path))],
        None => probe
            .send
            .iter()
            .map(|step| unescape(step).map(Arc::from))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format_error(file, format!("probe {:?}: {error}", probe.id)))?,
    };
    let cookie = probe
        .cookie
        .as_deref()
        .map(unescape)
        .transpose()
        .map_err(|error| format_error(file, format!("cookie of probe {:?}: {error}", probe.id)))?;
    let cookie = cookie.map(Arc::from);
    Ok(ProbeRef { probe: Arc::new(probe.clone()), steps: Arc::from(steps), foreign, cookie })
}

/// The path of an HTTP GET without a body.
fn page_of(payload: &[u8]) -> Option<&[u8]> {
    let rest = payload.strip_prefix(b"GET ")?;
    let end = rest.iter().position(|&byte| byte == b' ')?;
    let (path, version) = rest.split_at_checked(end)?;
    (version.starts_with(b" HTTP/1.") && payload.ends_with(b"\r\n\r\n")).then_some(path)
}

/// A GET as browsers of devices send it; `{host}` is filled in when it is sent.
pub(crate) fn get_request(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {{host}}\r\nUser-Agent: Mozilla/5.0 (compatible; Portreeve)\r\n\
         Accept: */*\r\nConnection: keep-alive\r\n\r\n"
    )
    .into_bytes()
}

fn format_error(file: &str, reason: String) -> DatabaseError {
    DatabaseError::Format { file: file.to_owned(), reason }
}

/// The first findings, a line each.
fn list(findings: &[Finding]) -> String {
    const SHOWN: usize = 20;
    let mut lines: Vec<String> = findings.iter().take(SHOWN).map(ToString::to_string).collect();
    if findings.len() > SHOWN {
        lines.push(format!("and {} more; `portreeve db test` shows them all", findings.len() - SHOWN));
    }
    lines.join("\n")
}
