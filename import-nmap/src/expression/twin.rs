//! A backtracking matcher over the tree, as PCRE's documentation describes it: slow, and the judge of what the
//! translation does.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Node, emit, parse, resolve};

type Groups = BTreeMap<usize, (usize, usize)>;
/// What is to be matched after a part, from a place on.
type Rest<'a> = &'a mut dyn FnMut(usize, &Groups) -> Option<Groups>;

fn find(node: &Node, text: &[u8]) -> Option<Groups> {
    (0..=text.len())
        .find_map(|at| walk(node, text, at, &Groups::new(), &mut |_, groups| Some(groups.clone())))
}

fn walk(node: &Node, text: &[u8], at: usize, groups: &Groups, rest: Rest<'_>) -> Option<Groups> {
    let is_word = |at: Option<usize>| {
        at.and_then(|at| text.get(at)).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    let holds = |condition: bool, rest: Rest<'_>| if condition { rest(at, groups) } else { None };
    match node {
        Node::Atomic(inner) => {
            let (end, groups) = first_way(inner, text, at, groups)?;
            rest(end, &groups)
        }
        Node::Choice(branches) => branches.iter().find_map(|branch| walk(branch, text, at, groups, rest)),
        Node::Edge(wanted) => holds((is_word(at.checked_sub(1)) != is_word(Some(at))) == *wanted, rest),
        Node::End => holds(matches!(text.get(at..), Some([] | [b'\n'])), rest),
        Node::Group { number, inner } => walk(inner, text, at, groups, &mut |end, groups| {
            let mut groups = groups.clone();
            groups.insert(*number, (at, end));
            rest(end, &groups)
        }),
        Node::Look { inner, ahead, negative } => {
            let found = if *ahead {
                first_way(inner, text, at, groups)
            } else {
                (0..=at).find_map(|from| {
                    walk(inner, text, from, groups, &mut |end, groups| (end == at).then(|| groups.clone()))
                        .map(|groups| (at, groups))
                })
            };
            match (found, negative) {
                (Some((_, groups)), false) => rest(at, &groups),
                (None, true) => rest(at, groups),
                _ => None,
            }
        }
        Node::Repeat { inner, least, most, lazy } => {
            repeat(inner, (*least, *most, *lazy), text, at, groups, rest)
        }
        Node::Row(row) => match row.split_first() {
            None => rest(at, groups),
            Some((first, others)) => {
                let others = Node::Row(others.to_vec());
                walk(first, text, at, groups, &mut |end, groups| walk(&others, text, end, groups, rest))
            }
        },
        Node::Set(set) => {
            if text.get(at).is_some_and(|&byte| set.has(byte)) {
                rest(at + 1, groups)
            } else {
                None
            }
        }
        Node::Start => holds(at == 0, rest),
        Node::VeryEnd => holds(at == text.len(), rest),
    }
}

fn first_way(node: &Node, text: &[u8], at: usize, groups: &Groups) -> Option<(usize, Groups)> {
    let mut end = at;
    let groups = walk(node, text, at, groups, &mut |place, groups| {
        end = place;
        Some(groups.clone())
    })?;
    Some((end, groups))
}

fn repeat(
    inner: &Node,
    (least, most, lazy): (u32, Option<u32>, bool),
    text: &[u8],
    at: usize,
    groups: &Groups,
    rest: Rest<'_>,
) -> Option<Groups> {
    let again = |rest: Rest<'_>| {
        if most == Some(0) {
            return None;
        }
        let bounds = (least.saturating_sub(1), most.map(|most| most - 1), lazy);
        walk(inner, text, at, groups, &mut |end, groups| {
            // Endless loops whose rounds may be empty have no translation.
            repeat(inner, bounds, text, end, groups, rest)
        })
    };
    if least > 0 {
        return again(rest);
    }
    if lazy {
        return rest(at, groups).or_else(|| again(rest));
    }
    again(rest).or_else(|| rest(at, groups))
}

/// Patterns over a small alphabet, so that texts often match.
fn patterns() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", ".", "[ab]", "[^a]", r"\n", r"\w", r"\s"]),
        1 => prop::sample::select(vec!["^", "$", r"\b", r"\z", "(?=a)", "(?![ab])", "(?!ab)", "(?=ab)"]),
    ]
    .prop_map(str::to_owned);
    let tree = leaf.prop_recursive(3, 16, 4, |inner| {
        let sign = prop::sample::select(vec!["*", "+", "?", "*?", "+?", "{1,2}", "++", "*+", "{2}"]);
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            2 => (inner.clone(), sign).prop_map(|(inner, sign)| format!("(?:{inner}){sign}")),
            2 => inner.clone().prop_map(|inner| format!("({inner})")),
            1 => inner.clone().prop_map(|inner| format!("(?>{inner})")),
            1 => (inner.clone(), inner).prop_map(|(one, other)| format!("(?:{one}|{other})")),
        ]
    });
    (tree, prop::bool::ANY, prop::bool::ANY).prop_map(|(tree, start, end)| {
        format!("{}{tree}{}", if start { "^" } else { "" }, if end { "$" } else { "" })
    })
}

/// What the translation of a pattern with so many groups finds in a text.
fn ours(pattern: &str, (node, refused): &(Node, Vec<Node>), groups: usize, text: &[u8]) -> Option<Groups> {
    let compiled = |node: &Node| {
        let mut builder = regex::bytes::RegexBuilder::new(&emit::emit(node));
        builder.unicode(false).build().expect(pattern)
    };
    if refused.iter().any(|node| compiled(node).is_match(text)) {
        return None;
    }
    compiled(node).captures(text).map(|captures| {
        let range =
            |number: usize| captures.name(&format!("g{number}")).map(|group| (group.start(), group.end()));
        (1..=groups).filter_map(|number| Some((number, range(number)?))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn translations_match_what_the_original_matches(
        pattern in patterns(),
        texts in prop::collection::vec(prop::collection::vec(prop::sample::select(b"aab\n ".to_vec()), 0..7), 6),
    ) {
        let Ok((node, groups)) = parse::parse(pattern.as_bytes(), false, false) else { return Ok(()) };
        let Ok(resolved) = resolve::resolve(node.clone(), &|_| true) else { return Ok(()) };
        for text in texts {
            let came = ours(&pattern, &resolved, groups, &text);
            prop_assert_eq!(came, find(&node, &text), "{} on {:?}", pattern, String::from_utf8_lossy(&text));
        }
    }
}
