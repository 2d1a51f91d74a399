//! A running scan: what it finds is taken as it comes.

use std::{mem, sync::Arc, time::Duration};

use portreeve_agent::{Found, Tally, run};
use portreeve_model::protocol::Record;
use portreeve_probes::Identifier;
use portreeve_scan::{Control, Scan, ScanReport};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::interval,
};

use super::finished::count;
use crate::{
    exit::{Exit, Failure},
    journal::Journal,
    output::{Growing, Output},
    status::Status,
    stop_file::StopFile,
};

/// What is found is taken so much at a time.
const BATCH: usize = 256;

/// Where what is found goes, as it comes.
pub(super) struct Log {
    pub(super) output: Output,
    pub(super) findings: Growing,
    pub(super) journal: Option<Journal>,
}

impl Log {
    /// Takes what was found, and leaves nothing of it.
    fn take(&mut self, found: &mut Vec<Found>) {
        let mut records = Vec::with_capacity(found.len());
        for next in found.drain(..) {
            match next {
                Found::Checkpoint(checkpoint) => {
                    self.note(mem::take(&mut records));
                    if let Some(journal) = &self.journal {
                        journal.keep(checkpoint);
                    }
                }
                // Told at the end, with how much they showed.
                Found::Suspicious(_) => {}
                Found::Record(record) => records.push(record),
            }
        }
        self.note(records);
    }

    /// Takes records in.
    pub(super) fn note(&mut self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        self.output.stream(&records);
        for record in &records {
            self.findings.add(record.clone());
        }
        if let Some(journal) = &self.journal {
            journal.note(records);
        }
    }
}

/// How a scan ended.
pub(super) struct Watched {
    pub(super) report: ScanReport,
    /// It was stopped since no output takes anything any more.
    pub(super) is_abandoned: bool,
}

/// Runs the scan, shows the live line, takes interrupts.
pub(super) async fn watch(
    scan: Scan,
    identifier: Option<Arc<Identifier>>,
    wait: Duration,
    log: &mut Log,
    stop_file: &StopFile,
) -> Result<Watched, Failure> {
    let (control, tally, status) = (Control::new(), Tally::default(), Status::new());
    let (sender, mut found) = mpsc::channel(4_096);
    let running = tokio::spawn({
        let (control, tally, known) =
            (control.clone(), tally.clone(), log.findings.findings().unidentified());
        async move { run(scan, control, identifier, &known, tally, sender).await }
    });
    let no_signals = |error| Failure::new(Exit::Failure, format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut tick = interval(Duration::from_millis(200));
    let (mut batch, mut is_abandoned) = (Vec::with_capacity(BATCH), false);
    loop {
        tokio::select! {
            taken = found.recv_many(&mut batch, BATCH) => {
                if taken == 0 {
                    break;
                }
                log.take(&mut batch);
                if !log.output.is_wanted() && !control.is_cancelled() {
                    is_abandoned = true;
                    control.cancel();
                }
            }
            _ = tick.tick() => {
                if stop_file.is_there() && !control.is_cancelled() {
                    tracing::warn!("stopped by {}", stop_file.path().display());
                    control.cancel();
                }
                status.show(&control.progress(), &tally, wait);
            }
            _ = interrupt.recv() => stop(&control),
            _ = terminate.recv() => stop(&control),
        }
    }
    status.clear();
    let report = match running.await {
        Ok(report) => report?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    if tally.left_out() > 0 {
        let (ports, were) =
            (count(tally.left_out(), "open port", "s"), if tally.left_out() == 1 { "was" } else { "were" });
        say!("{ports} {were} not asked what answers there: too much is open on the host");
    }
    Ok(Watched { report, is_abandoned })
}

/// Asks the scan to stop; who asks twice does not want to wait.
fn stop(control: &Control) {
    if control.is_cancelled() {
        std::process::exit(Exit::Interrupted as i32);
    }
    control.cancel();
}
