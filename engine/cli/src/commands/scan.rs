//! `scan` and `discover`: plan, ask, open sockets, give rights up, run, print.

use std::{
    mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use portreeve_agent::{Found, Tally, TunedRates, run, summary};
use portreeve_model::protocol::{JobSummary, Record};
use portreeve_probes::Identifier;
use portreeve_scan::{
    Control, PacketsPerSecond, PortSet, Scan, ScanConfig, ScanReport, TargetSet, UdpPayloads,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::interval,
};

use super::{UserDatabase, archive, database, identify_config, runtime, scan_clock, tune};
use crate::{
    args::{Backend, DiscoverArgs, OutputArgs, Part, SandboxArgs, ScanArgs, SendArgs, parse_duration},
    checkpoint::Unfinished,
    clock,
    exit::{Exit, Failure, missing_rights},
    journal::{Folder, Journal, Resumed},
    offline::{self, Offline},
    output::{Findings, Growing, Output, Results, Run},
    rights,
    settings::ScanSettings,
    status::Status,
    stop_file::StopFile,
    targets::{confirm, target_set},
    top_ports,
};

/// `portreeve scan`.
pub(crate) fn scan(
    arguments: &ScanArgs,
    settings: &ScanSettings,
    user: &UserDatabase,
    stop_file: &StopFile,
) -> Result<(), Failure> {
    if arguments.no_ports {
        return discover(&arguments.as_discovery(), settings, user, stop_file);
    }
    let plan = Plan::of_scan(arguments, settings)?;
    let identify = arguments.identify || arguments.ssh_audit || arguments.jarm;
    let identifier = if identify || plan.has_datagrams() || arguments.archive.is_some() {
        let database = database(arguments.database.as_deref(), user)?;
        let mut config = identify_config(arguments.ssh_audit);
        config.jarm = arguments.jarm;
        config.archive = archive(arguments.archive.as_ref())?;
        config.allow_print_and_ot = arguments.allow_print_and_ot;
        Some(Arc::new(Identifier::new(database, config)))
    } else {
        None
    };
    let ScanArgs { send, sandbox, output, archive, .. } = arguments;
    plan.carry_out(
        &How { send, sandbox, output, stop_file, archive: archive.as_ref(), yes: arguments.targets.yes },
        identifier,
        identify,
    )
}

/// `portreeve discover`.
pub(crate) fn discover(
    arguments: &DiscoverArgs,
    settings: &ScanSettings,
    user: &UserDatabase,
    stop_file: &StopFile,
) -> Result<(), Failure> {
    let targets = target_set(&arguments.targets, &settings.exclude)?;
    let mut plan = Plan::new(targets, PortSet::empty(), &arguments.send, settings)?;
    plan.config.host_probes = arguments.ping.clone().unwrap_or_default();
    let identifier = if plan.has_datagrams() {
        Some(Arc::new(Identifier::new(database(None, user)?, identify_config(false))))
    } else {
        None
    };
    let DiscoverArgs { send, sandbox, output, .. } = arguments;
    let how = How { send, sandbox, output, stop_file, archive: None, yes: arguments.targets.yes };
    plan.carry_out(&how, identifier, false)
}

/// What `scan` and `discover` have in common on the command line.
struct How<'a> {
    send: &'a SendArgs,
    sandbox: &'a SandboxArgs,
    output: &'a OutputArgs,
    stop_file: &'a StopFile,
    /// Where replies are kept.
    archive: Option<&'a PathBuf>,
    yes: bool,
}

/// Everything that is decided before a socket is opened.
struct Plan {
    config: ScanConfig,
    shard: Part,
    /// The folder of the scan that is gone on with, and what it left.
    resumed: Option<(PathBuf, Resumed)>,
}

/// A checkpoint is made this often: little is repeated after a kill, and little is written.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);
/// What is found is taken so much at a time.
const BATCH: usize = 256;

