//! The program against the classifier: the kernel runs it over packets of every sort, one at a time.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{PacketBuilder, TcpHeader};

use super::*;
use crate::{sys::bpf::Action, testing::may_use_bpf};

const US: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const THEM: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 7);
const KEY: CookieKey = CookieKey::new([3, 4]);
const PORT: u16 = 61_000;

struct Bench {
    program: Program,
    ring: RingBuffer,
    counts: SharedArray,
}

impl Bench {
    fn new() -> Option<Self> {
        Self::with(&[Ipv4Addr::new(10, 99, 5, 5).into(), US.into()])
    }

    fn with(ours: &[IpAddr]) -> Option<Self> {
        if !may_use_bpf() {
            return None;
        }
        let ring = RingBuffer::new("test_replies", 1 << 16).expect("map");
        let counts = SharedArray::new("test_counts", 1, 3).expect("map");
        let ports = SourcePorts::new(PORT, 2).expect("fits");
        let ingredients = Ingredients { ours, ports, key: &KEY, ring: &ring, counts: &counts, ledger: None };
        let program =
            Program::load("test_receive", program::emit(&ingredients)).expect("the verifier agrees");
        Some(Self { program, ring, counts })
    }

    /// What becomes of a frame, the packet in its record, and the frame afterwards.
    fn run(&mut self, frame: &[u8]) -> (u32, Vec<Vec<u8>>, Vec<u8>) {
        let mut frame = frame.to_vec();
        let action = self.program.run_once(&mut frame).expect("runs");
        let mut records = Vec::new();
        self.ring.take_ready(|record| records.push(record[8..].to_vec()));
        (action, records, frame)
    }

    fn counted(&self) -> [u64; 3] {
        [0, 1, 2].map(|place: usize| self.counts[place].load(Relaxed))
    }
}

fn cookie(attempt: u16) -> u32 {
    KEY.syn((US.into(), PORT + attempt), (THEM.into(), 80))
}

fn frame(to: Ipv4Addr, port: u16, change: impl FnOnce(&mut TcpHeader)) -> Vec<u8> {
    let mut tcp = TcpHeader::new(80, port, 77, 64_240);
    change(&mut tcp);
    let builder =
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(THEM.octets(), to.octets(), 61).tcp_header(tcp);
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).expect("fits");
    frame.resize(frame.len().max(60), 0);
    frame
}

fn syn_ack(tcp: &mut TcpHeader) {
    (tcp.syn, tcp.ack, tcp.acknowledgment_number) = (true, true, cookie(0).wrapping_add(1));
    tcp.set_options_raw(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7]).expect("fits");
}

fn reset(tcp: &mut TcpHeader) {
    (tcp.rst, tcp.ack, tcp.acknowledgment_number) = (true, true, cookie(0).wrapping_add(1));
}

#[test]
fn answers_become_records() {
    let Some(mut bench) = Bench::new() else { return };
    let closed = frame(US, PORT, reset);
    let (action, records, _) = bench.run(&closed);
    assert_eq!((action, records), (Action::Drop as u32, vec![closed[14..54].to_vec()]));
    let open = frame(US, PORT, syn_ack);
    let (action, records, _) = bench.run(&open);
    assert_eq!(action, Action::Drop as u32);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0][..60], open[14..74]);
    assert_eq!(bench.counted(), [0; 3]);
}

#[test]
fn resets_of_acknowledgements_become_records() {
    let Some(mut bench) = Bench::new() else { return };
    let bare = |sequence| frame(US, PORT, move |tcp| (tcp.rst, tcp.sequence_number) = (true, sequence));
    let answer = bare(cookie(0));
    let (action, records, _) = bench.run(&answer);
    assert_eq!((action, records), (Action::Drop as u32, vec![answer[14..54].to_vec()]));
    for forged in [bare(cookie(0).wrapping_add(1)), bare(0)] {
        let (action, records, _) = bench.run(&forged);
        assert_eq!((action, records.len()), (Action::Drop as u32, 0));
    }
    assert_eq!(bench.counted(), [0, 0, 2]);
}

