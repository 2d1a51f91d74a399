//! Writes what scans see: set-based, one statement for a whole batch, never a statement a row.
//!
//! Arrays go in, `unnest` makes rows of them. The statements are not kept prepared: after five uses PostgreSQL would
//! plan them once for arrays of unknown length, which it takes for short ones, and join thousands of rows in loops.
//! Rows are written in the order of their keys, so that two batches cannot lock each other out.
//!
//! Which rows a batch is about is looked up by a subquery for each, not by a join: to the statistics a new network or a
//! new run has no rows, and a join would be planned as if that were so, in loops over everything.

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
    ports::{Upserted, close_refused_ports, upsert_open_ports},
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

/// Holds the network against being deleted until the transaction ends: what is written about it has no foreign key.
pub async fn hold_network(db: &mut PgConnection, network_id: i64) -> sqlx::Result<()> {
    let held = sqlx::query("-- hold_network\n select from networks where id = $1 for key share")
        .bind(network_id)
        .execute(db)
        .await?;
    super::one_row(&held)
}

/// Keeps the run's figures current.
pub async fn count_run(db: &mut PgConnection, scan_id: i64, ports: i64, hosts: i32) -> sqlx::Result<()> {
    sqlx::query(
        "-- count_run
        update scans set open_ports = open_ports + $2::bigint, hosts_discovered = hosts_discovered + $3
        where id = $1",
    )
    .bind(scan_id)
    .bind(ports)
    .bind(hosts)
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
