//! One line of a file, read from left to right.

/// What is wrong with a file, and where. Lines and columns count from 1; columns are bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {reason}")]
pub struct SyntaxError {
    /// The line.
    pub line: usize,
    /// The byte in it.
    pub column: usize,
    /// What is wrong, and what was expected.
    pub reason: String,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The byte in it, from 1.
    pub column: usize,
}

impl Place {
    pub(crate) fn error(self, reason: impl Into<String>) -> SyntaxError {
        SyntaxError { line: self.line, column: self.column, reason: reason.into() }
    }
}

/// A line and how much of it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8], line: usize) -> Self {
        Self { text, at: 0, line }
    }

    /// Where the next byte stands.
    pub fn place(&self) -> Place {
        Place { line: self.line, column: self.at + 1 }
    }

    pub fn error(&self, reason: impl Into<String>) -> SyntaxError {
        self.place().error(reason)
    }

    pub fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    pub fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    pub fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Whether the text comes next; it is read if so.
    pub fn takes(&mut self, text: &[u8]) -> bool {
        let comes = self.rest().starts_with(text);
        self.at += if comes { text.len() } else { 0 };
        comes
    }

    /// Reads bytes for as long as they are such.
    pub fn take_while(&mut self, is_such: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|&byte| !is_such(byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    pub fn skip_blanks(&mut self) {
        self.take_while(is_blank);
    }

    /// At least one blank.
    pub fn blanks(&mut self) -> Result<(), SyntaxError> {
        let error = self.error("a blank is expected here");
        if self.take_while(is_blank).is_empty() { Err(error) } else { Ok(()) }
    }

    /// Everything up to the next blank.
    pub fn word(&mut self) -> &'a [u8] {
        self.take_while(|byte| !is_blank(byte))
    }

    /// A text between two delimiters, which are whatever byte comes first; and where the text begins.
    pub fn delimited(&mut self, what: &str) -> Result<(&'a [u8], Place), SyntaxError> {
        let opening = self.place();
        let delimiter = self
            .next()
            .filter(|byte| !is_blank(*byte) && byte.is_ascii_graphic())
            .ok_or_else(|| opening.error(format!("{what} needs a delimiter before and after it")))?;
        let begin = self.place();
        let text = self.take_while(|byte| byte != delimiter);
        if self.next().is_none() {
            let delimiter = char::from(delimiter);
            return Err(opening.error(format!("nothing closes this: {what} ends with another {delimiter:?}")));
        }
        Ok((text, begin))
    }

    /// A decimal number within bounds.
    pub fn number(&mut self, least: u32, most: u32) -> Result<u32, SyntaxError> {
        let place = self.place();
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| place.error(format!("a number from {least} to {most} is expected here")))
    }

    /// Nothing but blanks may be left.
    pub fn end(&mut self) -> Result<(), SyntaxError> {
        self.skip_blanks();
        if self.is_at_end() { Ok(()) } else { Err(self.error("the line should end here")) }
    }
}

pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
