//! What must hold for every entry, whoever wrote it.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    ops::RangeInclusive,
};

use portreeve_model::SafeText;

use super::{
    Database, File, LAST_GENERAL_TIER,
    bytes::unescape,
    format::{Carrier, Entry, Example, Family, Probe, Safety},
};
use crate::{
    decode::decode,
    fields::Fields,
    matcher::{Reading, choose, compile, has_literal, template_names},
};

/// Something wrong with a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Where in the file the entry or probe is named, counted from 1.
    pub line: Option<usize>,
    /// The entry or probe, if it is about one.
    pub id: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(id) = &self.id {
            write!(f, " {id}:")?;
        }
        write!(f, " {}", self.message)
    }
}

/// How much a database knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Files.
    pub families: usize,
    /// Different protocol names.
    pub services: usize,
    /// Different product names.
    pub products: usize,
    /// Questions.
    pub probes: usize,
    /// Known answers.
    pub entries: usize,
    /// Replies they are tested with.
    pub examples: usize,
}

/// Fields that an entry may set.
const SETTABLE: &[&str] =
    &["device", "hostname", "info", "name", "os", "product", "revision", "vendor", "version"];
/// Fields that are always compared with an example's expectation.
const COMPARED: &[&str] = &["device", "hostname", "info", "os", "product", "revision", "version"];
const MAX_REGEX: usize = 2048;
/// Expressions made of others' are longer: what has no short notation here is written out.
const MAX_FOREIGN_REGEX: usize = 8192;
const MAX_PAYLOAD: usize = 1232;
/// Fewer bytes could be drawn again, and more are not drawn.
const COOKIE: RangeInclusive<usize> = 8..=32;
/// Replies that say nothing about who sent them; no entry may claim them.
const NEGATIVE: &[&str] = &[
    r"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<h1>Gone</h1>",
    r"HTTP/1.1 200 OK\r\nServer: Zorblax\r\nContent-Length: 5\r\n\r\nhello",
    r"HTTP/1.1 200 OK\r\nServer: httpd/2.0\r\nContent-Length: 5\r\n\r\nhello",
    r"HTTP/1.0 200 OK\r\nServer: Linux/5.10, UPnP/1.0\r\n\r\nhello",
    r"HTTP/1.1 400 Bad Request\r\n\r\n",
    r"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    r"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n",
    r"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\x22Restricted\x22\r\n\r\n",
    r"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n<html><body>unavailable</body></html>",
    r"SSH-2.0-Server\r\n",
    r"220 FTP server ready.\r\n",
    r"220 mail.example ESMTP\r\n",
    r"530 Not logged in.\r\n",
    r"554 No SMTP service here\r\n",
    r"-ERR unknown command\r\n",
    r"OK\n",
    r"\x01\x00\x00\x00\x00\x00\x00\x00",
    r"\x00\x00\x00\x04\x00\x00\x00\x00",
    r"\xff\xfd\x18\xff\xfd\x20Username: ",
    r"\x16\x03\x03\x00\x02\x02\x28",
    r"\x15\x03\x01\x00\x02\x02\x46",
    r"<?xml version=\x221.0\x22?><error/>",
    r"\x7b\x22status\x22:\x22ok\x22\x7d",
    r"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    r"PING\r\nINFO server\r\n",
    r"220 hello there\r\n",
    r"+OK\r\n",
    r"* OK ready\r\n",
    r"200 fine\r\n",
    r"login: ",
    r"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    r"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    r"\x8a\x17\xc2\x5e\x91\x03\xfe\x44\xd0\x6b\x29\xb7\x10\x9c\xe5\x72\x3f\xa8\x56\x0d\xcb",
    r"what is that?\r\n",
    r"error\r\n",
    r"{}\n",
    r"\r\n",
];

