//! The real binary, against listeners on loopback.

mod binary;

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use self::binary::{PUMP, command, portreeve, refused, stderr, stdout, succeeded};

/// Answers every connection with the greeting of an SSH server, and a hostile one.
fn ssh_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7\r\n");
                let _ = BufReader::new(&stream).read_line(&mut String::new());
            });
        }
    });
    port
}

/// Accepts and says nothing.
fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

fn closed_port() -> u16 {
    listener().1
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .expect("/proc")
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(1) == Some("0"))
}

const QUICK: [&str; 6] = ["--backend", "connect", "--wait", "500ms", "--rate", "5000"];

fn scan<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["scan", "127.0.0.1"], &QUICK[..], more].concat()
}

#[test]
fn the_table_tells_what_is_open_and_the_last_line_how_it_went() {
    let (_listening, open) = listener();
    let closed = closed_port();
    let output = succeeded(&scan(&["-p", &format!("{open},{closed}")]));
    let table = stdout(&output);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[0].starts_with("ADDRESS"), "{table}");
    assert!(lines[1].starts_with("127.0.0.1") && lines[1].contains(&format!("{open}/tcp")), "{table}");
    assert!(lines[1].contains("open") && lines[1].ends_with("connect-accepted"), "{table}");
    assert!(!table.contains('\x1b'), "no colours into a pipe");
    assert!(
        stderr(&output).starts_with("1 open port on 1 host; 2 probes to 1 address in"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn all_shows_closed_ports_too() {
    let (_listening, open) = listener();
    let closed = closed_port();
    let output = succeeded(&scan(&["--all", "-p", &format!("{open},{closed}")]));
    let table = stdout(&output);
    assert!(
        table.lines().any(|line| line.contains(&format!("{closed}/tcp")) && line.contains("closed")),
        "{table}"
    );
}

#[test]
fn services_are_identified_into_one_json_document() {
    let port = ssh_server();
    let output = succeeded(&scan(&["-sV", "--json", "-p", &port.to_string()]));
    let document: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(document["ports"].as_array().map(Vec::len), Some(1), "{document:#}");
    let found = &document["ports"][0];
    assert_eq!((&found["address"], &found["port"]), (&json!("127.0.0.1"), &json!(port)));
    assert_eq!((&found["state"], &found["transport"]), (&json!("open"), &json!("tcp")));
    assert_eq!((&found["service"]["name"], &found["service"]["product"]), (&json!("ssh"), &json!("OpenSSH")));
    assert_eq!(found["service"]["version"], "9.2p1");
    assert_eq!(document["summary"]["open_ports"], 1);
}

#[test]
fn every_line_of_ndjson_is_a_record_and_the_last_is_the_summary() {
    let port = ssh_server();
    let output = succeeded(&scan(&["-sV", "--ndjson", "-p", &port.to_string()]));
    let lines: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds: Vec<_> = lines.iter().map(|line| line["type"].as_str().expect("a type")).collect();
    assert!(kinds.contains(&"port") && kinds.contains(&"service"), "{kinds:?}");
    assert_eq!(kinds.last(), Some(&"summary"));
}

#[test]
fn a_file_gets_the_csv_and_the_terminal_nothing() {
    let port = ssh_server();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("out.csv");
    let output = succeeded(&scan(&["-sV", "-oC", path.to_str().expect("UTF-8"), "-p", &port.to_string()]));
    assert!(output.stdout.is_empty());
    let text = std::fs::read_to_string(&path).expect("written");
    assert!(
        text.contains(&format!("127.0.0.1,{port},tcp,open,connect-accepted,ssh,OpenSSH,9.2p1,")),
        "{text}"
    );
}

#[test]
fn hostile_banners_reach_no_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.write_all(b"220 \x1b]0;owned\x07\x1b[2J=cmd() \xff\xfe FTP ready\r\n");
        }
    });
    for format in [&["--json"][..], &["--csv"], &["--ndjson"], &[]] {
        let output = succeeded(&scan(&[&["-sV", "-p", &port.to_string()], format].concat()));
        assert!(
            !output.stdout.contains(&0x1b) && !output.stdout.contains(&0x07),
            "{format:?}: {}",
            stdout(&output)
        );
    }
    let output = succeeded(&["identify", &format!("127.0.0.1:{port}")]);
    assert!(!output.stdout.contains(&0x1b), "{}", stdout(&output));
}

