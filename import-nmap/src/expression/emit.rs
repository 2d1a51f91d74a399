//! From the tree to the notation of our engine.

use std::fmt::Write as _;

use super::{bytes::Bytes, node::Node};

/// The expression. A dot in it is any byte.
pub(super) fn emit(node: &Node) -> String {
    let mut out = String::new();
    write(node, &mut out);
    // Only where there is such a dot: files are read by people.
    if out.contains('.') && has_dot(node) { format!("(?s){out}") } else { out }
}

fn has_dot(node: &Node) -> bool {
    match node {
        Node::Set(set) => *set == Bytes::ALL,
        Node::Atomic(inner)
        | Node::Group { inner, .. }
        | Node::Look { inner, .. }
        | Node::Repeat { inner, .. } => has_dot(inner),
        Node::Choice(nodes) | Node::Row(nodes) => nodes.iter().any(has_dot),
        Node::Edge(_) | Node::End | Node::Start | Node::VeryEnd => false,
    }
}

fn write(node: &Node, out: &mut String) {
    match node {
        // Resolving leaves none of these.
        Node::Atomic(inner) | Node::Look { inner, .. } => write(inner, out),
        Node::Choice(branches) => {
            out.push_str("(?:");
            alternatives(branches, out);
            out.push(')');
        }
        Node::Edge(true) => out.push_str(r"\b"),
        Node::Edge(false) => out.push_str(r"\B"),
        Node::End => out.push_str(r"\n?\z"),
        Node::Group { number, inner } => {
            // Writing to a string cannot fail.
            let _ = write!(out, "(?P<g{number}>");
            match peeled(inner) {
                Node::Choice(branches) => alternatives(branches, out),
                inner => write(inner, out),
            }
            out.push(')');
        }
        Node::Repeat { inner, least, most, lazy } => {
            let inner = peeled(inner);
            if matches!(inner, Node::Set(_) | Node::Group { .. } | Node::Choice(_)) {
                write(inner, out);
            } else {
                out.push_str("(?:");
                write(inner, out);
                out.push(')');
            }
            quantifier(*least, *most, *lazy, out);
        }
        Node::Row(nodes) => nodes.iter().for_each(|node| write(node, out)),
        Node::Set(bytes) => set(*bytes, out),
        Node::Start => out.push('^'),
        Node::VeryEnd => out.push_str(r"\z"),
    }
}

/// What stands alone in its row.
fn peeled(node: &Node) -> &Node {
    match node {
        Node::Row(row) => match row.as_slice() {
            [only] => peeled(only),
            _ => node,
        },
        _ => node,
    }
}

fn alternatives(branches: &[Node], out: &mut String) {
    for (number, branch) in branches.iter().enumerate() {
        if number > 0 {
            out.push('|');
        }
        write(branch, out);
    }
}

fn quantifier(least: u32, most: Option<u32>, lazy: bool, out: &mut String) {
    let _ = match (least, most) {
        (0, None) => out.write_char('*'),
        (1, None) => out.write_char('+'),
        (0, Some(1)) => out.write_char('?'),
        (least, None) => write!(out, "{{{least},}}"),
        (least, Some(most)) if least == most => write!(out, "{{{least}}}"),
        (least, Some(most)) => write!(out, "{{{least},{most}}}"),
    };
    if lazy {
        out.push('?');
    }
}

fn set(bytes: Bytes, out: &mut String) {
    let short = [
        (Bytes::ALL, "."),
        (Bytes::digits(), r"\d"),
        (Bytes::digits().not(), r"\D"),
        (Bytes::words(), r"\w"),
        (Bytes::words().not(), r"\W"),
        (Bytes::spaces(), r"\s"),
        (Bytes::spaces().not(), r"\S"),
        (Bytes::NONE, r"[^\x00-\xff]"),
    ];
    if let Some((_, text)) = short.iter().find(|(known, _)| *known == bytes) {
        out.push_str(text);
        return;
    }
    if let Some(byte) = bytes.single() {
        literal(byte, out);
        return;
    }
    let (ranges, others) = (bytes.ranges(), bytes.not().ranges());
    let is_negated = others.len() < ranges.len() || bytes.has(0) && bytes.has(0xff);
    out.push_str(if is_negated { "[^" } else { "[" });
    for (first, last) in if is_negated { others } else { ranges } {
        literal(first, out);
        if first != last {
            if last - first > 1 {
                out.push('-');
            }
            literal(last, out);
        }
    }
    out.push(']');
}

/// A byte that stands for itself, inside a class or not.
fn literal(byte: u8, out: &mut String) {
    match byte {
        b'\n' => out.push_str(r"\n"),
        b'\r' => out.push_str(r"\r"),
        b'\t' => out.push_str(r"\t"),
        b' '..=b'~' => {
            let character = char::from(byte);
            if regex_syntax::is_meta_character(character) {
                out.push('\\');
            }
            out.push(character);
        }
        other => {
            let _ = write!(out, "\\x{other:02x}");
        }
    }
}