impl Database {
    /// Everything that is wrong with the database: nothing, if it may be used.
    pub fn check(&self) -> Vec<Finding> {
        if self.files.iter().all(|file| file.family.origin.is_none()) {
            return self.check_whole();
        }
        // Others' entries fill gaps: ours must hold without them, and theirs each for itself.
        let own = self.files.iter().filter(|file| file.family.origin.is_none()).cloned().collect();
        let mut findings = match Self::from_files(own) {
            Ok(own) => own.check_whole(),
            Err(error) => {
                vec![Finding { file: String::new(), line: None, id: None, message: error.to_string() }]
            }
        };
        let mut ids: HashSet<_> = HashSet::new();
        for file in &self.files {
            if file.family.origin.is_some() {
                let probes = file.family.probes.iter();
                findings.extend(probes.flat_map(|probe| {
                    let messages = check_foreign_probe(probe).into_iter();
                    messages.map(|message| file.finding(Some(&probe.id), message))
                }));
            }
            for entry in &file.family.entries {
                if !ids.insert(entry.id.clone()) {
                    findings.push(file.finding(Some(&entry.id), "the id is taken".to_owned()));
                }
                if file.family.origin.is_some() {
                    let messages = self.check_entry(&file.family, entry).into_iter();
                    findings.extend(messages.map(|message| file.finding(Some(&entry.id), message)));
                }
            }
        }
        findings.extend(self.check_references(&ids, |file| file.family.origin.is_some()));
        findings
    }

    /// Fills the expectations of a file of another's origin with what comes out of its own entries, and tells which of
    /// them do not hold: id and reason.
    pub fn checked_alone(name: &str, family: &mut Family) -> Vec<(String, String)> {
        let file = File { name: name.to_owned(), text: String::new(), family: family.clone(), of_user: true };
        let Ok(database) = Self::from_files(vec![file]) else { return Vec::new() };
        for entry in &mut family.entries {
            let blank = entry.clone();
            for example in &mut entry.examples {
                example.expect =
                    database.outcome(&database.files[0].family, &blank, example).unwrap_or_default();
            }
        }
        let messages = |entry: &Entry| {
            database.check_entry(family, entry).into_iter().map(|message| (entry.id.clone(), message)).next()
        };
        family.entries.iter().filter_map(messages).collect()
    }

    fn check_whole(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut ids = HashSet::new();
        for file in &self.files {
            let mut report = |id: Option<&str>, message: String| findings.push(file.finding(id, message));
            for probe in &file.family.probes {
                let id = Some(probe.id.as_str());
                for message in check_probe(probe) {
                    report(id, message);
                }
            }
            if file.family.untested {
                report(None, "untested is for files of another's origin".to_owned());
            }
            for entry in &file.family.entries {
                if !ids.insert(entry.id.clone()) {
                    report(Some(&entry.id), "the id is taken".to_owned());
                }
                for message in self.check_entry(&file.family, entry) {
                    report(Some(&entry.id), message);
                }
            }
        }
        findings.extend(self.check_references(&ids, |_| true));
        findings.extend(self.check_negative());
        let canonical = self.files.iter().filter(|file| !file.of_user);
        findings.extend(canonical.filter_map(|file| super::canonical::check(&file.name, &file.text)));
        findings
    }

    /// How much the database knows.
    pub fn stats(&self) -> Stats {
        let entries = || self.families().flat_map(|family| &family.entries);
        let services: HashSet<_> = self.families().map(|family| family.service.as_str()).collect();
        let products: HashSet<_> = entries().filter_map(|entry| entry.set.get("product")).collect();
        Stats {
            families: self.files.len(),
            services: services.len(),
            products: products.len(),
            probes: self.probes.len(),
            entries: entries().count(),
            examples: entries().map(|entry| entry.examples.len()).sum(),
        }
    }

