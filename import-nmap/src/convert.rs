//! From a file of theirs to one of ours.
//!
//! An answer reads the replies that the original tries it on: those to its own probe, to probes that fall back on it, and
//! for the probe that sends nothing those to everything. What a probe of ours asks too is read there, since identification
//! asks ours first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portreeve_model::SafeText;
use portreeve_probes::{
    Database,
    device::Kind as Device,
    files::{
        Avoid, Carrier, Condition, Entry, Family, Ports, Probe as Question, Safety, escape, has_literal,
        is_delicate_port,
    },
};

use crate::{
    cursor::Place,
    expression::Pattern,
    reader::{Field, File, Kind, Match, Probe},
    report::{Note, Report},
    template::Template,
};

/// With a product: above a bare protocol, below what our own database calls a product.
const PRODUCT: u8 = 75;
/// A protocol alone.
const PROTOCOL: u8 = 65;
/// The least that names a protocol.
const SOFT: u8 = 60;
/// The most bytes that a question may have.
const MAX_PAYLOAD: usize = 1232;
/// The most soft answers for one service that lead to further questions.
const MAX_SOFT: usize = 64;
/// Asked of every port, after all questions of ours; of usual ports; only after what leads to it.
const EVERY_PORT: u8 = 4;
const USUAL_PORTS: u8 = 5;
const FOLLOW_UP: u8 = 9;

/// Makes our file of theirs; probes of at most that rarity are asked of every port. Also what became of it.
pub fn convert(file: &File, intensity: u8) -> (Family, Report) {
    let mut converter = Converter::new(file);
    let mut entries = Vec::new();
    for (number, probe) in file.probes.iter().enumerate() {
        for answer in &probe.matches {
            match converter.entry(number, answer) {
                Ok(entry) => entries.push((number, answer, entry)),
                Err((kind, reason)) => converter.leave_out(answer, kind, &reason),
            }
        }
    }
    let mut family = Family {
        schema: 1,
        // Every entry names its own.
        service: "unknown".to_owned(),
        family: "imported".to_owned(),
        origin: Some("nmap".to_owned()),
        licence: Some("NPSL".to_owned()),
        not_redistributable: true,
        ordered: true,
        untested: true,
        avoid: avoid(file),
        entries: entries.iter().map(|(.., entry)| entry.clone()).collect(),
        ..Family::default()
    };
    let unusable: HashMap<String, String> =
        Database::checked_alone("nmap", &mut family).into_iter().collect();
    for (_, answer, entry) in &entries {
        if let Some(reason) = unusable.get(&entry.id) {
            converter.leave_out(answer, "not usable here", reason);
        }
    }
    entries.retain(|(.., entry)| !unusable.contains_key(&entry.id));
    family.entries.retain(|entry| !unusable.contains_key(&entry.id));
    family.probes = converter.questions(&entries, intensity);
    converter.report.entries = family.entries.len();
    converter.report.narrowed = family.entries.iter().filter(|entry| !entry.not.is_empty()).count();
    (family, converter.report)
}

struct Converter<'a> {
    file: &'a File,
    /// What the replies to each probe are filed under: none if it is never sent.
    replies: Vec<Vec<String>>,
    /// The replies that the answers of each probe are sought in.
    sought: Vec<Vec<String>>,
    report: Report,
}

impl<'a> Converter<'a> {
    fn new(file: &'a File) -> Self {
        let mut report = Report { probes: file.probes.len(), ..Report::default() };
        report.matches = file.probes.iter().map(|probe| probe.matches.len()).sum();
        report.soft_matches =
            file.probes.iter().flat_map(|probe| &probe.matches).filter(|answer| answer.soft).count();
        let mut replies = Vec::with_capacity(file.probes.len());
        for (number, probe) in file.probes.iter().enumerate() {
            let known = Database::builtin().asking(probe.carrier, &probe.payload);
            let own = question_id(number, probe);
            replies.push(match known {
                _ if probe.is_null() => vec!["banner".to_owned()],
                Some((id, true)) => {
                    report.probes_known += 1;
                    vec![id.to_owned()]
                }
                _ if why_not_asked(probe).is_some() => {
                    let reason = why_not_asked(probe).unwrap_or_default();
                    report.left_out.push(note(probe.place, &probe.name, &reason));
                    known.map(|(id, _)| id.to_owned()).into_iter().collect()
                }
                Some((id, false)) => vec![own, id.to_owned()],
                None => vec![own],
            });
        }
        let sought = (0..file.probes.len()).map(|number| sought(file, &replies, number)).collect();
        Self { file, replies, sought, report }
    }

