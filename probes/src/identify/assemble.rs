//! Puts the result together.

use std::io::Cursor;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_model::{
    Alternative, Evidence, HttpInfo, NtlmInfo, SafeText, Service, SshAudit, Timestamp, Verdict,
};

use super::{conversation::Conversation, devices::describe, os_hint::os_hint};
use crate::{
    decode::{http::Response, windows::release},
    matcher::Choice,
};

/// A reading below this is no identification.
pub(super) const LEAST_SCORE: u8 = 60;
/// How sure a guess from the port alone is.
const GUESS: u8 = 10;
const MAX_BANNER: usize = 256;
const MAX_TECHNOLOGIES: usize = 16;

/// The result of a conversation; `usual` is the port's usual service.
pub(super) fn service(held: &Conversation<'_>, usual: Option<&str>) -> Service {
    let mut service = Service::unrecognised(held.endpoint, Timestamp::default());
    service.connections = held.connections;
    service.tls.clone_from(&held.tls);
    let now = (held.identifier.config.clock)();
    for certificate in service.tls.iter_mut().flat_map(|tls| &mut tls.certificates) {
        certificate.expired = certificate.not_after_ms < now;
    }
    if !held.first_words.is_empty() {
        service.banner = Some(SafeText::sanitize_to(&held.first_words, MAX_BANNER));
    }
    service.http = http(held);
    service.ssh = ssh(held);
    service.announced = describe(&held.fields);
    match &held.choice {
        Some(choice) => identified(&mut service, choice),
        None => unidentified(&mut service, held, usual),
    }
    if let Some(ntlm) = &held.ntlm {
        machine(&mut service, ntlm);
    }
    if service.os.is_none()
        && let Some(os) = held.hints.syn_ack.and_then(|traits| os_hint(&traits, held.hints.ttl))
    {
        service.os = Some(SafeText::from(os));
        let source = SafeText::from("layout of the SYN-ACK's options");
        service.evidence.push(Evidence { field: SafeText::from("os"), source, entry: None });
    }
    if let Some(archive) = &held.identifier.config.archive {
        archive.keep(&service, &held.fields, (held.identifier.config.clock)());
    }
    service
}

/// Adds what the NTLM challenge says of the machine, where nothing says it better.
fn machine(service: &mut Service, ntlm: &NtlmInfo) {
    let mut prove = |field: &str| {
        let source = SafeText::from("NTLM challenge");
        service.evidence.push(Evidence { field: SafeText::from(field), source, entry: None });
    };
    let release = ntlm.build.as_ref().and_then(|build| release(build.as_str()));
    let is_vague = service.os.as_ref().is_none_or(|os| os.as_str() == "Windows");
    if let Some(release) = release.filter(|_| is_vague) {
        service.os = Some(SafeText::from(release));
        prove("os");
    }
    if service.hostname.is_none() {
        service.hostname =
            ntlm.dns_name.clone().or_else(|| ntlm.netbios_name.clone()).filter(|name| !name.is_empty());
        if service.hostname.is_some() {
            prove("hostname");
        }
    }
    service.ntlm = Some(ntlm.clone());
}

/// The result for a port that policy forbids to talk to.
pub(super) fn not_probed(held: &Conversation<'_>, usual: Option<&str>) -> Service {
    let mut service = Service::unrecognised(held.endpoint, Timestamp::default());
    service.connections = held.connections;
    service.verdict = Verdict::NotProbed;
    service.alternatives = guess(usual);
    service
}

/// The result for a port of a host on which every port accepts and none says anything.
pub(super) fn hollow(held: &Conversation<'_>) -> Service {
    let mut service = service(held, None);
    if matches!(service.verdict, Verdict::ClosedAfterAccept | Verdict::Silent) {
        service.verdict = Verdict::SynProxy;
        let source =
            SafeText::from("every port of this host accepts and says nothing: a SYN proxy or a trap");
        service.evidence.push(Evidence { field: SafeText::from("verdict"), source, entry: None });
    }
    service
}

fn identified(service: &mut Service, choice: &Choice) {
    let best = &choice.best;
    let value = |field: &str| best.get(field).cloned();
    service.verdict = Verdict::Identified;
    service.name = Some(best.name.clone());
    service.product = value("product");
    service.vendor = value("vendor");
    service.version = value("version");
    service.revision = value("revision");
    service.info = value("info");
    service.hostname = value("hostname");
    service.os = value("os");
    service.device = value("device");
    service.cpe.clone_from(&best.cpe);
    service.confidence = best.score;
    service.evidence.clone_from(&choice.evidence);
    service.alternatives.clone_from(&choice.alternatives);
    if let Some(http) = &mut service.http {
        for product in &choice.stack {
            if http.technologies.len() < MAX_TECHNOLOGIES && !http.technologies.contains(product) {
                http.technologies.push(product.clone());
            }
        }
    }
}

