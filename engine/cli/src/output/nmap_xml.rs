//! XML as nmap writes it (`nmaprun`, version 1.05), for ndiff, IVRE, Metasploit, python-libnmap and the like.
//!
//! What nmap has no place for stands where readers pass it on unread: remarks about the scan in the summary of
//! `runstats` and in a `postscript`, about a host in a `hostscript`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write},
    net::IpAddr,
};

use portreeve_model::{
    Endpoint, HostReason, HostSighting, Observation, PortState, Reason, Service, Transport, Verdict,
};

use super::{Form, Results, calendar, command_line, seconds};

/// One document.
pub(crate) struct NmapXml;

/// More ports than this that are in one state but open are told as a number, as nmap does.
const LISTED: usize = 25;

impl Form for NmapXml {
    fn finish(&mut self, out: &mut dyn Write, results: &Results<'_>) -> io::Result<()> {
        let run = results.run;
        writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE nmaprun>")?;
        let root = Tag::new("nmaprun")
            .with("scanner", "portreeve")
            .with("args", command_line())
            .with("start", seconds(run.started_at_ms))
            .with("startstr", calendar(run.started_at_ms))
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("xmloutputversion", "1.05");
        writeln!(out, "{}", root.open())?;
        for (transport, kind) in [
            (Transport::Tcp, if run.by_connect { "connect" } else { "syn" }),
            (Transport::Udp, "udp"),
            (Transport::Sctp, "sctpinit"),
        ] {
            let count = run.ports.count(transport);
            if count > 0 {
                let info = Tag::new("scaninfo")
                    .with("type", kind)
                    .with("protocol", transport)
                    .with("numservices", count)
                    .with("services", run.ports.list(transport));
                writeln!(out, "{}", info.empty())?;
            }
        }
        // Without these two the document would not be what nmap's own definition (nmap.dtd) describes.
        writeln!(out, "<verbose level=\"0\"/>\n<debugging level=\"0\"/>")?;
        for address in results.findings.addresses() {
            out.write_all(host(results, address).as_bytes())?;
        }
        out.write_all(end(results).as_bytes())?;
        writeln!(out, "</nmaprun>")
    }
}

fn host(results: &Results<'_>, address: IpAddr) -> String {
    let findings = results.findings;
    let ports = findings.ports_of(address);
    let sighting = findings.hosts.get(&address);
    let times = ports.iter().map(|(_, seen)| seen.seen_at_ms).chain(sighting.map(|host| host.seen_at_ms));
    let (first, last) = (times.clone().min(), times.max());
    let status = Tag::new("status")
        .with("state", if is_up(sighting, &ports) { "up" } else { "down" })
        .with("reason", host_reason(sighting, &ports))
        .with("reason_ttl", sighting.and_then(|host| host.ttl).unwrap_or(0));
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    let mut text = Tag::new("host")
        .with("starttime", first.map_or(0, seconds))
        .with("endtime", last.map_or(0, seconds))
        .open();
    text.push_str(&status.empty());
    text.push_str(&Tag::new("address").with("addr", address).with("addrtype", family).empty());
    if let Some(mac) = sighting.and_then(|host| host.mac) {
        let vendor = sighting.and_then(|host| host.mac_vendor.as_ref());
        let mac = mac.to_string().to_uppercase();
        let tag = Tag::new("address").with("addr", mac).with("addrtype", "mac").maybe("vendor", vendor);
        text.push_str(&tag.empty());
    }
    text.push_str("<hostnames>");
    if let Some(name) = sighting.and_then(|host| host.hostname.as_ref()) {
        text.push_str(&Tag::new("hostname").with("name", name).with("type", "PTR").empty());
    }
    text.push_str("</hostnames>\n");
    if !results.is_about_hosts() {
        text.push_str(&ports_of_host(results, &ports));
    }
    if results.is_suspicious(address) {
        let remark = "so much is open here that it means nothing (a proxy or a trap)";
        let script = Tag::new("script").with("id", "portreeve-suspicious").with("output", remark);
        let _ = write!(text, "<hostscript>{}</hostscript>", script.empty());
    }
    if let Some(rtt) = sighting.and_then(|host| host.rtt_us) {
        let tag = Tag::new("times").with("srtt", rtt).with("rttvar", 0).with("to", 0);
        text.push_str(&tag.empty());
    }
    text.push_str("</host>\n");
    text
}