#[test]
fn an_endpoint_is_identified_with_the_reasons() {
    let port = ssh_server();
    let output = succeeded(&["identify", &format!("127.0.0.1:{port}")]);
    let text = stdout(&output);
    assert!(text.contains("OpenSSH 9.2p1"), "{text}");
    assert!(text.contains("product from"), "{text}");
}

#[test]
fn the_same_seed_and_parts_make_the_whole() {
    let listeners: Vec<_> = (0..6).map(|_| listener()).collect();
    let mut ports: Vec<_> = listeners.iter().map(|(_, port)| *port).collect();
    ports.sort_unstable();
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let mut found = Vec::new();
    for part in ["1/3", "2/3", "3/3"] {
        let output = succeeded(&scan(&["--seed", "9", "--shard", part, "--json", "-p", &list]));
        let document: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        let ports = document["ports"].as_array().expect("ports");
        found.extend(ports.iter().map(|port| port["port"].as_u64().expect("a number") as u16));
    }
    found.sort_unstable();
    assert_eq!(found, ports);
}

#[test]
fn a_log_into_a_pipe_has_no_colours() {
    let log = stderr(&succeeded(&scan(&["-v", "-p", &closed_port().to_string()])));
    assert!(log.contains(" INFO "), "{log:?}");
    assert!(!log.contains('\x1b'), "{log:?}");
}

#[test]
fn targets_come_from_files_and_standard_input() {
    let (_listening, port) = listener();
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("targets");
    std::fs::write(&file, "# this machine\n127.0.0.1 127.0.0.2\n").expect("written");
    let list =
        ["scan", "-iL", file.to_str().expect("UTF-8"), "--exclude", "127.0.0.2", "--offline", "-p", "80"];
    let plan = stdout(&succeeded(&list));
    assert!(plan.starts_with("1 address:\n  127.0.0.1\n"), "{plan}");

    let port = port.to_string();
    let mut child = command(&[&["scan", "-iL", "-"], &QUICK[..], &["-p", &port]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().expect("piped").write_all(b"localhost\n").expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn offline_says_what_would_be_sent_and_sends_nothing() {
    let (listening, port) = listener();
    listening.set_nonblocking(true).expect("non-blocking");
    let output = succeeded(&scan(&["--offline", "--seed", "5", "-p", &format!("{port},U:53")]));
    let plan = stdout(&output);
    assert!(plan.contains("127.0.0.1") && plan.contains("2 ports") && plan.contains("seed 5"), "{plan}");
    assert!(plan.ends_with("nothing was sent\n"), "{plan}");
    assert!(plan.contains("2 frames made in"), "{plan}");
    let probes =
        stdout(&succeeded(&scan(&["--dry-run", "--seed", "5", "-p", &format!("{port},U:53,S:2905")])));
    let mut lines: Vec<_> = probes.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["sctp 2905 127.0.0.1", &format!("tcp {port} 127.0.0.1"), "udp 53 127.0.0.1"]);
    let told = stdout(&succeeded(&scan(&["--offline", "--json", "--seed", "5", "-p", "80,443"])));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["ranges"], json!([{ "first": "127.0.0.1", "last": "127.0.0.1" }]));
    assert_eq!((&told["probes"], &told["ports"], &told["seed"]), (&json!(2), &json!("80,443"), &json!(5)));
    assert_eq!((&told["made"]["frames"], &told["made"]["complete"]), (&json!(2), &json!(true)));
    let listed = stdout(&succeeded(&scan(&["--dry-run", "--json", "-p", "80"])));
    let listed: Value = serde_json::from_str(&listed).expect("one line of JSON");
    assert_eq!(listed, json!({ "address": "127.0.0.1", "transport": "tcp", "port": 80 }));
    assert!(listening.accept().is_err(), "nobody connected");
}

#[test]
fn ipv6_networks_are_sampled_and_that_is_said() {
    let output = succeeded(&["scan", "fd99::/64", "--offline", "-p", "80"]);
    assert!(stderr(&output).contains("fd99::/64 is too large"), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("4096 addresses:\n  fd99::-fd99::fff\n"), "{}", stdout(&output));
    refused(&["scan", "fd99::/40", "-p", "80"], 2, &["fd99::/40", "/48"]);
}

#[test]
fn flags_of_other_scanners_do_what_they_do_there() {
    let plan =
        |arguments: &[&str]| stdout(&succeeded(&[&["scan", "10.0.0.1", "--offline"], arguments].concat()));
    assert!(plan(&["-sn"]).contains("hosts only, by icmp"));
    assert!(plan(&["-F"]).contains("100 ports"));
    assert!(plan(&["-Pn", "-sS", "-p", "http,ssh", "--max-rate", "9"]).contains("2 ports: 22,80"));
    assert!(plan(&["--ping=tcp-ack:80", "-p", "S:2905"]).contains("1 port: S:2905"));
    refused(&["scan", "10.0.0.1", "--ping=echo-o", "-p", "1"], 2, &["echo-o", "tcp-ack:PORT"]);
    refused(&["scan", "127.0.0.1", "--backend", "connect", "-p", "S:2905"], 2, &["SCTP", "raw sockets"]);
}

#[test]
fn manual_and_completions_come_from_the_table_of_options() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&succeeded(&["completions", shell]));
        assert!(script.contains("portreeve") && script.contains("output-xml"), "{shell}: {script}");
    }
    let script = stdout(&succeeded(&["completions", "bash"]));
    let mut bash =
        Command::new("bash").args(["-n", "/dev/stdin"]).stdin(Stdio::piped()).spawn().expect("bash");
    bash.stdin.take().expect("piped").write_all(script.as_bytes()).expect("written");
    assert!(bash.wait().expect("ended").success(), "bash reads it");
    assert!(stdout(&succeeded(&["manual"])).contains(".TH"));
    let folder = tempfile::tempdir().expect("folder");
    succeeded(&["manual", folder.path().to_str().expect("UTF-8")]);
    let page = std::fs::read_to_string(folder.path().join("portreeve-scan.1")).expect("written");
    assert!(page.contains("exclude"), "{page}");
}