    fn leave_out(&mut self, answer: &Match, kind: &str, reason: &str) {
        *self.report.reasons.entry(kind.to_owned()).or_default() += 1;
        self.report.left_out.push(note(answer.place, &answer.service, reason));
    }

    /// The entry for an answer to the probe of that number, or a short and a long reason why there is none.
    fn entry(&mut self, number: usize, answer: &Match) -> Result<Entry, (&'static str, String)> {
        let service = answer.service.strip_prefix("ssl/").unwrap_or(&answer.service);
        if service == "ssl" || service.is_empty() {
            return Err(("TLS", "TLS is recognised by a handshake of our own".to_owned()));
        }
        let untranslatable = |reason: crate::expression::Untranslatable| {
            (reason.kind(), format!("its expression has {reason}"))
        };
        let pattern =
            Pattern::parse(&answer.pattern, answer.caseless, answer.dot_all).map_err(untranslatable)?;
        let values = self.values(answer, pattern.groups);
        let translated = pattern.translate(|group| values.used.contains(&group)).map_err(untranslatable)?;
        let on = self.reads(number, has_literal(&translated.regex));
        let Some(on) = on else {
            return Err(("probe not asked", "its probe is not asked".to_owned()));
        };
        let condition = |regex: String| Condition { field: "raw".to_owned(), regex };
        let mut set = values.set;
        let score = match (answer.soft, set.contains_key("product")) {
            (true, _) => SOFT,
            (false, true) => PRODUCT,
            (false, false) => PROTOCOL,
        };
        set.insert("name".to_owned(), service.replace('{', "{{"));
        Ok(Entry {
            id: format!("nmap/{:06}", answer.place.line),
            field: "raw".to_owned(),
            regex: translated.regex,
            on,
            not: translated.refused.into_iter().map(condition).collect(),
            score,
            set,
            cpe: values.cpe,
            ..Entry::default()
        })
    }

    /// The replies that an answer to that probe is sought in; nothing named means every reply.
    fn reads(&self, number: usize, has_literal: bool) -> Option<Vec<String>> {
        // Without a text to look for, it would cost every reply of every server.
        if has_literal && self.file.probes.get(number).is_some_and(Probe::is_null) {
            return Some(Vec::new());
        }
        self.sought.get(number).filter(|sought| !sought.is_empty()).cloned()
    }

    fn values(&mut self, answer: &Match, groups: usize) -> Values {
        let mut values = Values::default();
        for field in &answer.fields {
            let outcome = Template::parse(&field.template, groups)
                .map_err(|error| error.to_string())
                .and_then(|template| values.put(field, &template));
            if let Err(reason) = outcome {
                self.report.dropped.push(note(field.place, &answer.service, &reason));
            }
        }
        values
    }

    fn questions(&mut self, entries: &[(usize, &Match, Entry)], intensity: u8) -> Vec<Question> {
        let mut soft: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (_, answer, entry) in entries.iter().filter(|(_, answer, _)| answer.soft) {
            let known = soft.entry(&answer.service).or_default();
            if known.len() < MAX_SOFT {
                known.push(&entry.id);
            } else {
                let reason =
                    format!("more than {MAX_SOFT} soft answers name the service: this one leads no further");
                self.report.dropped.push(note(answer.place, &answer.service, &reason));
            }
        }
        let mut questions = Vec::new();
        for (number, probe) in self.file.probes.iter().enumerate() {
            let id = question_id(number, probe);
            if !self.replies.get(number).is_some_and(|replies| replies.contains(&id)) {
                continue;
            }
            // It may tell more of a service that a soft answer has named.
            let told: BTreeSet<&str> = entries
                .iter()
                .filter(|(of, answer, _)| *of == number && !answer.soft)
                .map(|(_, answer, _)| answer.service.as_str())
                .collect();
            let after: BTreeSet<&str> =
                told.iter().filter_map(|service| soft.get(service)).flatten().copied().collect();
            questions.push(question(id, probe, after, intensity));
        }
        questions
    }
}

