//! The file format: lines of probes, and under each what its answers look like.
//!
//! Written from a description of the grammar. A file that does not follow it is refused with line and column; what is
//! grammatical and cannot be used is the converter's to leave out.

use std::collections::{BTreeSet, HashMap, HashSet};

use portreeve_probes::files::Carrier;

use crate::cursor::{Cursor, Place, SyntaxError, is_blank};

/// The longest file read, in bytes.
pub const MAX_FILE: usize = 16 << 20;
const MAX_LINE: usize = 8192;
const MAX_PATTERN: usize = 4096;
const MAX_PROBES: usize = 1000;
const MAX_MATCHES: usize = 50_000;
const MAX_NAME: usize = 64;
const MAX_FALLBACKS: usize = 17;
const MAX_FIELDS: usize = 32;
/// Ports named by all probes together.
const MAX_PORTS: usize = 300_000;
/// Pairs of an answer and a probe in whose replies it is sought.
const MAX_PAIRS: usize = 2_000_000;

/// A file as it was read.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Ports that no probe is sent to: carrier, first, last.
    pub exclude: Vec<(Carrier, u16, u16)>,
    /// Questions, in the file's order.
    pub probes: Vec<Probe>,
}

/// A question and the answers known to it.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// Where it is named.
    pub place: Place,
    /// Over TCP or UDP.
    pub carrier: Carrier,
    /// Its name.
    pub name: String,
    /// What is sent. Nothing over TCP: what a server says unasked.
    pub payload: Vec<u8>,
    /// A port scan does not send it.
    pub no_payload: bool,
    /// Ports where it is asked whatever its rarity.
    pub ports: BTreeSet<u16>,
    /// The same inside TLS.
    pub ssl_ports: BTreeSet<u16>,
    /// How seldom it is worth asking, 1-9.
    pub rarity: u8,
    /// How long to wait for an answer, in milliseconds.
    pub total_wait_ms: Option<u32>,
    /// How soon a server must hang up for that to count as refusing strangers, in milliseconds.
    pub wrapped_wait_ms: Option<u32>,
    /// Probes whose answers are tried too.
    pub fallbacks: Vec<(String, Place)>,
    /// Its answers.
    pub matches: Vec<Match>,
}

impl Probe {
    /// Whether it is what a server says unasked.
    pub fn is_null(&self) -> bool {
        self.carrier == Carrier::Tcp && self.payload.is_empty()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Match {
    /// Where its expression begins.
    pub place: Place,
    /// It names the service alone, and more questions may follow.
    pub soft: bool,
    /// The service.
    pub service: String,
    /// The expression, in PCRE's syntax.
    pub pattern: Vec<u8>,
    /// Capitals and small letters are one.
    pub caseless: bool,
    /// A dot is a line feed too.
    pub dot_all: bool,
    /// What it says of the product.
    pub fields: Vec<Field>,
}

/// A template for one value.
#[derive(Clone, Debug)]
pub struct Field {
    /// Where the template begins.
    pub place: Place,
    /// Which value.
    pub kind: Kind,
    /// The template.
    pub template: Vec<u8>,
}

/// Values that a match may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cpe:`
    Cpe,
    /// `d`
    Device,
    /// `h`
    Hostname,
    /// `i`
    Info,
    /// `o`
    Os,
    /// `p`
    Product,
    /// `v`
    Version,
}

const FIELDS: &[(&[u8], Kind)] = &[
    (b"cpe:", Kind::Cpe),
    (b"d", Kind::Device),
    (b"h", Kind::Hostname),
    (b"i", Kind::Info),
    (b"o", Kind::Os),
    (b"p", Kind::Product),
    (b"v", Kind::Version),
];

/// Reads a whole file.
pub fn read(text: &[u8]) -> Result<File, SyntaxError> {
    let mut reader = Reader::default();
    if text.len() > MAX_FILE {
        return Err(Place { line: 1, column: 1 }.error(format!("the file is longer than {MAX_FILE} bytes")));
    }
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut cursor = Cursor::new(line, number + 1);
        if line.len() > MAX_LINE {
            return Err(cursor.error(format!("the line is longer than {MAX_LINE} bytes")));
        }
        if line.starts_with(b"#") || line.iter().all(|&byte| is_blank(byte)) {
            continue;
        }
        reader.line(&mut cursor)?;
    }
    reader.finish()
}

#[derive(Debug, Default)]
struct Reader {
    file: File,
    names: HashSet<(bool, String)>,
    matches: usize,
    ports: usize,
    has_exclude: bool,
}