impl Plan {
    fn of_scan(arguments: &ScanArgs, settings: &ScanSettings) -> Result<Self, Failure> {
        let mut plan = match &arguments.resume {
            Some(path) => Self::resumed(path.clone(), &arguments.send, settings)?,
            None => {
                let targets = target_set(&arguments.targets, &settings.exclude)?;
                let ports = ports(arguments, settings)?;
                let mut plan = Self::new(targets, ports, &arguments.send, settings)?;
                plan.config.ping = arguments.ping.is_some();
                plan.config.host_probes = arguments.ping.clone().unwrap_or_default();
                plan
            }
        };
        plan.config.report_closed = arguments.all;
        plan.config.report_filtered = arguments.all;
        Ok(plan)
    }

    fn new(
        targets: TargetSet,
        ports: PortSet,
        send: &SendArgs,
        settings: &ScanSettings,
    ) -> Result<Self, Failure> {
        let mut config = ScanConfig::new(targets, ports);
        if let Some(rate) =
            send.rate.or(settings.rate).map(PacketsPerSecond).or_else(|| tuned_rate(&config.targets))
        {
            config.rate = rate;
        }
        config.rate_per_host = send.rate_per_host.map(PacketsPerSecond);
        config.rate_per_network = send.rate_per_network.map(PacketsPerSecond);
        config.network_prefix_v4 = send.network_prefix.unwrap_or(config.network_prefix_v4);
        config.network_prefix_v6 = send.network_prefix_v6.unwrap_or(config.network_prefix_v6);
        config.retries = send.retries.or(settings.retries).unwrap_or(config.retries);
        config.wait = wait(send, settings)?.unwrap_or(config.wait);
        config.seed = send.seed.unwrap_or_else(rand::random);
        config.interface = send.interface.clone().or_else(|| settings.interface.clone());
        config.vlan = send.vlan;
        config.source_port = send.source_port;
        config.backend = send.backend.or(settings.backend).unwrap_or(Backend::Auto).into();
        let shard = send.shard.unwrap_or(Part::WHOLE);
        config.shard = shard.shard().unwrap_or_default();
        Ok(Self { config, shard, resumed: None })
    }

    fn resumed(folder: PathBuf, send: &SendArgs, settings: &ScanSettings) -> Result<Self, Failure> {
        let resumed = Resumed::read(&folder)?;
        let scan = &resumed.scan;
        let mut plan = Self::new(scan.targets()?, scan.ports()?, send, settings)?;
        plan.shard = scan.shard;
        plan.config.shard = scan
            .shard
            .shard()
            .ok_or_else(|| Failure::usage("the checkpoint names a part that does not exist"))?;
        plan.config.seed = scan.seed;
        plan.config.ping = scan.ping;
        plan.config.host_probes = scan.host_probes()?;
        plan.config.resume = Some(resumed.checkpoint.clone());
        plan.resumed = Some((folder, resumed));
        Ok(plan)
    }

    /// Where the scan keeps how far it is; looking for hosts is not worth it.
    fn folder(&mut self) -> Result<Option<Folder>, Failure> {
        if self.config.ports.is_empty() {
            return Ok(None);
        }
        self.config.checkpoint_every = Some(CHECKPOINT_EVERY);
        let folder = match &self.resumed {
            Some((path, resumed)) => Folder::of_resumed(path, resumed)?,
            // With no name of its own the current folder gives the shortest ones.
            None => Folder::of_new(Unfinished::new(&self.config, self.shard), Path::new("")),
        };
        Ok(Some(folder))
    }

    /// Whether datagrams are sent, whose contents the probe database has. Without them, and without identification,
    /// nobody waits for it to be read.
    fn has_datagrams(&self) -> bool {
        self.config.ports.udp().len() > 0 || self.config.host_probes.has_udp()
    }

