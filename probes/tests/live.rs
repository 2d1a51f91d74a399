//! Real services of Debian on loopback ports that are not theirs.

mod support;

use std::fs;

use portreeve_model::{SafeText, Service, Verdict};
use support::{
    identify,
    process::{certificate, find, nginx, run, start},
};

fn text(value: Option<&SafeText>) -> &str {
    value.map_or("", SafeText::as_str)
}

/// Name, product, and a version that begins with a digit.
fn assert_known(service: &Service, name: &str, product: &str) {
    assert_eq!(service.verdict, Verdict::Identified, "{service:?}");
    assert_eq!(text(service.name.as_ref()), name, "{service:?}");
    assert_eq!(text(service.product.as_ref()), product, "{service:?}");
    assert!(!service.evidence.is_empty(), "{service:?}");
    println!("{name}: {product} {} in {} connections", text(service.version.as_ref()), service.connections);
}

fn assert_version(service: &Service) {
    assert!(text(service.version.as_ref()).starts_with(|c: char| c.is_ascii_digit()), "{service:?}");
}

#[tokio::test]
async fn openssh_is_known_and_audited() {
    let Some(server) = start("sshd", "openssh-server", |folder, port| {
        let key = folder.join("key").display().to_string();
        assert!(run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]), "ssh-keygen makes a key");
        // The daemon insists on its privilege separation folder; the package's service file makes it.
        let _ = fs::create_dir_all("/run/sshd");
        let options = [
            "-D",
            "-e",
            "-f",
            "/dev/null",
            "-h",
            &key,
            "-o",
            "PidFile=none",
            "-o",
            "UsePAM=no",
            "-o",
            "ListenAddress=127.0.0.1",
            "-o",
            "Ciphers=+aes128-cbc",
            "-p",
            &port.to_string(),
        ];
        options.iter().map(ToString::to_string).collect()
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_known(&service, "ssh", "OpenSSH");
    assert_version(&service);
    assert_eq!(service.connections, 1);
    let audit = service.ssh.expect("an audit");
    let weak =
        |name: &str| audit.ciphers.iter().find(|cipher| cipher.name.as_str() == name).map(|c| c.is_weak);
    assert_eq!(weak("aes128-cbc"), Some(true), "{audit:?}");
    assert_eq!(weak("aes256-ctr"), Some(false), "{audit:?}");
    assert!(audit.server_banner.as_str().starts_with("SSH-2.0-OpenSSH_"));
    assert!(audit.host_key_types.iter().any(|kind| kind.as_str() == "ssh-ed25519"));
    assert_eq!(audit.hassh.expect("a fingerprint").len(), 32);
}

