//! Portreeve's server: REST API, schedules, alerts and storage.

pub mod alerts;
pub mod api;
pub mod audit;
pub mod auth;
pub mod clock;
pub mod config;
pub mod export;
pub mod ingest;
pub mod input;
pub mod jobs;
pub mod live;
pub mod policy;
pub mod schedule;
pub mod state;
pub mod store;
#[cfg(test)]
mod test_support;