    fn carry_out(
        self,
        how: &How<'_>,
        identifier: Option<Arc<Identifier>>,
        identify: bool,
    ) -> Result<(), Failure> {
        if how.send.offline {
            let Part { index, count } = self.shard;
            return Offline::measure(&self.config, index, count)?.print(how.output);
        }
        if how.send.dry_run {
            return offline::list(&self.config, how.output);
        }
        how.stop_file.must_be_absent()?;
        let mut output = Output::open(how.output)?;
        let run = Run {
            started_at_ms: clock::now(),
            ports: self.config.ports.clone(),
            by_connect: self.config.backend == Backend::Connect.into(),
        };
        let finished = self.run(how, identifier, identify, &mut output)?;
        output.finish(&Results {
            run: &run,
            findings: &finished.findings,
            summary: &finished.summary,
            finished_at_ms: clock::now(),
            completed: finished.report.completed,
        })?;
        finished.conclude()
    }

    fn run(
        mut self,
        how: &How<'_>,
        identifier: Option<Arc<Identifier>>,
        identify: bool,
        output: &mut Output,
    ) -> Result<Finished, Failure> {
        confirm(&self.config.targets, how.yes)?;
        if self.config.backend != Backend::Connect.into() && !rights::may_open_raw_sockets() {
            return Err(missing_rights());
        }
        if let Some(identifier) = identifier.clone() {
            self.config.udp_payloads = UdpPayloads::new(move |port| identifier.udp_payload(port));
        }
        let folder = self.folder()?;
        let mut log = Log { output, findings: Growing::default(), journal: None };
        if let Some((_, resumed)) = &mut self.resumed {
            log.note(mem::take(&mut resumed.records))?;
        }
        let scan = Scan::prepare(self.config.clone(), scan_clock())?;
        // Before the runtime's threads are started: they inherit it.
        rights::drop_all()?;
        let sandbox = rights::confine(how.sandbox)?;
        // Started by this thread: those of the runtime may open no file.
        log.journal = folder.map(Journal::start).transpose().map_err(|error| {
            Failure::new(Exit::Failure, format!("cannot start a thread for checkpoints: {error}"))
        })?;
        let (backend, why) = scan.backend();
        tracing::info!(backend, why, seed = self.config.seed, "scanning");
        let wait = self.config.wait;
        let watched = watch(scan, identifier.filter(|_| identify), wait, &mut log, how.stop_file);
        let report = runtime(sandbox, how.archive.cloned())?.block_on(watched)?;
        let Log { findings, journal, .. } = log;
        Ok(Finished {
            plan: self,
            summary: summary(report.clone()),
            findings: findings.into_findings(),
            report,
            folder: journal.map(Journal::finish),
        })
    }
}

/// What `portreeve tune` found for these targets.
fn tuned_rate(targets: &TargetSet) -> Option<PacketsPerSecond> {
    let path = tune::rates_path()?;
    match TunedRates::read(&path) {
        Ok(rates) => rates.rate_for(targets),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the rates found by `portreeve tune`");
            None
        }
    }
}

fn ports(arguments: &ScanArgs, settings: &ScanSettings) -> Result<PortSet, Failure> {
    let known = top_ports::RANKED.len();
    let text = match (&arguments.ports, arguments.top_ports) {
        (Some(ports), _) => ports.clone(),
        (None, Some(count)) if (1..=known).contains(&count) => top_ports::list(count),
        (None, Some(count)) => {
            return Err(Failure::usage(format!(
                "--top-ports {count}: the ranking has {known} ports; use 1 to {known}"
            )));
        }
        (None, None) => settings.ports.clone().unwrap_or_else(|| top_ports::list(top_ports::DEFAULT)),
    };
    let ports: PortSet = text.parse()?;
    if ports.is_empty() {
        return Err(Failure::usage(format!(
            "the port list {text:?} holds no port; `portreeve discover` looks for hosts only"
        )));
    }
    Ok(ports)
}

fn wait(send: &SendArgs, settings: &ScanSettings) -> Result<Option<Duration>, Failure> {
    let from_file = || {
        let text = settings.wait.as_deref()?;
        Some(
            parse_duration(text)
                .map_err(|error| Failure::usage(format!("wait = {text:?} in the configuration: {error}"))),
        )
    };
    send.wait.map(Ok).or_else(from_file).transpose()
}

