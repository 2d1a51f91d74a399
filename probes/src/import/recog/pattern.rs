//! Translates a regular expression of Ruby's kind into ours: bytes, linear time, named groups.

use std::{collections::BTreeSet, iter::Peekable, str::CharIndices};

/// Why an expression has no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untranslatable {
    /// A group that only looks.
    #[error("look-around")]
    LookAround,
    /// What a group matched, again.
    #[error("a back-reference")]
    BackReference,
    /// `(?>…)` and `*+`.
    #[error("an atomic group")]
    Atomic,
    /// Brackets that do not fit.
    #[error("an unfinished group or class")]
    Unfinished,
}

/// The expression with the groups of these numbers named `g1`, `g2` …, all others unnamed. `flags` are recog's.
pub(super) fn translate(
    pattern: &str,
    flags: &str,
    groups: &BTreeSet<usize>,
) -> Result<String, Untranslatable> {
    // In Ruby ^ and $ always mean lines.
    let mut prefix = String::from("m");
    for flag in flags.split([',', '|']).map(str::trim) {
        match flag {
            "REG_ICASE" | "IGNORECASE" => prefix.push('i'),
            "REG_DOT_NEWLINE" | "REG_MULTILINE" if !prefix.contains('s') => prefix.push('s'),
            _ => {}
        }
    }
    let mut translation = Translation {
        rest: pattern.char_indices().peekable(),
        pattern,
        groups,
        count: 0,
        out: String::new(),
    };
    translation.run()?;
    Ok(format!("(?{prefix}){}", translation.out))
}

struct Translation<'a> {
    rest: Peekable<CharIndices<'a>>,
    pattern: &'a str,
    groups: &'a BTreeSet<usize>,
    /// Capturing groups so far.
    count: usize,
    out: String,
}

