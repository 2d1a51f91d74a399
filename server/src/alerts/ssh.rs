//! What of an SSH server's offer alerts are about.

use std::{fmt, str::FromStr};

use crate::input::parse_version;

/// An OpenSSH version, as `9.2p1` or a user's `8.0.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SshVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl SshVersion {
    /// Older is outdated unless a user says otherwise.
    pub const DEFAULT_THRESHOLD: Self = Self { major: 8, minor: 0, patch: 0 };
}

impl fmt::Display for SshVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The text does not start with a version number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no version number; write it as 8.0 or 8.0.0")]
pub struct ParseSshVersionError;

impl FromStr for SshVersion {
    type Err = ParseSshVersionError;

    /// Reads `OpenSSH_9.2p1`, `SSH-9.2`, `9.2.1` or `9`. Other software's versions (`dropbear_2022.82`) cannot be
    /// compared with OpenSSH's and are refused.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor, patch) = parse_version(text).ok_or(ParseSshVersionError)?;
        Ok(Self { major, minor, patch })
    }
}

/// What an SSH server offered in one scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshFacts {
    /// Software version as the server says it, as `OpenSSH_9.2p1`.
    pub version: Option<String>,
    /// Password authentication is offered.
    pub password: bool,
    /// Keyboard-interactive authentication is offered.
    pub keyboard_interactive: bool,
    /// Names of weak encryption algorithms, in the server's order.
    pub weak_ciphers: Vec<String>,
    /// Names of weak key exchange algorithms, in the server's order.
    pub weak_kex: Vec<String>,
}

impl SshFacts {
    /// ` (SSH version)`, or nothing where the server did not say.
    fn version_note(&self) -> String {
        self.version.as_ref().map(|version| format!(" (SSH {version})")).unwrap_or_default()
    }

    /// The message of an `ssh_insecure_auth` alert, if it is due.
    pub(super) fn insecure_auth(&self, place: &str) -> Option<String> {
        let methods = [("password", self.password), ("keyboard-interactive", self.keyboard_interactive)];
        let methods: Vec<_> = methods.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
        (!methods.is_empty()).then(|| {
            let (methods, version) = (methods.join(", "), self.version_note());
            format!("SSH server allows insecure authentication methods: {methods}{version} on {place}")
        })
    }

    /// The message of an `ssh_weak_cipher` alert, if it is due.
    pub(super) fn weak_cipher(&self, place: &str) -> Option<String> {
        (!self.weak_ciphers.is_empty()).then(|| {
            let (names, version) = (self.weak_ciphers.join(", "), self.version_note());
            format!("SSH server supports weak ciphers: {names}{version} on {place}")
        })
    }

    /// The message of an `ssh_weak_kex` alert, if it is due.
    pub(super) fn weak_key_exchange(&self, place: &str) -> Option<String> {
        (!self.weak_kex.is_empty()).then(|| {
            let (names, version) = (self.weak_kex.join(", "), self.version_note());
            format!("SSH server supports weak key exchange algorithms: {names}{version} on {place}")
        })
    }

    /// The message of an `ssh_outdated_version` alert, if it is due.
    pub(super) fn outdated(&self, threshold: SshVersion, place: &str) -> Option<String> {
        let text = self.version.as_ref()?;
        let version: SshVersion = text.parse().ok()?;
        (version < threshold).then(|| {
            format!(
                "SSH server running outdated version: {text} (recommended minimum: {threshold}) on {place}"
            )
        })
    }

