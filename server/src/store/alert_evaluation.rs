//! What alert rules look at, and the alerts they raise.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use portreeve_model::{Transport, protocol::JobSummary};
use sqlx::{PgConnection, PgExecutor, types::Json};

use super::scan_lifecycle::RunningScan;
use crate::{
    alerts::{AlertKind, PortFinding, SshFinding, ssh::SshFacts, suspicion::Verdict},
    input::RulePorts,
    live::AlertEvent,
    policy::{Policy, Rule, RuleAction, severity::Severity},
};

#[derive(sqlx::FromRow)]
struct RuleRow {
    is_global: bool,
    address: Option<IpAddr>,
    port_first: i32,
    port_last: i32,
    transport: Option<String>,
    rule_type: String,
}

/// The rules that count for a network.
pub async fn policy(db: impl PgExecutor<'_>, network_id: i64) -> sqlx::Result<Policy> {
    let rows: Vec<RuleRow> = sqlx::query_as(
        "-- rules_of_network
        select true as is_global, address::inet as address, port_first::integer as port_first,
               port_last::integer as port_last, transport::text as transport, rule_type
        from global_port_rules
        union all
        select false, address::inet, port_first::integer, port_last::integer, transport::text, rule_type
        from port_rules where network_id = $1",
    )
    .bind(network_id)
    .fetch_all(db)
    .await?;
    let (global, network): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.is_global);
    let rules = |rows: Vec<RuleRow>| rows.into_iter().filter_map(RuleRow::rule).collect();
    Ok(Policy { global: rules(global), network: rules(network) })
}

impl RuleRow {
    fn rule(self) -> Option<Rule> {
        let port = |number| u16::try_from(number).ok();
        Some(Rule {
            address: self.address,
            ports: RulePorts { low: port(self.port_first)?, high: port(self.port_last)? },
            transport: self.transport.and_then(|name| name.parse().ok()),
            action: if self.rule_type == "block" { RuleAction::Block } else { RuleAction::Allow },
        })
    }
}

#[derive(sqlx::FromRow)]
struct PortFindingRow {
    address: IpAddr,
    port: i32,
    transport: String,
    shard_index: Option<i32>,
    new_in_network: bool,
    new_global_port_id: Option<i64>,
}

/// The open ports of a run. New is what no completed scan has reported before: findings of scans that
/// failed do not count as reported, those of scans that were deleted do.
pub async fn port_findings(db: impl PgExecutor<'_>, scan: &RunningScan) -> sqlx::Result<Vec<PortFinding>> {
    let rows: Vec<PortFindingRow> = sqlx::query_as(
        "-- port_findings
        select r.address::inet as address, r.port::integer as port, r.transport::text as transport, r.shard_index,
               p.first_scan_id is not distinct from $1 as new_in_network,
               case when p.first_scan_id = $1
                   and not exists (
                       select from ports o left join scans f on f.id = o.first_scan_id
                       where o.global_port_id = p.global_port_id and o.first_scan_id is distinct from $1
                           and o.first_scan_id is not null and (f.id is null or f.status = 'completed'))
                   -- Seen before by a network that is gone.
                   and g.first_seen_at >= (select min(o.first_seen_at) from ports o where o.global_port_id = g.id)
                   then g.id end as new_global_port_id
        from scan_ports r
        join ports p on p.network_id = $2 and p.address = r.address and p.port = r.port and p.transport = r.transport
            and p.closed_at is null
        join global_ports g on g.id = p.global_port_id
        where r.scan_id = $1
        order by r.address, r.port, r.transport",
    )
    .bind(scan.id)
    .bind(scan.network_id)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().filter_map(PortFindingRow::finding).collect())
}

/// Leaves ports for a later scan to report (`scan_lifecycle::adopt_findings`): nobody has been told of them.
pub async fn leave_untold(
    db: impl PgExecutor<'_>,
    scan: &RunningScan,
    ports: &[&PortFinding],
) -> sqlx::Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- leave_untold
        update ports p set first_scan_id = null
        from unnest($3::inet[], $4::integer[], $5::text[]) as s(address, port, transport)
        where p.network_id = $2 and p.address = s.address and p.port = s.port and p.transport = s.transport
            and p.closed_at is null and p.first_scan_id = $1",
    )
    .bind(scan.id)
    .bind(scan.network_id)
    .bind(ports.iter().map(|port| port.address).collect::<Vec<_>>())
    .bind(ports.iter().map(|port| i32::from(port.port)).collect::<Vec<_>>())
    .bind(ports.iter().map(|port| port.transport.as_str()).collect::<Vec<_>>())
    .persistent(false)
    .execute(db)
    .await?;
    Ok(())
}

impl PortFindingRow {
    fn finding(self) -> Option<PortFinding> {
        Some(PortFinding {
            address: self.address,
            port: u16::try_from(self.port).ok()?,
            transport: self.transport.parse().ok()?,
            shard_index: self.shard_index,
            new_in_network: self.new_in_network,
            new_global_port_id: self.new_global_port_id,
        })
    }
}

