//! Proof that a scan's order holds every target exactly once and nothing that was excluded: every position is
//! worked out and ticked off in a bitmap. Nothing is sampled.
//!
//! The whole of IPv4 is for optimised builds, where it takes about a minute and 2 x 512 MiB:
//! `cargo test --release -p portreeve-scan --test permutation_proof`.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
    thread,
};

use portreeve_scan::{Permutation, Shard, TargetSet, TargetSetBuilder};

/// A bit for every address below a limit. Ticks are gathered by region first, so that each visit to a region's
/// bits finds them in the cache.
struct Bitmap {
    words: Vec<u64>,
    regions: Vec<Vec<u32>>,
}

impl Bitmap {
    /// Addresses of one region: 2²³ bits are a mebibyte.
    const REGION_BITS: u32 = 23;
    const GATHERED: usize = 4096;

    fn new(address_bits: u32) -> Self {
        let regions = 1 << (address_bits - Self::REGION_BITS);
        let gathered = || Vec::with_capacity(Self::GATHERED);
        Self {
            words: vec![0; 1 << (address_bits - 6)],
            regions: std::iter::repeat_with(gathered).take(regions).collect(),
        }
    }

    fn tick(&mut self, address: u32) {
        let region = (address >> Self::REGION_BITS) as usize;
        self.regions[region].push(address);
        if self.regions[region].len() == Self::GATHERED {
            self.settle(region);
        }
    }

    fn settle(&mut self, region: usize) {
        for address in self.regions[region].drain(..) {
            let (word, bit) = (&mut self.words[address as usize / 64], 1 << (address % 64));
            assert_eq!(*word & bit, 0, "{} came twice", Ipv4Addr::from_bits(address));
            *word |= bit;
        }
    }

    /// A bit for every address ticked.
    fn finish(mut self) -> Vec<u64> {
        (0..self.regions.len()).for_each(|region| self.settle(region));
        self.words
    }
}

/// Walks the whole order, in shards as agents would, and compares what came with what should.
fn prove((include, address_bits): (&str, u32), exclude: &str, seed: u64) {
    let targets = TargetSetBuilder::new()
        .include(include)
        .and_then(|builder| builder.exclude(exclude))
        .and_then(TargetSetBuilder::build)
        .expect("targets");
    let order = Permutation::new(u64::try_from(targets.len()).expect("IPv4"), seed);
    let shards = thread::scope(|scope| {
        let walk =
            |index| walk(&order, &targets, Shard::new(index, 2).expect("index below count"), address_bits);
        let walks = [0, 1].map(|index| scope.spawn(move || walk(index)));
        walks.map(|walk| walk.join().expect("every address came once"))
    });
    let [mut ticked, other] = shards;
    for (word, other) in ticked.iter_mut().zip(&other) {
        assert_eq!(*word & other, 0, "an address came in both shards");
        *word |= other;
    }
    compare(&ticked, &targets);
}

fn walk(order: &Permutation, targets: &TargetSet, shard: Shard, address_bits: u32) -> Vec<u64> {
    let mut bitmap = Bitmap::new(address_bits);
    for position in shard.positions(order.len()) {
        let target = order.at(position).and_then(|index| targets.address(index));
        let Some(IpAddr::V4(address)) = target else { panic!("position {position} has no target") };
        bitmap.tick(address.to_bits());
    }
    bitmap.finish()
}

/// Every address of the targets is ticked, and no other. What should be there is read from the ranges, not
/// through the look-up that is under proof.
fn compare(words: &[u64], targets: &TargetSet) {
    let mut expected = vec![0_u64; words.len()];
    for range in targets.ranges() {
        let (IpAddr::V4(first), IpAddr::V4(last)) = range else { panic!("IPv4 only") };
        for word in first.to_bits() / 64..=last.to_bits() / 64 {
            let (low, high) = (u64::from(word) * 64, u64::from(word) * 64 + 63);
            let from = u64::from(first.to_bits()).max(low) - low;
            let to = u64::from(last.to_bits()).min(high) - low;
            expected[word as usize] |= (u64::MAX >> (63 - (to - from))) << from;
        }
    }
    let wrong = words.iter().zip(&expected).position(|(found, expected)| found != expected);
    assert_eq!(wrong.map(|word| Ipv4Addr::from_bits(word as u32 * 64)), None, "differs from here on");
}

/// 2²⁸ addresses with holes of all sizes.
#[test]
fn a_sixteenth_of_ipv4_each_exactly_once() {
    let mut holes = String::new();
    for hole in 0..2000 {
        write!(holes, "10.{}.{}.{}-255 ", hole % 256, hole / 8, hole % 200).expect("to a string");
    }
    prove(("0.0.0.0/4", 28), &holes, 7);
}

/// All of IPv4 but the reserved ranges and some exclusions.
#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "minutes unless optimised: cargo test --release --test permutation_proof"
)]
fn all_of_ipv4_each_exactly_once() {
    prove(("0.0.0.0/0", 32), "10.0.0.0/8 127.0.0.0/8 192.168.3.7 100.64.0.0/10 8.8.8.0/25", 42);
}
