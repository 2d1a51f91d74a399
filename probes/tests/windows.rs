//! RDP, SMB and NTLM over HTTP: real peers where Debian has them, conversations laid out by Microsoft's open
//! specifications where it has none.

mod support;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_model::{SafeText, Service};
use support::{
    identify,
    process::{certificate, start},
    serve_with,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A CHALLENGE_MESSAGE of a domain member (MS-NLMP 2.2.1.2) with that build.
fn challenge(build: [u8; 4]) -> Vec<u8> {
    let mut pairs = Vec::new();
    for (kind, text) in [(2_u16, "CORP"), (1, "SRV1"), (4, "corp.example"), (3, "srv1.corp.example")] {
        let text: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        pairs.extend(kind.to_le_bytes());
        pairs.extend((text.len() as u16).to_le_bytes());
        pairs.extend(text);
    }
    pairs.extend([0; 4]);
    let mut message = b"NTLMSSP\0\x02\0\0\0".to_vec();
    message.extend([8, 0, 8, 0, 56, 0, 0, 0, 0x35, 0x82, 0x89, 0xe2]);
    message.extend([1; 16]);
    message.extend([(pairs.len() as u16).to_le_bytes(), (pairs.len() as u16).to_le_bytes()].concat());
    message.extend(56_u32.to_le_bytes());
    message.extend(build);
    message.extend([0, 0, 0, 15]);
    message.extend(pairs);
    message
}

/// A web server that asks for NTLM and hands its challenge out.
async fn http_server(page: &'static str, challenge: Vec<u8>) -> support::Server {
    serve_with(move |mut stream| {
        let token = STANDARD.encode(&challenge);
        async move {
            let mut buffer = vec![0; 4096];
            loop {
                let length = stream.read(&mut buffer).await?;
                if length == 0 {
                    return Ok(());
                }
                let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let reply = if request.contains("Authorization: ") {
                    let scheme = if request.contains("Authorization: NTLM ") { "NTLM" } else { "Negotiate" };
                    format!("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {scheme} {token}\r\nServer: Microsoft-HTTPAPI/2.0\r\nContent-Length: 0\r\n\r\n")
                } else {
                    page.to_owned()
                };
                stream.write_all(reply.as_bytes()).await?;
            }
        }
    })
    .await
}

fn text(value: Option<&SafeText>) -> &str {
    value.map_or("", SafeText::as_str)
}

fn assert_machine(service: &Service, os: &str) {
    let ntlm = service.ntlm.as_ref().unwrap_or_else(|| panic!("{service:?}"));
    assert_eq!(text(ntlm.dns_name.as_ref()), "srv1.corp.example");
    assert_eq!(text(ntlm.netbios_domain.as_ref()), "CORP");
    assert_eq!(
        (text(service.os.as_ref()), text(service.hostname.as_ref())),
        (os, "srv1.corp.example"),
        "{service:?}"
    );
}

#[tokio::test]
async fn a_page_that_wants_ntlm_tells_build_and_names() {
    let page = "HTTP/1.1 401 Unauthorized\r\nServer: Microsoft-IIS/10.0\r\nWWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n";
    let server = http_server(page, challenge([10, 0, 0x63, 0x45])).await;
    let service = identify(server.port()).await;
    assert_machine(&service, "Windows 10 1809 or Server 2019");
    assert_eq!(text(service.name.as_ref()), "http");
}

#[tokio::test]
async fn remote_management_behind_the_systems_web_server_tells_build_and_names() {
    let page = "HTTP/1.1 404 Not Found\r\nServer: Microsoft-HTTPAPI/2.0\r\nContent-Length: 0\r\n\r\n";
    let server = http_server(page, challenge([10, 0, 0x7c, 0x4f])).await;
    assert_machine(&identify(server.port()).await, "Windows Server 2022");
}

/// A TLS server's side with a certificate from Debian's OpenSSL; `None` if that is not installed.
fn acceptor() -> Option<tokio_rustls::TlsAcceptor> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    support::process::find("openssl")?;
    let folder = tempfile::tempdir().expect("a folder");
    let (key, cert) = certificate(folder.path());
    let chain = vec![CertificateDer::from_pem_file(cert).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a configuration");
    Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn remote_desktop_with_credssp_tells_certificate_build_and_names() {
    let Some(acceptor) = acceptor() else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "openssl is missing: apt-get install openssl");
        eprintln!("skipped: openssl is not installed (apt-get install openssl)");
        return;
    };
    let server = serve_with(move |mut stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut request = [0; 19];
            stream.read_exact(&mut request[..1]).await?;
            if request[0] != 3 {
                return Ok(());
            }
            stream.read_exact(&mut request[1..]).await?;
            // Connection confirm with a negotiation response that chooses CredSSP (MS-RDPBCGR 2.2.1.2.1).
            stream.write_all(b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\x1f\x08\0\x02\0\0\0").await?;
            let mut tls = acceptor.accept(stream).await?;
            // A TSRequest with an NTLM token comes, and one goes back (MS-CSSP 2.2.1).
            let mut asked = vec![0; 512];
            let length = tls.read(&mut asked).await?;
            assert!(asked[..length].windows(12).any(|window| window == b"NTLMSSP\0\x01\0\0\0"));
            let token = challenge([10, 0, 0xf4, 0x65]);
            let element = |tag: u8, content: &[u8]| {
                [&[tag, 0x82][..], &(content.len() as u16).to_be_bytes(), content].concat()
            };
            let token = element(0xa0, &element(4, &token));
            let tokens = element(0xa1, &element(0x30, &element(0x30, &token)));
            tls.write_all(&element(0x30, &[&[0xa0, 3, 2, 1, 6][..], &tokens].concat())).await?;
            tls.flush().await?;
            tls.read(&mut asked).await.map(drop)
        }
    })
    .await;
    let service = identify(server.port()).await;
    assert_eq!(text(service.name.as_ref()), "ms-wbt-server", "{service:?}");
    assert_machine(&service, "Windows 11 24H2 or Server 2025");
    let tls = service.tls.expect("TLS");
    assert_eq!(tls.certificates[0].subject.as_str(), "CN=lab.example");
}

