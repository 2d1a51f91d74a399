//! The programs against the code that the other backends send with: position by position, byte by byte. The kernel
//! runs them once over one frame at a time here, and nothing is sent.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
    sync::atomic::Ordering::Relaxed,
};

use nix::unistd::Uid;
use portreeve_model::MacAddress;
use portreeve_wire::ethernet;

use super::{plan::Segment, *};
use crate::{
    PortSet, TargetSetBuilder,
    cookie::{CookieKey, SourcePorts},
    sys::bpf::Action,
};

const KEY: CookieKey = CookieKey::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
const OURS: ethernet::Address = ethernet::Address([2, 0, 0, 0, 0, 1]);
const GATEWAY: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 99, 200, 1);

fn may_run() -> bool {
    if Uid::effective().is_root() {
        return true;
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "BPF tests need root, and CI runs them all");
    eprintln!("skipped: loading BPF programs needs root");
    false
}

fn gateway() -> Way {
    let next = NextHop::Gateway { hardware: OURS, address: SOURCE.into(), mac: Some(GATEWAY) };
    Way { device: 0, source: SOURCE.into(), next, vlan: None }
}

fn on_link() -> Way {
    Way {
        device: 0,
        source: Ipv4Addr::new(10, 98, 0, 1).into(),
        next: NextHop::OnLink { hardware: OURS },
        vlan: None,
    }
}

/// A scan whose targets go through a gateway, but for those of 10.98.0.0/16, which are on the link, and 10.97.0.0/16,
/// which nobody carries.
struct Bench {
    space: ProbeSpace,
    ways: Vec<Way>,
    order: Permutation,
    memory: TallyMemory,
    generator: KernelGenerator,
    payloads: Payloads,
}

impl Bench {
    fn new(targets: &str, ports: &str, threads: u32, met_hosts: bool) -> Self {
        let targets = TargetSetBuilder::new().include(targets).and_then(TargetSetBuilder::build);
        let targets = targets.expect("targets");
        let ports: PortSet = ports.parse().expect("ports");
        let space = ProbeSpace::ports(targets.clone(), &ports);
        let (ways, payloads) = (vec![gateway(), on_link()], Payloads::default());
        let plan = plan(&space);
        let memory = TallyMemory::new(space.len(), targets.count()).expect("maps");
        let tables = Tables::new(&plan, &memory, met_hosts).expect("maps");
        let layout = Layout { ways: plan.ways.len() as u32, threads };
        let control = Control::new(layout).expect("map");
        let used: Vec<&Way> = plan.ways.iter().map(|&way| &ways[way]).collect();
        for (place, way) in used.iter().enumerate() {
            control.write_way(place as u32, way, &payloads).expect("IPv4");
        }
        let blank = blank_of(used[0], &payloads).expect("fits");
        let order = Permutation::new(space.len(), 11);
        let device = DeviceMap::new("test_device", &[1]).expect("map");
        let ingredients = Ingredients {
            plan: &plan,
            tables: &tables,
            order: &order,
            key: &KEY,
            blank: &blank,
            control: control.memory.reference(),
            layout,
            device: &device,
        };
        let programs = (0..threads)
            .map(|thread| Program::load("test_generate", program::emit(&ingredients, thread)))
            .map(|loaded| loaded.expect("the verifier agrees"))
            .collect();
        let gang = Gang::new(programs, blank);
        let (device, receiver) = ("none".to_owned(), None);
        let generator = KernelGenerator {
            space: space.clone(),
            plan: Arc::new(plan),
            tables,
            control,
            gang,
            device,
            receiver,
        };
        Self { space, ways, order, memory, generator, payloads }
    }

    fn begin(&self, positions: Range<u64>) {
        let rate = PacketsPerSecond(u32::MAX);
        let setting =
            Setting { stretch_start: 0, source_port: 61_001, stamp_bits: 1, elapsed: Duration::ZERO, rate };
        self.generator.control.begin(&positions, &setting);
    }

    /// What the other backends would send for a position.
    fn expected(&self, position: u64) -> Option<Vec<u8>> {
        let target = self.space.target(self.order.at(position)?)?;
        let IpAddr::V4(address) = target.address else { return None };
        if !matches!(target.kind, ProbeKind::Tcp(_)) {
            return None;
        }
        let (way, mac) = match address.octets() {
            [10, 97, ..] => return None,
            [10, 98, ..] => (&self.ways[1], Some(neighbor(address)?)),
            _ => (&self.ways[0], None),
        };
        let mut frame = [0; MAX_FRAME_BYTES];
        let ports = SourcePorts::new(61_000, 2).expect("fits");
        let emitter = Emitter::new(way.link(), way.source, &self.payloads);
        let length = emitter.emit(&mut frame, &target, 1, &KEY, ports).expect("fits");
        if let Some(mac) = mac {
            ethernet::set_destination(&mut frame, ethernet::Address(mac.0));
        }
        Some(frame[..length].to_vec())
    }

