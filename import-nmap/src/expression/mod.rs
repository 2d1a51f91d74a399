//! Expressions of PCRE's kind over bytes, translated into our linear-time kind.
//!
//! A pattern is parsed into a tree of byte sets ([`node`]), what our engine lacks is rewritten where an exact equivalent
//! exists ([`resolve`]), and the tree is written anew ([`emit`]), so that no sign of one notation can be taken for
//! another's. What has no equivalent is refused with the reason.

mod bytes;
mod emit;
mod node;
mod parse;
mod resolve;
#[cfg(test)]
mod twin;

use node::Node;

/// Why an expression has no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untranslatable {
    /// `(?>…)` or `*+` of which something could be given back.
    #[error("an atomic group or possessive repetition that changes what matches")]
    Atomic,
    /// What a group matched, again.
    #[error("a back-reference")]
    BackReference,
    /// `(?(…)…)`.
    #[error("a conditional group")]
    Condition,
    /// `(a*)*`.
    #[error("an endless repetition of what may be empty")]
    EmptyRound,
    /// `$` where more follows, or inside of what a used group remembers.
    #[error("an end of text that is not at the end")]
    EndInside,
    /// A letter after a backslash.
    #[error("the escape \\{0}")]
    Escape(char),
    /// A group that only looks.
    #[error("a look-around that no equivalent is known for")]
    LookAround,
    /// Brackets that do not fit, nothing to repeat, or bounds that cannot be.
    #[error("it is not well formed")]
    Malformed,
    /// `(?x)` and the like.
    #[error("the mode {0:?}")]
    Mode(char),
    /// `(?R)`, `(?1)`.
    #[error("a recursion")]
    Recursion,
    /// `(?=…)*`.
    #[error("an assertion that is repeated")]
    RepeatedAssertion,
    /// Groups in groups in groups …
    #[error("groups nested too deeply")]
    TooDeep,
    /// `(*…)`.
    #[error("a verb in (*…)")]
    Verb,
}

impl Untranslatable {
    /// A short name to count by.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Atomic => "atomic group",
            Self::BackReference => "back-reference",
            Self::Condition => "conditional group",
            Self::EmptyRound => "empty repetition",
            Self::EndInside => "end inside",
            Self::Escape(_) => "escape",
            Self::LookAround => "look-around",
            Self::Malformed => "malformed expression",
            Self::Mode(_) => "mode",
            Self::Recursion => "recursion",
            Self::RepeatedAssertion => "repeated assertion",
            Self::TooDeep => "too deep",
            Self::Verb => "verb",
        }
    }
}

/// An expression that was read.
#[derive(Clone, Debug)]
pub struct Pattern {
    node: Node,
    /// How many capturing groups it has.
    pub groups: usize,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// In our notation; the groups that are used are named `g1`, `g2` …
    pub regex: String,
    /// Expressions of which none may match.
    pub refused: Vec<String>,
}

impl Pattern {
    /// Reads a pattern; the flags are those after it.
    pub fn parse(pattern: &[u8], caseless: bool, dot_all: bool) -> Result<Self, Untranslatable> {
        let (node, groups) = parse::parse(pattern, caseless, dot_all)?;
        Ok(Self { node, groups })
    }

