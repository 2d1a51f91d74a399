//! The stages of a running scan: neighbours, hosts, ports, and the wait for the last reply.

use std::{mem, net::IpAddr, ops::Range, sync::Arc, thread, time::Duration};

use portreeve_model::{HostReason, PortState, Reason};

use crate::{
    Control, PacketsPerSecond, Permutation, Phase, PortSet, ScanConfig, ScanError, Shard,
    ceilings::Ceilings,
    checkpoint::{Clerk, Mark, restore},
    loss::Losses,
    network::{Inquiry, Network},
    pace::Pace,
    receive::{Classifier, Common, RingReceiver, Tally, TallyMemories, Wanted},
    space::ProbeSpace,
    stretches::Cut,
    suspicion::control_ports,
    transmit::{Ahead, ConnectTransmit, Pass, Stopwatch, Transmit},
};

/// The sockets of a scan.
pub(crate) enum Access {
    Connect(ConnectTransmit),
    Frames(Box<Network>),
}

impl Access {
    fn transmit(&mut self) -> &mut dyn Transmit {
        match self {
            Self::Connect(transmit) => transmit,
            Self::Frames(network) => network.as_mut(),
        }
    }

    /// Memory that programs in the kernel share with tallies.
    pub(crate) fn memory(&self) -> Option<&TallyMemories> {
        match self {
            Self::Connect(_) => None,
            Self::Frames(network) => network.memory.as_ref(),
        }
    }

    /// What replies are judged by, where frames are received.
    fn classifier<'a>(&self, space: &'a ProbeSpace) -> Option<Classifier<'a>> {
        match self {
            Self::Connect(_) => None,
            Self::Frames(network) => Some(network.classifier(space)),
        }
    }

    /// Hands out the receiving ends, which work beside the sending one.
    fn lend_receivers(&mut self) -> Vec<RingReceiver> {
        match self {
            Self::Connect(_) => Vec::new(),
            Self::Frames(network) => mem::take(&mut network.receivers),
        }
    }

    /// Whether probes to an address can be sent.
    fn leads_to(&self, address: IpAddr) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Frames(network) => network.paths.leads_to(address),
        }
    }

    fn return_receivers(&mut self, receivers: Vec<RingReceiver>) {
        if let Self::Frames(network) = self {
            network.receivers = receivers;
        }
    }
}

/// How the work ended.
pub(crate) struct End {
    pub(crate) checkpoint: u64,
    /// Targets that answered.
    pub(crate) answered: u64,
    pub(crate) completed: bool,
    pub(crate) losses: Losses,
    /// Packets a second while probes left for the first time.
    pub(crate) send_rate_pps: u32,
    pub(crate) drops: Vec<(&'static str, u64)>,
}

/// A scan at work.
pub(crate) struct Stages {
    config: ScanConfig,
    access: Access,
    common: Common,
    time: Stopwatch,
    pace: Pace,
    ceilings: Ceilings,
    /// Positions that are worked through together, at most.
    stretch: u64,
    /// First probes to targets, and how long it took to send them.
    first_probes: u64,
    sending: Duration,
}

/// One round of all attempts at a space of targets.
struct Campaign<'a> {
    phase: Phase,
    space: ProbeSpace,
    positions: Range<u64>,
    skip_host: &'a (dyn Fn(u64) -> bool + Sync),
}

/// How a stretch ended.
struct Covered {
    /// The first position that was not probed.
    checkpoint: u64,
    attempts: u8,
    /// The first attempt at the rate of the last.
    even_since: u8,
    /// Whether everyone asked has answered.
    settled: bool,
}

/// What the attempts at a stretch took.
#[derive(Clone, Copy)]
struct Effort {
    /// Targets that were asked.
    asked: u64,
    /// Probes, repeats included.
    sent: u64,
}

fn everyone(_: u64) -> bool {
    false
}

