//! What is forgotten when nobody has seen it for long, a bounded number of rows at a time.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

/// What was not seen for so long says nothing of who a host is.
pub const IDENTIFIERS: TimeDelta = TimeDelta::days(365);
/// Certificates, with the places they were shown at.
pub const CERTIFICATES: TimeDelta = TimeDelta::days(365);

/// Rows that one statement deletes: locks are held for a moment only.
const BATCH: i64 = 5_000;
/// Statements of one round and kind; the rest is for the next round.
const BATCHES: usize = 100;

/// Forgets identifiers of hosts that were seen last before then; returns how many.
pub async fn forget_identifiers(db: &PgPool, before: DateTime<Utc>) -> sqlx::Result<u64> {
    in_batches(
        db,
        "-- forget_identifiers
        delete from host_identifiers where ctid = any (array(
            select ctid from host_identifiers where last_seen_at < $1
            order by last_seen_at limit $2 for update skip locked))",
        before,
    )
    .await
}

/// Forgets certificates that were seen last before then; returns how many.
pub async fn forget_certificates(db: &PgPool, before: DateTime<Utc>) -> sqlx::Result<u64> {
    in_batches(
        db,
        "-- forget_certificates
        delete from tls_certificates where ctid = any (array(
            select ctid from tls_certificates where last_seen_at < $1
            order by last_seen_at limit $2 for update skip locked))",
        before,
    )
    .await
}

/// Each batch is a transaction of its own.
async fn in_batches(db: &PgPool, statement: &'static str, before: DateTime<Utc>) -> sqlx::Result<u64> {
    let mut forgotten = 0;
    for _ in 0..BATCHES {
        let done = sqlx::query(statement).bind(before).bind(BATCH).execute(db).await?.rows_affected();
        forgotten += done;
        if done < BATCH.unsigned_abs() {
            break;
        }
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::TestApp;

    async fn count(app: &TestApp, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(app.pool()).await.expect("a count")
    }

    #[tokio::test]
    async fn what_nobody_has_seen_for_long_is_forgotten_in_batches() {
        let app = TestApp::new().await;
        let now = app.now();
        sqlx::raw_sql(
            "insert into agents (name, kind, credential_hash, credential_prefix) values ('a', 'portreeve', sha256('a'), 'a');
             insert into networks (name, cidr, port_spec, agent_id) values ('n', '10.99.0.0/16', '1', 1);
             insert into hosts (address, first_seen_at, last_seen_at) values ('10.99.0.1', now(), now());
             insert into host_identifiers
                 select 1, 'name', 'name-' || n, '2020-01-01', timestamptz '2024-12-31' + n * interval '1 second'
                 from generate_series(1, 12000) n;
             insert into host_identifiers values (1, 'name', 'seen', '2020-01-01', '2025-06-01');
             insert into tls_certificates (sha256, subject, issuer, serial, not_before, not_after, key, signature, self_signed,
                                           first_seen_at, last_seen_at)
                 select sha256(n::text::bytea), 's', 'i', '1', '2020-01-01', '2030-01-01', 'RSA 2048', 'x', false, '2020-01-01',
                        case when n <= 6000 then '2024-12-31'::timestamptz else '2025-06-01' end
                 from generate_series(1, 6001) n;
             insert into tls_endpoints (network_id, address, port, certificate_id, first_seen_at, last_seen_at)
                 select 1, '10.99.0.1', n, n, '2020-01-01', '2020-01-01' from unnest(array[1, 6001]) n;",
        )
        .execute(app.pool())
        .await
        .expect("old rows");
        assert_eq!(forget_identifiers(app.pool(), now - IDENTIFIERS).await.expect("forgotten"), 12_000);
        assert_eq!(forget_certificates(app.pool(), now - CERTIFICATES).await.expect("forgotten"), 6_000);
        assert_eq!(count(&app, "select count(*) from host_identifiers where value = 'seen'").await, 1);
        assert_eq!(count(&app, "select count(*) from host_identifiers").await, 1);
        assert_eq!(count(&app, "select min(certificate_id) from tls_endpoints").await, 6_001);
        assert_eq!(forget_identifiers(app.pool(), now - IDENTIFIERS).await.expect("nothing"), 0);
    }

    #[tokio::test]
    async fn old_rows_are_found_by_an_index() {
        let app = TestApp::new().await;
        for table in ["host_identifiers", "tls_certificates"] {
            let mut connection = app.pool().acquire().await.expect("a connection");
            // A small table is read in whole: the question is whether it has to be.
            sqlx::query("set enable_seqscan = off").execute(&mut *connection).await.expect("set");
            let explain = format!(
                "explain select ctid from {table} where last_seen_at < now() order by last_seen_at limit 5000"
            );
            let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(explain))
                .fetch_all(&mut *connection)
                .await
                .expect("a plan");
            let plan = plan.join("\n");
            assert!(plan.contains(&format!("{table}_seen_idx")) && !plan.contains("Seq Scan"), "{plan}");
        }
    }
}
