//! The backend `kernel`: the probes are made in the kernel, by a BPF program that is written for the scan.
//!
//! The program ([`program`]) is run over "live frames" (BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, Linux
//! 5.18): the kernel hands it recycled frames, it fills them and redirects them to the device, and neither a system
//! call nor a copy nor an sk_buff is spent on a probe. Order, cookies, checksums and pace are those of the other
//! backends, bit by bit; the tests hold them against each other.
//!
//! It carries TCP over IPv4 through one Ethernet device; what else a scan has is left to the loop that fills
//! [`crate::sys::FrameSink`]s. Everything is loaded when the scan is prepared, so running it needs no rights.
//!
//! Programs spin: between two probes they drop frames until the next is due. At low rates that wastes a core, so
//! the backend is chosen by itself only for rates that the others reach with less comfort.

mod layout;
mod plan;
mod program;
mod selftest;
mod tables;
mod threads;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use self::{
    layout::{Control, Layout},
    plan::Plan,
    program::Ingredients,
    tables::{Neighbors, Tables},
    threads::Gang,
};
use super::{Facts, Generator, Pass, Refusal, Request, Sender, Share};
use crate::{
    BackendChoice, PacketsPerSecond, Permutation, ScanError,
    network::{NextHop, Way},
    probe::{Emitter, MAX_FRAME_BYTES, Payloads},
    receive::{DropCause, KernelReceiver, Ledger, Tally, TallyMemory},
    space::{ProbeKind, ProbeSpace, Target},
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
    let space = ProbeSpace::ports(config.targets.clone(), &config.ports);
    let plan = Plan::new(&space, request.facts.paths, request.device);
    if plan.is_empty() {
        return Err(Refusal::Unfit("it sends TCP over IPv4, and there is none to send".to_owned()));
    }
    if plan.on_link.is_some_and(|(first, last)| last - first >= Neighbors::MOST) {
        return Err(Refusal::Unfit(
            "there are too many targets on the link to know each by number".to_owned(),
        ));
    }
    // Some drivers have queues for live frames only once a program is on the device.
    let memory = request.shared_memory(&space).map_err(unfit)?;
    let receiver = receive(request, &plan, ledger(request, &space, &memory).map_err(unfit)?);
    selftest::frames_arrive(request.interface)?;
    let generator = KernelGenerator::load(request, space, plan, &memory, receiver).map_err(unfit)?;
    Ok(Sender { sink: sink(request)?, more: Vec::new(), generator: Some(Box::new(generator)) })
}

