//! The threads that run the programs, and the one that watches them.

use std::{
    io,
    ops::Range,
    sync::atomic::Ordering::{Acquire, Relaxed},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use super::layout::{self, Control, thread as own};
use crate::{
    PacketsPerSecond,
    receive::Common,
    sys::{Interruptible, bpf::Program, give_way},
    transmit::Pass,
};

/// Up to this rate one thread is enough, and leaves the other cores to those who receive.
const ONE_IS_ENOUGH: PacketsPerSecond = PacketsPerSecond(1_500_000);
/// More have not been found to help.
const MOST: usize = 8;

/// How many threads to send with at a rate, through a device with so many queues: two that share one would fill it
/// faster than its other end can empty it.
pub(super) fn count(rate: PacketsPerSecond, queues: u32) -> u32 {
    if rate <= ONE_IS_ENOUGH { 1 } else { (processors().len().clamp(1, MOST) as u32).min(queues.max(1)) }
}

/// Those that this thread may run on.
fn processors() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::count()).filter(|&processor| allowed.is_set(processor).unwrap_or(false)).collect()
}

/// A program for each thread.
pub(super) struct Gang {
    programs: Vec<Program>,
    /// What frames begin as.
    frame: Vec<u8>,
    processors: Vec<usize>,
}

impl Gang {
    /// Frames that the kernel handles at a time. The far end of a veth pair takes 256 before it has to run: with 128 at a time
    /// it refused some now and then.
    const BATCH: u32 = 64;
    /// Runs of the program that one call asks for: 20 seconds at least. A pause of some 20 ms is between two calls, so they
    /// are long, and end before their time when there is nothing left to do.
    const RUNS: u32 = 1 << 30;
    /// How often the watching thread looks.
    const WATCH: Duration = Duration::from_millis(1);

    /// A thread for each program, and what their frames begin as.
    pub(super) fn new(programs: Vec<Program>, frame: Vec<u8>) -> Self {
        Self { programs, frame, processors: processors() }
    }

