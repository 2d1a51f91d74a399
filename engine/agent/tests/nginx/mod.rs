//! Debian's nginx with TLS on a free loopback port.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// Ended with the test.
pub struct Nginx {
    child: Child,
    pub port: u16,
    _folder: TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nginx {
    /// With these directives for TLS. `None`, said on standard error, if it is not installed; with `CI=true` that is a
    /// failure.
    pub fn start(directives: &str) -> Option<Self> {
        const PROGRAM: &str = "/usr/sbin/nginx";
        if !Path::new(PROGRAM).exists() {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "nginx is missing: apt-get install nginx-light"
            );
            eprintln!("skipped: nginx is not installed (apt-get install nginx-light)");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let path = folder.path().display().to_string();
        make_certificate(&path);
        let config = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error; events {{}}
             http {{ access_log off; client_body_temp_path {path}/a; proxy_temp_path {path}/b;
             fastcgi_temp_path {path}/c; uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;
             server {{ listen 127.0.0.1:{port} ssl; {directives}
             ssl_certificate {path}/cert.pem; ssl_certificate_key {path}/key.pem;
             location / {{ return 200 hello; }} }} }}"
        );
        fs::write(folder.path().join("nginx.conf"), config).expect("a configuration");
        let child = quietly(PROGRAM, &["-c", &format!("{path}/nginx.conf")]).spawn().expect("nginx starts");
        let nginx = Self { child, port, _folder: folder };
        for _ in 0..3_000 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Some(nginx);
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("nginx does not listen");
    }
}

fn make_certificate(folder: &str) {
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let (key, certificate) = (format!("{folder}/key.pem"), format!("{folder}/cert.pem"));
    let files = ["-keyout", &key, "-out", &certificate];
    let arguments = [&["req", "-x509", "-nodes", "-subj", "/CN=lab.example"][..], &curve, &files].concat();
    let status = quietly("openssl", &arguments).status().expect("openssl runs");
    assert!(status.success(), "openssl makes a certificate");
}

fn quietly(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
