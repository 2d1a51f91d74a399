//! Networks with something in them, for tests of what reads them.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::test_support::TestApp;

/// Fills a test's database.
pub(crate) struct Lab<'a> {
    app: &'a TestApp,
    agent_id: i64,
}

impl<'a> Lab<'a> {
    pub(crate) async fn new(app: &'a TestApp) -> Self {
        Self { app, agent_id: app.agent("lab").await.agent_id() }
    }

    pub(crate) fn agent_id(&self) -> i64 {
        self.agent_id
    }

    pub(crate) async fn network(&self, name: &str, cidr: &str) -> i64 {
        sqlx::query_scalar(
            "insert into networks (name, cidr, port_spec, agent_id, scan_timeout, port_timeout, created_at, updated_at)
             values ($1, $2, '1-1024', $3, 3600, 1500, $4, $4) returning id",
        )
        .bind(name)
        .bind(cidr)
        .bind(self.agent_id)
        .bind(self.app.now())
        .fetch_one(self.app.pool())
        .await
        .expect("a network")
    }

    /// A scan in any state.
    pub(crate) async fn scan(&self, network_id: i64, status: &str) -> i64 {
        sqlx::query_scalar(
            "insert into scans (network_id, agent_id, status, trigger_type, queued_at, started_at, completed_at, cancelled_at)
             values ($1, $2, $3, 'manual', $4, case when $3 <> 'planned' then $4 end,
                     case when $3 in ('completed', 'failed') then $4 end, case when $3 = 'cancelled' then $4 end)
             returning id",
        )
        .bind(network_id)
        .bind(self.agent_id)
        .bind(status)
        .bind(self.app.now())
        .fetch_one(self.app.pool())
        .await
        .expect("a scan")
    }