impl Stages {
    /// How long ARP and neighbour discovery are waited for, at most: a link answers at once or is asleep.
    const NEIGHBOR_WAIT: Duration = Duration::from_millis(500);
    /// The pause between an attempt and the next, at most.
    const ATTEMPT_GAP: Duration = Duration::from_millis(500);
    /// … and at least, so that a short outage does not swallow every attempt.
    const SHORTEST_GAP: Duration = Duration::from_millis(30);
    /// The shortest wait for the last answers.
    const SHORTEST_WAIT: Duration = Duration::from_millis(100);
    /// The same for answers to datagrams: programs give them, not kernels, and some take their time on purpose. RADIUS
    /// servers hold a refusal for a second.
    const SHORTEST_PROGRAM_WAIT: Duration = Duration::from_millis(1_500);
    /// Up to so many hosts it is worth looking whether all have answered something.
    const COUNTABLE_HOSTS: u64 = 1 << 20;
    /// So many targets have to be missing, by expectation, for another attempt: less than once in 500 scans is one
    /// missing that could have been found.
    const WORTH_ASKING: f64 = 0.002;
    /// More loss than this at one rate is taken for the rate's fault.
    const OVERLOAD: f64 = 0.2;
    /// How far below what came through it then goes on, how far down it goes at once, how fast it recovers, and how
    /// slow it gets at most.
    const BELOW: f64 = 0.9;
    const SLOWDOWN: f64 = 0.05;
    const RECOVERY: f64 = 1.5;
    const SLOWEST: u32 = 100;
    /// How often a waiting scan looks whether all have answered.
    const POLL: Duration = Duration::from_millis(2);

    pub(crate) fn new(config: ScanConfig, access: Access, common: Common, stretch: u64) -> Self {
        let time = Stopwatch::start();
        let pace = Pace::new(config.overall_rate(), time.elapsed());
        let ceilings = Ceilings::new(&config);
        Self {
            config,
            access,
            common,
            time,
            pace,
            ceilings,
            stretch,
            first_probes: 0,
            sending: Duration::ZERO,
        }
    }

    /// Neighbours, then hosts if asked for, then the ports of whoever is there.
    pub(crate) fn work(mut self) -> Result<End, ScanError> {
        self.meet_neighbors()?;
        if self.config.ports.is_empty() {
            return self.discover(self.config.shard);
        }
        if !self.config.ping {
            return self.probe_ports(&everyone);
        }
        if let Some(checkpoint) = &self.config.resume
            && !checkpoint.hosts.is_empty()
        {
            restore(&self.common.hosts, &checkpoint.hosts);
            let hosts = Arc::clone(&self.common.hosts);
            return self.probe_ports(&|host| !hosts.contains(host));
        }
        // Shards share out the ports, not the hosts: each has to know all of them.
        let found = self.discover(Shard::WHOLE)?;
        if !found.completed {
            let checkpoint = self.config.resume.as_ref().map_or(0, |checkpoint| checkpoint.position);
            return Ok(End { checkpoint, ..found });
        }
        let hosts = Arc::clone(&self.common.hosts);
        self.probe_ports(&|host| !hosts.contains(host))
    }

    /// Finds hardware addresses where frames need them.
    fn meet_neighbors(&mut self) -> Result<(), ScanError> {
        let Access::Frames(network) = &mut self.access else { return Ok(()) };
        self.common.control.set_phase(Phase::Resolving);
        let confirm = self.config.ports.is_empty() || self.config.ping;
        if confirm {
            for address in network.paths.local_addresses() {
                if let Some(host) = self.config.targets.index_of(address) {
                    self.common.meet_host(host, address, HostReason::LocalAddress, None);
                }
            }
        }
        network.resolve(&mut Inquiry {
            targets: &self.config.targets,
            common: &self.common,
            pace: &mut self.pace,
            time: self.time,
            rounds: self.config.sure_attempts(),
            wait: self.config.wait.min(Self::NEIGHBOR_WAIT),
            confirm,
        })
    }

    fn discover(&mut self, shard: Shard) -> Result<End, ScanError> {
        let space = ProbeSpace::discovery(self.config.targets.clone(), &self.config.host_probes);
        let positions = shard.positions(space.len());
        self.campaign(Campaign { phase: Phase::Discovering, space, positions, skip_host: &everyone })
    }

    fn probe_ports(&mut self, skip_host: &(dyn Fn(u64) -> bool + Sync)) -> Result<End, ScanError> {
        let space = ProbeSpace::ports(self.config.targets.clone(), &self.config.ports);
        let mut positions = self.config.shard.positions(space.len());
        if let Some(checkpoint) = &self.config.resume {
            positions.start = checkpoint.stretch.clamp(positions.start, positions.end);
        }
        let end = self.campaign(Campaign { phase: Phase::Probing, space, positions, skip_host })?;
        if end.completed {
            self.ask_for_control_ports()?;
        }
        Ok(end)
    }

