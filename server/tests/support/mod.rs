//! The real program as a process, and what can be done to it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, User},
};

/// Far longer than anything here takes on a busy machine: a bound, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that every user can pass, removed at the end.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The state folder for servers.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub fn data(&self) -> PathBuf {
        self.state().join("postgres/data")
    }
}

/// The program's command line, before the sub-command's own options.
pub fn command(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve-server"));
    command
        .args(arguments)
        .arg("--state")
        .arg(state)
        .env_remove("PORTREEVE_DATABASE_URL")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(state: &Path, arguments: &[&str]) -> Output {
    command(state, arguments).env("PORTREEVE_PASSWORD", "long enough").output().expect("the program runs")
}

/// Runs a command that must fail; its words.
pub fn fails(state: &Path, arguments: &[&str]) -> String {
    let output = run(state, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// A running server. Ended when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(state: &Path) -> Self {
        Self::spawn(command(state, &["serve", "--listen", "127.0.0.1:0"]))
    }

    /// Starts this command line and waits until it says where it is.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.process_group(0).stdout(Stdio::piped()).spawn().expect("the program runs");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let address = output.lines().map_while(Result::ok).find_map(|line| {
            line.strip_prefix("Portreeve is at http://").and_then(|address| address.parse().ok())
        });
        Self { child, address: address.expect("the server says where it is; its words are above") }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("it lives");
    }

    /// Sends a signal to its process group, as a terminal does on Ctrl-C.
    pub fn signal_group(&self, signal: Signal) {
        nix::sys::signal::killpg(Pid::from_raw(self.pid()), signal).expect("it lives");
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("our own child")
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert!(self.wait().success());
    }

    /// Kills it without warning.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// Until the server and its database answer.
    pub fn wait_until_healthy(&self) {
        wait_until("the server is healthy", || {
            get(self.address, "/health").is_some_and(|(status, _)| status == 200)
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::SIGTERM);
            self.wait();
        }
    }
}

/// Status and body.
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Sends JSON; status and body.
pub fn post(address: SocketAddr, path: &str, token: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A small disk of its own in a folder, for root only.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(folder: &Path, options: &str) -> Self {
        fs::create_dir(folder).expect("a new folder");
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some(options)).expect("a small disk");
        Self(folder.to_owned())
    }

    /// Writes a file until nothing more fits.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = fs::File::create(&path).expect("a file");
        for size in [1 << 16, 1 << 12] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still ends there keeps it until then.
        umount2(&self.0, MntFlags::MNT_DETACH).expect("our own disk");
    }
}

/// Looks again and again.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The postmaster that the data folder names.
pub fn postmaster(data: &Path) -> i32 {
    let text = fs::read_to_string(data.join("postmaster.pid")).expect("a pid file");
    text.lines().next().and_then(|pid| pid.parse().ok()).expect("a pid")
}

/// The postmaster that the data folder names, once it takes connections. One look: between two, a new postmaster
/// takes the file of a killed one away.
pub fn ready_postmaster(data: &Path) -> Option<i32> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.parse().ok()?;
    (lines.last()?.trim() == "ready").then_some(pid)
}

/// Whether the process exists and is no zombie.
pub fn lives(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat"));
    status.is_ok_and(|text| !text.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

pub fn kill_process(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it lives");
}

/// What the control file says, as "shut down" or "in production".
pub fn cluster_state(data: &Path) -> String {
    let programs = newest_programs();
    let output = Command::new(programs.join("pg_controldata"))
        .arg("-D")
        .arg(data)
        .output()
        .expect("pg_controldata runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("Database cluster state:"));
    line.expect("a state").trim().to_owned()
}

pub fn newest_programs() -> PathBuf {
    let majors = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed").flatten();
    let newest = majors.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    PathBuf::from(format!("/usr/lib/postgresql/{}/bin", newest.expect("PostgreSQL is installed")))
}

pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// A command as the user `nobody`; only for root.
pub fn as_nobody(command: &mut Command) -> &mut Command {
    let nobody = User::from_name("nobody").expect("the list of users").expect("every system has nobody");
    command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw()).env("HOME", "/nonexistent")
}
