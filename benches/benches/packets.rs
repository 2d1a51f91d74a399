//! What a frame costs to make and to read, and what its place in the order costs.
//!
//! `cargo bench -p portreeve-benches --bench packets`. One frame each; the time of a system call is not in it.

use std::{
    hint::black_box,
    net::{Ipv4Addr, Ipv6Addr},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portreeve_scan::Permutation;
use portreeve_wire::{
    checksum, ethernet, ip, ipv4, tcp,
    template::{Link, Path, Syn, SynTemplate, Udp, UdpTemplate},
};

const LINK: Link = Link::Ethernet {
    destination: ethernet::Address([2, 0, 0, 0, 0, 2]),
    source: ethernet::Address([2, 0, 0, 0, 0, 1]),
    vlan: None,
};
const OPTIONS: tcp::SynOptions =
    tcp::SynOptions { mss: Some(1460), window_scale: None, sack_permitted: false, timestamps: None };
const OURS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const OURS_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);

fn syn<A>(destination: A, number: u32) -> Syn<A> {
    Syn {
        destination,
        source_port: 40_000,
        destination_port: number as u16,
        sequence: tcp::SeqNumber(number),
    }
}

fn emit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("emit");
    group.throughput(Throughput::Elements(1));
    let mut slot = [0; 256];
    let mut number = 0_u32;

    let template = SynTemplate::new(Path { link: LINK, source: OURS, hop_limit: 64 }, 1024, OPTIONS);
    group.bench_function("syn v4, patched", |bencher| {
        bencher.iter(|| {
            number = number.wrapping_add(1);
            template.emit(black_box(&mut slot), &syn(Ipv4Addr::from_bits(number), number))
        });
    });

    let template = SynTemplate::new(Path { link: LINK, source: OURS_V6, hop_limit: 64 }, 1024, OPTIONS);
    group.bench_function("syn v6, patched", |bencher| {
        bencher.iter(|| {
            number = number.wrapping_add(1);
            template.emit(black_box(&mut slot), &syn(Ipv6Addr::from_bits(u128::from(number)), number))
        });
    });

    group.bench_function("syn v4, built anew", |bencher| {
        bencher.iter(|| {
            number = number.wrapping_add(1);
            build(black_box(&mut slot), Ipv4Addr::from_bits(number), number)
        });
    });

    let payload = [0x5a; 48];
    let path = Path { link: LINK, source: OURS, hop_limit: 64 };
    if let Some(template) = UdpTemplate::new(path, &payload) {
        group.bench_function("udp v4 of 48 bytes, patched", |bencher| {
            bencher.iter(|| {
                number = number.wrapping_add(1);
                let destination = Ipv4Addr::from_bits(number);
                let probe = Udp { destination, source_port: 40_000, destination_port: number as u16 };
                template.emit(black_box(&mut slot), &probe)
            });
        });
    }
    group.finish();
}

/// The frame that a template would give, header by header.
fn build(slot: &mut [u8], destination: Ipv4Addr, number: u32) -> Option<usize> {
    let segment = tcp::Header {
        source_port: 40_000,
        destination_port: number as u16,
        sequence: tcp::SeqNumber(number),
        acknowledgement: tcp::SeqNumber(0),
        flags: tcp::Flags::SYN,
        window: 1024,
        options: OPTIONS,
    };
    let network = ipv4::Header {
        source: OURS,
        destination,
        hop_limit: 64,
        protocol: ip::Protocol::TCP,
        payload_len: segment.len() as u16,
    };
    let link = ethernet::Header {
        destination: ethernet::Address([2, 0, 0, 0, 0, 2]),
        source: ethernet::Address([2, 0, 0, 0, 0, 1]),
        vlan: None,
        ether_type: ethernet::EtherType::IPV4,
    };
    let mut at = link.emit(slot).ok()?;
    at += network.emit(slot.get_mut(at..)?).ok()?;
    at += segment.emit(slot.get_mut(at..)?, OURS.into(), destination.into()).ok()?;
    Some(at)
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(1));
    let mut frame = [0; 128];
    let length = build(&mut frame, OURS, 7).unwrap_or_default();
    let frame = frame.get(..length).unwrap_or_default();
    group.bench_function("syn v4 to its options", |bencher| {
        bencher.iter(|| {
            let frame = ethernet::Frame::parse(black_box(frame)).ok()?;
            let packet = ip::Packet::parse(frame.payload()).ok()?;
            let segment = tcp::Segment::parse(packet.payload()).ok()?;
            Some((
                packet.source(),
                segment.source_port(),
                segment.acknowledgement(),
                segment.option_summary(),
            ))
        });
    });
    group.finish();
}

fn sum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for length in [20, 60, 1280] {
        let bytes = vec![0x5a; length];
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(format!("{length} bytes"), |bencher| {
            bencher.iter(|| checksum::of(black_box(&bytes)));
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("update of one field", |bencher| {
        bencher.iter(|| checksum::update(black_box(0xdd2f), black_box(0x5555), black_box(0x3285)));
    });
    group.finish();
}

fn order(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("permutation");
    group.throughput(Throughput::Elements(1));
    // A full power of two walks no cycles; one more than half of the next walks most.
    for (name, length) in [("2^32", 1 << 32), ("2^32 + 1", (1 << 32) + 1), ("a /16 of 3 ports", 3 << 16)] {
        let permutation = Permutation::new(length, 42);
        let mut position = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                position = (position + 1) % length;
                permutation.at(black_box(position))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, emit, read, sum, order);
criterion_main!(benches);