/// Where what is found goes, as it comes.
struct Log<'a> {
    output: &'a mut Output,
    findings: Growing,
    journal: Option<Journal>,
}

impl Log<'_> {
    /// Takes what was found, and leaves nothing of it.
    fn take(&mut self, found: &mut Vec<Found>) -> Result<(), Failure> {
        let mut records = Vec::with_capacity(found.len());
        for next in found.drain(..) {
            match next {
                Found::Checkpoint(checkpoint) => {
                    self.note(mem::take(&mut records))?;
                    if let Some(journal) = &self.journal {
                        journal.keep(checkpoint);
                    }
                }
                // Told at the end, with how much they showed.
                Found::Suspicious(_) => {}
                Found::Record(record) => records.push(record),
            }
        }
        self.note(records)
    }

    fn note(&mut self, records: Vec<Record>) -> Result<(), Failure> {
        if records.is_empty() {
            return Ok(());
        }
        self.output.stream(&records)?;
        for record in &records {
            self.findings.add(record.clone());
        }
        if let Some(journal) = &self.journal {
            journal.note(records);
        }
        Ok(())
    }
}

/// Runs the scan, shows the live line, takes interrupts.
async fn watch(
    scan: Scan,
    identifier: Option<Arc<Identifier>>,
    wait: Duration,
    log: &mut Log<'_>,
    stop_file: &StopFile,
) -> Result<ScanReport, Failure> {
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
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            taken = found.recv_many(&mut batch, BATCH) => {
                if taken == 0 {
                    break;
                }
                if let Err(failure) = log.take(&mut batch) {
                    control.cancel();
                    status.clear();
                    return Err(failure);
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
        eprintln!(
            "{} open ports were not asked what answers there: too much is open on their hosts",
            tally.left_out()
        );
    }
    Ok(report)
}

/// Asks the scan to stop; who asks twice does not want to wait.
fn stop(control: &Control) {
    if control.is_cancelled() {
        std::process::exit(Exit::Interrupted as i32);
    }
    control.cancel();
}

struct Finished {
    plan: Plan,
    findings: Findings,
    summary: JobSummary,
    report: ScanReport,
    folder: Option<Folder>,
}

impl Finished {
    /// The last words on stderr, and the exit code.
    fn conclude(self) -> Result<(), Failure> {
        eprintln!("{}", self.sentence());
        for host in self.report.suspicious_hosts.iter().take(20) {
            let (address, why, open) = (host.address, host.suspicion.as_str(), host.open_ports);
            eprintln!(
                "{address}: suspicious, {why}; {open} open ports mean nothing and were not all reported"
            );
        }
        if self.report.completed {
            if let Some(folder) = self.folder {
                folder.remove();
            }
            return Ok(());
        }
        let path = self.folder.as_ref().and_then(Folder::path);
        let way_on = match path {
            Some(path) => format!("go on with `portreeve scan --resume {}`", path.display()),
            None => "there is nothing to go on from yet".to_owned(),
        };
        Err(Failure::new(Exit::Interrupted, format!("interrupted; {way_on}")))
    }

    fn sentence(&self) -> String {
        let report = &self.report;
        let mut text = if self.plan.config.ports.is_empty() {
            count(report.hosts, "host", "s")
        } else {
            format!(
                "{} on {}",
                count(report.open_ports, "open port", "s"),
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
        if !report.drops.is_empty() {
            let drops: Vec<_> =
                report.drops.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
            text.push_str(&format!("; dropped frames: {}", drops.join(", ")));
        }
        text
    }
}

/// A number and its noun.
fn count(number: impl std::fmt::Display + PartialEq + From<u8>, noun: &str, plural: &str) -> String {
    let ending = if number == 1.into() { "" } else { plural };
    format!("{number} {noun}{ending}")
}