#[test]
fn bad_input_is_named_with_the_way_out() {
    refused(&["scan", "10.99.0.0/33", "-p", "80"], 2, &["10.99.0.0/33"]);
    refused(&["scan", "10.99.0.5-3", "-p", "80"], 2, &["10.99.0.5-3", "lower address first"]);
    refused(&["scan", "no-such-host.invalid", "-p", "80"], 2, &["no-such-host.invalid"]);
    refused(&["scan", "127.0.0.1", "-p", "80,99999"], 2, &["99999"]);
    refused(&["scan", "127.0.0.1", "-p", "http-ish"], 2, &["http-ish"]);
    refused(&["scan", "127.0.0.1", "-p", "!22"], 2, &["no port"]);
    refused(&["scan"], 2, &["no targets"]);
    refused(&["scan", "224.0.0.1", "-p", "80"], 2, &["reserved"]);
    refused(&["scan", "127.0.0.1", "--rate", "0", "--backend", "connect", "-p", "80"], 2, &["rate of 0"]);
    refused(&["scan", "127.0.0.1", "--rate", "fast"], 2, &["--rate", "fast"]);
    refused(&["scan", "127.0.0.1", "--wait", "1h"], 2, &["2s or 500ms"]);
    refused(&["scan", "127.0.0.1", "--shard", "5/4"], 2, &["1/4"]);
    refused(&["scan", "127.0.0.1", "--top-ports", "70000"], 2, &["--top-ports 70000"]);
    refused(&["scan", "-iL", "/nonexistent/targets"], 2, &["/nonexistent/targets"]);
    refused(&["scan", "127.0.0.1", "--exclude-file", "/nonexistent/excluded"], 2, &["/nonexistent/excluded"]);
    refused(&["scan", "127.0.0.1", "-p", "80", "-o", "/nonexistent/out"], 2, &["/nonexistent/out", "-o"]);
    refused(&["scan", "--resume", "/nonexistent/x.resume"], 2, &["/nonexistent/x.resume"]);
    refused(&["scan", "127.0.0.1", "--json", "--csv"], 2, &["--json", "--csv"]);
    refused(&["scan", "127.0.0.1", "--config", "/nonexistent/c.toml"], 2, &["/nonexistent/c.toml"]);
    refused(&["identify", "127.0.0.1"], 2, &["127.0.0.1", "10.0.0.1:22"]);
    refused(&["agent", "--server", "http://10.99.0.1"], 2, &["clear text", "--insecure-http"]);
    refused(&["agent"], 2, &["--server"]);
    refused(&["db", "test", "/nonexistent/db"], 2, &["/nonexistent/db"]);
}

