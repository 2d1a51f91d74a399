//! The program against the tally: closed ports of spaces of every shape, noted where user space would note them.

use std::{net::Ipv4Addr, sync::Arc};

use crossbeam_channel::unbounded;
use etherparse::{PacketBuilder, TcpHeader};
use portreeve_model::Timestamp;

use super::*;
use crate::{
    Clock, Control, TargetSetBuilder,
    cookie::{CookieKey, SourcePorts},
    receive::{
        Common, Seen, Wanted,
        kernel::program::{self, Ingredients},
    },
    space::Target,
    sys::bpf::{Action, Program, RingBuffer},
    testing::may_use_bpf,
};

const US: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const KEY: CookieKey = CookieKey::new([3, 4]);
const PORT: u16 = 61_000;

struct Bench {
    space: ProbeSpace,
    tally: Tally,
    ledger: Ledger,
    program: Program,
    ring: RingBuffer,
    time: Stopwatch,
}

impl Bench {
    fn new(targets: &str, ports: &str, part: fn(u64) -> std::ops::Range<u64>) -> Option<Self> {
        if !may_use_bpf() {
            return None;
        }
        let targets = TargetSetBuilder::new().include(targets).and_then(TargetSetBuilder::build);
        let space = ProbeSpace::ports(targets.expect("targets"), &ports.parse().expect("ports"));
        let memory = TallyMemory::new(space.len(), space.targets().count()).expect("maps");
        let order = Permutation::new(space.len(), 5);
        let mut ledger = Ledger::new(&space, order.clone(), &memory).expect("maps").expect("few hosts");
        let common = Common {
            control: Control::new(),
            drops: Arc::default(),
            clock: Clock::new(|| Timestamp(7)),
            events: unbounded().0,
            hosts: Arc::new(Seen::in_memory(space.targets().count(), memory.hosts.as_ref())),
        };
        let wanted = Wanted { closed: false, ports: true };
        let tally = Tally::new(order, part(space.len()), wanted, common, Some(&memory));
        let time = Stopwatch::start();
        ledger.open(&space, &tally, time);
        let ring = RingBuffer::new("test_replies", 1 << 16).expect("map");
        let counts = SharedArray::new("test_counts", 1, 3).expect("map");
        let ports = SourcePorts::new(PORT, 3).expect("fits");
        let ingredients = Ingredients {
            ours: &[US.into()],
            ports,
            key: &KEY,
            ring: &ring,
            counts: &counts,
            ledger: Some(&ledger),
        };
        let program = Program::load("test_ledger", program::emit(&ingredients)).expect("the verifier agrees");
        Some(Self { space, tally, ledger, program, ring, time })
    }

    /// A reset from a target that answers an attempt; returns whether it became a record.
    fn closed(&mut self, target: &Target, attempt: u16) -> bool {
        let IpAddr::V4(address) = target.address else { return false };
        let (_, port) = target.kind.port().expect("a port");
        let mut tcp = TcpHeader::new(port, PORT + attempt, 0, 0);
        (tcp.rst, tcp.ack) = (true, true);
        tcp.acknowledgment_number =
            KEY.syn((US.into(), PORT + attempt), (address.into(), port)).wrapping_add(1);
        let builder =
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(address.octets(), US.octets(), 61).tcp_header(tcp);
        let mut frame = Vec::new();
        builder.write(&mut frame, &[]).expect("fits");
        assert_eq!(self.program.run_once(&mut frame).expect("runs"), Action::Drop as u32);
        self.ring.take_ready(|_| {}) > 0
    }

    fn meet_everyone(&self) {
        (0..self.space.targets().count()).for_each(|host| {
            self.tally.common.hosts.insert(host);
        });
    }

    fn first_answers(&self) -> u64 {
        self.tally.histories(16).first_answers.iter().sum()
    }
}

#[test]
fn closed_ports_are_noted_where_the_tally_looks_for_them() {
    for (targets, ports) in [
        ("10.1.0.0/24", "1-64"),
        ("10.1.0.3-17", "80"),
        ("10.1.0.0/29 10.2.0.7 10.3.0.0/30 10.9.9.9-10.9.9.20", "22,80,443,8000-8010,U:53,S:9"),
        ("10.1.0.0/30 fd99::/126", "22,81"),
    ] {
        let Some(mut bench) = Bench::new(targets, ports, |len| 0..len) else { return };
        bench.meet_everyone();
        let order = Permutation::new(bench.space.len(), 5);
        let mut noted = 0;
        for position in 0..bench.space.len() {
            let target = bench.tally.target(position, &bench.space).expect("in range");
            let is_tcp_v4 =
                target.address.is_ipv4() && matches!(target.kind, crate::space::ProbeKind::Tcp(_));
            if !is_tcp_v4 || position % 3 == 0 {
                continue;
            }
            assert!(!bench.closed(&target, (position % 3) as u16), "{target:?} became a record");
            noted += 1;
            assert!(bench.tally.answered.contains(position), "{target:?} is not noted");
            assert_eq!(order.position_of(target.index), Some(position));
        }
        bench.ledger.count(&bench.tally);
        let told = bench.tally.histories(3).first_answers;
        assert_eq!((told[0], told[1] + told[2]), (0, noted), "{targets} {ports}");
        let bits: u64 = bench.tally.answered.take_changed().iter().map(|page| page.count_from(0)).sum();
        assert_eq!((bits, bench.tally.answered()), (noted, noted), "{targets} {ports}");
        assert_eq!(bench.tally.common.control.progress().received, noted);
    }
}

