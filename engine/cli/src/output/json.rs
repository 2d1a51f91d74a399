//! JSON: one document, or a line per record.

use std::io::{self, Write};

use portreeve_model::{
    HostSighting, Observation, Service,
    protocol::{JobSummary, Record},
};
use serde::Serialize;

use super::Findings;

#[derive(Serialize)]
struct Document<'a> {
    portreeve: &'static str,
    ports: Vec<Port<'a>>,
    hosts: Vec<&'a HostSighting>,
    summary: &'a JobSummary,
}

#[derive(Serialize)]
struct Port<'a> {
    #[serde(flatten)]
    observation: &'a Observation,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a Service>,
}

/// Everything as one document.
pub(crate) fn document(out: &mut dyn Write, findings: &Findings, summary: &JobSummary) -> io::Result<()> {
    let ports = findings.ports.iter();
    let document = Document {
        portreeve: env!("CARGO_PKG_VERSION"),
        ports: ports
            .map(|(endpoint, observation)| Port { observation, service: findings.services.get(endpoint) })
            .collect(),
        hosts: findings.hosts.values().collect(),
        summary,
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    out.write_all(b"\n")
}

/// One record on its line.
pub(crate) fn line(out: &mut dyn Write, record: &Record) -> io::Result<()> {
    serde_json::to_writer(&mut *out, record)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    summary: &'a JobSummary,
}

/// The last line.
pub(crate) fn summary_line(out: &mut dyn Write, summary: &JobSummary) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &SummaryLine { kind: "summary", summary })?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::output::table::tests::findings;

    fn parsed(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Value {
        let mut text = Vec::new();
        write(&mut text).expect("written");
        serde_json::from_slice(&text).expect("JSON")
    }

    #[test]
    fn the_document_keeps_its_names() {
        let document = parsed(|out| document(out, &findings(), &JobSummary::default()));
        assert_eq!(document["portreeve"], env!("CARGO_PKG_VERSION"));
        let port = &document["ports"][0];
        assert_eq!(port["address"], "10.99.0.2");
        assert_eq!((&port["port"], &port["transport"]), (&json!(22), &json!("tcp")));
        assert_eq!((&port["state"], &port["reason"]), (&json!("open"), &json!("syn-ack")));
        assert_eq!(port["service"]["name"], "ssh");
        assert_eq!(port["service"]["product"], "OpenSSH");
        assert_eq!(document["hosts"][0]["reason"], "arp-reply");
        assert!(document["summary"]["probes_sent"].is_u64());
    }

    #[test]
    fn a_line_is_a_record_of_the_agent_protocol() {
        let observation = *findings().ports.values().next().expect("a port");
        let line = parsed(|out| line(out, &Record::Port(observation)));
        assert_eq!((&line["type"], &line["port"]), (&json!("port"), &json!(22)));
        let last = parsed(|out| summary_line(out, &JobSummary::default()));
        assert_eq!((&last["type"], &last["open_ports"]), (&json!("summary"), &json!(0)));
    }
}
