//! The receiving thread of a device: ring in, tally out.

use std::{io, time::Duration};

use super::{Classifier, DropCause, Tally};
use crate::{
    sys::{Received, RxRing},
    transmit::Stopwatch,
};

/// Reads what a device received.
pub(crate) struct RingReceiver {
    ring: RxRing,
    /// Kernel drops that were reported already.
    dropped: u64,
}

impl RingReceiver {
    /// The longest wait for a frame before looking whether the scan has ended.
    const POLL: Duration = Duration::from_millis(10);

    /// How often the kernel is asked what it dropped.
    const COUNT_INTERVAL: Duration = Duration::from_millis(50);

    pub(crate) fn new(ring: RxRing) -> Self {
        Self { ring, dropped: 0 }
    }

    /// Takes replies in until the tally says stop. Nothing that is received can end it earlier.
    pub(crate) fn run(
        &mut self,
        classifier: Classifier<'_>,
        tally: &Tally,
        time: Stopwatch,
    ) -> io::Result<()> {
        let mut counted = time.elapsed();
        loop {
            // Asked before the ring is read, so that what came before the stop is still taken.
            let last = tally.is_stopped();
            if !last {
                self.ring.wait(Self::POLL)?;
            }
            self.take_ready(|received| take(received, classifier, tally, time));
            if last {
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
        Ok(())
    }
}

fn take(received: &Received<'_>, classifier: Classifier<'_>, tally: &Tally, time: Stopwatch) {
    match classifier.classify(received.packet) {
        Ok(reply) => tally.take(reply, Some(time.at_epoch_ns(received.time_ns))),
        Err(cause) => tally.common.drops.add(cause, 1),
    }
}
