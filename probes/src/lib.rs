//! Portreeve.
