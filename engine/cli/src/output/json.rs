//! JSON: one document, or a line per record.

use std::io::{self, Write};

use portreeve_model::{
    HostProfile, HostSighting, Observation, SafeText, Service, Timestamp,
    protocol::{JobSummary, Record},
};
use serde::Serialize;

use super::{Form, Results, command_line};

#[derive(Serialize)]
struct Document<'a> {
    portreeve: &'static str,
    command: SafeText,
    started_at_ms: Timestamp,
    finished_at_ms: Timestamp,
    completed: bool,
    ports: Vec<Port<'a>>,
    hosts: Vec<&'a HostSighting>,
    profiles: Vec<&'a HostProfile>,
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
pub(crate) struct Json;

impl Form for Json {
    fn finish(&mut self, out: &mut dyn Write, results: &Results<'_>) -> io::Result<()> {
        document(out, results)
    }
}

/// One record on its line, as found, and the summary last.
pub(crate) struct Ndjson;

impl Form for Ndjson {
    fn record(&mut self, out: &mut dyn Write, record: &Record) -> io::Result<()> {
        serde_json::to_writer(&mut *out, record)?;
        out.write_all(b"\n")
    }

    fn finish(&mut self, out: &mut dyn Write, results: &Results<'_>) -> io::Result<()> {
        let line = SummaryLine { kind: "summary", completed: results.completed, summary: results.summary };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")
    }
}

fn document(out: &mut dyn Write, results: &Results<'_>) -> io::Result<()> {
    let findings = results.findings;
    let ports = findings.ports.iter();
    let document = Document {
        portreeve: env!("CARGO_PKG_VERSION"),
        command: command_line(),
        started_at_ms: results.run.started_at_ms,
        finished_at_ms: results.finished_at_ms,
        completed: results.completed,
        ports: ports
            .map(|(endpoint, observation)| Port { observation, service: findings.services.get(endpoint) })
            .collect(),
        hosts: findings.hosts.values().collect(),
        profiles: findings.profiles.values().collect(),
        summary: results.summary,
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    completed: bool,
    #[serde(flatten)]
    summary: &'a JobSummary,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::output::table::tests::{about_ports, findings};

    fn parsed(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Value {
        let mut text = Vec::new();
        write(&mut text).expect("written");
        serde_json::from_slice(&text).expect("JSON")
    }

    #[test]
    fn the_document_keeps_its_names() {
        let document = parsed(|out| about_ports(|results| Json.finish(out, results)));
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
        let line = parsed(|out| Ndjson.record(out, &Record::Port(observation)));
        assert_eq!((&line["type"], &line["port"]), (&json!("port"), &json!(22)));
        let last = parsed(|out| about_ports(|results| Ndjson.finish(out, results)));
        assert_eq!((&last["type"], &last["open_ports"]), (&json!("summary"), &json!(2)));
    }
}