#[test]
fn options_of_any_length_are_kept() {
    let Some(mut bench) = Bench::new() else { return };
    for options in [&[][..], &[2, 4, 5, 0xb4][..], &[1; 40][..]] {
        let open = frame(US, PORT, |tcp| {
            syn_ack(tcp);
            tcp.set_options_raw(options).expect("fits");
        });
        let (action, records, after) = bench.run(&open);
        assert_eq!((action, after), (Action::Drop as u32, open.clone()));
        assert_eq!(records[0][..40 + options.len()], open[14..54 + options.len()]);
    }
}

#[test]
fn what_pretends_to_answer_is_counted_and_dropped() {
    let Some(mut bench) = Bench::new() else { return };
    let forged = |change: fn(&mut TcpHeader)| {
        move |tcp: &mut TcpHeader| {
            syn_ack(tcp);
            change(tcp);
        }
    };
    let wrong = [
        frame(US, PORT, forged(|tcp| tcp.acknowledgment_number ^= 1)),
        frame(US, PORT, forged(|tcp| tcp.source_port = 81)),
        frame(US, PORT + 1, syn_ack),
        frame(US, PORT, |tcp| tcp.rst = true),
    ];
    for frame in &wrong {
        let (action, records, _) = bench.run(frame);
        assert_eq!((action, records.len()), (Action::Drop as u32, 0));
    }
    assert_eq!(bench.counted(), [0, 0, 4]);
    for change in [|tcp: &mut TcpHeader| tcp.syn = true, |tcp: &mut TcpHeader| tcp.ack = true] {
        let (action, records, _) = bench.run(&frame(US, PORT, change));
        assert_eq!((action, records.len()), (Action::Drop as u32, 0));
    }
    assert_eq!(bench.counted(), [0, 2, 4]);
}

#[test]
fn other_traffic_is_left_alone() {
    let Some(mut bench) = Bench::new() else { return };
    let mut fragment = frame(US, PORT, syn_ack);
    fragment[20] = 0x20;
    let mut options = frame(US, PORT, syn_ack);
    options[14] = 0x46;
    let mut tagged = frame(US, PORT, syn_ack);
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    let mut long = frame(US, PORT, syn_ack);
    long[16..18].copy_from_slice(&[0, 81]);
    long.resize(200, 0);
    let mut cut = frame(US, PORT, syn_ack);
    cut[17] = 80;
    let udp = {
        let mut frame = Vec::new();
        let builder =
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(THEM.octets(), US.octets(), 61).udp(53, PORT);
        builder.write(&mut frame, &[0; 30]).expect("fits");
        frame
    };
    let mut short = frame(US, PORT, reset);
    short.truncate(50);
    for other in [
        frame(Ipv4Addr::new(10, 99, 0, 2), PORT, syn_ack),
        frame(US, PORT - 1, syn_ack),
        frame(US, PORT + 2, syn_ack),
        fragment,
        options,
        tagged,
        long,
        cut,
        udp,
        short,
    ] {
        let (action, records, after) = bench.run(&other);
        assert_eq!((action, records.len()), (Action::Pass as u32, 0), "{other:02x?}");
        assert_eq!(after, other);
    }
    assert_eq!(bench.counted(), [0; 3]);
}

const US_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 1, 2, 3, 4, 5, 6, 0xfff7);
const THEM_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0x8001, 0, 0xffff, 0, 0, 0, 7);

fn frame_v6(to: Ipv6Addr, port: u16, change: impl FnOnce(&mut TcpHeader)) -> Vec<u8> {
    let mut tcp = TcpHeader::new(80, port, 77, 64_240);
    let cookie = KEY.syn((US_V6.into(), PORT), (THEM_V6.into(), 80));
    (tcp.ack, tcp.acknowledgment_number) = (true, cookie.wrapping_add(1));
    change(&mut tcp);
    let builder =
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(THEM_V6.octets(), to.octets(), 61).tcp_header(tcp);
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).expect("fits");
    frame
}

