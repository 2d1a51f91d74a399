//! Fills `{group}` and `{group|filter}` in an entry's templates.

use std::collections::BTreeMap;

/// Filters that a template may use.
pub const FILTERS: &[&str] = &["dots", "lower", "trim"];

/// The text that a template stands for. A template that names a group which took no part in the match
/// gives nothing.
pub fn fill(template: &str, groups: &BTreeMap<String, Vec<u8>>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.extend_from_slice(before.as_bytes());
        let (name, tail) = after.split_once('}')?;
        let (name, filter) = name.split_once('|').map_or((name, None), |(name, filter)| (name, Some(filter)));
        out.extend(apply(filter, groups.get(name)?));
        rest = tail;
    }
    out.extend_from_slice(rest.as_bytes());
    let trimmed = out.trim_ascii();
    (!trimmed.is_empty()).then(|| trimmed.to_vec())
}

/// Names of the groups, and filters, that a template uses.
pub fn names(template: &str) -> Vec<(&str, Option<&str>)> {
    template
        .split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}'))
        .map(|(name, _)| name.split_once('|').map_or((name, None), |(name, filter)| (name, Some(filter))))
        .collect()
}

fn apply(filter: Option<&str>, value: &[u8]) -> Vec<u8> {
    match filter {
        Some("dots") => {
            value.iter().map(|&byte| if matches!(byte, b'_' | b'-') { b'.' } else { byte }).collect()
        }
        Some("lower") => value.to_ascii_lowercase(),
        Some("trim") => value.trim_ascii().to_vec(),
        _ => value.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_groups_and_drops_what_is_missing() {
        let groups = BTreeMap::from([("v".to_owned(), b"1_2".to_vec())]);
        assert_eq!(fill("x {v} {v|dots}", &groups), Some(b"x 1_2 1.2".to_vec()));
        assert_eq!(fill("{w}", &groups), None);
        assert_eq!(fill("{v", &groups), None);
        assert_eq!(fill(" ", &groups), None);
        assert_eq!(names("a{v|dots}{w}"), vec![("v", Some("dots")), ("w", None)]);
    }
}
