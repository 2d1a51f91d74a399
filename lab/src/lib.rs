//! Test networks made of network namespaces on this machine, with real services in them.
//!
//! A [`Lab`] is one Ethernet segment: a bridge in a namespace of its own, and a namespace per host,
//! each joined to the bridge by a veth pair. There is no route to anything else: packets of a scan cannot
//! leave the lab. Everything is removed when the value is dropped; what a killed run left behind is
//! removed by the next lab of the same name.
//!
//! A [`scan::ScanLab`] is the other kind: no services, but as many hosts as wanted, which answer at more than a million
//! packets a second and count what was sent.
//!
//! Needs root and the programs `ip` and `setpriv` (Debian: iproute2, util-linux).

#![forbid(unsafe_code)]

mod process;
mod relay;
pub mod scan;
mod service;
pub mod zoo;

use std::{
    fmt, fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

pub use process::{Process, bound, in_namespace};
pub use relay::Relay;
pub use service::{ServiceError, nginx, openssh, postgresql, redis};

/// The network that labs use by convention.
pub const NETWORK: &str = "10.99.0.0/24";

/// A segment of hosts in namespaces.
#[derive(Debug)]
pub struct Lab {
    name: String,
    namespaces: Vec<String>,
    processes: Vec<Process>,
    folder: PathBuf,
}

/// Something of the lab could not be made.
#[derive(Debug)]
pub struct LabError {
    what: String,
    why: String,
}

impl LabError {
    pub(crate) fn new(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { what: what.into(), why: why.to_string() }
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.why.trim())
    }
}

impl std::error::Error for LabError {}

impl Lab {
    /// Makes an empty segment. `name` is part of the namespaces' names: at most six letters or digits.
    pub fn new(name: &str) -> Result<Self, LabError> {
        check_name(name)?;
        remove_leftovers(name)?;
        let folder = std::env::temp_dir().join(format!("portreeve-lab-{name}"));
        make_fresh_folder(&folder)?;
        let mut lab = Self { name: name.to_owned(), namespaces: Vec::new(), processes: Vec::new(), folder };
        let switch = lab.add_namespace("switch")?;
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "br0", "up"])?;
        Ok(lab)
    }

    /// Adds a host with one interface `eth0`; returns its namespace. `prefix` is the length of the mask.
    pub fn add_host(&mut self, host: &str, address: Ipv4Addr, prefix: u8) -> Result<String, LabError> {
        let number = self.namespaces.len();
        let switch = self.namespace("switch");
        let namespace = self.add_namespace(host)?;
        // Both ends are born inside the lab's namespaces: the machine's own namespace never sees them.
        let port = format!("p{number}");
        ip(&[
            "-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace,
        ])?;
        ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"])?;
        ip(&["-n", &namespace, "address", "add", &format!("{address}/{prefix}"), "dev", "eth0"])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        Ok(namespace)
    }

    /// The namespace of a host.
    pub fn namespace(&self, host: &str) -> String {
        format!("pr-{}-{host}", self.name)
    }

    /// A folder for a service's files, readable by all, removed with the lab.
    pub fn folder(&self, purpose: &str) -> Result<PathBuf, LabError> {
        let folder = self.folder.join(purpose);
        fs::create_dir_all(&folder)
            .map_err(|error| LabError::new(format!("make {}", folder.display()), error))?;
        Ok(folder)
    }

    /// Keeps a process until the lab ends; returns its number for [`Lab::stop`].
    pub fn keep(&mut self, process: Process) -> usize {
        self.processes.push(process);
        self.processes.len() - 1
    }

    /// Ends one kept process.
    pub fn stop(&mut self, number: usize) {
        if let Some(process) = self.processes.get_mut(number) {
            process.stop();
        }
    }

    fn add_namespace(&mut self, host: &str) -> Result<String, LabError> {
        let namespace = self.namespace(host);
        ip(&["netns", "add", &namespace])?;
        self.namespaces.push(namespace.clone());
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            process.stop();
        }
        for namespace in self.namespaces.iter().rev() {
            // Nobody is left to tell; the next lab of this name tries again.
            let _ = remove_namespace(namespace);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What every kind of lab needs: a name that fits into those of namespaces, and root.
fn check_name(name: &str) -> Result<(), LabError> {
    if name.is_empty() || name.len() > 6 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(LabError::new(format!("make a lab named {name:?}"), "use one to six letters or digits"));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::new("make network namespaces", "this needs root"));
    }
    Ok(())
}

