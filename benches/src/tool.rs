//! The competitors, and how each is told to do a piece of work at its best.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    net::Ipv4Addr,
    ops::RangeInclusive,
    path::{self, Path, PathBuf},
    process::Command,
    thread,
};

use portreeve_lab::scan::{INTERFACE, Network, ROUTER_MAC};

use serde::Deserialize;

use crate::{Outcome, machine::said_by};

/// What is sent to each target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probe {
    /// A SYN.
    Syn,
    /// A datagram, as empty as the tool can make it.
    Datagram,
    /// An echo request; ports do not matter.
    Echo,
}

/// A piece of work, the same for all.
#[derive(Clone, Debug)]
pub struct Work {
    /// What.
    pub probe: Probe,
    /// Where to.
    pub network: Network,
    /// Which ports.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Packets a second; `None` is as fast as it can.
    pub rate: Option<u32>,
    /// How often a silent target is asked again; `None` is the tool's own default.
    pub retries: Option<u8>,
    /// How long peers wait after the last probe, in seconds; `None` is their own default. Ours knows when to stop.
    pub wait_s: Option<u32>,
    /// Peers do one part of so many; 1 is the whole.
    pub parts: u32,
    /// From which port, if it matters.
    pub source_port: Option<u16>,
}

impl Work {
    /// All of it, as fast as can be, with defaults.
    pub fn new(network: Network, ports: &[RangeInclusive<u16>]) -> Self {
        Self {
            probe: Probe::Syn,
            network,
            ports: ports.to_vec(),
            rate: None,
            retries: None,
            wait_s: Some(2),
            parts: 1,
            source_port: None,
        }
    }

    /// How many there are if none is sent again.
    pub fn probes(&self) -> u64 {
        let ports = match self.probe {
            Probe::Syn | Probe::Datagram => self.ports.iter().map(|range| range.len() as u64).sum(),
            Probe::Echo => 1,
        };
        u64::from(self.network.hosts()) * ports
    }

    /// As every tool reads them: `22,80,1-1000`.
    fn port_list(&self) -> String {
        let text = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low}-{high}"),
        };
        self.ports.iter().map(text).collect::<Vec<_>>().join(",")
    }
}

/// A scanner in one of its settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tool {
    /// The binary under test.
    Portreeve {
        /// `--backend`.
        backend: &'static str,
        /// How many cores it may use, and so from how many threads it sends; 0 is all.
        threads: u8,
    },
    /// masscan; `noreset` keeps it from answering answers.
    Masscan {
        /// `--noreset`.
        noreset: bool,
    },
    /// zmap.
    Zmap {
        /// `-T`.
        threads: u8,
    },
}

impl Tool {
    /// Ours with its defaults.
    pub const OURS: Self = Self::Portreeve { backend: "auto", threads: 0 };
    /// masscan as it comes.
    pub const MASSCAN: Self = Self::Masscan { noreset: false };
    /// zmap with a thread for each core of a small machine.
    pub const ZMAP: Self = Self::Zmap { threads: 2 };

    /// A name for tables.
    pub fn label(&self) -> String {
        match self {
            Self::Portreeve { backend: "auto", threads: 0 } => "portreeve".to_owned(),
            Self::Portreeve { backend, threads: 0 | 1 } => format!("portreeve {backend}"),
            Self::Portreeve { backend, threads } => format!("portreeve {backend} x{threads}"),
            Self::Masscan { noreset: false } => "masscan".to_owned(),
            Self::Masscan { noreset: true } => "masscan --noreset".to_owned(),
            Self::Zmap { threads: 1 } => "zmap".to_owned(),
            Self::Zmap { threads } => format!("zmap x{threads}"),
        }
    }
}

/// Which programs there are.
#[derive(Clone, Debug)]
pub struct Tools {
    ours: PathBuf,
    help: String,
    masscan: Option<String>,
    zmap: Option<String>,
}

/// Why a tool takes no part.
pub type Absence = String;

