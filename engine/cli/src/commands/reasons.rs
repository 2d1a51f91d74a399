//! What `identify` tells below its table: why it says what it says, and what else the service shows.

use std::fmt::{self, Display, Write};

use portreeve_model::{
    DeviceInfo, HttpInfo, NtlmInfo, SafeText, Service, SshAlgorithm, SshAudit, TlsCertificate, TlsInfo,
    Verdict,
};

/// A paragraph for an endpoint.
pub(super) struct Reasons<'a>(pub(super) &'a Service);

impl Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = self.0;
        match said_of(service.verdict) {
            Some(said) => writeln!(f, "{}: {said}", service.endpoint)?,
            None => writeln!(f, "{} (confidence {})", service.endpoint, service.confidence)?,
        }
        for evidence in &service.evidence {
            let entry = evidence.entry.as_ref().map(|entry| format!(" by {entry}")).unwrap_or_default();
            writeln!(f, "  {} from {}{entry}", evidence.field, evidence.source)?;
        }
        line(f, "cpe", &joined(&service.cpe))?;
        line(f, "banner", &text(service.banner.as_ref()))?;
        service.tls.iter().try_for_each(|shown| tls(f, shown))?;
        service.ssh.iter().try_for_each(|shown| ssh(f, shown))?;
        service.http.iter().try_for_each(|shown| http(f, shown))?;
        service.ntlm.iter().try_for_each(|shown| ntlm(f, shown))?;
        service.announced.iter().try_for_each(|shown| announced(f, shown))
    }
}

/// What there is to say of an endpoint that nothing is known of by name.
fn said_of(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::ClosedAfterAccept => Some("accepts and closes without a word"),
        Verdict::Identified => None,
        Verdict::NeedsClientCertificate => Some("TLS that wants a certificate of the client"),
        Verdict::NotProbed => Some("a port of printers or controllers; --allow-print-and-ot asks it"),
        Verdict::Silent => Some("accepts and says nothing to anything"),
        Verdict::SynProxy => Some("something in front of the host accepts for it"),
        Verdict::Tarpit => Some("a tarpit: endless or dripping output"),
        Verdict::Unreachable => Some("nobody takes connections there"),
        Verdict::Unrecognised => Some("it answers, and the database does not know the answer"),
    }
}

/// A line, if there is anything to say.
fn line(f: &mut fmt::Formatter<'_>, name: &str, said: &str) -> fmt::Result {
    if said.is_empty() { Ok(()) } else { writeln!(f, "  {name}: {said}") }
}