    fn check_entry(&self, family: &Family, entry: &Entry) -> Vec<String> {
        let mut messages = check_expressions(entry, family.origin.is_some());
        if !entry.id.split_once('/').is_some_and(|(family, what)| !family.is_empty() && !what.is_empty()) {
            messages.push("write the id as family/what".to_owned());
        }
        if entry.score > 100 {
            messages.push("the score is above 100".to_owned());
        }
        messages.extend(check_templates(entry));
        for base in &entry.cpe {
            let parts: Vec<_> = base.split(':').collect();
            let good = matches!(parts.as_slice(), ["a" | "o" | "h", vendor, product, rest @ ..]
                if rest.len() <= 4 && !vendor.is_empty() && !product.is_empty());
            if !good {
                messages.push(format!("write the CPE {base:?} as part:vendor:product"));
            }
        }
        if entry.examples.is_empty() && !family.untested {
            messages.push("has no example; add a reply that it recognises".to_owned());
        }
        for (number, example) in entry.examples.iter().enumerate() {
            for message in self.check_example(family, entry, example) {
                messages.push(format!("example {}: {message}", number + 1));
            }
        }
        for (number, counter) in entry.counter.iter().enumerate() {
            match unescape(counter) {
                Ok(reply) if self.hit_ids(&fields_of("banner", &reply)).contains(&entry.id) => {
                    messages.push(format!("counter-example {} is recognised", number + 1));
                }
                Ok(_) => {}
                Err(error) => messages.push(format!("counter-example {}: {error}", number + 1)),
            }
        }
        messages
    }

    fn check_example(&self, family: &Family, entry: &Entry, example: &Example) -> Vec<String> {
        let fields = match example_fields(entry, example) {
            Ok(fields) => fields,
            Err(message) => return vec![message],
        };
        if !self.hit_ids(&fields).contains(&entry.id) {
            return vec!["is not recognised by its own entry".to_owned()];
        }
        let mut messages = Vec::new();
        let competes = !entry.extra && family.origin.is_none();
        if let Some(choice) = choose(&self.index.find(&fields)).filter(|_| competes) {
            let own = entry.set.get("name").unwrap_or(&family.service);
            if choice.best.name.as_str() != own {
                messages.push(format!("{} takes it for {:?}", choice.best.entry, choice.best.name.as_str()));
            }
            let product = entry.set.get("product").filter(|product| !product.contains('{'));
            let winner = choice.best.get("product").map(SafeText::as_str);
            if product.is_some_and(|own| winner != Some(own)) && choice.best.layer == entry.layer {
                messages.push(format!("{} takes it for {winner:?}", choice.best.entry));
            }
        }
        match self.outcome(family, entry, example) {
            Some(came) => messages.extend(compare(&example.expect, &came)),
            None => messages.push("nothing is read from it".to_owned()),
        }
        messages
    }

    /// What comes out of an example, in the words of its `expect`.
    pub(super) fn outcome(
        &self,
        family: &Family,
        entry: &Entry,
        example: &Example,
    ) -> Option<BTreeMap<String, String>> {
        let fields = example_fields(entry, example).ok()?;
        let hits = self.index.find(&fields);
        let best = if entry.extra || family.origin.is_some() {
            // It adds to readings, or yields to them: what it would say by itself is compared.
            Reading::from_hit(hits.iter().find(|hit| hit.entry.id == entry.id)?)
        } else {
            choose(&hits)?.best
        };
        let values = COMPARED.iter().filter_map(|key| Some(((*key).to_owned(), best.get(key)?.to_string())));
        Some(values.chain(best.cpe.first().map(|cpe| ("cpe".to_owned(), cpe.to_string()))).collect())
    }

    /// What `after` and `on` name must exist.
    fn check_references(&self, ids: &HashSet<String>, which: impl Fn(&File) -> bool) -> Vec<Finding> {
        let services: HashSet<_> = self
            .families()
            .flat_map(|family| {
                let own = std::iter::once(&family.service);
                own.chain(family.entries.iter().filter_map(|entry| entry.set.get("name")))
            })
            .collect();
        let mut findings = Vec::new();
        for file in self.files.iter().filter(|file| which(file)) {
            let mut report = |id: &str, message: String| findings.push(file.finding(Some(id), message));
            for probe in &file.family.probes {
                for name in &probe.after {
                    if !ids.contains(name) && !services.contains(name) {
                        report(&probe.id, format!("after {name:?}: no such service or entry"));
                    }
                }
            }
            for entry in &file.family.entries {
                for name in &entry.on {
                    if name != "banner" && name != "favicon" && !self.probes.contains_key(name) {
                        report(&entry.id, format!("on {name:?}: no such probe"));
                    }
                }
            }
        }
        findings
    }

