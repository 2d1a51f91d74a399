//! `identify`: what answers at known endpoints.

use std::{net::IpAddr, str::FromStr, sync::Arc};

use portreeve_model::{
    Endpoint, Observation, PortState, Reason, Service, Transport, Verdict,
    protocol::{JobSummary, Record},
};
use portreeve_probes::{Hints, Identifier};
use portreeve_scan::TargetSetBuilder;
use tokio::task::JoinSet;

use super::{UserDatabase, archive, database, identify_config, runtime};
use crate::{
    args::IdentifyArgs,
    clock,
    exit::Failure,
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
    let mut output = Output::open(&arguments.output)?;
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
    let findings =
        runtime(sandbox, arguments.archive.clone())?.block_on(ask(identifier, asked, &mut output))?;
    let summary = JobSummary { open_ports: findings.ports.len() as u64, ..JobSummary::default() };
    output.finish(&Results {
        run: &run,
        findings: &findings,
        summary: &summary,
        finished_at_ms: clock::now(),
        completed: true,
    })?;
    output.below_tables(&reasons(&findings))
}

async fn ask(
    identifier: Arc<Identifier>,
    asked: Vec<(Endpoint, Option<String>)>,
    output: &mut Output,
) -> Result<Findings, Failure> {
    let mut conversations = JoinSet::new();
    for (endpoint, hostname) in asked {
        let identifier = Arc::clone(&identifier);
        conversations.spawn(async move {
            identifier.identify(endpoint, Hints { hostname, ..Hints::default() }).await
        });
    }
    let mut findings = Findings::default();
    while let Some(service) = conversations.join_next().await {
        let service = service.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let seen = observation(&service);
        let records = [Record::Port(seen), Record::Service(Box::new(service))];
        output.stream(&records)?;
        for record in records {
            findings.add(record);
        }
    }
    Ok(findings)
}

/// The port's state as far as the conversation tells.
fn observation(service: &Service) -> Observation {
    let Endpoint { address, port, transport } = service.endpoint;
    let gone = service.verdict == Verdict::Unreachable;
    Observation {
        address,
        port,
        transport,
        state: if gone { PortState::Filtered } else { PortState::Open },
        reason: match (gone, transport) {
            (true, _) => Reason::NoReply,
            (false, Transport::Udp) => Reason::UdpReply,
            (false, _) => Reason::ConnectAccepted,
        },
        ttl: None,
        rtt_us: None,
        seen_at_ms: service.seen_at_ms,
        syn_ack: None,
    }
}

fn reasons(findings: &Findings) -> String {
    let mut text = String::new();
    for service in findings.services.values() {
        text.push_str(&format!("\n{} (confidence {})\n", service.endpoint, service.confidence));
        for evidence in &service.evidence {
            let entry = evidence.entry.as_ref().map(|entry| format!(" by {entry}")).unwrap_or_default();
            text.push_str(&format!("  {} from {}{entry}\n", evidence.field, evidence.source));
        }
        if let Some(banner) = &service.banner {
            text.push_str(&format!("  banner: {banner}\n"));
        }
    }
    text
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
