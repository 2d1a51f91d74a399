//! What is learnt from the events that pass by, and the report made of it.

use std::{
    iter, thread,
    time::{Duration, Instant},
};

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
    /// Events handed over at a time, at most.
    const BATCH: usize = 256;
    /// Where more than so many come at a time this thread pauses a little before it waits for the next: being woken for
    /// each would take longer than what is done with it.
    const FEW: usize = 8;
    const PAUSE: Duration = Duration::from_millis(1);

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
    pub(crate) fn pass_on(&mut self, found: Receiver<Passing>, emit: &mut dyn FnMut(Vec<Event>)) {
        let (mut measured, mut sent) = (self.started, 0);
        loop {
            match found.recv_timeout(Self::RATE_INTERVAL) {
                Ok(first) => {
                    let passing = iter::once(first).chain(found.try_iter()).take(Self::BATCH);
                    let batch: Vec<Event> = passing.filter_map(|next| self.take(next)).collect();
                    let is_more_to_come = batch.len() > Self::FEW && found.is_empty();
                    if !batch.is_empty() {
                        emit(batch);
                    }
                    if is_more_to_come {
                        thread::sleep(Self::PAUSE);
                    }
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

    /// What is to be told, if anything.
    fn take(&mut self, passing: Passing) -> Option<Event> {
        match passing {
            Passing::Event(event) => self.judge(event),
            Passing::HostsToDoubt(answer) => {
                // Whoever asked may have been stopped meanwhile.
                let _ = answer.send(self.watch.candidates());
                None
            }
        }
    }

    /// The event, or what it amounts to, unless it says nothing.
    fn judge(&mut self, event: Event) -> Option<Event> {
        let Event::Port(observation) = &event else { return Some(event) };
        match self.watch.judge(observation, self.share_asked()) {
            Judgement::Report => Some(event),
            Judgement::Suspect(host) => Some(Event::Suspicious(host)),
            Judgement::Leave => None,
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
