//! TLS servers of every age: Debian's OpenSSL and nginx, and SSL 3.0 by a server written here after RFC 6101.

mod support;

use std::{fs, path::Path};

use portreeve_model::{SafeText, TlsInfo, Verdict};
use support::{
    Server, identify, identify_as,
    process::{Process, certificate, nginx, run, start},
    serve_with,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Starts `openssl s_server` as HTTP server with these options.
fn openssl(options: &[&str]) -> Option<Process> {
    start("openssl", "openssl", |folder, port| {
        let (key, cert) = certificate(folder);
        let accept = format!("127.0.0.1:{port}");
        ["s_server", "-quiet", "-www", "-accept", &accept, "-key", &key, "-cert", &cert]
            .iter()
            .chain(options)
            .map(ToString::to_string)
            .collect()
    })
}

fn subjects(tls: &TlsInfo) -> Vec<&str> {
    tls.certificates.iter().map(|certificate| certificate.subject.as_str()).collect()
}

fn versions(tls: &TlsInfo) -> Vec<&str> {
    tls.versions.iter().map(SafeText::as_str).collect()
}

#[tokio::test]
async fn servers_older_than_tls_1_2_show_their_certificate() {
    for (option, version) in [("-tls1", "TLSv1.0"), ("-tls1_1", "TLSv1.1")] {
        let Some(server) = openssl(&[option, "-cipher", "DEFAULT:@SECLEVEL=0"]) else { return };
        let service = identify(server.port).await;
        assert_eq!(service.verdict, Verdict::Identified, "{service:?}");
        let tls = service.tls.expect("TLS");
        assert_eq!(tls.version.as_str(), version, "{tls:?}");
        assert_eq!(subjects(&tls), ["CN=lab.example"], "{tls:?}");
        assert!(tls.error.is_some() && tls.ja3s.is_some(), "{tls:?}");
    }
}

#[tokio::test]
async fn a_server_with_rsa_key_exchange_only_shows_its_certificate() {
    let Some(server) = start("openssl", "openssl", |folder, port| {
        let (key, cert) = rsa(folder);
        let accept = format!("127.0.0.1:{port}");
        let options =
            ["s_server", "-quiet", "-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0", "-accept", &accept];
        options.iter().chain(&["-key", &key, "-cert", &cert]).map(ToString::to_string).collect()
    }) else {
        return;
    };
    let tls = identify(server.port).await.tls.expect("TLS");
    assert_eq!(tls.cipher.as_ref().map(SafeText::as_str), Some("TLS_RSA_WITH_AES_128_CBC_SHA"), "{tls:?}");
    assert_eq!(tls.certificates[0].key.as_str(), "RSA 1024", "{tls:?}");
}

fn rsa(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).display().to_string();
    let (key, cert) = (path("rsa.key"), path("rsa.pem"));
    let made = run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:1024",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &cert,
            "-days",
            "1",
            "-subj",
            "/CN=old.example",
        ],
    );
    assert!(made, "openssl makes a certificate");
    // Its own server takes such a key only below its usual level of security.
    (key, cert)
}

/// A server of SSL 3.0: answers a hello of any version with its own, unless it is of the strict kind, which closes on
/// what is not of its time.
async fn ssl3(certificate: Vec<u8>, is_strict: bool) -> Server {
    serve_with(move |mut stream| {
        let certificate = certificate.clone();
        async move {
            let mut hello = vec![0; 4096];
            let length = stream.read(&mut hello).await?;
            let version = hello.get(9..11).map(<[u8]>::to_vec);
            if length < 11 || hello[0] != 22 || is_strict && version.as_deref() != Some(&[3, 0]) {
                return Ok(());
            }
            let size = |length: usize| (length as u32).to_be_bytes()[1..].to_vec();
            let message = |kind: u8, body: &[u8]| [&[kind][..], &size(body.len()), body].concat();
            // Version, random, no session, RC4 with SHA, no compression.
            let hello = message(2, &[&[3, 0][..], &[7; 32], &[0, 0, 5, 0]].concat());
            let list = [size(certificate.len()), certificate].concat();
            let chain = message(11, &[size(list.len()), list].concat());
            for part in [hello, chain, message(14, &[])] {
                stream
                    .write_all(&[&[22, 3, 0][..], &(part.len() as u16).to_be_bytes(), &part].concat())
                    .await?;
            }
            stream.read(&mut [0; 64]).await.map(drop)
        }
    })
    .await
}

#[tokio::test]
async fn ssl_3_is_recognised_and_its_certificate_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, cert) = certificate(folder.path());
    let der = folder.path().join("cert.der");
    assert!(run("openssl", &["x509", "-in", &cert, "-outform", "DER", "-out", &der.display().to_string()]));
    let der = fs::read(der).expect("a certificate");
    for is_strict in [false, true] {
        let server = ssl3(der.clone(), is_strict).await;
        let service = identify(server.port()).await;
        let tls = service.tls.expect("TLS");
        assert_eq!((tls.version.as_str(), subjects(&tls)), ("SSLv3", vec!["CN=lab.example"]), "{tls:?}");
        assert_eq!(tls.cipher.as_ref().map(SafeText::as_str), Some("TLS_RSA_WITH_RC4_128_SHA"));
    }
}

#[tokio::test]
async fn jarm_is_asked_for_only_on_demand_and_is_the_same_each_time() {
    let Some(server) = start("nginx", "nginx-light", |folder, port| {
        let (key, cert) = certificate(folder);
        let tls =
            format!("ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {cert}; ssl_certificate_key {key};");
        nginx(folder, &format!("listen 127.0.0.1:{port} ssl; {tls} location / {{ return 200 hello; }}"))
    }) else {
        return;
    };
    let tls = identify(server.port).await.tls.expect("TLS");
    assert_eq!((tls.jarm, tls.versions.len()), (None, 0));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let service = identify_as(server.port, |config| config.jarm = true).await;
        let tls = service.tls.expect("TLS");
        assert_eq!(versions(&tls), ["TLSv1.2", "TLSv1.3"], "{tls:?}");
        let jarm = tls.jarm.expect("a fingerprint");
        assert_eq!(jarm.len(), 62);
        println!("JARM {jarm}");
        seen.push(jarm);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn versions_taken_are_told_apart() {
    let Some(server) = openssl(&["-tls1", "-cipher", "DEFAULT:@SECLEVEL=0"]) else { return };
    let tls = identify_as(server.port, |config| config.jarm = true).await.tls.expect("TLS");
    assert_eq!(versions(&tls), ["TLSv1.0"], "{tls:?}");
}