#[derive(sqlx::FromRow)]
struct VerdictRow {
    shard_index: i32,
    agent_id: Option<i64>,
    summary: Option<Json<JobSummary>>,
}

/// What each job of a scan says of hosts that answer on every port, and whose word that is. Agents that are not given jobs
/// do not say.
pub async fn verdicts(db: impl PgExecutor<'_>, scan_id: i64) -> sqlx::Result<Vec<Verdict>> {
    let rows: Vec<VerdictRow> = sqlx::query_as(
        "-- suspicion_verdicts
        select shard_index, leased_by as agent_id, summary from jobs where scan_id = $1 order by shard_index",
    )
    .bind(scan_id)
    .fetch_all(db)
    .await?;
    let verdict = |row: VerdictRow| Verdict {
        shard_index: row.shard_index,
        agent_id: row.agent_id,
        hosts: row.summary.map(|summary| summary.0.suspicious_hosts).unwrap_or_default(),
    };
    Ok(rows.into_iter().map(verdict).collect())
}

#[derive(sqlx::FromRow)]
struct SshFindingRow {
    address: IpAddr,
    port: i32,
    version: Option<String>,
    password: bool,
    interactive: bool,
    weak_ciphers: Vec<String>,
    weak_kex: Vec<String>,
    known_before: bool,
    old_password: Option<bool>,
    old_interactive: Option<bool>,
    old_weak_ciphers: Option<Vec<String>>,
    old_weak_kex: Option<Vec<String>>,
}

/// The SSH servers of a run, each with what the last completed scan that spoke to it was told.
pub async fn ssh_findings(db: impl PgExecutor<'_>, scan: &RunningScan) -> sqlx::Result<Vec<SshFinding>> {
    let rows: Vec<SshFindingRow> = sqlx::query_as(
        "-- ssh_findings
        with named as (
            select a.id, a.scan_id, a.network_id, a.address::inet as address, a.port::integer as port,
                   a.ssh_version as version, a.password_enabled as password, a.keyboard_interactive_enabled as interactive,
                   array(select c->>'name' from jsonb_array_elements(coalesce(a.supported_ciphers, '[]')) c
                         where c->'is_weak' = 'true') as weak_ciphers,
                   array(select k->>'name' from jsonb_array_elements(coalesce(a.kex_algorithms, '[]')) k
                         where k->'is_weak' = 'true') as weak_kex
            from ssh_audits a
            where a.network_id = $2
        )
        select n.address, n.port, n.version, n.password, n.interactive, n.weak_ciphers, n.weak_kex,
               o.id is not null as known_before, o.password as old_password, o.interactive as old_interactive,
               o.weak_ciphers as old_weak_ciphers, o.weak_kex as old_weak_kex
        from named n
        left join lateral (
            select e.* from named e join scans f on f.id = e.scan_id and f.status = 'completed'
            where e.address = n.address and e.port = n.port and e.id < n.id
            order by e.id desc limit 1
        ) o on true
        where n.scan_id = $1
        order by n.address, n.port",
    )
    .bind(scan.id)
    .bind(scan.network_id)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().filter_map(SshFindingRow::finding).collect())
}

impl SshFindingRow {
    fn finding(self) -> Option<SshFinding> {
        let before = self.known_before.then(|| SshFacts {
            version: None,
            password: self.old_password.unwrap_or_default(),
            keyboard_interactive: self.old_interactive.unwrap_or_default(),
            weak_ciphers: self.old_weak_ciphers.unwrap_or_default(),
            weak_kex: self.old_weak_kex.unwrap_or_default(),
        });
        Some(SshFinding {
            address: self.address,
            port: u16::try_from(self.port).ok()?,
            now: SshFacts {
                version: self.version,
                password: self.password,
                keyboard_interactive: self.interactive,
                weak_ciphers: self.weak_ciphers,
                weak_kex: self.weak_kex,
            },
            before,
        })
    }
}

/// An alert to be written.
#[derive(Clone, Debug)]
pub struct AlertRow {
    /// Its kind.
    pub kind: AlertKind,
    /// How serious it is.
    pub severity: Severity,
    /// The network it is about.
    pub network_id: Option<i64>,
    /// The scan that gave rise to it.
    pub scan_id: Option<i64>,
    /// The agent it is about.
    pub agent_id: Option<i64>,
    /// The host it is about, if it is about no port of it.
    pub host: Option<IpAddr>,
    /// The port it is about.
    pub place: Option<(IpAddr, u16, Transport)>,
    /// The global port it is about, for alerts of global scope.
    pub global_port_id: Option<i64>,
    /// For people.
    pub message: String,
    /// Why it is raised, for programs.
    pub detail: serde_json::Value,
    /// What makes it the same as another.
    pub dedup_key: String,
}

#[derive(sqlx::FromRow)]
struct RaisedRow {
    id: i64,
    kind: String,
    severity: String,
    network_id: Option<i64>,
    address: Option<IpAddr>,
    port: Option<i32>,
    message: String,
}

