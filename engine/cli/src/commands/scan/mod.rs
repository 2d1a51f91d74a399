//! `scan` and `discover`: plan, ask, open sockets, give rights up, run, print.

mod finished;
mod plan;
mod watch;

use std::{mem, path::PathBuf, sync::Arc};

use portreeve_agent::summary;
use portreeve_probes::Identifier;
use portreeve_scan::{PortSet, Scan, UdpPayloads};

use self::{
    finished::Finished,
    plan::Plan,
    watch::{Log, Watched, watch},
};
use super::{UserDatabase, archive, database, identify_config, runtime, scan_clock};
use crate::{
    args::{Backend, DiscoverArgs, OutputArgs, Part, SandboxArgs, ScanArgs, SendArgs},
    clock,
    exit::{Exit, Failure, missing_rights},
    journal::Journal,
    offline::{self, Offline},
    output::{Growing, Output, Results, Run, Wanted},
    rights,
    settings::ScanSettings,
    stop_file::StopFile,
    targets::{confirm, target_set},
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
    let kept = arguments.archive.as_ref().or(settings.archive.as_ref());
    let identifier = if identify || plan.has_datagrams() || kept.is_some() {
        let database = database(arguments.database.as_deref(), user)?;
        let mut config = identify_config(arguments.ssh_audit);
        config.jarm = arguments.jarm;
        config.archive = archive(kept)?;
        config.allow_print_and_ot = arguments.allow_print_and_ot || settings.allow_print_and_ot;
        Some(Arc::new(Identifier::new(database, config)))
    } else {
        None
    };
    let ScanArgs { send, sandbox, output, .. } = arguments;
    plan.carry_out(
        &How { send, sandbox, output, stop_file, archive: kept, yes: arguments.targets.yes },
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

impl Plan {
    fn carry_out(
        self,
        how: &How<'_>,
        identifier: Option<Arc<Identifier>>,
        identify: bool,
    ) -> Result<(), Failure> {
        let wanted = Output::choose(how.output)?;
        if (how.send.offline || how.send.dry_run) && wanted.has_files() {
            return Err(Failure::usage(
                "--offline and --dry-run print to standard output alone: redirect it, as with `> FILE`",
            ));
        }
        if how.send.offline {
            let Part { index, count } = self.shard;
            return Offline::measure(&self.config, index, count)?.print(how.output);
        }
        if how.send.dry_run {
            return offline::list(&self.config, how.output);
        }
        how.stop_file.must_be_absent()?;
        let run = Run {
            started_at_ms: clock::now(),
            ports: self.config.ports.clone(),
            by_connect: self.config.backend == Backend::Connect.into(),
        };
        let (finished, mut output) = self.run(how, identifier, identify, wanted)?;
        let written = output.finish(&Results {
            run: &run,
            findings: &finished.findings,
            summary: &finished.summary,
            finished_at_ms: clock::now(),
            completed: finished.report.completed,
        });
        finished.conclude(written)
    }

    fn run(
        mut self,
        how: &How<'_>,
        identifier: Option<Arc<Identifier>>,
        identify: bool,
        wanted: Wanted,
    ) -> Result<(Finished, Output), Failure> {
        confirm(&self.config.targets, how.yes)?;
        if self.config.backend != Backend::Connect.into() && !rights::may_open_raw_sockets() {
            return Err(missing_rights());
        }
        if let Some(identifier) = identifier.clone() {
            self.config.udp_payloads = UdpPayloads::new(move |port| identifier.udp_payload(port));
        }
        let folder = self.folder()?;
        let scan = Scan::prepare(self.config.clone(), scan_clock())?;
        // Nothing is in the way any more: files of earlier scans may go.
        let mut log = Log { output: wanted.open()?, findings: Growing::default(), journal: None };
        if let Some((_, resumed)) = &mut self.resumed {
            log.note(mem::take(&mut resumed.records));
        }
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
        let Watched { report, is_abandoned } = runtime(sandbox, how.archive.cloned())?.block_on(watched)?;
        let Log { output, findings, journal } = log;
        let mut finished = Finished {
            plan: self,
            summary: summary(report.clone()),
            findings: findings.into_findings(),
            report,
            folder: journal.map(Journal::finish),
            is_abandoned,
        };
        if finished.plan.resumed.is_some() {
            finished.count_all();
        }
        Ok((finished, output))
    }
}
