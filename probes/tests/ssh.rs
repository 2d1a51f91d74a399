//! SSH servers of Debian: host keys, fingerprints and ways to log in, by every algorithm known here.

mod support;

use std::{fs, path::Path};

use portreeve_model::{SafeText, SshAudit};
use support::{
    identify,
    process::{Process, find, run, start},
};

/// Starts sshd with these options and keys of these kinds; `None` if it is not installed.
fn sshd(kinds: &[(&str, &str)], options: &[&str]) -> Option<Process> {
    start("sshd", "openssh-server", |folder, port| {
        // The daemon insists on its privilege separation folder; the package's service file makes it.
        let _ = fs::create_dir_all("/run/sshd");
        let mut arguments = vec!["-D".to_owned(), "-e".to_owned(), "-f".to_owned(), "/dev/null".to_owned()];
        for (kind, bits) in kinds {
            let key = folder.join(format!("key-{kind}")).display().to_string();
            assert!(run("ssh-keygen", &["-q", "-t", kind, "-b", bits, "-N", "", "-f", &key]), "a {kind} key");
            arguments.extend(["-h".to_owned(), key]);
        }
        for option in ["PidFile=none", "UsePAM=no", "ListenAddress=127.0.0.1"].iter().chain(options) {
            arguments.extend(["-o".to_owned(), (*option).to_owned()]);
        }
        arguments.extend(["-p".to_owned(), port.to_string()]);
        arguments
    })
}

/// What `ssh-keygen -l` says of the key files in a folder: bits, fingerprint.
fn listed(folder: &Path, name: &str) -> (u32, String) {
    let path = folder.join(name).display().to_string();
    let keygen = find("ssh-keygen").expect("it made the key");
    let output = std::process::Command::new(keygen).args(["-l", "-f", &path]).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut words = text.split(' ');
    let bits = words.next().expect("bits").parse().expect("a number");
    (bits, words.next().expect("a fingerprint").to_owned())
}

fn methods(audit: &SshAudit) -> Vec<&str> {
    audit.auth_methods.iter().flatten().map(SafeText::as_str).collect()
}

#[tokio::test]
async fn every_host_key_of_openssh_is_as_ssh_keygen_says() {
    let kinds = [("ed25519", "256"), ("ecdsa", "384"), ("rsa", "2048")];
    let Some(server) = sshd(&kinds, &["PasswordAuthentication=yes", "KbdInteractiveAuthentication=no"])
    else {
        return;
    };
    let service = identify(server.port).await;
    let audit = service.ssh.expect("an audit");
    assert_eq!(service.connections, 3, "one for each kind of key");
    for (name, kind) in
        [("key-ed25519", "ssh-ed25519"), ("key-ecdsa", "ecdsa-sha2-nistp384"), ("key-rsa", "ssh-rsa")]
    {
        let key =
            audit.keys.iter().find(|key| key.kind.as_str() == kind).unwrap_or_else(|| panic!("{audit:?}"));
        let (bits, fingerprint) = listed(server.folder(), &format!("{name}.pub"));
        assert_eq!((key.bits, key.fingerprint.as_str()), (Some(bits), fingerprint.as_str()), "{kind}");
    }
    assert_eq!(audit.host_keys.len(), 3);
    assert_eq!(methods(&audit), ["publickey", "password"]);
}

#[tokio::test]
async fn every_key_exchange_and_cipher_ends_in_the_methods() {
    for (kex, cipher, mac) in [
        ("curve25519-sha256", "chacha20-poly1305@openssh.com", "hmac-sha2-256"),
        ("curve25519-sha256@libssh.org", "aes128-gcm@openssh.com", "hmac-sha2-256"),
        ("ecdh-sha2-nistp256", "aes256-gcm@openssh.com", "hmac-sha2-256"),
        ("ecdh-sha2-nistp384", "aes128-ctr", "hmac-sha2-256-etm@openssh.com"),
        ("diffie-hellman-group14-sha256", "aes192-ctr", "hmac-sha2-512"),
        ("diffie-hellman-group14-sha1", "aes256-ctr", "hmac-sha1"),
        ("diffie-hellman-group1-sha1", "aes128-ctr", "hmac-sha1-etm@openssh.com"),
        ("diffie-hellman-group-exchange-sha256", "aes128-ctr", "hmac-sha2-512-etm@openssh.com"),
        ("diffie-hellman-group-exchange-sha1", "aes256-ctr", "hmac-sha2-256"),
    ] {
        let options = [
            &*format!("KexAlgorithms={kex}"),
            &format!("Ciphers={cipher}"),
            &format!("MACs={mac}"),
            "PasswordAuthentication=no",
            "KbdInteractiveAuthentication=no",
        ];
        let Some(server) = sshd(&[("ed25519", "256")], &options) else { return };
        let audit = identify(server.port).await.ssh.expect("an audit");
        assert_eq!(audit.keys.len(), 1, "{kex}: {audit:?}");
        assert_eq!(methods(&audit), ["publickey"], "{kex} {cipher} {mac}: {audit:?}");
    }
}

#[tokio::test]
async fn ciphers_we_cannot_use_still_give_the_host_key() {
    let options = ["Ciphers=aes128-cbc", "MACs=umac-64@openssh.com"];
    let Some(server) = sshd(&[("ed25519", "256")], &options) else { return };
    let audit = identify(server.port).await.ssh.expect("an audit");
    assert_eq!(audit.keys.len(), 1, "{audit:?}");
    assert_eq!(audit.auth_methods, None);
}

#[tokio::test]
async fn dropbear_shows_keys_and_methods() {
    let Some(server) = start("dropbear", "dropbear-bin", |folder, port| {
        let mut arguments: Vec<String> = ["-F", "-E", "-s", "-p"].map(str::to_owned).to_vec();
        arguments.push(format!("127.0.0.1:{port}"));
        for kind in ["ed25519", "rsa"] {
            let key = folder.join(kind).display().to_string();
            assert!(run("dropbearkey", &["-t", kind, "-f", &key]), "a {kind} key");
            arguments.extend(["-r".to_owned(), key]);
        }
        arguments
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_eq!(service.product.as_ref().map(SafeText::as_str), Some("Dropbear"), "{service:?}");
    let audit = service.ssh.expect("an audit");
    let mut kinds: Vec<_> = audit.keys.iter().map(|key| key.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["ssh-ed25519", "ssh-rsa"], "{audit:?}");
    assert_eq!(methods(&audit), ["publickey"], "{audit:?}");
}