impl Reader {
    fn line(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        let begin = cursor.place();
        match cursor.word() {
            b"Exclude" => self.exclude(begin, cursor),
            b"Probe" => self.probe(cursor),
            b"fallback" => {
                let names = fallbacks(cursor)?;
                let known = &mut self.open(begin)?.fallbacks;
                known.extend(names);
                if known.len() > MAX_FALLBACKS {
                    return Err(begin.error(format!("more than {MAX_FALLBACKS} fallbacks")));
                }
                Ok(())
            }
            b"match" => self.answer(begin, cursor, false),
            b"ports" => {
                let ports = self.some_ports(cursor)?;
                self.open(begin)?.ports.extend(ports);
                Ok(())
            }
            b"rarity" => {
                self.open(begin)?.rarity = lone_number(cursor, 1, 9)? as u8;
                Ok(())
            }
            b"softmatch" => self.answer(begin, cursor, true),
            b"sslports" => {
                let ports = self.some_ports(cursor)?;
                self.open(begin)?.ssl_ports.extend(ports);
                Ok(())
            }
            b"tcpwrappedms" => {
                self.open(begin)?.wrapped_wait_ms = Some(lone_number(cursor, 100, 300_000)?);
                Ok(())
            }
            b"totalwaitms" => {
                self.open(begin)?.total_wait_ms = Some(lone_number(cursor, 100, 300_000)?);
                Ok(())
            }
            _ => Err(begin.error(
                "no such directive: a line begins with Exclude, Probe, match, softmatch, ports, sslports, rarity, \
                 totalwaitms, tcpwrappedms, fallback or #",
            )),
        }
    }

    /// The probe that a line belongs to.
    fn open(&mut self, place: Place) -> Result<&mut Probe, SyntaxError> {
        self.file.probes.last_mut().ok_or_else(|| place.error("stands before the first Probe"))
    }

    fn some_ports(&mut self, cursor: &mut Cursor<'_>) -> Result<BTreeSet<u16>, SyntaxError> {
        let place = cursor.place();
        let ports = ports(cursor)?;
        self.ports += ports.len();
        if self.ports > MAX_PORTS {
            return Err(place.error(format!("more than {MAX_PORTS} ports in all")));
        }
        Ok(ports)
    }

    fn exclude(&mut self, begin: Place, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        if self.has_exclude {
            return Err(begin.error("a second Exclude; give all ports on one line"));
        }
        if !self.file.probes.is_empty() {
            return Err(begin.error("Exclude stands before the first Probe"));
        }
        self.has_exclude = true;
        cursor.blanks()?;
        self.file.exclude = excluded(cursor)?;
        Ok(())
    }

    fn probe(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        let place = cursor.place();
        if self.file.probes.len() >= MAX_PROBES {
            return Err(place.error(format!("more than {MAX_PROBES} probes")));
        }
        cursor.blanks()?;
        let protocol = cursor.place();
        let carrier = match cursor.word() {
            b"TCP" => Carrier::Tcp,
            b"UDP" => Carrier::Udp,
            _ => return Err(protocol.error("a probe goes over TCP or UDP")),
        };
        cursor.blanks()?;
        let place = cursor.place();
        let name = name(cursor, "a probe's name")?;
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(place.error("a probe's name begins with a letter or a digit"));
        }
        cursor.blanks()?;
        if !cursor.takes(b"q") {
            return Err(cursor.error("what is sent is written q|…|"));
        }
        let (text, begin) = cursor.delimited("what is sent")?;
        let payload = unescape(text, begin)?;
        cursor.skip_blanks();
        let no_payload = cursor.takes(b"no-payload");
        cursor.end()?;
        let probe = Probe { place, carrier, name, payload, no_payload, rarity: 5, ..Probe::default() };
        if probe.is_null() && self.file.probes.iter().any(Probe::is_null) {
            return Err(begin.error("a second TCP probe that sends nothing"));
        }
        if !self.names.insert((carrier == Carrier::Tcp, probe.name.clone())) {
            return Err(place.error(format!("a second probe of the name {:?}", probe.name)));
        }
        self.file.probes.push(probe);
        Ok(())
    }

    fn answer(&mut self, begin: Place, cursor: &mut Cursor<'_>, soft: bool) -> Result<(), SyntaxError> {
        self.open(begin)?;
        self.matches += 1;
        if self.matches > MAX_MATCHES {
            return Err(begin.error(format!("more than {MAX_MATCHES} answers")));
        }
        cursor.blanks()?;
        let service = name(cursor, "a service's name")?;
        cursor.blanks()?;
        if !cursor.takes(b"m") {
            return Err(cursor.error("an expression is written m|…|"));
        }
        let (pattern, place) = cursor.delimited("an expression")?;
        if pattern.len() > MAX_PATTERN {
            return Err(place.error(format!("the expression is longer than {MAX_PATTERN} bytes")));
        }
        let mut answer = Match {
            place,
            soft,
            service,
            pattern: pattern.to_vec(),
            caseless: false,
            dot_all: false,
            fields: Vec::new(),
        };
        while let Some(flag) = cursor.peek().filter(|byte| !is_blank(*byte)) {
            match flag {
                b'i' => answer.caseless = true,
                b's' => answer.dot_all = true,
                _ => return Err(cursor.error("no such flag; there are i and s")),
            }
            cursor.next();
        }
        answer.fields = fields(cursor)?;
        self.open(begin)?.matches.push(answer);
        Ok(())
    }

    /// What can be said only when all is read.
    fn finish(self) -> Result<File, SyntaxError> {
        for (name, place) in self.file.probes.iter().flat_map(|probe| &probe.fallbacks) {
            if !self.file.probes.iter().any(|probe| probe.name == *name) {
                return Err(place.error(format!("there is no probe of the name {name:?}")));
            }
        }
        let mut callers: HashMap<&str, usize> = HashMap::new();
        for (name, _) in self.file.probes.iter().flat_map(|probe| &probe.fallbacks) {
            *callers.entry(name).or_default() += 1;
        }
        let mut pairs = 0;
        for probe in &self.file.probes {
            let all = if probe.is_null() { self.file.probes.len() } else { 0 };
            pairs += probe.matches.len() * (1 + all + callers.get(&*probe.name).copied().unwrap_or_default());
            if pairs > MAX_PAIRS {
                return Err(probe
                    .place
                    .error("its answers would be sought in the replies to too many probes"));
            }
        }
        Ok(self.file)
    }
}