fn text(text: Option<&SafeText>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

fn joined(texts: &[SafeText]) -> String {
    texts.iter().map(SafeText::as_str).collect::<Vec<_>>().join(", ")
}

/// The named texts that are there, as `name value, name value`.
fn named(fields: &[(&str, &Option<SafeText>)]) -> String {
    let there = fields.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
    there.collect::<Vec<_>>().join(", ")
}

fn tls(f: &mut fmt::Formatter<'_>, tls: &TlsInfo) -> fmt::Result {
    let words = [Some(&tls.version), tls.cipher.as_ref(), tls.alpn.as_ref(), tls.error.as_ref()];
    let words = words.into_iter().flatten().map(SafeText::as_str).filter(|word| !word.is_empty());
    line(f, "tls", &words.collect::<Vec<_>>().join(", "))?;
    line(f, "tls versions", &joined(&tls.versions))?;
    line(f, "ja3s", tls.ja3s.as_deref().unwrap_or_default())?;
    line(f, "jarm", tls.jarm.as_deref().unwrap_or_default())?;
    for certificate in &tls.certificates {
        let state = match (certificate.expired, certificate.self_signed) {
            (true, true) => "; expired, self-signed",
            (true, false) => "; expired",
            (false, true) => "; self-signed",
            (false, false) => "",
        };
        let names = joined(&certificate.alternative_names);
        let names = if names.is_empty() { names } else { format!("; for {names}") };
        let TlsCertificate { subject, issuer, key, .. } = certificate;
        line(f, "certificate", &format!("{subject}; by {issuer}; {key}{names}{state}"))?;
    }
    Ok(())
}

fn ssh(f: &mut fmt::Formatter<'_>, ssh: &SshAudit) -> fmt::Result {
    line(f, "hassh", ssh.hassh.as_deref().unwrap_or_default())?;
    for key in &ssh.keys {
        let bits = key.bits.map(|bits| format!(" {bits}")).unwrap_or_default();
        line(f, "host key", &format!("{}{bits} {}{}", key.kind, key.fingerprint, because(&key.notes)))?;
    }
    line(f, "logs in by", &joined(ssh.auth_methods.as_deref().unwrap_or_default()))?;
    let weak = [&ssh.kex_algorithms, &ssh.ciphers, &ssh.mac_algorithms].into_iter().flatten();
    for SshAlgorithm { name, notes, .. } in weak.filter(|algorithm| algorithm.is_weak) {
        line(f, "weak", &format!("{name}{}", because(notes)))?;
    }
    Ok(())
}

fn because(notes: &[SafeText]) -> String {
    if notes.is_empty() { String::new() } else { format!(": {}", joined(notes)) }
}

fn http(f: &mut fmt::Formatter<'_>, http: &HttpInfo) -> fmt::Result {
    let mut said = http.status.to_string();
    let fields = [
        ("title", &http.title),
        ("server", &http.server),
        ("realm", &http.realm),
        ("leads to", &http.location),
    ];
    let fields = named(&fields);
    if !fields.is_empty() {
        let _ = write!(said, ", {fields}");
    }
    line(f, "http", &said)?;
    line(f, "technology", &joined(&http.technologies))?;
    line(f, "favicon", &http.favicon_mmh3.map(|hash| hash.to_string()).unwrap_or_default())
}

fn ntlm(f: &mut fmt::Formatter<'_>, ntlm: &NtlmInfo) -> fmt::Result {
    let fields = [
        ("build", &ntlm.build),
        ("name", &ntlm.netbios_name),
        ("domain", &ntlm.netbios_domain),
        ("in DNS", &ntlm.dns_name),
        ("forest", &ntlm.forest),
    ];
    line(f, "ntlm", &named(&fields))
}

fn announced(f: &mut fmt::Formatter<'_>, device: &DeviceInfo) -> fmt::Result {
    let fields = [
        ("name", &device.name),
        ("vendor", &device.vendor),
        ("model", &device.model),
        ("version", &device.version),
        ("serial", &device.serial),
        ("description", &device.description),
        ("location", &device.location),
    ];
    line(f, "announces", &named(&fields))?;
    line(f, "announces services", &joined(&device.services))
}

#[cfg(test)]
mod tests {
    use portreeve_model::{Endpoint, SshHostKey, Timestamp, Transport};

    use super::*;

    fn service() -> Service {
        let address = "10.99.0.2".parse().expect("address");
        let endpoint = Endpoint { address, port: 22, transport: Transport::Tcp };
        Service::unrecognised(endpoint, Timestamp(1))
    }

    #[test]
    fn what_has_no_name_is_told_in_words() {
        let silent = Service { verdict: Verdict::Silent, ..service() };
        assert_eq!(Reasons(&silent).to_string(), "10.99.0.2:22/tcp: accepts and says nothing to anything\n");
    }

    #[test]
    fn what_an_audit_was_asked_for_is_shown() {
        let weak = SshAlgorithm {
            name: "diffie-hellman-group1-sha1".into(),
            keysize: None,
            is_weak: true,
            notes: vec!["too short".into()],
        };
        let key = SshHostKey {
            kind: "ssh-rsa".into(),
            bits: Some(1024),
            fingerprint: "SHA256:x".into(),
            ..SshHostKey::default()
        };
        let ssh = SshAudit {
            kex_algorithms: vec![weak],
            keys: vec![key],
            auth_methods: Some(vec!["password".into(), "publickey".into()]),
            ..SshAudit::default()
        };
        let certificate = TlsCertificate {
            subject: "CN=pump".into(),
            issuer: "CN=works".into(),
            key: "RSA 1024".into(),
            alternative_names: vec!["pump.example".into()],
            expired: true,
            ..TlsCertificate::default()
        };
        let tls =
            TlsInfo { jarm: Some("2ad".to_owned()), certificates: vec![certificate], ..TlsInfo::default() };
        let shown = Service { ssh: Some(ssh), tls: Some(tls), verdict: Verdict::Identified, ..service() };
        let text = Reasons(&shown).to_string();
        for part in [
            "(confidence 0)\n",
            "  jarm: 2ad\n",
            "  certificate: CN=pump; by CN=works; RSA 1024; for pump.example; expired\n",
            "  host key: ssh-rsa 1024 SHA256:x\n",
            "  logs in by: password, publickey\n",
            "  weak: diffie-hellman-group1-sha1: too short\n",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