    /// In our notation; `used` tells which groups anybody wants to know.
    pub fn translate(self, used: impl Fn(usize) -> bool) -> Result<Translated, Untranslatable> {
        let (node, refused) = resolve::resolve(self.node, &used)?;
        Ok(Translated { regex: emit::emit(&node), refused: refused.iter().map(emit::emit).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(pattern: &str) -> Result<Translated, Untranslatable> {
        Pattern::parse(pattern.as_bytes(), false, false)?.translate(|_| true)
    }

    fn ours(pattern: &str) -> String {
        let translated = translated(pattern).expect(pattern);
        assert!(translated.refused.is_empty(), "{pattern}: {translated:?}");
        translated.regex
    }

    fn compiled(regex: &str) -> regex::bytes::Regex {
        regex::bytes::RegexBuilder::new(regex).unicode(false).build().expect(regex)
    }

    /// What the first group of `pattern` remembers in a text, in our engine.
    fn first_group(pattern: &str, text: &[u8]) -> Option<Vec<u8>> {
        let captures = compiled(&ours(pattern)).captures(text)?.name("g1")?.as_bytes().to_vec();
        Some(captures)
    }

    #[test]
    fn the_notation_is_written_anew() {
        for (pattern, regex) in [
            (r"^220 PumpOS ([\d.]+)\r\n", r"^220 PumpOS (?P<g1>[\.0-9]+)\r\n"),
            (r"\0\01\x0a\x7\xff\e", r"\x00\x01\n\x07\xff\x1b"),
            (r"\<a\>{b}{,2}&-~#", r"<a>\{b\}\{,2\}\&\-\~\#"),
            (r"a{2}b{2,}c{2,3}?d*?e+?f??", r"a{2}b{2,}c{2,3}?d*?e+?f??"),
            ("[]a]", r"[\]a]"),
            ("[^]a]", r"[^\]a]"),
            ("[[a&&b~~-]", r"[\&\-\[ab\~]"),
            (r"[\w-z]", r"[\-0-9A-Z_a-z]"),
            (r"[[:alpha:][:^digit:]]", r"\D"),
            ("[[.][[=a][[:x]", r"[\.\[][=\[a][:\[x]"),
            ("(?i)[[:^upper:]][[:lower:]]", "[^A-Za-z][A-Za-z]"),
            ("a|b(?:c|)", "(?:a|b(?:c|))"),
            (r"\Qa.b\E\.", r"a\.b\."),
            (r".\N\h\H", r"[^\n][^\n][\t \xa0][^\t \xa0]"),
            (r"\bfoo\B\A\z", r"\bfoo\B^\z"),
            ("(?#what)a(?:b)(?<n>c)", "ab(?P<g1>c)"),
            (r"[\b\1\12\0]", r"[\x00\x01\x08\n]"),
            ("é", r"\xc3\xa9"),
        ] {
            let came = ours(pattern);
            assert_eq!(came, regex, "{pattern}");
            compiled(&came);
        }
    }

    #[test]
    fn flags_become_part_of_the_sets() {
        let pattern = |caseless, dot_all| {
            let pattern = Pattern::parse(b"a.[b-c]", caseless, dot_all).expect("well formed");
            pattern.translate(|_| false).expect("translatable").regex
        };
        assert_eq!(pattern(false, false), r"a[^\n][bc]");
        assert_eq!(pattern(true, true), r"(?s)[Aa].[BCbc]");
        assert_eq!(ours("a(?i)b|c(?-i)d"), "(?:a[Bb]|[Cc]d)");
        assert_eq!(ours("(?i:a)b(?s:.)"), "(?s)[Aa]b.");
    }

    #[test]
    fn the_end_may_be_before_a_last_line_feed() {
        let regex = compiled(&ours("^a$"));
        let matches: Vec<bool> =
            [&b"a"[..], b"a\n", b"a\n\n", b"a\r\n"].iter().map(|text| regex.is_match(text)).collect();
        assert_eq!(matches, [true, true, false, false]);
        // A group does not take the line feed along, as it would not in PCRE.
        assert_eq!(first_group("^(a+$)", b"aa\n").as_deref(), Some(&b"aa"[..]));
        assert_eq!(translated("a$b"), Err(Untranslatable::EndInside));
        assert_eq!(translated("(a|b$)"), Err(Untranslatable::EndInside));
        assert_eq!(translated("(?:a$)+"), Err(Untranslatable::EndInside));
        assert_eq!(ours("(?:a$)?"), r"(?:a\n?\z)?");
    }

    #[test]
    fn what_gives_nothing_back_anyway_is_no_longer_atomic() {
        for (pattern, regex) in [
            (r"^[^\r]++\r", r"^[^\r]+\r"),
            (r"^\d++$", r"^\d+\n?\z"),
            (r"^(?>ab)c", "^abc"),
            (r"^(?>\d+)x", r"^\d+x"),
            (r"a(?>b|bc)", "a(?:b|bc)"),
            (r"^a*+b?", "^a*b?"),
            (r"^(?:\d++\.)+x", r"^(?:\d+\.)+x"),
        ] {
            assert_eq!(ours(pattern), regex, "{pattern}");
        }
        for pattern in [r"^a*+a", r"(?>a|ab)c", r"^\w++\d", r"(?:a++)+a", r"^a++\bb", r"(?>a+?)b"] {
            assert_eq!(translated(pattern), Err(Untranslatable::Atomic), "{pattern}");
        }
    }

    #[test]
    fn looking_at_one_byte_narrows_what_follows() {
        for (pattern, regex) in [
            (r"^a(?!\d)\w", "^a[A-Z_a-z]"),
            (r"^a(?=[bc])\w+", r"^a[bc]\w*"),
            (r"^a(?!b)(?:bc|d)", r"^a(?:[^\x00-\xff]c|d)"),
            ("^a(?!b)", r"^a(?:[^b]|\z)"),
            ("^a(?=bc)", "^abc"),
            (r"^(?:(?!\n)[\s\S])*x", r"^[^\n]*x"),
        ] {
            assert_eq!(ours(pattern), regex, "{pattern}");
            compiled(regex);
        }
        for pattern in
            ["a(?=b)c?d", "a(?=bc)b", "(?<=a)b", "(?<!a)b", "x(?!abc)a", "(?:(?!ab).)*c", "(a(?=b))"]
        {
            assert_eq!(translated(pattern), Err(Untranslatable::LookAround), "{pattern}");
        }
    }

    #[test]
    fn looking_ahead_from_a_fixed_place_becomes_a_refusal() {
        let came = translated(r"^HTTP/1\.\d (?!500 )(\d+)").expect("translatable");
        assert_eq!(came.regex, r"^HTTP/1\.\d (?P<g1>\d+)");
        assert_eq!(came.refused, [r"(?s)^.{9}500 "]);
    }

    #[test]
    fn what_has_no_equivalent_is_told_apart() {
        use Untranslatable::*;
        for (pattern, reason) in [
            (r"(a)\1", BackReference),
            (r"(a)\g{1}", BackReference),
            ("(?(1)a|b)", Condition),
            ("(?R)", Recursion),
            ("(?x) a", Mode('x')),
            ("(?m)^a", Mode('m')),
            ("(*ANYCRLF)a", Verb),
            (r"\R", Escape('R')),
            (r"\p{Lu}", Escape('p')),
            (r"a\K", Escape('K')),
            ("(a", Malformed),
            ("a)", Malformed),
            ("[a", Malformed),
            ("*a", Malformed),
            ("a**", Malformed),
            ("a{3,2}", Malformed),
            ("[b-a]", Malformed),
            (r"a\", Malformed),
            (r"\x{100}", Malformed),
            ("^*a", RepeatedAssertion),
            ("(a*)*b", EmptyRound),
            (r"(?:|\ba?)+", EmptyRound),
        ] {
            assert_eq!(translated(pattern), Err(reason), "{pattern}");
        }
        let deep = "(".repeat(1000);
        assert_eq!(translated(&deep), Err(TooDeep));
    }
}
