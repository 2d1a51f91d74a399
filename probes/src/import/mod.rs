//! Databases of others, read into our own form.

pub mod recog;