    /// The message of an `ssh_config_regression` alert, if the server is weaker than it was.
    pub(super) fn regression(&self, before: &Self, place: &str) -> Option<String> {
        let mut worse = Vec::new();
        if self.password && !before.password {
            worse.push("password authentication was enabled".to_owned());
        }
        if self.keyboard_interactive && !before.keyboard_interactive {
            worse.push("keyboard-interactive authentication was enabled".to_owned());
        }
        let mut added = |what: &str, now: &[String], then: &[String]| {
            let names: Vec<_> = now.iter().filter(|name| !then.contains(name)).map(String::as_str).collect();
            if !names.is_empty() {
                worse.push(format!("{what} added: {}", names.join(", ")));
            }
        };
        added("weak ciphers", &self.weak_ciphers, &before.weak_ciphers);
        added("weak KEX algorithms", &self.weak_kex, &before.weak_kex);
        (!worse.is_empty()).then(|| {
            let (worse, version) = (worse.join("; "), self.version_note());
            format!("SSH security regression detected{version} on {place}: {worse}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let version = |text: &str| text.parse::<SshVersion>().map(|version| version.to_string());
        assert_eq!(version("OpenSSH_9.6p1"), Ok("9.6.0".into()));
        assert_eq!(version("OpenSSH_8.10"), Ok("8.10.0".into()));
        assert_eq!(version("SSH-7.4.2"), Ok("7.4.2".into()));
        assert_eq!(version("9"), Ok("9.0.0".into()));
        for other in ["dropbear_2022.82", "", "banana", "OpenSSH_"] {
            assert_eq!(version(other), Err(ParseSshVersionError), "{other:?}");
        }
        assert!("8.10".parse::<SshVersion>().unwrap() > "8.9p1".parse().unwrap());
    }

    fn server(version: &str) -> SshFacts {
        SshFacts { version: Some(version.to_owned()), ..SshFacts::default() }
    }

    #[test]
    fn messages_read_as_documented() {
        let weak = SshFacts {
            password: true,
            keyboard_interactive: true,
            weak_ciphers: vec!["3des-cbc".into(), "arcfour".into()],
            weak_kex: vec!["diffie-hellman-group1-sha1".into()],
            ..server("OpenSSH_7.4")
        };
        let at = "192.0.2.7:22";
        assert_eq!(
            weak.insecure_auth(at).as_deref(),
            Some(
                "SSH server allows insecure authentication methods: password, keyboard-interactive (SSH OpenSSH_7.4) on 192.0.2.7:22"
            )
        );
        assert_eq!(
            weak.weak_cipher(at).as_deref(),
            Some("SSH server supports weak ciphers: 3des-cbc, arcfour (SSH OpenSSH_7.4) on 192.0.2.7:22")
        );
        assert_eq!(
            weak.weak_key_exchange(at).as_deref(),
            Some(
                "SSH server supports weak key exchange algorithms: diffie-hellman-group1-sha1 (SSH OpenSSH_7.4) on 192.0.2.7:22"
            )
        );
        assert_eq!(
            weak.outdated(SshVersion::DEFAULT_THRESHOLD, at).as_deref(),
            Some(
                "SSH server running outdated version: OpenSSH_7.4 (recommended minimum: 8.0.0) on 192.0.2.7:22"
            )
        );
        assert_eq!(
            weak.regression(&server("OpenSSH_7.4"), at).as_deref(),
            Some(
                "SSH security regression detected (SSH OpenSSH_7.4) on 192.0.2.7:22: password authentication was enabled; keyboard-interactive authentication was enabled; weak ciphers added: 3des-cbc, arcfour; weak KEX algorithms added: diffie-hellman-group1-sha1"
            )
        );
    }

    #[test]
    fn a_good_or_unchanged_server_raises_nothing() {
        let good = server("OpenSSH_9.6p1");
        assert_eq!(good.insecure_auth("x"), None);
        assert_eq!(good.weak_cipher("x"), None);
        assert_eq!(good.weak_key_exchange("x"), None);
        assert_eq!(good.outdated(SshVersion::DEFAULT_THRESHOLD, "x"), None);
        assert_eq!(server("dropbear_2022.82").outdated(SshVersion::DEFAULT_THRESHOLD, "x"), None);
        let weak = SshFacts { password: true, weak_ciphers: vec!["3des-cbc".into()], ..good.clone() };
        assert_eq!(weak.regression(&weak, "x"), None);
        assert_eq!(good.regression(&weak, "x"), None, "an improvement is no regression");
    }

    #[test]
    fn an_unknown_version_is_left_out_of_the_message() {
        let unnamed = SshFacts { password: true, ..SshFacts::default() };
        assert_eq!(
            unnamed.insecure_auth("h:22").as_deref(),
            Some("SSH server allows insecure authentication methods: password on h:22")
        );
    }
}
