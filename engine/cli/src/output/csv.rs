//! Comma-separated values (RFC 4180), harmless in spreadsheets.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use portreeve_model::SafeText;

use super::{Form, Results};

/// The columns of a scan's CSV.
pub(crate) const COLUMNS: [&str; 17] = [
    "address",
    "port",
    "transport",
    "state",
    "reason",
    "service",
    "product",
    "version",
    "info",
    "os",
    "confidence",
    "ttl",
    "rtt_us",
    "seen_at_ms",
    "suspicious_host",
    "verdict",
    "cpe",
];

/// A line per port or host.
pub(crate) struct Csv;

impl Form for Csv {
    fn finish(&mut self, out: &mut dyn Write, results: &Results<'_>) -> io::Result<()> {
        if results.is_about_hosts() { hosts(out, results) } else { ports(out, results) }
    }
}

fn ports(out: &mut dyn Write, results: &Results<'_>) -> io::Result<()> {
    let findings = results.findings;
    row(out, COLUMNS)?;
    for (endpoint, seen) in &findings.ports {
        let service = findings.services.get(endpoint);
        let text = |field: Option<&SafeText>| field.map(ToString::to_string).unwrap_or_default();
        row(
            out,
            [
                seen.address.to_string(),
                seen.port.to_string(),
                seen.transport.to_string(),
                seen.state.to_string(),
                seen.reason.to_string(),
                text(service.and_then(|service| service.name.as_ref())),
                text(service.and_then(|service| service.product.as_ref())),
                text(service.and_then(|service| service.version.as_ref())),
                text(service.and_then(|service| service.info.as_ref())),
                text(service.and_then(|service| service.os.as_ref())),
                service.map(|service| service.confidence.to_string()).unwrap_or_default(),
                number(seen.ttl),
                number(seen.rtt_us),
                seen.seen_at_ms.0.to_string(),
                if results.is_suspicious(seen.address) { "yes" } else { "no" }.to_owned(),
                service.map(|service| service.verdict.as_str().to_owned()).unwrap_or_default(),
                service.map(|service| names(&service.cpe)).unwrap_or_default(),
            ],
        )?;
    }
    Ok(())
}

fn hosts(out: &mut dyn Write, results: &Results<'_>) -> io::Result<()> {
    row(out, ["address", "mac", "mac_vendor", "hostname", "reason", "ttl", "rtt_us", "seen_at_ms"])?;
    for host in results.findings.hosts.values() {
        row(
            out,
            [
                host.address.to_string(),
                host.mac.map(|mac| mac.to_string()).unwrap_or_default(),
                host.mac_vendor.as_ref().map(ToString::to_string).unwrap_or_default(),
                host.hostname.as_ref().map(ToString::to_string).unwrap_or_default(),
                super::table::host_reason(host.reason).to_owned(),
                number(host.ttl),
                number(host.rtt_us),
                host.seen_at_ms.0.to_string(),
            ],
        )?;
    }
    Ok(())
}

/// CPE names, apart by blanks, which they hold none of.
fn names(cpe: &[SafeText]) -> String {
    cpe.iter().map(SafeText::as_str).collect::<Vec<_>>().join(" ")
}

fn number<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn row<const N: usize>(out: &mut dyn Write, cells: [impl AsRef<str>; N]) -> io::Result<()> {
    let cells: Vec<_> = cells.iter().map(|cell| cell_text(cell.as_ref()).into_owned()).collect();
    out.write_all(cells.join(",").as_bytes())?;
    out.write_all(b"\r\n")
}

/// A cell that no spreadsheet takes for a formula (OWASP: CSV injection), quoted where RFC 4180 asks for it.
fn cell_text(text: &str) -> Cow<'_, str> {
    let harmless = if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    };
    if harmless.contains([',', '"', '\r', '\n', ';']) {
        Cow::Owned(format!("\"{}\"", harmless.replace('"', "\"\"")))
    } else {
        harmless
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::table::tests::{about_hosts, about_ports};

    #[test]
    fn a_port_is_a_line() {
        let mut text = Vec::new();
        about_ports(|results| Csv.finish(&mut text, results)).expect("written");
        let text = String::from_utf8(text).expect("UTF-8");
        let mut lines = text.split("\r\n");
        assert_eq!(lines.next(), Some(COLUMNS.join(",").as_str()));
        assert_eq!(
            lines.next(),
            Some("10.99.0.2,22,tcp,open,syn-ack,ssh,OpenSSH,9.2p1,,,100,64,150,1000,yes,identified,"),
        );
        let hostile = lines.next().expect("a second port");
        assert!(hostile.contains(r#",http,"'=cmd|' /C calc'!A0, ""quoted""","#), "{hostile}");
    }

    #[test]
    fn cells_are_never_formulas() {
        for (raw, safe) in [
            ("nginx", "nginx"),
            ("", ""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2", "'-2"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
        ] {
            assert_eq!(cell_text(raw), safe, "{raw}");
        }
    }

    #[test]
    fn a_host_is_a_line() {
        let mut text = Vec::new();
        about_hosts(|results| Csv.finish(&mut text, results)).expect("written");
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(text.contains("10.99.0.2,52:54:00:12:34:56,,,arp-reply,,90,1000\r\n"), "{text}");
    }
}
