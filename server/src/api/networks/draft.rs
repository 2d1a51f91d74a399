//! A network as a form fills it in, and the checks that turn it into one that can be stored.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    api::{FieldError, Problem, common::text_error, present},
    input::{check_port_spec, parse_network},
    schedule::cron::CronLine,
    store::networks::{Network, NetworkFields},
};

/// A network to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct NetworkCreate {
    /// Name, unique without regard to case.
    pub name: String,
    /// Block or address, as `192.0.2.0/24`.
    pub cidr: String,
    /// Ports, as `22,80,8000-8100,U:53,!25`.
    pub port_spec: String,
    /// The agent that scans it.
    pub scanner_id: i64,
    /// Addresses, blocks and ranges that are never sent to.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Cron line; none for scans by hand only.
    #[serde(default)]
    pub scan_schedule: Option<String>,
    /// The zone the schedule is meant in, as `Europe/Berlin`; UTC if left out.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Packets per second; left out, the agent's own choice.
    #[serde(default)]
    pub scan_rate: Option<i32>,
    /// Seconds after which a scan is given up.
    #[serde(default = "default_scan_timeout")]
    pub scan_timeout: Option<i32>,
    /// Milliseconds to wait for an answer.
    #[serde(default = "default_port_timeout")]
    pub port_timeout: Option<i32>,
    /// Times an unanswered probe is sent again, 0-10.
    #[serde(default)]
    pub retries: Option<i16>,
    /// `masscan` or `nmap`; kept for OPM's agents.
    #[serde(default)]
    pub scanner_type: Option<String>,
    /// `tcp`, `udp` or `both`.
    #[serde(default)]
    pub scan_protocol: Option<String>,
    /// Whether services are identified.
    #[serde(default)]
    pub identify: Option<bool>,
    /// Whether SSH servers are audited.
    #[serde(default)]
    pub ssh_audit: Option<bool>,
    /// Whether TLS servers are asked for all versions they take and their JARM fingerprint: twelve connections more each.
    #[serde(default)]
    pub tls_audit: Option<bool>,
    /// Whether host discovery may be run.
    #[serde(default)]
    pub host_discovery_enabled: Option<bool>,
    /// Jobs a scan is cut into, 1-256.
    #[serde(default)]
    pub shards: Option<i16>,
    /// Which alert types are on.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub alert_config: Option<Value>,
    /// Zone of trust, as `dmz`.
    #[serde(default)]
    pub zone: Option<String>,
}

/// What to change of a network. A field left out stays as it is. `null` empties what can be empty (the
/// schedule, rate, time-outs, alert settings, zone, agent) and leaves the other fields as they are.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[expect(
    clippy::option_option,
    reason = "a field that is left out and one that is null mean different things"
)]
pub struct NetworkUpdate {
    /// Name, unique without regard to case.
    pub name: Option<String>,
    /// Block or address.
    pub cidr: Option<String>,
    /// Ports.
    pub port_spec: Option<String>,
    /// The agent that scans it.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i64>)]
    pub scanner_id: Option<Option<i64>>,
    /// Addresses, blocks and ranges that are never sent to.
    pub exclude: Option<Vec<String>>,
    /// Cron line.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub scan_schedule: Option<Option<String>>,
    /// The zone the schedule is meant in.
    pub time_zone: Option<String>,
    /// Packets per second.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>)]
    pub scan_rate: Option<Option<i32>>,
    /// Seconds after which a scan is given up.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>)]
    pub scan_timeout: Option<Option<i32>>,
    /// Milliseconds to wait for an answer.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>)]
    pub port_timeout: Option<Option<i32>>,
    /// Times an unanswered probe is sent again.
    pub retries: Option<i16>,
    /// `masscan` or `nmap`.
    pub scanner_type: Option<String>,
    /// `tcp`, `udp` or `both`.
    pub scan_protocol: Option<String>,
    /// Whether services are identified.
    pub identify: Option<bool>,
    /// Whether SSH servers are audited.
    pub ssh_audit: Option<bool>,
    /// Whether TLS servers are asked for all versions they take and their JARM fingerprint: twelve connections more each.
    pub tls_audit: Option<bool>,
    /// Whether host discovery may be run.
    pub host_discovery_enabled: Option<bool>,
    /// Jobs a scan is cut into.
    pub shards: Option<i16>,
    /// Which alert types are on.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<Object>)]
    pub alert_config: Option<Option<Value>>,
    /// Zone of trust.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub zone: Option<Option<String>>,
}

