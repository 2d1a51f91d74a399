//! The programs against the code that the other backends send with: position by position, byte by byte. The kernel
//! runs them once over one frame at a time here, and nothing is sent.

use std::{
    collections::{BTreeSet, HashMap},
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::Ordering::Relaxed,
};

use portreeve_model::MacAddress;
use portreeve_wire::ethernet;
use proptest::prelude::*;

use super::{frame::Family, *};
use crate::{
    HostProbes, PortSet, TargetSetBuilder, UdpPayloads,
    cookie::{CookieKey, SourcePorts},
    network::Paths,
    probe::{Emitter, Payloads},
    space::ProbeKind,
    sys::bpf::Action,
    testing::may_use_bpf,
};

const KEY: CookieKey = CookieKey::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
const OURS: ethernet::Address = ethernet::Address([2, 0, 0, 0, 0, 1]);
const GATEWAY: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 99, 200, 1);
/// Every word of it matters to a checksum.
const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0x8001, 0x7fff, 0xabcd, 0x0102, 0xf00d, 0xbeef, 0x3001);

fn gateway(source: IpAddr) -> Way {
    let next = NextHop::Gateway { hardware: OURS, address: source, mac: Some(GATEWAY) };
    Way { device: 0, source, next, vlan: None }
}

fn on_link(source: IpAddr) -> Way {
    Way { device: 0, source, next: NextHop::OnLink { hardware: OURS }, vlan: None }
}

/// The number of the way to an address.
fn way_to(address: IpAddr) -> Option<usize> {
    match address {
        IpAddr::V4(address) => match address.octets() {
            [10, 97, ..] => None,
            [10, 98, ..] => Some(1),
            _ => Some(0),
        },
        IpAddr::V6(address) => match address.segments() {
            [0xfd97, ..] => None,
            [0xfd98, ..] => Some(3),
            _ => Some(2),
        },
    }
}

fn is_on_link(way: usize) -> bool {
    way % 2 == 1
}

/// A scan whose targets go through gateways, but for those of 10.98.0.0/16 and fd98::/16, which are on the link, and
/// 10.97.0.0/16 and fd97::/16, which nobody carries.
struct Bench {
    ways: Vec<Way>,
    order: Permutation,
    machine: Machine,
    payloads: Payloads,
    attempt: u8,
}

/// Any attempt but the first.
const ATTEMPT: u8 = 5;

fn source_ports() -> SourcePorts {
    SourcePorts::new(61_000, 16).expect("fits")
}

fn targets(text: &str) -> crate::TargetSet {
    TargetSetBuilder::new().include(text).and_then(TargetSetBuilder::build).expect("targets")
}

impl Bench {
    fn new(include: &str, ports: &str, threads: u32, met_hosts: bool) -> Self {
        let purpose = Purpose::Ports { ping: met_hosts };
        let space = ProbeSpace::ports(targets(include), &ports.parse().expect("ports"));
        Self::load(purpose, space, Payloads::default(), threads)
    }