impl Tools {
    /// Looks for them. Without `peers` ours runs alone.
    pub fn find(ours: &Path, peers: bool) -> Self {
        let version = |program: &str, argument: &str| {
            let said = if peers { said_by(program, &[argument]) } else { String::new() };
            (!said.is_empty()).then_some(said)
        };
        let help = Command::new(ours).args(["scan", "--help"]).output();
        let help = help.map(|help| String::from_utf8_lossy(&help.stdout).into_owned()).unwrap_or_default();
        Self {
            ours: path::absolute(ours).unwrap_or_else(|_| ours.to_path_buf()),
            help,
            masscan: version("masscan", "--version"),
            zmap: version("zmap", "--version"),
        }
    }

    /// Names and versions, and which are missing.
    pub fn versions(&self) -> Vec<(&'static str, String)> {
        let peer = |found: &Option<String>| found.clone().unwrap_or_else(|| "missing".to_owned());
        let ours = said_by(&self.ours.to_string_lossy(), &["--version"]);
        vec![("portreeve", ours), ("masscan", peer(&self.masscan)), ("zmap", peer(&self.zmap))]
    }

    /// Whether a tool can take part, or why not.
    pub fn available(&self, tool: &Tool) -> Result<(), Absence> {
        match tool {
            Tool::Portreeve { backend, threads } => {
                if !self.help.contains(&format!("- {backend}:")) {
                    return Err(format!("this binary has no backend {backend}"));
                }
                let cores = thread::available_parallelism().map_or(1, usize::from);
                if usize::from(*threads) > cores {
                    return Err(format!("this machine has {cores} cores"));
                }
                Ok(())
            }
            Tool::Masscan { .. } => {
                self.masscan.as_ref().map(drop).ok_or_else(|| "masscan is not here".into())
            }
            Tool::Zmap { .. } => self.zmap.as_ref().map(drop).ok_or_else(|| "zmap is not here".into()),
        }
    }

    /// The command lines that do the work one after another, results going to files in `folder`. zmap 2 knows one port a
    /// run, so it runs once a port.
    pub fn commands(&self, tool: &Tool, work: &Work, folder: &Path) -> Vec<Vec<OsString>> {
        match tool {
            Tool::Portreeve { backend, threads } => vec![self.our_command(work, backend, *threads, folder)],
            Tool::Masscan { noreset } => vec![masscan(work, *noreset, folder)],
            Tool::Zmap { threads } => {
                let ports = work.ports.iter().flat_map(|range| range.clone());
                ports.map(|port| zmap(work, port, *threads, folder)).collect()
            }
        }
    }

    /// The binary under test.
    pub fn ours(&self) -> &Path {
        &self.ours
    }

    fn our_command(&self, work: &Work, backend: &str, threads: u8, folder: &Path) -> Vec<OsString> {
        let rate = work.rate.unwrap_or(u32::MAX).to_string();
        let mut words = Vec::new();
        if threads > 0 {
            // It sends from as many threads as it may use cores.
            words.extend(strings(["taskset", "-c", &format!("0-{}", threads - 1)]));
        }
        words.push(self.ours.clone().into_os_string());
        words.extend(strings(["scan", &work.network.cidr(), "--rate", &rate]));
        words.extend(match work.probe {
            Probe::Syn => strings(["-p", &work.port_list()]),
            Probe::Datagram => strings(["-p", &format!("U:{}", work.port_list())]),
            Probe::Echo => strings(["--no-ports", "--ping=icmp"]),
        });
        words.extend(strings(["-e", INTERFACE, "--backend", backend, "--ndjson", "-o"]));
        words.push(folder.join("portreeve").into_os_string());
        if let Some(retries) = work.retries {
            words.extend(strings(["--retries", &retries.to_string()]));
        }
        if let Some(port) = work.source_port {
            words.extend(strings(["--source-port", &port.to_string()]));
        }
        words
    }
}

