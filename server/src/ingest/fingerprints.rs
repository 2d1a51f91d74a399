//! What a service shows that other places can show too: keys, certificates and ways of answering.
//!
//! Each is `kind:value`, as `ssh-key:SHA256:…`. They are stored in one indexed column of the port.

use portreeve_model::Service;

/// More than any honest service has.
const MAX_FINGERPRINTS: usize = 32;
/// The longest is a SHA-256 in hexadecimal; JARM has 62 digits.
const MAX_VALUE_BYTES: usize = 100;

/// Kinds whose value belongs to one machine or one owner: a place that shows the same is likely the same one.
pub const IDENTIFYING: [&str; 2] = ["cert", "ssh-key"];

/// The fingerprints of a service, each once, in a fixed order.
pub fn of(service: &Service) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |kind: &str, value: &str| {
        let sound =
            (1..=MAX_VALUE_BYTES).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic());
        if sound && found.len() < MAX_FINGERPRINTS {
            let fingerprint = format!("{kind}:{value}");
            if !found.contains(&fingerprint) {
                found.push(fingerprint);
            }
        }
    };
    if let Some(ssh) = &service.ssh {
        let keys = ssh.keys.iter().map(|key| &key.fingerprint);
        keys.chain(&ssh.host_keys).for_each(|key| add("ssh-key", key.as_str()));
        ssh.hassh.iter().for_each(|hassh| add("hassh", hassh));
    }
    if let Some(tls) = &service.tls {
        tls.certificates.first().into_iter().for_each(|leaf| add("cert", &leaf.sha256));
        tls.jarm.iter().for_each(|jarm| add("jarm", jarm));
        tls.ja3s.iter().for_each(|ja3s| add("ja3s", ja3s));
    }
    if let Some(favicon) = service.http.as_ref().and_then(|http| http.favicon_mmh3) {
        add("favicon", &favicon.to_string());
    }
    found
}

#[cfg(test)]
mod tests {
    use portreeve_model::{
        Endpoint, HttpInfo, SshAudit, SshHostKey, Timestamp, TlsCertificate, TlsInfo, Transport,
    };

    use super::*;

    fn service() -> Service {
        let address = "10.99.0.7".parse().expect("an address");
        Service::unrecognised(Endpoint { address, port: 22, transport: Transport::Tcp }, Timestamp(0))
    }

    #[test]
    fn what_a_service_shows_is_named_once() {
        let mut service = service();
        assert!(of(&service).is_empty());
        service.ssh = Some(SshAudit {
            hassh: Some("ab".repeat(16)),
            host_keys: vec!["SHA256:abc".into(), "SHA256:def".into()],
            keys: vec![SshHostKey { fingerprint: "SHA256:abc".into(), ..SshHostKey::default() }],
            ..SshAudit::default()
        });
        let certificate =
            |digit: &str| TlsCertificate { sha256: digit.repeat(64), ..TlsCertificate::default() };
        service.tls = Some(TlsInfo {
            jarm: Some("3".repeat(62)),
            certificates: vec![certificate("a"), certificate("b")],
            ..TlsInfo::default()
        });
        service.http = Some(HttpInfo { favicon_mmh3: Some(-7), ..HttpInfo::default() });
        let expected = [
            "ssh-key:SHA256:abc".to_owned(),
            "ssh-key:SHA256:def".to_owned(),
            format!("hassh:{}", "ab".repeat(16)),
            format!("cert:{}", "a".repeat(64)),
            format!("jarm:{}", "3".repeat(62)),
            "favicon:-7".to_owned(),
        ];
        assert_eq!(of(&service), expected);
    }

    #[test]
    fn what_a_hostile_agent_makes_up_is_bounded() {
        let mut service = service();
        let many = (0..1_000).map(|n| n.to_string().as_str().into());
        let odd = ["", "with a blank", "\0", &"x".repeat(101)].map(Into::into);
        service.ssh =
            Some(SshAudit { host_keys: odd.into_iter().chain(many).collect(), ..SshAudit::default() });
        let found = of(&service);
        assert_eq!((found.len(), found[0].as_str()), (MAX_FINGERPRINTS, "ssh-key:0"));
    }
}