#[test]
fn a_target_list_with_an_error_names_the_line() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("targets");
    std::fs::write(&file, "127.0.0.1\n10.0.0.0/99\n").expect("written");
    refused(&["scan", "-iL", file.to_str().expect("UTF-8"), "-p", "80"], 2, &["line 2", "10.0.0.0/99"]);
}

#[test]
fn public_targets_are_not_scanned_unasked() {
    refused(&["scan", "192.0.2.0/30", "--allow-reserved", "-p", "80"], 2, &["public addresses", "--yes"]);
    refused(&["identify", "192.0.2.1:80"], 2, &["public addresses", "--yes"]);
}

#[test]
fn the_configuration_file_gives_defaults_and_cannot_be_misspelt() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "[scan]\nports = \"7777\"\nrate = 42\nexclude = [\"127.0.0.2\"]\n")
        .expect("written");
    let config = file.to_str().expect("UTF-8");
    let plan = stdout(&succeeded(&["--config", config, "scan", "127.0.0.1", "127.0.0.2", "--offline"]));
    assert!(
        plan.starts_with("1 address") && plan.contains("1 port: 7777") && plan.contains("42 packets"),
        "{plan}"
    );
    let flags = ["--config", config, "scan", "127.0.0.1", "--offline", "--rate", "43", "-p", "1"];
    assert!(stdout(&succeeded(&flags)).contains("43 packets"));
    let from_environment = command(&["--config", config, "scan", "127.0.0.1", "--offline"])
        .env("PORTREEVE_RATE", "44")
        .output()
        .expect("the binary runs");
    assert!(stdout(&from_environment).contains("44 packets"));
    std::fs::write(&file, "[scan]\nexcludes = []\n").expect("written");
    refused(&["--config", config, "scan", "127.0.0.1", "--offline"], 2, &["excludes", config]);
}

#[test]
fn an_interrupted_scan_prints_what_it_found_and_can_be_resumed() {
    let folder = tempfile::tempdir().expect("folder");
    let (_listening, port) = listener();
    let mut child = command(&[
        "scan",
        "127.0.0.1",
        "--backend",
        "connect",
        "--rate",
        "100",
        "--wait",
        "200ms",
        "--ndjson",
    ])
    .args(["-p", &format!("{port},1-2000")])
    .current_dir(folder.path())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("the binary runs");
    wait_until_it_scans(child.id());
    thread::sleep(std::time::Duration::from_secs(1));
    interrupt(child.id());
    let output = {
        let mut lines = String::new();
        for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
            lines.push_str(&line.expect("UTF-8"));
            lines.push('\n');
        }
        (lines, child.wait_with_output().expect("ended"))
    };
    let error = stderr(&output.1);
    assert_eq!(output.1.status.code(), Some(130), "{error}");
    assert!(output.0.lines().last().expect("a summary").contains("\"summary\""), "{}", output.0);
    let file = resume_file(folder.path());
    assert!(error.contains("--resume") && error.contains(&file), "{error}");

    let resumed =
        command(&["scan", "--resume", &file, "--backend", "connect", "--rate", "5000", "--wait", "200ms"])
            .arg("--ndjson")
            .current_dir(folder.path())
            .output()
            .expect("the binary runs");
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let printed = stdout(&resumed);
    let ports: std::collections::BTreeSet<_> =
        printed.lines().filter_map(|line| line.split("\"port\":").nth(1)?.split(',').next()).collect();
    assert!(
        stderr(&resumed).contains(&format!("{} open port", ports.len())),
        "of both runs: {}",
        stderr(&resumed)
    );
    let both = format!("{}{printed}", output.0);
    let hits = both.lines().filter(|line| line.contains(&format!("\"port\":{port},"))).count();
    assert!(hits >= 1, "found before or after the interruption: {both}");
}

