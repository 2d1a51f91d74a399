//! Ctrl-C as a value to wait for.

use std::{
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};

use crate::tools::Outcome;

/// Holds SIGINT, SIGTERM and SIGHUP back so that the program can end its children in order first.
pub struct Ending {
    arrived: Receiver<()>,
}

impl Ending {
    /// From here on the signals wait to be asked for. To be called before any other thread is started.
    pub fn hold_back() -> Outcome<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let (sender, arrived) = channel();
        thread::spawn(move || while signals.wait().is_ok() && sender.send(()).is_ok() {});
        Ok(Self { arrived })
    }

    /// Waits for `pause` at most and tells whether a signal came.
    pub fn came_within(&self, pause: Duration) -> bool {
        self.arrived.recv_timeout(pause).is_ok()
    }
}