impl Translation<'_> {
    fn run(&mut self) -> Result<(), Untranslatable> {
        while let Some((at, c)) = self.rest.next() {
            match c {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' => self.brace(at),
                '}' => self.out.push_str("\\}"),
                // A character may be several bytes here; where it is repeated that makes no difference.
                '.' if !matches!(self.rest.peek(), Some((_, '*' | '+'))) => {
                    self.out.push_str(r"(?:[\xc2-\xf4][\x80-\xbf]+|.)");
                }
                '*' | '+' | '?' => {
                    self.out.push(c);
                    self.no_possessive()?;
                }
                other => self.out.push(other),
            }
        }
        Ok(())
    }

    /// After a quantifier a plus would make it possessive.
    fn no_possessive(&mut self) -> Result<(), Untranslatable> {
        match self.rest.peek() {
            Some((_, '+')) => Err(Untranslatable::Atomic),
            _ => Ok(()),
        }
    }

    fn escape(&mut self, in_class: bool) -> Result<(), Untranslatable> {
        let (_, c) = self.rest.next().ok_or(Untranslatable::Unfinished)?;
        match c {
            '1'..='9' if !in_class => return Err(Untranslatable::BackReference),
            'h' if in_class => self.out.push_str("0-9a-fA-F"),
            'h' => self.out.push_str("[0-9a-fA-F]"),
            'e' => self.out.push_str("\\x1b"),
            'R' => self.out.push_str("(?:\\r\\n|\\r|\\n)"),
            'Z' => self.out.push_str("(?:\\n?\\z)"),
            // Elsewhere these are edges of words.
            '<' | '>' => self.out.push(c),
            'u' => {
                let digits: String =
                    (0..4).filter_map(|_| self.rest.next().map(|(_, digit)| digit)).collect();
                let character = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                self.out.push(character.ok_or(Untranslatable::Unfinished)?);
            }
            c if c.is_ascii() => self.out.extend(['\\', c]),
            other => self.out.push(other),
        }
        Ok(())
    }

    fn class(&mut self) -> Result<(), Untranslatable> {
        self.out.push('[');
        if self.rest.next_if(|(_, c)| *c == '^').is_some() {
            self.out.push('^');
        }
        if self.rest.next_if(|(_, c)| *c == ']').is_some() {
            self.out.push_str("\\]");
        }
        loop {
            let (at, c) = self.rest.next().ok_or(Untranslatable::Unfinished)?;
            match c {
                ']' => {
                    self.out.push(']');
                    return Ok(());
                }
                '\\' => self.escape(true)?,
                '[' if self.pattern.get(at..).is_some_and(|rest| rest.starts_with("[:")) => {
                    self.out.push('[');
                    // The name and its closing bracket.
                    for (_, c) in self.rest.by_ref() {
                        self.out.push(c);
                        if c == ']' {
                            break;
                        }
                    }
                }
                // Doubled, these are set operations in our syntax.
                '[' | '&' | '~' => self.out.extend(['\\', c]),
                other => self.out.push(other),
            }
        }
    }

    fn group(&mut self) -> Result<(), Untranslatable> {
        if self.rest.next_if(|(_, c)| *c == '?').is_none() {
            self.open_capture();
            return Ok(());
        }
        match self.rest.next().ok_or(Untranslatable::Unfinished)?.1 {
            '=' | '!' => return Err(Untranslatable::LookAround),
            '>' => return Err(Untranslatable::Atomic),
            ':' => self.out.push_str("(?:"),
            '<' if matches!(self.rest.peek(), Some((_, '=' | '!'))) => {
                return Err(Untranslatable::LookAround);
            }
            '<' | 'P' | '\'' => {
                // A name of its own: counted like any other.
                while self.rest.next_if(|(_, c)| !matches!(c, '>' | '\'')).is_some() {}
                self.rest.next();
                self.open_capture();
            }
            first => {
                self.out.push_str("(?");
                // What Ruby calls m is our s.
                let ours = |c: char| if c == 'm' { 's' } else { c };
                self.out.push(ours(first));
                while let Some((_, c)) = self.rest.next_if(|(_, c)| !matches!(c, ')' | ':')) {
                    self.out.push(ours(c));
                }
            }
        }
        Ok(())
    }

    fn open_capture(&mut self) {
        self.count += 1;
        if self.groups.contains(&self.count) {
            self.out.push_str(&format!("(?P<g{}>", self.count));
        } else {
            self.out.push_str("(?:");
        }
    }

    /// A repetition is kept, any other brace is a character.
    fn brace(&mut self, at: usize) {
        let inside =
            self.pattern.get(at + 1..).and_then(|rest| rest.split_once('}')).map(|(inside, _)| inside);
        let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
        let bounds = inside.map(|inside| inside.split_once(',').unwrap_or((inside, "")));
        let repeats = bounds.is_some_and(|(least, most)| {
            is_number(least) && is_number(most) && !(least.is_empty() && most.is_empty())
        });
        let Some(inside) = inside.filter(|_| repeats) else {
            self.out.push_str("\\{");
            return;
        };
        self.out.push('{');
        if inside.starts_with(',') {
            self.out.push('0');
        }
        self.out.push_str(inside);
        self.out.push('}');
        for _ in 0..=inside.len() {
            self.rest.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::compile;

    fn ours(pattern: &str, flags: &str, groups: &[usize]) -> Result<String, Untranslatable> {
        translate(pattern, flags, &groups.iter().copied().collect())
    }

    #[test]
    fn groups_are_named_and_what_means_something_else_here_is_escaped() {
        for (pattern, groups, translated) in [
            (r"^Foo_([\d.]+) (x)?$", vec![1], r"(?m)^Foo_(?P<g1>[\d.]+) (?:x)?$"),
            (r"(?:a)(b)(?<name>c)", vec![2], r"(?m)(?:a)(?:b)(?P<g2>c)"),
            (r"[[:alpha:]&&~[]", vec![], r"(?m)[[:alpha:]\&\&\~\[]"),
            (r#"^{"a":\d{1,3}}"#, vec![], r#"(?m)^\{"a":\d{1,3}\}"#),
            (r"\<a\>\h{,2}\Z", vec![], r"(?m)<a>[0-9a-fA-F]{0,2}(?:\n?\z)"),
            (r"(?mi)a(?-m:b)", vec![], r"(?m)(?si)a(?-s:b)"),
            (r"[]a]", vec![], r"(?m)[\]a]"),
            (r"a.b.*", vec![], r"(?m)a(?:[\xc2-\xf4][\x80-\xbf]+|.)b.*"),
        ] {
            let came = ours(pattern, "", &groups).expect(pattern);
            assert_eq!(came, translated);
            assert!(compile(&came).is_ok(), "{came}");
        }
        assert_eq!(ours("a", "REG_ICASE,REG_DOT_NEWLINE", &[]).as_deref(), Ok("(?mis)a"));
    }

    #[test]
    fn what_is_not_linear_is_told_apart() {
        assert_eq!(ours("a(?=b)", "", &[]), Err(Untranslatable::LookAround));
        assert_eq!(ours("(?<!b)a", "", &[]), Err(Untranslatable::LookAround));
        assert_eq!(ours(r"(a)\1", "", &[]), Err(Untranslatable::BackReference));
        assert_eq!(ours("(?>a)", "", &[]), Err(Untranslatable::Atomic));
        assert_eq!(ours("a++", "", &[]), Err(Untranslatable::Atomic));
        assert_eq!(ours("[a", "", &[]), Err(Untranslatable::Unfinished));
    }
}
