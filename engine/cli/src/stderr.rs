//! Words for the user on standard error. `eprintln!` ends the program where they cannot be written: on a full disk, or when
//! whoever read them has gone.

use std::{
    fmt,
    io::{self, Write},
};

/// Prints a line on standard error, if that is possible; takes what `format!` takes.
macro_rules! say {
    ($($word:tt)*) => { $crate::stderr::print(format_args!("{}\n", format_args!($($word)*))) };
}

/// Prints text on standard error, if that is possible.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}