#[expect(clippy::unnecessary_wraps, reason = "serde's default must have the field's type")]
fn default_scan_timeout() -> Option<i32> {
    Some(3600)
}

#[expect(clippy::unnecessary_wraps, reason = "serde's default must have the field's type")]
fn default_port_timeout() -> Option<i32> {
    Some(1500)
}

impl NetworkCreate {
    /// The fields to store, or everything that is wrong with them.
    pub fn check(self, now: DateTime<Utc>) -> Result<NetworkFields, Problem> {
        let fields = NetworkFields {
            name: self.name,
            cidr: self.cidr,
            port_spec: self.port_spec,
            exclude: self.exclude,
            scanner_id: Some(self.scanner_id),
            scan_schedule: self.scan_schedule,
            time_zone: self.time_zone.unwrap_or_else(|| "UTC".to_owned()),
            next_run_at: None,
            scan_rate: self.scan_rate,
            scan_timeout: self.scan_timeout,
            port_timeout: self.port_timeout,
            retries: self.retries.unwrap_or(1),
            scanner_type: self.scanner_type.unwrap_or_else(|| "masscan".to_owned()),
            scan_protocol: self.scan_protocol.unwrap_or_else(|| "tcp".to_owned()),
            identify: self.identify.unwrap_or(true),
            ssh_audit: self.ssh_audit.unwrap_or(true),
            tls_audit: self.tls_audit.unwrap_or(true),
            host_discovery_enabled: self.host_discovery_enabled.unwrap_or(true),
            shards: self.shards.unwrap_or(1),
            alert_config: self.alert_config,
            zone: self.zone,
        };
        check(fields, now)
    }
}

impl NetworkUpdate {
    /// The network with the changes made, or everything that is wrong with them.
    pub fn apply(self, before: Network, now: DateTime<Utc>) -> Result<NetworkFields, Problem> {
        let fields = NetworkFields {
            name: self.name.unwrap_or(before.name),
            cidr: self.cidr.unwrap_or(before.cidr),
            port_spec: self.port_spec.unwrap_or(before.port_spec),
            exclude: self.exclude.unwrap_or(before.exclude),
            scanner_id: self.scanner_id.unwrap_or(before.scanner_id),
            scan_schedule: self.scan_schedule.unwrap_or(before.scan_schedule),
            time_zone: self.time_zone.unwrap_or(before.time_zone),
            next_run_at: before.next_run_at,
            scan_rate: self.scan_rate.unwrap_or(before.scan_rate),
            scan_timeout: self.scan_timeout.unwrap_or(before.scan_timeout),
            port_timeout: self.port_timeout.unwrap_or(before.port_timeout),
            retries: self.retries.unwrap_or(before.retries),
            scanner_type: self.scanner_type.unwrap_or(before.scanner_type),
            scan_protocol: self.scan_protocol.unwrap_or(before.scan_protocol),
            identify: self.identify.unwrap_or(before.identify),
            ssh_audit: self.ssh_audit.unwrap_or(before.ssh_audit),
            tls_audit: self.tls_audit.unwrap_or(before.tls_audit),
            host_discovery_enabled: self.host_discovery_enabled.unwrap_or(before.host_discovery_enabled),
            shards: self.shards.unwrap_or(before.shards),
            alert_config: self.alert_config.unwrap_or(before.alert_config),
            zone: self.zone.unwrap_or(before.zone),
        };
        check(fields, now)
    }
}

