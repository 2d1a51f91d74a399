//! The real binary, as those meet it who come from other scanners, mistype, or give it less room than it needs.

mod binary;
#[path = "usage/outputs.rs"]
mod outputs;

use std::{
    fs::{self, OpenOptions},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use self::binary::{PUMP, command, portreeve, refused, stderr, stdout, succeeded};

fn plan(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let arguments = [&["scan", "--offline"], arguments].concat();
    let output = command(&arguments).envs(variables.iter().copied()).output().expect("the binary runs");
    assert!(output.status.success(), "{variables:?} {arguments:?}: {}", stderr(&output));
    stdout(&output)
}

#[test]
fn a_flag_wins_over_variables_that_it_rules_out() {
    let ports = [("PORTREEVE_PORTS", "7777")];
    assert!(plan(&ports, &["127.0.0.1"]).contains("1 port: 7777"));
    assert!(plan(&ports, &["127.0.0.1", "--top-ports", "10"]).contains("10 ports"));
    assert!(plan(&ports, &["127.0.0.1", "-sn"]).contains("hosts only"));
    let resumed = command(&["scan", "--resume", "/nonexistent/x.resume"])
        .envs([("PORTREEVE_PORTS", "1"), ("PORTREEVE_SEED", "1"), ("PORTREEVE_SHARD", "1/2")])
        .output()
        .expect("the binary runs");
    assert!(stderr(&resumed).contains("cannot resume from"), "{}", stderr(&resumed));
    let typed = portreeve(&["scan", "127.0.0.1", "-p", "1", "--top-ports", "10"]);
    assert!(stderr(&typed).contains("cannot be used with"), "{}", stderr(&typed));
}

#[test]
fn an_empty_variable_is_none() {
    let text =
        plan(&[("PORTREEVE_RATE", ""), ("PORTREEVE_EXCLUDE", ""), ("PORTREEVE_WAIT", "")], &["127.0.0.1"]);
    assert!(text.contains("1000 packets"), "{text}");
}

#[test]
fn a_switch_in_the_environment_is_turned_on_as_people_write_it() {
    let told = |value| {
        let output = command(&["scan", "127.0.0.1", "--offline", "--no-sandbox", "-p", "1"])
            .env("PORTREEVE_REQUIRE_SANDBOX", value)
            .output()
            .expect("the binary runs");
        (output.status.code(), stderr(&output))
    };
    // `--no-sandbox` rules the variable out, so both are read, and nothing is refused.
    for value in ["1", "yes", "true", "0"] {
        assert_eq!(told(value).0, Some(0), "{value}: {}", told(value).1);
    }
    let agent =
        command(&["agent", "--server", "http://10.99.0.1", "--state", "/nonexistent/agent", "--slots", "0"])
            .env("PORTREEVE_INSECURE_HTTP", "1")
            .output()
            .expect("the binary runs");
    assert!(stderr(&agent).contains("0 jobs"), "{}", stderr(&agent));
}

#[test]
fn what_the_environment_excludes_stays_excluded() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("never");
    fs::write(&file, "10.0.0.3 # the boiler\r\n").expect("written");
    let never = file.to_str().expect("UTF-8");
    let variables = [("PORTREEVE_EXCLUDE", "10.0.0.1,10.0.0.2"), ("PORTREEVE_EXCLUDE_FILE", never)];
    let text = plan(&variables, &["10.0.0.0/29", "--exclude", "10.0.0.4", "-p", "1"]);
    assert!(text.starts_with("4 addresses:\n  10.0.0.0\n  10.0.0.5-10.0.0.7\n"), "{text}");
    fs::write(&file, "10.0.0.3\n10.0.0.0/99\n").expect("written");
    refused(&["scan", "10.0.0.1", "--excludefile", never], 2, &[never, "line 2", "10.0.0.0/99"]);
}

#[test]
fn flags_of_other_scanners_are_taken_or_answered() {
    for same in [&["-n", "-6", "--reason"][..], &["-r", "100k"], &["--rate", "0.1M"], &["-sSn"]] {
        let text = plan(&[], &[&["127.0.0.1"], same].concat());
        assert!(text.contains("1 address"), "{same:?}: {text}");
    }
    assert!(
        plan(&[], &["127.0.0.1", "-sn", "-PS22,443", "-PE"]).contains("hosts only, by icmp,tcp:22,tcp:443")
    );
    for (flags, advice) in [
        (&["-T4"][..], "--rate"),
        (&["-sU", "-p", "53"], "U:53"),
        (&["--exclude-ports", "22"], "!25"),
        (&["--router-mac", "02:00:00:00:00:01"], "ip neighbour"),
        (&["--output-format", "json"], "-oJ"),
    ] {
        refused(&[&["scan", "127.0.0.1"], flags].concat(), 2, &[flags[0], advice]);
    }
    refused(&["scan", "127.0.0.1", "--rate", "fast"], 2, &["100k"]);
    refused(&["scan", "127.0.0.1", "--source-port", "0"], 2, &["--source-port", "1..=65535"]);
    refused(&["scan", "224.0.0.1"], 2, &["--allow-reserved"]);
}