fn ports_of_host(results: &Results<'_>, ports: &[(&Endpoint, &Observation)]) -> String {
    let mut by_state: BTreeMap<&str, Vec<&Observation>> = BTreeMap::new();
    for (_, seen) in ports.iter().filter(|(_, seen)| seen.state != PortState::Open) {
        by_state.entry(state_name(seen)).or_default().push(seen);
    }
    by_state.retain(|_, seen| seen.len() > LISTED);
    let mut text = "<ports>".to_owned();
    for (state, seen) in &by_state {
        text.push_str(&Tag::new("extraports").with("state", state).with("count", seen.len()).open());
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for seen in seen {
            *reasons.entry(reason_name(seen.reason)).or_default() += 1;
        }
        for (reason, count) in reasons {
            text.push_str(&Tag::new("extrareasons").with("reason", reason).with("count", count).empty());
        }
        text.push_str("</extraports>\n");
    }
    for (endpoint, seen) in ports {
        if seen.state == PortState::Open || !by_state.contains_key(state_name(seen)) {
            text.push_str(&port(seen, results.findings.services.get(endpoint)));
        }
    }
    text.push_str("</ports>\n");
    text
}

fn port(seen: &Observation, service: Option<&Service>) -> String {
    let mut text = Tag::new("port").with("protocol", seen.transport).with("portid", seen.port).open();
    let state = Tag::new("state")
        .with("state", state_name(seen))
        .with("reason", reason_name(seen.reason))
        .with("reason_ttl", seen.ttl.unwrap_or(0));
    text.push_str(&state.empty());
    if let Some(service) = service {
        text.push_str(&service_element(service));
        if service.verdict != Verdict::Identified {
            let verdict = service.verdict.as_str();
            text.push_str(
                &Tag::new("script").with("id", "portreeve-verdict").with("output", verdict).empty(),
            );
        }
        if let Some(banner) = &service.banner {
            text.push_str(&Tag::new("script").with("id", "banner").with("output", banner).empty());
        }
    }
    text.push_str("</port>\n");
    text
}

fn service_element(service: &Service) -> String {
    let encrypted = service.tls.as_ref().is_some_and(|tls| tls.error.is_none());
    let tag = Tag::new("service")
        .with("name", service_name(service))
        .maybe("product", service.product.as_ref())
        .maybe("version", service.version.as_ref())
        .maybe("extrainfo", service.info.as_ref())
        .maybe("hostname", service.hostname.as_ref())
        .maybe("ostype", service.os.as_ref())
        .maybe("devicetype", service.device.as_ref())
        .maybe("tunnel", encrypted.then_some("ssl"))
        .with("method", "probed")
        .with("conf", (service.confidence / 10).clamp(0, 10));
    let mut text = tag.open();
    for name in service.cpe.iter().filter_map(|name| cpe_uri(name.as_str())) {
        let _ = write!(text, "<cpe>{}</cpe>", escaped(&name));
    }
    text.push_str("</service>");
    text
}

/// The service in nmap's words, which has one for ports that accept and close.
pub(super) fn service_name(service: &Service) -> &str {
    match (&service.name, service.verdict) {
        (Some(name), _) => name.as_str(),
        (None, Verdict::ClosedAfterAccept) => "tcpwrapped",
        (None, _) => "unknown",
    }
}

fn end(results: &Results<'_>) -> String {
    let summary = results.summary;
    let remarks = results.remarks().join("; ");
    let mut script = Tag::new("script").with("id", "portreeve").with("output", &remarks).open();
    let element = |key: &str, value: String| {
        format!("{}{}</elem>", Tag::new("elem").with("key", key).open(), escaped(&value))
    };
    if let Some(missed) = summary.miss_estimate {
        script.push_str(&element("miss_estimate", missed.to_string()));
    }
    script.push_str(&element("backend", summary.backend.to_string()));
    script.push_str(&element("probes_sent", summary.probes_sent.to_string()));
    for drop in &summary.drops {
        script.push_str(&element(&format!("dropped-{}", drop.cause), drop.count.to_string()));
    }
    let up = hosts_up(results) as u64;
    let total = summary.addresses.max(up);
    let elapsed = (results.finished_at_ms.0 - results.run.started_at_ms.0).max(0) as f64 / 1e3;
    let finished = calendar(results.finished_at_ms);
    let sentence = format!(
        "Portreeve done at {finished}; {total} IP addresses ({up} hosts up) scanned in {elapsed:.2} seconds; {remarks}"
    );
    let finished = Tag::new("finished")
        .with("time", seconds(results.finished_at_ms))
        .with("timestr", finished)
        .with("summary", sentence)
        .with("elapsed", format!("{elapsed:.2}"))
        .with("exit", if results.completed { "success" } else { "error" })
        .maybe("errormsg", (!results.completed).then_some("interrupted"));
    let hosts = Tag::new("hosts").with("up", up).with("down", total - up).with("total", total);
    format!(
        "<postscript>{script}</script></postscript>\n<runstats>{}{}</runstats>\n",
        finished.empty(),
        hosts.empty()
    )
}

