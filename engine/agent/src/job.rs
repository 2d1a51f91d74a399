//! One leased job, from the lease to the acknowledged end.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use portreeve_model::{
    SafeText,
    protocol::{DropCount, FinishRequest, Job, JobKind, JobOutcome, JobSummary, LeasedJob, LogLevel},
};
use portreeve_probes::{Database, Identifier, IdentifyConfig, Memory, archive::ReplySink};
use portreeve_scan::{
    BackendChoice, Clock, PacketsPerSecond, PortError, PortSet, Scan, ScanConfig, ScanError, ScanReport,
    Shard, TargetError, TargetSet, TargetSetBuilder, UdpPayloads, targets::parse_line,
};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    courier::{Delivery, blocking, deliver},
    lease::{StopCause, Underway, keep, tell_log},
    rates::TunedRates,
    recorder::record,
    run::run,
    spool::{JobSpool, SpoolError},
    uplink::Uplink,
};

/// Records that may wait for the disk.
const RECORDS: usize = 4_096;
/// The wait for an answer that a server may ask for.
const PROBE_TIMEOUT_MS: std::ops::RangeInclusive<u32> = 50..=30_000;

/// Packets per second when nobody says how many and nobody but this machine hears them: all ports in 3 s.
const LOOPBACK_RATE: u32 = 20_000;

/// What this host allows, whatever a server asks for.
#[derive(Clone, Debug, Default)]
pub struct HostLimits {
    /// Packets per second over all jobs, at most.
    pub max_rate_pps: Option<u32>,
    /// Never sent to: addresses, blocks and ranges.
    pub exclude: Vec<String>,
    /// Where the rates are that were found for the networks around, for jobs that name none.
    pub rates: Option<PathBuf>,
    /// Nothing else may be scanned, if anything is named here. A job that asks for more is refused as a whole: a part of
    /// it that is silently left out would pass for scanned.
    pub only: Vec<String>,
}

impl HostLimits {
    /// An error if something here cannot be read.
    pub(crate) fn check(&self) -> Result<(), TargetError> {
        self.exclude.iter().chain(&self.only).try_for_each(|text| parse_line(text).map(drop))
    }

    /// What each of so many jobs at the same time may have of this.
    pub(crate) fn shared_by(&self, jobs: u32) -> Self {
        let share = |ceiling: u32| (ceiling / jobs.max(1)).max(1);
        Self { max_rate_pps: self.max_rate_pps.map(share), ..self.clone() }
    }

    /// An error that names the first address that this host does not let anyone scan.
    fn check_scope(&self, targets: &TargetSet) -> Result<(), JobError> {
        if self.only.is_empty() {
            return Ok(());
        }
        let mut asked = TargetSetBuilder::new().allow_reserved(true);
        for (first, last) in targets.ranges() {
            asked = asked.include(&format!("{first}-{last}"))?;
        }
        for text in &self.only {
            asked = asked.exclude(text)?;
        }
        match asked.build() {
            Err(TargetError::Empty) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(beyond) => {
                let address = beyond.iter().next().map(|address| address.to_string()).unwrap_or_default();
                Err(JobError::OutOfScope { address, only: self.only.join(", ") })
            }
        }
    }

    /// The targets of a job without what either side excludes.
    fn targets(&self, job: &Job) -> Result<TargetSet, TargetError> {
        let mut builder = TargetSetBuilder::new();
        for target in &job.targets {
            builder = builder.include(target)?;
        }
        for excluded in self.exclude.iter().chain(&job.exclude) {
            builder = builder.exclude(excluded)?;
        }
        builder.build()
    }

    /// Read for each job: the rate may have been found since the agent was started.
    fn tuned_rate(&self, targets: &TargetSet) -> Option<u32> {
        let path = self.rates.as_ref()?;
        match TunedRates::read(path) {
            Ok(rates) => rates.rate_for(targets).map(|rate| rate.0),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the rates found by `portreeve tune`");
                None
            }
        }
    }

    fn rate(&self, job: &Job, targets: &TargetSet, default: PacketsPerSecond) -> PacketsPerSecond {
        let on_this_machine = targets.ranges().all(|(first, last)| first.is_loopback() && last.is_loopback());
        let default = if on_this_machine { LOOPBACK_RATE } else { default.0 };
        let asked = job.rate_pps.or_else(|| self.tuned_rate(targets)).unwrap_or(default);
        PacketsPerSecond(self.max_rate_pps.map_or(asked, |ceiling| asked.min(ceiling)))
    }
}