#[test]
fn ipv6_is_judged_as_ipv4_is() {
    let open = |tcp: &mut TcpHeader| {
        tcp.syn = true;
        tcp.set_options_raw(&[2, 4, 5, 0xa0, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7]).expect("fits");
    };
    let other_of_ours = Ipv6Addr::from_bits(US_V6.to_bits() ^ 1 << 64);
    let (us, them): (IpAddr, IpAddr) = (US_V6.into(), THEM_V6.into());
    // One address of ours, whose part of the hash is a constant; several; and both versions.
    for ours in [&[us][..], &[other_of_ours.into(), us], &[US.into(), us]] {
        let Some(mut bench) = Bench::with(ours) else { return };
        let closed = frame_v6(US_V6, PORT, |tcp| tcp.rst = true);
        let (action, records, _) = bench.run(&closed);
        assert_eq!((action, records), (Action::Drop as u32, vec![closed[14..74].to_vec()]));
        let answer = frame_v6(US_V6, PORT, open);
        let (action, records, after) = bench.run(&answer);
        assert_eq!((action, &after), (Action::Drop as u32, &answer));
        assert_eq!(records[0][..80], answer[14..94]);
        let bare = |sequence| {
            frame_v6(US_V6, PORT, move |tcp| {
                (tcp.ack, tcp.rst, tcp.sequence_number) = (false, true, sequence);
            })
        };
        let (_, records, _) = bench.run(&bare(KEY.syn((us, PORT), (them, 80))));
        assert_eq!(records.len(), 1, "of an acknowledgement");
        assert_eq!(bench.counted(), [0; 3]);
        for forged in [
            frame_v6(US_V6, PORT, |tcp| (tcp.syn, tcp.acknowledgment_number) = (true, 5)),
            frame_v6(US_V6, PORT + 1, open),
            frame_v6(US_V6, PORT, |tcp| (tcp.syn, tcp.source_port) = (true, 81)),
            bare(0),
        ] {
            let (action, records, _) = bench.run(&forged);
            assert_eq!((action, records.len()), (Action::Drop as u32, 0));
        }
        let (action, ..) = bench.run(&frame_v6(US_V6, PORT, |_| {}));
        assert_eq!((action, bench.counted()), (Action::Drop as u32, [0, 1, 4]));
    }
}

#[test]
fn other_traffic_over_ipv6_is_left_alone() {
    let Some(mut bench) = Bench::with(&[US_V6.into()]) else { return };
    let answer = frame_v6(US_V6, PORT, |tcp| tcp.syn = true);
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut frame = answer.clone();
        change(&mut frame);
        frame
    };
    for other in [
        // IPv4, of which we have no address here.
        frame(US, PORT, syn_ack),
        frame_v6(Ipv6Addr::from_bits(US_V6.to_bits() ^ 1), PORT, |tcp| tcp.syn = true),
        frame_v6(Ipv6Addr::from_bits(US_V6.to_bits() ^ 1 << 127), PORT, |tcp| tcp.syn = true),
        frame_v6(US_V6, PORT - 1, |tcp| tcp.syn = true),
        frame_v6(US_V6, PORT + 2, |tcp| tcp.syn = true),
        // Another version, an extension header, longer than an answer, longer than the frame, shorter than a header.
        changed(|frame| frame[14] = 0x45),
        changed(|frame| frame[20] = 0),
        changed(|frame| {
            frame[19] = 61;
            frame.resize(200, 0);
        }),
        changed(|frame| frame[19] = 60),
        changed(|frame| frame[19] = 19),
        changed(|frame| frame.truncate(73)),
    ] {
        let (action, records, after) = bench.run(&other);
        assert_eq!((action, records.len()), (Action::Pass as u32, 0), "{other:02x?}");
        assert_eq!(after, other);
    }
    assert_eq!(bench.counted(), [0; 3]);
}

#[test]
fn a_full_ring_is_counted() {
    let Some(mut bench) = Bench::new() else { return };
    let closed = frame(US, PORT, reset);
    let mut kept = 0;
    while bench.counted()[0] == 0 {
        let mut frame = closed.clone();
        assert_eq!(bench.program.run_once(&mut frame).expect("runs"), Action::Drop as u32);
        kept += 1;
    }
    let mut taken = 0;
    bench.ring.take_ready(|_| taken += 1);
    assert_eq!(taken, kept - 1);
}
