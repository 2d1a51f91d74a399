//! The one way a database file is written, so that reviews show only what changed in meaning.
//!
//! Comment lines at the top of a file are kept. Comments elsewhere would be lost and are refused: use an
//! entry's `note`.

use std::fmt::Write as _;

use toml_parser::{Source, lexer::TokenKind};

use super::{
    Database, DatabaseError,
    check::Finding,
    escape,
    format::{Avoid, Carrier, Condition, Entry, Example, Family, Layer, Ports, Probe, Safety},
    format_error, parse, unescape,
};

impl Database {
    /// A file's content in canonical form. `name` is for messages.
    pub fn fmt(name: &str, text: &str) -> Result<String, DatabaseError> {
        let family = parse(name, text)?;
        let (header, body) = split_header(text);
        if let Some(comment) = comment(body) {
            return Err(format_error(
                name,
                format!("{comment:?} would be lost; move it to the top or to a note"),
            ));
        }
        Ok(format!("{header}{}", write_family(&family)))
    }

    /// A file of this database in canonical form, with every example's expectation replaced by what
    /// comes out now: for those who write entries and then read the difference. `None` if there is no
    /// file of that name.
    pub fn fill(&self, name: &str) -> Option<String> {
        let file = self.files.iter().find(|file| file.name == name)?;
        let mut family = file.family.clone();
        for entry in &mut family.entries {
            let blank = entry.clone();
            for example in &mut entry.examples {
                if let Some(came) = self.outcome(&file.family, &blank, example) {
                    example.expect = came;
                }
            }
        }
        let (header, _) = split_header(&file.text);
        Some(format!("{header}{}", write_family(&family)))
    }
}

impl Family {
    /// The file in canonical form, without a header.
    pub fn to_toml(&self) -> String {
        write_family(self)
    }
}

/// Whether a file is written as it should be.
pub(super) fn check(name: &str, text: &str) -> Option<Finding> {
    let message = match Database::fmt(name, text) {
        Ok(canonical) if canonical == text => return None,
        Ok(_) => "is not in canonical form; run `portreeve db fmt`".to_owned(),
        Err(error) => error.to_string(),
    };
    Some(Finding { file: name.to_owned(), line: None, id: None, message })
}

fn split_header(text: &str) -> (&str, &str) {
    let lines = text.split_inclusive('\n').take_while(|line| line.starts_with('#'));
    text.split_at(lines.map(str::len).sum())
}

/// The first comment of a text. Not every line that begins like one is one: strings may have several lines.
fn comment(text: &str) -> Option<&str> {
    let source = Source::new(text);
    let token = source.lex().find(|token| token.kind() == TokenKind::Comment)?;
    Some(source.get(token)?.as_str())
}

fn write_family(family: &Family) -> String {
    let mut out = String::new();
    field(&mut out, "schema", &family.schema.to_string());
    field(&mut out, "service", &quote(&family.service));
    field(&mut out, "family", &quote(&family.family));
    if let Some(origin) = &family.origin {
        field(&mut out, "origin", &quote(origin));
    }
    if let Some(licence) = &family.licence {
        field(&mut out, "licence", &quote(licence));
    }
    for (key, is_set) in [
        ("not_redistributable", family.not_redistributable),
        ("ordered", family.ordered),
        ("untested", family.untested),
    ] {
        flag(&mut out, key, is_set);
    }
    if let Some(avoid) = avoid(&family.avoid) {
        field(&mut out, "avoid", &avoid);
    }
    if let Some(ports) = ports(&family.ports) {
        field(&mut out, "ports", &ports);
    }
    for probe in &family.probes {
        write_probe(&mut out, probe);
    }
    for entry in &family.entries {
        write_entry(&mut out, entry);
    }
    out
}