/// Checks every field, so that a form hears of all its mistakes at once.
fn check(fields: NetworkFields, now: DateTime<Utc>) -> Result<NetworkFields, Problem> {
    let mut errors = Errors::default();
    errors.0.extend(text_error("body", "name", &fields.name, 1, 255));
    let cidr = fields.cidr.trim().to_owned();
    errors.keep("cidr", &cidr, parse_network(&cidr));
    let port_spec = errors.keep("port_spec", &fields.port_spec, check_port_spec(&fields.port_spec));
    errors.0.extend(text_error("body", "port_spec", &fields.port_spec, 0, 1000));
    let exclude = check_exclude(&fields.exclude, &mut errors);
    let zone = errors.keep("time_zone", &fields.time_zone, parse_zone(&fields.time_zone));
    let schedule = fields.scan_schedule.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty());
    let next_run_at = schedule.as_deref().and_then(|line| {
        let parsed = errors.keep("scan_schedule", line, check_schedule(line));
        parsed.and_then(|line| line.next_after(now, zone?))
    });
    for (name, label, value) in [
        ("scan_rate", "Scan rate", fields.scan_rate),
        ("scan_timeout", "Scan timeout", fields.scan_timeout),
        ("port_timeout", "Port timeout", fields.port_timeout),
    ] {
        if value.is_some_and(|value| value <= 0) {
            errors.refuse(name, json!(value), format!("{label} must be greater than 0"));
        }
    }
    errors.between("retries", fields.retries, 0, 10);
    errors.between("shards", fields.shards, 1, 256);
    errors.one_of("scanner_type", &fields.scanner_type, &["masscan", "nmap"]);
    errors.one_of("scan_protocol", &fields.scan_protocol, &["tcp", "udp", "both"]);
    let alert_config = fields.alert_config.filter(|config| !config.is_null());
    if let Some(config) = &alert_config
        && (!config.is_object() || config.to_string().contains("\\u0000"))
    {
        errors.refuse("alert_config", config.clone(), "alert_config must be an object");
    }
    errors.0.extend(fields.zone.as_deref().and_then(|zone| text_error("body", "zone", zone, 0, 64)));
    errors.into_result()?;
    Ok(NetworkFields {
        cidr,
        port_spec: port_spec.unwrap_or(fields.port_spec),
        exclude,
        scan_schedule: schedule,
        next_run_at,
        alert_config,
        zone: fields.zone.map(|zone| zone.trim().to_owned()).filter(|zone| !zone.is_empty()),
        ..fields
    })
}

fn check_exclude(exclude: &[String], errors: &mut Errors) -> Vec<String> {
    if exclude.len() > 10_000 {
        errors.refuse("exclude", json!(exclude.len()), "at most 10000 exclusions");
        return Vec::new();
    }
    let trimmed = exclude.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let checked = trimmed.map(|text| match text.parse::<crate::input::AddressRange>() {
        Ok(_) => Ok(text),
        Err(_) => Err(text),
    });
    let (good, bad): (Vec<_>, Vec<_>) = checked.partition(Result::is_ok);
    for text in bad.into_iter().filter_map(Result::err) {
        errors.refuse("exclude", json!(text), "an exclusion is an address, a block or a range of addresses");
    }
    good.into_iter().filter_map(Result::ok).collect()
}

fn parse_zone(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| format!("{name:?} is not a time zone; use a name as Europe/Berlin, or UTC"))
}

fn check_schedule(line: &str) -> Result<CronLine, String> {
    if line.len() > 100 {
        return Err("a schedule has at most 100 characters".to_owned());
    }
    line.parse().map_err(|error| format!("Invalid cron format: {error}"))
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn refuse(&mut self, name: &str, input: Value, message: impl std::fmt::Display) {
        self.0.push(FieldError::value(&["body", name], message, input));
    }

    fn keep<T>(&mut self, name: &str, input: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.refuse(name, json!(input), message)).ok()
    }

    fn between(&mut self, name: &str, value: i16, least: i16, most: i16) {
        if !(least..=most).contains(&value) {
            self.refuse(name, json!(value), format!("{name} must be between {least} and {most}"));
        }
    }

    fn one_of(&mut self, name: &str, value: &str, choices: &[&str]) {
        if !choices.contains(&value) {
            let choices = choices.iter().map(|choice| format!("'{choice}'")).collect::<Vec<_>>().join(", ");
            self.refuse(name, json!(value), format!("Invalid {name}: must be one of ({choices})"));
        }
    }

    fn into_result(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::invalid(self.0)) }
    }
}
