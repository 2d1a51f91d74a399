//! What became of a file, for people and for programs.

use std::{collections::BTreeMap, fmt::Write as _};

use portreeve_model::SafeText;
use serde::Serialize;

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Probes in it.
    pub probes: usize,
    /// Of these, probes that our database asks byte for byte: their answers are sought in the replies to those.
    pub probes_known: usize,
    /// Answers in it.
    pub matches: usize,
    /// Of these, soft ones.
    pub soft_matches: usize,
    /// Entries made.
    pub entries: usize,
    /// Of these, entries with a look-ahead that became a condition on the whole conversation: they may be silent where
    /// the original is not, and never speak where it is silent.
    pub narrowed: usize,
    /// Answers without an entry, by reason.
    pub reasons: BTreeMap<String, usize>,
    /// Answers and probes left out.
    pub left_out: Vec<Note>,
    /// Values that entries do without.
    pub dropped: Vec<Note>,
}

/// Something at a place of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Line, from 1.
    pub line: usize,
    /// Byte of the line, from 1.
    pub column: usize,
    /// The service or probe.
    pub what: SafeText,
    /// Why.
    pub reason: SafeText,
}

/// Notes shown where not all are asked for.
const SHOWN: usize = 20;

impl Report {
    /// Some lines for people, with the first notes or all of them.
    pub fn text(&self, all: bool) -> String {
        let mut out = String::new();
        let mut line = |name: &str, what: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name:<14}{what}");
        };
        line("probes", format!("{}, of which the built-in database asks {}", self.probes, self.probes_known));
        line("answers", format!("{}, of which {} are soft", self.matches, self.soft_matches));
        line(
            "entries",
            format!("{}, of which {} are narrower than the original", self.entries, self.narrowed),
        );
        line("left out", self.left_out.len().to_string());
        for (reason, count) in &self.reasons {
            line("", format!("{count} {reason}"));
        }
        list(&mut out, &self.left_out, all);
        let _ = writeln!(out, "{:<14}{}", "values dropped", format_args!(" {}", self.dropped.len()));
        list(&mut out, &self.dropped, all);
        out
    }
}

fn list(out: &mut String, notes: &[Note], all: bool) {
    let shown = if all { notes.len() } else { SHOWN };
    for note in notes.iter().take(shown) {
        let _ = writeln!(out, "  {}:{} {}: {}", note.line, note.column, note.what, note.reason);
    }
    if notes.len() > shown {
        let _ = writeln!(out, "  … and {} more; --all shows them", notes.len() - shown);
    }
}