    fn check_negative(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for text in NEGATIVE {
            let reply = unescape(text).unwrap_or_default();
            let Some(choice) = choose(&self.index.find(&fields_of("banner", &reply))) else { continue };
            if choice.best.get("product").is_some() {
                findings.push(Finding {
                    file: "negative corpus".to_owned(),
                    line: None,
                    id: Some(choice.best.entry),
                    message: format!("claims {text:?}, which says nothing of a product"),
                });
            }
        }
        findings
    }

    fn hit_ids(&self, fields: &Fields) -> HashSet<String> {
        self.index.find(fields).iter().map(|hit| hit.entry.id.clone()).collect()
    }
}

impl File {
    fn finding(&self, id: Option<&str>, message: String) -> Finding {
        let line = id.and_then(|id| self.line_of(id));
        Finding { file: self.name.clone(), line, id: id.map(str::to_owned), message }
    }

    /// The line that gives a probe or an entry its id.
    fn line_of(&self, id: &str) -> Option<usize> {
        let names_it = |line: &str| {
            let value = line.trim_start().strip_prefix("id").map(str::trim_start)?.strip_prefix('=')?.trim();
            let quoted = value.strip_prefix(['\'', '"'])?;
            quoted.strip_prefix(id)?.starts_with(['\'', '"']).then_some(())
        };
        self.text.lines().position(|line| names_it(line).is_some()).map(|place| place + 1)
    }
}

/// What is wrong with a probe's cookie.
fn cookie_finding(probe: &Probe) -> Option<String> {
    let cookie = unescape(probe.cookie.as_deref()?).unwrap_or_default();
    let is_in = |step: &String| {
        unescape(step).is_ok_and(|bytes| bytes.windows(cookie.len().max(1)).any(|window| window == cookie))
    };
    let is_sent = probe.transport == Carrier::Udp && probe.send.iter().all(is_in);
    let fits = COOKIE.contains(&cookie.len());
    (!is_sent || !fits).then(|| format!("its cookie must be {COOKIE:?} bytes of the datagram that it sends"))
}

fn check_probe(probe: &Probe) -> Vec<String> {
    let mut messages = Vec::new();
    let says = [!probe.send.is_empty(), probe.path.is_some(), probe.reserved];
    if says.into_iter().filter(|says| *says).count() != 1 {
        messages.push("give one of send, path and reserved".to_owned());
    }
    messages.extend(cookie_finding(probe));
    let is_ending = |text: &String| text.ends_with(" closed") || text.ends_with(" silent");
    if !probe.unless.iter().all(is_ending) {
        messages.push("unless: give a probe and how it ended, as 'help silent'".to_owned());
    }
    if probe.tier > LAST_GENERAL_TIER && (probe.rank > 0 || !probe.unless.is_empty()) {
        messages.push(format!("rank and unless are for tiers up to {LAST_GENERAL_TIER}"));
    }
    for step in &probe.send {
        if unescape(step).is_ok_and(|bytes| bytes.len() > MAX_PAYLOAD) {
            messages.push(format!("sends more than {MAX_PAYLOAD} bytes"));
        }
    }
    messages
}

/// What holds for questions of which nobody here knows what they do.
fn check_foreign_probe(probe: &Probe) -> Vec<String> {
    let mut messages = check_probe(probe);
    if probe.safety > Safety::Noisy {
        messages.push("of another's origin, so it may not be ot or print".to_owned());
    }
    messages
}

fn check_expressions(entry: &Entry, is_foreign: bool) -> Vec<String> {
    let mut messages = Vec::new();
    let most = if is_foreign { MAX_FOREIGN_REGEX } else { MAX_REGEX };
    let conditions = entry.all.iter().chain(&entry.not).map(|one| one.regex.as_str());
    for regex in std::iter::once(entry.regex.as_str()).chain(conditions) {
        if regex.len() > most {
            messages.push(format!("an expression is longer than {most} bytes"));
        }
        if let Err(error) = compile(regex) {
            messages.push(format!("{regex:?} does not compile: {error}"));
        }
    }
    let is_large = matches!(entry.field.as_str(), "raw" | "http.body");
    if is_large && entry.on.is_empty() && !has_literal(&entry.regex) {
        let rule =
            "reads a large field, so name the probe in `on` or use a literal of 3 bytes that must occur";
        messages.push(rule.to_owned());
    }
    if entry.field == "raw" && !is_foreign && !is_anchored(&entry.regex) {
        messages.push("reads raw bytes and is not anchored; begin it with ^ or (?m)^".to_owned());
    }
    messages
}

