//! A scan from its preparation to its report.

use std::{sync::Arc, thread};

use crossbeam_channel::{Sender, bounded};
use portreeve_model::Transport;

use crate::{
    BackendChoice, Clock, Control, Event, PacketsPerSecond, Phase, ScanConfig, ScanError, ScanReport,
    network::Network,
    receive::{Common, Drops, Passing, Seen, Tally},
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
    /// Positions of the order that are worked through together; see [`Tally`].
    stretch: u64,
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
        if config.ping && !config.ports.is_empty() && config.targets.count() > Seen::EXACT_LIMIT {
            return Err(ScanError::TooManyToPing);
        }
        let (access, backend) = choose(&config)?;
        Ok(Self { config, clock, access, backend, stretch: Tally::MAX_STRETCH })
    }

    /// Which backend was chosen, and why.
    pub fn backend(&self) -> (&str, &str) {
        (&self.backend.0, &self.backend.1)
    }

    /// Runs the scan to its end or until it is cancelled. Blocks; `emit` is called on this thread.
    pub fn run(self, control: &Control, emit: &mut dyn FnMut(Event)) -> Result<ScanReport, ScanError> {
        self.run_in_batches(control, &mut |batch| batch.into_iter().for_each(&mut *emit))
    }

    /// The same, handing over whatever is there at a time: at most 256 events, and never none.
    pub fn run_in_batches(
        self,
        control: &Control,
        emit: &mut dyn FnMut(Vec<Event>),
    ) -> Result<ScanReport, ScanError> {
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

    fn into_stages(self, control: &Control, events: Sender<Passing>) -> Stages {
        let common = Common {
            control: control.clone(),
            drops: Arc::new(Drops::default()),
            clock: self.clock,
            events,
            hosts: Arc::new(Seen::in_memory(
                self.config.targets.count(),
                self.access.memory().and_then(|memories| memories.ports.hosts.as_ref()),
            )),
        };
        Stages::new(self.config, self.access, common, self.stretch)
    }
}

/// Opens the backend that was asked for, or the best there is.
fn choose(config: &ScanConfig) -> Result<(Access, (String, String)), ScanError> {
    let untagged = || match config.vlan {
        Some(_) => Err(ScanError::VlanNeedsEthernet { device: "ordinary sockets".to_owned() }),
        None => Ok(()),
    };
    if config.backend == BackendChoice::Connect {
        untagged()?;
        return connect(config, "ordinary sockets: asked for");
    }
    match Network::open(config) {
        Ok(network) => {
            let backend = network.backend.clone();
            Ok((Access::Frames(Box::new(network)), backend))
        }
        Err(ScanError::MissingRight { .. }) if config.backend == BackendChoice::Auto => {
            untagged()?;
            let why = "ordinary sockets: raw ones need the right CAP_NET_RAW (run as root, or grant it with \
                       `setcap cap_net_raw+ep`)";
            connect(config, why)
        }
        Err(error) => Err(error),
    }
}

