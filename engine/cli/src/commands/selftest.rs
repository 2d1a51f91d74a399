//! `selftest`: whether this host can scan, so that the network is not blamed for it.

use std::{
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use portreeve_agent::{Found, Tally, backends, interfaces, run};
use portreeve_model::{PortState, protocol::Record};
use portreeve_probes::Database;
use portreeve_scan::{BackendChoice, Control, PortSet, Sandbox, Scan, ScanConfig, TargetSetBuilder};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{runtime, scan_clock};
use crate::{
    args::SelftestArgs,
    exit::{Exit, Failure},
    output::print,
    rights,
};

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

impl Check {
    fn new(name: &'static str, outcome: Result<String, String>) -> Self {
        let ok = outcome.is_ok();
        Self { name, ok, detail: outcome.unwrap_or_else(|why| why) }
    }
}

/// `portreeve selftest`.
pub(crate) fn selftest(arguments: &SelftestArgs) -> Result<(), Failure> {
    let mut checks = vec![
        Check::new("rights", check_rights()),
        Check::new("interfaces", check_interfaces()),
        Check::new("scan by ordinary sockets", scan_self(BackendChoice::Connect)),
    ];
    if rights::may_open_raw_sockets() {
        checks.push(Check::new("scan by raw sockets", scan_self(BackendChoice::Auto)));
    }
    checks.push(Check::new("sandbox", check_sandbox()));
    checks.push(Check::new("probe database", check_database()));
    if arguments.json {
        let text = serde_json::to_string_pretty(&checks)
            .map_err(|error| Failure::new(Exit::Failure, format!("cannot write JSON: {error}")))?;
        print(&format!("{text}\n"))?;
    } else {
        for check in &checks {
            let verdict = if check.ok { "ok" } else { "FAIL" };
            print(&format!("{verdict:4}  {}: {}\n", check.name, check.detail))?;
        }
    }
    let failed = checks.iter().filter(|check| !check.ok).count();
    if failed > 0 {
        return Err(Failure::new(Exit::Failure, format!("{failed} of {} checks failed", checks.len())));
    }
    Ok(())
}

fn check_rights() -> Result<String, String> {
    let usable = backends().join(", ");
    if rights::may_open_raw_sockets() {
        Ok(format!("raw sockets can be opened; backends: {usable}"))
    } else {
        Err(crate::exit::missing_rights().message)
    }
}

fn check_interfaces() -> Result<String, String> {
    let interfaces = interfaces();
    if interfaces.is_empty() {
        return Err("no interface is up and has an address; `ip address` lists what there is".to_owned());
    }
    let shown = interfaces.iter().map(|interface| {
        let networks: Vec<_> = interface.networks.iter().map(ToString::to_string).collect();
        format!("{} ({})", interface.name, networks.join(", "))
    });
    Ok(shown.collect::<Vec<_>>().join("; "))
}

/// Has a confined thread try what it must not get. A kernel that lacks something is told of, and no failure.
fn check_sandbox() -> Result<String, String> {
    let sandbox = Sandbox::find();
    let attempts = sandbox.check()?;
    let got: Vec<_> =
        attempts.iter().filter(|attempt| !attempt.refused).map(|attempt| attempt.what).collect();
    if !got.is_empty() {
        return Err(format!("a confined thread could {}", got.join(", ")));
    }
    let tried: Vec<_> = attempts.iter().map(|attempt| attempt.what).collect();
    let refused = format!("a confined thread could not {}", tried.join(", "));
    Ok(match sandbox.missing() {
        Some(missing) if tried.is_empty() => missing.to_owned(),
        Some(missing) => format!("{refused}; {missing}"),
        None => refused,
    })
}

fn check_database() -> Result<String, String> {
    let database = Database::builtin();
    let stats = database.stats();
    match database.check().len() {
        0 => Ok(format!("{} entries agree with their {} examples", stats.entries, stats.examples)),
        findings => Err(format!("{findings} findings; `portreeve db test` lists them")),
    }
}

/// Scans a listener of our own and a port that nobody listens on.
fn scan_self(backend: BackendChoice) -> Result<String, String> {
    let listen = || {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .map_err(|error| format!("cannot listen on loopback: {error}"))
    };
    let (listener, closed) = (listen()?, listen()?);
    let port = |listener: &TcpListener| {
        listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
    };
    let (open_port, closed_port) = (port(&listener)?, port(&closed)?);
    drop(closed);
    let targets = TargetSetBuilder::new().include("127.0.0.1").and_then(TargetSetBuilder::build);
    let ports: PortSet = format!("{open_port},{closed_port}").parse().map_err(|error| format!("{error}"))?;
    let mut config = ScanConfig::new(targets.map_err(|error| error.to_string())?, ports);
    config.backend = backend;
    config.wait = Duration::from_millis(500);
    let scan = Scan::prepare(config, scan_clock()).map_err(|error| error.to_string())?;
    let found = runtime(Sandbox::none(), None).map_err(|failure| failure.message)?.block_on(async {
        let (out, mut records) = mpsc::channel(64);
        let running = tokio::spawn(run(scan, Control::new(), None, &[], Tally::default(), out));
        let mut open = Vec::new();
        while let Some(found) = records.recv().await {
            match found {
                Found::Record(Record::Port(seen)) if seen.state == PortState::Open => open.push(seen.port),
                _ => {}
            }
        }
        let report = running.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok::<_, String>((open, report.backend))
    })?;
    match found {
        (open, backend) if open == [open_port] => {
            Ok(format!("found its own listener on 127.0.0.1:{open_port} by {backend}"))
        }
        (open, backend) => {
            Err(format!("listened on 127.0.0.1:{open_port} only, and found {open:?} by {backend}"))
        }
    }
}
