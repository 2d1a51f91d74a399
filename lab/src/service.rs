//! Real services from the distribution's packages, each in a host's namespace with a folder of its own.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Lab, LabError, Process, in_namespace, run};

/// Why a service is not there.
pub type ServiceError = LabError;

/// OpenSSH's server on `port`; returns the process's number in the lab.
pub fn openssh(lab: &mut Lab, host: &str, port: u16) -> Result<usize, ServiceError> {
    let program = find("sshd", "openssh-server")?;
    let folder = lab.folder(&format!("{host}-sshd-{port}"))?;
    let key = folder.join("host_key");
    run(
        "make an SSH host key",
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key),
    )?;
    let config = folder.join("sshd_config");
    write(
        &config,
        &format!(
            "Port {port}\nHostKey {}\nPidFile none\nUsePAM no\nPasswordAuthentication yes\n",
            key.display()
        ),
    )?;
    // sshd refuses to start without its privilege separation folder, which only its unit file makes.
    fs::create_dir_all("/run/sshd").map_err(|error| LabError::new("make /run/sshd", error))?;
    let mut command = in_namespace(&lab.namespace(host), &program);
    command.args(["-D", "-e", "-f"]).arg(&config);
    start(lab, &folder, command)
}

/// nginx serving one page on `port`.
pub fn nginx(lab: &mut Lab, host: &str, port: u16) -> Result<usize, ServiceError> {
    let program = find("nginx", "nginx-light")?;
    let folder = lab.folder(&format!("{host}-nginx-{port}"))?;
    let root = folder.join("root");
    fs::create_dir_all(&root).map_err(|error| LabError::new(format!("make {}", root.display()), error))?;
    write(&root.join("index.html"), &format!("<!doctype html><title>{host}</title><h1>{host}</h1>\n"))?;
    let config = folder.join("nginx.conf");
    let place = folder.display();
    write(
        &config,
        &format!(
            "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
             fastcgi_temp_path {place}/fcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n\
             server {{ listen {port}; root {place}/root; }} }}\n"
        ),
    )?;
    let mut command = in_namespace(&lab.namespace(host), &program);
    command.arg("-c").arg(&config).arg("-p").arg(&folder);
    start(lab, &folder, command)
}

/// Redis without a password on `port`.
pub fn redis(lab: &mut Lab, host: &str, port: u16) -> Result<usize, ServiceError> {
    let program = find("redis-server", "redis-server")?;
    let folder = lab.folder(&format!("{host}-redis-{port}"))?;
    let mut command = in_namespace(&lab.namespace(host), &program);
    command
        .args(["--port", &port.to_string(), "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""])
        .arg("--dir")
        .arg(&folder);
    start(lab, &folder, command)
}

/// PostgreSQL on `port`, with a password for everyone.
pub fn postgresql(lab: &mut Lab, host: &str, port: u16) -> Result<usize, ServiceError> {
    let programs = postgresql_programs()?;
    let folder = lab.folder(&format!("{host}-postgresql-{port}"))?;
    // PostgreSQL refuses to run as root; its package made this account.
    let account = nix::unistd::User::from_name("postgres")
        .ok()
        .flatten()
        .ok_or_else(|| LabError::new("find the account postgres", "install the package postgresql"))?;
    chown(&folder, Some(account.uid.as_raw()), Some(account.gid.as_raw()))
        .map_err(|error| LabError::new(format!("hand {} to postgres", folder.display()), error))?;
    let data = folder.join("data");
    let as_account = ["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"];
    run(
        "make a PostgreSQL cluster",
        Command::new("setpriv")
            .args(as_account)
            .arg(programs.join("initdb"))
            .args(["--no-sync", "--auth=scram-sha-256", "--auth-local=peer", "-D"])
            .arg(&data),
    )?;
    let mut command = in_namespace(&lab.namespace(host), "setpriv");
    command
        .args(as_account)
        .arg(programs.join("postgres"))
        .args(["-c", "listen_addresses=*", "-c", "fsync=off", "-p", &port.to_string(), "-k"])
        .arg(&folder)
        .arg("-D")
        .arg(&data);
    start(lab, &folder, command)
}

/// Starts a service with its output in its folder.
fn start(lab: &mut Lab, folder: &Path, mut command: Command) -> Result<usize, ServiceError> {
    let log = folder.join("output.log");
    let output =
        File::create(&log).map_err(|error| LabError::new(format!("write {}", log.display()), error))?;
    let errors = output.try_clone().map_err(|error| LabError::new("share a log", error))?;
    command.stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    let process =
        Process::spawn(&mut command).map_err(|error| LabError::new(format!("start {command:?}"), error))?;
    Ok(lab.keep(process))
}

/// The newest PostgreSQL's programs.
fn postgresql_programs() -> Result<PathBuf, ServiceError> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, programs)| programs.join("initdb").exists())
        .collect();
    found.sort();
    found
        .pop()
        .map(|(_, programs)| programs)
        .ok_or_else(|| LabError::new("find PostgreSQL's programs", "install the package postgresql"))
}

/// The full path of a system program: service folders are not on every user's PATH.
fn find(program: &str, package: &str) -> Result<String, ServiceError> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|folder| format!("{folder}/{program}"))
        .find(|path| Path::new(path).exists())
        .ok_or_else(|| LabError::new(format!("find {program}"), format!("install the package {package}")))
}

/// Writes a file that every account may read: services drop their rights.
fn write(path: &Path, text: &str) -> Result<(), ServiceError> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .map_err(|error| LabError::new(format!("write {}", path.display()), error))
}