#[tokio::test]
async fn xrdp_shows_its_certificate() {
    let Some(server) = start("xrdp", "xrdp", |folder, port| {
        let (key, cert) = certificate(folder);
        let config = format!(
            "[Globals]\nini_version=1\nfork=true\nport=tcp://127.0.0.1:{port}\nsecurity_layer=negotiate\n\
             certificate={cert}\nkey_file={key}\nssl_protocols=TLSv1.2, TLSv1.3\nallow_channels=false\n\
             [Logging]\nLogFile={0}/xrdp.log\nLogLevel=INFO\n[Channels]\n[Xorg]\nname=Xorg\nlib=libxup.so\n",
            folder.display()
        );
        let path = folder.join("xrdp.ini");
        std::fs::write(&path, config).expect("a configuration");
        vec!["--nodaemon".to_owned(), "--config".to_owned(), path.display().to_string()]
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_eq!(
        (text(service.name.as_ref()), text(service.product.as_ref())),
        ("ms-wbt-server", "xrdp"),
        "{service:?}"
    );
    let tls = service.tls.expect("TLS");
    assert_eq!(tls.certificates[0].subject.as_str(), "CN=lab.example");
}

#[tokio::test]
async fn samba_tells_its_names() {
    let Some(server) = start("smbd", "samba", |folder, port| {
        let path = |name: &str| {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).expect("a folder");
            path.display().to_string()
        };
        let config = format!(
            "[global]\nnetbios name = LABBOX\nworkgroup = LABGROUP\nsmb ports = {port}\ninterfaces = lo\nbind interfaces only = yes\n\
             private dir = {}\nlock directory = {}\nstate directory = {}\ncache directory = {}\npid directory = {}\n\
             ncalrpc dir = {}\nlog file = {}/log.smbd\nload printers = no\ndisable spoolss = yes\n",
            path("private"),
            path("lock"),
            path("state"),
            path("cache"),
            path("pid"),
            path("ncalrpc"),
            path("logs")
        );
        let file = folder.join("smb.conf");
        std::fs::write(&file, config).expect("a configuration");
        vec![
            "--foreground".to_owned(),
            "--no-process-group".to_owned(),
            "-s".to_owned(),
            file.display().to_string(),
        ]
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_eq!(text(service.name.as_ref()), "netbios-ssn", "{service:?}");
    let ntlm = service.ntlm.expect("a challenge");
    assert_eq!(text(ntlm.netbios_name.as_ref()), "LABBOX", "{ntlm:?}");
    assert!(service.os.as_ref().is_none_or(|os| !os.as_str().contains("Windows")));
}
