//! Which text must occur wherever a regular expression matches.

use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind},
};

/// Shorter literals occur everywhere and would filter nothing.
const MIN_LENGTH: usize = 3;
/// More alternatives than this are not worth the memory.
const MAX_ALTERNATIVES: usize = 24;

/// Lower-case literals of which at least one occurs in every match, or `None` if there is no such set.
pub fn required(regex: &str) -> Option<Vec<Vec<u8>>> {
    let hir = ParserBuilder::new().utf8(false).unicode(false).build().parse(regex).ok()?;
    let set = best(&hir)?;
    (shortest(&set) >= MIN_LENGTH).then_some(set)
}

/// The best set of literals that a match of `hir` must contain one of.
fn best(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(_) => letter(hir).map(|byte| vec![vec![byte]]),
        HirKind::Capture(capture) => best(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => best(&repetition.sub),
        HirKind::Concat(parts) => best_of_concat(parts),
        HirKind::Alternation(parts) => {
            let mut set = Vec::new();
            for part in parts {
                set.extend(best(part)?);
            }
            (set.len() <= MAX_ALTERNATIVES).then_some(set)
        }
        HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// The longest run of literal parts, or the best single part.
fn best_of_concat(parts: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut candidates = Vec::new();
    let mut run = Vec::new();
    for part in parts {
        match part.kind() {
            HirKind::Literal(literal) => run.extend(literal.0.to_ascii_lowercase()),
            HirKind::Class(_) if letter(part).is_some() => run.extend(letter(part)),
            // An assertion takes no room, so the run goes on.
            HirKind::Look(_) => {}
            _ => {
                candidates.push(vec![std::mem::take(&mut run)]);
                candidates.extend(best(part));
            }
        }
    }
    candidates.push(vec![run]);
    candidates.into_iter().max_by_key(|set| shortest(set))
}

fn shortest(set: &[Vec<u8>]) -> usize {
    set.iter().map(Vec::len).min().unwrap_or_default()
}

/// The lower-case letter of a class that is one letter in both cases, as `(?i)` makes them.
fn letter(hir: &Hir) -> Option<u8> {
    let HirKind::Class(class) = hir.kind() else { return None };
    let ranges: Vec<(u32, u32)> = match class {
        Class::Bytes(class) => class.ranges().iter().map(|r| (r.start().into(), r.end().into())).collect(),
        Class::Unicode(class) => class.ranges().iter().map(|r| (r.start().into(), r.end().into())).collect(),
    };
    match ranges.as_slice() {
        &[(upper, end), (lower, last)] if upper == end && lower == last => {
            let (upper, lower) = (u8::try_from(upper).ok()?, u8::try_from(lower).ok()?);
            (lower.is_ascii_lowercase() && upper.to_ascii_lowercase() == lower).then_some(lower)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(regex: &str) -> Option<Vec<String>> {
        let set = required(regex)?;
        Some(set.into_iter().map(|one| String::from_utf8(one).expect("text")).collect())
    }

    #[test]
    fn finds_the_longest_certain_text() {
        assert_eq!(texts(r"^OpenSSH_(?P<version>[\d.p]+)"), Some(vec!["openssh_".into()]));
        assert_eq!(texts(r"(?i)^nginx(?:/(?P<version>[\d.]+))?"), Some(vec!["nginx".into()]));
        assert_eq!(texts(r"^a(?:foobar|bazqux)+"), Some(vec!["foobar".into(), "bazqux".into()]));
    }

    #[test]
    fn claims_nothing_where_nothing_is_certain() {
        assert_eq!(texts(r"^(?:abc)?\d+"), None);
        assert_eq!(texts(r"abc|\d"), None);
        assert_eq!(texts(r"^ab$"), None);
    }
}