/// A name without blanks: visible ASCII.
fn name(cursor: &mut Cursor<'_>, what: &str) -> Result<String, SyntaxError> {
    let place = cursor.place();
    let word = cursor.word();
    let is_good =
        !word.is_empty() && word.len() <= MAX_NAME && word.iter().all(|byte| byte.is_ascii_graphic());
    let text = std::str::from_utf8(word).ok().filter(|_| is_good);
    text.map(str::to_owned)
        .ok_or_else(|| place.error(format!("{what} has 1 to {MAX_NAME} letters, digits and signs")))
}

fn lone_number(cursor: &mut Cursor<'_>, least: u32, most: u32) -> Result<u32, SyntaxError> {
    cursor.blanks()?;
    let number = cursor.number(least, most)?;
    cursor.end()?;
    Ok(number)
}

fn fallbacks(cursor: &mut Cursor<'_>) -> Result<Vec<(String, Place)>, SyntaxError> {
    cursor.blanks()?;
    let mut names = Vec::new();
    loop {
        cursor.skip_blanks();
        let place = cursor.place();
        let word = cursor.take_while(|byte| byte != b',' && !is_blank(byte));
        let text = std::str::from_utf8(word).ok().filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| place.error("the name of a probe is expected here"))?;
        names.push((text.to_owned(), place));
        cursor.skip_blanks();
        if !cursor.takes(b",") {
            cursor.end()?;
            return Ok(names);
        }
    }
}

fn ports(cursor: &mut Cursor<'_>) -> Result<BTreeSet<u16>, SyntaxError> {
    cursor.blanks()?;
    let mut all = BTreeSet::new();
    loop {
        cursor.skip_blanks();
        let place = cursor.place();
        let first = port(cursor)?;
        cursor.skip_blanks();
        let last = if cursor.takes(b"-") {
            cursor.skip_blanks();
            port(cursor)?
        } else {
            first
        };
        all.extend(range(place, first, last)?);
        cursor.skip_blanks();
        if !cursor.takes(b",") {
            cursor.end()?;
            return Ok(all);
        }
    }
}

fn port(cursor: &mut Cursor<'_>) -> Result<u16, SyntaxError> {
    Ok(cursor.number(0, u32::from(u16::MAX))? as u16)
}

fn range(place: Place, first: u16, last: u16) -> Result<std::ops::RangeInclusive<u16>, SyntaxError> {
    if first <= last { Ok(first..=last) } else { Err(place.error("the range runs backwards")) }
}