/// What every job on this host is done with.
#[derive(Clone)]
pub(crate) struct Workshop {
    pub(crate) uplink: Uplink,
    pub(crate) clock: Clock,
    pub(crate) databases: watch::Receiver<Arc<Database>>,
    pub(crate) archive: Option<Arc<dyn ReplySink>>,
    pub(crate) limits: HostLimits,
    pub(crate) backend: BackendChoice,
    /// What earlier jobs found, so that a known endpoint costs one connection.
    pub(crate) memory: Arc<Memory>,
}

/// Why a job could not be done to its end, in a sentence.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error("this scanner host does not let anyone scan {address}: its own settings allow {only} only")]
    OutOfScope { address: String, only: String },
    #[error(transparent)]
    Ports(#[from] PortError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("shard {index} of {count} does not exist")]
    Shard { index: u32, count: u32 },
    #[error("results cannot be kept on the scanner host: {0}")]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Targets(#[from] TargetError),
}

/// Does a job and hands it in. `stop` ends it early; what was found is handed in all the same.
pub(crate) async fn carry_out(
    workshop: Workshop,
    leased: LeasedJob,
    spool: Arc<JobSpool>,
    stop: CancellationToken,
) -> Delivery {
    let underway = Underway::new(workshop.clock.clone());
    let mut courier = spawn(deliver(Arc::clone(&spool), workshop.uplink.clone()));
    // Kept up until the end is handed in: a lease that runs out meanwhile would cost the results.
    let _keeper = spawn({
        let (leased, uplink, underway) = (leased.clone(), workshop.uplink.clone(), underway.clone());
        async move { keep(&leased, &uplink, &underway).await }
    });
    let ended = tokio::select! {
        ended = scan_into(&spool, &workshop, &leased.job, &underway) => ended,
        never = stop_in_time(&leased.job, &stop, &underway) => match never {},
    };
    if let Some(StopCause::Lost(why)) = underway.cause() {
        drop(courier);
        let why = why.clone();
        if let Err(error) = blocking(&spool, JobSpool::discard).await {
            tracing::warn!(%error, "cannot clear the spool of a job that is lost");
        }
        return Delivery::Refused(why);
    }
    let finish = finish_request(&leased, &underway, ended);
    if let Some(error) = &finish.error {
        underway.log(LogLevel::Error, error.clone());
    }
    tell_log(&leased, &workshop.uplink, &underway).await;
    if let Err(error) = blocking(&spool, |spool| spool.finish(finish)).await {
        tracing::warn!(%error, "the end of a job is kept in memory only");
    }
    match (&mut courier).await {
        Ok(delivery) => delivery,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Delivery::Stuck("the agent is going down".to_owned()),
    }
}

/// What became of the scan itself.
type Ended = Result<ScanReport, (JobError, Option<ScanReport>)>;

async fn scan_into(spool: &Arc<JobSpool>, workshop: &Workshop, job: &Job, underway: &Underway) -> Ended {
    let identifier = identifier(workshop, job);
    let scan = prepare(workshop, job, &identifier).await.map_err(|error| (error, None))?;
    let (backend, why) = scan.backend();
    underway.log(LogLevel::Info, format!("Scanning with backend {backend}: {why}"));
    let (out, records) = mpsc::channel(RECORDS);
    let recorder = spawn(record(Arc::clone(spool), records));
    let control = underway.control().clone();
    let identifier = (job.identify && job.kind == JobKind::Scan).then_some(identifier);
    let report = run(scan, control, identifier, &[], underway.tally().clone(), out).await;
    let recorded = recorder.await;
    let report = report.map_err(|error| (error.into(), None))?;
    match recorded {
        Ok(Err(error)) => Err((error.into(), Some(report))),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        _ => Ok(report),
    }
}

fn identifier(workshop: &Workshop, job: &Job) -> Arc<Identifier> {
    let clock = workshop.clock.clone();
    let mut config = IdentifyConfig::new(Arc::new(move || clock.now()));
    config.ssh_audit = job.ssh_audit;
    config.archive.clone_from(&workshop.archive);
    let database = Arc::clone(&workshop.databases.borrow());
    Arc::new(Identifier::new(database, config).with_memory(Arc::clone(&workshop.memory)))
}