#[test]
fn an_answer_counts_once() {
    let Some(mut bench) = Bench::new("10.1.0.0/30", "80,90", |len| 0..len) else { return };
    bench.meet_everyone();
    let target = bench.tally.target(2, &bench.space).expect("in range");
    for attempt in [1, 1, 0] {
        assert!(!bench.closed(&target, attempt));
    }
    bench.ledger.count(&bench.tally);
    bench.ledger.count(&bench.tally);
    assert_eq!(bench.tally.histories(3).first_answers[..3], [0, 1, 0]);
    assert_eq!(bench.tally.common.drops.counts(), [("duplicate", 2)]);
    assert_eq!(bench.tally.common.control.progress().received, 3);
}

#[test]
fn a_host_that_was_not_met_is_left_to_user_space() {
    let Some(mut bench) = Bench::new("10.1.0.0/30", "80,90", |len| 0..len) else { return };
    let target = bench.tally.target(1, &bench.space).expect("in range");
    assert!(bench.closed(&target, 0));
    bench.tally.common.hosts.insert(target.host);
    assert!(!bench.closed(&target, 0));
    bench.ledger.count(&bench.tally);
    assert_eq!(bench.first_answers(), 1);
}

#[test]
fn what_is_not_asked_becomes_a_record_and_what_is_of_another_stretch_is_late() {
    let Some(mut bench) = Bench::new("10.1.0.0/28 10.2.0.0/28", "80,90", |len| len / 2..len) else { return };
    bench.meet_everyone();
    let target = |bench: &Bench, position| bench.tally.target(position, &bench.space).expect("in range");
    let (early, within) = (target(&bench, 0), target(&bench, bench.space.len() / 2));
    assert!(!bench.closed(&early, 0) && !bench.closed(&within, 0));
    bench.ledger.count(&bench.tally);
    assert_eq!((bench.first_answers(), bench.tally.common.drops.counts()), (1, vec![("late", 1)]));
    for kind in [crate::space::ProbeKind::Tcp(85), crate::space::ProbeKind::Tcp(9000)] {
        assert!(bench.closed(&Target { kind, ..within }, 0));
    }
    for stranger in [[10, 0, 255, 255], [10, 1, 0, 16], [10, 3, 0, 0]] {
        assert!(bench.closed(&Target { address: IpAddr::from(stranger), ..within }, 0));
    }
}

#[test]
fn nothing_is_noted_for_a_tally_that_is_closed_or_of_other_probes() {
    let Some(mut bench) = Bench::new("10.1.0.0/30", "80,90", |len| 0..len) else { return };
    bench.meet_everyone();
    let target = bench.tally.target(0, &bench.space).expect("in range");
    bench.ledger.close(&bench.tally);
    assert!(bench.closed(&target, 0));
    let other = ProbeSpace::ports(bench.space.targets().clone(), &"80,91".parse().expect("ports"));
    bench.ledger.open(&other, &bench.tally, bench.time);
    assert!(bench.closed(&target, 0));
    assert!(!bench.tally.answered.contains(0));
}

#[test]
fn the_longest_time_is_kept() {
    let Some(mut bench) = Bench::new("10.1.0.0/30", "80,90", |len| 0..len) else { return };
    bench.meet_everyone();
    let sent_us = bench.time.elapsed().as_micros() as u64;
    for (position, attempt) in [(0, 1), (1, 1)] {
        bench.tally.stamp(position, attempt, sent_us);
    }
    thread::sleep(Duration::from_millis(20));
    let target = |bench: &Bench, position| bench.tally.target(position, &bench.space).expect("in range");
    // An answer to an attempt before the last has no time.
    let (timed, untimed) = (target(&bench, 0), target(&bench, 1));
    bench.closed(&untimed, 0);
    bench.ledger.count(&bench.tally);
    assert_eq!(bench.tally.slowest_answer(), None);
    bench.closed(&timed, 1);
    bench.ledger.count(&bench.tally);
    let slowest = bench.tally.slowest_answer().expect("timed");
    assert!(slowest >= Duration::from_millis(20) && slowest <= bench.time.elapsed(), "{slowest:?}");
}