/// Ports as on nmap's command line: ranges that may be open at either end, `T:` and `U:` for what follows them.
fn excluded(cursor: &mut Cursor<'_>) -> Result<Vec<(Carrier, u16, u16)>, SyntaxError> {
    let mut all = Vec::new();
    let mut carriers: &[Carrier] = &[Carrier::Tcp, Carrier::Udp];
    loop {
        cursor.skip_blanks();
        for (prefix, meant) in [
            (&b"T:"[..], &[Carrier::Tcp][..]),
            (b"U:", &[Carrier::Udp]),
            // SCTP: nothing here asks anything over it.
            (b"S:", &[]),
        ] {
            if cursor.takes(prefix) {
                carriers = meant;
            }
        }
        let place = cursor.place();
        let is_open = cursor.peek() == Some(b'-');
        let first = if is_open { 0 } else { port(cursor)? };
        let last = if cursor.takes(b"-") {
            let is_digit = cursor.peek().is_some_and(|byte| byte.is_ascii_digit());
            if is_digit { port(cursor)? } else { u16::MAX }
        } else {
            first
        };
        let range = range(place, first, last)?;
        all.extend(carriers.iter().map(|carrier| (*carrier, *range.start(), *range.end())));
        cursor.skip_blanks();
        if !cursor.takes(b",") {
            cursor.end()?;
            return Ok(all);
        }
    }
}

fn fields(cursor: &mut Cursor<'_>) -> Result<Vec<Field>, SyntaxError> {
    let mut fields = Vec::new();
    loop {
        cursor.skip_blanks();
        if cursor.is_at_end() {
            return Ok(fields);
        }
        if fields.len() >= MAX_FIELDS {
            return Err(cursor.error(format!("more than {MAX_FIELDS} fields")));
        }
        let known = FIELDS.iter().find(|(key, _)| cursor.takes(key));
        let (_, kind) = known.ok_or_else(|| {
            cursor.error("no such field; there are p/ v/ i/ h/ o/ d/ and cpe:/, each closed")
        })?;
        let (template, place) = cursor.delimited("a field")?;
        // Marks of the authors' tools.
        cursor.take_while(|byte| byte.is_ascii_alphabetic());
        if cursor.peek().is_some_and(|byte| !is_blank(byte)) {
            return Err(cursor.error("a blank is expected after a field"));
        }
        fields.push(Field { place, kind: *kind, template: template.to_vec() });
    }
}

