//! What of an SSH server's offer alerts are about.

use std::{fmt, str::FromStr};

use portreeve_model::{SshAlgorithm, SshAudit};

use super::AlertKind;
use crate::{input::parse_version, policy::weakness::listed};

/// Weak algorithms kept of one kind; a server can list hundreds.
const MAX_NAMES: usize = 64;

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

impl From<&SshAudit> for SshFacts {
    fn from(audit: &SshAudit) -> Self {
        let weak = |algorithms: &[SshAlgorithm]| {
            algorithms.iter().filter(|one| one.is_weak).map(|one| one.name.to_string()).collect()
        };
        let offers = |name: &str| audit.auth_methods.iter().flatten().any(|method| method.as_str() == name);
        Self {
            version: (!audit.ssh_version.is_empty()).then(|| audit.ssh_version.to_string()),
            password: offers("password"),
            keyboard_interactive: offers("keyboard-interactive"),
            weak_ciphers: weak(&audit.ciphers),
            weak_kex: weak(&audit.kex_algorithms),
        }
    }
}

/// Something that is wrong with an SSH server's offer for as long as it is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshFault {
    /// The kind of its alert.
    pub kind: AlertKind,
    /// The alert's message, without the place.
    pub text: String,
    /// What of it there is, by name, where it can become more; a bounded number.
    pub names: Vec<String>,
}

impl SshFacts {
    /// ` (SSH version)`, or nothing where the server did not say.
    fn version_note(&self) -> String {
        self.version.as_ref().map(|version| format!(" (SSH {version})")).unwrap_or_default()
    }

    /// What is wrong with the offer. OpenSSH older than the threshold is outdated.
    pub fn faults(&self, threshold: SshVersion) -> Vec<SshFault> {
        let methods = [("password", self.password), ("keyboard-interactive", self.keyboard_interactive)];
        let methods: Vec<_> =
            methods.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned()).collect();
        let named = [
            (AlertKind::SshInsecureAuth, "allows insecure authentication methods", &methods),
            (AlertKind::SshWeakCipher, "supports weak ciphers", &self.weak_ciphers),
            (AlertKind::SshWeakKex, "supports weak key exchange algorithms", &self.weak_kex),
        ];
        let fault = |(kind, what, names): (AlertKind, &str, &Vec<String>)| SshFault {
            kind,
            text: format!("SSH server {what}: {}{}", listed(names), self.version_note()),
            names: names.iter().take(MAX_NAMES).cloned().collect(),
        };
        let named = named.into_iter().filter(|(.., names)| !names.is_empty()).map(fault);
        named.chain(self.outdated(threshold)).collect()
    }

    fn outdated(&self, threshold: SshVersion) -> Option<SshFault> {
        let text = self.version.as_ref()?;
        let version: SshVersion = text.parse().ok()?;
        (version < threshold).then(|| SshFault {
            kind: AlertKind::SshOutdatedVersion,
            text: format!("SSH server running outdated version: {text} (recommended minimum: {threshold})"),
            names: Vec::new(),
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

    fn texts(facts: &SshFacts) -> Vec<String> {
        facts.faults(SshVersion::DEFAULT_THRESHOLD).into_iter().map(|fault| fault.text).collect()
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
            texts(&weak),
            [
                "SSH server allows insecure authentication methods: password, keyboard-interactive (SSH OpenSSH_7.4)",
                "SSH server supports weak ciphers: 3des-cbc, arcfour (SSH OpenSSH_7.4)",
                "SSH server supports weak key exchange algorithms: diffie-hellman-group1-sha1 (SSH OpenSSH_7.4)",
                "SSH server running outdated version: OpenSSH_7.4 (recommended minimum: 8.0.0)",
            ]
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
        assert!(texts(&good).is_empty());
        assert!(texts(&server("dropbear_2022.82")).is_empty());
        let weak = SshFacts { password: true, weak_ciphers: vec!["3des-cbc".into()], ..good.clone() };
        assert_eq!(weak.regression(&weak, "x"), None);
        assert_eq!(good.regression(&weak, "x"), None, "an improvement is no regression");
    }

    #[test]
    fn an_unknown_version_is_left_out_of_the_message() {
        let unnamed = SshFacts { password: true, ..SshFacts::default() };
        assert_eq!(texts(&unnamed), ["SSH server allows insecure authentication methods: password"]);
    }

    #[test]
    fn what_a_server_lists_is_bounded() {
        let weak_kex = (0..1_000).map(|n| format!("sha1-{n}")).collect();
        let faults = SshFacts { weak_kex, ..SshFacts::default() }.faults(SshVersion::DEFAULT_THRESHOLD);
        assert_eq!((faults.len(), faults[0].names.len()), (1, MAX_NAMES));
        assert!(faults[0].text.ends_with("sha1-11, and 988 more"), "{}", faults[0].text);
    }
}
