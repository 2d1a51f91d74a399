//! Which alerts a network wants: its `alert_config`, a JSON object that users and importers write.

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
    /// A key exchange is weak.
    pub ssh_weak_kex: bool,
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
            ssh_weak_kex: false,
            ssh_outdated_version: false,
            ssh_config_regression: true,
            ssh_version_threshold: SshVersion::DEFAULT_THRESHOLD.to_string(),
        }
    }
}

impl SshAlertDefaults {
    fn wants(&self, kind: AlertKind) -> bool {
        match kind {
            AlertKind::SshInsecureAuth => self.ssh_insecure_auth,
            AlertKind::SshWeakCipher => self.ssh_weak_cipher,
            AlertKind::SshWeakKex => self.ssh_weak_kex,
            AlertKind::SshOutdatedVersion => self.ssh_outdated_version,
            AlertKind::SshConfigRegression => self.ssh_config_regression,
            AlertKind::AgentOffline
            | AlertKind::Blocked
            | AlertKind::NewPort
            | AlertKind::NotAllowed
            | AlertKind::ScanFailed
            | AlertKind::ScanMissed => false,
        }
    }
}

/// Which alert types are wanted, and the settings some of them need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertConfig {
    wanted: [bool; AlertKind::ALL.len()],
    /// OpenSSH older than this is outdated.
    pub ssh_version_threshold: SshVersion,
    /// The network has no settings of its own, so a port that is new everywhere is told once, not
    /// once more for its network.
    pub fold_new_ports: bool,
}

const PORT_KINDS: [AlertKind; 3] = [AlertKind::Blocked, AlertKind::NewPort, AlertKind::NotAllowed];

impl AlertConfig {
    /// Whether a kind is wanted.
    pub fn wants(&self, kind: AlertKind) -> bool {
        self.wanted[kind as usize]
    }

    /// Reads a network's settings.
    ///
    /// 1. no settings: the port kinds, and the SSH kinds that the defaults switch on;
    /// 2. any key is a kind's name: exactly the kinds whose value is true;
    /// 3. a list `enabled_types`: exactly those;
    /// 4. a list `disabled_types`: all but those;
    /// 5. anything else, as `{}`: the port kinds.
    pub fn resolve(network: Option<&Value>, ssh_defaults: &SshAlertDefaults) -> Self {
        let network = network.filter(|value| !value.is_null());
        let threshold = network
            .and_then(|settings| settings.get("ssh_version_threshold")?.as_str()?.parse().ok())
            .or_else(|| ssh_defaults.ssh_version_threshold.parse().ok())
            .unwrap_or(SshVersion::DEFAULT_THRESHOLD);
        let none = Self {
            wanted: [false; AlertKind::ALL.len()],
            ssh_version_threshold: threshold,
            fold_new_ports: network.is_none(),
        };
        let Some(network) = network else {
            return none.with(|kind| PORT_KINDS.contains(&kind) || ssh_defaults.wants(kind));
        };
        if AlertKind::ALL.iter().any(|kind| network.get(kind.as_str()).is_some()) {
            return none.with(|kind| flag(network, kind));
        }
        if let Some(Value::Array(enabled)) = network.get("enabled_types") {
            return none.with(|kind| enabled.iter().any(|name| name == kind.as_str()));
        }
        if let Some(Value::Array(disabled)) = network.get("disabled_types") {
            return none.with(|kind| !disabled.iter().any(|name| name == kind.as_str()));
        }
        none.with(|kind| PORT_KINDS.contains(&kind))
    }

    fn with(mut self, wanted: impl Fn(AlertKind) -> bool) -> Self {
        for kind in AlertKind::ALL {
            self.wanted[kind as usize] = wanted(kind);
        }
        self
    }
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
        wanted_with(network, &SshAlertDefaults::default())
    }

    fn wanted_with(network: Option<Value>, defaults: &SshAlertDefaults) -> Vec<&'static str> {
        let config = AlertConfig::resolve(network.as_ref(), defaults);
        AlertKind::ALL.into_iter().filter(|kind| config.wants(*kind)).map(AlertKind::as_str).collect()
    }

    const PORTS: [&str; 3] = ["blocked", "new_port", "not_allowed"];

    #[test]
    fn no_settings_mean_port_types_and_the_ssh_defaults() {
        let fresh = ["blocked", "new_port", "not_allowed", "ssh_config_regression", "ssh_insecure_auth"];
        assert_eq!(wanted(None), fresh);
        assert_eq!(wanted(Some(Value::Null)), fresh);
        let mut defaults = SshAlertDefaults {
            ssh_insecure_auth: false,
            ssh_config_regression: false,
            ..SshAlertDefaults::default()
        };
        assert_eq!(wanted_with(None, &defaults), PORTS);
        defaults.ssh_weak_kex = true;
        assert_eq!(wanted_with(None, &defaults), ["blocked", "new_port", "not_allowed", "ssh_weak_kex"]);
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
            let defaults = SshAlertDefaults {
                ssh_version_threshold: defaults.to_owned(),
                ..SshAlertDefaults::default()
            };
            AlertConfig::resolve(network.as_ref(), &defaults).ssh_version_threshold.to_string()
        };
        assert_eq!(threshold(Some(json!({"ssh_version_threshold": "7.4.1"})), "9.2"), "7.4.1");
        assert_eq!(threshold(None, "9.2"), "9.2.0");
        assert_eq!(threshold(Some(json!({"ssh_version_threshold": "banana"})), "9.2"), "9.2.0");
        assert_eq!(threshold(None, "banana"), "8.0.0");
    }
}
