//! What a job asks for, prepared and run: the same in the agent's process and in one of its own.

use std::{sync::Arc, time::Duration};

use portreeve_model::protocol::{DropCount, Job, JobKind, JobSummary};
use portreeve_probes::{Database, Identifier, IdentifyConfig, Memory, archive::ReplySink};
use portreeve_scan::{
    BackendChoice, Clock, Control, PortError, PortSet, Scan, ScanConfig, ScanError, ScanReport, Shard,
    TargetError, UdpPayloads,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{
    limits::HostLimits,
    run::{Found, Tally, run},
};

/// The wait for an answer that a server may ask for.
const PROBE_TIMEOUT_MS: std::ops::RangeInclusive<u32> = 50..=30_000;

/// A job, and what it is done with on this host.
pub(crate) struct Task {
    pub(crate) job: Job,
    pub(crate) limits: HostLimits,
    pub(crate) backend: BackendChoice,
    pub(crate) database: Arc<Database>,
    pub(crate) archive: Option<Arc<dyn ReplySink>>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) clock: Clock,
}

/// A task whose sockets are open.
pub(crate) struct Prepared {
    scan: Scan,
    identifier: Option<Arc<Identifier>>,
}

/// Why a job could not be done to its end, in a sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error("this scanner host does not let anyone scan {address}: its own settings allow {only} only")]
    OutOfScope { address: String, only: String },
    #[error(transparent)]
    Ports(#[from] PortError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("shard {index} of {count} does not exist")]
    Shard { index: u32, count: u32 },
    #[error(transparent)]
    Targets(#[from] TargetError),
}

/// What came of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Why it was not done to its end, if something failed.
    pub(crate) failure: Option<String>,
    /// What was done, if it came to that.
    pub(crate) done: Option<Done>,
}

/// What a scan amounts to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) summary: JobSummary,
    /// Every target was probed.
    pub(crate) completed: bool,
}

impl Ended {
    pub(crate) fn failed(why: impl ToString) -> Self {
        Self { failure: Some(why.to_string()), done: None }
    }
}

impl Task {
    /// Whether open ports are asked what answers there.
    pub(crate) fn identifies(job: &Job) -> bool {
        job.identify && job.kind == JobKind::Scan
    }

    /// Opens the sockets; blocks.
    pub(crate) fn prepare(&self) -> Result<Prepared, TaskError> {
        let identifier = Arc::new(self.identifier());
        let mut config = scan_config(&self.limits, &self.job)?;
        config.backend = self.backend;
        config.udp_payloads = UdpPayloads::new({
            let identifier = Arc::clone(&identifier);
            move |port| identifier.udp_payload(port)
        });
        let scan = Scan::prepare(config, self.clock.clone())?;
        Ok(Prepared { scan, identifier: Self::identifies(&self.job).then_some(identifier) })
    }

    fn identifier(&self) -> Identifier {
        let clock = self.clock.clone();
        let mut config = IdentifyConfig::new(Arc::new(move || clock.now()));
        config.ssh_audit = self.job.ssh_audit;
        config.jarm = self.job.tls_audit;
        config.archive.clone_from(&self.archive);
        Identifier::new(Arc::clone(&self.database), config).with_memory(Arc::clone(&self.memory))
    }
}

impl Prepared {
    /// Which backend was chosen, and why.
    pub(crate) fn backend(&self) -> (&str, &str) {
        self.scan.backend()
    }

    /// Scans, and sends what is found to `out`.
    pub(crate) async fn run(self, control: Control, tally: Tally, out: mpsc::Sender<Found>) -> Ended {
        match run(self.scan, control, self.identifier, &[], tally, out).await {
            Ok(report) => {
                let completed = report.completed;
                Ended { failure: None, done: Some(Done { summary: summary(report), completed }) }
            }
            Err(error) => Ended::failed(error),
        }
    }
}

/// The scan that a job asks for, within what this host allows.
fn scan_config(limits: &HostLimits, job: &Job) -> Result<ScanConfig, TaskError> {
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
    config.shard = Shard::new(index, count).ok_or(TaskError::Shard { index, count })?;
    Ok(config)
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

#[cfg(test)]
mod tests {
    use portreeve_model::protocol::JobShard;
    use portreeve_scan::PacketsPerSecond;
    use uuid::Uuid;

    use super::*;
    use crate::{
        limits::LOOPBACK_RATE,
        rates::{TunedRate, TunedRates},
    };

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
            tls_audit: false,
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
}