/// Whether the host itself has shown that it is there. That a port was asked in vain, or a router said so, shows nothing.
pub(super) fn is_up(sighting: Option<&HostSighting>, ports: &[(&Endpoint, &Observation)]) -> bool {
    let answered = |seen: &Observation| matches!(seen.state, PortState::Open | PortState::Closed);
    sighting.is_some() || ports.iter().any(|(_, seen)| answered(seen))
}

/// How many hosts are up.
pub(super) fn hosts_up(results: &Results<'_>) -> usize {
    let findings = results.findings;
    let is_up = |&address: &IpAddr| is_up(findings.hosts.get(&address), &findings.ports_of(address));
    findings.addresses().into_iter().filter(is_up).count()
}

/// The state in nmap's words: silence of a UDP port says nothing, and an unreachable one is filtered.
pub(super) fn state_name(seen: &Observation) -> &'static str {
    match (seen.state, seen.transport, seen.reason) {
        (PortState::Open, ..) => "open",
        (PortState::Closed, ..) => "closed",
        (PortState::Filtered, Transport::Udp, Reason::NoReply) => "open|filtered",
        (PortState::Filtered | PortState::Unreachable, ..) => "filtered",
    }
}

fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::AdminProhibited => "admin-prohibited",
        Reason::ConnectAccepted | Reason::SynAck => "syn-ack",
        Reason::ConnectRefused => "conn-refused",
        Reason::HostUnreachable => "host-unreach",
        Reason::NetworkUnreachable => "net-unreach",
        Reason::NoReply => "no-response",
        Reason::PortUnreachable => "port-unreach",
        Reason::ProtocolUnreachable => "proto-unreach",
        Reason::Reset => "reset",
        Reason::SctpAbort => "abort",
        Reason::SctpInitAck => "init-ack",
        Reason::TimeExceeded => "time-exceeded",
        Reason::UdpReply => "udp-response",
    }
}

fn host_reason(sighting: Option<&HostSighting>, ports: &[(&Endpoint, &Observation)]) -> &'static str {
    match sighting.map(|host| host.reason) {
        Some(HostReason::ArpReply) => "arp-response",
        Some(HostReason::EchoReply) => "echo-reply",
        Some(HostReason::LocalAddress) => "localhost-response",
        Some(HostReason::NeighborAdvertisement) => "nd-response",
        Some(HostReason::TimestampReply) => "timestamp-reply",
        Some(HostReason::PortReply) | None => {
            ports.first().map_or("unknown-response", |(_, seen)| reason_name(seen.reason))
        }
    }
}

/// A CPE 2.3 name as the URI of CPE 2.2 (NISTIR 7695 6.1), which is what nmap writes.
fn cpe_uri(name: &str) -> Option<String> {
    let mut parts: Vec<String> = vec![String::new()];
    let mut characters = name.strip_prefix("cpe:2.3:")?.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => parts.push(String::new()),
            '\\' => {
                let quoted = characters.next()?;
                let part = parts.last_mut()?;
                if quoted.is_ascii_alphanumeric() || matches!(quoted, '.' | '_' | '-') {
                    part.push(quoted);
                } else {
                    let mut bytes = [0; 4];
                    for byte in quoted.encode_utf8(&mut bytes).bytes() {
                        let _ = write!(part, "%{byte:02x}");
                    }
                }
            }
            other => parts.last_mut()?.push(other),
        }
    }
    // Part, vendor, product, version, update, edition, language: what comes behind has no place in a URI.
    parts.truncate(7);
    for part in &mut parts {
        if part == "*" {
            part.clear();
        }
    }
    while parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    (parts.len() >= 3).then(|| format!("cpe:/{}", parts.join(":")))
}