async fn prepare(workshop: &Workshop, job: &Job, identifier: &Arc<Identifier>) -> Result<Scan, JobError> {
    let mut config = scan_config(&workshop.limits, job)?;
    config.backend = workshop.backend;
    let identifier = Arc::clone(identifier);
    config.udp_payloads = UdpPayloads::new(move |port| identifier.udp_payload(port));
    let clock = workshop.clock.clone();
    match spawn_blocking(move || Scan::prepare(config, clock)).await {
        Ok(scan) => Ok(scan?),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The scan that a job asks for, within what this host allows.
fn scan_config(limits: &HostLimits, job: &Job) -> Result<ScanConfig, JobError> {
    let ports = match job.kind {
        JobKind::Discovery => PortSet::empty(),
        JobKind::Scan => job.ports.parse()?,
    };
    let targets = limits.targets(job)?;
    limits.check_scope(&targets)?;
    let mut config = ScanConfig::new(targets, ports);
    let (low, high) = PROBE_TIMEOUT_MS.into_inner();
    config.wait = Duration::from_millis(job.probe_timeout_ms.clamp(low, high).into());
    config.rate = limits.rate(job, &config.targets, config.rate);
    config.seed = job.seed;
    let (index, count) = (job.shard.index, job.shard.count);
    config.shard = Shard::new(index, count).ok_or(JobError::Shard { index, count })?;
    Ok(config)
}

/// Stops the job when its time is up or the agent goes down.
async fn stop_in_time(job: &Job, stop: &CancellationToken, underway: &Underway) -> Infallible {
    tokio::select! {
        () = stop.cancelled() => underway.stop(StopCause::Stopped),
        () = sleep(Duration::from_secs(job.timeout_seconds.into())) => {
            underway.stop(StopCause::TimedOut(job.timeout_seconds));
        }
    }
    std::future::pending().await
}

fn finish_request(leased: &LeasedJob, underway: &Underway, ended: Ended) -> FinishRequest {
    let (failure, report) = match ended {
        Ok(report) => (None, Some(report)),
        Err((error, report)) => (Some(error.to_string()), report),
    };
    let (outcome, error) = outcome(failure, underway.cause(), report.as_ref());
    FinishRequest {
        lease_token: leased.lease_token,
        outcome,
        error: error.map(SafeText::from),
        batches: 0,
        summary: report.map(summary).unwrap_or_default(),
    }
}

fn outcome(
    failure: Option<String>,
    cause: Option<&StopCause>,
    report: Option<&ScanReport>,
) -> (JobOutcome, Option<String>) {
    let failed = |why: &str| (JobOutcome::Failed, Some(why.to_owned()));
    match (failure, cause) {
        (Some(failure), _) => failed(&failure),
        (None, Some(StopCause::Cancelled)) => (JobOutcome::Cancelled, None),
        (None, Some(StopCause::TimedOut(seconds))) => {
            failed(&format!("the time limit of {seconds} s was reached; results are partial"))
        }
        (None, Some(_)) => failed("the agent was stopped before the scan was over; results are partial"),
        (None, None) if report.is_some_and(|report| report.completed) => (JobOutcome::Completed, None),
        (None, None) => failed("the scan ended before every target was probed; results are partial"),
    }
}

/// A scan's report in the words of the protocol.
pub fn summary(report: ScanReport) -> JobSummary {
    let drops = report.drops.into_iter().map(|(cause, count)| DropCount { cause: cause.into(), count });
    JobSummary {
        backend: report.backend.into(),
        probes_sent: report.probes_sent,
        targets: report.targets,
        addresses: report.addresses,
        open_ports: report.open_ports,
        hosts: report.hosts,
        miss_estimate: report.miss_estimate,
        miss_bound: report.miss_bound,
        loss_estimate: report.loss_estimate,
        drops: drops.collect(),
        duration_ms: u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
        suspicious_hosts: report.suspicious_hosts.iter().map(|host| host.address).collect(),
    }
}

fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

#[cfg(test)]
mod tests {
    use portreeve_model::protocol::JobShard;
    use uuid::Uuid;

    use super::*;
    use crate::rates::TunedRate;

    fn job() -> Job {
        Job {
            job_id: Uuid::nil(),
            scan_id: 1,
            network_id: 1,
            kind: JobKind::Scan,
            targets: vec!["10.99.0.0/24".to_owned()],
            exclude: vec!["10.99.0.9".to_owned()],
            ports: "22,80".to_owned(),
            rate_pps: Some(50_000),
            timeout_seconds: 60,
            probe_timeout_ms: 1_000,
            identify: true,
            ssh_audit: false,
            seed: 7,
            shard: JobShard { index: 1, count: 2 },
        }
    }

    #[test]
    fn no_server_can_raise_what_the_host_allows() {
        let limits = HostLimits {
            max_rate_pps: Some(200),
            exclude: vec!["10.99.0.0/25".to_owned()],
            ..HostLimits::default()
        };
        let config = scan_config(&limits, &job()).expect("valid");
        assert_eq!(config.rate, PacketsPerSecond(200));
        assert_eq!(config.targets.len(), 128, "the server's own exclusion lies in the host's");
        assert!(!config.targets.contains("10.99.0.1".parse().expect("address")));

        let unsaid = |target: &str| {
            let job = Job { rate_pps: None, targets: vec![target.to_owned()], ..job() };
            scan_config(&HostLimits::default(), &job).expect("valid").rate
        };
        assert_eq!(unsaid("127.0.0.1"), PacketsPerSecond(LOOPBACK_RATE));
        assert!(unsaid("127.0.0.1, 10.99.0.1") < PacketsPerSecond(LOOPBACK_RATE));

        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("rates.json");
        let tuned = TunedRate {
            first: "10.99.0.0".parse().expect("address"),
            last: "10.99.255.255".parse().expect("address"),
            rate_pps: 150,
            found_at_ms: 1,
        };
        TunedRates::default().keep(tuned, &path).expect("written");
        let limits = HostLimits { rates: Some(path), ..limits };
        assert_eq!(
            scan_config(&limits, &job()).expect("valid").rate,
            PacketsPerSecond(200),
            "the job names one"
        );
        let unsaid = Job { rate_pps: None, ..job() };
        assert_eq!(scan_config(&limits, &unsaid).expect("valid").rate, PacketsPerSecond(150));

        let slower = Job { rate_pps: Some(100), ..job() };
        assert_eq!(scan_config(&limits, &slower).expect("valid").rate, PacketsPerSecond(100));
    }

    #[test]
    fn nothing_beyond_the_scope_of_the_host_is_scanned() {
        let only = |text: &str| HostLimits { only: vec![text.to_owned()], ..HostLimits::default() };
        assert!(scan_config(&only("10.99.0.0/16"), &job()).is_ok());
        let refusal = scan_config(&only("10.99.0.0/25, 192.168.0.0/16"), &job()).expect_err("refused");
        assert!(refusal.to_string().contains("10.99.0.128"), "{refusal}");
        assert!(only("10.99.0.0/33").check().is_err());
    }

    #[test]
    fn jobs_share_the_ceiling() {
        let limits = HostLimits { max_rate_pps: Some(1_001), ..HostLimits::default() };
        assert_eq!(limits.shared_by(2).max_rate_pps, Some(500));
        assert_eq!(limits.shared_by(5_000).max_rate_pps, Some(1));
        assert_eq!(HostLimits::default().shared_by(2).max_rate_pps, None);
    }

    #[test]
    fn a_job_is_done_as_asked_where_the_host_allows_it() {
        let config = scan_config(&HostLimits::default(), &job()).expect("valid");
        assert_eq!((config.rate, config.seed), (PacketsPerSecond(50_000), 7));
        assert_eq!((config.targets.len(), config.ports.len()), (255, 2));
        assert_eq!(Some(config.shard), Shard::new(1, 2));
        let discovery = Job { kind: JobKind::Discovery, ..job() };
        assert!(scan_config(&HostLimits::default(), &discovery).expect("valid").ports.is_empty());
    }

    #[test]
    fn a_malformed_job_is_refused_with_a_sentence() {
        let refusal = |job: Job| scan_config(&HostLimits::default(), &job).expect_err("refused").to_string();
        assert!(refusal(Job { targets: vec!["10.0.0.0/40".to_owned()], ..job() }).contains("10.0.0.0/40"));
        assert!(refusal(Job { ports: "22,x9".to_owned(), ..job() }).contains("x9"));
        assert!(refusal(Job { shard: JobShard { index: 2, count: 2 }, ..job() }).contains("shard 2 of 2"));
        assert!(
            refusal(Job { exclude: vec!["10.99.0.0/16".to_owned()], ..job() }).contains("nothing is left")
        );
    }

    #[test]
    fn only_a_whole_scan_is_called_complete() {
        let cause = StopCause::TimedOut(5);
        assert_eq!(outcome(None, None, None).0, JobOutcome::Failed);
        assert_eq!(outcome(None, Some(&StopCause::Cancelled), None), (JobOutcome::Cancelled, None));
        let (timed_out, why) = outcome(None, Some(&cause), None);
        assert_eq!(timed_out, JobOutcome::Failed);
        assert!(why.expect("a reason").contains("5 s"));
    }
}