fn masscan(work: &Work, noreset: bool, folder: &Path) -> Vec<OsString> {
    let rate = work.rate.unwrap_or(100_000_000).to_string();
    // The next hop is given, so that its ARP is not timed.
    let router = ROUTER_MAC.replace(':', "-");
    let mut words = strings(["masscan", &work.network.cidr(), "--rate", &rate]);
    words.extend(match work.probe {
        Probe::Syn => strings(["-p", &work.port_list()]),
        Probe::Datagram => strings(["-p", &format!("U:{}", work.port_list())]),
        Probe::Echo => strings(["--ping"]),
    });
    words.extend(strings(["-e", INTERFACE, "--router-mac", &router, "-oL"]));
    words.push(folder.join("masscan").into_os_string());
    if let Some(seconds) = work.wait_s {
        words.extend(strings(["--wait", &seconds.to_string()]));
    }
    if let Some(retries) = work.retries.filter(|&retries| retries > 0) {
        words.extend(strings(["--retries", &retries.to_string()]));
    }
    if work.parts > 1 {
        words.extend(strings(["--shard", &format!("1/{}", work.parts)]));
    }
    if let Some(port) = work.source_port {
        words.extend(strings(["--source-port", &port.to_string()]));
    }
    if noreset {
        words.extend(strings(["--noreset"]));
    }
    words
}

fn zmap(work: &Work, port: u16, threads: u8, folder: &Path) -> Vec<OsString> {
    // 0 is its word for "as fast as can be". Its own block list has all private networks; the empty file has none.
    let rate = work.rate.unwrap_or(0).to_string();
    let mut words = strings(["zmap", &work.network.cidr(), "-r", &rate, "-q"]);
    let (port, fields) = (port.to_string(), "saddr,sport");
    words.extend(match work.probe {
        Probe::Syn => strings(["-p", &port, "-f", fields]),
        // Without an argument it sends text.
        Probe::Datagram => strings(["-M", "udp", "--probe-args=hex:00", "-p", &port, "-f", fields]),
        Probe::Echo => strings(["-M", "icmp_echoscan", "-f", "saddr"]),
    });
    words.extend(strings([
        "-T",
        &threads.to_string(),
        "-i",
        INTERFACE,
        "-G",
        ROUTER_MAC,
        "-C",
        "/dev/null",
        "-b",
    ]));
    words.push(folder.join("empty").into_os_string());
    words.extend(strings(["-O", "csv", "--output-filter=success = 1 && repeat = 0", "-o"]));
    words.push(folder.join(format!("zmap-{port}")).into_os_string());
    if let Some(seconds) = work.wait_s {
        words.extend(strings(["-c", &seconds.to_string()]));
    }
    if let Some(retries) = work.retries.filter(|&retries| retries > 0) {
        words.extend(strings(["-P", &(u32::from(retries) + 1).to_string()]));
    }
    if work.parts > 1 {
        words.extend(strings(["--shards", &work.parts.to_string(), "--shard", "0", "-e", "7"]));
    }
    if let Some(port) = work.source_port {
        words.extend(strings(["-s", &port.to_string()]));
    }
    words
}

fn strings<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).to_vec()
}

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Open ports.
    pub open: BTreeSet<(Ipv4Addr, u16)>,
    /// Lines that said once more what had been said.
    pub doubles: u64,
    /// What the tool says of its own run at its end.
    pub summary: Summary,
}

/// What ours says of itself; masscan and zmap know none of it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Summary {
    /// The way that probes left.
    pub backend: Option<String>,
    /// The share of the open ports that it probably missed, 0-1.
    pub miss_estimate: Option<f64>,
    /// The share of the probes to answering targets that went unanswered, 0-1.
    pub loss_estimate: Option<f64>,
    /// Frames that it did not take for answers, by cause.
    #[serde(default)]
    pub drops: Vec<Drops>,
}