/// A start tag that is being put together.
struct Tag(String);

impl Tag {
    fn new(name: &str) -> Self {
        Self(format!("<{name}"))
    }

    fn with(mut self, name: &str, value: impl ToString) -> Self {
        let _ = write!(self.0, " {name}=\"{}\"", escaped(&value.to_string()));
        self
    }

    fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    fn open(self) -> String {
        self.0 + ">"
    }

    fn empty(self) -> String {
        self.0 + "/>"
    }
}

/// Text for attributes and between tags (XML 1.0 2.2 and 2.4).
fn escaped(text: &str) -> Cow<'_, str> {
    let harmless = |character: char| {
        !matches!(character, '&' | '<' | '>' | '"' | '\'' | '\u{fffe}' | '\u{ffff}') && (character >= ' ')
    };
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            other if harmless(other) => safe.push(other),
            _ => safe.push('\u{fffd}'),
        }
    }
    Cow::Owned(safe)
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
    fn ports_services_and_remarks_have_their_places() {
        let text = shown(|out| about_ports(|results| NmapXml.finish(out, results)));
        for part in [
            "<scaninfo type=\"syn\" protocol=\"tcp\" numservices=\"2\" services=\"22,80\"/>\n<verbose level=\"0\"/>\n<debugging level=\"0\"/>\n<host ",
            "<address addr=\"52:54:00:12:34:56\" addrtype=\"mac\"/>",
            "<status state=\"up\" reason=\"arp-response\" reason_ttl=\"0\"/>",
            "<port protocol=\"tcp\" portid=\"22\"><state state=\"open\" reason=\"syn-ack\" reason_ttl=\"64\"/>\
             <service name=\"ssh\" product=\"OpenSSH\" version=\"9.2p1\" method=\"probed\" conf=\"10\"></service></port>",
            "product=\"=cmd|&apos; /C calc&apos;!A0, &quot;quoted&quot;\"",
            "<script id=\"portreeve-suspicious\"",
            "<elem key=\"miss_estimate\">0.0125</elem>",
            "<elem key=\"dropped-wrong-cookie\">3</elem>",
            "about 1.25 % of the answers were missed",
            "<hosts up=\"1\" down=\"255\" total=\"256\"/>",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn who_has_shown_nothing_is_not_up() {
        let text = shown(|out| about_nobody(|results| NmapXml.finish(out, results)));
        assert!(text.contains("<status state=\"down\" reason=\"host-unreach\""), "{text}");
        assert!(text.contains("<hosts up=\"0\" down=\"256\" total=\"256\"/>"), "{text}");
    }

    #[test]
    fn hosts_alone_have_no_ports() {
        let text = shown(|out| about_hosts(|results| NmapXml.finish(out, results)));
        assert!(
            text.contains("<host ") && !text.contains("<ports>") && !text.contains("<scaninfo"),
            "{text}"
        );
    }

    #[test]
    fn names_of_products_become_uris() {
        for (name, uri) in [
            ("cpe:2.3:a:openbsd:openssh:9.2p1:*:*:*:*:*:*:*", Some("cpe:/a:openbsd:openssh:9.2p1")),
            ("cpe:2.3:a:vendor:c\\+\\+:*:*:*:*:*:*:*:*", Some("cpe:/a:vendor:c%2b%2b")),
            (
                "cpe:2.3:o:linux:linux_kernel:6\\.1:*:lts:*:*:*:*:*",
                Some("cpe:/o:linux:linux_kernel:6.1::lts"),
            ),
            ("cpe:2.3:a:x", None),
            ("openssh", None),
        ] {
            assert_eq!(cpe_uri(name).as_deref(), uri, "{name}");
        }
    }

    #[test]
    fn markup_and_what_xml_forbids_is_escaped() {
        assert_eq!(escaped("a<b>&\"'\u{1}\u{ffff}é"), "a&lt;b&gt;&amp;&quot;&apos;\u{fffd}\u{fffd}é");
        assert!(matches!(escaped("plain"), Cow::Borrowed("plain")));
    }
}
