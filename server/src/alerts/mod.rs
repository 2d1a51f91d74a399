//! Judges what a scan found by the user's policy.
//!
//! Pure rules: [`evaluate()`] takes what a scan found and changed, the rules, the network's alert settings
//! and the alerts that are still open, and says which alerts to raise. Reading those and writing
//! the alerts is [`crate::store`]'s business; who is told of them is the notifier's.
//!
//! | alert | raised when | scope |
//! |---|---|---|
//! | `new_port` | the port was never seen open on any network | global |
//! | `new_port` | the port was not open when the network was last looked at | network |
//! | `new_port` | a network's first scan found many ports: one alert for all ([`inventory`]) | network |
//! | `blocked` | a BLOCK rule of the network matches | network |
//! | `not_allowed` | the network has ALLOW rules about the host and none matches | network |
//! | `ssh_config_regression` | an SSH server's offer is weaker than before | network |
//! | other `ssh_*`, `tls_*` | what an open port shows is weak, old, or runs out ([`standing`]) | network |
//! | `suspicious_host` | a host answers on every port ([`suspicion`]) | network |
//! | `agent_offline`, `scan_failed`, `scan_missed` | what should be watched is not | network or installation |
//!
//! Who wins: a global ALLOW rule silences every port alert; a network's ALLOW rule silences `not_allowed`
//! alone; BLOCK and ALLOW rules of a network are judged separately, so that a port in both is `blocked`.
//! For each (scope, kind, address, port, transport) there is at most one unacknowledged alert.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub mod config;
pub mod coverage;
mod evaluate;
mod group;
mod inventory;
mod raise;
pub mod ssh;
pub mod standing;
pub mod suspicion;

use evaluate::place;
pub use evaluate::{AlertKey, Findings, NewAlert, PortFinding, Scope, SshFinding, evaluate};
pub use raise::{Uncovered, raise_coverage, raise_for_scan, raise_scan_failed, resolve_agent};

/// What an alert is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// An agent has not been heard of for a while.
    AgentOffline,
    /// A port is open that a BLOCK rule of its network forbids.
    Blocked,
    /// A port is open that was not before.
    NewPort,
    /// A port is open that is not in its network's allowlist.
    NotAllowed,
    /// A scheduled scan ended in an error.
    ScanFailed,
    /// A network was not scanned when its schedule wanted it.
    ScanMissed,
    /// An SSH server's settings became weaker.
    SshConfigRegression,
    /// An SSH server takes passwords.
    SshInsecureAuth,
    /// An SSH server runs old software.
    SshOutdatedVersion,
    /// An SSH server offers weak encryption.
    SshWeakCipher,
    /// An SSH server's own key is weak.
    SshWeakHostKey,
    /// An SSH server offers weak key exchange.
    SshWeakKex,
    /// An SSH server offers weak message authentication.
    SshWeakMac,
    /// A host answers on every port, so that its open ports mean nothing.
    SuspiciousHost,
    /// A certificate has run out.
    TlsExpired,
    /// A certificate runs out soon.
    TlsExpiring,
    /// A TLS server takes forbidden versions, or its certificate is weak.
    TlsWeak,
}

impl AlertKind {
    /// Every type.
    pub const ALL: [Self; 17] = [
        Self::AgentOffline,
        Self::Blocked,
        Self::NewPort,
        Self::NotAllowed,
        Self::ScanFailed,
        Self::ScanMissed,
        Self::SshConfigRegression,
        Self::SshInsecureAuth,
        Self::SshOutdatedVersion,
        Self::SshWeakCipher,
        Self::SshWeakHostKey,
        Self::SshWeakKex,
        Self::SshWeakMac,
        Self::SuspiciousHost,
        Self::TlsExpired,
        Self::TlsExpiring,
        Self::TlsWeak,
    ];

    /// The name used in the API, in the database and in alert settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentOffline => "agent_offline",
            Self::Blocked => "blocked",
            Self::NewPort => "new_port",
            Self::NotAllowed => "not_allowed",
            Self::ScanFailed => "scan_failed",
            Self::ScanMissed => "scan_missed",
            Self::SshConfigRegression => "ssh_config_regression",
            Self::SshInsecureAuth => "ssh_insecure_auth",
            Self::SshOutdatedVersion => "ssh_outdated_version",
            Self::SshWeakCipher => "ssh_weak_cipher",
            Self::SshWeakHostKey => "ssh_weak_host_key",
            Self::SshWeakKex => "ssh_weak_kex",
            Self::SshWeakMac => "ssh_weak_mac",
            Self::SuspiciousHost => "suspicious_host",
            Self::TlsExpired => "tls_expired",
            Self::TlsExpiring => "tls_expiring",
            Self::TlsWeak => "tls_weak",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AlertKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("unknown alert type {text:?}"))
    }
}
