//! Which alerts a network wants: its `alert_config`, a JSON object that users and importers write.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AlertKind, ssh::SshVersion};

/// Which SSH findings raise alerts in networks that have no alert settings of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct SshAlertDefaults {
    /// Passwords or keyboard-interactive log-ins are taken.
    pub ssh_insecure_auth: bool,
    /// A cipher is weak.
    pub ssh_weak_cipher: bool,
    /// A host key is weak.
    pub ssh_weak_host_key: bool,
    /// A key exchange is weak.
    pub ssh_weak_kex: bool,
    /// A message authentication is weak.
    pub ssh_weak_mac: bool,
    /// The software is older than the threshold.
    pub ssh_outdated_version: bool,
    /// The settings became weaker than before.
    pub ssh_config_regression: bool,
    /// Older OpenSSH is outdated.
    pub ssh_version_threshold: String,
}

impl Default for SshAlertDefaults {
    fn default() -> Self {
        Self {
            ssh_insecure_auth: true,
            ssh_weak_cipher: false,
            ssh_weak_host_key: false,
            ssh_weak_kex: false,
            ssh_weak_mac: false,
            ssh_outdated_version: false,
            ssh_config_regression: true,
            ssh_version_threshold: SshVersion::DEFAULT_THRESHOLD.to_string(),
        }
    }
}

/// Which TLS findings raise alerts in networks that have no alert settings of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct TlsAlertDefaults {
    /// A certificate has run out.
    pub tls_expired: bool,
    /// A certificate runs out within one of the days below.
    pub tls_expiring: bool,
    /// Days before a certificate's end, each 1-365, at most ten: it is told once at each.
    pub tls_expiring_days: Vec<u16>,
    /// A server takes forbidden versions of TLS, or its certificate is weak.
    pub tls_weak: bool,
}

impl Default for TlsAlertDefaults {
    fn default() -> Self {
        Self { tls_expired: true, tls_expiring: true, tls_expiring_days: vec![30, 7, 1], tls_weak: true }
    }
}

/// What networks that have no alert settings of their own want beside the port kinds.
#[derive(Clone, Debug, Default)]
pub struct AlertDefaults {
    /// Of SSH.
    pub ssh: SshAlertDefaults,
    /// Of TLS.
    pub tls: TlsAlertDefaults,
}

impl AlertDefaults {
    fn wants(&self, kind: AlertKind) -> bool {
        match kind {
            AlertKind::SshInsecureAuth => self.ssh.ssh_insecure_auth,
            AlertKind::SshWeakCipher => self.ssh.ssh_weak_cipher,
            AlertKind::SshWeakHostKey => self.ssh.ssh_weak_host_key,
            AlertKind::SshWeakKex => self.ssh.ssh_weak_kex,
            AlertKind::SshWeakMac => self.ssh.ssh_weak_mac,
            AlertKind::SshOutdatedVersion => self.ssh.ssh_outdated_version,
            AlertKind::SshConfigRegression => self.ssh.ssh_config_regression,
            AlertKind::TlsExpired => self.tls.tls_expired,
            AlertKind::TlsExpiring => self.tls.tls_expiring,
            AlertKind::TlsWeak => self.tls.tls_weak,
            AlertKind::AgentOffline
            | AlertKind::Blocked
            | AlertKind::NewPort
            | AlertKind::NotAllowed
            | AlertKind::ScanFailed
            | AlertKind::ScanMissed
            | AlertKind::SuspiciousHost => false,
        }
    }
}

/// The earliest that anyone can be told of a certificate's end.
pub const MAX_EXPIRING_DAYS: u16 = 365;
/// Times at most that a certificate's end is told.
pub const MAX_EXPIRING_TIMES: usize = 10;

/// Which alert types are wanted, and the settings some of them need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertConfig {
    wanted: [bool; AlertKind::ALL.len()],
    /// OpenSSH older than this is outdated.
    pub ssh_version_threshold: SshVersion,
    /// Days before a certificate's end, fewest first.
    expiring_days: Vec<u16>,
    /// The network has no settings of its own, so a port that is new everywhere is told once, not
    /// once more for its network.
    pub fold_new_ports: bool,
}

/// What is told of open ports: of a suspicious host, that it is one instead.
const PORT_KINDS: [AlertKind; 4] =
    [AlertKind::Blocked, AlertKind::NewPort, AlertKind::NotAllowed, AlertKind::SuspiciousHost];

impl AlertConfig {
    /// Whether a kind is wanted.
    pub fn wants(&self, kind: AlertKind) -> bool {
        self.wanted[kind as usize]
    }

