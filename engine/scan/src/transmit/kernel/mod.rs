//! The backend `kernel`: the probes are made in the kernel, by a BPF program that is written for the scan.
//!
//! The program ([`program`]) is run over "live frames" (BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, Linux
//! 5.18): the kernel hands it recycled frames, it fills them and redirects them to the device, and neither a system
//! call nor a copy nor an sk_buff is spent on a probe. Order, cookies, checksums and pace are those of the other
//! backends, bit by bit; the tests hold them against each other.
//!
//! It carries all probes but SCTP's, through one Ethernet device; what else a scan has is left to the loop that
//! fills [`crate::sys::FrameSink`]s. Looking for hosts and probing their ports have programs of their own. Everything is
//! loaded when the scan is prepared, so running it needs no rights.
//!
//! Programs spin: between two probes they drop frames until the next is due. At low rates that wastes a core, so
//! the backend is chosen by itself only for rates that the others reach with less comfort.

mod frame;
mod layout;
mod plan;
mod program;
mod selftest;
mod tables;
mod threads;

use std::{
    io,
    net::IpAddr,
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use portreeve_wire::template::Link;

use self::{
    frame::Casts,
    layout::{Control, Layout},
    plan::Plan,
    program::Ingredients,
    tables::{Among, Neighbors, Tables},
    threads::Gang,
};
use super::{Facts, Generator, Pass, Refusal, Request, Sender, Share};
use crate::{
    BackendChoice, PacketsPerSecond, Permutation, ScanConfig, ScanError,
    cookie::{CookieKey, EchoCookie},
    network::{NextHop, Way},
    probe::MAX_FRAME_BYTES,
    receive::{DropCause, KernelReceiver, Ledger, Tally, TallyMemory},
    space::{ProbeSpace, Target},
    sys::{
        FrameSink, OnReply, TxBatch, TxRing,
        bpf::{DeviceMap, LoadError, Program, SharedArray, clock_ns},
        sent_packets, transmit_queues,
    },
};

/// From this rate on the backend is chosen by itself: below, the others sleep between probes.
const WORTHWHILE: PacketsPerSecond = PacketsPerSecond(400_000);

/// Opens the backend on a device, if the device, the kernel and the scan allow it.
pub(super) fn open(request: &Request<'_>) -> Result<Sender, Refusal> {
    let config = request.config;
    if config.backend == BackendChoice::Auto && config.rate < WORTHWHILE {
        return Err(Refusal::Unneeded);
    }
    if config.rate_per_host.is_some() || config.rate_per_network.is_some() {
        return Err(Refusal::Unfit("it knows no ceilings for hosts and networks".to_owned()));
    }
    if config.vlan.is_some() {
        return Err(Refusal::Unfit("its frames have no room for a VLAN tag".to_owned()));
    }
    let purposes = Purpose::of(config);
    let drafts: Vec<Draft> = purposes.iter().map(|&purpose| Draft::new(request, purpose)).collect();
    // What most of the scan is comes last.
    let Some(main) = drafts.last().filter(|draft| !draft.plan.is_empty()) else {
        let why = "it sends TCP, UDP and ICMP, and there is none to send";
        return Err(Refusal::Unfit(why.to_owned()));
    };
    if main.plan.on_link.is_some_and(|(first, last)| last - first >= Neighbors::MOST) {
        return Err(Refusal::Unfit(
            "there are too many targets on the link to know each by number".to_owned(),
        ));
    }
    // Some drivers have queues for live frames only once a program is on the device.
    let ledger = ledger(request, main).map_err(unfit)?;
    let receiver = receive(request, &main.plan, ledger);
    selftest::frames_arrive(request.interface)?;
    let carried = drafts.into_iter().filter(|draft| !draft.plan.is_empty());
    let machines = carried.map(|draft| Machine::load(request, draft)).collect::<io::Result<_>>();
    let (machines, device) = (machines.map_err(unfit)?, request.interface.name.clone());
    let generator = KernelGenerator { machines, device, receiver };
    Ok(Sender { sink: sink(request)?, more: Vec::new(), generator: Some(Box::new(generator)) })
}

/// What passes are about that one program sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Whether hosts are there.
    Hosts,
    /// The ports, of all hosts or of those that are there.
    Ports { ping: bool },
}

impl Purpose {
    /// Those of a scan, in the order of its stages.
    fn of(config: &ScanConfig) -> Vec<Self> {
        let ports = Self::Ports { ping: config.ping };
        match (config.ports.is_empty(), config.ping) {
            (true, _) => vec![Self::Hosts],
            (false, true) => vec![Self::Hosts, ports],
            (false, false) => vec![ports],
        }
    }

