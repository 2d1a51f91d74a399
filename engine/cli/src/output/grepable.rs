//! Lines to be searched with grep, as nmap's `-oG`: a host each, fields apart by tabs, ports by commas, and of a port
//! `number/state/transport/owner/service/rpc/version/`.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use portreeve_model::{Endpoint, Observation, SafeText};

use super::{
    Form, Results, calendar, command_line,
    nmap_xml::{hosts_up, is_up, service_name, state_name},
    table,
};

/// A line per host.
pub(crate) struct Grepable;

impl Form for Grepable {
    fn finish(&mut self, out: &mut dyn Write, results: &Results<'_>) -> io::Result<()> {
        let findings = results.findings;
        let started = calendar(results.run.started_at_ms);
        let version = env!("CARGO_PKG_VERSION");
        writeln!(out, "# Portreeve {version} scan initiated {started} as: {}", command_line())?;
        for address in findings.addresses() {
            let host = host(results, address);
            let ports = findings.ports_of(address);
            let status = if is_up(findings.hosts.get(&address), &ports) { "Up" } else { "Down" };
            writeln!(out, "{host}\tStatus: {status}")?;
            if !ports.is_empty() {
                let ports: Vec<_> =
                    ports.iter().map(|(endpoint, seen)| port(results, endpoint, seen)).collect();
                writeln!(out, "{host}\tPorts: {}", ports.join(", "))?;
            }
        }
        for remark in results.remarks() {
            writeln!(out, "# {remark}")?;
        }
        let took = (results.finished_at_ms.0 - results.run.started_at_ms.0).max(0) as f64 / 1e3;
        writeln!(
            out,
            "# Portreeve done at {} -- {} IP addresses ({} hosts up) scanned in {took:.2} seconds",
            calendar(results.finished_at_ms),
            results.summary.addresses,
            hosts_up(results),
        )
    }
}

fn host(results: &Results<'_>, address: IpAddr) -> String {
    let name = results.findings.hosts.get(&address).and_then(|host| host.hostname.as_ref());
    format!("Host: {address} ({})", name.map(field).unwrap_or_default())
}

fn port(results: &Results<'_>, endpoint: &Endpoint, seen: &Observation) -> String {
    let service = results.findings.services.get(endpoint);
    let name = service.map(|service| field(&service_name(service).into())).unwrap_or_default();
    let version = service.map(|service| field(&table::version(service).into())).unwrap_or_default();
    format!("{}/{}/{}//{name}//{version}/", seen.port, state_name(seen), seen.transport)
}

/// Text without what parts fields and ports.
fn field(text: &SafeText) -> String {
    text.as_str()
        .chars()
        .map(|character| match character {
            '/' => '|',
            ',' => ';',
            '(' => '[',
            ')' => ']',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::table::tests::{about_hosts, about_nobody, about_ports};

    fn shown(use_results: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut text = Vec::new();
        use_results(&mut text).expect("written");
        String::from_utf8(text).expect("UTF-8")
    }

    #[test]
    fn a_host_is_a_line_and_its_text_parts_no_fields() {
        let text = shown(|out| about_ports(|results| Grepable.finish(out, results)));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("# Portreeve ") && lines[0].contains(" as: "), "{text}");
        assert_eq!(lines[1], "Host: 10.99.0.2 ()\tStatus: Up");
        let ports = lines[2].strip_prefix("Host: 10.99.0.2 ()\tPorts: ").expect("ports");
        let ports: Vec<Vec<&str>> = ports.split(", ").map(|port| port.split('/').collect()).collect();
        assert_eq!(ports.len(), 2, "{text}");
        assert_eq!(ports[0], ["22", "open", "tcp", "", "ssh", "", "OpenSSH 9.2p1", ""]);
        assert_eq!(ports[1].len(), 8, "{text}");
        assert!(lines[3].starts_with("# about 1.25 %"), "{text}");
        assert!(text.ends_with("-- 256 IP addresses (1 hosts up) scanned in 2.50 seconds\n"), "{text}");
    }

    #[test]
    fn who_has_shown_nothing_is_not_up() {
        let text = shown(|out| about_nobody(|results| Grepable.finish(out, results)));
        assert!(text.contains("Host: 10.99.0.2 ()\tStatus: Down\n"), "{text}");
        assert!(text.contains("(0 hosts up)"), "{text}");
    }

    #[test]
    fn hosts_are_up() {
        let text = shown(|out| about_hosts(|results| Grepable.finish(out, results)));
        assert!(text.contains("Host: 10.99.0.2 ()\tStatus: Up\n"), "{text}");
    }
}
