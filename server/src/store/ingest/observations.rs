//! Raw replies.

use sqlx::PgConnection;

use super::values::column;
use crate::ingest::{Origin, PortRow};

/// Keeps every reply as it came.
pub async fn append_observations(
    db: &mut PgConnection,
    origin: &Origin,
    ports: &[&PortRow],
) -> sqlx::Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- append_observations
        insert into observations (network_id, scan_id, address, port, transport, state, reason, ttl, rtt_us, seen_at)
        select $1, $2, s.* from unnest($3::inet[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::smallint[],
                                       $9::integer[], $10::timestamptz[]) as s",
    )
    .bind(origin.network_id)
    .bind(origin.scan_id)
    .bind(column(ports, |port| port.endpoint.address))
    .bind(column(ports, |port| i32::from(port.endpoint.port)))
    .bind(column(ports, |port| port.endpoint.transport.as_str()))
    .bind(column(ports, |port| port.state.as_str()))
    .bind(column(ports, |port| port.reason.unwrap_or("unknown")))
    .bind(column(ports, |port| port.ttl))
    .bind(column(ports, |port| port.rtt_us))
    .bind(column(ports, |port| port.seen_at))
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}
