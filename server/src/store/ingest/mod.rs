//! Writes what scans see: set-based, one statement for a whole batch, never a statement a row.
//!
//! Arrays go in, `unnest` makes rows of them. The statements are not kept prepared: after five uses PostgreSQL would
//! plan them once for arrays of unknown length, which it takes for short ones, and join thousands of rows in loops.
//! Rows are written in the order of their keys, so that two batches cannot lock each other out.

use std::net::IpAddr;

use sqlx::PgConnection;

mod certificates;
mod hosts;
mod identifiers;
mod observations;
mod ports;
mod services;
mod ssh;
mod values;

pub use self::{
    certificates::record_certificates,
    hosts::{apply_profiles, upsert_hosts},
    identifiers::record_identifiers,
    observations::append_observations,
    ports::{close_refused_ports, upsert_open_ports},
    services::apply_services,
    ssh::record_ssh_audits,
};

/// A port that a batch opened or identified.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct OpenedPort {
    /// The host.
    pub address: IpAddr,
    /// The port.
    pub port: i32,
    /// Its transport.
    pub transport: String,
    /// What answers there.
    pub service: Option<String>,
    /// Which product.
    pub product: Option<String>,
    /// Which version.
    pub version: Option<String>,
}

/// Keeps the run's figures current.
pub async fn count_run(db: &mut PgConnection, scan_id: i64, hosts: i32) -> sqlx::Result<()> {
    sqlx::query(
        "-- count_run
        update scans set open_ports = (select count(*) from scan_ports where scan_id = $1),
                         hosts_discovered = hosts_discovered + $2
        where id = $1",
    )
    .bind(scan_id)
    .bind(hosts)
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
