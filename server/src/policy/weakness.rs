//! What is wrong with a service by what it shows, whatever the rules say of its port.
//!
//! A pure function from the stored service and the time to findings, worst first. SSH findings are those that alerts
//! are made of (`alerts/ssh.rs`) and what those leave out; their severities are the alerts'.

use chrono::{DateTime, TimeDelta, Utc};
use portreeve_model::{Service, SshAlgorithm, SshAudit, TlsCertificate, TlsInfo};
use serde::{Deserialize, Serialize};

use super::severity::Severity;

/// A certificate that ends sooner than this is to be renewed now.
const SOON: TimeDelta = TimeDelta::days(30);
/// Versions that RFC 7568 and RFC 8996 forbid.
const FORBIDDEN_VERSIONS: [&str; 4] = ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"];
/// Names told of one kind, and those kept; a server can list hundreds.
const MAX_NAMES: usize = 12;
const MAX_KEPT: usize = 64;

/// What a weakness is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeaknessKind {
    /// SSH takes passwords.
    SshInsecureAuth,
    /// SSH offers weak encryption.
    SshWeakCipher,
    /// An SSH host key is too short or of an old kind.
    SshWeakHostKey,
    /// SSH offers weak key exchange.
    SshWeakKex,
    /// SSH offers weak message authentication.
    SshWeakMac,
    /// The certificate has run out.
    TlsExpired,
    /// The certificate runs out within 30 days.
    TlsExpiring,
    /// The certificate is not valid yet.
    TlsNotYetValid,
    /// The server agrees to a version of TLS that is forbidden.
    TlsOldVersion,
    /// The certificate vouches for itself.
    TlsSelfSigned,
    /// The certificate's key is too short or its signature of an old kind.
    TlsWeakCertificate,
}

/// Something wrong with a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Weakness {
    /// What it is about.
    pub kind: WeaknessKind,
    /// How serious.
    pub severity: Severity,
    /// A sentence for people; names in it are the host's own words.
    pub text: String,
    /// What of it there is, by name, where it can become more: algorithms, versions, keys. A bounded number.
    #[serde(skip)]
    pub names: Vec<String>,
}

/// What is wrong with a service, worst first.
pub fn of(service: &Service, now: DateTime<Utc>) -> Vec<Weakness> {
    of_parts(service.tls.as_ref(), service.ssh.as_ref(), now)
}

/// The same for the parts of a service that can be weak.
pub fn of_parts(tls: Option<&TlsInfo>, ssh: Option<&SshAudit>, now: DateTime<Utc>) -> Vec<Weakness> {
    let mut found = Vec::new();
    if let Some(ssh) = ssh {
        of_ssh(ssh, &mut found);
    }
    if let Some(tls) = tls {
        of_tls(tls, now, &mut found);
    }
    found.sort_by_key(|weakness| weakness.severity);
    found
}

fn of_ssh(ssh: &SshAudit, found: &mut Vec<Weakness>) {
    let methods = ssh.auth_methods.iter().flatten().map(|method| method.as_str());
    let guessable = methods.filter(|method| ["password", "keyboard-interactive"].contains(method));
    let weak = |algorithms: &[SshAlgorithm]| {
        let weak = algorithms.iter().filter(|algorithm| algorithm.is_weak);
        weak.map(|algorithm| algorithm.name.to_string()).collect::<Vec<_>>()
    };
    let keys = ssh.keys.iter().filter(|key| key.is_weak).map(|key| match key.bits {
        Some(bits) => format!("{} with {bits} bits", key.kind),
        None => key.kind.to_string(),
    });
    for (kind, severity, what, names) in [
        (
            WeaknessKind::SshInsecureAuth,
            Severity::High,
            "Takes sign-ins that can be guessed",
            guessable.map(str::to_owned).collect(),
        ),
        (WeaknessKind::SshWeakCipher, Severity::Medium, "Offers weak encryption", weak(&ssh.ciphers)),
        (WeaknessKind::SshWeakKex, Severity::Medium, "Offers weak key exchange", weak(&ssh.kex_algorithms)),
        (
            WeaknessKind::SshWeakMac,
            Severity::Medium,
            "Offers weak message authentication",
            weak(&ssh.mac_algorithms),
        ),
        (WeaknessKind::SshWeakHostKey, Severity::Medium, "Has a weak host key", keys.collect()),
    ] {
        if !names.is_empty() {
            found.push(named(kind, severity, what, names));
        }
    }
}

