//! Reads files in the format of nmap's service probes and writes them as user databases.
//!
//! A part of its own, outside the product's build: it is for users who have such a file and have decided to use it
//! (README.md says what its licence asks). It reads the path that it is given and nothing else.
//!
//! [`read()`] takes the file apart and refuses what is not grammatical, with line and column; [`convert()`] makes our file of
//! it, leaves out what has no exact equivalent, and tells what and why.

#![forbid(unsafe_code)]

mod convert;
mod cursor;
mod expression;
mod reader;
mod report;
mod template;

pub use convert::convert;
pub use cursor::{Place, SyntaxError};
pub use expression::{Pattern, Translated, Untranslatable};
pub use reader::{Field, File, Kind, MAX_FILE, Match, Probe, read};
pub use report::{Note, Report};
pub use template::BadTemplate;