    /// Runs every thread until the positions are dealt with or the scan is cancelled; returns the first position that
    /// may not have been dealt with. Tells how far it is meanwhile, if these threads send the whole pass.
    pub(super) fn run(
        &self,
        control: &Control,
        pass: &mut Pass<'_>,
        positions: &Range<u64>,
        is_whole: bool,
    ) -> io::Result<u64> {
        let (watcher, tally) = (thread::current(), pass.tally);
        let calls: Vec<_> = self.programs.iter().map(|_| Interruptible::default()).collect();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..)
                .zip(&self.programs)
                .zip(&calls)
                .map(|((number, program), call)| {
                    let watcher = watcher.clone();
                    scope.spawn(move || {
                        let worked = self.work(number, program, control, call);
                        call.leave();
                        watcher.unpark();
                        worked
                    })
                })
                .collect();
            let mut progress = Progress::new(control, positions, is_whole);
            let mut hold = Hold { since: None };
            while !workers.iter().all(|worker| worker.is_finished()) {
                if tally.common.control.is_cancelled() {
                    control.stop();
                }
                hold.look(control, &tally.common);
                control.set_rate(pass.pace.rate());
                progress.tell(control, pass, floor(control, positions));
                for (number, call) in (0..).zip(&calls) {
                    if control.ends_calls() || left(number, control) == 0 {
                        call.interrupt();
                    }
                }
                thread::park_timeout(Self::WATCH);
            }
            for worker in workers {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            let reached = reached(control, positions);
            progress.tell(control, pass, reached);
            Ok(reached)
        })
    }

    /// Runs one program until nothing is left for it.
    fn work(
        &self,
        number: u32,
        program: &Program,
        control: &Control,
        call: &Interruptible,
    ) -> io::Result<()> {
        self.pin(number as usize);
        give_way();
        call.enter().inspect_err(|_| control.stop())?;
        while !control.is_stopped() && left(number, control) > 0 {
            if control.is_held() {
                thread::sleep(Self::WATCH);
                continue;
            }
            forget_allowance(number, control);
            match program.run_live(&self.frame, Self::RUNS, Self::BATCH) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    control.stop();
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn program(&self, number: usize) -> &Program {
        &self.programs[number]
    }

    #[cfg(test)]
    pub(super) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Keeps the calling thread on one processor, where it has caches and frames; without, it works as well.
    fn pin(&self, number: usize) {
        let Some(&processor) = self.processors.get(number % self.processors.len().max(1)) else { return };
        let mut only = CpuSet::new();
        if only.set(processor).is_ok() {
            let _ = sched_setaffinity(Pid::from_raw(0), &only);
        }
    }
}

/// Holds the programs back while those who take what is found are behind.
struct Hold {
    since: Option<Instant>,
}

impl Hold {
    /// Held calls go on for so long, though they keep processors busy: to end one and begin another takes longer than most
    /// holds.
    const WITHIN_CALLS: Duration = Duration::from_millis(200);

    fn look(&mut self, control: &Control, common: &Common) {
        match self.since {
            None if common.is_behind() => {
                control.hold();
                self.since = Some(Instant::now());
            }
            Some(_) if common.has_caught_up() => {
                control.go_on();
                self.since = None;
            }
            Some(since) if since.elapsed() > Self::WITHIN_CALLS => control.pause(),
            _ => {}
        }
    }
}

/// Positions that are left for a thread: those of its block and its share of the others.
fn left(number: u32, control: &Control) -> u64 {
    let own = |field| control.thread(number, field).load(Relaxed);
    let block = own(own::BLOCK_END).saturating_sub(own(own::BLOCK_NEXT));
    let walking = u64::from(own(own::WALKING) != layout::NOT_WALKING);
    let common = control.get(layout::END).saturating_sub(control.get(layout::NEXT));
    block + walking + common.div_ceil(u64::from(control.layout.threads))
}

/// Gives back what the clock allowed some time ago, so that the next probe asks it again. The thread's program must
/// not be running.
fn forget_allowance(number: u32, control: &Control) {
    let allowance = control.thread(number, own::ALLOWANCE).swap(0, Relaxed);
    control.thread(number, own::CREDIT).fetch_add(allowance << layout::FRACTION_BITS, Relaxed);
    control.thread(number, own::TOKENS).fetch_add(allowance << layout::FRACTION_BITS, Relaxed);
}

/// The first position that may not have been dealt with. No program may be running.
pub(super) fn reached(control: &Control, positions: &Range<u64>) -> u64 {
    let blocks = (0..control.layout.threads).filter_map(|number| {
        let own = |field: i16| control.thread(number, field).load(Relaxed);
        if own(own::WALKING) != layout::NOT_WALKING {
            return Some(own(own::POSITION));
        }
        (own(own::BLOCK_NEXT) < own(own::BLOCK_END)).then(|| own(own::BLOCK_NEXT))
    });
    blocks.chain([control.get(layout::NEXT)]).min().unwrap_or(positions.end).min(positions.end)
}

/// The same while programs are running, less exactly: up to a block for each of them lies behind it.
pub(super) fn floor(control: &Control, positions: &Range<u64>) -> u64 {
    // The counter first: a thread says where its next block begins before it moves the counter beyond it.
    let next = control.shared(layout::NEXT).load(Acquire);
    let floors = (0..control.layout.threads).map(|number| control.thread(number, own::FLOOR).load(Relaxed));
    floors.chain([next]).min().unwrap_or(next).min(positions.end)
}

/// What was told already.
struct Progress {
    sent: u64,
    position: u64,
    is_whole: bool,
}

impl Progress {
    fn new(control: &Control, positions: &Range<u64>, is_whole: bool) -> Self {
        Self { sent: control.sum(own::SENT), position: positions.start, is_whole }
    }

    /// Tells what was sent, and that everything before this position was dealt with.
    fn tell(&mut self, control: &Control, pass: &mut Pass<'_>, position: u64) {
        let sent = control.sum(own::SENT);
        pass.tally.common.control.add_sent(sent - self.sent);
        pass.sent += sent - self.sent;
        self.sent = sent;
        if self.is_whole {
            let position = position.max(self.position);
            pass.dealt_with(position - self.position);
            pass.positions.start = position;
            pass.publish(None);
            self.position = position;
        }
    }
}
