//! `identify`: what answers at known endpoints.

use std::{io, net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use portreeve_model::{
    Endpoint, Observation, PortState, Reason, Service, Transport, Verdict,
    protocol::{JobSummary, Record},
};
use portreeve_probes::{Hints, Identifier};
use portreeve_scan::TargetSetBuilder;
use tokio::{
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{Interval, interval, timeout},
};

use super::{UserDatabase, archive, database, identify_config, reasons::Reasons, runtime};
use crate::{
    args::IdentifyArgs,
    clock,
    exit::{Exit, Failure},
    output::{Findings, Output, Results, Run},
    rights,
    stop_file::StopFile,
    targets::{confirm, resolve},
};

/// `portreeve identify`.
pub(crate) fn identify(
    arguments: &IdentifyArgs,
    user: &UserDatabase,
    stop_file: &StopFile,
) -> Result<(), Failure> {
    stop_file.must_be_absent()?;
    let mut asked = Vec::new();
    let mut targets = TargetSetBuilder::new().allow_reserved(true);
    for text in &arguments.endpoints {
        let (endpoint, hostname) = endpoint(text)?;
        targets = targets.include(&endpoint.address.to_string())?;
        asked.push((endpoint, hostname));
    }
    confirm(&targets.build()?, arguments.yes)?;
    let mut output = Output::choose(&arguments.output)?.open()?;
    let ports = asked.iter().map(|(endpoint, _)| (endpoint.transport, endpoint.port)).collect();
    let run = Run { started_at_ms: clock::now(), ports, by_connect: true };
    let mut config = identify_config(arguments.ssh_audit);
    config.jarm = arguments.jarm;
    config.allow_print_and_ot = arguments.allow_print_and_ot;
    config.archive = archive(arguments.archive.as_ref())?;
    let database = database(arguments.database.as_deref(), user)?;
    let identifier = Arc::new(Identifier::new(database, config));
    rights::drop_all()?;
    let sandbox = rights::confine(&arguments.sandbox)?;
    let asking = ask(identifier, asked, &mut output, stop_file);
    let Asked { findings, completed } = runtime(sandbox, arguments.archive.clone())?.block_on(asking)?;
    let open = findings.ports.values().filter(|seen| seen.state == PortState::Open).count();
    let summary = JobSummary { open_ports: open as u64, ..JobSummary::default() };
    output.finish(&Results {
        run: &run,
        findings: &findings,
        summary: &summary,
        finished_at_ms: clock::now(),
        completed,
    })?;
    let paragraphs = findings.services.values().map(|service| format!("\n{}", Reasons(service)));
    output.below_tables(&paragraphs.collect::<Vec<_>>().concat())?;
    if completed {
        Ok(())
    } else {
        Err(Failure::new(Exit::Interrupted, "interrupted; what was found until then is printed"))
    }
}

/// What was found, and whether everything was asked.
struct Asked {
    findings: Findings,
    completed: bool,
}

async fn ask(
    identifier: Arc<Identifier>,
    asked: Vec<(Endpoint, Option<String>)>,
    output: &mut Output,
    stop_file: &StopFile,
) -> Result<Asked, Failure> {
    let no_signals = |error| Failure::new(Exit::Failure, format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut look = interval(Duration::from_millis(200));
    let mut conversations = JoinSet::new();
    for (endpoint, hostname) in asked {
        let identifier = Arc::clone(&identifier);
        conversations.spawn(async move {
            let service = identifier.identify(endpoint, Hints { hostname, ..Hints::default() }).await;
            let refuses = service.verdict == Verdict::Unreachable && refuses(endpoint).await;
            (service, refuses)
        });
    }
    let mut findings = Findings::default();
    loop {
        let (service, refuses) = tokio::select! {
            ended = conversations.join_next() => match ended {
                Some(Ok(ended)) => ended,
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => return Ok(Asked { findings, completed: true }),
            },
            () = appeared(stop_file, &mut look) => {
                tracing::warn!("stopped by {}", stop_file.path().display());
                return Ok(Asked { findings, completed: false });
            }
            _ = interrupt.recv() => return Ok(Asked { findings, completed: false }),
            _ = terminate.recv() => return Ok(Asked { findings, completed: false }),
        };
        let seen = observation(&service, refuses);
        let records = [Record::Port(seen), Record::Service(Box::new(service))];
        output.stream(&records);
        for record in records {
            findings.add(record);
        }
    }
}

/// Waits for the file that stops everything.
async fn appeared(stop_file: &StopFile, look: &mut Interval) {
    while !stop_file.is_there() {
        look.tick().await;
    }
}

/// Whether a TCP port says no. The conversation knows only that it got nowhere.
async fn refuses(Endpoint { address, port, transport }: Endpoint) -> bool {
    let attempt = timeout(Duration::from_secs(1), TcpStream::connect((address, port)));
    transport == Transport::Tcp
        && matches!(attempt.await, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The port's state as far as the conversation tells.
fn observation(service: &Service, refuses: bool) -> Observation {
    let Endpoint { address, port, transport } = service.endpoint;
    let (state, reason) = match (service.verdict, transport) {
        (Verdict::Unreachable, _) if refuses => (PortState::Closed, Reason::ConnectRefused),
        (Verdict::Unreachable, _) => (PortState::Filtered, Reason::NoReply),
        (_, Transport::Udp) => (PortState::Open, Reason::UdpReply),
        _ => (PortState::Open, Reason::ConnectAccepted),
    };
    Observation {
        address,
        port,
        transport,
        state,
        reason,
        ttl: None,
        rtt_us: None,
        seen_at_ms: service.seen_at_ms,
        syn_ack: None,
    }
}

/// Reads `10.0.0.1:22`, `[fd00::1]:443`, `name:80`, with `/udp` behind if meant. A name comes back too: TLS and
/// HTTP ask for it.
fn endpoint(text: &str) -> Result<(Endpoint, Option<String>), Failure> {
    let malformed = || {
        Failure::usage(format!(
            "{text:?} is not an endpoint; write it as 10.0.0.1:22, [fd00::1]:443, name:80 or 10.0.0.1:53/udp"
        ))
    };
    let (place, transport) = match text.split_once('/') {
        Some((place, transport)) => (place, Transport::from_str(transport).map_err(|_| malformed())?),
        None => (text, Transport::Tcp),
    };
    let (host, port) = place.rsplit_once(':').ok_or_else(malformed)?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(malformed)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let (address, hostname) = match bracketed.unwrap_or(host).parse::<IpAddr>() {
        Ok(address) if address.is_ipv6() == bracketed.is_some() => (address, None),
        Err(_) if bracketed.is_none() && !host.is_empty() && !host.contains(':') => {
            (resolve(host)?, Some(host.to_owned()))
        }
        _ => return Err(malformed()),
    };
    Ok((Endpoint { address, port, transport }, hostname))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_in_every_notation() {
        let read = |text: &str| endpoint(text).expect(text).0.to_string();
        assert_eq!(read("10.0.0.1:22"), "10.0.0.1:22/tcp");
        assert_eq!(read("[fd00::1]:443"), "[fd00::1]:443/tcp");
        assert_eq!(read("10.0.0.1:53/udp"), "10.0.0.1:53/udp");
        let (local, name) = endpoint("localhost:80").expect("known everywhere");
        assert!(local.address.is_loopback());
        assert_eq!(name.as_deref(), Some("localhost"));
    }

    #[test]
    fn what_is_no_endpoint_is_named() {
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0.1:99999",
            "fd00::1:22",
            "[10.0.0.1]:22",
            "a:b",
            ":80",
            "x:1/ip",
        ] {
            let failure = endpoint(text).expect_err(text);
            assert!(failure.message.contains("not an endpoint"), "{failure}");
        }
    }
}
