//! Files that people take away.

mod csv;

pub use csv::Csv;