/// Why a question is not asked at all.
fn why_not_asked(probe: &Probe) -> Option<String> {
    let mut ports = probe.ports.iter().chain(&probe.ssl_ports).peekable();
    if probe.payload.len() > MAX_PAYLOAD {
        return Some(format!("sends more than {MAX_PAYLOAD} bytes, so it is not asked"));
    }
    // Where it belongs it may not go, and elsewhere it has nothing to seek.
    let is_delicate = ports.peek().is_some() && ports.all(|port| is_delicate_port(*port));
    is_delicate.then(|| "is for printers or industrial controllers alone, so it is not asked".to_owned())
}

/// The replies to a probe and to those that fall back on it; for what is said unasked, to all of its protocol.
fn sought(file: &File, replies: &[Vec<String>], number: usize) -> Vec<String> {
    let Some(probe) = file.probes.get(number) else { return Vec::new() };
    let reads = |other: &Probe| {
        let falls_back =
            || other.fallbacks.iter().any(|(name, _)| *name == probe.name) && means(file, other, probe);
        probe.is_null() && other.carrier == Carrier::Tcp || falls_back()
    };
    let of = |number: usize| replies.get(number).into_iter().flatten().cloned();
    let others = file.probes.iter().enumerate().filter(|(_, other)| reads(other));
    unique(of(number).chain(others.flat_map(|(number, _)| of(number))))
}

/// Whether `other`, which falls back on a probe of this one's name, means this one: names are sought among probes of the
/// same protocol first.
fn means(file: &File, other: &Probe, this: &Probe) -> bool {
    let is_nearer = |probe: &Probe| probe.carrier == other.carrier && probe.name == this.name;
    other.carrier == this.carrier || !file.probes.iter().any(is_nearer)
}

/// What an answer says of the product, in our notation.
#[derive(Default)]
struct Values {
    set: BTreeMap<String, String>,
    cpe: Vec<String>,
    /// Groups that anything refers to.
    used: BTreeSet<usize>,
}

impl Values {
    fn put(&mut self, field: &Field, template: &Template) -> Result<(), String> {
        let key = match field.kind {
            Kind::Cpe => {
                let name = template.cpe().map_err(|error| error.to_string())?;
                // A later name of the same part replaces the earlier one.
                self.cpe.retain(|known| known.split(':').next() != name.split(':').next());
                self.cpe.push(name);
                self.used.extend(template.groups());
                return Ok(());
            }
            Kind::Device => {
                let words = template.plain().ok_or("the kind of device is not a plain text")?;
                let kind = Device::from_words(words).ok_or("no such kind of device here")?;
                self.set.insert("device".to_owned(), kind.as_str().to_owned());
                return Ok(());
            }
            Kind::Hostname => "hostname",
            Kind::Info => "info",
            Kind::Os => "os",
            Kind::Product => "product",
            Kind::Version => "version",
        };
        if let Some(text) = template.ours() {
            self.set.insert(key.to_owned(), text);
            self.used.extend(template.groups());
        }
        Ok(())
    }
}

/// A probe as ours: on its ports whatever its rarity, elsewhere only if it is common enough.
fn question(id: String, probe: &Probe, after: BTreeSet<&str>, intensity: u8) -> Question {
    let list = |ports: &BTreeSet<u16>| ports.iter().copied().collect();
    let ports = match probe.carrier {
        Carrier::Tcp => Ports { tcp: list(&probe.ports), tls: list(&probe.ssl_ports), udp: Vec::new() },
        Carrier::Udp => Ports { udp: list(&probe.ports), ..Ports::default() },
    };
    let is_common = probe.rarity <= intensity;
    let tier = match (is_common, ports.is_empty()) {
        (true, _) => EVERY_PORT,
        (false, false) => USUAL_PORTS,
        (false, true) => FOLLOW_UP,
    };
    Question {
        id,
        transport: probe.carrier,
        ports,
        after_scan: probe.no_payload,
        send: vec![escape(&probe.payload)],
        usual: !is_common,
        after: after.into_iter().map(str::to_owned).collect(),
        tier,
        // Nobody here knows what it does.
        safety: Safety::Noisy,
        note: Some(format!("rarity {}, line {}", probe.rarity, probe.place.line)),
        ..Question::default()
    }
}

