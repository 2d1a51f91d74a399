//! Probing with frames of our own, through any [`crate::sys::FrameSink`].

use std::{io, ops::Range, thread, time::Duration};

use portreeve_model::MacAddress;
use portreeve_wire::ethernet;

use super::{
    Carried, Facts, Pass, Sender, Share, Transmit,
    lanes::{Sinks, is_worth_splitting, run_lanes, split},
};
use crate::{
    ScanError,
    network::{Network, NextHop},
    probe::Emitter,
    receive::DropCause,
    space::Target,
};

/// All backends but `connect`: which of them, each device's sender knows.
impl Transmit for Network {
    fn send_pass(&mut self, pass: &mut Pass<'_>) -> Result<u64, ScanError> {
        let Self { senders, paths, payloads, key, ports, .. } = self;
        let facts = Facts { paths, payloads, key, ports: *ports, carried: &[] };
        let shares = shares(senders, pass);
        let whole = shares.iter().position(|share| matches!(share, Share::All));
        if let Some(generator) = whole.and_then(|whole| senders.get_mut(whole)?.generator.as_mut()) {
            return generator.send(pass, pass.positions.clone(), &facts);
        }
        let carried: Vec<Carried> = shares.iter().filter_map(Share::part).collect();
        if carried.is_empty() {
            return send_frames(senders, facts, pass);
        }
        let facts = Facts { carried: &carried, ..facts };
        for part in turns(pass) {
            if !generate(senders, &shares, pass, &part, &facts)? {
                return Ok(part.start);
            }
            pass.positions = part;
            send_frames(senders, facts, pass)?;
            if !pass.is_over() {
                break;
            }
        }
        Ok(pass.reached())
    }

    fn settles_itself(&self) -> bool {
        false
    }
}

/// Sends what no generator carries, through as many lanes as are worth it; returns the first position that was not
/// dealt with.
fn send_frames(senders: &mut [Sender], facts: Facts<'_>, pass: &mut Pass<'_>) -> Result<u64, ScanError> {
    let lanes = split(senders);
    if lanes.len() > 1 && is_worth_splitting(pass) {
        return run_lanes(lanes, facts, pass);
    }
    let Some(sinks) = lanes.into_iter().next() else { return Ok(pass.reached()) };
    Queue::new(sinks, facts, pass.attempt).run(pass)?;
    Ok(pass.reached())
}

/// What each sender's generator takes of the pass. They know no ceilings for hosts and networks.
fn shares(senders: &[Sender], pass: &Pass<'_>) -> Vec<Share> {
    let share = |sender: &Sender| match &sender.generator {
        Some(generator) if !pass.ceilings.are_set() => generator.share(pass),
        _ => Share::Nothing,
    };
    senders.iter().map(share).collect()
}

/// Where generators and loop share a pass they take turns, a quarter of a second each; after a cancelled scan no more
/// than that is sent twice.
fn turns(pass: &Pass<'_>) -> impl Iterator<Item = Range<u64>> + use<> {
    let step = u64::from(pass.pace.rate().0 / 4).clamp(1 << 14, 1 << 20);
    let positions = pass.positions.clone();
    let end = positions.end;
    positions.step_by(step as usize).map(move |start| start..end.min(start + step))
}

