//! Turns hits into readings, and picks one without mixing two.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use portreeve_model::{Alternative, Evidence, SafeText};

use super::{Hit, template};
use crate::database::Layer;

/// What one entry reads from a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Protocol name.
    pub name: SafeText,
    /// 0-100.
    pub score: u8,
    /// Id of the entry.
    pub entry: String,
    /// Field that the entry read, as `http.server`.
    pub source: String,
    /// `product`, `vendor`, `version`, `revision`, `info`, `hostname`, `os`, `device`: those it sets.
    pub values: BTreeMap<String, SafeText>,
    /// CPE 2.3 names, the entry's order.
    pub cpe: Vec<SafeText>,
    /// The probe whose reply was read.
    pub(crate) probe: String,
    pub(crate) layer: Layer,
    pub(crate) extra: bool,
}

/// The chosen reading with what may be put beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub best: Reading,
    /// Every value's origin.
    pub evidence: Vec<Evidence>,
    /// Weaker readings of the same replies, at most 5.
    pub alternatives: Vec<Alternative>,
    /// Products of other layers of the same stack, as `nginx 1.22.1`.
    pub stack: Vec<SafeText>,
}

/// The longest value taken from a reply, in bytes.
const MAX_VALUE: usize = 256;
const MAX_ALTERNATIVES: usize = 5;
/// Values that another entry may add to a reading, since they do not describe the product.
const ADDABLE: &[&str] = &["device", "hostname", "info", "os"];

impl Reading {
    pub(crate) fn from_hit(hit: &Hit) -> Self {
        let mut values = BTreeMap::new();
        for (key, text) in &hit.entry.set {
            if let Some(value) = template::fill(text, &hit.groups) {
                values.insert(key.clone(), SafeText::sanitize_to(&value, MAX_VALUE));
            }
        }
        let name = values.remove("name").unwrap_or_else(|| SafeText::from(&*hit.service));
        let version = values.get("version").map(SafeText::as_str);
        let names = hit.entry.cpe.iter().filter_map(|base| cpe_name(base, version, &hit.groups));
        let cpe = names.map(SafeText::from).collect();
        Self {
            name,
            score: hit.entry.score,
            entry: hit.entry.id.clone(),
            source: hit.entry.field.clone(),
            probe: hit.probe.clone(),
            values,
            cpe,
            layer: hit.entry.layer,
            extra: hit.entry.extra,
        }
    }

    /// The value it sets, if it does.
    pub fn get(&self, field: &str) -> Option<&SafeText> {
        self.values.get(field)
    }

    /// Better first: what names an application, then the score, then how much it tells.
    pub(crate) fn rank(&self) -> impl Ord + use<> {
        let told = self.values.contains_key("version") as u8;
        let product = self.values.contains_key("product") as u8;
        let layer = if self.score >= 70 { self.layer } else { Layer::Framework };
        (Reverse((layer, self.score + 4 * told + 2 * product, self.values.len())), self.entry.clone())
    }
}

/// The best of the hits, explained; `None` if there is none.
pub(crate) fn choose(hits: &[Hit]) -> Option<Choice> {
    let mut readings: Vec<_> = that_count(hits).into_iter().map(Reading::from_hit).collect();
    readings.sort_by_cached_key(Reading::rank);
    let (extras, mut readings): (Vec<_>, Vec<_>) = readings.into_iter().partition(|reading| reading.extra);
    if readings.is_empty() {
        return None;
    }
    let mut best = readings.remove(0);
    let mut evidence = explain(&best);
    let same = |other: &Reading| other.name == best.name;
    let product = best.get("product").cloned();
    let mut stack = Vec::new();
    let mut alternatives: Vec<Alternative> = Vec::new();
    for other in &readings {
        let repeats = other.get("product").is_none_or(|other| Some(other) == product.as_ref());
        if same(other) && repeats {
            continue;
        }
        if same(other) && other.layer != best.layer {
            stack.extend(product_and_version(other).filter(|text| !stack.contains(text)));
        } else if alternatives.len() < MAX_ALTERNATIVES && !listed(&alternatives, other) {
            alternatives.push(Alternative {
                name: other.name.clone(),
                product: other.get("product").cloned(),
                confidence: other.score,
            });
        }
    }
    let helpers: Vec<_> = extras.iter().chain(&readings).filter(|other| same(other)).cloned().collect();
    for other in &helpers {
        for field in ADDABLE {
            if let (false, Some(value)) = (best.values.contains_key(*field), other.get(field)) {
                best.values.insert((*field).to_owned(), value.clone());
                evidence.push(proof(field, other));
            }
        }
    }
    Some(Choice { best, evidence, alternatives, stack })
}

/// Of files whose order decides, the first entry for each reply: those of the question that was asked first, then those
/// of questions that it stands in for, then those for any reply. Of all other files every entry.
fn that_count(hits: &[Hit]) -> Vec<&Hit> {
    let mut first: HashMap<&str, (usize, usize)> = HashMap::new();
    let nearness =
        |hit: &Hit| hit.entry.on.iter().position(|on| *on == hit.probe).map_or(2, |place| place.min(1));
    for (number, hit) in hits.iter().enumerate().filter(|(_, hit)| hit.ordered) {
        let place = (nearness(hit), number);
        first.entry(&hit.probe).and_modify(|known| *known = place.min(*known)).or_insert(place);
    }
    let is_first =
        |number: usize, hit: &Hit| first.get(&*hit.probe).is_some_and(|(_, first)| *first == number);
    hits.iter()
        .enumerate()
        .filter(|(number, hit)| !hit.ordered || is_first(*number, hit))
        .map(|(_, hit)| hit)
        .collect()
}

