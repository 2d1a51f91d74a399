//! Every form of output, read by programs that were not written for it: ndiff and python-libnmap for nmap's XML, jq and
//! Python for JSON, CSV and the lists.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

/// Debian's Python: its packages are the readers.
const PYTHON: &str = "/usr/bin/python3";

/// What a server says that wants to break every form at once.
const HOSTILE: &[u8] =
    b"SSH-2.0-x<y>&\"z\"_'1',2/3 ]]>--> \x1b[2J\x00\xff\xfe\xc3(\xe2\x80\xae;=cmd|' /C calc'!A0\ttab\r\n";

fn server(greeting: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let _ = stream.write_all(greeting);
                let _ = BufReader::new(&stream).read_line(&mut String::new());
            });
        }
    });
    port
}

fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Whether a reader is there. CI has all of them.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    assert!(
        found || std::env::var_os("CI").is_none(),
        "{program} is not installed, and CI reads with all of them"
    );
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Scans two servers, one hostile, and a closed port; writes every form into the folder.
struct Scanned {
    folder: tempfile::TempDir,
    polite: u16,
    hostile: u16,
}

impl Scanned {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let (polite, hostile) = (server(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n"), server(HOSTILE));
        let scanned = Self { folder, polite, hostile };
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.args([
            "scan",
            "127.0.0.1",
            "--backend",
            "connect",
            "--wait",
            "500ms",
            "--rate",
            "5000",
            "-sV",
        ]);
        command.args(["--all", "-p", &format!("{polite},{hostile},{}", closed_port())]);
        for (flag, name) in
            [("-oA", "all"), ("-oC", "csv"), ("-oD", "ndjson"), ("-oJ", "masscan.json"), ("-oL", "list")]
        {
            command.arg(flag).arg(scanned.path(name));
        }
        // And XML to standard output.
        let output =
            command.args(["-oX", "-"]).env_clear().env("HOME", "/nonexistent").output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let xml = fs::read(scanned.path("all.xml")).expect("XML");
        assert_eq!(lines_without_command(&output.stdout), lines_without_command(&xml));
        scanned
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a reader in the folder; what it prints is JSON.
    fn read_by(&self, program: &str, arguments: &[&str]) -> Value {
        let output =
            Command::new(program).args(arguments).current_dir(self.folder.path()).output().expect(program);
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn lines_without_command(xml: &[u8]) -> Vec<String> {
    String::from_utf8(xml.to_vec()).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn no_form_holds_a_control_character() {
    let scanned = Scanned::new();
    let mut files = 0;
    for entry in fs::read_dir(scanned.folder.path()).expect("folder") {
        let path = entry.expect("entry").path();
        let text = String::from_utf8(fs::read(&path).expect("readable")).expect("UTF-8");
        let text = text.replace("\r\n", "\n");
        let allowed = |character: char| matches!(character, '\n' | '\t') || !character.is_control();
        assert!(text.chars().all(allowed) && !text.contains('\u{202e}'), "{}: {text:?}", path.display());
        assert!(!text.is_empty(), "{}", path.display());
        files += 1;
    }
    assert_eq!(files, 8);
}

#[test]
fn python_libnmap_reads_the_xml() {
    let scanned = Scanned::new();
    if !has(PYTHON) {
        return;
    }
    let script = "\
import json
from libnmap.parser import NmapParser
report = NmapParser.parse_fromfile('all.xml')
host = report.hosts[0]
print(json.dumps({
    'hosts': len(report.hosts), 'up': report.hosts_up, 'total': report.hosts_total, 'address': host.address,
    'summary': report.summary, 'started': report.started,
    'ports': [[s.port, s.protocol, s.state, s.reason, s.service, s.banner] for s in host.services],
}))";
    let read = scanned.read_by(PYTHON, &["-c", script]);
    assert_eq!((&read["hosts"], &read["up"], &read["total"]), (&1.into(), &1.into(), &1.into()));
    assert!(
        read["summary"].as_str().is_some_and(|text| text.contains("1 IP addresses (1 hosts up)")),
        "{read:#}"
    );
    assert_eq!(read["address"], "127.0.0.1");
    assert!(read["started"].as_i64().is_some_and(|started| started > 1_700_000_000), "{read:#}");
    let ports = read["ports"].as_array().expect("ports");
    assert_eq!(ports.len(), 3, "{read:#}");
    let port = |number: u16| ports.iter().find(|port| port[0] == number).expect("the port");
    let polite = port(scanned.polite);
    assert_eq!((&polite[2], &polite[3], &polite[4]), (&"open".into(), &"syn-ack".into(), &"ssh".into()));
    assert!(polite[5].as_str().expect("text").contains("product: OpenSSH version: 9.2p1"), "{polite}");
    assert_eq!(port(scanned.hostile)[2], "open");
    assert_eq!(ports.iter().filter(|port| port[2] == "closed" && port[3] == "conn-refused").count(), 1);
}

#[test]
fn ndiff_tells_two_scans_apart() {
    let scanned = Scanned::new();
    if !has("ndiff") {
        return;
    }
    let before = fs::read_to_string(scanned.path("all.xml")).expect("XML");
    let gone = format!("portid=\"{}\"><state state=\"open\"", scanned.polite);
    assert!(before.contains(&gone), "{before}");
    let after = before.replace(&gone, &gone.replace("\"open\"", "\"filtered\""));
    fs::write(scanned.path("after.xml"), after).expect("written");
    let ndiff = |a: &str, b: &str| {
        let output =
            Command::new("ndiff").args([a, b]).current_dir(scanned.folder.path()).output().expect("ndiff");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(ndiff("all.xml", "all.xml"), (Some(0), String::new()));
    let (code, difference) = ndiff("all.xml", "after.xml");
    assert_eq!(code, Some(1), "{difference}");
    let line = |sign: &str, state: &str| format!("{sign}{}/tcp {state}", scanned.polite);
    let squeezed = difference.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        squeezed.contains(&line("-", "open")) && squeezed.contains(&line("+", "filtered")),
        "{difference}"
    );
}

#[test]
fn a_consumer_of_masscan_reads_json_and_list() {
    let scanned = Scanned::new();
    if !has(PYTHON) {
        return;
    }
    // As programs do that were written for masscan: a list of objects, a state or a banner in each.
    let script = "\
import json
found, banners = set(), {}
for entry in json.load(open('masscan.json')):
    int(entry['timestamp'])
    for port in entry['ports']:
        if 'service' in port:
            banners[port['port']] = port['service']['name']
        elif port['status'] == 'open':
            found.add((entry['ip'], port['port'], port['proto']))
listed = set()
for line in open('list'):
    words = line.split()
    if words and words[0] == 'open':
        kind, proto, port, ip, when = words
        int(when)
        listed.add((ip, int(port), proto))
print(json.dumps({'found': sorted(found), 'banners': sorted(banners.items()), 'same': found == listed}))";
    let read = scanned.read_by(PYTHON, &["-c", script]);
    let mut ports = [scanned.polite, scanned.hostile];
    ports.sort_unstable();
    let truth: Vec<Value> = ports.iter().map(|port| serde_json::json!(["127.0.0.1", port, "tcp"])).collect();
    assert_eq!(read["found"], Value::from(truth));
    assert_eq!(read["same"], true);
    assert_eq!(read["banners"].as_array().map(Vec::len), Some(2), "{read}");
}

#[test]
fn jq_and_python_read_json_ndjson_and_csv() {
    let scanned = Scanned::new();
    if !has("jq") || !has(PYTHON) {
        return;
    }
    let open = "[.ports[] | select(.state == \"open\") | .port] | sort";
    let from_json = scanned.read_by("jq", &["-c", open, "all.json"]);
    let open = "[.[] | select(.type == \"port\" and .state == \"open\") | .port] | sort";
    let from_ndjson = scanned.read_by("jq", &["-c", "-s", open, "ndjson"]);
    assert_eq!(from_json, from_ndjson);
    assert_eq!(from_json.as_array().map(Vec::len), Some(2));
    let complete = scanned.read_by(
        "jq",
        &["-c", "[.completed, .summary.open_ports, (.summary | has(\"miss_estimate\"))]", "all.json"],
    );
    assert_eq!(complete, serde_json::json!([true, 2, true]));
    let script = "\
import csv, json
rows = list(csv.DictReader(open('csv', newline='')))
assert all(None not in row and None not in row.values() for row in rows), rows
print(json.dumps(sorted(int(row['port']) for row in rows if row['state'] == 'open')))";
    assert_eq!(scanned.read_by(PYTHON, &["-c", script]), from_json);
}

#[test]
fn grep_finds_the_ports() {
    let scanned = Scanned::new();
    let text = fs::read_to_string(scanned.path("all.gnmap")).expect("readable");
    let ports =
        text.lines().find_map(|line| line.strip_prefix("Host: 127.0.0.1 ()\tPorts: ")).expect("ports");
    let ports: Vec<_> = ports.split(", ").collect();
    assert_eq!(ports.len(), 3, "{text}");
    assert!(ports.iter().all(|port| port.split('/').count() == 8), "{text}");
    let polite = format!("{}/open/tcp//ssh//OpenSSH 9.2p1", scanned.polite);
    assert!(ports.iter().any(|port| port.starts_with(&polite)), "{text}");
    let table = fs::read_to_string(scanned.path("all.txt")).expect("readable");
    assert!(table.starts_with("ADDRESS"), "{table}");
}

#[test]
fn two_outputs_cannot_share_standard_output() {
    let output = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["scan", "127.0.0.1", "-p", "80", "-oX", "-", "--json"])
        .env("HOME", "/nonexistent")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("2 outputs go to standard output"));
    assert!(!Path::new("-").exists());
}
