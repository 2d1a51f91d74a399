//! Templates: text with references to what groups remember, put into our notation.

use std::{collections::BTreeSet, fmt::Write as _};

/// Why a template cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// A CPE name without vendor or product, of another part than a, h and o, or with a colon inside.
    #[error("not a CPE name with part, vendor and product")]
    Cpe,
    /// A group that the expression does not have.
    #[error("refers to the group {0}, which the expression does not have")]
    Group(usize),
    /// A function's brackets or arguments.
    #[error("a function is not written as $P(1), $SUBST(1,\"a\",\"b\") or $I(1,\">\")")]
    Function,
}

/// A template that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Reference { group: usize, filter: Option<String> },
}

impl Template {
    /// Reads a template for an expression with so many groups.
    pub fn parse(text: &[u8], groups: usize) -> Result<Self, BadTemplate> {
        // What is not UTF-8 is Latin-1, as most tools that write such files had it.
        let text = match std::str::from_utf8(text) {
            Ok(text) => text.to_owned(),
            Err(_) => text.iter().map(|&byte| char::from(byte)).collect(),
        };
        let mut template = Self::default();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('$') {
            template.text(before);
            rest = match reference(after)? {
                Some((piece, tail)) => {
                    if let Piece::Reference { group, .. } = &piece
                        && !(1..=groups.min(9)).contains(group)
                    {
                        return Err(BadTemplate::Group(*group));
                    }
                    template.pieces.push(piece);
                    tail
                }
                None => {
                    template.text("$");
                    after
                }
            };
        }
        template.text(rest);
        Ok(template)
    }

    fn text(&mut self, text: &str) {
        if let Some(Piece::Text(last)) = self.pieces.last_mut() {
            last.push_str(text);
        } else if !text.is_empty() {
            self.pieces.push(Piece::Text(text.to_owned()));
        }
    }

    /// The groups that it refers to.
    pub fn groups(&self) -> BTreeSet<usize> {
        let group = |piece: &Piece| match piece {
            Piece::Reference { group, .. } => Some(*group),
            Piece::Text(_) => None,
        };
        self.pieces.iter().filter_map(group).collect()
    }

    /// In our notation; nothing if it is empty.
    pub fn ours(&self) -> Option<String> {
        let text: String = self.pieces.iter().map(Piece::ours).collect();
        (!text.trim().is_empty()).then_some(text)
    }

    /// Its text, if it refers to nothing.
    pub fn plain(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// A name in the URI form of CPE 2.2 without its `cpe:/`, as one of ours with a version of its own.
    pub fn cpe(&self) -> Result<String, BadTemplate> {
        let mut attributes = vec![Self::default()];
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => {
                    for (number, part) in text.split(':').enumerate() {
                        if number > 0 {
                            attributes.push(Self::default());
                        }
                        if let Some(last) = attributes.last_mut() {
                            last.text(&decoded(part).ok_or(BadTemplate::Cpe)?);
                        }
                    }
                }
                reference @ Piece::Reference { .. } => {
                    if let Some(last) = attributes.last_mut() {
                        last.pieces.push(reference.clone());
                    }
                }
            }
        }
        let mut attributes = attributes.iter();
        let part = attributes.next().and_then(Self::plain).filter(|part| matches!(*part, "a" | "h" | "o"));
        let mut name = part.ok_or(BadTemplate::Cpe)?.to_owned();
        for _ in 0..2 {
            let named = attributes.next().and_then(Self::ours).ok_or(BadTemplate::Cpe)?;
            let _ = write!(name, ":{named}");
        }
        // Version, update, edition and language; an edition with tildes packs what 2.3 has apart.
        let mut rest: Vec<_> = attributes
            .take(4)
            .map(|attribute| {
                attribute.ours().filter(|text| !text.contains('~')).unwrap_or_else(|| "*".to_owned())
            })
            .collect();
        while rest.len() > 1 && rest.last().is_some_and(|last| last == "*") {
            rest.pop();
        }
        if rest.is_empty() {
            rest.push("*".to_owned());
        }
        let _ = write!(name, ":{}", rest.join(":"));
        Ok(name)
    }
}

impl Piece {
    fn ours(&self) -> String {
        match self {
            Self::Text(text) => text.replace('{', "{{"),
            Self::Reference { group, filter } => {
                let filter = filter.as_ref().map(|filter| format!("|{filter}")).unwrap_or_default();
                format!("{{g{group}?{filter}}}")
            }
        }
    }
}

/// A reference after its dollar, and what follows it; nothing if the dollar is one.
fn reference(text: &str) -> Result<Option<(Piece, &str)>, BadTemplate> {
    if let Some(digit) = text.chars().next().and_then(|c| c.to_digit(10)) {
        let rest = text.get(1..).unwrap_or_default();
        return Ok(Some((Piece::Reference { group: digit as usize, filter: None }, rest)));
    }
    for (name, read) in FUNCTIONS {
        if let Some(rest) = text.strip_prefix(name) {
            let (arguments, rest) = arguments(rest).ok_or(BadTemplate::Function)?;
            let (first, others) = arguments.split_first().ok_or(BadTemplate::Function)?;
            let Argument::Number(group) = first else { return Err(BadTemplate::Function) };
            let filter = read(others).ok_or(BadTemplate::Function)?;
            return Ok(Some((Piece::Reference { group: *group, filter: Some(filter) }, rest)));
        }
    }
    Ok(None)
}