    fn load(purpose: Purpose, space: ProbeSpace, payloads: Payloads, threads: u32) -> Self {
        let ways = vec![
            gateway(SOURCE.into()),
            on_link(Ipv4Addr::new(10, 98, 0, 1).into()),
            gateway(SOURCE_V6.into()),
            on_link(Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 0, 1).into()),
        ];
        let plan = plan(&space, &payloads);
        let used: Vec<&Way> = plan.ways.iter().map(|&way| &ways[way]).collect();
        let memory = TallyMemory::new(space.len(), space.targets().count()).expect("maps");
        let order = Permutation::new(space.len(), 11);
        let paths = Paths::default();
        let facts =
            Facts { paths: &paths, payloads: &payloads, key: &KEY, ports: source_ports(), carried: &[] };
        let device = DeviceMap::new("test_device", &[1]).expect("map");
        let draft = Draft { purpose, space, plan };
        let machine = Machine::assemble(draft, memory, &order, &facts, &device, threads);
        let machine = machine.expect("the verifier agrees");
        for (place, way) in used.iter().enumerate() {
            machine.control.write_way(place as u32, way, &KEY).expect("Ethernet");
        }
        Self { ways, order, machine, payloads, attempt: ATTEMPT }
    }

    /// How many positions there are.
    fn len(&self) -> u64 {
        self.machine.space.len()
    }

    fn begin(&self, positions: Range<u64>) {
        let setting = Setting {
            stretch_start: 0,
            source_port: source_ports().port(self.attempt),
            attempt: self.attempt,
            elapsed: Duration::ZERO,
            rate: PacketsPerSecond(u32::MAX),
        };
        self.machine.control.begin(&positions, &setting);
    }

    /// What the other backends would send for a position.
    fn expected(&self, position: u64) -> Option<Vec<u8>> {
        let target = self.machine.space.target(self.order.at(position)?)?;
        if matches!(target.kind, ProbeKind::Sctp(_)) {
            return None;
        }
        let number = way_to(target.address)?;
        let mac = if is_on_link(number) { Some(neighbor(target.address)?) } else { None };
        let way = &self.ways[number];
        let mut frame = [0; MAX_FRAME_BYTES];
        let emitter = Emitter::new(way.link(), way.source, &self.payloads);
        let length = emitter.emit(&mut frame, &target, self.attempt, &KEY, source_ports())?;
        if let Some(mac) = mac {
            ethernet::set_destination(&mut frame, ethernet::Address(mac.0));
        }
        Some(frame[..length].to_vec())
    }

    /// Runs the first thread's program over this frame until it sends it, and tells whether it is described anew.
    fn next_in(&self, frame: &[u8]) -> Option<(Vec<u8>, bool)> {
        (0..2_000).find_map(|_| {
            let mut out = frame.to_vec();
            let action = self.machine.gang.program(0).run_once(&mut out).expect("runs");
            let is_new = out.len() > frame.len();
            (action == Action::Redirect as u32).then(|| (behind_metadata(out, frame.len()), is_new))
        })
    }

    /// Runs a thread's program until it sends a frame; `None` when it has found nothing many times in a row.
    fn next(&self, thread: usize) -> Option<Vec<u8>> {
        (0..2_000).find_map(|_| self.run_once(thread))
    }

    fn run_once(&self, thread: usize) -> Option<Vec<u8>> {
        // What was in the frame before must not matter.
        let blank = self.machine.gang.frame();
        let mut frame = vec![0xee; blank.len()];
        let action = self.machine.gang.program(thread).run_once(&mut frame).expect("runs");
        (action == Action::Redirect as u32).then(|| behind_metadata(frame, blank.len()))
    }
}

/// A frame that began with so many bytes: where the kernel was to describe it anew, metadata is in front of it.
fn behind_metadata(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    let at = if frame.len() > length { program::METADATA as usize } else { 0 };
    frame.split_off(at)
}

/// Every second host on the link has answered.
fn neighbor(address: IpAddr) -> Option<MacAddress> {
    let number = match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    };
    let [_, _, c, d] = number.to_be_bytes();
    (d % 2 == 0).then_some(MacAddress([2, 9, 9, 9, c, d]))
}

fn plan(space: &ProbeSpace, payloads: &Payloads) -> Plan {
    let targets = space.targets();
    let mut plan = Plan::of_space(space, payloads);
    for (first, last) in targets.ranges() {
        let number = way_to(first).filter(|_| {
            let family = Family::of(first);
            plan.moulds.iter().any(|&mould| family.has(mould))
        });
        let way = number.map(|number| {
            let known = plan.ways.iter().position(|&way| way == number);
            known.unwrap_or_else(|| {
                plan.ways.push(number);
                plan.ways.len() - 1
            }) as u16
        });
        let start = targets.index_of(first).expect("of the set");
        plan.add(start, (first, last), way, number.is_some_and(is_on_link));
    }
    plan.trim();
    plan
}