fn question_id(number: usize, probe: &Probe) -> String {
    let carrier = match probe.carrier {
        Carrier::Tcp => "tcp",
        Carrier::Udp => "udp",
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = probe.name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    // The number keeps the file's order, in which questions of one tier are asked.
    format!("nmap-{number:03}-{carrier}-{name}")
}

fn avoid(file: &File) -> Avoid {
    let of = |wanted: Carrier| {
        let ranges = file.exclude.iter().filter(|(carrier, ..)| *carrier == wanted);
        ranges.map(|(_, first, last)| (*first, *last)).collect()
    };
    Avoid { tcp: of(Carrier::Tcp), udp: of(Carrier::Udp) }
}

/// Each once, in the order in which they came.
fn unique(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(name.clone())).collect()
}

fn note(place: Place, what: &str, reason: &str) -> Note {
    Note {
        line: place.line,
        column: place.column,
        what: SafeText::from(what),
        reason: SafeText::from(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::read;

    fn converted(text: &str) -> (Family, Report) {
        convert(&read(text.as_bytes()).expect("grammatical"), 2)
    }

    #[test]
    fn answers_read_what_the_original_tries_them_on() {
        let (family, report) = converted(
            "Probe TCP NULL q||\nmatch greeting m|^hello pump|\nmatch short m|^h|\n\
             Probe TCP Page q|GET / HTTP/1.0\\r\\n\\r\\n|\nrarity 1\nports 80\nmatch page m|^page|\n\
             Probe TCP Other q|other|\nfallback Page\nrarity 9\nmatch other m|^other|\n\
             Probe UDP Other q|other|\nfallback Page\nports 7000\nmatch datagram m|^data|\n\
             Probe TCP Last q|last|\nfallback Other\nmatch last m|^last|\n",
        );
        let on: Vec<_> = family.entries.iter().map(|entry| entry.on.join(" ")).collect();
        let (page, other, datagram, last) =
            ("nmap-001-tcp-Page", "nmap-002-tcp-Other", "nmap-003-udp-Other", "nmap-004-tcp-Last");
        assert_eq!(
            on,
            [
                String::new(),
                format!("banner {page} http-get {other} {last}"),
                format!("{page} http-get {other} {datagram}"),
                format!("{other} {last}"),
                datagram.to_owned(),
                last.to_owned(),
            ]
        );
        let tiers: Vec<_> = family.probes.iter().map(|probe| (&*probe.id, probe.tier)).collect();
        assert_eq!(
            tiers,
            [(page, EVERY_PORT), (other, FOLLOW_UP), (datagram, USUAL_PORTS), (last, FOLLOW_UP)]
        );
        assert!(family.probes.iter().all(|probe| probe.safety == Safety::Noisy));
        assert!(report.left_out.is_empty(), "{report:?}");
    }

    #[test]
    fn what_we_ask_of_every_port_anyway_is_not_asked_twice() {
        let general = |probe: &Question| probe.tier <= EVERY_PORT && probe.path.is_none() && !probe.greets;
        let database = Database::builtin();
        let (id, stands_in) = database.asking(Carrier::Tcp, b"\r\n\r\n").unwrap_or(("", false));
        let (family, report) =
            converted("Probe TCP Lines q|\\r\\n\\r\\n|\nrarity 1\nmatch pump m|^what pump|\n");
        assert_eq!(family.probes.is_empty(), stands_in);
        assert_eq!(report.probes_known, usize::from(stands_in));
        assert!(!stands_in || family.entries[0].on == [id]);
        assert!(family.probes.iter().all(general));
    }

    #[test]
    fn questions_for_printers_and_controllers_alone_are_not_asked() {
        let (family, report) = converted(
            "Probe TCP Print q|print|\nrarity 1\nports 9100,9101\nmatch pump m|^pump|\n\
             Probe TCP Both q|both|\nrarity 1\nports 9100,80\nmatch pump m|^pump|\n",
        );
        assert_eq!(family.probes.len(), 1);
        assert_eq!(report.left_out.len(), 2, "{report:?}");
        assert_eq!(report.reasons["probe not asked"], 1);
    }

    #[test]
    fn soft_answers_and_answers_without_product_are_less_sure() {
        let (family, _) = converted(
            "Probe TCP NULL q||\nmatch ssl/pump m|^hard pump| p/Pump/\nmatch pump m|^bare pump|\n\
             softmatch pump m|^soft pump| p/Pump/\n",
        );
        let scores: Vec<_> = family.entries.iter().map(|entry| (entry.score, &*entry.set["name"])).collect();
        assert_eq!(scores, [(75, "pump"), (65, "pump"), (60, "pump")]);
    }
}
