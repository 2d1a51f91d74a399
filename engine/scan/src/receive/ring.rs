//! The receiving thread of a device: ring in, tally out.

use std::{io, time::Duration};

use super::{Classifier, DropCause, KernelReceiver, Tally};
use crate::{
    sys::{Received, RxRing},
    transmit::Stopwatch,
};

/// Reads what a device received.
pub(crate) struct RingReceiver {
    ring: RxRing,
    /// What a program in the kernel takes before the ring would.
    fast: Option<KernelReceiver>,
    /// Kernel drops that were reported already.
    dropped: u64,
}

impl RingReceiver {
    /// The longest wait for a frame before looking whether the scan has ended.
    const POLL: Duration = Duration::from_millis(10);
    /// The same where a program leaves replies too: nobody is woken for those.
    const FAST_POLL: Duration = Duration::from_millis(1);

    /// How often the kernel is asked what it dropped.
    const COUNT_INTERVAL: Duration = Duration::from_millis(50);

    pub(crate) fn new(ring: RxRing, fast: Option<KernelReceiver>) -> Self {
        Self { ring, fast, dropped: 0 }
    }

    /// Takes replies in until the tally says stop. Nothing that is received can end it earlier.
    pub(crate) fn run(
        &mut self,
        classifier: Classifier<'_>,
        tally: &Tally,
        time: Stopwatch,
    ) -> io::Result<()> {
        let mut counted = time.elapsed();
        if let Some(fast) = &mut self.fast {
            fast.begin(classifier, tally, time);
        }
        loop {
            // Asked before the ring is read, so that what came before the stop is still taken.
            let last = tally.is_stopped();
            let taken = self.fast.as_mut().map(|fast| fast.take_ready(classifier, tally, time));
            if !last {
                self.ring.wait(match taken {
                    None => Self::POLL,
                    Some(0) => Self::FAST_POLL,
                    Some(_) => Duration::ZERO,
                })?;
            }
            self.take_ready(|received| take(received, classifier, tally, time));
            if last {
                if let Some(fast) = &mut self.fast {
                    fast.end(tally);
                }
                return self.count_dropped(tally);
            }
            if time.elapsed() >= counted + Self::COUNT_INTERVAL {
                self.count_dropped(tally)?;
                counted = time.elapsed();
            }
        }
    }

    /// Hands over every frame that is there, without waiting.
    pub(crate) fn take_ready(&mut self, mut take: impl FnMut(&Received<'_>)) {
        while let Some(mut block) = self.ring.next_block() {
            while let Some(received) = block.next() {
                take(&received);
            }
        }
    }

    fn count_dropped(&mut self, tally: &Tally) -> io::Result<()> {
        let dropped = self.ring.statistics()?.dropped;
        tally.common.drops.add(DropCause::KernelRing, dropped - self.dropped);
        self.dropped = dropped;
        if let Some(fast) = &mut self.fast {
            fast.count_dropped(tally);
        }
        Ok(())
    }
}

fn take(received: &Received<'_>, classifier: Classifier<'_>, tally: &Tally, time: Stopwatch) {
    match classifier.classify(received.packet) {
        Ok(reply) => tally.take(reply, Some(time.at_epoch_ns(received.time_ns))),
        Err(cause) => tally.common.drops.add(cause, 1),
    }
}
