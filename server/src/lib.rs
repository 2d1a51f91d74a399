//! Portreeve's server: REST API, schedules, alerts and storage.

pub mod alerts;
pub mod api;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod disk;
pub mod embedded_postgres;
pub mod export;
pub mod hex;
pub mod ingest;
pub mod input;
pub mod jobs;
pub mod live;
pub mod metrics;
pub mod policy;
pub mod schedule;
pub mod state;
pub mod store;
pub mod tasks;
#[cfg(test)]
mod test_support;
pub mod web;
