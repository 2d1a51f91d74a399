//! Tables for people.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    net::IpAddr,
};

use portreeve_model::{HostReason, PortState, SafeText, Service, Verdict};

use super::{Findings, Form, Results};

const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";
/// The longest version text shown; JSON has all of it.
const VERSION_CHARACTERS: usize = 60;

/// One line per port or host.
pub(crate) struct Table {
    pub(crate) colour: bool,
    /// Whether what is to be thought of the results stands below; a terminal shows it beside them anyway.
    pub(crate) remarks: bool,
}

impl Form for Table {
    fn finish(&mut self, out: &mut dyn Write, results: &Results<'_>) -> io::Result<()> {
        if results.is_about_hosts() {
            hosts(out, results.findings, self.colour)?;
        } else {
            ports(out, results.findings, self.colour)?;
            machines(out, results.findings, self.colour)?;
        }
        if self.remarks {
            for remark in results.remarks() {
                writeln!(out, "# {remark}")?;
            }
        }
        Ok(())
    }
}

fn ports(out: &mut dyn Write, findings: &Findings, colour: bool) -> io::Result<()> {
    if findings.ports.is_empty() {
        return Ok(());
    }
    let rows = findings.ports.iter().map(|(endpoint, seen)| {
        let service = findings.services.get(endpoint);
        [
            seen.address.to_string(),
            format!("{}/{}", seen.port, seen.transport),
            seen.state.to_string(),
            service.map(service_name).unwrap_or_default(),
            service.map(version).unwrap_or_default(),
            seen.reason.to_string(),
        ]
    });
    table(out, ["ADDRESS", "PORT", "STATE", "SERVICE", "VERSION", "REASON"], rows.collect(), colour)
}

fn hosts(out: &mut dyn Write, findings: &Findings, colour: bool) -> io::Result<()> {
    if findings.hosts.is_empty() {
        return Ok(());
    }
    let rows = findings.hosts.values().map(|host| {
        [
            host.address.to_string(),
            host.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            host.mac_vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
            host.hostname.as_ref().map(ToString::to_string).unwrap_or_default(),
            host.rtt_us.map(|rtt| format!("{:.1} ms", f64::from(rtt) / 1e3)).unwrap_or_default(),
            host_reason(host.reason).to_owned(),
        ]
    });
    table(out, ["ADDRESS", "MAC", "VENDOR", "NAME", "RTT", "REASON"], rows.collect(), colour)
}

