//! A scan from its preparation to its report.

use std::{sync::Arc, thread};

use crossbeam_channel::{Sender, bounded};

use crate::{
    BackendChoice, Clock, Control, Event, PacketsPerSecond, Phase, ScanConfig, ScanError, ScanReport,
    network::Network,
    receive::{Common, Drops, Seen},
    stages::{Access, Stages},
    summary::Summary,
    transmit::ConnectTransmit,
};

/// A scan that is ready to run: every socket is open, so rights can be dropped.
pub struct Scan {
    config: ScanConfig,
    clock: Clock,
    access: Access,
    backend: (String, String),
}

impl Scan {
    /// Events between the receiving threads and the caller. A caller that lags this far behind slows them down.
    const EVENTS_BUFFERED: usize = 65_536;

    /// Checks what was asked for, chooses the backend, finds the routes and opens the sockets.
    pub fn prepare(config: ScanConfig, clock: Clock) -> Result<Self, ScanError> {
        let rates = [Some(config.rate), config.rate_per_host, config.rate_per_network];
        if rates.contains(&Some(PacketsPerSecond(0))) {
            return Err(ScanError::RateZero);
        }
        if config.ports.sctp().len() > 0 {
            return Err(ScanError::SctpUnsupported);
        }
        if config.ping && !config.ports.is_empty() && config.targets.count() > Seen::EXACT_LIMIT {
            return Err(ScanError::TooManyToPing);
        }
        let (access, backend) = choose(&config)?;
        Ok(Self { config, clock, access, backend })
    }

    /// Which backend was chosen, and why.
    pub fn backend(&self) -> (&str, &str) {
        (&self.backend.0, &self.backend.1)
    }

    /// Runs the scan to its end or until it is cancelled. Blocks; `emit` is called on this thread.
    pub fn run(self, control: &Control, emit: &mut dyn FnMut(Event)) -> Result<ScanReport, ScanError> {
        let (events, found) = bounded(Self::EVENTS_BUFFERED);
        let mut summary = Summary::new(&self.config, &self.backend.0, control);
        let stages = self.into_stages(control, events);
        let end = thread::scope(|scope| {
            let work = scope.spawn(|| stages.work());
            summary.pass_on(found, emit);
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        control.set_phase(Phase::Done);
        Ok(summary.report(end?))
    }

    fn into_stages(self, control: &Control, events: Sender<Event>) -> Stages {
        let common = Common {
            control: control.clone(),
            drops: Arc::new(Drops::default()),
            clock: self.clock,
            events,
            hosts: Arc::new(Seen::new(self.config.targets.count())),
        };
        Stages::new(self.config, self.access, common)
    }
}

/// Opens the backend that was asked for, or the best there is.
fn choose(config: &ScanConfig) -> Result<(Access, (String, String)), ScanError> {
    if config.backend == BackendChoice::Connect {
        return Ok(connect(config, "ordinary sockets: asked for"));
    }
    match Network::open(config) {
        Ok(network) => {
            let backend = network.backend.clone();
            Ok((Access::Frames(Box::new(network)), backend))
        }
        Err(ScanError::MissingRight { .. }) if config.backend == BackendChoice::Auto => {
            let why = "ordinary sockets: raw ones need the right CAP_NET_RAW (run as root, or grant it with \
                       `setcap cap_net_raw+ep`)";
            Ok(connect(config, why))
        }
        Err(error) => Err(error),
    }
}

fn connect(config: &ScanConfig, why: &str) -> (Access, (String, String)) {
    let transmit = ConnectTransmit::new(config.wait, config.udp_payloads.clone());
    (Access::Connect(transmit), ("connect".to_owned(), why.to_owned()))
}