fn explain(reading: &Reading) -> Vec<Evidence> {
    std::iter::once("service")
        .chain(reading.values.keys().map(String::as_str))
        .map(|field| proof(field, reading))
        .collect()
}

fn proof(field: &str, reading: &Reading) -> Evidence {
    Evidence {
        field: SafeText::from(field),
        source: SafeText::from(reading.source.as_str()),
        entry: Some(SafeText::from(reading.entry.as_str())),
    }
}

fn listed(alternatives: &[Alternative], other: &Reading) -> bool {
    alternatives
        .iter()
        .any(|known| known.name == other.name && known.product.as_ref() == other.get("product"))
}

fn product_and_version(reading: &Reading) -> Option<SafeText> {
    let product = reading.get("product")?;
    Some(
        reading
            .get("version")
            .map_or_else(|| product.clone(), |version| format!("{product} {version}").into()),
    )
}

/// A CPE 2.3 formatted string (NISTIR 7695 6.2) from `part:vendor:product` and a version, or from
/// `part:vendor:product:version[:update[:edition[:language]]]`, where each is a template and `*` is any. `None` if vendor
/// or product come to nothing.
pub(crate) fn cpe_name(
    base: &str,
    version: Option<&str>,
    groups: &BTreeMap<String, Vec<u8>>,
) -> Option<String> {
    let mut parts = base.split(':');
    let part = parts.next()?;
    let piece = |parts: &mut std::str::Split<'_, char>| attribute(parts.next()?, groups);
    let (vendor, product) = (piece(&mut parts)?, piece(&mut parts)?);
    if base.split(':').count() > 3 {
        let mut rest = || piece(&mut parts).unwrap_or_else(|| "*".to_owned());
        let (version, update, edition, language) = (rest(), rest(), rest(), rest());
        return Some(format!(
            "cpe:2.3:{part}:{vendor}:{product}:{version}:{update}:{edition}:{language}:*:*:*:*"
        ));
    }
    let (version, update) = version.map_or(("*".into(), "*".into()), |version| {
        let (version, update) = split_update(version);
        (quote(version), if update.is_empty() { "*".to_owned() } else { quote(update) })
    });
    Some(format!("cpe:2.3:{part}:{vendor}:{product}:{version}:{update}:*:*:*:*:*:*"))
}

/// One attribute of a CPE name; `None` if it comes to nothing.
fn attribute(template: &str, groups: &BTreeMap<String, Vec<u8>>) -> Option<String> {
    if matches!(template, "*" | "-") || is_bound(template) {
        return Some(template.to_owned());
    }
    let value = template::fill(template, groups)?;
    Some(quote(&String::from_utf8_lossy(&value))).filter(|value| value != "*")
}

/// Whether a text is an attribute as it stands: what our own files write.
fn is_bound(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'{') && text.contains('\\')
}

/// `9.2p1` is version 9.2, update p1; `4.96` has no update.
fn split_update(version: &str) -> (&str, &str) {
    let number = version.len() - version.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (head, tail) = version.split_at_checked(number).unwrap_or((version, ""));
    let update = tail.trim_start_matches(['-', '_', '.']);
    let known = ["p", "rc", "beta", "alpha"].iter().any(|word| {
        update
            .strip_prefix(word)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()))
    });
    if known && !head.is_empty() { (head, update) } else { (version, "") }
}

/// Lower-case, with everything but letters, digits, `_`, `-` and `.` escaped or dropped.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(64) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') => out.push(c),
            ' ' => out.push('_'),
            c if c.is_ascii_punctuation() => out.extend(['\\', c]),
            _ => {}
        }
    }
    if out.is_empty() { "*".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(base: &str, version: Option<&str>) -> Option<String> {
        cpe_name(base, version, &BTreeMap::from([("g1".to_owned(), b"P9 mini".to_vec())]))
    }

    #[test]
    fn versions_become_cpe_versions_and_updates() {
        assert_eq!(
            name("a:openbsd:openssh", Some("9.2p1")).as_deref(),
            Some("cpe:2.3:a:openbsd:openssh:9.2:p1:*:*:*:*:*:*")
        );
        assert_eq!(name("a:x:y", Some("1.0~B+2")).as_deref(), Some(r"cpe:2.3:a:x:y:1.0\~b\+2:*:*:*:*:*:*:*"));
        assert_eq!(name("a:x:y", None).as_deref(), Some("cpe:2.3:a:x:y:*:*:*:*:*:*:*:*"));
    }

    #[test]
    fn a_cpe_name_may_have_a_version_of_its_own() {
        for (base, want) in [
            ("o:x:pump_os:*", Some("cpe:2.3:o:x:pump_os:*:*:*:*:*:*:*:*")),
            ("h:x:{g1}:-", Some("cpe:2.3:h:x:p9_mini:-:*:*:*:*:*:*:*")),
            ("a:x:y:{g2?}:{g1?}:pro:en", Some("cpe:2.3:a:x:y:*:p9_mini:pro:en:*:*:*:*")),
            ("a:x:{g2?}:1", None),
        ] {
            assert_eq!(name(base, Some("9")).as_deref(), want, "{base}");
        }
    }
}
