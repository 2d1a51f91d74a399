//! Real services, each with its own folder and port, ended with the test that started it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A running service.
pub struct Process {
    child: Child,
    pub port: u16,
    /// Removed after the child has ended.
    folder: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a service on a free loopback port and waits until it accepts connections. `arguments` gets
/// its folder and port. `None`, said on standard error, if the program is not installed; with `CI=true`
/// that is a failure.
pub fn start(
    program: &str,
    package: &str,
    arguments: impl FnOnce(&Path, u16) -> Vec<String>,
) -> Option<Process> {
    let Some(program) = find(program) else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{program} is missing: apt-get install {package}"
        );
        eprintln!("skipped: {program} is not installed (apt-get install {package})");
        return None;
    };
    let folder = TempDir::with_prefix("pr-probes-").expect("a folder");
    let port = free_port();
    let arguments = arguments(folder.path(), port);
    let log = fs::File::create(folder.path().join("log")).expect("a log file");
    let child = Command::new(program)
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log)
        .spawn()
        .expect("the service starts");
    let process = Process { child, port, folder };
    process.await_port();
    Some(process)
}

/// Runs a helper to its end; `false` if it is missing or fails.
pub fn run(program: &str, arguments: &[&str]) -> bool {
    let Some(program) = find(program) else { return false };
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Where a program is: on the path, or where Debian puts daemons.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"])
        .chain(["/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin"])
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl Process {
    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn await_port(&self) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let start = Instant::now();
        while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(30), "the service does not listen: {log}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Makes a key and a certificate for `lab.example`; their paths.
pub fn certificate(folder: &Path) -> (String, String) {
    let (key, cert) = (folder.join("key.pem"), folder.join("cert.pem"));
    let (key, cert) = (key.display().to_string(), cert.display().to_string());
    let made = run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &cert,
            "-days",
            "30",
            "-subj",
            "/CN=lab.example",
            "-addext",
            "subjectAltName=DNS:lab.example,IP:127.0.0.1",
        ],
    );
    assert!(made, "openssl makes a certificate");
    (key, cert)
}

/// Writes nginx's configuration with one `server` block; its arguments.
pub fn nginx(folder: &Path, server: &str) -> Vec<String> {
    let folder = folder.display();
    let config = format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error; events {{}}\n\
         http {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;\n\
         fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n\
         default_type text/html; server {{ {server} }} }}\n"
    );
    let path = format!("{folder}/nginx.conf");
    fs::write(&path, config).expect("a configuration");
    vec!["-c".to_owned(), path]
}
