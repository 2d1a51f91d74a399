//! From PCRE's notation to a tree, over bytes.

use super::{
    Node, Untranslatable,
    bytes::Bytes,
    node::{MAX_REPEAT, Manner},
};

/// Groups in groups at most: trees are walked by recursion.
const MAX_DEPTH: usize = 40;

/// Reads a pattern. `caseless` and `dot_all` are what the flags say at its beginning.
pub(super) fn parse(pattern: &[u8], caseless: bool, dot_all: bool) -> Result<(Node, usize), Untranslatable> {
    let mut parser = Parser { rest: pattern, groups: 0, modes: Modes { caseless, dot_all } };
    let node = parser.choice(0)?;
    if parser.rest.is_empty() { Ok((node, parser.groups)) } else { Err(Untranslatable::Malformed) }
}

#[derive(Clone, Copy)]
struct Modes {
    caseless: bool,
    dot_all: bool,
}

struct Parser<'a> {
    rest: &'a [u8],
    /// Capturing groups so far.
    groups: usize,
    modes: Modes,
}

impl Parser<'_> {
    /// Alternatives, up to the end or a closing bracket. A change of modes holds to the end of the group, in the
    /// alternatives after it too.
    fn choice(&mut self, depth: usize) -> Result<Node, Untranslatable> {
        if depth > MAX_DEPTH {
            return Err(Untranslatable::TooDeep);
        }
        let mut branches = vec![self.row(depth)?];
        while self.takes(b"|") {
            branches.push(self.row(depth)?);
        }
        let only = if branches.len() == 1 { branches.pop() } else { None };
        Ok(only.unwrap_or(Node::Choice(branches)))
    }

    fn row(&mut self, depth: usize) -> Result<Node, Untranslatable> {
        let mut row = Vec::new();
        while let Some(&byte) = self.rest.first().filter(|byte| !matches!(byte, b'|' | b')')) {
            let Some(atom) = self.atom(byte, depth)? else { continue };
            match atom {
                Atom::Repeatable(node) => row.push(self.repeated(node)?),
                Atom::Literal(bytes) => row.extend(bytes.iter().map(|&byte| self.literal(byte))),
                Atom::Assertion(node) => {
                    if self.quantifier().is_some() {
                        return Err(Untranslatable::RepeatedAssertion);
                    }
                    row.push(node);
                }
            }
        }
        let only = if row.len() == 1 { row.pop() } else { None };
        Ok(only.unwrap_or(Node::Row(row)))
    }

    /// One thing; nothing for what only changes modes.
    fn atom(&mut self, byte: u8, depth: usize) -> Result<Option<Atom>, Untranslatable> {
        self.rest = self.rest.get(1..).unwrap_or_default();
        Ok(Some(match byte {
            b'\\' => return self.escape(),
            b'(' => return self.group(depth),
            b'[' => Atom::Repeatable(Node::Set(self.class()?)),
            b'.' if self.modes.dot_all => Atom::Repeatable(Node::Set(Bytes::ALL)),
            b'.' => Atom::Repeatable(Node::Set(Bytes::one(b'\n').not())),
            b'^' => Atom::Assertion(Node::Start),
            b'$' => Atom::Assertion(Node::End),
            b'*' | b'+' | b'?' => return Err(Untranslatable::Malformed),
            b'{' if self.counts().is_some() => return Err(Untranslatable::Malformed),
            other => Atom::Repeatable(self.literal(other)),
        }))
    }

    fn literal(&self, byte: u8) -> Node {
        self.set(Bytes::one(byte))
    }

    fn set(&self, set: Bytes) -> Node {
        Node::Set(if self.modes.caseless { set.caseless() } else { set })
    }

    fn escape(&mut self) -> Result<Option<Atom>, Untranslatable> {
        let kind = self.next()?;
        Ok(Some(match kind {
            b'A' => Atom::Assertion(Node::Start),
            b'B' => Atom::Assertion(Node::Edge(false)),
            b'E' => return Ok(None),
            b'N' => Atom::Repeatable(Node::Set(Bytes::one(b'\n').not())),
            b'Q' => {
                let end = self.rest.windows(2).position(|pair| pair == br"\E");
                let (text, rest) =
                    self.rest.split_at_checked(end.unwrap_or(self.rest.len())).unwrap_or_default();
                self.rest = rest;
                self.takes(br"\E");
                // Its last byte alone would be repeated: nobody writes that.
                if self.quantifier_comes() {
                    return Err(Untranslatable::Escape('Q'));
                }
                Atom::Literal(text.to_vec())
            }
            b'Z' => Atom::Assertion(Node::End),
            b'b' => Atom::Assertion(Node::Edge(true)),
            b'1'..=b'9' | b'g' | b'k' => return Err(Untranslatable::BackReference),
            b'z' => Atom::Assertion(Node::VeryEnd),
            other => match shorthand(other) {
                Some(set) => Atom::Repeatable(Node::Set(set)),
                None => {
                    let byte = self.escaped_byte(other)?;
                    Atom::Repeatable(self.literal(byte))
                }
            },
        }))
    }

    /// A byte written as an escape, inside a class or not.
    fn escaped_byte(&mut self, kind: u8) -> Result<u8, Untranslatable> {
        Ok(match kind {
            b'0' => self.octal(0, 2),
            b'a' => 7,
            b'c' => {
                let byte = self.next()?;
                if !matches!(byte, b' '..=b'~') {
                    return Err(Untranslatable::Malformed);
                }
                byte.to_ascii_uppercase() ^ 0x40
            }
            b'e' => 0x1b,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => self.hexadecimal()?,
            other if other.is_ascii_alphanumeric() => return Err(Untranslatable::Escape(char::from(other))),
            other => other,
        })
    }

    fn octal(&mut self, first: u32, most: usize) -> u8 {
        let mut value = first;
        for _ in 0..most {
            let Some(digit) = self.rest.first().filter(|byte| matches!(byte, b'0'..=b'7')) else { break };
            value = value * 8 + u32::from(digit - b'0');
            self.next().ok();
        }
        value as u8
    }

    /// After `\x`: at most two digits, or any in braces.
    fn hexadecimal(&mut self) -> Result<u8, Untranslatable> {
        let is_digit = |byte: &u8| byte.is_ascii_hexdigit();
        let digits: &[u8] = if self.takes(b"{") {
            let end = self.rest.iter().position(|&byte| byte == b'}').ok_or(Untranslatable::Malformed)?;
            let (digits, rest) = self.rest.split_at_checked(end).ok_or(Untranslatable::Malformed)?;
            self.rest = rest.get(1..).unwrap_or_default();
            if digits.is_empty() || !digits.iter().all(is_digit) {
                return Err(Untranslatable::Malformed);
            }
            digits
        } else {
            let count = self.rest.iter().take(2).take_while(|byte| is_digit(byte)).count();
            let (digits, rest) = self.rest.split_at_checked(count).unwrap_or_default();
            self.rest = rest;
            digits
        };
        let text = std::str::from_utf8(digits).unwrap_or_default();
        if text.is_empty() {
            return Ok(0);
        }
        u8::from_str_radix(text, 16).map_err(|_| Untranslatable::Malformed)
    }

    fn class(&mut self) -> Result<Bytes, Untranslatable> {
        let negated = self.takes(b"^");
        let mut set = Bytes::NONE;
        let mut is_first = true;
        loop {
            let byte = self.next()?;
            if byte == b']' && !is_first {
                break;
            }
            is_first = false;
            let Some(first) = self.class_item(byte, &mut set)? else { continue };
            let last = self.range_end(&mut set)?;
            match last {
                Some(last) if last < first => return Err(Untranslatable::Malformed),
                last => set = set.with(first, last.unwrap_or(first)),
            }
        }
        let set = if self.modes.caseless { set.caseless() } else { set };
        Ok(if negated { set.not() } else { set })
    }

    /// A byte that may begin a range; nothing for what is a set of its own, which is added.
    fn class_item(&mut self, byte: u8, set: &mut Bytes) -> Result<Option<u8>, Untranslatable> {
        if byte == b'[' && matches!(self.rest.first(), Some(b':' | b'.' | b'=')) {
            if let Some(named) = self.named_class()? {
                *set = set.or(named);
                return Ok(None);
            }
            return Ok(Some(byte));
        }
        if byte != b'\\' {
            return Ok(Some(byte));
        }
        let kind = self.next()?;
        Ok(match kind {
            b'b' => Some(8),
            b'1'..=b'7' => Some(self.octal(u32::from(kind - b'0'), 2)),
            b'8' | b'9' | b'B' | b'N' | b'Q' | b'R' | b'X' => {
                return Err(Untranslatable::Escape(char::from(kind)));
            }
            b'E' => None,
            other => match shorthand(other) {
                Some(short) => {
                    *set = set.or(short);
                    None
                }
                None => Some(self.escaped_byte(other)?),
            },
        })
    }

    /// After a byte: the end of a range that begins with it. A minus before a set or the closing bracket is a minus.
    fn range_end(&mut self, set: &mut Bytes) -> Result<Option<u8>, Untranslatable> {
        let is_range = self.rest.starts_with(b"-") && self.rest.get(1).is_some_and(|&byte| byte != b']');
        if !is_range {
            return Ok(None);
        }
        self.next()?;
        let byte = self.next()?;
        let last = self.class_item(byte, set)?;
        if last.is_none() {
            *set = set.with(b'-', b'-');
        }
        Ok(last)
    }

    /// `[:alpha:]` after its first bracket. Nothing if no such name is closed here: then the bracket is a byte.
    fn named_class(&mut self) -> Result<Option<Bytes>, Untranslatable> {
        let Some(end) = end_of_name(self.rest) else { return Ok(None) };
        if !self.rest.starts_with(b":") {
            // Collating elements, which PCRE refuses too.
            return Err(Untranslatable::Malformed);
        }
        let inside = self.rest.get(1..end).unwrap_or_default();
        let (negated, name) = inside.strip_prefix(b"^").map_or((false, inside), |name| (true, name));
        let none = Bytes::NONE;
        let letters = none.with(b'a', b'z').with(b'A', b'Z');
        let set = match name {
            b"alnum" => letters.or(Bytes::digits()),
            b"alpha" => letters,
            b"ascii" => none.with(0, 0x7f),
            b"blank" => Bytes::of(b" \t"),
            b"cntrl" => none.with(0, 0x1f).with(0x7f, 0x7f),
            b"digit" => Bytes::digits(),
            b"graph" => none.with(b'!', b'~'),
            b"lower" | b"upper" if self.modes.caseless => letters,
            b"lower" => none.with(b'a', b'z'),
            b"print" => none.with(b' ', b'~'),
            b"punct" => none.with(b'!', b'~').and(letters.or(Bytes::digits()).not()),
            b"space" => Bytes::spaces(),
            b"upper" => none.with(b'A', b'Z'),
            b"word" => Bytes::words(),
            b"xdigit" => Bytes::digits().with(b'a', b'f').with(b'A', b'F'),
            _ => return Err(Untranslatable::Malformed),
        };
        self.rest = self.rest.get(end + 2..).unwrap_or_default();
        Ok(Some(if negated { set.not() } else { set }))
    }

    fn group(&mut self, depth: usize) -> Result<Option<Atom>, Untranslatable> {
        if self.rest.starts_with(b"*") {
            return Err(Untranslatable::Verb);
        }
        let outside = self.modes;
        let node = if self.takes(b"?") {
            match self.special(depth)? {
                Some(node) => node,
                None => return Ok(None),
            }
        } else {
            self.capture(depth)?
        };
        if !self.takes(b")") {
            return Err(Untranslatable::Malformed);
        }
        self.modes = outside;
        Ok(Some(if matches!(node, Node::Look { .. }) {
            Atom::Assertion(node)
        } else {
            Atom::Repeatable(node)
        }))
    }

    fn capture(&mut self, depth: usize) -> Result<Node, Untranslatable> {
        self.groups += 1;
        let number = self.groups;
        Ok(Node::Group { number, inner: Box::new(self.choice(depth + 1)?) })
    }

    /// What follows `(?`; nothing for modes that are set and for comments, of which the bracket is read too.
    fn special(&mut self, depth: usize) -> Result<Option<Node>, Untranslatable> {
        let look =
            |inner: Node, ahead: bool, negative: bool| Node::Look { inner: Box::new(inner), ahead, negative };
        for (opening, ahead, negative) in
            [(&b"<="[..], false, false), (b"<!", false, true), (b"=", true, false), (b"!", true, true)]
        {
            if self.takes(opening) {
                return Ok(Some(look(self.choice(depth + 1)?, ahead, negative)));
            }
        }
        if self.takes(b":") {
            return Ok(Some(self.choice(depth + 1)?));
        }
        if self.takes(b">") {
            return Ok(Some(Node::Atomic(Box::new(self.choice(depth + 1)?))));
        }
        if self.takes(b"#") {
            let end = self.rest.iter().position(|&byte| byte == b')').ok_or(Untranslatable::Malformed)?;
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            return Ok(None);
        }
        for (opening, closing) in [(&b"P<"[..], b'>'), (b"<", b'>'), (b"'", b'\'')] {
            if self.takes(opening) {
                let end =
                    self.rest.iter().position(|&byte| byte == closing).ok_or(Untranslatable::Malformed)?;
                self.rest = self.rest.get(end + 1..).unwrap_or_default();
                return Ok(Some(self.capture(depth)?));
            }
        }
        match self.rest.first() {
            Some(b'(') => Err(Untranslatable::Condition),
            Some(b'P' | b'R' | b'&' | b'+' | b'0'..=b'9') => Err(Untranslatable::Recursion),
            Some(b'|') => Err(Untranslatable::Mode('|')),
            _ => self.modes(depth),
        }
    }

    /// `i-s)` and `i:…`.
    fn modes(&mut self, depth: usize) -> Result<Option<Node>, Untranslatable> {
        let mut on = true;
        loop {
            match self.next()? {
                b'-' => on = false,
                b'i' => self.modes.caseless = on,
                b's' => self.modes.dot_all = on,
                b':' => return Ok(Some(self.choice(depth + 1)?)),
                b')' => return Ok(None),
                other => return Err(Untranslatable::Mode(char::from(other))),
            }
        }
    }

    fn repeated(&mut self, node: Node) -> Result<Node, Untranslatable> {
        let Some((least, most)) = self.quantifier() else { return Ok(node) };
        if least.max(most.unwrap_or(0)) > MAX_REPEAT || most.is_some_and(|most| most < least) {
            return Err(Untranslatable::Malformed);
        }
        let manner = if self.takes(b"?") {
            Manner::Lazy
        } else if self.takes(b"+") {
            Manner::Possessive
        } else {
            Manner::Greedy
        };
        if self.quantifier_comes() {
            return Err(Untranslatable::Malformed);
        }
        Ok(Node::repeat(node, least, most, manner))
    }

    fn quantifier_comes(&self) -> bool {
        matches!(self.rest.first(), Some(b'*' | b'+' | b'?'))
            || self.rest.strip_prefix(b"{").is_some_and(|rest| counts(rest).is_some())
    }

    fn quantifier(&mut self) -> Option<(u32, Option<u32>)> {
        let (&first, rest) = self.rest.split_first()?;
        let bounds = match first {
            b'*' => (0, None),
            b'+' => (1, None),
            b'?' => (0, Some(1)),
            b'{' => {
                let (bounds, length) = counts(rest)?;
                self.rest = rest.get(length..).unwrap_or_default();
                return Some(bounds);
            }
            _ => return None,
        };
        self.rest = rest;
        Some(bounds)
    }

    /// Whether what follows an opening brace makes it a repetition.
    fn counts(&self) -> Option<()> {
        counts(self.rest).map(|_| ())
    }

    fn takes(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn next(&mut self) -> Result<u8, Untranslatable> {
        let (&byte, rest) = self.rest.split_first().ok_or(Untranslatable::Malformed)?;
        self.rest = rest;
        Ok(byte)
    }
}

