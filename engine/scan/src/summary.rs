//! What is learnt from the events that pass by, and the report made of it.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::{
    Control, Event, ScanConfig, ScanReport,
    receive::Passing,
    stages::End,
    suspicion::{Judgement, Watch},
};

/// What the caller's thread learns from the events that pass by.
pub(crate) struct Summary {
    control: Control,
    report: ScanReport,
    watch: Watch,
    started: Instant,
}

impl Summary {
    /// How often the rate is measured.
    const RATE_INTERVAL: Duration = Duration::from_millis(250);

    pub(crate) fn new(config: &ScanConfig, backend: &str, control: &Control) -> Self {
        let space = config.targets.count() * config.ports.len() as u64;
        let positions = config.shard.positions(space);
        let report = ScanReport {
            backend: backend.to_owned(),
            probes_sent: 0,
            targets: positions.end - positions.start,
            answered: 0,
            addresses: config.targets.count(),
            open_ports: 0,
            hosts: 0,
            drops: Vec::new(),
            send_rate_pps: 0,
            duration: Duration::ZERO,
            miss_estimate: None,
            miss_bound: None,
            loss_estimate: None,
            suspicious_hosts: Vec::new(),
            checkpoint: 0,
            completed: false,
        };
        let watch = Watch::new(&config.ports, config.seed);
        Self { control: control.clone(), report, watch, started: Instant::now() }
    }

    /// Hands every event to the caller until no stage is left to make one. The channel is dropped when `emit`
    /// panics, so that no stage waits for it for ever.
    pub(crate) fn pass_on(&mut self, found: Receiver<Passing>, emit: &mut dyn FnMut(Event)) {
        let (mut measured, mut sent) = (self.started, 0);
        loop {
            match found.recv_timeout(Self::RATE_INTERVAL) {
                Ok(Passing::Event(event)) => self.judge(event, emit),
                // Whoever asked may have been stopped meanwhile.
                Ok(Passing::HostsToDoubt(answer)) => drop(answer.send(self.watch.candidates())),
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

    /// Hands an event on, unless it says nothing.
    fn judge(&mut self, event: Event, emit: &mut dyn FnMut(Event)) {
        let Event::Port(observation) = &event else { return emit(event) };
        match self.watch.judge(observation, self.share_asked()) {
            Judgement::Report => emit(event),
            Judgement::Suspect(host) => emit(Event::Suspicious(host)),
            Judgement::Leave => {}
        }
    }

    /// Which share of this scan's targets has been asked.
    fn share_asked(&self) -> f64 {
        let progress = self.control.progress();
        progress.probes_done as f64 / progress.probes_total.max(1) as f64
    }

    pub(crate) fn report(mut self, end: End) -> ScanReport {
        let progress = self.control.progress();
        self.report.probes_sent = progress.probes_sent;
        self.report.answered = end.answered;
        self.report.open_ports = progress.open_ports.saturating_sub(self.watch.control_answers());
        self.report.hosts = progress.hosts;
        self.report.duration = self.started.elapsed();
        self.report.send_rate_pps = end.send_rate_pps;
        self.report.checkpoint = end.checkpoint;
        self.report.completed = end.completed;
        self.report.miss_estimate = end.losses.missed();
        self.report.miss_bound = end.losses.missed_at_most();
        self.report.loss_estimate = end.losses.lost();
        self.report.drops = end.drops;
        self.report.suspicious_hosts = self.watch.suspects();
        self.report
    }
}
