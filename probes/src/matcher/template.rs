//! Fills `{group}` and `{group|filter}` in an entry's templates.
//!
//! `{group?}` is nothing where the group took no part, instead of making the whole template nothing; `{{` is a brace.
//! Filters: `dots`, `lower`, `trim`; `printable` keeps printable ASCII (and so reads UTF-16); `be` and `le` read a number
//! of at most eight bytes; `swap,FIND,PUT` replaces every FIND, with `%XX` for bytes other than letters, digits, blanks
//! and `._-/+`.

use std::collections::BTreeMap;

/// The most bytes that are put together: values are cut shorter than this anyway.
const MOST: usize = 4096;

/// A part of a template.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Group {
        name: &'a str,
        filter: Option<&'a str>,
        /// Nothing, where the group took no part.
        optional: bool,
    },
    /// A brace that nothing closes.
    Unfinished,
}

/// The text that a template stands for. A template that names a group which took no part in the match
/// gives nothing.
pub fn fill(template: &str, groups: &BTreeMap<String, Vec<u8>>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for piece in pieces(template) {
        // A group that is named often must not make a long text of a long reply.
        out.truncate(MOST);
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Group { name, filter, optional } => match groups.get(name) {
                Some(value) => out.extend(apply(filter, value)),
                None if optional => {}
                None => return None,
            },
            Piece::Unfinished => return None,
        }
    }
    // An optional group that stood last leaves what separated it.
    let mut trimmed = out.trim_ascii();
    while let Some(rest) = trimmed.strip_suffix(b",") {
        trimmed = rest.trim_ascii_end();
    }
    (!trimmed.is_empty()).then(|| trimmed.to_vec())
}

/// Names of the groups, and filters, that a template uses.
pub fn names(template: &str) -> Vec<(&str, Option<&str>)> {
    let named = pieces(template).filter_map(|piece| match piece {
        Piece::Group { name, filter, .. } => Some((name, filter)),
        Piece::Text(_) | Piece::Unfinished => None,
    });
    named.collect()
}

/// Whether there is such a filter.
pub fn is_filter(filter: &str) -> bool {
    matches!(filter, "be" | "dots" | "le" | "lower" | "printable" | "trim") || swap(filter).is_some()
}

fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(after) = rest.strip_prefix('{') else {
            let (text, tail) = rest.split_at_checked(rest.find('{').unwrap_or(rest.len()))?;
            rest = tail;
            return Some(Piece::Text(text));
        };
        if let Some(tail) = after.strip_prefix('{') {
            rest = tail;
            return Some(Piece::Text("{"));
        }
        let Some((inside, tail)) = after.split_once('}') else {
            rest = "";
            return Some(Piece::Unfinished);
        };
        rest = tail;
        let (name, filter) =
            inside.split_once('|').map_or((inside, None), |(name, filter)| (name, Some(filter)));
        let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
        Some(Piece::Group { name, filter, optional })
    })
}

fn apply(filter: Option<&str>, value: &[u8]) -> Vec<u8> {
    match filter {
        Some("be") => number(value.iter()),
        Some("dots") => {
            value.iter().map(|&byte| if matches!(byte, b'_' | b'-') { b'.' } else { byte }).collect()
        }
        Some("le") => number(value.iter().rev()),
        Some("lower") => value.to_ascii_lowercase(),
        Some("printable") => value.iter().copied().filter(|byte| matches!(byte, b' '..=b'~')).collect(),
        Some("trim") => value.trim_ascii().to_vec(),
        Some(other) => match swap(other) {
            Some((find, put)) => swapped(value, &find, &put),
            None => value.to_vec(),
        },
        None => value.to_vec(),
    }
}

/// The decimal digits of a number, its highest byte first; nothing for more than eight bytes.
fn number<'a>(bytes: impl ExactSizeIterator<Item = &'a u8>) -> Vec<u8> {
    if !(1..=8).contains(&bytes.len()) {
        return Vec::new();
    }
    bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte)).to_string().into_bytes()
}

/// What `swap,FIND,PUT` seeks, and what it puts there.
fn swap(filter: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (find, put) = filter.strip_prefix("swap,")?.split_once(',')?;
    let (find, put) = (plain(find)?, plain(put)?);
    (!find.is_empty()).then_some((find, put))
}

/// The bytes that a text with `%XX` stands for.
fn plain(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                rest = tail;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            }
            b',' => return None,
            byte => bytes.push(byte),
        }
    }
    Some(bytes)
}

fn swapped(value: &[u8], find: &[u8], put: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, tail)) = rest.split_first() {
        if out.len() >= MOST {
            break;
        }
        match rest.strip_prefix(find) {
            Some(tail) => {
                out.extend_from_slice(put);
                rest = tail;
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([
            ("v".to_owned(), b"1_2".to_vec()),
            ("wide".to_owned(), b"P\0u\0m\0p\0".to_vec()),
            ("n".to_owned(), vec![0x01, 0x02]),
        ])
    }

    fn filled(template: &str) -> Option<String> {
        fill(template, &groups()).map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn fills_groups_and_drops_what_is_missing() {
        assert_eq!(filled("x {v} {v|dots}").as_deref(), Some("x 1_2 1.2"));
        assert_eq!(filled("{w}"), None);
        assert_eq!(filled("{v"), None);
        assert_eq!(filled(" "), None);
        assert_eq!(names("a{v|dots}{w}{{x}{y?|le}"), [("v", Some("dots")), ("w", None), ("y", Some("le"))]);
    }

    #[test]
    fn optional_groups_leave_nothing_behind() {
        assert_eq!(filled("build {v}, {w?}").as_deref(), Some("build 1_2"));
        assert_eq!(filled("{w?}"), None);
        assert_eq!(filled("{{{v}}").as_deref(), Some("{1_2}"));
    }

    #[test]
    fn filters_read_bytes_as_others_do() {
        assert_eq!(filled("{wide|printable}").as_deref(), Some("Pump"));
        assert_eq!(filled("{n|be} {n|le}").as_deref(), Some("258 513"));
        assert_eq!(filled("{v|swap,_,.}").as_deref(), Some("1.2"));
        assert_eq!(filled("{v|swap,_,%2c%20}").as_deref(), Some("1, 2"));
        assert_eq!(filled("{v|swap,1_,}").as_deref(), Some("2"));
        for (filter, known) in
            [("swap,a,b", true), ("swap,,b", false), ("swap,a", false), ("swap,%4,b", false)]
        {
            assert_eq!(is_filter(filter), known, "{filter}");
        }
        let long = BTreeMap::from([("v".to_owned(), vec![b'a'; 3000])]);
        let filled = fill(&"{v}".repeat(1000), &long).expect("a value");
        assert!(filled.len() <= 2 * MOST, "{}", filled.len());
        assert_eq!(fill("{n|be}", &BTreeMap::from([("n".to_owned(), vec![1; 9])])), None);
    }
}
