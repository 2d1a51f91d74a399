//! Outputs that cannot take what is written: full disks, readers that leave, scans that are refused.

use std::{
    fs::{self, File, OpenOptions},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use crate::binary::{command, refused, stderr, stdout};

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("Linux has it")
}

/// A scan of one open port that writes NDJSON to standard output and XML to a file.
struct Scanned {
    _listening: TcpListener,
    folder: tempfile::TempDir,
    command: Command,
}

impl Scanned {
    fn new() -> Self {
        let listening = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listening.local_addr().expect("bound").port().to_string();
        let folder = tempfile::tempdir().expect("a folder");
        let mut command =
            command(&["scan", "127.0.0.1", "--backend", "connect", "--wait", "200ms", "-p", &port]);
        command.args(["--ndjson", "-oX", "late.xml"]).current_dir(folder.path());
        Self { _listening: listening, folder, command }
    }

    fn holds_one_port(path: &Path) -> bool {
        fs::read_to_string(path).expect("written").matches("state=\"open\"").count() == 1
    }
}

#[test]
fn a_refused_scan_leaves_the_results_of_the_last_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("yesterday.json");
    fs::write(&file, "[]").expect("written");
    let name = file.to_str().expect("UTF-8");
    refused(&["scan", "8.8.8.8", "-p", "1", "--backend", "connect", "-oS", name], 2, &["--yes"]);
    refused(&["scan", "127.0.0.1", "-p", "1", "--interface", "none0", "-oS", name], 2, &["none0"]);
    assert_eq!(fs::read_to_string(&file).expect("still there"), "[]");
}

#[test]
fn what_writes_no_file_says_so() {
    for flag in ["--dry-run", "--offline"] {
        refused(
            &["scan", "127.0.0.1", "-p", "1", flag, "-oX", "/nonexistent/x.xml"],
            2,
            &["standard output"],
        );
    }
}

#[test]
fn an_output_that_fails_takes_no_other_with_it() {
    let mut scan = Scanned::new();
    let output = scan.command.stdout(full()).output().expect("the binary runs");
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("cannot write to standard output"), "{error}");
    assert!(Scanned::holds_one_port(&scan.folder.path().join("late.xml")));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut scan = Scanned::new();
    let mut child =
        scan.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    let error = stderr(&output);
    assert!(output.status.success(), "{error}");
    assert!(error.contains("1 open port on 1 host") && !error.contains("cannot"), "{error}");
    assert!(Scanned::holds_one_port(&scan.folder.path().join("late.xml")));
}

#[test]
fn words_that_nobody_can_read_end_nothing() {
    let mut scan = Scanned::new();
    let output = scan.command.stderr(full()).output().expect("the binary runs");
    assert!(output.status.success(), "{:?}", output.status);
    assert!(stdout(&output).contains("\"type\":\"port\""), "{}", stdout(&output));
}