fn write_probe(out: &mut String, probe: &Probe) {
    out.push_str("\n[[probe]]\n");
    field(out, "id", &quote(&probe.id));
    if probe.transport == Carrier::Udp {
        field(out, "transport", "'udp'");
    }
    if let Some(ports) = ports(&probe.ports) {
        field(out, "ports", &ports);
    }
    if !probe.send.is_empty() {
        field(out, "send", &list(&probe.send.iter().map(|step| bytes(step)).collect::<Vec<_>>()));
    }
    if let Some(path) = &probe.path {
        field(out, "path", &quote(path));
    }
    if let Some(cookie) = &probe.cookie {
        field(out, "cookie", &bytes(cookie));
    }
    flag(out, "after_scan", probe.after_scan);
    flag(out, "greets", probe.greets);
    flag(out, "finishes", probe.finishes);
    flag(out, "reserved", probe.reserved);
    strings(out, "after", &probe.after);
    flag(out, "usual", probe.usual);
    field(out, "tier", &probe.tier.to_string());
    if probe.rank > 0 {
        field(out, "rank", &probe.rank.to_string());
    }
    strings(out, "unless", &probe.unless);
    match probe.safety {
        Safety::Safe => {}
        Safety::Noisy => field(out, "safety", "'noisy'"),
        Safety::Ot => field(out, "safety", "'ot'"),
        Safety::Print => field(out, "safety", "'print'"),
    }
    note(out, probe.note.as_deref());
}

fn write_entry(out: &mut String, entry: &Entry) {
    out.push_str("\n[[match]]\n");
    field(out, "id", &quote(&entry.id));
    strings(out, "on", &entry.on);
    field(out, "field", &quote(&entry.field));
    field(out, "regex", &quote(&entry.regex));
    conditions(out, "all", &entry.all);
    conditions(out, "not", &entry.not);
    field(out, "score", &entry.score.to_string());
    match entry.layer {
        Layer::App => field(out, "layer", "'app'"),
        Layer::Framework => field(out, "layer", "'framework'"),
        Layer::Server => {}
    }
    flag(out, "extra", entry.extra);
    table(out, "set", entry.set.iter().map(|(key, value)| (key.as_str(), quote(value))));
    strings(out, "cpe", &entry.cpe);
    note(out, entry.note.as_deref());
    if !entry.counter.is_empty() {
        field(out, "counter", &list(&entry.counter.iter().map(|one| bytes(one)).collect::<Vec<_>>()));
    }
    for example in &entry.examples {
        write_example(out, example);
    }
}

fn write_example(out: &mut String, example: &Example) {
    out.push_str("\n[[match.example]]\n");
    if !example.reply.is_empty() {
        field(out, "reply", &bytes(&example.reply));
    }
    table(out, "fields", example.fields.iter().map(|(key, value)| (key.as_str(), bytes(value))));
    if let Some(on) = &example.on {
        field(out, "on", &quote(on));
    }
    table(out, "expect", example.expect.iter().map(|(key, value)| (key.as_str(), quote(value))));
    field(out, "source", &quote(&example.source));
}

fn field(out: &mut String, key: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{key} = {value}");
}

fn flag(out: &mut String, key: &str, is_set: bool) {
    if is_set {
        field(out, key, "true");
    }
}

fn note(out: &mut String, note: Option<&str>) {
    if let Some(note) = note {
        field(out, "note", &quote(note));
    }
}

fn strings(out: &mut String, key: &str, values: &[String]) {
    if !values.is_empty() {
        field(out, key, &list(&values.iter().map(|value| quote(value)).collect::<Vec<_>>()));
    }
}

fn conditions(out: &mut String, key: &str, values: &[Condition]) {
    if !values.is_empty() {
        let one =
            |one: &Condition| format!("{{ field = {}, regex = {} }}", quote(&one.field), quote(&one.regex));
        field(out, key, &list(&values.iter().map(one).collect::<Vec<_>>()));
    }
}

fn table<'a>(out: &mut String, key: &str, pairs: impl Iterator<Item = (&'a str, String)>) {
    let pairs: Vec<_> = pairs.map(|(key, value)| format!("{} = {value}", bare(key))).collect();
    if !pairs.is_empty() {
        field(out, key, &format!("{{ {} }}", pairs.join(", ")));
    }
}