/// Waits until a process takes SIGINT itself: then it scans. How long that takes is the machine's business.
fn wait_until_it_scans(process: u32) {
    const SIGINT_BIT: u64 = 1 << 1;
    for _ in 0..3_000 {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let caught =
            status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("its signals").trim();
        if u64::from_str_radix(caught, 16).expect("a number") & SIGINT_BIT != 0 {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("it never began to scan");
}

fn resume_file(folder: &Path) -> String {
    let names = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").file_name());
    let mut names = names.map(|name| name.into_string().expect("UTF-8"));
    names.find(|name| name.ends_with(".resume")).expect("a checkpoint")
}

fn interrupt(process: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(process).expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("signalled");
}

#[test]
fn the_probe_database_can_be_checked_and_counted() {
    let output = succeeded(&["db", "test"]);
    assert!(stdout(&output).contains("agree with their"), "{}", stdout(&output));
    assert!(stdout(&succeeded(&["db", "stats"])).contains("entries"));
}

#[test]
fn a_users_database_is_checked_and_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pump.toml").display().to_string();
    std::fs::write(&file, PUMP).expect("written");
    succeeded(&["db", "test", &file]);

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nServer: PumpControl/3.1\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let place = folder.path().display().to_string();
    let found = succeeded(&["identify", &endpoint, "--user-database", &place, "--json"]);
    assert!(stdout(&found).contains("Pump Control"), "{}", stdout(&found));

    std::fs::write(&file, PUMP.replace("regex", "regx")).expect("written");
    let refusals = [vec!["identify", &endpoint, "--user-database", &place], vec!["db", "test", &file]];
    for arguments in refusals {
        refused(&arguments, 2, &[&file, "line 7", "regx"]);
    }
    refused(&["db", "stats", "--user-database", "/nonexistent/db.d"], 2, &["/nonexistent/db.d"]);
}

#[test]
fn replies_are_kept_and_a_changed_database_reads_them_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pump.toml").display().to_string();
    std::fs::write(&file, PUMP).expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let answer = "HTTP/1.1 200 OK\r\nServer: PumpControl/3.1\r\nSet-Cookie: id=hunter2\r\nContent-Length: 0\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let archive = folder.path().join("replies").display().to_string();
    succeeded(&["identify", &endpoint, "--archive", &archive]);
    let told = stdout(&succeeded(&["db", "retro", "--archive", &archive, &file]));
    assert!(
        told.contains(&format!("{endpoint}/tcp  http PumpControl 3.1 → http Pump Control 3.1")),
        "{told}"
    );
    let document: Value =
        serde_json::from_str(&stdout(&succeeded(&["db", "retro", "--archive", &archive, &file, "--json"])))
            .expect("JSON");
    assert_eq!(document["identified_otherwise"], 1, "{document:#}");
    assert_eq!(document["changes"][0]["after"]["entry"], "pump/http");
    refused(&["db", "retro", "--archive", "/nonexistent/replies", &file], 2, &["/nonexistent/replies"]);
}

#[test]
fn fingerprints_of_recog_become_a_user_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let xml = "<fingerprints matches='ssh.banner'><fingerprint pattern='^PumpShell_([\\d.]+)$'>\
        <description>Pump shell</description><example service.version='2.0'>PumpShell_2.0</example>\
        <param pos='0' name='service.product' value='Pump Shell'/><param pos='1' name='service.version'/>\
        </fingerprint></fingerprints>";
    std::fs::write(folder.path().join("pumps.xml"), xml).expect("written");
    let place = folder.path().display().to_string();
    let told = stdout(&succeeded(&["db", "import", "recog", &place, "--user-database", &place]));
    assert!(told.contains("1 of 1 pass"), "{told}");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.expect("a connection").write_all(b"SSH-2.0-PumpShell_2.1\r\n");
        }
    });
    let found = stdout(&succeeded(&["identify", &endpoint, "--user-database", &place, "--json"]));
    assert!(found.contains("Pump Shell") && found.contains("\"2.1\""), "{found}");
    refused(&["db", "import", "recog", "/nonexistent/recog"], 2, &["/nonexistent/recog"]);
}