/// Bytes as a probe writes them.
fn unescape(text: &[u8], begin: Place) -> Result<Vec<u8>, SyntaxError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied().enumerate();
    while let Some((at, byte)) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let bad = |reason: &str| Place { column: begin.column + at, ..begin }.error(reason);
        let (_, kind) = rest.next().ok_or_else(|| bad("a backslash at the end"))?;
        bytes.push(match kind {
            b'0' => 0,
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'x' => {
                let mut digit = || {
                    rest.next().and_then(|(_, digit)| char::from(digit).to_digit(16)).map(|digit| digit as u8)
                };
                match (digit(), digit()) {
                    (Some(high), Some(low)) => high << 4 | low,
                    _ => return Err(bad("\\x needs two hexadecimal digits")),
                }
            }
            other if other.is_ascii_alphanumeric() => {
                return Err(bad("no such escape; there are \\0 \\a \\b \\f \\n \\r \\t \\v and \\xHH"));
            }
            other => other,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written for these tests: there is no such product.
    const PUMPS: &str = "\
# Pumps.
Exclude T:9100-9107,U:7000

Probe TCP NULL q||
totalwaitms 6000
tcpwrappedms 3000
match pump m|^220 PumpOS ([\\d.]+)\\r\\n| p/Acme PumpOS/ v/$1/ cpe:/o:acme:pumpos:$1/a
softmatch pump m=^220 =i
Probe UDP Ask q#\\0\\x41\\\\\\|\\r#  no-payload
rarity 3
ports 7000, 7002-7004
sslports 7443
fallback NULL
match valve m@a|b@si p|Valve/2| i/x, y/ h/$2/ o/Valve OS/ d/specialized/
";

    #[test]
    fn every_line_of_the_grammar_is_read() {
        let file = read(PUMPS.as_bytes()).expect("grammatical");
        assert_eq!(file.exclude, [(Carrier::Tcp, 9100, 9107), (Carrier::Udp, 7000, 7000)]);
        let [null, ask] = file.probes.as_slice() else { panic!("{:?}", file.probes) };
        assert!(null.is_null() && null.total_wait_ms == Some(6000) && null.wrapped_wait_ms == Some(3000));
        assert_eq!((null.rarity, null.matches.len()), (5, 2));
        let first = &null.matches[0];
        assert_eq!(first.pattern, br"^220 PumpOS ([\d.]+)\r\n");
        assert_eq!(first.place, Place { line: 7, column: 14 });
        let kinds: Vec<_> = first.fields.iter().map(|field| (field.kind, &*field.template)).collect();
        assert_eq!(
            kinds,
            [(Kind::Product, &b"Acme PumpOS"[..]), (Kind::Version, b"$1"), (Kind::Cpe, b"o:acme:pumpos:$1")]
        );
        assert!(null.matches[1].soft && null.matches[1].caseless && !null.matches[1].dot_all);
        assert_eq!((ask.carrier, &*ask.payload, ask.no_payload), (Carrier::Udp, &b"\0A\\|\r"[..], true));
        assert_eq!(ask.ports, BTreeSet::from([7000, 7002, 7003, 7004]));
        assert_eq!((ask.rarity, &ask.ssl_ports), (3, &BTreeSet::from([7443])));
        assert_eq!(ask.fallbacks[0].0, "NULL");
        let valve = &ask.matches[0];
        assert!(valve.caseless && valve.dot_all && valve.pattern == b"a|b" && valve.fields.len() == 5);
        assert_eq!(valve.fields[0].template, b"Valve/2");
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_column() {
        for (text, line, column, part) in [
            ("nonsense\n", 1, 1, "directive"),
            ("match x m|a|\n", 1, 1, "before the first Probe"),
            ("Probe TCP x q|a|\nmatch x m|a\n", 2, 10, "closes"),
            ("Probe TCP x q|a|\nmatch x m|a|x\n", 2, 13, "flag"),
            ("Probe TCP x q|a|\nmatch x m|a| z/b/\n", 2, 14, "field"),
            ("Probe TCP x q|a|\nmatch x m|a| p/b/9\n", 2, 18, "blank"),
            ("Probe TCP x q|a\\q|\n", 1, 16, "escape"),
            ("Probe TCP x q|\\x4|\n", 1, 15, "hexadecimal"),
            ("Probe ICMP x q||\n", 1, 7, "TCP or UDP"),
            ("Probe TCP x q|a| payload\n", 1, 18, "end here"),
            ("Probe TCP x q||\nProbe TCP y q||\n", 2, 15, "sends nothing"),
            ("Probe TCP x q|a|\nProbe TCP x q|b|\n", 2, 11, "name"),
            ("Probe TCP x q|a|\nports 1,70000\n", 2, 9, "65535"),
            ("Probe TCP x q|a|\nports 9-3\n", 2, 7, "backwards"),
            ("Probe TCP x q|a|\nrarity 0\n", 2, 8, "from 1 to 9"),
            ("Probe TCP x q|a|\ntotalwaitms 50\n", 2, 13, "300000"),
            ("Probe TCP x q|a|\nfallback x,y\n", 2, 12, "no probe"),
            ("Probe TCP x q|a|\nfallback x,x,x,x,x,x,x,x,x\nfallback x,x,x,x,x,x,x,x,x\n", 3, 1, "fallbacks"),
            ("Exclude T:9100\nExclude 1\n", 2, 1, "second Exclude"),
            ("Exclude T:http\n", 1, 11, "number"),
        ] {
            let error = read(text.as_bytes()).expect_err(text);
            assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
            assert!(error.reason.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn names_are_one_for_each_protocol_and_ranges_may_be_open() {
        let file = read(b"Exclude -10,U:65530-\nProbe TCP x q|a|\nProbe UDP x q|a|\n").expect("grammatical");
        assert_eq!(
            file.exclude,
            [(Carrier::Tcp, 0, 10), (Carrier::Udp, 0, 10), (Carrier::Udp, 65530, u16::MAX)]
        );
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let long = format!("Probe TCP x q|{}|\n", "a".repeat(MAX_LINE));
        assert!(read(long.as_bytes()).expect_err("long").reason.contains("longer"));
        let pattern = format!("Probe TCP x q|a|\nmatch x m|{}|\n", "a".repeat(MAX_PATTERN + 1));
        assert!(read(pattern.as_bytes()).expect_err("long").reason.contains("longer"));
        let many: Vec<String> = (0..=MAX_PROBES).map(|number| format!("Probe TCP p{number} q|a|")).collect();
        let ports = "Probe TCP x q|a|\nports 0-65535\n".to_owned() + &"ports 0-65535\n".repeat(4);
        assert!(read(ports.as_bytes()).expect_err("many").reason.contains("ports in all"));
        assert!(read(many.join("\n").as_bytes()).expect_err("many").reason.contains("more than"));
    }
}