    /// Runs a thread's program until it sends a frame; `None` when it has found nothing many times in a row.
    fn next(&self, thread: usize) -> Option<Vec<u8>> {
        (0..2_000).find_map(|_| self.run_once(thread))
    }

    fn run_once(&self, thread: usize) -> Option<Vec<u8>> {
        // What was in the frame before must not matter.
        let mut frame = vec![0xee; self.generator.gang.frame().len()];
        let action = self.generator.gang.program(thread).run_once(&mut frame).expect("runs");
        (action == Action::Redirect as u32).then_some(frame)
    }
}

/// Every second host on the link has answered.
fn neighbor(address: Ipv4Addr) -> Option<MacAddress> {
    let [_, _, c, d] = address.octets();
    (d % 2 == 0).then_some(MacAddress([2, 9, 9, 9, c, d]))
}

fn plan(space: &ProbeSpace) -> Plan {
    let targets = space.targets();
    let mut plan = Plan::of_space(space);
    for (first, last) in targets.ranges() {
        let (IpAddr::V4(first), IpAddr::V4(last)) = (first, last) else { continue };
        let number = match first.octets() {
            [10, 97, ..] => None,
            [10, 98, ..] => Some(1),
            _ => Some(0),
        };
        let way = number.map(|number| {
            let known = plan.ways.iter().position(|&way| way == number);
            known.unwrap_or_else(|| {
                plan.ways.push(number);
                plan.ways.len() - 1
            }) as u16
        });
        let start = targets.index_of(first.into()).expect("of the set");
        plan.segments.push(Segment { start, first: first.to_bits(), last: last.to_bits(), way });
        if number == Some(1) {
            let from = plan.on_link.map_or(start, |(from, _)| from);
            plan.on_link = Some((from, start + u64::from(last.to_bits() - first.to_bits())));
        }
    }
    plan
}

fn tell_neighbors(bench: &Bench) {
    let Some(neighbors) = &bench.generator.tables.neighbors else { return };
    for (host, address) in bench.space.targets().iter().enumerate() {
        if let IpAddr::V4(address) = address
            && let Some(mac) = neighbor(address)
        {
            neighbors.set(host as u64, mac);
        }
    }
}

/// 300 ranges of 1 to 9 addresses.
fn scattered() -> String {
    let ranges = (0..300_u32).map(|n| {
        let first = Ipv4Addr::from_bits(0x0a10_0000 + n * 1_000);
        format!("{first}-{}", Ipv4Addr::from_bits(first.to_bits() + n % 9))
    });
    ranges.collect::<Vec<_>>().join(" ")
}

#[test]
fn order_and_frames_are_those_of_the_other_backends() {
    if !may_run() {
        return;
    }
    let mixed = "10.97.0.7 10.98.0.0-10.98.0.40 10.99.0.0/28 10.99.4.8-10.99.4.9 fd99::/124";
    let everything = format!("{} {mixed}", scattered());
    for (targets, ports) in [
        ("10.99.0.0/24", "80-83"),
        ("10.99.0.1-10.99.0.251", "22,80,443"),
        ("10.99.0.1", "7"),
        (mixed, "22,80,U:53,443,8000-8002"),
        ("10.98.0.0/26", "1-9"),
        (everything.as_str(), "25,1000-1002"),
    ] {
        let bench = Bench::new(targets, ports, 1, false);
        tell_neighbors(&bench);
        bench.begin(0..bench.space.len());
        let mut sent = 0;
        for position in 0..bench.space.len() {
            if let Some(expected) = bench.expected(position) {
                let frame = bench.next(0);
                assert_eq!(frame, Some(expected), "{targets} {ports}: position {position}");
                sent += 1;
            }
        }
        assert_eq!(bench.next(0), None, "{targets} {ports}");
        assert_eq!(bench.generator.control.counts().sent, sent);
        assert_eq!(bench.generator.control.counts().not_allowed, 0);
        assert_eq!(threads::reached(&bench.generator.control, &(0..bench.space.len())), bench.space.len());
    }
}

#[test]
fn several_threads_share_the_positions_out() {
    if !may_run() {
        return;
    }
    let bench = Bench::new("10.99.0.0/24", "1-40", 3, false);
    bench.begin(100..9_000);
    let place: HashMap<Vec<u8>, u64> =
        (100..9_000).filter_map(|position| Some((bench.expected(position)?, position))).collect();
    let mut open: BTreeSet<u64> = place.values().copied().collect();
    let mut frames: Vec<Vec<u8>> = Vec::new();
    while let Some(frame) = bench.next(frames.len() * 7 % 3) {
        open.remove(&place[&frame]);
        frames.push(frame);
        let floor = threads::floor(&bench.generator.control, &(100..9_000));
        let first = open.first().copied().unwrap_or(9_000);
        assert!(floor <= first && first <= floor + 3 * program::BLOCK, "{floor} is told, {first} is next");
    }
    // Whoever still has a block finishes it.
    frames.extend((0..3).flat_map(|thread| rest(&bench, thread)));
    let mut expected: Vec<Vec<u8>> = (100..9_000).filter_map(|position| bench.expected(position)).collect();
    frames.sort_unstable();
    expected.sort_unstable();
    assert_eq!(frames, expected);
}