/// Writes alerts and returns those that are new. One that is open already is counted instead, and says how it is by now; but
/// that a server became weaker stays as it was told first.
pub async fn raise(
    db: &mut PgConnection,
    alerts: &[AlertRow],
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<AlertEvent>> {
    if alerts.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<RaisedRow> = sqlx::query_as(
        "-- raise_alerts
        with written as (
            insert into alerts as a (kind, severity, network_id, scan_id, agent_id, host_id, global_port_id, address, port,
                                     transport, message, dedup_key, detail, last_raised_at, created_at)
            select w.kind, w.severity, w.network_id, w.scan_id, w.agent_id, h.id, w.global_port_id, w.address, w.port,
                   w.transport, w.message, w.dedup_key, w.detail, $12, $12
            from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::inet[], $7::integer[],
                        $8::text[], $9::bigint[], $10::text[], $11::text[], $13::jsonb[])
                as w(kind, severity, network_id, scan_id, agent_id, address, port, transport, global_port_id, message,
                     dedup_key, detail)
            left join hosts h on h.address = w.address
            order by w.dedup_key
            on conflict (dedup_key) where not acknowledged and resolution_status <> 'resolved' do update set
                raised_count = a.raised_count + 1, last_raised_at = excluded.last_raised_at,
                message = case a.kind when 'ssh_config_regression' then a.message else excluded.message end,
                detail = excluded.detail
            returning id, kind, severity, network_id, address::inet as address, port::integer as port, message,
                      xmax = 0 as is_new
        ), noted as (
            insert into alert_events (alert_id, at, kind) select id, $12, 'raised' from written where is_new
        )
        select id, kind, severity, network_id, address, port, message from written where is_new order by id",
    )
    .bind(alerts.iter().map(|alert| alert.kind.as_str()).collect::<Vec<_>>())
    .bind(alerts.iter().map(|alert| alert.severity.as_str()).collect::<Vec<_>>())
    .bind(alerts.iter().map(|alert| alert.network_id).collect::<Vec<_>>())
    .bind(alerts.iter().map(|alert| alert.scan_id).collect::<Vec<_>>())
    .bind(alerts.iter().map(|alert| alert.agent_id).collect::<Vec<_>>())
    .bind(alerts.iter().map(|alert| alert.place.map(|(address, ..)| address).or(alert.host)).collect::<Vec<_>>())
    .bind(alerts.iter().map(|alert| alert.place.map(|(_, port, _)| i32::from(port))).collect::<Vec<_>>())
    .bind(alerts.iter().map(|alert| alert.place.map(|(.., transport)| transport.as_str())).collect::<Vec<_>>())
    .bind(alerts.iter().map(|alert| alert.global_port_id).collect::<Vec<_>>())
    .bind(alerts.iter().map(|alert| alert.message.as_str()).collect::<Vec<_>>())
    .bind(alerts.iter().map(|alert| alert.dedup_key.as_str()).collect::<Vec<_>>())
    .bind(now)
    .bind(alerts.iter().map(|alert| &alert.detail).collect::<Vec<_>>())
    .persistent(false)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(AlertEvent::from).collect())
}

impl From<RaisedRow> for AlertEvent {
    fn from(row: RaisedRow) -> Self {
        Self {
            id: row.id,
            alert_type: row.kind,
            severity: row.severity,
            network_id: row.network_id,
            ip: row.address.map(|address| address.to_string()),
            port: row.port.and_then(|port| u16::try_from(port).ok()),
            message: row.message,
        }
    }
}

/// Resolves the open alerts with these keys: what they told of is over.
pub async fn resolve(db: &mut PgConnection, dedup_keys: &[String], now: DateTime<Utc>) -> sqlx::Result<u64> {
    let result = sqlx::query(
        "-- resolve_alerts
        with resolved as (
            update alerts set resolution_status = 'resolved', resolved_at = $2
            where dedup_key = any($1) and not acknowledged and resolution_status <> 'resolved'
            returning id
        )
        insert into alert_events (alert_id, at, kind) select id, $2, 'auto_resolved' from resolved",
    )
    .bind(dedup_keys)
    .bind(now)
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// Resolves a network's open alerts of a kind but for those with these keys.
pub async fn resolve_others(
    db: &mut PgConnection,
    network_id: i64,
    kind: AlertKind,
    dedup_keys: &[String],
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let result = sqlx::query(
        "-- resolve_other_alerts
        with resolved as (
            update alerts set resolution_status = 'resolved', resolved_at = $4
            where network_id = $1 and kind = $2 and not dedup_key = any($3)
              and not acknowledged and resolution_status <> 'resolved'
            returning id
        )
        insert into alert_events (alert_id, at, kind) select id, $4, 'auto_resolved' from resolved",
    )
    .bind(network_id)
    .bind(kind.as_str())
    .bind(dedup_keys)
    .bind(now)
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}
