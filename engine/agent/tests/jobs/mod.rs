//! Jobs over listeners on loopback.

use portreeve_model::protocol::{Job, JobKind, JobShard};
use uuid::Uuid;

/// A scan of these ports that says what answers there.
pub fn scan_of(ports: &str) -> Job {
    Job {
        job_id: Uuid::new_v4(),
        scan_id: 1,
        network_id: 1,
        kind: JobKind::Scan,
        targets: vec!["127.0.0.1".to_owned()],
        exclude: Vec::new(),
        ports: ports.to_owned(),
        rate_pps: Some(2_000),
        timeout_seconds: 300,
        probe_timeout_ms: 500,
        identify: true,
        ssh_audit: false,
        tls_audit: false,
        seed: 1,
        shard: JobShard { index: 0, count: 1 },
    }
}

/// More probes than any test waits for.
pub fn endless_scan() -> Job {
    Job { rate_pps: Some(20), ..scan_of("1-65535") }
}