/// Lets the generators send their parts of these positions; false if they did not get to the end.
fn generate(
    senders: &mut [Sender],
    shares: &[Share],
    pass: &mut Pass<'_>,
    positions: &Range<u64>,
    facts: &Facts<'_>,
) -> Result<bool, ScanError> {
    for (sender, share) in senders.iter_mut().zip(shares) {
        let Some(generator) = sender.generator.as_mut().filter(|_| share.part().is_some()) else { continue };
        if generator.send(pass, positions.clone(), facts)? < positions.end {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Frames between two flushes.
const BATCH: u64 = 64;
/// The longest pause while ceilings hold probes back, or those who take what is found are behind.
const HELD_BACK: Duration = Duration::from_millis(20);

/// The devices' queues during a pass, those of one thread.
pub(super) struct Queue<'a> {
    /// One for each device.
    sinks: Sinks<'a>,
    facts: Facts<'a>,
    /// One for each way.
    emitters: Vec<Emitter<'a>>,
    attempt: u8,
    /// Flushes in a row that a device took nothing of.
    stalls: u32,
}

/// Why a frame is not in a queue.
enum Refusal {
    /// No slot is free.
    Full,
    Dropped(DropCause),
}

impl<'a> Queue<'a> {
    /// A device that takes nothing for this many flushes, of [`crate::sys::STALL`] each, is given up.
    const MAX_STALLS: u32 = 25;

    pub(super) fn new(sinks: Sinks<'a>, facts: Facts<'a>, attempt: u8) -> Self {
        let ways = facts.paths.ways().iter();
        let emitters = ways.map(|way| Emitter::new(way.link(), way.source, facts.payloads)).collect();
        Self { sinks, facts, emitters, attempt, stalls: 0 }
    }

    /// Sends what there is to the end of the pass, or until the scan is cancelled.
    pub(super) fn run(&mut self, pass: &mut Pass<'_>) -> Result<(), ScanError> {
        while !pass.is_over() && !pass.tally.common.control.is_cancelled() {
            if pass.tally.common.is_behind() {
                thread::sleep(HELD_BACK);
                continue;
            }
            let granted = pass.pace.grant(pass.time.elapsed(), BATCH);
            if granted == 0 {
                thread::sleep(pass.pace.wait(pass.time.elapsed()));
                continue;
            }
            let filled = self.fill(granted, pass);
            self.flush(pass)?;
            pass.publish(None);
            if filled == 0 {
                thread::sleep(pass.ceilings.wait(pass.time.elapsed()).min(HELD_BACK));
            }
        }
        Ok(())
    }

    /// Queues up to `granted` probes; returns how many.
    fn fill(&mut self, granted: u64, pass: &mut Pass<'_>) -> u64 {
        let (now, begun) = (pass.time.elapsed(), pass.positions.start);
        let now_us = now.as_micros() as u64;
        let mut left = granted;
        while left > 0
            && let Some((position, target)) = pass.take(now)
        {
            if self.facts.carried.iter().any(|carried| carried(&target)) {
                continue;
            }
            match self.put(&target, pass) {
                Ok(()) => {
                    pass.tally.stamp(position, self.attempt, now_us);
                    left -= 1;
                }
                Err(Refusal::Full) => {
                    pass.put_back(position, target);
                    break;
                }
                Err(Refusal::Dropped(cause)) => pass.tally.common.drops.add(cause, 1),
            }
        }
        pass.dealt_with(pass.positions.start - begun);
        pass.pace.give_back(left);
        pass.sent += granted - left;
        granted - left
    }

    /// Queues the probe to one target.
    #[inline]
    fn put(&mut self, target: &Target, pass: &Pass<'_>) -> Result<(), Refusal> {
        // The last gate: whatever went wrong before it, nothing leaves for an address that is not a target.
        if !pass.space.targets().permits(target.address) {
            return Err(Refusal::Dropped(DropCause::NotAllowed));
        }
        let (number, way) =
            self.facts.paths.way(target.address).ok_or(Refusal::Dropped(DropCause::NoRoute))?;
        let destination = match way.next {
            NextHop::Kernel { .. } => None,
            NextHop::Gateway { mac, .. } => Some(mac.ok_or(Refusal::Dropped(DropCause::NoNeighbor))?),
            NextHop::OnLink { .. } => {
                let mac = self.facts.paths.neighbors().get(target.address);
                Some(mac.ok_or(Refusal::Dropped(DropCause::NoNeighbor))?)
            }
        };
        let sink = self.sinks.get_mut(way.device).ok_or(Refusal::Dropped(DropCause::NoRoute))?;
        let buffer = sink.frame().ok_or(Refusal::Full)?;
        let emitter = self.emitters.get(number).ok_or(Refusal::Dropped(DropCause::NoRoute))?;
        let length = emitter
            .emit(buffer, target, self.attempt, self.facts.key, self.facts.ports)
            .ok_or(Refusal::Dropped(DropCause::NotApplicable))?;
        if let Some(MacAddress(mac)) = destination {
            ethernet::set_destination(buffer, ethernet::Address(mac));
        }
        sink.commit(length);
        Ok(())
    }

    /// Hands everything to the kernel.
    fn flush(&mut self, pass: &Pass<'_>) -> Result<(), ScanError> {
        let before = self.counted();
        let mut stalled = false;
        for sink in &mut self.sinks {
            match sink.flush() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => stalled = true,
                Err(error) => return Err(ScanError::io("cannot send probes")(error)),
            }
        }
        let after = self.counted();
        pass.tally.common.control.add_sent(after.0 - before.0);
        pass.tally.common.drops.add(DropCause::SendRefused, after.1 - before.1);
        self.stalls = if stalled { self.stalls + 1 } else { 0 };
        if self.stalls > Self::MAX_STALLS {
            return Err(ScanError::io("cannot send probes, the device takes none")(
                io::ErrorKind::TimedOut.into(),
            ));
        }
        Ok(())
    }

    /// Frames sent and refused, over all devices.
    fn counted(&self) -> (u64, u64) {
        self.sinks
            .iter()
            .map(|sink| sink.counters())
            .fold((0, 0), |(sent, refused), counters| (sent + counters.sent, refused + counters.refused))
    }
}