fn connect(config: &ScanConfig, why: &str) -> Result<(Access, (String, String)), ScanError> {
    if config.ports.count(Transport::Sctp) > 0 {
        return Err(ScanError::NeedsRawSockets { what: "SCTP" });
    }
    let looks_for_hosts = config.ping || config.ports.is_empty();
    if let Some(what) = config.host_probes.beyond_sockets().filter(|_| looks_for_hosts) {
        return Err(ScanError::NeedsRawSockets { what });
    }
    let transmit = ConnectTransmit::new(config.wait, config.udp_payloads.clone());
    Ok((Access::Connect(transmit), ("connect".to_owned(), why.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        net::{TcpListener, UdpSocket},
        time::Duration,
    };

    use portreeve_model::{PortState, Timestamp};

    use super::*;
    use crate::TargetSetBuilder;

    /// Ports of loopback that systems give to nobody unasked, 300 of them: a few stretches of 64.
    const FIRST: u16 = 20_000;
    const LAST: u16 = 20_299;

    fn config(backend: BackendChoice) -> ScanConfig {
        let targets = TargetSetBuilder::new().include("127.0.0.1").and_then(TargetSetBuilder::build);
        let ports = format!("{FIRST}-{LAST},U:{FIRST}").parse().expect("ports");
        ScanConfig {
            backend,
            rate: PacketsPerSecond(20_000),
            wait: Duration::from_millis(300),
            source_port: Some(21_000),
            report_closed: true,
            report_filtered: true,
            ..ScanConfig::new(targets.expect("targets"), ports)
        }
    }

    /// What is longer than one stretch is worked through in several, each with its retries and its answers.
    #[test]
    fn a_scan_of_several_stretches_reports_each_port_once() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let open = listener.local_addr().expect("bound").port();
        let silent = UdpSocket::bind(("127.0.0.1", FIRST)).expect("a port that nobody has");
        for backend in [BackendChoice::Connect, BackendChoice::Auto] {
            let mut config = config(backend);
            config.ports = format!("{FIRST}-{LAST},{open},U:{FIRST}").parse().expect("ports");
            let mut scan = Scan::prepare(config, Clock::new(|| Timestamp(0))).expect("prepared");
            scan.stretch = 64;
            let mut states = BTreeSet::new();
            let report = scan.run(&Control::new(), &mut |event| {
                if let Event::Port(seen) = event {
                    assert!(states.insert((seen.transport, seen.port, seen.state)), "{seen:?} came twice");
                }
            });
            let report = report.expect("runs");
            let count = |state| states.iter().filter(|(_, _, found)| *found == state).count();
            assert_eq!(
                (states.len(), count(PortState::Open), count(PortState::Filtered)),
                (302, 1, 1),
                "{report:?}"
            );
            assert!(report.completed && report.checkpoint == 302, "{report:?}");
        }
        drop(silent);
    }

    #[test]
    fn a_scan_of_several_stretches_goes_on_where_it_was_left() {
        let mut last = None;
        let mut scan = |config: ScanConfig, stretch: u64, most: usize| {
            let mut scan = Scan::prepare(config, Clock::new(|| Timestamp(0))).expect("prepared");
            scan.stretch = stretch;
            let (control, mut ports) = (Control::new(), Vec::new());
            let report = scan.run(&control, &mut |event| match event {
                Event::Port(seen) => {
                    ports.push((seen.transport, seen.port));
                    if ports.len() == most {
                        control.cancel();
                    }
                }
                Event::Checkpoint(checkpoint) => last = Some(*checkpoint),
                _ => {}
            });
            (report.expect("runs"), ports, last.take())
        };
        let whole = || ScanConfig { rate: PacketsPerSecond(500), ..config(BackendChoice::Connect) };
        let (first, before, _) = scan(whole(), 64, 150);
        assert!(!first.completed && (65..301).contains(&first.checkpoint), "{first:?}");
        let rest = crate::Checkpoint::at(first.checkpoint);
        let (second, after, _) = scan(ScanConfig { resume: Some(rest), ..whole() }, 64, usize::MAX);
        assert!(second.completed);
        let all: BTreeSet<_> = before.iter().chain(&after).collect();
        assert_eq!(all.len(), 301);

        // A stretch that was begun ends where it was to end, whatever lengths are usual by then.
        let told = || ScanConfig { checkpoint_every: Some(Duration::from_secs(600)), ..whole() };
        let (_, before, far) = scan(told(), 64, 150);
        let far = far.expect("the last one is made when a scan is cancelled");
        assert_eq!((far.stretch % 64, far.stretch_end - far.stretch), (0, 64), "{far:?}");
        let (second, after, _) = scan(ScanConfig { resume: Some(far), ..whole() }, 1_000, usize::MAX);
        assert!(second.completed);
        let all: BTreeSet<_> = before.iter().chain(&after).collect();
        assert_eq!(all.len(), 301);
    }
}