fn of_tls(tls: &TlsInfo, now: DateTime<Utc>, found: &mut Vec<Weakness>) {
    let versions = tls.versions.iter().chain([&tls.version]).map(|version| version.as_str());
    let mut old: Vec<_> = versions.filter(|version| FORBIDDEN_VERSIONS.contains(version)).collect();
    old.sort_unstable();
    old.dedup();
    if !old.is_empty() {
        let names = old.into_iter().map(str::to_owned).collect();
        let what = "Agrees to forbidden versions";
        found.push(named(WeaknessKind::TlsOldVersion, Severity::Medium, what, names));
    }
    if let Some(leaf) = tls.certificates.first() {
        of_certificate(leaf, now, found);
    }
}

fn of_certificate(leaf: &TlsCertificate, now: DateTime<Utc>, found: &mut Vec<Weakness>) {
    let mut add = |kind, severity, text| found.push(Weakness { kind, severity, text, names: Vec::new() });
    let now_ms = now.timestamp_millis();
    let (from, to) = (leaf.not_before_ms.0, leaf.not_after_ms.0);
    if to < now_ms {
        add(WeaknessKind::TlsExpired, Severity::High, format!("The certificate ran out on {}", day(to)));
    } else if to < now_ms.saturating_add(SOON.num_milliseconds()) {
        add(WeaknessKind::TlsExpiring, Severity::Medium, format!("The certificate runs out on {}", day(to)));
    }
    if from > now_ms {
        let text = format!("The certificate is not valid before {}", day(from));
        add(WeaknessKind::TlsNotYetValid, Severity::Medium, text);
    }
    let signature = leaf.signature.as_str().to_ascii_lowercase();
    let old_signature = ["md2", "md5", "sha1"].iter().any(|hash| signature.contains(hash));
    let short_key = rsa_bits(leaf.key.as_str()).is_some_and(|bits| bits < 2048);
    // A root's signature protects nothing, but a key that is too short does not do so either way.
    if short_key || (old_signature && !leaf.self_signed) {
        let text = format!("The certificate is weak: key {}, signature {}", leaf.key, leaf.signature);
        add(WeaknessKind::TlsWeakCertificate, Severity::Medium, text);
    }
    if leaf.self_signed {
        let text = "The certificate is self-signed: clients cannot tell who vouches for it".to_owned();
        add(WeaknessKind::TlsSelfSigned, Severity::Info, text);
    }
}

/// The day of a date out of a certificate; beyond the calendar it is as good as never.
pub fn day(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map_or("another age".to_owned(), |at| at.date_naive().to_string())
}

fn rsa_bits(key: &str) -> Option<u32> {
    key.strip_prefix("RSA ")?.parse().ok()
}

/// A weakness that consists of what has these names.
fn named(kind: WeaknessKind, severity: Severity, what: &str, mut names: Vec<String>) -> Weakness {
    let text = format!("{what}: {}", listed(&names));
    names.truncate(MAX_KEPT);
    Weakness { kind, severity, text, names }
}

