//! Finds every entry that a set of fields satisfies, and scores it.
//!
//! One Aho-Corasick automaton per field name finds which entries' required literals occur; only those
//! entries' regular expressions are compiled and run. An entry whose expression has no such literal is
//! always run; the database check keeps those few.

mod literals;
mod reading;
mod template;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::bytes::{Regex, RegexBuilder};

pub use reading::Reading;
pub(crate) use reading::{Choice, choose};
pub(crate) use template::{is_filter, names as template_names};

use crate::{
    database::{Entry, Family},
    fields::{Fields, Value},
};

/// Literals of a field with more bytes than this in all are sought without a table.
const LARGEST_TABLE: usize = 8 * 1024;

/// The entries, ready to be searched.
#[derive(Debug)]
pub(crate) struct Index {
    entries: Vec<Compiled>,
    groups: HashMap<String, Group>,
    /// Fields that further conditions read.
    conditions: HashSet<String>,
}

/// The entries that read one field.
#[derive(Debug, Default)]
struct Group {
    /// Entries without a required literal.
    always: Vec<usize>,
    literals: Vec<Vec<u8>>,
    /// Where each literal stands in the list.
    places: HashMap<Vec<u8>, usize>,
    /// Which entries each literal speaks for.
    owners: Vec<Vec<usize>>,
    automaton: OnceLock<Option<AhoCorasick>>,
}

/// An entry with its expressions, compiled when first needed.
#[derive(Debug)]
struct Compiled {
    entry: Arc<Entry>,
    service: Arc<str>,
    ordered: bool,
    regex: Lazy,
    all: Vec<(String, Lazy)>,
    not: Vec<(String, Lazy)>,
}

/// An entry that fits, and what its groups captured.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub entry: Arc<Entry>,
    pub service: Arc<str>,
    /// Of a file in which the first entry that reads a reply counts.
    pub ordered: bool,
    /// The probe whose reply has it.
    pub probe: String,
    pub groups: BTreeMap<String, Vec<u8>>,
}

/// What was found so far in fields that only grow.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Values searched.
    seen: usize,
    found: Vec<Found>,
}

/// A value that an entry reads.
#[derive(Debug)]
struct Found {
    number: usize,
    place: usize,
    groups: BTreeMap<String, Vec<u8>>,
}

impl Index {
    pub fn new<'a>(families: impl Iterator<Item = &'a Family>) -> Self {
        let mut index = Self { entries: Vec::new(), groups: HashMap::new(), conditions: HashSet::new() };
        for family in families {
            let service: Arc<str> = Arc::from(family.service.as_str());
            for entry in &family.entries {
                index.add(entry, Arc::clone(&service), family.ordered);
            }
        }
        index
    }

    fn add(&mut self, entry: &Entry, service: Arc<str>, ordered: bool) {
        let number = self.entries.len();
        let group = self.groups.entry(entry.field.clone()).or_default();
        match literals::required(&entry.regex) {
            Some(set) => {
                for literal in set {
                    let place = *group.places.entry(literal).or_insert_with_key(|literal| {
                        group.literals.push(literal.clone());
                        group.owners.push(Vec::new());
                        group.owners.len() - 1
                    });
                    if let Some(owners) = group.owners.get_mut(place) {
                        owners.push(number);
                    }
                }
            }
            None => group.always.push(number),
        }
        self.conditions.extend(entry.all.iter().chain(&entry.not).map(|one| one.field.clone()));
        let lazy = |conditions: &[crate::database::Condition]| {
            conditions.iter().map(|one| (one.field.clone(), Lazy::new(&one.regex))).collect()
        };
        self.entries.push(Compiled {
            regex: Lazy::new(&entry.regex),
            all: lazy(&entry.all),
            not: lazy(&entry.not),
            entry: Arc::new(entry.clone()),
            service,
            ordered,
        });
    }

    /// Whether any entry reads a field of that name.
    pub fn reads(&self, field: &str) -> bool {
        self.groups.contains_key(field) || self.conditions.contains(field)
    }

    /// Every entry that fits, in the database's order.
    pub fn find(&self, fields: &Fields) -> Vec<Hit> {
        self.find_more(&mut Search::default(), fields)
    }

    /// The same for fields that grow: what `search` found in them when there were fewer is not sought again.
    pub fn find_more(&self, search: &mut Search, fields: &Fields) -> Vec<Hit> {
        let values = fields.values();
        for (place, value) in values.iter().enumerate().skip(search.seen) {
            let Some(group) = self.groups.get(&value.name) else { continue };
            for number in group.candidates(&value.bytes) {
                let groups = self.entries.get(number).and_then(|compiled| compiled.reads(value));
                search.found.extend(groups.map(|groups| Found { number, place, groups }));
            }
        }
        search.seen = values.len();
        let mut hits = BTreeMap::new();
        for found in &search.found {
            let (Some(compiled), Some(value)) = (self.entries.get(found.number), values.get(found.place))
            else {
                continue;
            };
            if hits.contains_key(&found.number) {
                continue;
            }
            if let Some(groups) = compiled.holds(&found.groups, fields) {
                hits.insert(
                    found.number,
                    Hit {
                        entry: Arc::clone(&compiled.entry),
                        service: Arc::clone(&compiled.service),
                        ordered: compiled.ordered,
                        probe: value.probe.clone(),
                        groups,
                    },
                );
            }
        }
        hits.into_values().collect()
    }
}

