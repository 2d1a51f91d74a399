//! Ends a thread's call into the kernel before its time.

use std::{
    io,
    sync::atomic::{AtomicI32, Ordering::Relaxed},
};

use nix::{
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    unistd::gettid,
};

/// Ignored unless somebody asks for it, and nobody else in this program does.
const SIGNAL: Signal = Signal::SIGURG;

/// A thread whose calls can be ended.
#[derive(Debug, Default)]
pub(crate) struct Interruptible {
    /// 0 as long as there is none.
    thread: AtomicI32,
}

impl Interruptible {
    /// Makes the calling thread the one that is meant. The signal has no other effect on it than that waiting calls return
    /// [`io::ErrorKind::Interrupted`].
    pub(crate) fn enter(&self) -> io::Result<()> {
        extern "C" fn nothing(_: libc::c_int) {}
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler does nothing, so it may run at any moment.
        unsafe { sigaction(SIGNAL, &action) }?;
        SigSet::from(SIGNAL).thread_unblock()?;
        self.thread.store(gettid().as_raw(), Relaxed);
        Ok(())
    }

    /// From here on no thread is meant: the number of one that has ended may become another's.
    pub(crate) fn leave(&self) {
        self.thread.store(0, Relaxed);
    }

    /// Has the call that the thread is in return. One that it is about to make is not affected, so this wants repeating
    /// until the thread has seen why.
    pub(crate) fn interrupt(&self) {
        let thread = self.thread.load(Relaxed);
        if thread != 0 {
            // SAFETY: takes numbers only. A thread that has ended is not found.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL as libc::c_int) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use nix::{
        poll::{PollTimeout, poll},
        sys::signal::SigmaskHow,
    };

    use super::*;

    #[test]
    fn a_waiting_call_returns_even_where_the_signal_was_blocked() {
        let interruptible = Interruptible::default();
        interruptible.interrupt();
        let (done, is_done) = mpsc::channel();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).expect("a mask");
                interruptible.enter().expect("a handler");
                let ended = poll(&mut [], PollTimeout::from(60_000_u16));
                interruptible.leave();
                done.send(()).expect("somebody waits");
                ended
            });
            while is_done.recv_timeout(Duration::from_millis(1)).is_err() {
                interruptible.interrupt();
            }
            assert_eq!(waiting.join().expect("no panic"), Err(nix::errno::Errno::EINTR));
        });
    }
}