    fn space(self, config: &ScanConfig) -> ProbeSpace {
        let targets = config.targets.clone();
        match self {
            Self::Hosts => ProbeSpace::discovery(targets, &config.host_probes),
            Self::Ports { .. } => ProbeSpace::ports(targets, &config.ports),
        }
    }

    /// Which hosts are asked, if not all.
    fn among(self) -> Option<Among> {
        match self {
            Self::Hosts => Some(Among::Unmet),
            Self::Ports { ping } => ping.then_some(Among::Met),
        }
    }

    /// Whether a pass is about this.
    fn is_of(self, pass: &Pass<'_>) -> bool {
        pass.tally.is_of_ports() == (self != Self::Hosts)
    }
}

/// What a program is to be made for.
struct Draft {
    purpose: Purpose,
    space: ProbeSpace,
    plan: Plan,
}

impl Draft {
    fn new(request: &Request<'_>, purpose: Purpose) -> Self {
        let Facts { paths, payloads, .. } = request.facts;
        let space = purpose.space(request.config);
        Self { plan: Plan::new(&space, payloads, paths, request.device), purpose, space }
    }
}

/// Has replies judged in the kernel, too, where that can be: it can not where another program is on the device.
fn receive(request: &Request<'_>, plan: &Plan, ledger: Option<Ledger>) -> Option<KernelReceiver> {
    if request.config.on_reply == OnReply::Reset {
        // The stack resets what it sees.
        return None;
    }
    let Facts { paths, key, ports, .. } = request.facts;
    let ways = plan.ways.iter().filter_map(|&way| paths.ways().get(way));
    let mut ours: Vec<IpAddr> = ways.map(|way| way.source).collect();
    ours.sort_unstable();
    ours.dedup();
    let attached = KernelReceiver::attach(request.interface.index, &ours, *ports, key, ledger);
    attached
        .inspect_err(|why| {
            tracing::info!("the packet ring takes all replies on {}: {why}", request.interface.name);
        })
        .ok()
}

/// For closed ports, unless they are asked for one by one.
fn ledger(request: &Request<'_>, draft: &Draft) -> io::Result<Option<Ledger>> {
    if request.config.report_closed || draft.purpose == Purpose::Hosts {
        return Ok(None);
    }
    let order = Permutation::new(draft.space.len(), request.config.seed);
    Ledger::new(&draft.space, order, &request.shared_memory()?.ports)
}

/// Why there are no programs: without the rights, and with a kernel that refuses them.
fn unfit(error: io::Error) -> Refusal {
    Refusal::Unfit(match error.kind() {
        io::ErrorKind::PermissionDenied => LoadError::Forbidden.to_string(),
        _ => error.to_string(),
    })
}

/// For questions to neighbours and for what the programs do not carry.
fn sink(request: &Request<'_>) -> io::Result<Box<dyn FrameSink>> {
    match TxRing::open(request.interface, MAX_FRAME_BYTES) {
        Ok(ring) => Ok(Box::new(ring)),
        Err(_) => Ok(Box::new(TxBatch::open(request.interface, MAX_FRAME_BYTES)?)),
    }
}

/// Programs for one device.
struct KernelGenerator {
    machines: Vec<Machine>,
    device: String,
    receiver: Option<KernelReceiver>,
}

/// A program for each thread, all for one purpose, and their memory.
struct Machine {
    purpose: Purpose,
    space: ProbeSpace,
    plan: Arc<Plan>,
    memory: TallyMemory,
    tables: Tables,
    control: Control,
    gang: Gang,
}

impl Machine {
    fn load(request: &Request<'_>, draft: Draft) -> io::Result<Self> {
        let config = request.config;
        let memories = request.shared_memory()?;
        let memory = if draft.purpose == Purpose::Hosts { &memories.hosts } else { &memories.ports };
        let device = DeviceMap::new("pr_device", &[request.interface.index])?;
        let threads = threads::count(config.rate, transmit_queues(&request.interface.name));
        let order = Permutation::new(draft.space.len(), config.seed);
        Self::assemble(draft, memory.clone(), &order, request.facts, &device, threads)
    }