/// Frames not taken for answers.
#[derive(Clone, Debug, Deserialize)]
pub struct Drops {
    /// Why.
    pub cause: String,
    /// How many.
    pub count: u64,
}

impl Findings {
    /// Reads what `tool` wrote to `folder`.
    pub fn read(tool: &Tool, folder: &Path) -> Outcome<Self> {
        let mut findings = Self::default();
        for entry in fs::read_dir(folder)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let text = || fs::read_to_string(entry.path());
            match tool {
                Tool::Portreeve { .. } if name == "portreeve" => findings.add_ours(&text()?),
                Tool::Masscan { .. } if name == "masscan" => findings.add_lines(&text()?, masscan_line),
                Tool::Zmap { .. } if name.starts_with("zmap-") => findings.add_lines(&text()?, zmap_line),
                _ => {}
            }
        }
        Ok(findings)
    }

    fn add_lines(&mut self, text: &str, read: fn(&str) -> Option<(Ipv4Addr, u16)>) {
        for pair in text.lines().filter_map(read) {
            self.doubles += u64::from(!self.open.insert(pair));
        }
    }

    fn add_ours(&mut self, text: &str) {
        for line in text.lines() {
            if line.contains(r#""type":"summary""#) {
                self.summary = serde_json::from_str(line).unwrap_or_default();
            }
            self.add_lines(line, our_line);
        }
    }
}

/// `{"type":"observation","address":"10.7.0.1","port":80,"state":"open",…}`
fn our_line(line: &str) -> Option<(Ipv4Addr, u16)> {
    let record: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = record.get("address")?.as_str()?.parse().ok()?;
    let port = u16::try_from(record.get("port")?.as_u64()?).ok()?;
    (record.get("state")?.as_str()? == "open").then_some((address, port))
}

/// `open tcp 80 10.7.0.1 1700000000`
fn masscan_line(line: &str) -> Option<(Ipv4Addr, u16)> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["open", "tcp", port, address, ..] => Some((address.parse().ok()?, port.parse().ok()?)),
        _ => None,
    }
}

/// `10.7.0.1,80`
fn zmap_line(line: &str) -> Option<(Ipv4Addr, u16)> {
    let (address, port) = line.trim().split_once(',')?;
    Some((address.parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tools_lines_are_read() {
        let pair = Some((Ipv4Addr::new(10, 7, 0, 1), 80));
        assert_eq!(masscan_line("open tcp 80 10.7.0.1 1700000000"), pair);
        assert_eq!(masscan_line("#masscan"), None);
        assert_eq!(zmap_line("10.7.0.1,80"), pair);
        assert_eq!(zmap_line("saddr,sport"), None);
        let ours = r#"{"type":"port","address":"10.7.0.1","port":80,"transport":"tcp","state":"open"}"#;
        assert_eq!(our_line(ours), pair);
        assert_eq!(our_line(&ours.replace("open", "closed")), None);
    }

    #[test]
    fn our_summary_is_read() {
        let mut findings = Findings::default();
        findings.add_ours(r#"{"type":"summary","backend":"ring","loss_estimate":0.5,"miss_estimate":null}"#);
        assert_eq!(findings.summary.backend.as_deref(), Some("ring"));
        assert_eq!((findings.summary.loss_estimate, findings.summary.miss_estimate), (Some(0.5), None));
    }

    #[test]
    fn what_is_said_twice_is_a_double() {
        let mut findings = Findings::default();
        findings.add_lines("10.7.0.1,80\n10.7.0.1,80\n10.7.0.1,443\n", zmap_line);
        assert_eq!((findings.open.len(), findings.doubles), (2, 1));
    }

    #[test]
    fn work_knows_its_size() {
        let work = Work::new(Network::default(), &[22..=22, 80..=81]);
        assert_eq!((work.probes(), work.port_list()), (3 << 16, "22,80-81".to_owned()));
        assert_eq!(Work { probe: Probe::Echo, ..work }.probes(), 1 << 16);
    }
}
