//! How serious an alert is. What its kind makes of it is stored with the alert; that it was acknowledged, or that
//! a global rule made later forbids the port, changes how it reads.

use serde::{Deserialize, Serialize};

use crate::alerts::AlertKind;

/// How serious an alert is, most serious first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something is open that a rule forbids.
    Critical,
    /// Something new or an invitation to attackers.
    High,
    /// Something to tidy up.
    Medium,
    /// Somebody has seen to it.
    Info,
}

impl Severity {
    /// The lower-case name used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Info => "info",
            Self::Medium => "medium",
        }
    }
}

/// The severity of an alert. `globally_blocked`: a global BLOCK rule matches its address and port.
pub const fn severity(kind: AlertKind, acknowledged: bool, globally_blocked: bool) -> Severity {
    if acknowledged {
        return Severity::Info;
    }
    if globally_blocked {
        return Severity::Critical;
    }
    match kind {
        AlertKind::Blocked => Severity::Critical,
        AlertKind::AgentOffline | AlertKind::NewPort | AlertKind::ScanFailed | AlertKind::ScanMissed => {
            Severity::High
        }
        AlertKind::SshConfigRegression | AlertKind::SshInsecureAuth => Severity::High,
        AlertKind::SuspiciousHost | AlertKind::TlsExpired => Severity::High,
        AlertKind::NotAllowed | AlertKind::SshOutdatedVersion => Severity::Medium,
        AlertKind::SshWeakCipher | AlertKind::SshWeakKex => Severity::Medium,
        AlertKind::SshWeakHostKey | AlertKind::SshWeakMac => Severity::Medium,
        AlertKind::TlsExpiring | AlertKind::TlsWeak => Severity::Medium,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_follows_the_documented_table() {
        let table = [
            (AlertKind::Blocked, Severity::Critical),
            (AlertKind::AgentOffline, Severity::High),
            (AlertKind::ScanFailed, Severity::High),
            (AlertKind::ScanMissed, Severity::High),
            (AlertKind::NewPort, Severity::High),
            (AlertKind::NotAllowed, Severity::Medium),
            (AlertKind::SshConfigRegression, Severity::High),
            (AlertKind::SshInsecureAuth, Severity::High),
            (AlertKind::SshOutdatedVersion, Severity::Medium),
            (AlertKind::SshWeakCipher, Severity::Medium),
            (AlertKind::SshWeakKex, Severity::Medium),
            (AlertKind::SshWeakHostKey, Severity::Medium),
            (AlertKind::SshWeakMac, Severity::Medium),
            (AlertKind::TlsExpired, Severity::High),
            (AlertKind::TlsExpiring, Severity::Medium),
            (AlertKind::TlsWeak, Severity::Medium),
        ];
        for (kind, expected) in table {
            assert_eq!(severity(kind, false, false), expected, "{kind}");
            assert_eq!(severity(kind, false, true), Severity::Critical, "{kind} under a BLOCK rule");
            assert_eq!(severity(kind, true, true), Severity::Info, "{kind} acknowledged");
        }
    }
}