    fn assemble(
        draft: Draft,
        memory: TallyMemory,
        order: &Permutation,
        facts: &Facts<'_>,
        device: &DeviceMap,
        threads: u32,
    ) -> io::Result<Self> {
        let Draft { purpose, space, plan } = draft;
        let tables = Tables::new(&plan, &memory, purpose)?;
        let layout = Layout { ways: plan.ways.len() as u32, threads };
        let control = Control::new(layout)?;
        let casts = plan.families().map(|family| Casts::new(family, &plan.moulds, facts.payloads));
        let casts = casts.collect::<io::Result<Vec<_>>>()?;
        let ingredients = Ingredients {
            plan: &plan,
            tables: &tables,
            order,
            casts: &casts,
            control: control.memory.reference(),
            layout,
            device,
        };
        let programs = (0..threads)
            .map(|thread| Ok(Program::load("pr_generate", program::emit(&ingredients, thread))?))
            .collect::<io::Result<Vec<_>>>()?;
        let longest = casts.iter().map(Casts::longest).max_by_key(|blank| blank.len()).unwrap_or_default();
        let slack = if program::even(&casts).is_some() { 0 } else { program::SLACK };
        let gang = Gang::new(programs, [longest, &vec![0; slack]].concat());
        Ok(Self { purpose, space, plan: Arc::new(plan), memory, tables, control, gang })
    }

    /// Whether it sends a pass, or a part of it.
    fn is_for(&self, pass: &Pass<'_>) -> bool {
        self.purpose.is_of(pass)
            && pass.space.kinds() == self.space.kinds()
            && pass.tally.answered.is_in(&self.memory.answered)
    }

    /// Writes down what is known only now: hardware addresses and what the pass is about.
    fn begin(&self, pass: &Pass<'_>, positions: &Range<u64>, facts: &Facts<'_>) -> io::Result<()> {
        let control = &self.control;
        control.begin(
            positions,
            &Setting {
                stretch_start: pass.tally.stretch().start,
                source_port: facts.ports.port(pass.attempt),
                attempt: pass.attempt,
                elapsed: pass.time.elapsed(),
                rate: pass.pace.rate(),
            },
        );
        for (place, way) in self.plan.ways.iter().filter_map(|&way| facts.paths.ways().get(way)).enumerate() {
            control.write_way(place as u32, way, facts.key)?;
        }
        if let Some(neighbors) = &self.tables.neighbors {
            for (address, mac) in facts.paths.neighbors().iter() {
                if let Some(host) = pass.space.targets().index_of(address) {
                    neighbors.set(host, mac);
                }
            }
        }
        Ok(())
    }
}

impl KernelGenerator {
    /// How many of the frames that were handed to the device it did not send: its queue was full, or it has none for
    /// them any more. No error tells, but its count does, when it has caught up.
    fn lost(&self, device_before: Option<u64>, sent: u64) -> u64 {
        const LOOKS: u32 = 10;
        let mut lost = 0;
        for _ in 0..LOOKS {
            let (Some(before), Ok(now)) = (device_before, sent_packets(&self.device)) else { return 0 };
            lost = sent.saturating_sub(now.saturating_sub(before));
            if lost == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        lost
    }
}

impl Generator for KernelGenerator {
    fn share(&self, pass: &Pass<'_>) -> Share {
        let Some(machine) = self.machines.iter().find(|machine| machine.is_for(pass)) else {
            return Share::Nothing;
        };
        if machine.plan.is_whole() {
            return Share::All;
        }
        let plan = Arc::clone(&machine.plan);
        Share::Part(Arc::new(move |target: &Target| plan.carries(target)))
    }

    fn send(
        &mut self,
        pass: &mut Pass<'_>,
        positions: Range<u64>,
        facts: &Facts<'_>,
    ) -> Result<u64, ScanError> {
        let Some(machine) = self.machines.iter().find(|machine| machine.is_for(pass)) else {
            return Ok(positions.start);
        };
        machine
            .begin(pass, &positions, facts)
            .map_err(ScanError::io("cannot prepare the kernel's programs"))?;
        let Machine { plan, control, gang, .. } = machine;
        let (before, device_before) = (control.counts(), sent_packets(&self.device).ok());
        let reached = gang
            .run(control, pass, &positions, plan.is_whole())
            .map_err(ScanError::io("the kernel stopped making probes"))?;
        let after = control.counts();
        let drops = &pass.tally.common.drops;
        drops.add(DropCause::NotAllowed, after.not_allowed - before.not_allowed);
        drops.add(DropCause::NoNeighbor, after.no_neighbor - before.no_neighbor);
        drops.add(DropCause::SendRefused, self.lost(device_before, after.sent - before.sent));
        Ok(reached)
    }

    fn take_receiver(&mut self) -> Option<KernelReceiver> {
        self.receiver.take()
    }
}

/// What is constant in a pass.
struct Setting {
    stretch_start: u64,
    source_port: u16,
    attempt: u8,
    /// Since the scan began.
    elapsed: Duration,
    rate: PacketsPerSecond,
}

/// Counts of all threads since the programs were loaded.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sent: u64,
    not_allowed: u64,
    no_neighbor: u64,
}

