//! Runs the real binary.

use std::process::{Command, Output, Stdio};

pub const PUMP: &str = "schema = 1\nservice = 'http'\nfamily = 'web'\n[[match]]\nid = 'pump/http'\nfield = 'http.server'\n\
    regex = '^PumpControl/(?P<version>[0-9.]+)'\nscore = 85\nset = { product = 'Pump Control', version = '{version}' }\n\
    [[match.example]]\nreply = 'HTTP/1.1 200 OK\\r\\nServer: PumpControl/3.1\\r\\n\\r\\n'\n\
    expect = { product = 'Pump Control', version = '3.1' }\nsource = 'our own device'\n";

/// Runs `portreeve` with a home of its own, away from the machine's configuration.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(arguments).env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

pub fn portreeve(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary runs")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// What must be refused: the exit code, and what the sentence must hold.
pub fn refused(arguments: &[&str], code: i32, holds: &[&str]) {
    let output = portreeve(arguments);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
    for part in holds {
        assert!(error.contains(part), "{arguments:?}: {error:?} does not hold {part:?}");
    }
    assert!(output.stdout.is_empty(), "{arguments:?} printed {:?}", stdout(&output));
}

pub fn succeeded(arguments: &[&str]) -> Output {
    let output = portreeve(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    output
}
