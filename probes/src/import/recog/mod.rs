//! Reads fingerprints of Rapid7's recog (BSD-2-Clause) and writes them as files of our database.
//!
//! recog knows products by one text at a time (a banner, a header, a title): each of its files names that text in
//! `matches`, and each text that our decoders have too becomes a file here ([`SOURCES`]). All examples are tried on the
//! translated expressions first, and only what gives the same values is written. Converted entries score 75 with a
//! product: enough to name what our own database has no product for, too little to overrule it.

mod convert;
mod fingerprint;
mod pattern;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use convert::{Converted, convert};

/// Why a folder cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The folder, or a file of it.
    #[error("cannot read {path}: {source}; give the folder that holds recog's XML files")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {reason}")]
    Format {
        /// Which.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// No file of recog's is there.
    #[error("no fingerprints in {0}; give the folder that holds recog's XML files, as recog/xml")]
    Empty(PathBuf),
}

/// Which text of a conversation a file is about.
struct Source {
    /// The file's `matches`, or its name where it has none.
    matches: &'static str,
    /// Our field.
    field: &'static str,
    service: &'static str,
    family: &'static str,
    layer: &'static str,
}

const fn source(
    matches: &'static str,
    field: &'static str,
    service: &'static str,
    family: &'static str,
    layer: &'static str,
) -> Source {
    Source { matches, field, service, family, layer }
}

/// The texts that our decoders read too. Others (SMTP dialogues, SMB1 names, DHCP …) need a decoder first.
const SOURCES: &[Source] = &[
    source("dns.versionbind", "dns.version", "domain", "name", "server"),
    source("favicon.md5", "http.favicon-md5", "http", "web", "app"),
    source("ftp.banner", "ftp.greeting", "ftp", "file", "server"),
    source("html_title", "http.title", "http", "web", "app"),
    source("http_header.cookie", "http.header.set-cookie", "http", "web", "framework"),
    source("http_header.server", "http.server", "http", "web", "server"),
    source("http_header.wwwauth", "http.header.www-authenticate", "http", "web", "app"),
    source("http_header.x-powered-by", "http.header.x-powered-by", "http", "web", "framework"),
    source("imap4.banner", "imap.greeting", "imap", "mail", "server"),
    source("mysql.banners", "mysql.version", "mysql", "database", "server"),
    source("mysql.error", "mysql.error", "mysql", "database", "server"),
    source("nntp.banner", "nntp.greeting", "nntp", "mail", "server"),
    source("ntp.readvar", "ntp.variables", "ntp", "time", "server"),
    source("pop3.banner", "pop3.greeting", "pop3", "mail", "server"),
    source("rtsp_header.server", "rtsp.server", "rtsp", "media", "server"),
    source("sip_header.server", "sip.server", "sip", "voice", "server"),
    source("sip_header.user_agent", "sip.header.user-agent", "sip", "voice", "server"),
    source("smtp.banner", "smtp.greeting", "smtp", "mail", "server"),
    source("snmp.sys_description", "snmp.description", "snmp", "management", "server"),
    source("ssh.banner", "ssh.text", "ssh", "remote", "server"),
    source("telnet_banners", "telnet.text", "telnet", "remote", "server"),
    source("tls.jarm", "tls.jarm", "tls", "generic", "server"),
];

/// What became of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// XML files with fingerprints.
    pub files: usize,
    /// Fingerprints in them.
    pub fingerprints: usize,
    /// Examples in them.
    pub examples: usize,
    /// Examples that give the expected values in our engine.
    pub examples_passed: usize,
    /// Expressions that a linear-time engine cannot have: look-around, back-references, atomic groups.
    pub not_linear: usize,
    /// Entries written.
    pub entries: usize,
    /// Fingerprints of texts that no decoder of ours reads.
    pub without_field: usize,
    /// What is left out, and why: file, fingerprint and reason.
    pub left_out: Vec<String>,
    /// Our files: name and content.
    pub converted: Vec<(String, String)>,
}

/// The largest XML file read.
const MAX_FILE: u64 = 16 << 20;

/// Converts all `*.xml` of a folder (or of its sub-folder `xml`).
pub fn import(folder: &Path) -> Result<Report, ImportError> {
    let nested = folder.join("xml");
    let folder = if nested.is_dir() { nested } else { folder.to_path_buf() };
    let mut report = Report::default();
    for path in xml_files(&folder)? {
        let text = read(&path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let samples = |name: &str| sample(&path, name);
        let converted = convert(&name, &text, &samples)
            .map_err(|reason| ImportError::Format { path: path.clone(), reason })?;
        if let Some(converted) = converted {
            report.add(&name, converted);
        }
    }
    if report.files == 0 { Err(ImportError::Empty(folder)) } else { Ok(report) }
}

impl Report {
    fn add(&mut self, name: &str, converted: Converted) {
        self.files += 1;
        self.fingerprints += converted.fingerprints;
        self.examples += converted.examples;
        self.examples_passed += converted.examples_passed;
        self.not_linear += converted.not_linear;
        self.entries += converted.entries;
        self.without_field += converted.without_field;
        self.left_out.extend(converted.left_out.into_iter().map(|what| format!("{name}: {what}")));
        self.converted.extend(converted.text.map(|text| (format!("recog-{name}.toml"), text)));
    }
}

/// A file of examples that stands beside an XML file, in a folder of its name.
fn sample(xml: &Path, name: &str) -> Option<Vec<u8>> {
    let is_plain = !name.contains('/') && name != "..";
    let path = xml.with_extension("").join(name);
    (is_plain && path.metadata().is_ok_and(|facts| facts.len() <= MAX_FILE)).then(|| fs::read(path).ok())?
}

fn xml_files(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let unreadable = |source| ImportError::Read { path: folder.to_path_buf(), source };
    let mut paths = Vec::new();
    for file in fs::read_dir(folder).map_err(unreadable)? {
        let path = file.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "xml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String, ImportError> {
    let unreadable = |source| ImportError::Read { path: path.to_path_buf(), source };
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
        return Err(ImportError::Format {
            path: path.to_path_buf(),
            reason: "larger than 16 MiB".to_owned(),
        });
    }
    fs::read_to_string(path).map_err(unreadable)
}
