//! Portreeve.
fn main() {}
