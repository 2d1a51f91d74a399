//! What changed between two audits of one SSH server.

use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::ToSchema;

use crate::input::parse_version;

/// The parts of an audit that are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshPosture {
    /// Logs in by public key.
    pub publickey: bool,
    /// Logs in by password.
    pub password: bool,
    /// Logs in by keyboard-interactive questions.
    pub keyboard_interactive: bool,
    /// Ciphers that current practice advises against.
    pub weak_ciphers: BTreeSet<String>,
    /// Key exchanges that current practice advises against.
    pub weak_kex: BTreeSet<String>,
    /// Software version, as `OpenSSH_9.2p1`.
    pub version: Option<String>,
}

/// One difference between an audit and the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SshConfigChange {
    /// The field that changed, as `password_enabled`.
    pub field: String,
    /// The change in words.
    pub description: String,
    /// The server is less safe than before.
    pub is_regression: bool,
}

/// How an audit compares with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SshChangeStatus {
    /// At least one change for the worse.
    Degraded,
    /// Changed, and nothing for the worse.
    Improved,
    /// Nothing that matters changed.
    Unchanged,
}

/// All differences, in a fixed order.
pub fn compare(before: &SshPosture, now: &SshPosture) -> Vec<SshConfigChange> {
    let mut changes = Vec::new();
    for (field, name, was, is, enabling_is_worse) in [
        ("password_enabled", "Password authentication", before.password, now.password, true),
        (
            "keyboard_interactive_enabled",
            "Keyboard-interactive authentication",
            before.keyboard_interactive,
            now.keyboard_interactive,
            true,
        ),
        ("publickey_enabled", "Public key authentication", before.publickey, now.publickey, false),
    ] {
        if was != is {
            changes.push(SshConfigChange {
                field: field.to_owned(),
                description: format!("{name} {}", if is { "enabled" } else { "disabled" }),
                is_regression: is == enabling_is_worse,
            });
        }
    }
    compare_weak("has_weak_ciphers", "Weak ciphers", &before.weak_ciphers, &now.weak_ciphers, &mut changes);
    compare_weak("has_weak_kex", "Weak key exchanges", &before.weak_kex, &now.weak_kex, &mut changes);
    compare_version(before.version.as_deref(), now.version.as_deref(), &mut changes);
    changes
}

/// What the differences amount to.
pub fn status(changes: &[SshConfigChange]) -> SshChangeStatus {
    if changes.iter().any(|change| change.is_regression) {
        SshChangeStatus::Degraded
    } else if changes.is_empty() {
        SshChangeStatus::Unchanged
    } else {
        SshChangeStatus::Improved
    }
}

fn compare_weak(
    field: &str,
    name: &str,
    before: &BTreeSet<String>,
    now: &BTreeSet<String>,
    changes: &mut Vec<SshConfigChange>,
) {
    for (verb, names, is_regression) in [
        ("added", now.difference(before).map(String::as_str).collect::<Vec<_>>(), true),
        ("removed", before.difference(now).map(String::as_str).collect(), false),
    ] {
        if !names.is_empty() {
            changes.push(SshConfigChange {
                field: field.to_owned(),
                description: format!("{name} {verb}: {}", names.join(", ")),
                is_regression,
            });
        }
    }
}

fn compare_version(before: Option<&str>, now: Option<&str>, changes: &mut Vec<SshConfigChange>) {
    let (Some(before), Some(now)) = (before, now) else { return };
    if before == now {
        return;
    }
    let older = match (parse_version(before), parse_version(now)) {
        (Some(before), Some(now)) => now < before,
        _ => false,
    };
    changes.push(SshConfigChange {
        field: "ssh_version".to_owned(),
        description: format!("SSH version changed from {before} to {now}"),
        is_regression: older,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posture(password: bool, weak: &[&str], version: &str) -> SshPosture {
        SshPosture {
            publickey: true,
            password,
            weak_ciphers: weak.iter().map(|&name| name.to_owned()).collect(),
            version: Some(version.to_owned()),
            ..SshPosture::default()
        }
    }

    #[test]
    fn the_same_posture_is_unchanged() {
        let changes = compare(
            &posture(true, &["3des-cbc"], "OpenSSH_9.6"),
            &posture(true, &["3des-cbc"], "OpenSSH_9.6"),
        );
        assert_eq!((changes.len(), status(&changes)), (0, SshChangeStatus::Unchanged));
    }

    #[test]
    fn one_change_for_the_worse_outweighs_improvements() {
        let changes =
            compare(&posture(false, &["3des-cbc"], "OpenSSH_7.4"), &posture(true, &[], "OpenSSH_9.6"));
        let told: Vec<_> = changes.iter().map(|c| (c.field.as_str(), c.is_regression)).collect();
        assert_eq!(told, [("password_enabled", true), ("has_weak_ciphers", false), ("ssh_version", false)]);
        assert_eq!(changes[1].description, "Weak ciphers removed: 3des-cbc");
        assert_eq!(status(&changes), SshChangeStatus::Degraded);
    }

    #[test]
    fn swapping_one_weak_cipher_for_another_is_a_regression() {
        let changes = compare(&posture(false, &["3des-cbc"], "x"), &posture(false, &["arcfour"], "x"));
        assert_eq!(changes.len(), 2);
        assert_eq!(status(&changes), SshChangeStatus::Degraded);
    }

    #[test]
    fn losing_public_keys_and_downgrades_are_regressions() {
        let mut now = posture(false, &[], "OpenSSH_8.0");
        now.publickey = false;
        let changes = compare(&posture(false, &[], "OpenSSH_9.6"), &now);
        assert!(changes.iter().all(|change| change.is_regression) && changes.len() == 2);
        let upgraded = compare(&posture(false, &[], "OpenSSH_8.0"), &posture(false, &[], "OpenSSH_9.6"));
        assert_eq!(status(&upgraded), SshChangeStatus::Improved);
    }
}