fn rest(bench: &Bench, thread: usize) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| bench.next(thread)).collect()
}

#[test]
fn who_has_answered_is_left_out_and_the_others_are_stamped() {
    if !may_run() {
        return;
    }
    let bench = Bench::new("10.99.0.0/26", "1-30", 1, false);
    for position in (0..bench.space.len()).filter(|position| position % 3 > 0) {
        bench.memory.answered.words[(position / 64) as usize].fetch_or(1 << (position % 64), Relaxed);
    }
    bench.begin(0..bench.space.len());
    let sent = rest(&bench, 0);
    let expected: Vec<_> =
        (0..bench.space.len()).step_by(3).filter_map(|position| bench.expected(position)).collect();
    assert_eq!(sent, expected);
    let stamps = bench.memory.sent_at.as_ref().expect("small enough").halves();
    for position in 0..bench.space.len() {
        let stamp = stamps[position as usize].load(Relaxed);
        assert_eq!(stamp & 0b11, u32::from(position % 3 == 0), "position {position}");
        assert!(stamp >> 2 < 60_000_000, "less than a minute");
    }
}

#[test]
fn only_hosts_that_were_met_are_probed_if_asked_for() {
    if !may_run() {
        return;
    }
    let bench = Bench::new("10.99.0.0/25", "1-5", 1, true);
    let hosts = bench.memory.hosts.as_ref().expect("few enough");
    hosts.words[0].store(1 << 63, Relaxed);
    hosts.words[1].store(1, Relaxed);
    bench.begin(0..bench.space.len());
    let met = |address: &[u8]| matches!(address, [10, 99, 0, 63 | 64]);
    let expected: Vec<_> = (0..bench.space.len())
        .filter_map(|position| bench.expected(position))
        .filter(|frame| met(&frame[30..34]))
        .collect();
    assert_eq!(expected.len(), 10);
    assert_eq!(rest(&bench, 0), expected);
}

#[test]
fn a_stopped_pass_tells_where_it_was() {
    if !may_run() {
        return;
    }
    let bench = Bench::new("10.99.0.1-10.99.0.251", "1-40", 2, false);
    let whole = 0..bench.space.len();
    bench.begin(whole.clone());
    let mut sent: Vec<Vec<u8>> =
        (0..400).filter_map(|turn: usize| bench.next(usize::from(turn.is_multiple_of(4)))).collect();
    bench.generator.control.set(layout::STOP, 1);
    assert_eq!((bench.next(0), bench.next(1)), (None, None));
    let reached = threads::reached(&bench.generator.control, &whole);
    assert!((1..=400).contains(&reached), "{reached}");
    bench.begin(reached..whole.end);
    sent.extend(rest(&bench, 0));
    sent.extend(rest(&bench, 1));
    sent.sort_unstable();
    sent.dedup();
    assert_eq!(sent.len() as u64, whole.end, "everything is sent in the end");
}

#[test]
fn no_more_than_is_due_leaves() {
    if !may_run() {
        return;
    }
    let bench = Bench::new("10.99.0.0/24", "1-40", 1, false);
    bench.begin(0..bench.space.len());
    bench.generator.control.set_rate(PacketsPerSecond(2_000));
    let begun = std::time::Instant::now();
    let mut sent = 0_u32;
    while begun.elapsed() < Duration::from_millis(400) {
        sent += u32::from(bench.run_once(0).is_some());
    }
    let due = begun.elapsed().as_secs_f64() * 2_000.0;
    assert!(f64::from(sent) <= due + 3.0, "{sent} sent, {due} due");
    assert!(sent > 100, "{sent} sent");
}

#[test]
fn an_address_beyond_its_range_is_stopped_at_the_gate() {
    if !may_run() {
        return;
    }
    let bench = Bench::new("10.99.0.0/30 10.99.1.0/30", "80", 1, false);
    // The second range shrinks behind the plan's back: its first and last address become one.
    let range = &bench.generator.tables.segments[4];
    range.store(range.load(Relaxed) & 0xffff_ffff | (range.load(Relaxed) & 0xffff_ffff) << 32, Relaxed);
    bench.begin(0..bench.space.len());
    assert_eq!(rest(&bench, 0).len(), 5);
    assert_eq!(bench.generator.control.counts().not_allowed, 3);
}
