//! What keeps a scan from doing harm: the kill switch, ports that are never written to, the sandbox.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(arguments).env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Waits until a process takes SIGINT itself: then it scans. How long that takes is the machine's business.
fn wait_until_it_scans(process: u32) {
    const SIGINT_BIT: u64 = 1 << 1;
    for _ in 0..3_000 {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let caught =
            status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("its signals").trim();
        if u64::from_str_radix(caught, 16).expect("a number") & SIGINT_BIT != 0 {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it never began to scan");
}

#[test]
fn a_file_stops_a_running_scan_and_keeps_others_from_starting() {
    let folder = tempfile::tempdir().expect("folder");
    let stop = folder.path().join("stop");
    let arguments =
        ["scan", "127.0.0.1", "--backend", "connect", "--rate", "20", "-p", "1-5000", "--stop-file"];
    let mut child = command(&arguments)
        .arg(&stop)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    wait_until_it_scans(child.id());
    assert_eq!(child.try_wait().expect("asked"), None, "it runs until it is stopped");
    fs::write(&stop, "").expect("written");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("stopped by {}", stop.display())), "{}", stderr(&output));

    for command_line in [
        &arguments[..],
        &["identify", "127.0.0.1:9", "--stop-file"],
        &["tune", "127.0.0.1", "--dry-run", "--stop-file"],
    ] {
        let refused = command(command_line).arg(&stop).output().expect("it runs");
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains("remove it to scan again"), "{}", stderr(&refused));
    }
    fs::remove_file(&stop).expect("removed");
    let scan = ["scan", "127.0.0.1", "--backend", "connect", "--wait", "200ms", "-p", "9", "--stop-file"];
    assert!(command(&scan).arg(&stop).status().expect("it runs").success());
}

#[test]
fn printers_and_controllers_hear_nothing() {
    // In a namespace of its own these ports are free whatever runs here; without one they may be taken.
    let Ok(controller) = UdpSocket::bind("127.0.0.1:47808") else {
        assert!(std::env::var_os("CI").is_none(), "port 47808 is taken");
        eprintln!("skipped: port 47808 is taken");
        return;
    };
    controller.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
    let printer = TcpListener::bind("127.0.0.1:9107").expect("port 9107 is free");
    let scan = ["scan", "127.0.0.1", "--backend", "connect", "--wait", "300ms", "-sV", "-p", "9107,U:47808"];
    let output = command(&scan).output().expect("it runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let mut datagram = [0; 64];
    // An empty datagram is the probe for the port itself; not a byte is said to what may be behind it.
    while let Ok(length) = controller.recv(&mut datagram) {
        assert_eq!(length, 0, "{:?}", &datagram[..length]);
    }
    // Connections and what was written to them waited in the backlog.
    printer.set_nonblocking(true).expect("non-blocking");
    let mut connections = 0;
    while let Ok((mut stream, _)) = printer.accept() {
        stream.set_nonblocking(true).expect("non-blocking");
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        assert_eq!(heard, b"", "bytes that a printer would print");
        connections += 1;
    }
    assert!(connections > 0, "the port was looked at");

    let told = ["--allow-print-and-ot", "--retries", "0"];
    let output = command(&[&scan[..], &told].concat()).output().expect("it runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let length = controller.recv(&mut datagram).expect("a question");
    assert!(length > 0, "who asks for it gets it");
}

#[test]
fn the_sandbox_is_shown_and_can_be_asked_for() {
    let output = command(&["selftest", "--json"]).output().expect("it runs");
    let checks: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let sandbox =
        checks.as_array().expect("checks").iter().find(|check| check["name"] == "sandbox").expect("shown");
    assert_eq!(sandbox["ok"], true, "{sandbox}");
    let detail = sandbox["detail"].as_str().expect("text");
    for refused in ["start a program", "open a packet socket", "read /etc/passwd"] {
        assert!(detail.contains(refused), "{detail}");
    }
    let quick = ["scan", "127.0.0.1", "--backend", "connect", "--wait", "200ms", "-p", "9"];
    for flag in ["--require-sandbox", "--no-sandbox"] {
        assert!(command(&quick).arg(flag).status().expect("it runs").success(), "{flag}");
    }
}

/// The kernel's own word on every thread of a running scan: no new privileges, and a filter on its system calls.
#[test]
fn every_thread_of_a_scan_is_confined() {
    let folder = tempfile::tempdir().expect("folder");
    let mut child =
        command(&["scan", "127.0.0.1", "--backend", "connect", "--rate", "50", "-sV", "-p", "1-5000"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
    wait_until_it_scans(child.id());
    let statuses = statuses_of_threads(&mut child);
    child.kill().expect("killed");
    child.wait().expect("ended");
    for status in &statuses {
        assert_confined(status);
    }
}

/// `tune` keeps the right to open sockets, and so is not the one that reads answers.
#[test]
fn a_step_of_tune_is_made_by_a_confined_process_that_ends_with_its_order() {
    let mut child = command(&["measure", "--backend", "connect"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let order = r#"{"ranges":[["127.0.0.1","127.0.0.1"]],"ports":{"first":20000,"count":9000},"rate_pps":50,
        "retries":0,"counts_hosts":true,"interface":null}"#;
    let mut stdin = child.stdin.take().expect("piped");
    writeln!(stdin, "{}", order.replace('\n', "")).expect("it reads");
    let confined = |status: &str| status.contains("Seccomp:\t2");
    let statuses = loop {
        let statuses = statuses_of_threads(&mut child);
        if statuses.iter().all(|status| confined(status)) {
            break statuses;
        }
    };
    for status in &statuses {
        assert_confined(status);
    }
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success());
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    assert_eq!(told["found"]["targets"], 9_000, "{told}");
    assert!(told["found"]["answered"].as_u64().is_some_and(|answered| answered < 9_000), "not all: {told}");

    let mut child = command(&["measure"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut told = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut told).expect("text");
    assert!(told.contains("`tune` starts this"), "{told}");
    child.wait().expect("ended");
}

/// What the kernel says of the threads of a process, once there are several.
fn statuses_of_threads(child: &mut Child) -> Vec<String> {
    let tasks = format!("/proc/{}/task", child.id());
    let mut threads = Vec::new();
    while threads.len() < 3 {
        assert_eq!(child.try_wait().expect("asked"), None, "it ended before it was looked at");
        thread::sleep(Duration::from_millis(20));
        threads = fs::read_dir(&tasks).expect("threads").filter_map(Result::ok).collect();
    }
    threads.iter().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok()).collect()
}

fn assert_confined(status: &str) {
    let value = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert_eq!((value("NoNewPrivs:"), value("Seccomp:")), (Some("1"), Some("2")), "{status}");
    assert_eq!(value("CapEff:"), Some("0000000000000000"), "{status}");
}