    /// An open port that a scan found: in the scan, in the network's state, among the endpoints, with its host.
    pub(crate) async fn port(
        &self,
        network_id: i64,
        scan_id: i64,
        ip: &str,
        port: u16,
        service: &str,
    ) -> i64 {
        let host_id = self.host(network_id, ip).await;
        let (now, pool, number) = (self.app.now(), self.app.pool(), i32::from(port));
        sqlx::query(
            "insert into scan_ports (scan_id, address, port, transport, service, first_seen_at, last_seen_at)
             values ($1, $2::inet, $3, 'tcp', $4, $5, $5)",
        )
        .bind(scan_id)
        .bind(ip.parse::<std::net::IpAddr>().expect("an address"))
        .bind(number)
        .bind(service)
        .bind(now)
        .execute(pool)
        .await
        .expect("a port of a scan");
        sqlx::query("update scans set open_ports = open_ports + 1 where id = $1")
            .bind(scan_id)
            .execute(pool)
            .await
            .expect("the scan");
        let global_id: i64 = sqlx::query_scalar(
            "insert into global_ports (address, port, transport, host_id, service, first_seen_at, last_seen_at)
             values ($1, $2, 'tcp', $3, $4, $5, $5)
             on conflict (address, port, transport) do update set last_seen_at = $5 returning id",
        )
        .bind(ip.parse::<std::net::IpAddr>().expect("an address"))
        .bind(number)
        .bind(host_id)
        .bind(service)
        .bind(now)
        .fetch_one(pool)
        .await
        .expect("an endpoint");
        sqlx::query_scalar(
            "insert into ports (network_id, global_port_id, host_id, address, port, transport, service,
                                first_seen_at, last_seen_at, first_scan_id, last_scan_id)
             values ($1, $2, $3, $4, $5, 'tcp', $6, $7, $7, $8, $8)
             on conflict (network_id, address, port, transport) where closed_at is null
             do update set last_seen_at = $7, last_scan_id = $8 returning id",
        )
        .bind(network_id)
        .bind(global_id)
        .bind(host_id)
        .bind(ip.parse::<std::net::IpAddr>().expect("an address"))
        .bind(number)
        .bind(service)
        .bind(now)
        .bind(scan_id)
        .fetch_one(pool)
        .await
        .expect("an open port")
    }

    /// Closes a port of the network's state.
    pub(crate) async fn close(&self, port_id: i64) {
        sqlx::query("update ports set closed_at = $2 where id = $1")
            .bind(port_id)
            .bind(self.app.now())
            .execute(self.app.pool())
            .await
            .expect("a closed port");
    }

    /// A host seen in a network; the same one when it is there already.
    pub(crate) async fn host(&self, network_id: i64, ip: &str) -> i64 {
        let (now, pool) = (self.app.now(), self.app.pool());
        let address: std::net::IpAddr = ip.parse().expect("an address");
        let host_id: i64 = sqlx::query_scalar(
            "insert into hosts (address, is_pingable, first_seen_at, last_seen_at) values ($1, true, $2, $2)
             on conflict (address) do update set last_seen_at = $2 returning id",
        )
        .bind(address)
        .bind(now)
        .fetch_one(pool)
        .await
        .expect("a host");
        sqlx::query(
            "insert into host_addresses (host_id, address, first_seen_at, last_seen_at) values ($1, $2, $3, $3)
             on conflict do nothing",
        )
        .bind(host_id)
        .bind(address)
        .bind(now)
        .execute(pool)
        .await
        .expect("an address of a host");
        sqlx::query(
            "insert into host_networks (host_id, network_id, first_seen_at, last_seen_at) values ($1, $2, $3, $3)
             on conflict do nothing",
        )
        .bind(host_id)
        .bind(network_id)
        .bind(now)
        .execute(pool)
        .await
        .expect("a host's network");
        host_id
    }

    /// An open alert.
    pub(crate) async fn alert(
        &self,
        network_id: Option<i64>,
        kind: &str,
        severity: &str,
        ip: &str,
        port: u16,
    ) -> i64 {
        let address: std::net::IpAddr = ip.parse().expect("an address");
        sqlx::query_scalar(
            "insert into alerts (kind, severity, network_id, address, port, transport, message, dedup_key,
                                 last_raised_at, created_at)
             values ($1, $2, $3, $4, $5, 'tcp', 'New open port detected: ' || host($4), gen_random_uuid()::text, $6, $6)
             returning id",
        )
        .bind(kind)
        .bind(severity)
        .bind(network_id)
        .bind(address)
        .bind(i32::from(port))
        .bind(self.app.now())
        .fetch_one(self.app.pool())
        .await
        .expect("an alert")
    }

    /// What an SSH server offered in a run.
    pub(crate) async fn ssh(
        &self,
        network_id: i64,
        scan_id: i64,
        ip: &str,
        version: &str,
        password: bool,
        weak: &[&str],
    ) {
        let address: std::net::IpAddr = ip.parse().expect("an address");
        let ciphers: Vec<Value> = weak
            .iter()
            .map(|name| json!({ "name": name, "keysize": null, "is_weak": true, "notes": ["weak"] }))
            .collect();
        sqlx::query(
            "insert into ssh_audits (scan_id, network_id, address, port, observed_at, publickey_enabled, password_enabled,
                                     ssh_version, supported_ciphers, kex_algorithms, host_key_types, mac_algorithms,
                                     has_weak_ciphers)
             values ($1, $2, $3, 22, $4, true, $5, $6, $7, $9, '[\"ssh-ed25519\"]', $9, $8)",
        )
        .bind(scan_id)
        .bind(network_id)
        .bind(address)
        .bind(self.app.now())
        .bind(password)
        .bind(version)
        .bind(Value::from(ciphers))
        .bind(!weak.is_empty())
        .bind(json!([{ "name": "good", "keysize": null, "is_weak": false, "notes": ["good"] }]))
        .execute(self.app.pool())
        .await
        .expect("an SSH audit");
    }

    /// A change of a port.
    pub(crate) async fn change(&self, network_id: i64, scan_id: i64, kind: &str, ip: &str, port: u16) -> i64 {
        let address: std::net::IpAddr = ip.parse().expect("an address");
        sqlx::query_scalar(
            "insert into changes (at, network_id, scan_id, host_id, kind, severity, address, port, transport, after)
             values ($1, $2, $3, (select id from hosts where address = $5), $4, 'info', $5, $6, 'tcp', '{}')
             returning id",
        )
        .bind(self.app.now())
        .bind(network_id)
        .bind(scan_id)
        .bind(kind)
        .bind(address)
        .bind(i32::from(port))
        .fetch_one(self.app.pool())
        .await
        .expect("a change")
    }

    /// A line of a scan's log.
    pub(crate) async fn log(&self, scan_id: i64, message: &str) -> i64 {
        sqlx::query_scalar(
            "insert into scan_logs (scan_id, at, level, message) values ($1, $2, 'info', $3) returning id",
        )
        .bind(scan_id)
        .bind(self.app.now())
        .bind(message)
        .fetch_one(self.app.pool())
        .await
        .expect("a log line")
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, minutes: i64) {
        self.app.clock().advance(TimeDelta::minutes(minutes));
    }
}

/// Every time in a document is UTC and says so.
#[track_caller]
pub(crate) fn assert_times_are_utc(value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(assert_times_are_utc),
        Value::Object(fields) => {
            for (name, value) in fields {
                if let (true, Some(text)) = (name.ends_with("_at") || name == "timestamp", value.as_str()) {
                    let parsed = text.parse::<chrono::DateTime<Utc>>();
                    assert!(parsed.is_ok() && text.ends_with('Z'), "{name}: {text}");
                }
                assert_times_are_utc(value);
            }
        }
        _ => {}
    }
}
