//! Judges what an SSH server offers.

use portreeve_model::{SafeText, SshAlgorithm, SshAudit};

use super::ssh::{identification, offer};

/// Announces strict key exchange, OpenSSH's answer to the Terrapin attack.
const STRICT: &str = "kex-strict-s-v00@openssh.com";

/// The audit of a server that said `banner`; `replies` begins with its KEXINIT, its identification
/// before that or not. `None` if it offered nothing readable.
pub(crate) fn audit(banner: &[u8], replies: &[u8]) -> Option<SshAudit> {
    let packets = identification(replies).map_or(replies, |(_, rest)| rest);
    let offer = offer(packets)?;
    let text = |bytes: &[u8]| SafeText::sanitize_to(bytes, 255);
    let mut parts = banner.splitn(3, |&byte| byte == b'-').skip(1);
    let protocol = parts.next().unwrap_or_default();
    let software = parts.next().unwrap_or_default().split(|&byte| byte == b' ').next().unwrap_or_default();
    let judged = |names: &[String], judge: fn(&str) -> Vec<&'static str>| {
        names.iter().filter(|name| !is_signal(name)).map(|name| algorithm(name, judge)).collect()
    };
    let mut ciphers: Vec<SshAlgorithm> = judged(&offer.ciphers, weak_cipher);
    if !offer.kex.iter().any(|name| name == STRICT) {
        for cipher in ciphers.iter_mut().filter(|cipher| cipher.name.as_str().starts_with("chacha20")) {
            cipher.is_weak = true;
            cipher.notes.push(SafeText::from(
                "[FAIL] packets can be cut away unnoticed without strict key exchange (CVE-2023-48795)",
            ));
        }
    }
    Some(SshAudit {
        server_banner: text(banner),
        protocol_version: text(protocol),
        ssh_version: text(software),
        ciphers,
        kex_algorithms: judged(&offer.kex, weak_kex),
        mac_algorithms: judged(&offer.macs, weak_mac),
        host_key_types: offer.host_keys.iter().map(|name| text(name.as_bytes())).collect(),
        hassh: Some(offer.hassh()),
        host_keys: Vec::new(),
        keys: Vec::new(),
        auth_methods: None,
    })
}

fn algorithm(name: &str, judge: fn(&str) -> Vec<&'static str>) -> SshAlgorithm {
    let reasons = judge(name);
    SshAlgorithm {
        name: SafeText::sanitize_to(name.as_bytes(), 64),
        keysize: key_size(name),
        is_weak: !reasons.is_empty(),
        notes: reasons.into_iter().map(|reason| SafeText::from(format!("[FAIL] {reason}"))).collect(),
    }
}

/// Names in the key exchange list that announce an ability and are no algorithm (RFC 8308, and
/// OpenSSH's strict key exchange).
fn is_signal(name: &str) -> bool {
    name.starts_with("ext-info-") || name.starts_with("kex-strict-")
}

fn weak_cipher(name: &str) -> Vec<&'static str> {
    let name = name.to_ascii_lowercase();
    let mut reasons = Vec::new();
    if name == "none" {
        reasons.push("does not encrypt");
    }
    if name.contains("arcfour") || name.contains("rc4") {
        reasons.push("RC4 is broken (RFC 8758)");
    } else if name.contains("3des") || name.contains("des-") {
        reasons.push("DES and its 64-bit blocks are too small (CVE-2016-2183)");
    } else if name.contains("blowfish") || name.contains("cast128") {
        reasons.push("64-bit blocks are too small (CVE-2016-2183)");
    }
    if name.ends_with("-cbc") || name.contains("-cbc@") {
        reasons.push("CBC mode leaks plaintext in SSH (CVE-2008-5161)");
    }
    reasons
}

fn weak_kex(name: &str) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    if name.contains("group1-") {
        reasons.push("a 1024-bit group can be broken by states (RFC 9142)");
    }
    if name.ends_with("sha1") || name.contains("sha1-") {
        reasons.push("SHA-1 is broken (RFC 9142)");
    }
    if name.starts_with("ecdh-sha2-nistp") {
        reasons.push("the origin of the NIST curves' parameters is not explained");
    }
    reasons
}

fn weak_mac(name: &str) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    if name == "none" {
        reasons.push("does not protect integrity");
    }
    if name.contains("md5") {
        reasons.push("MD5 is broken (RFC 6151)");
    }
    if name.contains("sha1") {
        reasons.push("SHA-1 is broken (RFC 9142)");
    }
    if name.contains("ripemd160") {
        reasons.push("RIPEMD-160 is out of use and its output is short");
    }
    if name.starts_with("umac-64") || name.ends_with("-96") || name.contains("-96-") {
        reasons.push("a tag below 128 bits is too short");
    }
    reasons
}

/// The key's size where the name tells it: `aes256-ctr`, `aes128-gcm@openssh.com`.
fn key_size(name: &str) -> Option<u32> {
    if name.starts_with("chacha20") {
        return Some(256);
    }
    if name.starts_with("3des") {
        return Some(168);
    }
    [128, 192, 256].into_iter().find(|size| {
        ["aes", "camellia", "twofish", "serpent"]
            .iter()
            .any(|cipher| name.starts_with(&format!("{cipher}{size}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_algorithms_are_told_from_sound_ones() {
        for name in [
            "aes128-cbc",
            "3des-cbc",
            "arcfour256",
            "blowfish-cbc",
            "cast128-cbc",
            "rijndael-cbc@lysator.liu.se",
        ] {
            assert!(!weak_cipher(name).is_empty(), "{name}");
        }
        for name in ["aes256-ctr", "chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com"] {
            assert!(weak_cipher(name).is_empty(), "{name}");
        }
        for name in [
            "diffie-hellman-group1-sha1",
            "diffie-hellman-group14-sha1",
            "diffie-hellman-group-exchange-sha1",
            "ecdh-sha2-nistp521",
        ] {
            assert!(!weak_kex(name).is_empty(), "{name}");
        }
        for name in
            ["curve25519-sha256", "sntrup761x25519-sha512@openssh.com", "diffie-hellman-group16-sha512"]
        {
            assert!(weak_kex(name).is_empty(), "{name}");
        }
        for name in ["hmac-md5", "hmac-sha1-96", "hmac-sha1-etm@openssh.com", "hmac-ripemd160"] {
            assert!(!weak_mac(name).is_empty(), "{name}");
        }
        assert!(weak_mac("hmac-sha2-256-etm@openssh.com").is_empty());
        assert_eq!(key_size("aes192-ctr"), Some(192));
    }
}