    /// The nearest of the days before its end that a certificate has come to, if it has not ended.
    pub fn expiring_within(&self, not_after_ms: i64, now: DateTime<Utc>) -> Option<u16> {
        let left = not_after_ms.saturating_sub(now.timestamp_millis());
        let days = |days: u16| TimeDelta::days(i64::from(days)).num_milliseconds();
        self.expiring_days.iter().copied().find(|within| (0..=days(*within)).contains(&left))
    }

    /// Reads a network's settings.
    ///
    /// 1. no settings: the port kinds, and the SSH and TLS kinds that the defaults switch on;
    /// 2. any key is a kind's name: exactly the kinds whose value is true;
    /// 3. a list `enabled_types`: exactly those;
    /// 4. a list `disabled_types`: all but those;
    /// 5. anything else, as `{}`: the port kinds.
    pub fn resolve(network: Option<&Value>, defaults: &AlertDefaults) -> Self {
        let network = network.filter(|value| !value.is_null());
        let threshold = network
            .and_then(|settings| settings.get("ssh_version_threshold")?.as_str()?.parse().ok())
            .or_else(|| defaults.ssh.ssh_version_threshold.parse().ok())
            .unwrap_or(SshVersion::DEFAULT_THRESHOLD);
        let none = Self {
            wanted: [false; AlertKind::ALL.len()],
            ssh_version_threshold: threshold,
            expiring_days: expiring_days(network, &defaults.tls),
            fold_new_ports: network.is_none(),
        };
        let Some(network) = network else {
            return none.with(|kind| PORT_KINDS.contains(&kind) || defaults.wants(kind));
        };
        if AlertKind::ALL.iter().any(|kind| network.get(kind.as_str()).is_some()) {
            let names_it = network.get(AlertKind::SuspiciousHost.as_str()).is_some();
            let flagged = none.with(|kind| flag(network, kind));
            return if names_it { flagged } else { flagged.with_suspicion() };
        }
        if let Some(Value::Array(enabled)) = network.get("enabled_types") {
            return none.with(|kind| enabled.iter().any(|name| name == kind.as_str())).with_suspicion();
        }
        if let Some(Value::Array(disabled)) = network.get("disabled_types") {
            return none.with(|kind| !disabled.iter().any(|name| name == kind.as_str()));
        }
        none.with(|kind| PORT_KINDS.contains(&kind))
    }

    /// Settings that name what they want were often written before there was this kind: who wants to hear of new ports
    /// hears of the host on which they mean nothing.
    fn with_suspicion(mut self) -> Self {
        self.wanted[AlertKind::SuspiciousHost as usize] |= self.wants(AlertKind::NewPort);
        self
    }

    fn with(mut self, wanted: impl Fn(AlertKind) -> bool) -> Self {
        for kind in AlertKind::ALL {
            self.wanted[kind as usize] = wanted(kind);
        }
        self
    }
}

/// The days a network names, or the default ones; what is out of bounds is left out.
fn expiring_days(network: Option<&Value>, defaults: &TlsAlertDefaults) -> Vec<u16> {
    let own = network.and_then(|settings| settings.get("tls_expiring_days")?.as_array());
    let own = own.map(|days| days.iter().filter_map(|day| u16::try_from(day.as_u64()?).ok()).collect());
    let mut days: Vec<u16> = own.unwrap_or_else(|| defaults.tls_expiring_days.clone());
    days.retain(|day| (1..=MAX_EXPIRING_DAYS).contains(day));
    days.sort_unstable();
    days.dedup();
    days.truncate(MAX_EXPIRING_TIMES);
    days
}

