//! Several transmit threads: lanes, each with sockets, a schedule and a part of the work of its own.
//!
//! Nothing in a lane's loop is shared but the order's next chunk, which it claims with one atomic addition every few
//! thousand probes. Each keeps to its share of the rate; the shares' bounds add up to those of the rate.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use super::{Ahead, Facts, LaneFloor, Pass, Sender, frames::Queue};
use crate::{PacketsPerSecond, ScanError, ceilings::Ceilings, sys::FrameSink};

/// The sinks of a lane, one for each device.
pub(super) type Sinks<'a> = Vec<&'a mut dyn FrameSink>;

/// What one thread can send wherever it runs. Above that a second one is worth its waking up.
const LANE_PPS: u32 = 250_000;
/// Beyond these it is the link that limits.
const MOST_LANES: usize = 8;
/// Positions that a lane claims at once: milliseconds of work at the rates that lanes are for.
const CHUNK: u64 = 4096;

/// How many lanes a rate is worth on this machine.
pub(crate) fn lanes(rate: PacketsPerSecond) -> u32 {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(MOST_LANES);
    rate.0.div_ceil(LANE_PPS).clamp(1, cores as u32)
}

/// The sinks of all devices, lane by lane. A device with fewer lanes than another limits it.
pub(super) fn split(senders: &mut [Sender]) -> Vec<Sinks<'_>> {
    let count = senders.iter().map(|sender| 1 + sender.more.len()).min().unwrap_or(0);
    let mut lanes: Vec<Sinks<'_>> = (0..count).map(|_| Vec::with_capacity(senders.len())).collect();
    for sender in senders {
        let sinks = std::iter::once(&mut sender.sink).chain(&mut sender.more);
        for (lane, sink) in lanes.iter_mut().zip(sinks) {
            lane.push(sink.as_mut());
        }
    }
    lanes
}

/// Whether a pass gains by several lanes. Ceilings need one place that knows every probe.
pub(super) fn is_worth_splitting(pass: &Pass<'_>) -> bool {
    pass.positions.end - pass.positions.start > CHUNK && !pass.ceilings.are_set()
}

/// Sends a pass through several lanes; returns the first position that was not dealt with.
pub(super) fn run_lanes<'a>(
    lanes: Vec<Sinks<'a>>,
    facts: Facts<'a>,
    pass: &mut Pass<'_>,
) -> Result<u64, ScanError> {
    let next = AtomicU64::new(pass.positions.start);
    let (whole, count) = (&*pass, lanes.len());
    let floors: Vec<_> = (0..count).map(|_| AtomicU64::new(pass.positions.start)).collect();
    let (floors, sent) = (&floors[..], &AtomicU64::new(0));
    let ended = thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .into_iter()
            .zip(0..)
            .map(|(sinks, number)| {
                let floor = LaneFloor { floors, sent, number };
                let next = &next;
                scope.spawn(move || Lane::run(Queue::new(sinks, facts, whole.attempt), whole, floor, next))
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect::<Result<Vec<Lane>, ScanError>>()
    })?;
    pass.sent += ended.iter().map(|lane| lane.sent).sum::<u64>();
    let left = ended.iter().filter_map(|lane| lane.left).min();
    pass.positions.start = left.unwrap_or(u64::MAX).min(next.into_inner()).min(pass.positions.end);
    Ok(pass.positions.start)
}

/// What a lane did.
#[derive(Default)]
struct Lane {
    sent: u64,
    /// The first position that it claimed and did not deal with.
    left: Option<u64>,
}

impl Lane {
    fn run(
        mut queue: Queue<'_>,
        whole: &Pass<'_>,
        floor: LaneFloor<'_>,
        next: &AtomicU64,
    ) -> Result<Self, ScanError> {
        let mut pace = whole.pace.share(floor.floors.len(), whole.time.elapsed());
        let mut ceilings = Ceilings::none();
        let mut lane = Self::default();
        let end = whole.positions.end;
        while lane.left.is_none() && !whole.tally.common.control.is_cancelled() {
            let start = next.fetch_add(CHUNK, Relaxed);
            if start >= end {
                break;
            }
            floor.rise(start);
            let mut chunk = Pass {
                positions: start..end.min(start + CHUNK),
                pace: &mut pace,
                ceilings: &mut ceilings,
                put_back: None,
                sent: 0,
                lane: Some(floor),
                told: 0,
                ahead: Ahead::new(),
                ..*whole
            };
            // One that fails takes the work away from the others.
            queue.run(&mut chunk).inspect_err(|_| _ = next.fetch_max(end, Relaxed))?;
            lane.sent += chunk.sent;
            lane.left = (!chunk.is_over()).then(|| chunk.reached());
        }
        floor.rise(lane.left.unwrap_or(end));
        Ok(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_scans_have_one_lane() {
        for rate in [1, 1_000, LANE_PPS] {
            assert_eq!(lanes(PacketsPerSecond(rate)), 1);
        }
        let cores = thread::available_parallelism().map_or(1, usize::from).min(MOST_LANES);
        assert_eq!(lanes(PacketsPerSecond(u32::MAX)), cores as u32);
    }
}
