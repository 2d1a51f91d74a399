//! When networks are scanned: cron lines in a user's time zone.

pub mod cron;
pub mod describe;
pub mod runner;
