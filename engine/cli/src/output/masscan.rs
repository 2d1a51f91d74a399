//! What masscan writes, for the programs that read it: JSON (`-oJ`) and the list (`-oL`).
//!
//! JSON is an array with an object for each port: `{"ip", "timestamp", "ports": [{"port", "proto", "status", "reason",
//! "ttl"}]}`, and one more with `"service": {"name", "banner"}` where the service is known. A host is port 0 of `icmp`.
//! Neither has room for anything about the scan as a whole, but the list has comments.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use portreeve_model::{Observation, SafeText, Service, Timestamp};
use serde::Serialize;

use super::{Form, Results, seconds, table};

/// An array of objects, one on each line.
pub(crate) struct MasscanJson;

#[derive(Serialize)]
struct Entry<'a> {
    ip: IpAddr,
    /// Seconds, as text.
    timestamp: String,
    ports: [Port<'a>; 1],
}

#[derive(Serialize)]
struct Port<'a> {
    port: u16,
    proto: &'a str,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    State { status: &'a str, reason: &'a str, ttl: u8 },
    Service { service: Banner<'a> },
}

#[derive(Serialize)]
struct Banner<'a> {
    name: String,
    banner: &'a str,
}

impl<'a> Entry<'a> {
    fn new(ip: IpAddr, seen_at_ms: Timestamp, port: Port<'a>) -> Self {
        Self { ip, timestamp: seconds(seen_at_ms).to_string(), ports: [port] }
    }

    fn port(seen: &'a Observation) -> Self {
        let (status, reason) = (seen.state.as_str(), seen.reason.as_str());
        let what = What::State { status, reason, ttl: seen.ttl.unwrap_or(0) };
        let port = Port { port: seen.port, proto: seen.transport.as_str(), what };
        Self::new(seen.address, seen.seen_at_ms, port)
    }

    fn service(service: &'a Service) -> Self {
        let endpoint = &service.endpoint;
        let service_name = table::service_name(service);
        let banner = Banner { name: service_name, banner: banner(service) };
        let what = What::Service { service: banner };
        let port = Port { port: endpoint.port, proto: endpoint.transport.as_str(), what };
        Self::new(endpoint.address, service.seen_at_ms, port)
    }
}

/// What the service said, or else what it is.
fn banner(service: &Service) -> &str {
    service.banner.as_ref().or(service.product.as_ref()).map_or("", SafeText::as_str)
}

impl Form for MasscanJson {
    fn finish(&mut self, out: &mut dyn Write, results: &Results<'_>) -> io::Result<()> {
        let findings = results.findings;
        let hosts = findings.hosts.values().filter(|_| results.is_about_hosts());
        let hosts = hosts.map(|host| {
            let what = What::State { status: "open", reason: "none", ttl: host.ttl.unwrap_or(0) };
            Entry::new(host.address, host.seen_at_ms, Port { port: 0, proto: "icmp", what })
        });
        let entries = hosts
            .chain(findings.ports.values().map(Entry::port))
            .chain(findings.services.values().map(Entry::service));
        out.write_all(b"[\n")?;
        for (number, entry) in entries.enumerate() {
            if number > 0 {
                out.write_all(b",\n")?;
            }
            serde_json::to_writer(&mut *out, &entry)?;
            out.write_all(b"\n")?;
        }
        out.write_all(b"]\n")
    }
}

/// A line for each port: state, transport, port, address, seconds.
pub(crate) struct MasscanList;

impl Form for MasscanList {
    fn finish(&mut self, out: &mut dyn Write, results: &Results<'_>) -> io::Result<()> {
        writeln!(out, "#masscan")?;
        let findings = results.findings;
        for host in findings.hosts.values().filter(|_| results.is_about_hosts()) {
            writeln!(out, "open icmp 0 {} {}", host.address, seconds(host.seen_at_ms))?;
        }
        for seen in findings.ports.values() {
            let (state, transport, port) = (seen.state, seen.transport, seen.port);
            writeln!(out, "{state} {transport} {port} {} {}", seen.address, seconds(seen.seen_at_ms))?;
        }
        for service in findings.services.values() {
            let place = service.endpoint;
            let name = table::service_name(service).replace(' ', "-");
            let (transport, port, time) = (place.transport, place.port, seconds(service.seen_at_ms));
            writeln!(out, "banner {transport} {port} {} {time} {name} {}", place.address, banner(service))?;
        }
        for remark in results.remarks() {
            writeln!(out, "# {remark}")?;
        }
        writeln!(out, "# end")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::output::table::tests::{about_hosts, about_ports};

    #[test]
    fn a_consumer_of_masscan_finds_its_fields() {
        let mut text = Vec::new();
        about_ports(|results| MasscanJson.finish(&mut text, results)).expect("written");
        let entries: Vec<Value> = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(entries.len(), 4);
        assert_eq!(
            entries[0],
            json!({"ip": "10.99.0.2", "timestamp": "1", "ports": [
                {"port": 22, "proto": "tcp", "status": "open", "reason": "syn-ack", "ttl": 64}]})
        );
        assert_eq!(entries[2]["ports"][0]["service"], json!({"name": "ssh", "banner": "OpenSSH"}));
        let mut text = Vec::new();
        about_hosts(|results| MasscanJson.finish(&mut text, results)).expect("written");
        let entries: Vec<Value> = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(entries[0]["ports"][0]["proto"], "icmp");
    }

    #[test]
    fn the_list_is_lines_of_five_words_and_comments() {
        let mut text = Vec::new();
        about_ports(|results| MasscanList.finish(&mut text, results)).expect("written");
        let text = String::from_utf8(text).expect("UTF-8");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("#masscan"));
        assert_eq!(lines.next(), Some("open tcp 22 10.99.0.2 1"));
        assert!(text.contains("\nbanner tcp 80 10.99.0.2 1 http =cmd|' /C calc'!A0, \"quoted\"\n"), "{text}");
        assert!(text.contains("\n# about 1.25 % of the answers were missed\n"), "{text}");
        assert!(text.ends_with("# end\n"), "{text}");
    }
}