/// Has replies judged in the kernel, too, where that can be: it can not where another program is on the device.
fn receive(request: &Request<'_>, plan: &Plan, ledger: Option<Ledger>) -> Option<KernelReceiver> {
    if request.config.on_reply == OnReply::Reset {
        // The stack resets what it sees.
        return None;
    }
    let Facts { paths, key, ports, .. } = request.facts;
    let ways = plan.ways.iter().filter_map(|&way| paths.ways().get(way));
    let mut ours: Vec<Ipv4Addr> = ways
        .filter_map(|way| match way.source {
            IpAddr::V4(source) => Some(source),
            IpAddr::V6(_) => None,
        })
        .collect();
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
fn ledger(request: &Request<'_>, space: &ProbeSpace, memory: &TallyMemory) -> io::Result<Option<Ledger>> {
    if request.config.report_closed {
        return Ok(None);
    }
    Ledger::new(space, Permutation::new(space.len(), request.config.seed), memory)
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

/// Programs for one device, and their memory.
struct KernelGenerator {
    space: ProbeSpace,
    plan: Arc<Plan>,
    tables: Tables,
    control: Control,
    gang: Gang,
    device: String,
    receiver: Option<KernelReceiver>,
}

impl KernelGenerator {
    fn load(
        request: &Request<'_>,
        space: ProbeSpace,
        plan: Plan,
        memory: &TallyMemory,
        receiver: Option<KernelReceiver>,
    ) -> io::Result<Self> {
        let config = request.config;
        let tables = Tables::new(&plan, memory, config.ping)?;
        let threads = threads::count(config.rate, transmit_queues(&request.interface.name));
        let layout = Layout { ways: plan.ways.len() as u32, threads };
        let control = Control::new(layout)?;
        let device = DeviceMap::new("pr_device", &[request.interface.index])?;
        let blank = blank(&plan, request.facts)?;
        let order = Permutation::new(space.len(), config.seed);
        let ingredients = Ingredients {
            plan: &plan,
            tables: &tables,
            order: &order,
            key: request.facts.key,
            blank: &blank,
            control: control.memory.reference(),
            layout,
            device: &device,
        };
        let programs = (0..threads)
            .map(|thread| Ok(Program::load("pr_generate", program::emit(&ingredients, thread))?))
            .collect::<io::Result<Vec<_>>>()?;
        let (gang, name) = (Gang::new(programs, blank), request.interface.name.clone());
        Ok(Self { space, plan: Arc::new(plan), tables, control, gang, device: name, receiver })
    }

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

    /// Writes down what is known only now: hardware addresses and what the pass is about.
    fn begin(&self, pass: &Pass<'_>, positions: &Range<u64>, facts: &Facts<'_>) -> io::Result<()> {
        let control = &self.control;
        control.begin(
            positions,
            &Setting {
                stretch_start: pass.tally.stretch().start,
                source_port: facts.ports.port(pass.attempt),
                stamp_bits: Tally::stamp_bits(pass.attempt),
                elapsed: pass.time.elapsed(),
                rate: pass.pace.rate(),
            },
        );
        for (place, way) in self.plan.ways.iter().filter_map(|&way| facts.paths.ways().get(way)).enumerate() {
            control.write_way(place as u32, way, facts.payloads)?;
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

/// The frame that all programs begin with: the first way's, with zeros where probes differ.
fn blank(plan: &Plan, facts: &Facts<'_>) -> io::Result<Vec<u8>> {
    let way =
        plan.ways.first().and_then(|&way| facts.paths.ways().get(way)).ok_or(io::ErrorKind::NotFound)?;
    blank_of(way, facts.payloads)
}

fn blank_of(way: &Way, payloads: &Payloads) -> io::Result<Vec<u8>> {
    let mut frame = [0; MAX_FRAME_BYTES];
    let length = Emitter::new(way.link(), way.source, payloads).emit_blank_syn(&mut frame);
    let frame = length.and_then(|length| frame.get(..length)).ok_or(io::ErrorKind::InvalidData)?;
    Ok(frame.to_vec())
}

impl Generator for KernelGenerator {
    fn share(&self, pass: &Pass<'_>) -> Share {
        if pass.space.kinds() != self.space.kinds() {
            Share::Nothing
        } else if self.plan.is_whole() {
            Share::All
        } else {
            let plan = Arc::clone(&self.plan);
            Share::Part(Arc::new(move |target: &Target| {
                matches!(target.kind, ProbeKind::Tcp(_)) && plan.reaches(target.host)
            }))
        }
    }

    fn send(
        &mut self,
        pass: &mut Pass<'_>,
        positions: Range<u64>,
        facts: &Facts<'_>,
    ) -> Result<u64, ScanError> {
        self.begin(pass, &positions, facts).map_err(ScanError::io("cannot prepare the kernel's programs"))?;
        let (before, device_before) = (self.control.counts(), sent_packets(&self.device).ok());
        let whole = self.plan.is_whole();
        let reached = self
            .gang
            .run(&self.control, pass, &positions, whole)
            .map_err(ScanError::io("the kernel stopped making probes"))?;
        let after = self.control.counts();
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
    stamp_bits: u64,
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
        self.set(layout::SOURCE_PORT, u64::from(setting.source_port));
        self.set(layout::ATTEMPT, setting.stamp_bits);
        self.set(layout::START_NS, now_ns.saturating_sub(setting.elapsed.as_nanos() as u64));
        self.set_rate(setting.rate);
        for number in 0..self.layout.threads {
            let set = |field, value| self.thread(number, field).store(value, Relaxed);
            set(layout::thread::BLOCK_NEXT, 0);
            set(layout::thread::BLOCK_END, 0);
            set(layout::thread::WALKING, layout::NOT_WALKING);
            set(layout::thread::FLOOR, layout::NOTHING_TAKEN);
            set(layout::thread::ALLOWANCE, 0);
            set(layout::thread::ASKED_NS, now_ns);
            set(layout::thread::CREDIT, 0);
            set(layout::thread::TOKENS, 0);
        }
    }

    /// Writes down what frames of a way consist of.
    fn write_way(&self, place: u32, way: &Way, payloads: &Payloads) -> io::Result<()> {
        let IpAddr::V4(source) = way.source else { return Err(io::ErrorKind::InvalidData.into()) };
        let blank = blank_of(way, payloads)?;
        let word = |from: usize| {
            let bytes = blank.get(from..from + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        // The sum of the constant fields is what a blank frame's checksum is the complement of.
        let sum = |at: usize| match blank.get(at..at + 2) {
            Some(&[high, low]) => u64::from(!u16::from_be_bytes([high, low])),
            _ => 0,
        };
        let set = |field: i16, value| {
            self.set(layout::WAYS + place * layout::way::BYTES + field as u32, value);
        };
        set(layout::way::HARDWARE, word(0));
        set(layout::way::HARDWARE + 8, word(8));
        set(layout::way::SOURCE, u64::from(source.to_bits()));
        set(layout::way::IP_SUM, sum(program::IP_CHECKSUM));
        set(layout::way::TCP_SUM, sum(program::TCP_CHECKSUM));
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
