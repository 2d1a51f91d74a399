//! Comma-separated values (RFC 4180: CRLF line ends, fields quoted where they must be).

use std::fmt::{Display, Write};

/// A table under construction.
///
/// Text that a spreadsheet would run as a formula gets a `'` before it: banners, comments and names
/// come from strangers (CWE-1236).
#[derive(Debug, Default)]
pub struct Csv {
    out: String,
    row_started: bool,
}

impl Csv {
    /// Starts with a line of column names.
    pub fn with_columns(names: &[&str]) -> Self {
        let mut csv = Self::default();
        for name in names {
            csv.text(name);
        }
        csv.end_row();
        csv
    }

    /// Adds a field of foreign text.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.separate();
        let dangerous = value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
        let guarded = if dangerous { format!("'{value}") } else { value.to_owned() };
        if guarded.contains(['"', ',', '\r', '\n']) {
            self.out.push('"');
            self.out.push_str(&guarded.replace('"', "\"\""));
            self.out.push('"');
        } else {
            self.out.push_str(&guarded);
        }
        self
    }

    /// Adds a field of our own making that needs neither quotes nor guard: numbers, addresses, times.
    pub fn value(&mut self, value: impl Display) -> &mut Self {
        self.separate();
        let _ = write!(self.out, "{value}");
        self
    }

    /// Ends the line.
    pub fn end_row(&mut self) {
        self.out.push_str("\r\n");
        self.row_started = false;
    }

    /// The whole table.
    pub fn finish(self) -> String {
        self.out
    }

    fn separate(&mut self) {
        if self.row_started {
            self.out.push(',');
        }
        self.row_started = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(cells: &[&str]) -> String {
        let mut csv = Csv::default();
        for cell in cells {
            csv.text(cell);
        }
        csv.end_row();
        csv.finish()
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(
            line(&["a", "b c", "d,e", "say \"hi\"", "two\r\nlines", ""]),
            "a,b c,\"d,e\",\"say \"\"hi\"\"\",\"two\r\nlines\",\r\n"
        );
    }

    #[test]
    fn formulas_are_disarmed() {
        assert_eq!(line(&["=1+1", "+1", "-1", "@SUM(A1)"]), "'=1+1,'+1,'-1,'@SUM(A1)\r\n");
        assert_eq!(line(&["=cmd|' /C calc'!A0,x"]), "\"'=cmd|' /C calc'!A0,x\"\r\n");
        assert_eq!(line(&["\t=1"]), "'\t=1\r\n");
    }

    #[test]
    fn columns_and_numbers() {
        let mut csv = Csv::with_columns(&["IP", "Port"]);
        csv.value("10.0.0.1").value(22);
        csv.end_row();
        assert_eq!(csv.finish(), "IP,Port\r\n10.0.0.1,22\r\n");
    }

    proptest! {
        #[test]
        fn any_text_stays_one_field(text in "\\PC*[\"\n,]?\\PC*") {
            let out = line(&[&text]);
            let body = out.strip_suffix("\r\n").unwrap();
            let field = match body.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')) {
                Some(inner) if body.len() >= 2 && text.contains(['"', ',', '\r', '\n']) => inner.replace("\"\"", "\""),
                _ => body.to_owned(),
            };
            prop_assert_eq!(field.strip_prefix('\'').filter(|_| field.len() > text.len()).unwrap_or(&field), &text);
        }
    }
}