    /// Asks the hosts on which everything was open for ports that nobody has.
    fn ask_for_control_ports(&mut self) -> Result<(), ScanError> {
        let ports = PortSet::of_tcp(control_ports(&self.config.ports, self.config.seed));
        let Some(targets) = self.config.targets.only(&self.common.hosts_to_doubt()) else { return Ok(()) };
        if ports.is_empty() {
            return Ok(());
        }
        if self.ceilings.are_set() {
            // Ceilings go by the numbers of hosts, which are others here; those of the scan count no longer in a second.
            self.await_answers(Duration::from_secs(1), || false);
            self.ceilings = Ceilings::new(&self.config);
        }
        let space = ProbeSpace::ports(targets, &ports);
        let (positions, order) = (0..space.len(), Permutation::new(space.len(), self.config.seed));
        let wanted = Wanted { closed: false, ports: true };
        // No program sends these probes.
        let tally = Tally::new(order, positions.clone(), wanted, self.common.clone(), None);
        let campaign = Campaign { phase: Phase::Retrying, space, positions, skip_host: &everyone };
        let begun = Mark { attempt: 0, position: 0, asked: 0 };
        tally.reach(begun);
        self.cover(&campaign, &tally, begun).map(drop)
    }

    /// Probes everything, stretch by stretch of the order.
    fn campaign(&mut self, campaign: Campaign<'_>) -> Result<End, ScanError> {
        let control = self.common.control.clone();
        let order = Permutation::new(campaign.space.len(), self.config.seed);
        let wanted = Wanted { closed: self.config.report_closed, ports: campaign.phase == Phase::Probing };
        let mut checkpoint = campaign.positions.start;
        let (mut losses, mut answered) = (Losses::default(), 0);
        control.begin(campaign.phase, campaign.positions.end - campaign.positions.start);
        for stretch in self.cut(&campaign).stretches(campaign.positions.clone()) {
            let memory = self.access.memory().map(|memories| memories.of(wanted));
            let tally = Tally::new(order.clone(), stretch, wanted, self.common.clone(), memory);
            let begun = self.begin_stretch(&campaign, &tally);
            let covered = self.cover(&campaign, &tally, begun)?;
            checkpoint = covered.checkpoint;
            losses.add(&tally.histories(covered.attempts), covered.even_since, covered.settled);
            answered += tally.answered();
            if let Some(estimate) = losses.missed() {
                control.set_miss_estimate(estimate);
            }
            if control.is_cancelled() {
                break;
            }
        }
        let drops = self.common.drops.counts();
        let send_rate_pps = (self.first_probes as f64 / self.sending.as_secs_f64().max(1e-6)) as u32;
        Ok(End { checkpoint, answered, completed: !control.is_cancelled(), losses, send_rate_pps, drops })
    }

    fn cut(&self, campaign: &Campaign<'_>) -> Cut {
        let positions = campaign.positions.end - campaign.positions.start;
        let resumed = self.config.resume.as_ref().filter(|_| campaign.phase == Phase::Probing);
        let begun_until = resumed.map_or(0, |checkpoint| checkpoint.stretch_end);
        Cut { begun_until, ..Cut::of(positions, self.config.overall_rate(), self.stretch) }
    }

    /// Where the attempts at a stretch begin: at its start, or where a checkpoint says.
    fn begin_stretch(&self, campaign: &Campaign<'_>, tally: &Tally) -> Mark {
        let stretch = tally.stretch();
        let mut mark = Mark { attempt: 0, position: stretch.start, asked: 0 };
        let resumed = self.config.resume.as_ref().filter(|checkpoint| checkpoint.stretch == stretch.start);
        if let Some(checkpoint) = resumed
            && campaign.phase == Phase::Probing
        {
            tally.restore(checkpoint);
            mark.attempt = checkpoint.attempt.min(self.config.most_attempts() - 1);
            mark.position = checkpoint.position.clamp(stretch.start, stretch.end);
            mark.asked = tally.mark().asked;
            if mark.attempt == 0 {
                self.common.control.add_done(mark.position - stretch.start);
            }
        }
        tally.reach(mark);
        mark
    }