/// Whether an expression begins at the start of the text, or of a line, after its flags.
fn is_anchored(regex: &str) -> bool {
    let rest = regex.strip_prefix("(?").and_then(|rest| rest.split_once(')'));
    let rest = rest.filter(|(flags, _)| flags.chars().all(|c| c.is_ascii_alphabetic()));
    rest.map_or(regex, |(_, rest)| rest).starts_with('^')
}

/// Templates may only use groups that exist, and set fields that exist.
fn check_templates(entry: &Entry) -> Vec<String> {
    let mut groups = HashSet::new();
    let regexes = std::iter::once(&entry.regex).chain(entry.all.iter().map(|one| &one.regex));
    for regex in regexes.filter_map(|regex| compile(regex).ok()) {
        groups.extend(regex.capture_names().flatten().map(str::to_owned));
    }
    let mut messages = Vec::new();
    for key in entry.set.keys().filter(|key| !SETTABLE.contains(&key.as_str())) {
        messages.push(format!("sets {key:?}; use one of {}", SETTABLE.join(", ")));
    }
    for text in entry.set.values().chain(&entry.cpe) {
        for (name, filter) in template_names(text) {
            if !groups.contains(name) {
                messages.push(format!("{text:?} uses the group {name:?}, which does not exist"));
            }
            if filter.is_some_and(|filter| !crate::matcher::is_filter(filter)) {
                messages.push(format!("{text:?} uses an unknown filter"));
            }
        }
    }
    messages
}

/// The fields of an example as a conversation would have filed them.
fn example_fields(entry: &Entry, example: &Example) -> Result<Fields, String> {
    let on = example.on.as_deref().or(entry.on.first().map(String::as_str)).unwrap_or("banner");
    let reply = unescape(&example.reply).map_err(|error| error.to_string())?;
    let mut fields = fields_of(on, &reply);
    for (name, value) in &example.fields {
        fields.add(on, name, &unescape(value).map_err(|error| error.to_string())?);
    }
    Ok(fields)
}

fn compare(expected: &BTreeMap<String, String>, came: &BTreeMap<String, String>) -> Vec<String> {
    let keys: std::collections::BTreeSet<_> = expected.keys().chain(came.keys()).collect();
    let mut messages = Vec::new();
    for key in keys {
        let (want, have) = (expected.get(key), came.get(key));
        // The CPE follows from product and version, so an example need not repeat it.
        if want != have && !(key == "cpe" && want.is_none()) {
            let told =
                |value: Option<&String>| value.map_or("nothing".to_owned(), |value| format!("{value:?}"));
            messages.push(format!("{key}: expected {}, came {}", told(want), told(have)));
        }
    }
    messages
}

fn fields_of(probe: &str, reply: &[u8]) -> Fields {
    let mut fields = Fields::default();
    decode(probe, reply, &mut fields);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_database_has_no_findings() {
        let findings = Database::builtin().check();
        let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
    }

    #[test]
    fn wrong_entries_are_found_out() {
        let text = r#"
schema = 1
service = "x"
family = "test"
[[match]]
id = "x/thief"
field = "raw"
regex = 'hello'
score = 80
set = { product = "{nothing}", colour = "red" }
cpe = ["bad"]
"#;
        let database = Database::from_texts([("x.toml".to_owned(), text.to_owned())]).expect("parses");
        let all = database.check().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for part in ["not anchored", "does not exist", "colour", "part:vendor:product", "no example"] {
            assert!(all.contains(part), "{part} is missing in {all}");
        }
    }
}