/// Names for a sentence, the first of them where there are very many.
pub fn listed(names: &[String]) -> String {
    let first = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => first,
        more => format!("{first}, and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use portreeve_model::{Endpoint, SshHostKey, Timestamp, Transport};

    use super::*;

    fn service() -> Service {
        let address = "10.99.0.7".parse().expect("an address");
        Service::unrecognised(Endpoint { address, port: 443, transport: Transport::Tcp }, Timestamp(0))
    }

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-11-21T10:00:00Z").expect("a time").to_utc()
    }

    fn kinds(service: &Service) -> Vec<WeaknessKind> {
        of(service, now()).into_iter().map(|weakness| weakness.kind).collect()
    }

    fn with_certificate(leaf: TlsCertificate) -> Service {
        let mut service = service();
        service.tls =
            Some(TlsInfo { version: "TLSv1.3".into(), certificates: vec![leaf], ..TlsInfo::default() });
        service
    }

    fn sound() -> TlsCertificate {
        TlsCertificate {
            key: "RSA 2048".into(),
            signature: "sha256WithRSAEncryption".into(),
            not_before_ms: Timestamp(0),
            not_after_ms: Timestamp(i64::MAX),
            ..TlsCertificate::default()
        }
    }

    #[test]
    fn certificates_are_judged_by_the_clock() {
        let at = |days| Timestamp((now() + TimeDelta::days(days)).timestamp_millis());
        for (leaf, expected) in [
            (sound(), vec![]),
            (TlsCertificate { not_after_ms: at(-1), ..sound() }, vec![WeaknessKind::TlsExpired]),
            (TlsCertificate { not_after_ms: Timestamp(i64::MIN), ..sound() }, vec![WeaknessKind::TlsExpired]),
            (TlsCertificate { not_after_ms: at(29), ..sound() }, vec![WeaknessKind::TlsExpiring]),
            (TlsCertificate { not_after_ms: at(31), ..sound() }, vec![]),
            (TlsCertificate { not_before_ms: at(1), ..sound() }, vec![WeaknessKind::TlsNotYetValid]),
            (TlsCertificate { self_signed: true, ..sound() }, vec![WeaknessKind::TlsSelfSigned]),
            (TlsCertificate { key: "RSA 1024".into(), ..sound() }, vec![WeaknessKind::TlsWeakCertificate]),
            (
                TlsCertificate { signature: "sha1WithRSAEncryption".into(), ..sound() },
                vec![WeaknessKind::TlsWeakCertificate],
            ),
            (
                TlsCertificate { signature: "sha1WithRSAEncryption".into(), self_signed: true, ..sound() },
                vec![WeaknessKind::TlsSelfSigned],
            ),
        ] {
            assert_eq!(kinds(&with_certificate(leaf.clone())), expected, "{leaf:?}");
        }
    }

    #[test]
    fn forbidden_versions_are_named_once() {
        let mut service = with_certificate(sound());
        if let Some(tls) = &mut service.tls {
            tls.version = "TLSv1.1".into();
            tls.versions = ["SSLv3", "TLSv1.1", "TLSv1.2"].map(Into::into).to_vec();
        }
        let found = of(&service, now());
        assert_eq!(found[0].text, "Agrees to forbidden versions: SSLv3, TLSv1.1");
    }

    #[test]
    fn weak_ssh_is_told_worst_first_with_names() {
        let weak =
            |name: &str| SshAlgorithm { name: name.into(), keysize: None, is_weak: true, notes: Vec::new() };
        let mut service = service();
        service.ssh = Some(SshAudit {
            ciphers: vec![weak("3des-cbc"), SshAlgorithm { is_weak: false, ..weak("aes256-ctr") }],
            mac_algorithms: (0..20).map(|n| weak(&format!("hmac-md5-{n}"))).collect(),
            keys: vec![SshHostKey {
                kind: "ssh-rsa".into(),
                bits: Some(1024),
                is_weak: true,
                ..SshHostKey::default()
            }],
            auth_methods: Some(vec!["publickey".into(), "password".into()]),
            ..SshAudit::default()
        });
        let found = of(&service, now());
        let texts: Vec<_> = found.iter().map(|weakness| weakness.text.as_str()).collect();
        assert_eq!(texts[0], "Takes sign-ins that can be guessed: password");
        assert_eq!(texts[1], "Offers weak encryption: 3des-cbc");
        assert!(texts[2].ends_with("hmac-md5-11, and 8 more"), "{}", texts[2]);
        assert_eq!(texts[3], "Has a weak host key: ssh-rsa with 1024 bits");
        service.ssh = Some(SshAudit::default());
        assert!(kinds(&service).is_empty());
    }
}