/// Whether the key of that name holds something true, in the generous sense that settings written by
/// other software need: anything but false, null, 0 and what is empty.
fn flag(settings: &Value, kind: AlertKind) -> bool {
    match settings.get(kind.as_str()) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(Value::Number(value)) => value.as_f64() != Some(0.0),
        Some(Value::String(value)) => !value.is_empty(),
        Some(Value::Array(value)) => !value.is_empty(),
        Some(Value::Object(value)) => !value.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted(network: Option<Value>) -> Vec<&'static str> {
        wanted_with(network, &AlertDefaults::default())
    }

    fn wanted_with(network: Option<Value>, defaults: &AlertDefaults) -> Vec<&'static str> {
        let config = AlertConfig::resolve(network.as_ref(), defaults);
        AlertKind::ALL.into_iter().filter(|kind| config.wants(*kind)).map(AlertKind::as_str).collect()
    }

    const PORTS: [&str; 4] = ["blocked", "new_port", "not_allowed", "suspicious_host"];

    #[test]
    fn no_settings_mean_port_types_and_the_defaults() {
        let fresh = [
            "blocked",
            "new_port",
            "not_allowed",
            "ssh_config_regression",
            "ssh_insecure_auth",
            "suspicious_host",
            "tls_expired",
            "tls_expiring",
            "tls_weak",
        ];
        assert_eq!(wanted(None), fresh);
        assert_eq!(wanted(Some(Value::Null)), fresh);
        let mut defaults = AlertDefaults::default();
        (defaults.ssh.ssh_insecure_auth, defaults.ssh.ssh_config_regression) = (false, false);
        (defaults.tls.tls_expired, defaults.tls.tls_expiring, defaults.tls.tls_weak) = (false, false, false);
        assert_eq!(wanted_with(None, &defaults), PORTS);
        defaults.ssh.ssh_weak_kex = true;
        assert_eq!(
            wanted_with(None, &defaults),
            ["blocked", "new_port", "not_allowed", "ssh_weak_kex", "suspicious_host"]
        );
    }

    #[test]
    fn an_empty_object_means_the_port_types() {
        assert_eq!(wanted(Some(json!({}))), PORTS);
        assert_eq!(wanted(Some(json!({"email_recipients": "a@example.org"}))), PORTS);
    }

    #[test]
    fn flags_by_name_are_exact() {
        let flags = json!({"blocked": 1, "new_port": 0, "ssh_weak_kex": "yes", "ssh_weak_cipher": "",
            "enabled_types": ["not_allowed"]});
        assert_eq!(wanted(Some(flags)), ["blocked", "ssh_weak_kex"]);
        assert!(wanted(Some(json!({"ssh_insecure_auth": false}))).is_empty());
    }

    #[test]
    fn who_wants_new_ports_hears_of_hosts_on_which_they_mean_nothing() {
        assert_eq!(wanted(Some(json!({"new_port": true}))), ["new_port", "suspicious_host"]);
        assert_eq!(wanted(Some(json!({"enabled_types": ["new_port"]}))), ["new_port", "suspicious_host"]);
        assert_eq!(wanted(Some(json!({"new_port": true, "suspicious_host": false}))), ["new_port"]);
    }

    #[test]
    fn lists_enable_or_disable() {
        assert_eq!(wanted(Some(json!({"enabled_types": ["blocked", "nonsense", 7]}))), ["blocked"]);
        let rest = wanted(Some(json!({"disabled_types": ["new_port", "ssh_weak_kex"]})));
        assert_eq!(rest.len(), AlertKind::ALL.len() - 2);
        assert!(!rest.contains(&"new_port"));
        assert_eq!(wanted(Some(json!({"enabled_types": "blocked"}))), PORTS);
    }

    #[test]
    fn the_networks_threshold_goes_before_the_global_one() {
        let threshold = |network: Option<Value>, defaults: &str| {
            let ssh = SshAlertDefaults {
                ssh_version_threshold: defaults.to_owned(),
                ..SshAlertDefaults::default()
            };
            let defaults = AlertDefaults { ssh, ..AlertDefaults::default() };
            AlertConfig::resolve(network.as_ref(), &defaults).ssh_version_threshold.to_string()
        };
        assert_eq!(threshold(Some(json!({"ssh_version_threshold": "7.4.1"})), "9.2"), "7.4.1");
        assert_eq!(threshold(None, "9.2"), "9.2.0");
        assert_eq!(threshold(Some(json!({"ssh_version_threshold": "banana"})), "9.2"), "9.2.0");
        assert_eq!(threshold(None, "banana"), "8.0.0");
    }

    #[test]
    fn a_certificates_end_is_told_at_the_nearest_day() {
        let now = DateTime::from_timestamp(1_767_225_600, 0).expect("a date");
        let within = |network: Value, left: TimeDelta| {
            let config = AlertConfig::resolve(Some(&network), &AlertDefaults::default());
            config.expiring_within((now + left).timestamp_millis(), now)
        };
        let days = TimeDelta::days;
        let table =
            [(31, None), (30, Some(30)), (8, Some(30)), (7, Some(7)), (1, Some(1)), (0, Some(1)), (-1, None)];
        for (left, expected) in table {
            assert_eq!(within(json!({}), days(left)), expected, "{left}");
        }
        let own = json!({"tls_expiring_days": [90, 0, -3, "x", 14, 400, 14]});
        assert_eq!((within(own.clone(), days(60)), within(own, days(3))), (Some(90), Some(14)));
        assert_eq!(within(json!({"tls_expiring_days": []}), days(3)), None);
        let never = AlertConfig::resolve(None, &AlertDefaults::default());
        assert_eq!(
            (never.expiring_within(i64::MAX, now), never.expiring_within(i64::MIN, now)),
            (None, None)
        );
    }
}