#[test]
fn every_command_of_the_database_speaks_json() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let document =
        |arguments: &[&str]| -> Value { serde_json::from_slice(&portreeve(arguments).stdout).expect("JSON") };
    assert!(document(&["db", "stats", "--json"])["entries"].as_u64() > Some(500));
    fs::write(path("pump.toml"), PUMP).expect("written");
    let formatted = document(&["db", "fmt", "--json", &path("pump.toml")]);
    assert_eq!(formatted, json!({ "checked": 1, "changed": [path("pump.toml")] }));
    let tested = document(&["db", "test", "--alone", "--json", &path("")]);
    assert_eq!(tested, json!({ "entries": 1, "examples": 1, "findings": [] }));
    fs::write(path("pump.toml"), PUMP.replace("version = '3.1'", "version = '4'")).expect("written");
    let tested = document(&["db", "test", "--alone", "--json", &path("")]);
    assert_eq!(
        (&tested["findings"][0]["file"], &tested["findings"][0]["id"]),
        (&json!("pump.toml"), &json!("pump/http")),
        "{tested}"
    );
    fs::write(path("empty.xml"), "<fingerprints matches=\"ssh.banner\"></fingerprints>").expect("written");
    let out = path("out");
    let imported = document(&["db", "import", "recog", &path(""), "-o", &out, "--json"]);
    assert_eq!((&imported["files"], &imported["fingerprints"]), (&json!(1), &json!(0)));
}

#[test]
fn a_full_disk_is_a_sentence() {
    for arguments in [&["db", "stats"][..], &["manual"], &["completions", "fish"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
        let output = command(arguments).stdout(full).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
        assert!(
            stderr(&output).contains("cannot write to standard output"),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

/// A port that takes connections and hangs up, and one that nobody listens on.
fn ports() -> (u16, u16) {
    let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (open, closed) = (listen(), listen());
    let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
    let found = (port(&open), port(&closed));
    thread::spawn(move || open.incoming().for_each(drop));
    found
}

#[test]
fn identify_tells_closed_ports_and_those_that_hang_up() {
    let (open, closed) = ports();
    let endpoints = [open, closed].map(|port| format!("127.0.0.1:{port}"));
    let text = stdout(&succeeded(&["identify", &endpoints[0], &endpoints[1]]));
    assert!(text.contains("accepts and closes without a word"), "{text}");
    let line = text.lines().find(|line| line.contains(&format!("{closed}/tcp"))).expect("a row");
    assert!(line.contains("closed") && line.contains("connect-refused"), "{text}");
    let csv = stdout(&succeeded(&["identify", &endpoints[0], "--csv"]));
    assert!(csv.contains(",closed-after-accept,"), "{csv}");
    let xml = stdout(&succeeded(&["identify", &endpoints[0], "-oX", "-"]));
    assert!(xml.contains("name=\"tcpwrapped\"") && xml.contains("output=\"closed-after-accept\""), "{xml}");
}

/// Starts to ask a port that keeps quiet, beside one that is known at once, and does something when that one is known.
fn stopped(stop_file: &Path, then: impl FnOnce(u32)) -> (Option<i32>, String, String) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let quiet = format!("127.0.0.1:{}", silent.local_addr().expect("bound").port());
    let known = format!("127.0.0.1:{}", ports().0);
    let arguments =
        ["--stop-file", stop_file.to_str().expect("UTF-8"), "identify", "--ndjson", &known, &quiet];
    let mut child =
        command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    // What is known is written at once, so there is something to lose from here on.
    let mut seen = vec![0; 1];
    std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut seen).expect("a record");
    then(child.id());
    let output = child.wait_with_output().expect("ended");
    (output.status.code(), format!("{}{}", seen[0] as char, stdout(&output)), stderr(&output))
}

#[test]
fn identify_that_is_interrupted_keeps_what_it_knows() {
    let folder = tempfile::tempdir().expect("folder");
    let stop_file = folder.path().join("stop");
    let interrupted = stopped(&stop_file, |process| {
        assert!(Command::new("kill").args(["-INT", &process.to_string()]).status().expect("kill").success());
    });
    let by_file = stopped(&stop_file, |_| fs::write(&stop_file, "").expect("written"));
    for (code, out, error) in [interrupted, by_file] {
        assert_eq!(code, Some(130), "{error}");
        let last: Value = serde_json::from_str(out.lines().last().expect("lines")).expect("JSON");
        assert_eq!((&last["type"], &last["completed"]), (&json!("summary"), &json!(false)), "{out}");
    }
}