enum Atom {
    /// What may be repeated.
    Repeatable(Node),
    /// Bytes of which none is repeated.
    Literal(Vec<u8>),
    Assertion(Node),
}

/// Where a name in a class ends, after its first bracket: `:alpha` before `:]`. No bracket stands inside.
fn end_of_name(text: &[u8]) -> Option<usize> {
    let (&sign, _) = text.split_first()?;
    let mut at = 1;
    loop {
        match (*text.get(at)?, text.get(at + 1)) {
            (b'\\', Some(b']' | b'\\')) => at += 1,
            (b']', _) => return None,
            (b'[', Some(&next)) if next == sign => return None,
            (byte, Some(b']')) if byte == sign => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

/// `n}`, `n,}` or `n,m}`: the bounds, and how long they are written.
fn counts(text: &[u8]) -> Option<((u32, Option<u32>), usize)> {
    let end = text.iter().take(16).position(|&byte| byte == b'}')?;
    let inside = std::str::from_utf8(text.get(..end)?).ok()?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    let bounds = match inside.split_once(',') {
        None => {
            let count = number(inside)?;
            (count, Some(count))
        }
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    Some((bounds, end + 1))
}

fn shorthand(kind: u8) -> Option<Bytes> {
    let set = match kind.to_ascii_lowercase() {
        b'd' => Bytes::digits(),
        b'h' => Bytes::of(b"\t \xa0"),
        b's' => Bytes::spaces(),
        b'v' => Bytes::of(b"\n\x0b\x0c\r\x85"),
        b'w' => Bytes::words(),
        _ => return None,
    };
    Some(if kind.is_ascii_uppercase() { set.not() } else { set })
}
