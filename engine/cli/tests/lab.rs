//! The real binary in a lab of namespaces with real services: it finds exactly what is there.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    process::{Command, Output},
    thread::sleep,
    time::Duration,
};

use portreeve_lab::{Lab, in_namespace, nginx, openssh, redis};
use serde_json::{Value, json};

/// A scanner, a web server, and a host with SSH and Redis. `None` without root, which CI has.
fn lab(name: &str) -> Option<Lab> {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "lab tests need root in CI");
        eprintln!("skipped: network namespaces need root");
        return None;
    }
    let mut lab = Lab::new(name).expect("lab");
    for (host, last) in [("scan", 1), ("web", 2), ("data", 3)] {
        lab.add_host(host, Ipv4Addr::new(10, 99, 0, last), 24).expect("host");
    }
    nginx(&mut lab, "web", 80).expect("nginx");
    openssh(&mut lab, "data", 22).expect("sshd");
    redis(&mut lab, "data", 6379).expect("redis");
    wait_for_listeners(&lab, "web", &[80]);
    wait_for_listeners(&lab, "data", &[22, 6379]);
    Some(lab)
}

fn wait_for_listeners(lab: &Lab, host: &str, ports: &[u16]) {
    let mut listening = String::new();
    for _ in 0..600 {
        let output = in_namespace(&lab.namespace(host), "ss").arg("-ltnH").output().expect("ss, of iproute2");
        listening = String::from_utf8_lossy(&output.stdout).into_owned();
        if ports.iter().all(|port| listening.contains(&format!("0.0.0.0:{port} "))) {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("the services of {host} never listened: {listening}");
}

fn portreeve(lab: &Lab, host: &str, arguments: &[&str]) -> Output {
    let mut command: Command = in_namespace(&lab.namespace(host), env!("CARGO_BIN_EXE_portreeve"));
    let output = command.args(arguments).env("HOME", "/nonexistent").output().expect("the binary runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn discovery_finds_exactly_the_hosts_of_the_segment() {
    let Some(lab) = lab("clid") else { return };
    // A block of the IEEE's registry, on a host that nobody else knows by its own address.
    let assigned = ["link", "set", "eth0", "address", "00:00:00:12:34:56"];
    let set = Command::new("ip").args(["-n", &lab.namespace("web")]).args(assigned).status().expect("ip");
    assert!(set.success());
    let output = portreeve(&lab, "scan", &["discover", "10.99.0.0/24", "--rate", "5000", "--json"]);
    let document = document(&output);
    let hosts: BTreeSet<_> =
        document["hosts"].as_array().expect("hosts").iter().map(|host| host["address"].to_string()).collect();
    assert_eq!(hosts, ["\"10.99.0.1\"", "\"10.99.0.2\"", "\"10.99.0.3\""].map(str::to_owned).into());
    for host in document["hosts"].as_array().expect("hosts") {
        // The others have addresses that their kernel made up.
        let vendor = if host["address"] == "10.99.0.2" { json!("XEROX CORPORATION") } else { Value::Null };
        assert_eq!(host["mac_vendor"], vendor, "{host:#}");
    }
}

/// Address, port, service, product.
fn found(document: &Value) -> BTreeSet<(String, u64, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ports = document["ports"].as_array().expect("ports").iter();
    ports
        .map(|port| {
            let service = &port["service"];
            let number = port["port"].as_u64().expect("a number");
            (text(&port["address"]), number, text(&service["name"]), text(&service["product"]))
        })
        .collect()
}

#[test]
fn a_scan_of_the_segment_finds_exactly_the_truth() {
    let Some(lab) = lab("cli") else { return };
    let truth: BTreeSet<_> = [
        ("10.99.0.2", 80, "http", "nginx"),
        ("10.99.0.3", 22, "ssh", "OpenSSH"),
        ("10.99.0.3", 6379, "redis", "Redis"),
    ]
    .into_iter()
    .map(|(address, port, name, product)| (address.to_owned(), port, name.to_owned(), product.to_owned()))
    .collect();
    let ports = ["-p", "22,80,443,3306,5432,6379,8080"];
    for backend in ["auto", "connect"] {
        let how = [
            "scan",
            "10.99.0.0/24",
            "-sV",
            "--json",
            "--rate",
            "5000",
            "--wait",
            "500ms",
            "--backend",
            backend,
        ];
        let document = document(&portreeve(&lab, "scan", &[&how[..], &ports].concat()));
        assert_eq!(found(&document), truth, "{backend}: {document:#}");
        let reason = if backend == "connect" { "connect-accepted" } else { "syn-ack" };
        for port in document["ports"].as_array().expect("ports") {
            assert_eq!(port["reason"], reason, "{port:#}");
            assert!(!port["service"]["version"].is_null(), "{port:#}");
        }
        assert_eq!(document["summary"]["addresses"], 256);
    }
}

#[test]
fn a_scan_that_is_killed_at_any_moment_loses_nothing_and_repeats_little() {
    let Some(lab) = lab("clik") else { return };
    kill_over_and_over(&lab, "auto");
}

#[test]
fn so_does_one_whose_probes_are_made_in_the_kernel() {
    let Some(lab) = lab("clikk") else { return };
    // Frames from the kernel need the receiving end of the veth pair to take them in its own time.
    let switch = lab.namespace("switch");
    let set = in_namespace(&switch, "ethtool").args(["-K", "p1", "gro", "on"]).status().expect("ethtool");
    assert!(set.success());
    kill_over_and_over(&lab, "kernel");
}

/// A scan that is killed without warning, and what is left of it, over and over.
fn kill_over_and_over(lab: &Lab, backend: &str) {
    const PORTS: u64 = 12_000;
    const RATE: u64 = 4_000;
    let folder = tempfile::tempdir().expect("folder");
    // Killed in the first round twice, and once among the repeats: a filter leaves enough to repeat.
    in_namespace(&lab.namespace("data"), "nft")
        .arg(
            "table inet pr { chain input { type filter hook input priority 0; tcp dport 1000-9000 drop; }; }",
        )
        .status()
        .expect("nft");
    let start = |arguments: &[&str]| {
        let mut command = in_namespace(&lab.namespace("scan"), env!("CARGO_BIN_EXE_portreeve"));
        command.args(arguments).args(["--rate", &RATE.to_string(), "--wait", "300ms", "--json"]);
        command
            .args(["--backend", backend, "-o", "found.json"])
            .current_dir(folder.path())
            .env("HOME", "/nonexistent");
        command.spawn().expect("the binary runs")
    };
    let journal = || {
        let mut names =
            std::fs::read_dir(folder.path()).expect("folder").map(|entry| entry.expect("entry").path());
        names.find(|path| path.extension().is_some_and(|extension| extension == "resume"))
    };
    let before = probes_seen(lab);
    let ports = format!("1-{}", PORTS / 2);
    let mut child = start(&["scan", "10.99.0.2-3", "-p", &ports]);
    for milliseconds in [1_700, 1_000, 1_200] {
        sleep(Duration::from_millis(milliseconds));
        assert_eq!(child.try_wait().expect("a child"), None, "the scan is over too soon");
        child.kill().expect("killed");
        child.wait().expect("gone");
        let journal = journal().expect("a checkpoint");
        child = start(&["scan", "--resume", journal.to_str().expect("UTF-8")]);
    }
    assert!(child.wait().expect("ended").success());
    let document: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("found.json")).expect("results"))
            .expect("JSON");
    let ports =
        found(&document).into_iter().map(|(address, port, ..)| (address, port)).collect::<BTreeSet<_>>();
    let expected = [("10.99.0.2", 80), ("10.99.0.3", 22)].map(|(address, port)| (address.to_owned(), port));
    assert_eq!(ports, expected.into());
    assert_eq!(journal(), None, "a scan that is over leaves nothing");
    // Every target once and the silent ones twice; each kill may repeat a second's work.
    let silent = PORTS / 2 - 999;
    let probes = probes_seen(lab) - before;
    assert!(probes <= PORTS + silent + 3 * RATE + 100, "{probes} probes");
    assert!(probes >= PORTS + silent, "{probes} probes");
}

/// Packets that the hosts of the lab have received.
fn probes_seen(lab: &Lab) -> u64 {
    let received = |host| {
        let path = "/sys/class/net/eth0/statistics/rx_packets";
        let output = in_namespace(&lab.namespace(host), "cat").arg(path).output().expect("cat");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().expect("a number")
    };
    received("web") + received("data")
}
