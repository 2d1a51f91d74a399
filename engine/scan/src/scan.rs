//! A scan from its preparation to its report.

use std::{
    collections::HashMap,
    net::IpAddr,
    ops::Range,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use portreeve_model::{PortState, Transport};

use crate::{
    Clock, Control, Event, Permutation, Phase, ScanConfig, ScanError, ScanReport,
    pace::Pace,
    receive::{Common, Drops, Seen, Tally, Wanted},
    space::ProbeSpace,
    transmit::{ConnectTransmit, Pass, Stopwatch, Transmit},
};

/// A scan that is ready to run: every socket is open, so rights can be dropped.
pub struct Scan {
    config: ScanConfig,
    clock: Clock,
    transmit: Box<dyn Transmit>,
    backend: (String, String),
}

impl Scan {
    /// Checks what was asked for, chooses the backend, finds the routes and opens the sockets.
    pub fn prepare(config: ScanConfig, clock: Clock) -> Result<Self, ScanError> {
        if config.rate.0 == 0 {
            return Err(ScanError::RateZero);
        }
        if config.ports.sctp().len() > 0 {
            return Err(ScanError::SctpUnsupported);
        }
        let transmit = Box::new(ConnectTransmit::new(config.wait, config.udp_payloads.clone()));
        let backend = ("connect".to_owned(), "ordinary sockets: asked for".to_owned());
        Ok(Self { config, clock, transmit, backend })
    }

    /// Which backend was chosen, and why.
    pub fn backend(&self) -> (&str, &str) {
        (&self.backend.0, &self.backend.1)
    }

    /// Runs the scan to its end or until it is cancelled. Blocks; `emit` is called on this thread.
    pub fn run(self, control: &Control, emit: &mut dyn FnMut(Event)) -> Result<ScanReport, ScanError> {
        let mut summary = Summary::new(&self, control);
        let (events, found) = bounded(EVENTS_BUFFERED);
        let common = self.common(control, events);
        let stages = Stages::new(self, common);
        let end = thread::scope(|scope| {
            let work = scope.spawn(move || stages.work());
            summary.pass_on(&found, emit);
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        control.set_phase(Phase::Done);
        Ok(summary.report(end?))
    }

    fn common(&self, control: &Control, events: crossbeam_channel::Sender<Event>) -> Common {
        Common {
            control: control.clone(),
            drops: Arc::new(Drops::default()),
            clock: self.clock.clone(),
            events,
            hosts: Arc::new(Seen::new(self.config.targets.count())),
        }
    }
}

/// Events between the receiving threads and the caller. A caller that lags this far behind slows them down.
const EVENTS_BUFFERED: usize = 65_536;

/// The stages of a running scan.
struct Stages {
    config: ScanConfig,
    transmit: Box<dyn Transmit>,
    common: Common,
    time: Stopwatch,
}

/// How the work ended.
struct End {
    checkpoint: u64,
    completed: bool,
    miss_estimate: Option<f32>,
    drops: Vec<(&'static str, u64)>,
}

impl Stages {
    fn new(scan: Scan, common: Common) -> Self {
        Self { config: scan.config, transmit: scan.transmit, common, time: Stopwatch::start() }
    }

    /// Discovery, if asked for, then the ports of whoever is there.
    fn work(mut self) -> Result<End, ScanError> {
        let targets = self.config.targets.clone();
        if self.config.ports.is_empty() {
            return self.phase(Phase::Discovering, ProbeSpace::discovery(targets), &|_| false);
        }
        let space = ProbeSpace::ports(targets.clone(), &self.config.ports);
        if !self.config.ping {
            return self.phase(Phase::Probing, space, &|_| false);
        }
        let found = self.phase(Phase::Discovering, ProbeSpace::discovery(targets), &|_| false)?;
        if !found.completed {
            return Ok(End { checkpoint: self.config.resume_from, ..found });
        }
        let hosts = Arc::clone(&self.common.hosts);
        self.phase(Phase::Probing, space, &|host| !hosts.contains(host))
    }

    /// One phase: every attempt at every target of the space, and the wait for the answers.
    fn phase(
        &mut self,
        phase: Phase,
        space: ProbeSpace,
        skip_host: &(dyn Fn(u64) -> bool + Sync),
    ) -> Result<End, ScanError> {
        let control = self.common.control.clone();
        let space = Arc::new(space);
        let wanted = Wanted { closed: self.config.report_closed, ports: phase != Phase::Discovering };
        let tally = Tally::new(space.len(), wanted, self.common.clone());
        let order = Permutation::new(space.len(), self.config.seed);
        let mut positions = self.config.shard.positions(space.len());
        if wanted.ports {
            positions.start = self.config.resume_from.clamp(positions.start, positions.end);
        }
        control.set_phase(phase);
        control.set_total(positions.end - positions.start);
        let mut pace = Pace::new(self.config.rate, self.time.elapsed());
        let mut checkpoint = positions.end;
        let mut asked = 0;
        for attempt in 0..=self.config.retries {
            if attempt > 0 {
                control.set_phase(Phase::Retrying);
            }
            let mut pass = Pass {
                space: &space,
                order: &order,
                positions: positions.clone(),
                attempt,
                pace: &mut pace,
                tally: &tally,
                time: self.time,
                skip_host,
                sent: 0,
            };
            let reached = self.transmit.send_pass(&mut pass)?;
            if attempt == 0 {
                (checkpoint, asked) = (reached, pass.sent);
            }
            if control.is_cancelled() || tally.answered() >= asked {
                break;
            }
        }
        tally.stop();
        let miss_estimate = tally.miss_estimate(self.config.retries.saturating_add(1));
        if let Some(estimate) = miss_estimate {
            control.set_miss_estimate(estimate);
        }
        let completed = !control.is_cancelled();
        if completed && wanted.ports && self.config.report_filtered && tally.is_exact() {
            report_silent(&space, &order, positions, &tally);
        }
        Ok(End { checkpoint, completed, miss_estimate, drops: self.common.drops.counts() })
    }
}

/// Reports what never answered, in the order of the probes.
fn report_silent(space: &ProbeSpace, order: &Permutation, positions: Range<u64>, tally: &Tally) {
    let targets = positions.filter_map(|position| space.target(order.at(position)?));
    for target in targets.filter(|target| !tally.is_answered(target)) {
        tally.report_silent(&target);
    }
}

/// What the caller's thread learns from the events that pass by.
struct Summary {
    control: Control,
    report: ScanReport,
    open_by_host: HashMap<IpAddr, u32>,
    tcp_ports: usize,
    started: Instant,
}

impl Summary {
    /// A host with more open TCP ports than this, and more than half of those probed, has none that mean anything.
    const SUSPICIOUS_OPEN_PORTS: u32 = 64;
    /// How often the rate is measured.
    const RATE_INTERVAL: Duration = Duration::from_millis(250);

    fn new(scan: &Scan, control: &Control) -> Self {
        let space = scan.config.targets.count() * scan.config.ports.len() as u64;
        let positions = scan.config.shard.positions(space);
        let report = ScanReport {
            backend: scan.backend.0.clone(),
            probes_sent: 0,
            targets: positions.end - positions.start,
            addresses: scan.config.targets.count(),
            open_ports: 0,
            hosts: 0,
            drops: Vec::new(),
            duration: Duration::ZERO,
            miss_estimate: None,
            suspicious_hosts: Vec::new(),
            checkpoint: 0,
            completed: false,
        };
        let tcp_ports = scan.config.ports.tcp().len();
        Self {
            control: control.clone(),
            report,
            open_by_host: HashMap::new(),
            tcp_ports,
            started: Instant::now(),
        }
    }

    /// Hands every event to the caller until no stage is left to make one.
    fn pass_on(&mut self, found: &Receiver<Event>, emit: &mut dyn FnMut(Event)) {
        let (mut measured, mut sent) = (self.started, 0);
        loop {
            match found.recv_timeout(Self::RATE_INTERVAL) {
                Ok(event) => {
                    self.note(&event);
                    emit(event);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let elapsed = measured.elapsed();
            if elapsed >= Self::RATE_INTERVAL {
                let now_sent = self.control.progress().probes_sent;
                let rate_pps = now_sent.saturating_sub(sent) as f64 / elapsed.as_secs_f64();
                self.control.set_rate(rate_pps as u32);
                (measured, sent) = (Instant::now(), now_sent);
            }
        }
    }

    fn note(&mut self, event: &Event) {
        if let Event::Port(port) = event
            && port.state == PortState::Open
            && port.transport == Transport::Tcp
        {
            *self.open_by_host.entry(port.address).or_default() += 1;
        }
    }

    fn report(mut self, end: End) -> ScanReport {
        let progress = self.control.progress();
        self.report.probes_sent = progress.probes_sent;
        self.report.open_ports = progress.open_ports;
        self.report.hosts = progress.hosts;
        self.report.duration = self.started.elapsed();
        self.report.checkpoint = end.checkpoint;
        self.report.completed = end.completed;
        self.report.miss_estimate = end.miss_estimate;
        self.report.drops = end.drops;
        let tcp_ports = self.tcp_ports;
        let suspicious = self
            .open_by_host
            .into_iter()
            .filter(|&(_, open)| open > Self::SUSPICIOUS_OPEN_PORTS && open as usize * 2 > tcp_ports);
        self.report.suspicious_hosts = suspicious.map(|(address, _)| address).collect();
        self.report.suspicious_hosts.sort_unstable();
        self.report
    }
}