impl Control {
    fn new(layout: Layout) -> io::Result<Self> {
        let memory = SharedArray::new("pr_control", 1, layout.words())?;
        let control = Self { memory, layout };
        for number in 0..layout.threads {
            control.thread(number, layout::thread::WALKING).store(layout::NOT_WALKING, Relaxed);
        }
        Ok(control)
    }

    /// Sets a pass up; no program may be running.
    fn begin(&self, positions: &Range<u64>, setting: &Setting) {
        let now_ns = clock_ns();
        self.set(layout::NEXT, positions.start);
        self.set(layout::END, positions.end);
        self.set(layout::STOP, 0);
        self.set(layout::STRETCH_START, setting.stretch_start);
        self.set(layout::SOURCE_PORT, u64::from(setting.source_port) << 16);
        self.set(layout::SOURCE_PORT_WRITTEN, u64::from(setting.source_port.to_be()));
        self.set(layout::ATTEMPT, Tally::stamp_bits(setting.attempt));
        self.set(layout::ECHO_ATTEMPT, u64::from(setting.attempt) & u64::from(EchoCookie::ATTEMPT_BITS));
        self.set(layout::START_NS, now_ns.saturating_sub(setting.elapsed.as_nanos() as u64));
        self.set_rate(setting.rate);
        for number in 0..self.layout.threads {
            let set = |field, value| self.thread(number, field).store(value, Relaxed);
            set(layout::thread::BLOCK_NEXT, 0);
            set(layout::thread::BLOCK_END, 0);
            set(layout::thread::WALKING, layout::NOT_WALKING);
            set(layout::thread::FLOOR, layout::NOTHING_TAKEN);
            set(layout::thread::ALLOWANCE, 0);
            set(layout::thread::ASKED_NS, layout::NOT_ASKED);
            set(layout::thread::CREDIT, 0);
            set(layout::thread::TOKENS, 0);
        }
    }

    /// Writes down what frames of a way consist of.
    fn write_way(&self, place: u32, way: &Way, key: &CookieKey) -> io::Result<()> {
        let Link::Ethernet { destination, source, .. } = way.link() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let (upper, lower) = match way.source {
            IpAddr::V4(ours) => (0, u64::from(ours.to_bits())),
            IpAddr::V6(ours) => ((ours.to_bits() >> 64) as u64, ours.to_bits() as u64),
        };
        let sum = [upper, lower].iter().map(|half| (half >> 32) + (half & 0xffff_ffff)).sum();
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (destination.0, source.0);
        let set = |field: i16, value| {
            self.set(layout::WAYS + place * layout::way::BYTES + field as u32, value);
        };
        set(layout::way::HARDWARE, u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        set(layout::way::HARDWARE + 8, u64::from_le_bytes([i, j, k, l, 0, 0, 0, 0]));
        set(layout::way::SOURCE, lower);
        set(layout::way::SOURCE_UPPER, upper);
        set(layout::way::SOURCE_SUM, sum);
        for (offset, word) in (layout::way::STATE..).step_by(8).zip(key.begun(way.source)) {
            set(offset, word);
        }
        set(layout::way::ON_LINK, u64::from(matches!(way.next, NextHop::OnLink { .. })));
        Ok(())
    }

    /// Shares a rate out among the threads; may be called while they run.
    fn set_rate(&self, rate: PacketsPerSecond) {
        /// Above this nothing is held back; the products stay within 64 bits.
        const UNLIMITED: f64 = 1e8;
        let each = (f64::from(rate.0.max(1)) / f64::from(self.layout.threads)).min(UNLIMITED);
        let one = (1_u64 << layout::FRACTION_BITS) as f64;
        let worth = |time: Duration| ((each * time.as_secs_f64()).max(1.0) * one) as u64;
        self.set(layout::RATE, (each / 1e9 * one) as u64);
        self.set(layout::MOST_CREDIT, worth(Duration::from_nanos(program::CATCH_UP_NS)));
        self.set(layout::MOST_TOKENS, worth(Duration::from_millis(1)));
    }

    fn counts(&self) -> Counts {
        Counts {
            sent: self.sum(layout::thread::SENT),
            not_allowed: self.sum(layout::thread::NOT_ALLOWED),
            no_neighbor: self.sum(layout::thread::NO_NEIGHBOR),
        }
    }
}

#[cfg(test)]
mod tests;
