//! Keeps a lease alive, tells the progress, and hears that a scan was cancelled.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use portreeve_model::{
    SafeText,
    protocol::{JobProgress, LeasedJob, Limits, LogLevel, LogLine, LogsRequest, RenewRequest},
};
use portreeve_scan::{Clock, Control, Phase};
use tokio::time::sleep;

use crate::{
    run::Tally,
    task::Task,
    uplink::{Uplink, UplinkError},
};

/// How often progress is told; a cancelled scan hears of it no later.
const TELL: Duration = Duration::from_secs(1);

/// Why a job stops before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StopCause {
    /// A user cancelled the scan.
    Cancelled,
    /// The job is no longer ours.
    Lost(String),
    /// The agent is going down.
    Stopped,
    /// The job's time is up.
    TimedOut(u32),
    /// The credential is no longer accepted.
    Unauthorized(String),
}

/// A job that is under way: what stops it, how far it is, what it has to say.
#[derive(Clone)]
pub(crate) struct Underway(Arc<Inner>);

struct Inner {
    control: Control,
    tally: Tally,
    /// What another process says that carries it out.
    heard: Mutex<Option<JobProgress>>,
    cause: OnceLock<StopCause>,
    log: Mutex<VecDeque<LogLine>>,
    clock: Clock,
}

impl Underway {
    pub(crate) fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            control: Control::new(),
            tally: Tally::default(),
            heard: Mutex::default(),
            cause: OnceLock::new(),
            log: Mutex::default(),
            clock,
        }))
    }

    pub(crate) fn control(&self) -> &Control {
        &self.0.control
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// Stops the scan; the first cause counts.
    pub(crate) fn stop(&self, cause: StopCause) {
        let _ = self.0.cause.set(cause);
        self.0.control.cancel();
    }

    pub(crate) fn cause(&self) -> Option<&StopCause> {
        self.0.cause.get()
    }

    /// Adds a line to the scan's log. The oldest go when the server does not take them.
    pub(crate) fn log(&self, level: LogLevel, message: impl Into<SafeText>) {
        let line = LogLine { at_ms: self.0.clock.now(), level, message: message.into() };
        let mut log = self.0.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() >= Limits::LOG_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }

    fn take_log(&self) -> Vec<LogLine> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// Tells the scan's log how probes leave.
    pub(crate) fn begins(&self, backend: &str, why: &str) {
        self.log(LogLevel::Info, format!("Scanning with backend {backend}: {why}"));
    }

    /// Takes the word of the process that carries the job out.
    pub(crate) fn hear(&self, progress: JobProgress) {
        *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    fn progress(&self, identify: bool) -> JobProgress {
        let heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        heard.unwrap_or_else(|| progress(&self.0.control, &self.0.tally, identify))
    }
}

/// How far a scan with identification beside it is.
pub(crate) fn progress(control: &Control, tally: &Tally, identify: bool) -> JobProgress {
    let progress = control.progress();
    let scanned = fraction(progress.probes_done, progress.probes_total);
    let (answered, accepted) = (tally.answered(), tally.accepted());
    let scan_is_over = progress.phase == Phase::Done;
    // Identification goes on beside the scan; only what it takes after the scan has a share of its own.
    let percent = match (identify, scan_is_over) {
        (false, _) => scanned * 99.0,
        (true, false) => scanned * 90.0,
        (true, true) => 90.0 + 9.0 * fraction(answered, accepted),
    };
    let phase = if identify && scan_is_over {
        format!("Identifying {answered} of {accepted} services")
    } else {
        progress.phase.to_string()
    };
    JobProgress {
        percent,
        phase: phase.into(),
        probes_sent: progress.probes_sent,
        probes_total: progress.probes_total,
        open_ports: progress.open_ports,
        rate_pps: progress.rate_pps,
    }
}

fn fraction(part: u64, whole: u64) -> f32 {
    if whole == 0 { 0.0 } else { (part as f32 / whole as f32).min(1.0) }
}

/// Renews until the lease is lost; drop it when the job is handed in.
pub(crate) async fn keep(leased: &LeasedJob, uplink: &Uplink, underway: &Underway) {
    let job_id = leased.job.job_id;
    let identify = Task::identifies(&leased.job);
    let every = TELL.min(Duration::from_secs(u64::from(leased.renew_seconds.max(1))) / 3);
    loop {
        tell_log(leased, uplink, underway).await;
        let request = RenewRequest { lease_token: leased.lease_token, progress: underway.progress(identify) };
        match uplink.renew(job_id, &request).await {
            Ok(response) if response.cancelled => underway.stop(StopCause::Cancelled),
            Ok(_) => {}
            Err(UplinkError::LeaseLost(why) | UplinkError::Gone(why)) => {
                return underway.stop(StopCause::Lost(why));
            }
            Err(UplinkError::Unauthorized(why)) => return underway.stop(StopCause::Unauthorized(why)),
            Err(error) => tracing::debug!(job = %job_id, %error, "the lease could not be renewed now"),
        }
        sleep(every).await;
    }
}

/// Logs are told as they come; they are no results, so what cannot be told is not kept on disk.
pub(crate) async fn tell_log(leased: &LeasedJob, uplink: &Uplink, underway: &Underway) {
    let lines = underway.take_log();
    if lines.is_empty() {
        return;
    }
    let request = LogsRequest { lease_token: leased.lease_token, lines };
    if let Err(error) = uplink.logs(leased.job.job_id, &request).await {
        tracing::debug!(job = %leased.job.job_id, %error, "log lines could not be told");
        if error.is_transient() {
            let mut log = underway.0.log.lock().unwrap_or_else(PoisonError::into_inner);
            for line in request.lines.into_iter().rev() {
                if log.len() < Limits::LOG_LINES {
                    log.push_front(line);
                }
            }
        }
    }
}