#[test]
fn without_rights_the_way_out_is_told() {
    if !is_root() {
        refused(&["scan", "127.0.0.1", "-p", "80"], 3, &["sudo", "setcap cap_net_raw", "--backend connect"]);
        return;
    }
    // As root, the rights are taken away first.
    let output = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(env!("CARGO_BIN_EXE_portreeve"))
        .args(["scan", "127.0.0.1", "-p", "80"])
        .env("HOME", "/nonexistent")
        .output()
        .expect("setpriv, of util-linux, is there");
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{error}");
    for part in ["sudo", "setcap cap_net_raw", "--backend connect"] {
        assert!(error.contains(part), "{error}");
    }
}

/// Raw sockets need root: a developer without it sees why nothing was tested, CI always has it.
fn can_open_raw_sockets() -> bool {
    if !is_root() {
        assert!(std::env::var_os("CI").is_none(), "raw socket tests need root in CI");
        eprintln!("skipped: raw sockets need root");
    }
    is_root()
}

#[test]
fn raw_sockets_scan_loopback_with_packets_of_our_own() {
    if !can_open_raw_sockets() {
        return;
    }
    let (_listening, open) = listener();
    let closed = closed_port();
    let ports = format!("{open},{closed}");
    let output = succeeded(&["scan", "127.0.0.1", "--wait", "500ms", "--all", "--ndjson", "-p", &ports]);
    let lines: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let state = |port: u16| {
        let line = lines.iter().find(|line| line["type"] == "port" && line["port"] == port);
        line.map(|line| (line["state"].clone(), line["reason"].clone()))
    };
    assert_eq!(state(open), Some((json!("open"), json!("syn-ack"))), "{lines:#?}");
    assert_eq!(state(closed), Some((json!("closed"), json!("reset"))), "{lines:#?}");
    refused(&["scan", "127.0.0.1", "-p", "80", "--interface", "nope0"], 2, &["nope0", "ip link"]);
}

#[test]
fn rights_are_gone_while_the_scan_runs() {
    if !can_open_raw_sockets() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder for the checkpoint");
    let mut child = command(&["scan", "127.0.0.1", "-p", "1-5000", "--rate", "500", "-sV"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let tasks = format!("/proc/{}/task", child.id());
    // The engine's threads are there once sockets are open and rights are dropped.
    let mut threads = Vec::new();
    while threads.len() < 4 {
        assert_eq!(child.try_wait().expect("asked"), None, "it ended before it was looked at");
        thread::sleep(std::time::Duration::from_millis(20));
        threads = std::fs::read_dir(&tasks).expect("threads").filter_map(Result::ok).collect();
    }
    let effective: Vec<_> = threads
        .iter()
        .map(|thread| std::fs::read_to_string(thread.path().join("status")).expect("status"))
        .map(|status| status.lines().find(|line| line.starts_with("CapEff:")).expect("rights").to_owned())
        .collect();
    interrupt(child.id());
    child.wait().expect("ended");
    assert!(effective.iter().all(|line| line.ends_with("0000000000000000")), "{effective:?}");
}

#[test]
fn this_host_can_scan() {
    let output = portreeve(&["selftest", "--json"]);
    let checks: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    for check in checks.as_array().expect("checks") {
        assert!(check["ok"] == true || (check["name"] == "rights" && !is_root()), "{check:#}");
    }
}

#[test]
fn a_listener_that_is_gone_is_not_found() {
    let (listening, port) = listener();
    drop(listening);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    let output = succeeded(&scan(&["-p", &port.to_string()]));
    assert!(output.stdout.is_empty(), "{}", stdout(&output));
    assert!(stderr(&output).starts_with("0 open ports"), "{}", stderr(&output));
}