/// Removes namespaces of an earlier lab of this name that ended without cleaning up.
fn remove_leftovers(name: &str) -> Result<(), LabError> {
    let listing = run("list network namespaces", Command::new("ip").args(["netns", "list"]))?;
    let prefix = format!("pr-{name}-");
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let names = listing.lines().filter_map(|line| line.split_whitespace().next());
    for namespace in names.filter(|namespace| namespace.starts_with(&prefix)) {
        remove_namespace(namespace)?;
    }
    Ok(())
}

/// Ends what still runs inside a namespace of ours, then removes it.
fn remove_namespace(namespace: &str) -> Result<(), LabError> {
    let pids = run("list a namespace's processes", Command::new("ip").args(["netns", "pids", namespace]))?;
    let pids = String::from_utf8_lossy(&pids.stdout).into_owned();
    let others = pids.lines().filter_map(|line| line.trim().parse().ok());
    // We may be inside ourselves, after `ScanLab::enter`.
    for pid in others.filter(|&pid| pid != std::process::id().cast_signed()) {
        // It may have ended meanwhile, which is what we want.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    ip(&["netns", "delete", namespace])
}

fn make_fresh_folder(folder: &Path) -> Result<(), LabError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LabError::new(format!("remove {}", folder.display()), error))
        }
        _ => fs::create_dir_all(folder)
            .map_err(|error| LabError::new(format!("make {}", folder.display()), error)),
    }
}

fn ip(arguments: &[&str]) -> Result<(), LabError> {
    run(&format!("run ip {}", arguments.join(" ")), Command::new("ip").args(arguments)).map(drop)
}

/// Runs a command to its end; its own words are the reason when it fails.
fn run(what: &str, command: &mut Command) -> Result<Output, LabError> {
    let output = command.output().map_err(|error| LabError::new(what, error))?;
    if output.status.success() {
        Ok(output)
    } else {
        Err(LabError::new(what, String::from_utf8_lossy(&output.stderr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lab tests need root; a developer without it sees why nothing was tested, CI always has it.
    fn lab(name: &str) -> Option<Lab> {
        if nix::unistd::geteuid().is_root() {
            return Some(Lab::new(name).expect("lab"));
        }
        assert!(std::env::var_os("CI").is_none(), "lab tests need root in CI");
        eprintln!("skipped: network namespaces need root");
        None
    }

    #[test]
    fn hosts_reach_each_other_and_nothing_else() {
        let Some(mut lab) = lab("reach") else { return };
        let one = lab.add_host("one", Ipv4Addr::new(10, 99, 0, 1), 24).expect("host");
        lab.add_host("two", Ipv4Addr::new(10, 99, 0, 2), 24).expect("host");
        // Nothing listens there, so a host that is reached refuses; one that is not would time out.
        let knock = in_namespace(&one, "bash")
            .args(["-c", "exec timeout 2 bash -c 'echo >/dev/tcp/10.99.0.2/9'"])
            .output()
            .expect("bash");
        let answer = String::from_utf8_lossy(&knock.stderr).into_owned();
        assert!(answer.contains("refused"), "{answer}");
        let routes = Command::new("ip").args(["-n", &one, "route"]).output().expect("ip route");
        let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
        assert_eq!(routes.trim().lines().count(), 1, "{routes}");
        assert!(routes.starts_with("10.99.0.0/24 dev eth0"), "{routes}");
    }

    #[test]
    fn nothing_is_left_behind() {
        let Some(mut lab) = lab("gone") else { return };
        let namespace = lab.add_host("one", Ipv4Addr::new(10, 99, 0, 1), 24).expect("host");
        let process = Process::spawn(in_namespace(&namespace, "sleep").arg("60")).expect("sleep");
        let pid = process.id();
        lab.keep(process);
        drop(lab);
        assert!(!Path::new("/run/netns").join(&namespace).exists());
        assert!(!Path::new("/proc").join(pid.to_string()).exists());
    }

    #[test]
    fn a_bad_name_is_named() {
        let error = Lab::new("far too long").expect_err("refused").to_string();
        assert!(error.contains("far too long"), "{error}");
    }
}
