//! One fingerprint as recog means it: its parameters, and what they come to for a text.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use regex::bytes::Captures;
use roxmltree::Node;

/// A `<fingerprint>`.
#[derive(Clone, Debug, Default)]
pub(super) struct Fingerprint {
    pub pattern: String,
    pub flags: String,
    pub description: String,
    pub params: Vec<Param>,
    pub examples: Vec<Sample>,
}

/// A `<param>`: a group's text, or a value that may hold other parameters in braces.
#[derive(Clone, Debug)]
pub(super) struct Param {
    pub name: String,
    /// 0: `value` is the value.
    pub group: usize,
    pub value: String,
}

/// An `<example>`.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub text: Vec<u8>,
    pub expect: BTreeMap<String, String>,
}

impl Fingerprint {
    /// Reads an element; `samples` finds the files that examples name.
    pub fn read(element: Node<'_, '_>, samples: &dyn Fn(&str) -> Option<Vec<u8>>) -> Self {
        let mut read = Self {
            pattern: element.attribute("pattern").unwrap_or_default().to_owned(),
            flags: element.attribute("flags").unwrap_or_default().to_owned(),
            ..Self::default()
        };
        for child in element.children() {
            match child.tag_name().name() {
                "description" => text_of(child).trim().clone_into(&mut read.description),
                "param" => read.params.push(Param {
                    name: child.attribute("name").unwrap_or_default().to_owned(),
                    group: child.attribute("pos").and_then(|pos| pos.parse().ok()).unwrap_or_default(),
                    value: child.attribute("value").unwrap_or_default().to_owned(),
                }),
                "example" => read.examples.extend(Sample::read(child, samples)),
                _ => {}
            }
        }
        read
    }

    /// Numbers of the groups that parameters use.
    pub fn groups(&self) -> BTreeSet<usize> {
        self.params.iter().map(|param| param.group).filter(|group| *group > 0).collect()
    }

    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }

    /// What recog would report for a text with these captures.
    pub fn values(&self, captures: &Captures<'_>) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for param in &self.params {
            let value = match param.group {
                0 => Some(param.value.clone()),
                group => captures
                    .name(&format!("g{group}"))
                    .map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned()),
            };
            values.extend(value.map(|value| (param.name.clone(), value)));
        }
        let plain = values.clone();
        for (name, value) in &mut values {
            *value = interpolate(value, |inner| {
                plain.get(inner).cloned().or_else(|| name.ends_with("cpe23").then(|| "-".to_owned()))
            });
        }
        values
    }
}

impl Sample {
    fn read(element: Node<'_, '_>, samples: &dyn Fn(&str) -> Option<Vec<u8>>) -> Option<Self> {
        let text = match (element.attribute("_filename"), element.attribute("_encoding")) {
            (Some(file), _) => samples(file)?,
            (None, Some("base64")) => {
                let digits: String = text_of(element).split_whitespace().collect();
                STANDARD.decode(digits).ok()?
            }
            _ => text_of(element).into_bytes(),
        };
        let expect = element
            .attributes()
            .filter(|attribute| !attribute.name().starts_with('_'))
            .map(|attribute| (attribute.name().to_owned(), attribute.value().to_owned()))
            .collect();
        Some(Self { text, expect })
    }
}

/// Replaces `{name}` by what `value` gives for it; what it does not know stays as it is.
pub(super) fn interpolate(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}').and_then(|(name, tail)| Some((value(name)?, tail))) {
            Some((value, tail)) => {
                out.push_str(&value);
                rest = tail;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// All text inside an element; comments are not text.
fn text_of(element: Node<'_, '_>) -> String {
    element.children().filter(Node::is_text).filter_map(|node| node.text()).collect()
}