fn tell_neighbors(bench: &Bench) {
    let Some(neighbors) = &bench.machine.tables.neighbors else { return };
    for (host, address) in bench.machine.space.targets().iter().enumerate() {
        if let Some(mac) = neighbor(address) {
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

/// A list of addresses here and there, as hitlists are.
fn scattered_v6() -> String {
    let one = |n: u128| {
        let network = 0xfd99_u128 << 112 | (n / 3) << 64;
        Ipv6Addr::from_bits(network | n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & u128::from(u64::MAX))
            .to_string()
    };
    (0..200).map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn order_and_frames_are_those_of_the_other_backends() {
    if !may_use_bpf() {
        return;
    }
    let mixed = "10.97.0.7 10.98.0.0-10.98.0.40 10.99.0.0/28 10.99.4.8-10.99.4.9 fd99::/124";
    let everything = format!("{} {mixed} {}", scattered(), scattered_v6());
    for (targets, ports) in [
        ("10.99.0.0/24", "80-83"),
        ("10.99.0.1-10.99.0.251", "22,80,443"),
        ("10.99.0.1", "7"),
        (mixed, "22,80,U:53,443,8000-8002"),
        ("10.98.0.0/26", "1-9"),
        (everything.as_str(), "25,1000-1002"),
        ("fd99::/120", "80-83"),
        ("fd99::1:fff0-fd99::2:f", "22,80,443"),
        // The lower half of the address runs over.
        ("fd99::ffff:ffff:ffff:fff0-fd99:0:0:1::f", "22,80,443"),
        ("fd99:1:2:3:4:5:6:7", "7"),
        ("fd98::/122", "1-9"),
        ("fd97::/124 fd99::/124 fd99:0:0:1::/125", "443,U:53"),
        ("10.97.0.0/24 fd99::/124", "443"),
        ("10.97.0.0/24 fd97::1 fd98::/124 fd99::/124", "443,8000"),
        ("10.99.0.0/25 fd97::/122", "443,80"),
        ("10.98.0.8/29 10.99.0.0/28 fd97::/125 fd98::/125 fd99::/125", "22,80,U:53,443,8000-8002"),
    ] {
        agrees(&Bench::new(targets, ports, 1, false));
    }
}

/// Holds every frame of a scan against those of the other backends.
fn agrees(bench: &Bench) {
    tell_neighbors(bench);
    bench.begin(0..bench.len());
    let space = &bench.machine.space;
    let about = || format!("{:?}, {} addresses", space.kinds(), space.targets().count());
    let mut sent = 0;
    for position in 0..bench.len() {
        if let Some(expected) = bench.expected(position) {
            assert_eq!(bench.next(0), Some(expected), "{}: position {position}", about());
            sent += 1;
        }
    }
    assert_eq!(bench.next(0), None, "{}", about());
    assert_eq!(bench.machine.control.counts().sent, sent);
    assert_eq!(bench.machine.control.counts().not_allowed, 0);
    assert_eq!(threads::reached(&bench.machine.control, &(0..bench.len())), bench.len());
}

fn host_bench(include: &str, probes: &str) -> Bench {
    let probes: HostProbes = probes.parse().expect("probes");
    let space = ProbeSpace::discovery(targets(include), &probes);
    Bench::load(Purpose::Hosts, space, Payloads::default(), 1)
}

fn payloads(ports: &PortSet, payload: impl Fn(u16) -> Option<Vec<u8>> + Send + Sync + 'static) -> Payloads {
    Payloads::collect(ports, &UdpPayloads::new(move |port| payload(port).map(Into::into)))
}

fn udp_bench(
    include: &str,
    ports: &str,
    payload: impl Fn(u16) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Bench {
    let ports: PortSet = ports.parse().expect("ports");
    let space = ProbeSpace::ports(targets(include), &ports);
    Bench::load(Purpose::Ports { ping: false }, space, payloads(&ports, payload), 1)
}

#[test]
fn probes_for_hosts_are_those_of_the_other_backends() {
    if !may_use_bpf() {
        return;
    }
    let mixed = "10.97.0.7 10.98.0.0-10.98.0.40 10.99.0.0/26 fd97::/126 fd98::/124 fd99::/124";
    for probes in [
        "icmp",
        "timestamp",
        "tcp-ack:80",
        "udp:53",
        "icmp,timestamp,tcp:22+443,tcp-ack:80+81,udp:53,sctp:2905",
    ] {
        agrees(&host_bench("10.99.0.0/25", probes));
        if probes != "timestamp" {
            agrees(&host_bench("fd99::/122", probes));
        }
        agrees(&host_bench(mixed, probes));
    }
    // The lowest bits of a sequence number tell the attempt, all sixteen of them.
    for attempt in 0..16 {
        let mut bench = host_bench("10.99.0.0/29 fd99::/125", "icmp,timestamp");
        bench.attempt = attempt;
        agrees(&bench);
    }
}

#[test]
fn datagrams_are_those_of_the_other_backends() {
    if !may_use_bpf() {
        return;
    }
    // Of every length modulo 8, none at all, and as long as they get.
    for addresses in ["10.99.0.0/27", "fd99::/123", "10.99.0.0/30 fd99::/126"] {
        agrees(&udp_bench(addresses, "U:1-40,U:50,T:80", |port| match port {
            1..=20 => Some(vec![0xa5; usize::from(port)]),
            21 => Some(vec![0xff; UdpPayloads::MAX_BYTES]),
            22 => Some(vec![0; 300]),
            _ => None,
        }));
    }
    agrees(&udp_bench("10.99.0.0/26 10.98.0.0/27 fd98::/124 fd99::/124", "U:53", |_| {
        Some(b"one question".to_vec())
    }));
    agrees(&udp_bench("10.99.0.0/26", "U:1000-1040", |_| None));
    agrees(&udp_bench("10.99.0.0/28", "22,U:53,S:2905,U:161", |port| {
        (port == 161).then(|| b"snmp".to_vec())
    }));
}

/// A checksum that comes out as 0 is sent as ffff hex (RFC 768, RFC 8200 8.1).
#[test]
fn a_checksum_of_zero_is_never_sent() {
    if !may_use_bpf() {
        return;
    }
    for (address, source, checksum) in [("10.99.0.1", SOURCE.into(), 40), ("fd99::1", SOURCE_V6.into(), 60)] {
        let sum_with = |payload: [u8; 2]| {
            let ports: PortSet = "U:53".parse().expect("ports");
            let payloads = payloads(&ports, move |_| Some(payload.to_vec()));
            let emitter = Emitter::new(gateway(source).link(), source, &payloads);
            let space = ProbeSpace::ports(targets(address), &ports);
            let mut frame = [0; MAX_FRAME_BYTES];
            let target = space.target(0).expect("one");
            emitter.emit(&mut frame, &target, ATTEMPT, &KEY, source_ports()).expect("fits");
            [frame[checksum], frame[checksum + 1]]
        };
        // What is missing in the sum is its complement.
        let missing = sum_with([0, 0]);
        assert_eq!(sum_with(missing), [0xff, 0xff]);
        agrees(&udp_bench(address, "U:53", move |_| Some(missing.to_vec())));
    }
}

/// More payloads than a program has room for: the others go another way.
#[test]
fn what_has_no_room_in_a_program_is_left_to_others() {
    if !may_use_bpf() {
        return;
    }
    let ports: PortSet = "U:1-400".parse().expect("ports");
    for addresses in ["10.99.0.0/30", "fd99::/126", "10.99.0.0/31 fd99::/127"] {
        let all = payloads(&ports, |port| Some(vec![port as u8; 400 + usize::from(port)]));
        let space = ProbeSpace::ports(targets(addresses), &ports);
        let bench = Bench::load(Purpose::Ports { ping: false }, space, all, 1);
        let (plan, space) = (&bench.machine.plan, &bench.machine.space);
        let carried =
            |position| space.target(bench.order.at(position)?).filter(|target| plan.carries(target));
        let taken = (0..bench.len()).filter_map(carried).count() as u64;
        assert!(!plan.is_whole() && (100..1_200).contains(&taken), "{taken} of {}", bench.len());
        bench.begin(0..bench.len());
        for position in 0..bench.len() {
            if carried(position).is_some() {
                assert_eq!(bench.next(0), bench.expected(position), "position {position}");
            }
        }
        assert_eq!(bench.next(0), None);
    }
}

#[test]
fn hosts_that_were_met_are_not_looked_for_again() {
    if !may_use_bpf() {
        return;
    }
    let bench = host_bench("10.99.0.0/25", "icmp,tcp:80");
    let hosts = bench.machine.memory.hosts.as_ref().expect("few enough");
    hosts.words[0].store(1 << 63, Relaxed);
    hosts.words[1].store(1, Relaxed);
    bench.begin(0..bench.len());
    let met = |address: &[u8]| matches!(address, [10, 99, 0, 63 | 64]);
    let expected: Vec<_> = (0..bench.len())
        .filter_map(|position| bench.expected(position))
        .filter(|frame| !met(&frame[30..34]))
        .collect();
    assert_eq!(expected.len(), 252);
    assert_eq!(rest(&bench, 0), expected);
}

/// Up to 30 addresses of either family, in one of five networks.
fn any_range() -> impl Strategy<Value = String> {
    let range = |(is_v6, network, place, length): (bool, u8, u64, u8)| {
        let (place, length) = (u128::from(place), u128::from(length));
        let address = |number: u128| -> IpAddr {
            if is_v6 {
                Ipv6Addr::from_bits(((0xfd96 + u128::from(network)) << 112) + number).into()
            } else {
                Ipv4Addr::from_bits((0x0a60_0000 + (u32::from(network) << 16)) + number as u32).into()
            }
        };
        let place = if is_v6 { place } else { place % 0xff00 };
        format!("{}-{}", address(place), address(place + length))
    };
    // Now and then the lower half of an address runs over.
    let place = prop_oneof![any::<u64>(), u64::MAX - 20..=u64::MAX];
    (any::<bool>(), 0_u8..5, place, 0_u8..30).prop_map(range)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_scan_is_sent_as_by_the_other_backends(
        ranges in prop::collection::vec(any_range(), 1..6),
        tcp in prop::collection::btree_set(any::<u16>(), 0..6),
        run in prop::option::of((1_u16..60_000, 1_u16..20)),
        udp in prop::collection::btree_map(1_u16..u16::MAX, prop::collection::vec(any::<u8>(), 0..600), 0..8),
        sctp in prop::collection::btree_set(any::<u16>(), 0..2),
        looks_for_hosts in prop::option::weighted(0.3, 0_usize..4),
        attempt in 0_u8..16,
    ) {
        if !may_use_bpf() {
            return Ok(());
        }
        let targets = targets(&ranges.join(" "));
        let ports = tcp.iter().map(ToString::to_string);
        let ports = ports.chain(run.map(|(first, length)| format!("{first}-{}", first + length)));
        let ports = ports.chain(udp.keys().map(|port| format!("U:{port}")));
        let ports: Vec<String> = ports.chain(sctp.iter().map(|port| format!("S:{port}"))).collect();
        let ports: PortSet = ports.join(",").parse().expect("ports");
        let payloads = payloads(&ports, move |port| udp.get(&port).cloned());
        let (purpose, space) = match looks_for_hosts {
            Some(which) => {
                let probes = ["icmp", "icmp,timestamp,udp:9", "tcp-ack:80,tcp:443", "sctp:1,icmp"][which];
                (Purpose::Hosts, ProbeSpace::discovery(targets, &probes.parse().expect("probes")))
            }
            None => (Purpose::Ports { ping: false }, ProbeSpace::ports(targets, &ports)),
        };
        let plan = plan(&space, &payloads);
        prop_assume!(!plan.is_empty());
        let mut bench = Bench::load(purpose, space, payloads, 1);
        bench.attempt = attempt;
        agrees(&bench);
    }
}

#[test]
fn frames_of_one_length_are_described_anew_only_if_somebody_had_them() {
    if !may_use_bpf() {
        return;
    }
    let bench = Bench::new("10.99.0.0/28", "80-90", 1, false);
    bench.begin(0..bench.len());
    let expected = |position| bench.expected(position).expect("carried");
    let (mut frame, is_new) = bench.next_in(&[0; 74]).expect("sent");
    assert_eq!((&frame, is_new), (&expected(0), true), "a frame that the kernel has just made");
    for position in 1..20 {
        let (next, is_new) = bench.next_in(&frame).expect("sent");
        assert_eq!((&next, is_new), (&expected(position), false), "as we left it");
        frame = next;
    }
    // Whoever sends it back swaps the addresses, whoever answers the ports, too.
    for (position, (one, other, bytes)) in (20..).zip([(0, 6, 6), (34, 36, 2)]) {
        let mut returned = frame.clone();
        returned[one..one + bytes].copy_from_slice(&frame[other..other + bytes]);
        returned[other..other + bytes].copy_from_slice(&frame[one..one + bytes]);
        let (next, is_new) = bench.next_in(&returned).expect("sent");
        assert_eq!((&next, is_new), (&expected(position), true), "from {one}");
        frame = next;
    }
    // Nothing of what else was in it is left.
    let mut scribbled: Vec<u8> = frame.iter().map(|byte| !byte).collect();
    scribbled[8..12].copy_from_slice(&frame[8..12]);
    scribbled[34..36].copy_from_slice(&frame[34..36]);
    assert_eq!(bench.next_in(&scribbled), Some((expected(22), false)));
}

#[test]
fn several_threads_share_the_positions_out() {
    if !may_use_bpf() {
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
        let floor = threads::floor(&bench.machine.control, &(100..9_000));
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
    if !may_use_bpf() {
        return;
    }
    let bench = Bench::new("10.99.0.0/26", "1-30", 1, false);
    for position in (0..bench.len()).filter(|position| position % 3 > 0) {
        bench.machine.memory.answered.words[(position / 64) as usize].fetch_or(1 << (position % 64), Relaxed);
    }
    bench.begin(0..bench.len());
    let sent = rest(&bench, 0);
    let expected: Vec<_> =
        (0..bench.len()).step_by(3).filter_map(|position| bench.expected(position)).collect();
    assert_eq!(sent, expected);
    let stamps = bench.machine.memory.sent_at.as_ref().expect("small enough").halves();
    for position in 0..bench.len() {
        let stamp = stamps[position as usize].load(Relaxed);
        assert_eq!(stamp & 0b11, u32::from(position % 3 == 0), "position {position}");
        assert!(stamp >> 2 < 60_000_000, "less than a minute");
    }
}

#[test]
fn only_hosts_that_were_met_are_probed_if_asked_for() {
    if !may_use_bpf() {
        return;
    }
    let bench = Bench::new("10.99.0.0/25", "1-5", 1, true);
    let hosts = bench.machine.memory.hosts.as_ref().expect("few enough");
    hosts.words[0].store(1 << 63, Relaxed);
    hosts.words[1].store(1, Relaxed);
    bench.begin(0..bench.len());
    let met = |address: &[u8]| matches!(address, [10, 99, 0, 63 | 64]);
    let expected: Vec<_> = (0..bench.len())
        .filter_map(|position| bench.expected(position))
        .filter(|frame| met(&frame[30..34]))
        .collect();
    assert_eq!(expected.len(), 10);
    assert_eq!(rest(&bench, 0), expected);
}

#[test]
fn a_stopped_pass_tells_where_it_was() {
    if !may_use_bpf() {
        return;
    }
    let bench = Bench::new("10.99.0.1-10.99.0.251", "1-40", 2, false);
    let whole = 0..bench.len();
    bench.begin(whole.clone());
    let mut sent: Vec<Vec<u8>> =
        (0..400).filter_map(|turn: usize| bench.next(usize::from(turn.is_multiple_of(4)))).collect();
    let control = &bench.machine.control;
    control.hold();
    assert_eq!((bench.next(0), bench.next(1)), (None, None), "held back");
    control.pause();
    assert_eq!((bench.next(0), bench.next(1)), (None, None), "for longer");
    control.go_on();
    sent.extend(bench.next(0));
    assert_eq!(sent.len(), 401, "goes on");
    control.stop();
    control.go_on();
    assert_eq!((bench.next(0), bench.next(1)), (None, None), "stopped for good");
    let reached = threads::reached(control, &whole);
    assert!((1..=401).contains(&reached), "{reached}");
    bench.begin(reached..whole.end);
    sent.extend(rest(&bench, 0));
    sent.extend(rest(&bench, 1));
    sent.sort_unstable();
    sent.dedup();
    assert_eq!(sent.len() as u64, whole.end, "everything is sent in the end");
}

#[test]
fn no_more_than_is_due_leaves() {
    if !may_use_bpf() {
        return;
    }
    let bench = Bench::new("10.99.0.0/24", "1-40", 1, false);
    bench.begin(0..bench.len());
    bench.machine.control.set_rate(PacketsPerSecond(2_000));
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
fn nothing_is_due_before_the_first_run() {
    if !may_use_bpf() {
        return;
    }
    let bench = Bench::new("10.99.0.0/24", "1-40", 1, false);
    bench.begin(0..bench.len());
    bench.machine.control.set_rate(PacketsPerSecond(1_000));
    std::thread::sleep(Duration::from_millis(40));
    assert_eq!(bench.run_once(0), None, "the time before it does not count");
    std::thread::sleep(Duration::from_millis(40));
    assert!(bench.run_once(0).is_some(), "what passed since is made up for");
}

#[test]
fn an_address_beyond_its_range_is_stopped_at_the_gate() {
    if !may_use_bpf() {
        return;
    }
    for ranges in ["10.99.0.0/30 10.99.1.0/30", "fd99::/126 fd99:0:0:1::/126"] {
        let bench = Bench::new(ranges, "80", 1, false);
        // The second range shrinks behind the plan's back: its first and last address become one.
        let second = &bench.machine.tables.segments[tables::segment::WORDS as usize..];
        let word = |offset: i16| &second[offset as usize / 8];
        word(tables::segment::LAST).store(word(tables::segment::FIRST).load(Relaxed), Relaxed);
        bench.begin(0..bench.len());
        assert_eq!(rest(&bench, 0).len(), 5);
        assert_eq!(bench.machine.control.counts().not_allowed, 3);
    }
}