    /// Runs the receivers beside the attempts at one stretch.
    fn cover(&mut self, campaign: &Campaign<'_>, tally: &Tally, begun: Mark) -> Result<Covered, ScanError> {
        let mut receivers = self.access.lend_receivers();
        let time = self.time;
        let ended = thread::scope(|scope| {
            let classifier = self.access.classifier(&campaign.space);
            let listeners: Vec<_> = receivers
                .iter_mut()
                .filter_map(|receiver| {
                    let classifier = classifier?;
                    Some(scope.spawn(move || receiver.run(classifier, tally, time)))
                })
                .collect();
            if let Some(every) = self.config.checkpoint_every
                && campaign.phase == Phase::Probing
            {
                scope.spawn(move || Clerk::new(tally, every).run());
            }
            let ended = self.attempts(campaign, tally, begun);
            tally.stop();
            for listener in listeners {
                let received = listener.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                received.map_err(ScanError::io("cannot receive replies"))?;
            }
            ended
        });
        self.access.return_receivers(receivers);
        ended
    }

    /// Probes every target of a stretch, and the silent ones again.
    fn attempts(
        &mut self,
        campaign: &Campaign<'_>,
        tally: &Tally,
        begun: Mark,
    ) -> Result<Covered, ScanError> {
        let control = self.common.control.clone();
        let hosts = self.config.targets.count();
        let stretch = tally.stretch();
        let mut covered =
            Covered { checkpoint: stretch.end, attempts: begun.attempt, even_since: 0, settled: false };
        let mut effort = Effort { asked: begun.asked, sent: begun.asked * u64::from(begun.attempt) };
        let most = self.config.most_attempts();
        for attempt in begun.attempt..most {
            let from = if attempt == begun.attempt { begun.position } else { stretch.start };
            control.set_phase(if attempt == 0 { campaign.phase } else { Phase::Retrying });
            let mut pass = Pass {
                space: &campaign.space,
                positions: from..stretch.end,
                attempt,
                asked: effort.asked,
                pace: &mut self.pace,
                ceilings: &mut self.ceilings,
                put_back: None,
                tally,
                time: self.time,
                skip_host: campaign.skip_host,
                sent: 0,
                lane: None,
                told: 0,
                ahead: Ahead::new(),
            };
            let begun_at = self.time.elapsed();
            let transmit = self.access.transmit();
            let reached = transmit.send_pass(&mut pass)?;
            let (sent, waits) = (pass.sent, !transmit.settles_itself());
            if attempt == 0 {
                covered.checkpoint = reached;
                effort.asked += sent;
                self.first_probes += sent;
                self.sending += self.time.elapsed().saturating_sub(begun_at);
            }
            effort.sent += sent;
            covered.attempts += 1;
            let settled = || tally.is_settled(effort.asked, hosts);
            let waited = if waits && sent > 0 {
                self.await_answers(self.attempt_gap(tally), settled)
            } else {
                Duration::ZERO
            };
            let ends = settled() || attempt + 1 == most || !self.is_worth_another(&effort, tally, &covered);
            if ends && waits && sent > 0 {
                control.set_phase(Phase::Waiting);
                self.await_answers(self.last_wait(campaign, tally).saturating_sub(waited), settled);
            }
            covered.settled = settled();
            self.adapt_rate(tally, &mut covered);
            if control.is_cancelled() || ends {
                break;
            }
        }
        if self.config.report_filtered && campaign.phase == Phase::Probing {
            self.report_silent(campaign, tally);
        }
        Ok(covered)
    }

    /// Whether the silent targets should be asked once more: as often as was asked for, and beyond that while
    /// answers are probably missing and it costs no more than that did.
    fn is_worth_another(&self, effort: &Effort, tally: &Tally, covered: &Covered) -> bool {
        let sure = self.config.sure_attempts();
        let recent = tally.histories(covered.attempts).since(covered.even_since);
        if recent.attempts < sure {
            return true;
        }
        let silent = effort.asked.saturating_sub(tally.answered());
        let budget = effort.asked.saturating_mul(u64::from(sure) * 2);
        effort.sent + silent <= budget && recent.expected_missing() > Self::WORTH_ASKING
    }