impl Group {
    fn candidates(&self, haystack: &[u8]) -> BTreeSet<usize> {
        let mut found: BTreeSet<usize> = self.always.iter().copied().collect();
        let automaton = self.automaton.get_or_init(|| automaton(&self.literals));
        if let Some(automaton) = automaton {
            for hit in automaton.find_overlapping_iter(haystack) {
                found.extend(self.owners.get(hit.pattern().as_usize()).into_iter().flatten());
            }
        }
        found
    }
}

/// Looks for all literals at once, in either case.
fn automaton(literals: &[Vec<u8>]) -> Option<AhoCorasick> {
    let mut builder = AhoCorasick::builder();
    builder.ascii_case_insensitive(true);
    // A table of all transitions takes half the time of states that fall back, and about a kilobyte for each byte sought.
    if literals.iter().map(Vec::len).sum::<usize>() <= LARGEST_TABLE {
        builder.kind(Some(AhoCorasickKind::DFA));
    }
    builder.build(literals).ok()
}

impl Compiled {
    /// The captured groups, if the value fits; further conditions may still refuse it.
    fn reads(&self, value: &Value) -> Option<BTreeMap<String, Vec<u8>>> {
        if !self.entry.on.is_empty() && !self.entry.on.contains(&value.probe) {
            return None;
        }
        self.regex.groups(&value.bytes)
    }

    /// All captured groups, if all further conditions hold.
    fn holds(
        &self,
        captured: &BTreeMap<String, Vec<u8>>,
        fields: &Fields,
    ) -> Option<BTreeMap<String, Vec<u8>>> {
        let mut groups = captured.clone();
        for (name, regex) in &self.all {
            let found = named(fields, name).find_map(|value| regex.groups(&value.bytes))?;
            groups.extend(found);
        }
        let refused = self
            .not
            .iter()
            .any(|(name, regex)| named(fields, name).any(|value| regex.groups(&value.bytes).is_some()));
        (!refused).then_some(groups)
    }
}

fn named<'a>(fields: &'a Fields, name: &'a str) -> impl Iterator<Item = &'a Value> {
    fields.values().iter().filter(move |value| value.name == name)
}

/// A regular expression that is compiled when first used.
#[derive(Debug)]
struct Lazy {
    text: String,
    regex: OnceLock<Option<Regex>>,
}

impl Lazy {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), regex: OnceLock::new() }
    }

    /// Named groups that took part, if it matches. One that does not compile never matches; the check
    /// reports it.
    fn groups(&self, haystack: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
        let regex = self.regex.get_or_init(|| compile(&self.text).ok()).as_ref()?;
        let captures = regex.captures(haystack)?;
        let mut groups = BTreeMap::new();
        for name in regex.capture_names().flatten() {
            if let Some(group) = captures.name(name) {
                groups.insert(name.to_owned(), group.as_bytes().to_vec());
            }
        }
        Some(groups)
    }
}

/// Compiles as the database means it: bytes, no Unicode classes, bounded in size.
pub(crate) fn compile(regex: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(regex).unicode(false).size_limit(1 << 20).build()
}

/// Whether an expression has a literal that the prefilter can look for.
pub fn has_literal(regex: &str) -> bool {
    literals::required(regex).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{database::Database, decode::decode};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_reply_makes_the_builtin_database_panic(head in 0..3_usize, tail: Vec<u8>) {
            let heads: [&[u8]; 3] = [b"", b"HTTP/1.1 200 OK\r\nServer: ", b"220 "];
            let mut fields = Fields::default();
            decode("banner", &[heads[head], &tail].concat(), &mut fields);
            if let Some(choice) = choose(&Database::builtin().index().find(&fields)) {
                prop_assert!(choice.alternatives.len() <= 5);
                prop_assert!(choice.best.score <= 100);
            }
        }
    }

    #[test]
    fn fields_that_grow_are_read_as_if_they_had_come_at_once() {
        let replies: [(&str, &[u8]); 4] = [
            ("http-get", b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\r\n<title>Grafana</title>"),
            ("help", b"HTTP/1.1 400 Bad Request\r\nServer: Apache/2.4.57 (Debian)\r\n\r\n"),
            ("banner", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
            ("http-transfer", b"HTTP/1.1 501 Not Implemented\r\n\r\n"),
        ];
        let index = Database::builtin().index();
        let (mut fields, mut search) = (Fields::default(), Search::default());
        for (probe, reply) in replies {
            decode(probe, reply, &mut fields);
            let summary = |hits: Vec<Hit>| -> Vec<_> {
                hits.into_iter().map(|hit| (hit.entry.id.clone(), hit.probe, hit.groups)).collect()
            };
            let grown = summary(index.find_more(&mut search, &fields));
            assert_eq!(grown, summary(index.find(&fields)));
            assert!(!grown.is_empty());
        }
    }

    #[test]
    fn fields_of_two_readings_are_never_mixed() {
        let mut fields = Fields::default();
        let reply = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\r\n<title>Grafana</title>";
        decode("http-get", reply, &mut fields);
        let choice = choose(&Database::builtin().index().find(&fields)).expect("a reading");
        assert_eq!(choice.best.get("product").map(|product| product.as_str()), Some("Grafana"));
        assert_eq!(choice.best.get("version"), None, "nginx's version is not Grafana's");
        assert_eq!(choice.stack.iter().map(|one| one.as_str()).collect::<Vec<_>>(), ["nginx 1.22.1"]);
    }
}
