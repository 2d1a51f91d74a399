//! Portreeve's server: REST API, schedules, alerts and storage.

pub mod alerts;
pub mod export;
pub mod input;
pub mod policy;
pub mod schedule;
