//! The last words of a scan.

use portreeve_model::{PortState, protocol::JobSummary};
use portreeve_scan::ScanReport;

use super::plan::Plan;
use crate::{
    exit::{Exit, Failure},
    journal::Folder,
    output::{Findings, drops},
};

/// A scan that has ended.
pub(super) struct Finished {
    pub(super) plan: Plan,
    pub(super) findings: Findings,
    pub(super) summary: JobSummary,
    pub(super) report: ScanReport,
    pub(super) folder: Option<Folder>,
    /// It was stopped since no output takes anything any more.
    pub(super) is_abandoned: bool,
}

impl Finished {
    /// Adds what the scan had found before it was interrupted: the report is of the last run alone.
    pub(super) fn count_all(&mut self) {
        let open = self.findings.ports.values().filter(|seen| seen.state == PortState::Open).count() as u64;
        self.summary.open_ports = self.summary.open_ports.max(open);
        self.summary.hosts = self.summary.hosts.max(self.findings.hosts.len() as u64);
    }

    /// The last words on stderr, and the exit code.
    pub(super) fn conclude(self, written: Result<(), Failure>) -> Result<(), Failure> {
        say!("{}", self.sentence());
        for host in self.report.suspicious_hosts.iter().take(20) {
            let (address, why, open) = (host.address, host.suspicion.as_str(), host.open_ports);
            say!("{address}: suspicious, {why}; {open} open ports mean nothing and were not all reported");
        }
        let path = self.folder.as_ref().and_then(Folder::path);
        let way_on = path.map(|path| format!("go on with `portreeve scan --resume {}`", path.display()));
        match (written, way_on) {
            (Err(failure), Some(way_on)) => {
                Err(Failure::new(failure.exit, format!("{failure}; what was found is kept: {way_on}")))
            }
            (Err(failure), None) => Err(failure),
            (Ok(()), _) if self.report.completed || self.is_abandoned => {
                if let Some(folder) = self.folder {
                    folder.remove();
                }
                Ok(())
            }
            (Ok(()), way_on) => {
                let way_on = way_on.unwrap_or_else(|| "there is nothing to go on from yet".to_owned());
                Err(Failure::new(Exit::Interrupted, format!("interrupted; {way_on}")))
            }
        }
    }

    fn sentence(&self) -> String {
        let report = &self.report;
        let mut text = if self.plan.config.ports.is_empty() {
            count(self.summary.hosts, "host", "s")
        } else {
            format!(
                "{} on {}",
                count(self.summary.open_ports, "open port", "s"),
                count(self.findings.hosts_with_open_ports(), "host", "s")
            )
        };
        text.push_str(&format!(
            "; {} to {} in {:.1} s by {}",
            count(report.probes_sent, "probe", "s"),
            count(report.addresses, "address", "es"),
            report.duration.as_secs_f64(),
            report.backend,
        ));
        if let Some(missed) = report.miss_estimate {
            text.push_str(&format!("; about {:.2} % missed", missed * 100.0));
            if let Some(bound) = report.miss_bound.filter(|&bound| bound >= 0.00005) {
                text.push_str(&format!(" (at most {:.2} %)", bound * 100.0));
            }
        }
        if let Some(lost) = report.loss_estimate.filter(|&lost| lost >= 0.00005) {
            text.push_str(&format!("; {:.2} % of probes lost", lost * 100.0));
        }
        for remark in drops(&self.summary) {
            text.push_str(&format!("; {remark}"));
        }
        text
    }
}

/// A number and its noun.
pub(super) fn count(
    number: impl std::fmt::Display + PartialEq + From<u8>,
    noun: &str,
    plural: &str,
) -> String {
    let ending = if number == 1.into() { "" } else { plural };
    format!("{number} {noun}{ending}")
}