fn unidentified(service: &mut Service, held: &Conversation<'_>, usual: Option<&str>) {
    let endings = &held.endings;
    let asked_for_certificate = held.tls.as_ref().is_some_and(|tls| tls.client_certificate_requested);
    if let Some(tls) = &held.tls {
        service.name = Some(SafeText::from("tls"));
        service.confidence = LEAST_SCORE;
        let source = SafeText::from(if tls.error.is_none() { "TLS handshake" } else { "TLS alert" });
        service.evidence.push(Evidence { field: SafeText::from("service"), source, entry: None });
    }
    service.verdict = if held.connections == 0 {
        Verdict::Unreachable
    } else if endings.endless + endings.dripping > 0 {
        Verdict::Tarpit
    } else if asked_for_certificate && held.fields.get("raw").is_none() {
        Verdict::NeedsClientCertificate
    } else if held.tls.is_some() {
        Verdict::Identified
    } else if !held.first_words.is_empty() {
        Verdict::Unrecognised
    } else if endings.closed > 0 && endings.silent == 0 {
        Verdict::ClosedAfterAccept
    } else {
        Verdict::Silent
    };
    service.alternatives = guess(usual);
}

fn guess(usual: Option<&str>) -> Vec<Alternative> {
    let guess = |name: &str| Alternative { name: SafeText::from(name), product: None, confidence: GUESS };
    usual.map(guess).into_iter().collect()
}

fn http(held: &Conversation<'_>) -> Option<HttpInfo> {
    let page = held.first_page.as_deref()?;
    let first = Response::parse(page)?;
    let text = |bytes: &[u8]| Some(SafeText::sanitize_to(bytes, 512)).filter(|text| !text.is_empty());
    let last = |name: &str| held.fields.get(name).and_then(text);
    let powered = first.header("x-powered-by").and_then(text);
    Some(HttpInfo {
        status: first.status,
        title: last("http.title"),
        server: first.header("server").and_then(text),
        location: first.header("location").and_then(text),
        realm: last("http.realm"),
        favicon_mmh3: held.favicon,
        redirects: held.redirects.clone(),
        servers: servers(held),
        technologies: powered.into_iter().collect(),
    })
}

/// Who says to have served or passed on the pages, each once.
fn servers(held: &Conversation<'_>) -> Vec<SafeText> {
    let mut servers = Vec::new();
    for value in held.fields.values().iter().filter(|v| matches!(&*v.name, "http.server" | "http.header.via"))
    {
        let text = SafeText::sanitize_to(&value.bytes, 256);
        if servers.len() < MAX_TECHNOLOGIES && !text.is_empty() && !servers.contains(&text) {
            servers.push(text);
        }
    }
    servers
}

fn ssh(held: &Conversation<'_>) -> Option<SshAudit> {
    let banner = held.fields.get("ssh.banner").filter(|_| held.identifier.config.ssh_audit)?;
    let mut audit = crate::decode::ssh_audit::audit(banner, &held.ssh_reply)?;
    audit.host_keys = held.ssh.keys.iter().map(|key| key.fingerprint.clone()).collect();
    audit.keys.clone_from(&held.ssh.keys);
    audit.auth_methods.clone_from(&held.ssh.methods);
    Some(audit)
}

/// MurmurHash3 of the base64 text in lines of 76, as search engines for devices compute it.
pub(super) fn favicon_hash(icon: &[u8]) -> i32 {
    let mut text = Vec::new();
    for line in STANDARD.encode(icon).as_bytes().chunks(76) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    // Reading from memory cannot fail.
    murmur3::murmur3_32(&mut Cursor::new(text), 0).unwrap_or_default() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn favicon_hash_wraps_lines_as_others_do() {
        // Worked out apart from this code: MurmurHash3 x86 32 of Python's `base64.encodebytes(bytes(range(100)))`.
        let icon: Vec<u8> = (0..100).collect();
        assert_eq!(favicon_hash(&icon), -1165240594);
        assert_eq!(favicon_hash(&[]), 0);
    }
}