#[tokio::test]
async fn nginx_is_known_with_title_and_favicon() {
    let page = "location / { return 200 '<title>Lab &amp; start</title>'; } location /favicon.ico { return 200 icon; }";
    let Some(server) = start("nginx", "nginx-light", |folder, port| {
        nginx(folder, &format!("listen 127.0.0.1:{port}; {page}"))
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_known(&service, "http", "nginx");
    assert_version(&service);
    let http = service.http.expect("a page");
    assert_eq!((http.status, text(http.title.as_ref())), (200, "Lab & start"));
    assert!(http.favicon_mmh3.is_some());
    assert!(service.connections <= 2, "{} connections", service.connections);
}

#[tokio::test]
async fn nginx_inside_tls_is_known_with_its_certificate() {
    let Some(server) = start("nginx", "nginx-light", |folder, port| {
        let (key, cert) = certificate(folder);
        let tls = format!("ssl_protocols TLSv1.3; ssl_certificate {cert}; ssl_certificate_key {key};");
        nginx(folder, &format!("listen 127.0.0.1:{port} ssl; {tls} location / {{ return 200 hello; }}"))
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_known(&service, "http", "nginx");
    let tls = service.tls.expect("TLS");
    assert_eq!(tls.version.as_str(), "TLSv1.3");
    assert_eq!(text(tls.alpn.as_ref()), "http/1.1");
    assert_eq!(tls.ja3s.as_ref().expect("a fingerprint").len(), 32);
    let leaf = tls.certificates.first().expect("a certificate");
    assert_eq!(leaf.subject.as_str(), "CN=lab.example");
    assert_eq!(leaf.key.as_str(), "ECDSA P-256");
    assert!(leaf.self_signed && leaf.not_after_ms > leaf.not_before_ms);
    let names: Vec<_> = leaf.alternative_names.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["lab.example", "127.0.0.1"]);
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_is_said_to() {
    let Some(server) = start("openssl", "openssl", |folder, port| {
        let (key, cert) = certificate(folder);
        let accept = format!("127.0.0.1:{port}");
        let options =
            ["s_server", "-quiet", "-accept", &accept, "-key", &key, "-cert", &cert, "-Verify", "1"];
        options.iter().map(ToString::to_string).chain(["-verify_return_error".to_owned()]).collect()
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_eq!(service.verdict, Verdict::NeedsClientCertificate, "{service:?}");
    let tls = service.tls.expect("TLS");
    assert!(tls.client_certificate_requested);
    assert_eq!(tls.certificates.len(), 1);
}

#[tokio::test]
async fn redis_is_known_on_a_foreign_port() {
    let Some(server) = start("redis-server", "redis-server", |folder, port| {
        let folder = folder.display().to_string();
        let options = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir", &folder];
        options.iter().map(ToString::to_string).collect()
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_known(&service, "redis", "Redis");
    assert_version(&service);
    assert!(text(service.os.as_ref()).starts_with("Linux"), "{service:?}");
    assert!(service.cpe.iter().any(|cpe| cpe.as_str().starts_with("cpe:2.3:a:redis:redis:")), "{service:?}");
}

#[tokio::test]
async fn postgresql_is_known_on_a_foreign_port() {
    const NOBODY: u32 = 65_534;
    let Some(initdb) = find("initdb") else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "initdb is missing: apt-get install postgresql"
        );
        eprintln!("skipped: initdb is not installed (apt-get install postgresql)");
        return;
    };
    if !run("setpriv", &["--reuid", "65534", "--regid", "65534", "--clear-groups", "true"]) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "setpriv cannot drop to nobody");
        eprintln!("skipped: PostgreSQL refuses root, and setpriv cannot drop to nobody here");
        return;
    }
    let Some(server) = start("setpriv", "util-linux", |folder, port| {
        std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).expect("root gives the folder away");
        let data = folder.join("data").display().to_string();
        let password = folder.join("password").display().to_string();
        fs::write(&password, "x").expect("a password file");
        let drop = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
        let initdb = initdb.display().to_string();
        let make = [initdb.as_str(), "-D", &data, "-A", "scram-sha-256", "--pwfile", &password, "-N"];
        assert!(run("setpriv", &[&drop[..], &make[..]].concat()), "initdb makes a cluster");
        let postgres = find("postgres").expect("postgres beside initdb").display().to_string();
        let port = port.to_string();
        let serve = [
            postgres.as_str(),
            "-D",
            &data,
            "-p",
            &port,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
        ];
        drop.iter().chain(&serve).map(ToString::to_string).collect()
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_known(&service, "postgresql", "PostgreSQL");
}

#[tokio::test]
async fn memcached_is_known_on_a_foreign_port() {
    let Some(server) = start("memcached", "memcached", |_, port| {
        let port = port.to_string();
        ["-u", "nobody", "-l", "127.0.0.1", "-p", &port].iter().map(ToString::to_string).collect()
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_known(&service, "memcached", "Memcached");
    assert_version(&service);
}

#[tokio::test]
async fn mosquitto_is_known_on_a_foreign_port() {
    let Some(server) = start("mosquitto", "mosquitto", |folder, port| {
        let path = folder.join("conf").display().to_string();
        fs::write(&path, format!("listener {port} 127.0.0.1\nallow_anonymous true\n"))
            .expect("a configuration");
        vec!["-c".to_owned(), path]
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_known(&service, "mqtt", "Mosquitto");
    assert_version(&service);
}

#[tokio::test]
async fn dnsmasq_is_known_over_tcp_and_udp() {
    let Some(server) = start("dnsmasq", "dnsmasq-base", |_, port| {
        let port = format!("--port={port}");
        let options = [
            "--keep-in-foreground",
            &port,
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--conf-file=/dev/null",
            "--user=root",
            "--no-resolv",
            "--no-hosts",
            "--pid-file",
        ];
        options.iter().map(ToString::to_string).collect()
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_known(&service, "domain", "dnsmasq");
    assert_version(&service);
    let service = support::identify_udp(server.port).await;
    assert_known(&service, "domain", "dnsmasq");
    assert_version(&service);
}

#[tokio::test]
async fn vsftpd_is_known_on_a_foreign_port() {
    let Some(server) = start("vsftpd", "vsftpd", |folder, port| {
        let path = folder.join("conf").display().to_string();
        let folder = folder.display();
        let config = format!(
            "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nanonymous_enable=YES\nftp_username=nobody\n\
             secure_chroot_dir={folder}\nbackground=NO\n"
        );
        fs::write(&path, config).expect("a configuration");
        vec![path]
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_known(&service, "ftp", "vsftpd");
    assert_version(&service);
    assert!(service.connections <= 2, "{} connections", service.connections);
}

#[tokio::test]
async fn a_certificate_behind_starttls_is_read() {
    let Some(server) = start("openssl", "openssl", |folder, port| {
        let (key, cert) = certificate(folder);
        let accept = format!("127.0.0.1:{port}");
        // Used as a plain TLS server behind a small SMTP front that the test speaks itself.
        ["s_server", "-quiet", "-accept", &accept, "-key", &key, "-cert", &cert]
            .iter()
            .map(ToString::to_string)
            .collect()
    }) else {
        return;
    };
    let front = support::smtp_front(server.port).await;
    let service = identify(front.port()).await;
    assert_known(&service, "smtp", "Postfix smtpd");
    let tls = service.tls.expect("TLS");
    assert_eq!(tls.error, None, "{tls:?}");
    assert_eq!(tls.certificates.first().expect("a certificate").subject.as_str(), "CN=lab.example");
}