/// One line per host of which more is known than its ports: interface, device, system.
fn machines(out: &mut dyn Write, findings: &Findings, colour: bool) -> io::Result<()> {
    let with_mac = findings.hosts.values().filter(|host| host.mac.is_some()).map(|host| host.address);
    let addresses: BTreeSet<_> = with_mac.chain(findings.profiles.keys().copied()).collect();
    let with_ports: BTreeSet<IpAddr> = findings.ports.keys().map(|endpoint| endpoint.address).collect();
    let text = |text: Option<&SafeText>| text.map(ToString::to_string).unwrap_or_default();
    let rows = addresses.intersection(&with_ports).copied().map(|address| {
        let (host, profile) = (findings.hosts.get(&address), findings.profiles.get(&address));
        let device = profile.and_then(|profile| Some((profile.device.as_ref()?, profile.device_confidence)));
        [
            address.to_string(),
            host.and_then(|host| host.mac).map(|mac| mac.to_string()).unwrap_or_default(),
            text(host.and_then(|host| host.mac_vendor.as_ref())),
            device.map(|(device, confidence)| format!("{device} ({confidence} %)")).unwrap_or_default(),
            text(profile.and_then(|profile| profile.os.as_ref())),
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    table(out, ["ADDRESS", "MAC", "VENDOR", "DEVICE", "SYSTEM"], rows, colour)
}

/// The kebab-case name, as in JSON.
pub(crate) fn host_reason(reason: HostReason) -> &'static str {
    match reason {
        HostReason::ArpReply => "arp-reply",
        HostReason::EchoReply => "echo-reply",
        HostReason::LocalAddress => "local-address",
        HostReason::NeighborAdvertisement => "neighbor-advertisement",
        HostReason::PortReply => "port-reply",
        HostReason::TimestampReply => "timestamp-reply",
    }
}

/// The protocol, or why there is none.
pub(crate) fn service_name(service: &Service) -> String {
    let name = service.name.as_ref().map(ToString::to_string);
    let encrypted = service.tls.as_ref().is_some_and(|tls| tls.error.is_none());
    match (name, service.verdict) {
        (Some(name), _) if encrypted && !name.ends_with('s') => format!("{name} (TLS)"),
        (Some(name), _) => name,
        (None, Verdict::ClosedAfterAccept) => "closes at once".to_owned(),
        (None, Verdict::NeedsClientCertificate) => "TLS, wants a certificate".to_owned(),
        (None, Verdict::NotProbed) => "not asked".to_owned(),
        (None, Verdict::Silent) => "silent".to_owned(),
        (None, Verdict::SynProxy) => "SYN proxy".to_owned(),
        (None, Verdict::Tarpit) => "tarpit".to_owned(),
        (None, Verdict::Unreachable) => "gone".to_owned(),
        (None, Verdict::Identified | Verdict::Unrecognised) => "?".to_owned(),
    }
}

/// Product, version and what else is worth a look.
pub(crate) fn version(service: &Service) -> String {
    let fields = [&service.product, &service.version, &service.info];
    let text = fields.into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    if text.chars().count() <= VERSION_CHARACTERS {
        return text;
    }
    text.chars().take(VERSION_CHARACTERS - 1).chain(['…']).collect()
}

fn table<const N: usize>(
    out: &mut dyn Write,
    head: [&str; N],
    rows: Vec<[String; N]>,
    colour: bool,
) -> io::Result<()> {
    let mut widths = head.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let titles = head.map(str::to_owned);
    writeln!(out, "{}", line(&titles, &widths, |_| if colour { BOLD } else { "" }))?;
    for row in &rows {
        writeln!(out, "{}", line(row, &widths, |cell| if colour { shade(cell) } else { "" }))?;
    }
    Ok(())
}

fn shade(cell: &str) -> &'static str {
    if cell == PortState::Open.as_str() {
        GREEN
    } else if cell == PortState::Closed.as_str() || cell == PortState::Filtered.as_str() {
        DIM
    } else {
        ""
    }
}

fn line<const N: usize>(
    cells: &[String; N],
    widths: &[usize; N],
    style: impl Fn(&str) -> &'static str,
) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, &width)| {
        let space = " ".repeat(width - cell.chars().count());
        match style(cell) {
            "" => format!("{cell}{space}"),
            style => format!("{style}{cell}{RESET}{space}"),
        }
    });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use portreeve_model::{
        Endpoint, HostSighting, Observation, Reason, SafeText, Timestamp, Transport,
        protocol::{DropCount, JobSummary, Record},
    };

    use super::*;
    use crate::output::Run;

    /// An SSH server and a web server that tries to do harm by its name.
    pub(crate) fn findings() -> Findings {
        let mut findings = Findings::default();
        let address = "10.99.0.2".parse().expect("address");
        for (port, name, product, version) in
            [(80, "http", "=cmd|' /C calc'!A0, \"quoted\"", "\x1b[31m1"), (22, "ssh", "OpenSSH", "9.2p1")]
        {
            let seen = Observation {
                address,
                port,
                transport: Transport::Tcp,
                state: PortState::Open,
                reason: Reason::SynAck,
                ttl: Some(64),
                rtt_us: Some(150),
                seen_at_ms: Timestamp(1000),
                syn_ack: None,
            };
            findings.add(Record::Port(seen));
            let endpoint = Endpoint { address, port, transport: Transport::Tcp };
            findings.add(Record::Service(Box::new(Service {
                name: Some(name.into()),
                verdict: Verdict::Identified,
                product: Some(product.into()),
                version: Some(SafeText::sanitize(version.as_bytes())),
                confidence: 100,
                ..Service::unrecognised(endpoint, Timestamp(1000))
            })));
        }
        findings.add(Record::Host(Box::new(HostSighting {
            address,
            reason: HostReason::ArpReply,
            mac: Some("52:54:00:12:34:56".parse().expect("MAC")),
            mac_vendor: None,
            hostname: None,
            ttl: None,
            rtt_us: Some(90),
            seen_at_ms: Timestamp(1000),
        })));
        findings
    }

    /// Hands over the results of a scan of ports, with losses and a host that is not what it seems.
    pub(crate) fn about_ports<T>(use_them: impl FnOnce(&Results<'_>) -> T) -> T {
        let ports = "22,80".parse().expect("ports");
        about(&Run { ports, started_at_ms: Timestamp(1_000), by_connect: false }, use_them)
    }

    /// Hands over the results of a scan in which one host was silent and its router said so.
    pub(crate) fn about_nobody<T>(use_them: impl FnOnce(&Results<'_>) -> T) -> T {
        let mut silent = Findings::default();
        for seen in findings().ports.into_values() {
            let seen = Observation { state: PortState::Unreachable, reason: Reason::HostUnreachable, ..seen };
            silent.add(Record::Port(seen));
        }
        about_ports(|results| use_them(&Results { findings: &silent, ..*results }))
    }

    /// Hands over the results of a search for hosts.
    pub(crate) fn about_hosts<T>(use_them: impl FnOnce(&Results<'_>) -> T) -> T {
        about(&Run { started_at_ms: Timestamp(1_000), ..Run::default() }, use_them)
    }

    fn about<T>(run: &Run, use_them: impl FnOnce(&Results<'_>) -> T) -> T {
        let findings = findings();
        let summary = JobSummary {
            addresses: 256,
            open_ports: 2,
            hosts: 1,
            miss_estimate: Some(0.0125),
            drops: vec![DropCount { cause: "wrong-cookie".into(), count: 3 }],
            suspicious_hosts: findings.addresses().into_iter().collect(),
            ..JobSummary::default()
        };
        let finished_at_ms = Timestamp(3_500);
        use_them(&Results { run, findings: &findings, summary: &summary, finished_at_ms, completed: true })
    }

    fn shown(colour: bool) -> String {
        let mut text = Vec::new();
        ports(&mut text, &findings(), colour).expect("written");
        String::from_utf8(text).expect("UTF-8")
    }

    #[test]
    fn the_table_is_sorted_and_aligned() {
        let text = shown(false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>(),
            ["ADDRESS", "PORT", "STATE", "SERVICE", "VERSION", "REASON"]
        );
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>(),
            ["10.99.0.2", "22/tcp", "open", "ssh", "OpenSSH", "9.2p1", "syn-ack"],
        );
        assert_eq!(lines[0].find("STATE"), lines[1].find("open"));
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn only_our_own_colours_reach_the_terminal() {
        assert!(!shown(false).contains('\x1b'));
        let coloured = shown(true);
        assert!(coloured.contains(GREEN));
        assert!(!coloured.contains("\x1b[31m"), "the host's colour is gone");
    }

    #[test]
    fn hosts_have_a_table_of_their_own() {
        let mut text = Vec::new();
        hosts(&mut text, &findings(), false).expect("written");
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.contains("52:54:00:12:34:56") && text.contains("arp-reply"), "{text}");
    }

    #[test]
    fn a_file_says_what_to_think_of_it() {
        let mut text = Vec::new();
        let mut table = Table { colour: false, remarks: true };
        about_ports(|results| table.finish(&mut text, results)).expect("written");
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.contains("# about 1.25 % of the answers were missed\n"), "{text}");
        assert!(text.contains("# dropped frames: 3 wrong-cookie\n"), "{text}");
        assert!(text.contains("# 10.99.0.2: so much is open"), "{text}");
    }
}
