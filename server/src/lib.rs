//! Portreeve's server: REST API, schedules, alerts and storage.

pub mod export;
pub mod input;