    /// Goes slower when so much is lost that the path cannot be taking the rate, once in a stretch; and faster again
    /// from stretch to stretch as long as little is lost. The loss counts from attempts at one rate only.
    fn adapt_rate(&mut self, tally: &Tally, covered: &mut Covered) {
        let asked = self.config.overall_rate();
        let loss = tally.histories(covered.attempts).since(covered.even_since).loss();
        let Some(loss) = loss.filter(|_| covered.even_since == 0) else { return };
        let now = f64::from(self.pace.rate().0);
        let next = if loss > Self::OVERLOAD {
            covered.even_since = covered.attempts;
            now * ((1.0 - loss) * Self::BELOW).max(Self::SLOWDOWN)
        } else if covered.attempts == self.config.sure_attempts() {
            now * Self::RECOVERY
        } else {
            now
        };
        let next = PacketsPerSecond((next as u32).clamp(asked.0.min(Self::SLOWEST), asked.0));
        if next != self.pace.rate() {
            tracing::info!(loss, rate = next.0, "the rate follows the losses");
            self.pace = Pace::new(next, self.time.elapsed());
        }
    }

    /// The pause between an attempt and the next: time for answers to come in.
    fn attempt_gap(&self, tally: &Tally) -> Duration {
        let longest = (self.config.wait / 4).min(Self::ATTEMPT_GAP);
        let scaled = tally.slowest_answer().map(|slowest| (slowest * 3).max(Self::SHORTEST_GAP));
        scaled.map_or(longest, |scaled| scaled.min(longest))
    }

    /// How long answers to the last attempt are waited for. Hosts that answered something show how long they
    /// take; for one that is quite silent the whole wait is needed.
    fn last_wait(&self, campaign: &Campaign<'_>, tally: &Tally) -> Duration {
        let whole = self.config.wait;
        // Control ports are asked of hosts that have answered.
        if campaign.phase != Phase::Retrying && !self.has_met_everyone(campaign.skip_host) {
            return whole;
        }
        let scaled = tally.slowest_answer().map_or(Self::NEIGHBOR_WAIT, |slowest| slowest * 4);
        let has_datagrams = self.config.ports.udp().len() > 0;
        let shortest = if has_datagrams { Self::SHORTEST_PROGRAM_WAIT } else { Self::SHORTEST_WAIT };
        scaled.max(shortest).min(whole)
    }

    /// Whether every host that was probed has shown itself; not asked of more hosts than can be looked at soon.
    fn has_met_everyone(&self, skip_host: &(dyn Fn(u64) -> bool + Sync)) -> bool {
        let targets = &self.config.targets;
        let is_missing = |host: u64| {
            !self.common.hosts.contains(host)
                && !skip_host(host)
                && targets.address(host).is_some_and(|address| self.access.leads_to(address))
        };
        targets.count() <= Self::COUNTABLE_HOSTS && !(0..targets.count()).any(is_missing)
    }

    /// Waits, unless all have answered or the scan is cancelled; returns how long.
    fn await_answers(&self, wait: Duration, settled: impl Fn() -> bool) -> Duration {
        let begun = self.time.elapsed();
        let control: &Control = &self.common.control;
        loop {
            let waited = self.time.elapsed().saturating_sub(begun);
            if waited >= wait || settled() || control.is_cancelled() {
                return waited;
            }
            thread::sleep(Self::POLL.min(wait.saturating_sub(waited)));
        }
    }

    /// Reports what never answered, in the order of the probes.
    fn report_silent(&self, campaign: &Campaign<'_>, tally: &Tally) {
        for position in tally.stretch() {
            if self.common.control.is_cancelled() {
                return;
            }
            let Some(target) = tally.target(position, &campaign.space) else { continue };
            if !tally.is_answered(position, target.host) {
                let (state, reason) = self.verdict_on_silence(target.address);
                tally.report_silent(&target, state, reason);
            }
        }
    }

    fn verdict_on_silence(&self, address: IpAddr) -> (PortState, Reason) {
        match &self.access {
            Access::Frames(network) => network.paths.verdict_on_silence(address),
            Access::Connect(_) => (PortState::Filtered, Reason::NoReply),
        }
    }
}
