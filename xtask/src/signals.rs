//! Ctrl-C as a value to wait for.

use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};

use crate::tools::Outcome;

/// What ends the program's children in order, once [`guard_children`] was called.
static GUARD: Mutex<Option<Ending>> = Mutex::new(None);

/// From here on a signal that is to end the program ends the child it waits for first ([`crate::tools::execute`]).
pub fn guard_children() -> Outcome {
    let ending = Ending::hold_back()?;
    *GUARD.lock().unwrap_or_else(PoisonError::into_inner) = Some(ending);
    Ok(())
}

/// Does something while the signals are held back, or `None` where they are not.
pub fn guarded<T>(what: impl FnOnce(&Ending) -> T) -> Option<T> {
    GUARD.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(what)
}

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