enum Argument {
    Number(usize),
    Text(Vec<u8>),
}

type Reader = fn(&[Argument]) -> Option<String>;

/// Functions, and our filter for their arguments after the group.
const FUNCTIONS: &[(&str, Reader)] = &[
    ("P(", |arguments| arguments.is_empty().then(|| "printable".to_owned())),
    ("SUBST(", |arguments| match arguments {
        [Argument::Text(find), Argument::Text(put)] if !find.is_empty() => {
            Some(format!("swap,{},{}", encoded(find), encoded(put)))
        }
        _ => None,
    }),
    ("I(", |arguments| match arguments {
        [Argument::Text(order)] if order == b">" => Some("be".to_owned()),
        [Argument::Text(order)] if order == b"<" => Some("le".to_owned()),
        _ => None,
    }),
];

/// Numbers and quoted texts with commas between, up to the closing bracket.
fn arguments(text: &str) -> Option<(Vec<Argument>, &str)> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    loop {
        let argument = if let Some(quoted) = rest.strip_prefix('"') {
            let (text, tail) = quoted_text(quoted)?;
            rest = tail;
            Argument::Text(text)
        } else {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let (digits, tail) = rest.split_at_checked(end)?;
            rest = tail;
            Argument::Number(digits.parse().ok()?)
        };
        all.push(argument);
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(tail) if all.len() < 3 => rest = tail.trim_start(),
            Some(_) => return None,
            None => return Some((all, rest.strip_prefix(')')?)),
        }
    }
}

/// What stands before the closing quote, with the escapes of C.
fn quoted_text(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        let (&byte, tail) = rest.split_first()?;
        rest = tail;
        match byte {
            b'"' => return Some((bytes, text.get(text.len() - rest.len()..)?)),
            b'\\' => {
                let (&kind, tail) = rest.split_first()?;
                rest = tail;
                bytes.push(match kind {
                    b'0' => 0,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'x' => {
                        let (digits, tail) = rest.split_at_checked(2)?;
                        rest = tail;
                        u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
                    }
                    other if other.is_ascii_alphanumeric() => return None,
                    other => other,
                });
            }
            other => bytes.push(other),
        }
    }
}

/// Bytes as the filter `swap` takes them.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"._-/+ ".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}

/// An attribute of a URI without its `%XX`; nothing if that would leave a colon.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(text: &str) -> Option<String> {
        Template::parse(text.as_bytes(), 3).expect(text).ours()
    }

    #[test]
    fn references_become_groups_that_may_be_missing() {
        for (text, want) in [
            ("Pump $1 {x} $", "Pump {g1?} {{x} $"),
            ("$P(2)", "{g2?|printable}"),
            (r#"$SUBST(1,"_",".")x"#, "{g1?|swap,_,.}x"),
            (r#"$SUBST(1, "\x2c\"", ":")"#, "{g1?|swap,%2c%22,%3a}"),
            (r#"$I(3,">")-$I(3,"<")"#, "{g3?|be}-{g3?|le}"),
            ("$Price", "$Price"),
        ] {
            assert_eq!(ours(text).as_deref(), Some(want), "{text}");
        }
        assert_eq!(ours(" "), None);
        assert_eq!(Template::parse(b"\xe9", 0).expect("Latin-1").ours().as_deref(), Some("é"));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let bad = |text: &str| Template::parse(text.as_bytes(), 1).expect_err(text);
        assert_eq!(bad("$2"), BadTemplate::Group(2));
        assert_eq!(bad("$0"), BadTemplate::Group(0));
        for text in
            ["$P(", "$P(1", "$P(\"x\")", "$SUBST(1,\"a\")", "$SUBST(1,\"\",\"b\")", "$I(1,\"x\")", "$I(1)"]
        {
            assert_eq!(bad(text), BadTemplate::Function, "{text}");
        }
    }

    #[test]
    fn cpe_names_keep_their_own_version() {
        let cpe = |text: &str| Template::parse(text.as_bytes(), 3).expect(text).cpe();
        for (text, want) in [
            ("a:acme:pump", "a:acme:pump:*"),
            ("o:acme:pump_os:$1", "o:acme:pump_os:{g1?}"),
            ("h:acme:$2", "h:acme:{g2?}:*"),
            ("a:acme:pump%21:$1:$2::en", "a:acme:pump!:{g1?}:{g2?}:*:en"),
            (r#"a:acme:pump:$SUBST(1,":",".")"#, "a:acme:pump:{g1?|swap,%3a,.}"),
            ("a:acme:pump:1:~~~pro~~", "a:acme:pump:1"),
        ] {
            assert_eq!(cpe(text).as_deref(), Ok(want), "{text}");
        }
        for text in ["a:acme", "x:acme:pump", "a::pump", "$1:acme:pump", "a:acme:pump%3ax"] {
            assert_eq!(cpe(text), Err(BadTemplate::Cpe), "{text}");
        }
    }
}
