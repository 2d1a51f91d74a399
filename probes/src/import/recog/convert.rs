//! From one of recog's files to one of ours.

use std::collections::BTreeMap;

use roxmltree::Document;

use super::{
    SOURCES, Source,
    fingerprint::{Fingerprint, Param, Sample, interpolate},
    pattern::{Untranslatable, translate},
};
use crate::{
    database::{Database, Entry, Example, Family, Layer, escape},
    device::Kind,
    matcher::compile,
};

/// With a product: above a bare protocol, below what our own database calls a product.
const PRODUCT: u8 = 75;
/// Adds an operating system, a host name or a device to another reading.
const EXTRA: u8 = 65;

/// What became of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Fingerprints in it.
    pub fingerprints: usize,
    /// Examples in it.
    pub examples: usize,
    /// Examples that give the expected values in our engine.
    pub examples_passed: usize,
    /// Expressions that a linear-time engine cannot have.
    pub not_linear: usize,
    /// Entries written.
    pub entries: usize,
    /// Fingerprints of a text that no decoder of ours reads.
    pub without_field: usize,
    /// What is left out, and why.
    pub left_out: Vec<String>,
    /// Our file, if an entry came out.
    pub text: Option<String>,
}

/// Converts a file; `None` if it holds no fingerprints. `name` is the file's, without its ending; `samples` gives the
/// bytes of examples that are kept in files.
pub fn convert(
    name: &str,
    xml: &str,
    samples: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<Option<Converted>, String> {
    // Document types, and with them entities that grow, are refused by the parser.
    let document = Document::parse(xml).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if root.tag_name().name() != "fingerprints" {
        return Ok(None);
    }
    let matches = root.attribute("matches").unwrap_or(name);
    let source = SOURCES.iter().find(|source| source.matches == matches);
    let mut converted = Converted::default();
    let mut entries = Vec::new();
    for element in root.children().filter(|child| child.tag_name().name() == "fingerprint") {
        let fingerprint = Fingerprint::read(element, samples);
        converted.fingerprints += 1;
        converted.examples += fingerprint.examples.len();
        let number = converted.fingerprints;
        let Some(regex) = converted.try_out(&fingerprint, number) else { continue };
        match source {
            Some(source) => entries.push(entry(name, number, source, &fingerprint, regex)),
            None => converted.without_field += 1,
        }
    }
    if let Some(source) = source {
        converted.write(name, source, entries);
    }
    Ok(Some(converted))
}

impl Converted {
    /// Tries all examples; the translated expression if they give what they should.
    fn try_out(&mut self, fingerprint: &Fingerprint, number: usize) -> Option<String> {
        let what = format!("{number} ({})", fingerprint.description);
        let translated = translate(&fingerprint.pattern, &fingerprint.flags, &fingerprint.groups());
        let regex = match translated {
            Ok(regex) => regex,
            Err(reason) => {
                self.not_linear += usize::from(reason != Untranslatable::Unfinished);
                self.left_out.push(format!("{what}: {reason} in its expression"));
                return None;
            }
        };
        let compiled = match compile(&regex) {
            Ok(compiled) => compiled,
            Err(error) => {
                self.left_out.push(format!("{what}: {error}"));
                return None;
            }
        };
        let mut all = true;
        for Sample { text, expect } in &fingerprint.examples {
            let values = compiled.captures(text).map(|captures| fingerprint.values(&captures));
            let differs = match &values {
                None => Some("is not matched".to_owned()),
                Some(values) => expect.iter().find_map(|(name, want)| {
                    let came = values.get(name).map_or("", String::as_str);
                    (came != want).then(|| format!("{name} should be {want:?} and is {came:?}"))
                }),
            };
            match differs {
                None => self.examples_passed += 1,
                Some(why) => {
                    all = false;
                    self.left_out
                        .push(format!("{what}: the example {:?} {why}", String::from_utf8_lossy(text)));
                }
            }
        }
        all.then_some(regex)
    }

    /// Makes our file of the entries that hold.
    fn write(&mut self, name: &str, source: &Source, entries: Vec<Entry>) {
        let mut family = Family {
            schema: 1,
            service: source.service.to_owned(),
            family: source.family.to_owned(),
            origin: Some("recog".to_owned()),
            entries,
            ..Family::default()
        };
        let checked = Database::checked_alone(name, &mut family);
        for (id, reason) in &checked {
            self.left_out.push(format!("{id}: {reason}"));
        }
        family.entries.retain(|entry| !checked.iter().any(|(id, _)| *id == entry.id));
        self.entries = family.entries.len();
        if self.entries > 0 {
            self.text = Some(format!(
                "# Converted from {name}.xml of recog, Copyright (c) Rapid7, Inc., BSD-2-Clause; its LICENSE applies.\n{}",
                family.to_toml()
            ));
        }
    }
}

/// Our entry for a fingerprint; expectations of its examples are filled in later.
fn entry(name: &str, number: usize, source: &Source, fingerprint: &Fingerprint, regex: String) -> Entry {
    let set = values(source, fingerprint);
    let has_product = set.contains_key("product");
    let examples = fingerprint.examples.iter().filter(|sample| !sample.text.is_empty());
    Entry {
        id: format!("recog-{name}/{number:04}"),
        field: source.field.to_owned(),
        regex,
        on: Vec::new(),
        all: Vec::new(),
        not: Vec::new(),
        score: if has_product { PRODUCT } else { EXTRA },
        layer: layer(source),
        extra: !has_product,
        cpe: if has_product { cpe(fingerprint).into_iter().collect() } else { Vec::new() },
        set,
        note: Some(fingerprint.description.clone()).filter(|note| !note.is_empty()),
        examples: examples.map(|sample| example(source, sample)).collect(),
        counter: Vec::new(),
    }
}

fn layer(source: &Source) -> Layer {
    match source.layer {
        "app" => Layer::App,
        "framework" => Layer::Framework,
        _ => Layer::Server,
    }
}

fn example(source: &Source, sample: &Sample) -> Example {
    Example {
        reply: String::new(),
        fields: BTreeMap::from([(source.field.to_owned(), escape(&sample.text))]),
        on: None,
        expect: BTreeMap::new(),
        source: "recog (BSD-2-Clause)".to_owned(),
    }
}

/// What our entry sets: templates made of recog's parameters.
fn values(source: &Source, fingerprint: &Fingerprint) -> BTreeMap<String, String> {
    let template = |name: &str| fingerprint.param(name).and_then(|param| template(fingerprint, param));
    let mut set = BTreeMap::new();
    let mut put = |key: &str, value: Option<String>| set.extend(value.map(|value| (key.to_owned(), value)));
    // Where a page or a description names a device, the device is the product.
    let is_device = source.layer == "app" || source.service == "snmp" || source.service == "telnet";
    let hardware =
        template("hw.product").filter(|_| is_device && fingerprint.param("service.product").is_none());
    if hardware.is_some() {
        put("product", hardware);
        put("vendor", template("hw.vendor"));
    } else if fingerprint.param("service.product").is_some() {
        put("product", template("service.product"));
        put("vendor", template("service.vendor"));
        put("version", template("service.version"));
        put("info", joined(template("hw.vendor"), template("hw.product")));
    } else {
        put("info", joined(template("hw.vendor"), template("hw.product")));
    }
    put("os", operating_system(fingerprint));
    put("hostname", template("host.name"));
    let device = ["hw.device", "os.device"].iter().find_map(|name| fingerprint.param(name));
    let kind = device.filter(|param| param.group == 0).and_then(|param| Kind::from_words(&param.value));
    put("device", kind.map(|kind| kind.as_str().to_owned()));
    set
}

fn joined(first: Option<String>, second: Option<String>) -> Option<String> {
    match (first, second) {
        (Some(first), Some(second)) => Some(format!("{first} {second}")),
        (first, second) => first.or(second),
    }
}

/// Product and version, or the product alone where an example has no version.
fn operating_system(fingerprint: &Fingerprint) -> Option<String> {
    let product = fingerprint.param("os.product").and_then(|param| template(fingerprint, param))?;
    let version = fingerprint.param("os.version").and_then(|param| template(fingerprint, param));
    let always = fingerprint.examples.iter().all(|sample| {
        let named = |name: &str| sample.expect.get(name).is_some_and(|value| !value.is_empty());
        named("os.version") || fingerprint.param("os.version").is_some_and(|param| param.group == 0)
    });
    version.filter(|_| always).map(|version| format!("{product} {version}")).or(Some(product))
}

/// A parameter in our notation: groups by name, other parameters put in. `None` if braces would be left.
fn template(fingerprint: &Fingerprint, param: &Param) -> Option<String> {
    let plain = |param: &Param| match param.group {
        0 => param.value.clone(),
        group => format!("{{g{group}}}"),
    };
    if param.group > 0 {
        return Some(plain(param));
    }
    let unknown = std::cell::Cell::new(false);
    let text = interpolate(&param.value, |name| {
        let inner = fingerprint.param(name).filter(|inner| inner.group > 0 || !inner.value.contains('{'));
        unknown.set(unknown.get() || inner.is_none());
        inner.map(plain)
    });
    (!unknown.get() && !text.trim().is_empty()).then_some(text)
}

/// `a:vendor:product` of the service's CPE, where both are plain words.
fn cpe(fingerprint: &Fingerprint) -> Option<String> {
    let value = &fingerprint.param("service.cpe23")?.value;
    let mut parts = value.strip_prefix("cpe:/").or_else(|| value.strip_prefix("cpe:2.3:"))?.split(':');
    let (part, vendor, product) = (parts.next()?, parts.next()?, parts.next()?);
    let is_plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.'))
    };
    (part == "a" && is_plain(vendor) && is_plain(product)).then(|| format!("a:{vendor}:{product}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written for this test, in recog's form.
    const SERVERS: &str = r#"<?xml version="1.0"?>
<fingerprints matches="http_header.server" protocol="http">
  <!-- a comment -->
  <fingerprint pattern="^PumpControl(?:/([\d.]+))? \((\w+)\)$" flags="REG_ICASE">
    <description>Pump controller &amp; friends</description>
    <example service.version="3.1" hw.product="P9 mini" os.cpe23="cpe:/o:acme:pump_os:3.1">PumpControl/3.1 (P9)</example>
    <example hw.product="P9 mini" os.cpe23="cpe:/o:acme:pump_os:-" _encoding="base64">cHVtcGNvbnRyb2wgKFA5KQ==</example>
    <param pos="0" name="service.vendor" value="Acme"/>
    <param pos="0" name="service.product" value="Pump Control"/>
    <param pos="1" name="service.version"/>
    <param pos="0" name="service.cpe23" value="cpe:/a:acme:pump_control:{service.version}"/>
    <param pos="2" name="_tmp.model"/>
    <param pos="0" name="hw.product" value="{_tmp.model} mini"/>
    <param pos="0" name="hw.device" value="Building Automation"/>
    <param pos="0" name="os.product" value="Pump OS"/>
    <param pos="0" name="os.cpe23" value="cpe:/o:acme:pump_os:{service.version}"/>
  </fingerprint>
  <fingerprint pattern="^(?!Pump)Valve$">
    <description>Looks ahead</description>
    <example>Valve</example>
  </fingerprint>
  <fingerprint pattern="^Tap$">
    <description>Wrong example</description>
    <example>Sink</example>
  </fingerprint>
</fingerprints>"#;

    fn converted(name: &str, xml: &str) -> Converted {
        convert(name, xml, &|_| None).expect("valid").expect("fingerprints")
    }

    #[test]
    fn a_fingerprint_becomes_an_entry_that_holds_its_examples() {
        let converted = converted("http_servers", SERVERS);
        assert_eq!((converted.fingerprints, converted.examples, converted.examples_passed), (3, 4, 2));
        assert_eq!((converted.entries, converted.not_linear), (1, 1));
        assert_eq!(converted.left_out.len(), 2, "{:?}", converted.left_out);
        let text = converted.text.expect("a file");
        for part in [
            "origin = 'recog'",
            "id = 'recog-http_servers/0001'",
            "product = 'Pump Control'",
            "version = '3.1'",
            "cpe = ['a:acme:pump_control']",
            "note = 'Pump controller & friends'",
            "os = 'Pump OS'",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_converted_file_can_be_laid_over_the_builtin_database() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = converted("http_servers", SERVERS).text.expect("a file");
        std::fs::write(folder.path().join("recog-http_servers.toml"), text).expect("written");
        let database = Database::builtin().with_files(&[folder.path().to_path_buf()]);
        assert!(database.is_ok(), "{:?}", database.err().map(|error| error.to_string()));
    }

    #[test]
    fn texts_that_we_do_not_read_are_counted() {
        let xml = SERVERS.replace("http_header.server", "dhcp_vendor_class");
        let converted = converted("dhcp", &xml);
        assert_eq!((converted.without_field, converted.entries, converted.text), (1, 0, None));
    }

    #[test]
    fn other_xml_and_entities_are_refused() {
        assert_eq!(convert("x", "<html/>", &|_| None), Ok(None));
        let bomb = "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><fingerprints>&b;</fingerprints>";
        assert!(convert("x", bomb, &|_| None).is_err());
        assert!(convert("x", "<fingerprints></x>", &|_| None).expect_err("unfinished").contains("1:"));
    }
}