/// A short list on one line, a long one on several.
fn list(values: &[String]) -> String {
    let line = format!("[{}]", values.join(", "));
    if line.len() <= 100 || values.len() == 1 { line } else { format!("[\n  {},\n]", values.join(",\n  ")) }
}

fn ports(ports: &Ports) -> Option<String> {
    let kinds = [("tcp", &ports.tcp), ("tls", &ports.tls), ("udp", &ports.udp)];
    let parts: Vec<_> = kinds
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(kind, list)| format!("{kind} = {list:?}"))
        .collect();
    (!parts.is_empty()).then(|| format!("{{ {} }}", parts.join(", ")))
}

fn avoid(avoid: &Avoid) -> Option<String> {
    let ranges = |list: &[(u16, u16)]| {
        let ranges: Vec<_> = list.iter().map(|(first, last)| format!("[{first}, {last}]")).collect();
        ranges.join(", ")
    };
    let parts: Vec<_> = [("tcp", &avoid.tcp), ("udp", &avoid.udp)]
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(kind, list)| format!("{kind} = [{}]", ranges(list)))
        .collect();
    (!parts.is_empty()).then(|| format!("{{ {} }}", parts.join(", ")))
}

/// The canonical notation of bytes that were written in any notation.
fn bytes(text: &str) -> String {
    quote(&unescape(text).map_or_else(|_| text.to_owned(), |bytes| escape(&bytes)))
}

fn bare(key: &str) -> String {
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if plain { key.to_owned() } else { quote(key) }
}

/// A TOML string: literal where that can be, so that expressions and escapes stand as they are.
fn quote(text: &str) -> String {
    let plain = !text.chars().any(|c| c.is_control());
    if plain && !text.contains('\'') {
        format!("'{text}'")
    } else if plain && !text.contains("''") && !text.ends_with('\'') {
        format!("'''{text}'''")
    } else {
        toml::Value::String(text.to_owned()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_keeps_the_meaning_and_is_stable() {
        let text = r#"# Top.
service = "x"
schema = 1
family = "test"
[[probe]]
tier = 2
id = "p"
send = ["a\\r\\n\\x41'"]
[[match]]
id = "x/y"
field = "raw"
regex = '^it''s'
score = 70
"#
        .replace("'^it''s'", "\"^it's\"");
        let once = Database::fmt("x.toml", &text).expect("formats");
        assert_eq!(Database::fmt("x.toml", &once).expect("formats again"), once);
        assert!(once.starts_with("# Top.\nschema = 1\nservice = 'x'\n"), "{once}");
        assert!(once.contains(r"send = ['''a\r\nA'''']") || once.contains("\\r\\nA'"), "{once}");
    }

    #[test]
    fn comments_that_would_be_lost_are_refused_and_strings_are_none() {
        for comment in ["schema = 1\n# here\n", "schema = 1 # here\n", "schema = 1\n  # here\n"] {
            let refused = Database::fmt("x.toml", &format!("{comment}service = 'x'\nfamily = 'y'\n"));
            assert!(refused.is_err_and(|error| error.to_string().contains("\"# here\"")), "{comment}");
        }
        // Two lines, the second of which begins like a comment, and no escapes that could be written shorter.
        let text = "schema = 1\nservice = 'x'\nfamily = 'y'\n[[match]]\nid = 'x/y'\nfield = 'raw'\nregex = '^a'\nscore = 70\n\
                    [[match.example]]\nreply = \"\"\"\\\\('\n #'\\\"(\"\"\"\nsource = 'RFC 1'\n";
        let once = Database::fmt("x.toml", text).expect("has no comment");
        assert_eq!(Database::fmt("x.toml", &once).expect("nor has this"), once);
        assert!(once.lines().any(|line| line.starts_with(" #")), "{once}");
    }
}
