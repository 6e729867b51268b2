// SPDX-License-Identifier: MIT

//! Signals that interrupt calls, and proof that one was sent.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::libc::c_int;
use nix::sys::signal::{sigaction, signal, SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::unistd::gettid;

use super::observe::Thread;

/// What an interrupted call does after the handler: `SA_RESTART`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It fails with `EINTR`.
    Fail,
    /// The kernel calls it again.
    Restart,
}

/// The signal that tests interrupt with.
pub const INTERRUPT: Signal = Signal::SIGUSR1;

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

/// Handles [`INTERRUPT`] from now on, by counting.
pub fn handle(after: After) {
    let flags = match after {
        After::Fail => SaFlags::empty(),
        After::Restart => SaFlags::SA_RESTART,
    };
    let action = SigAction::new(SigHandler::Handler(count), flags, SigSet::empty());
    // SAFETY: the handler only adds to an atomic, which is async-signal-safe.
    unsafe { sigaction(INTERRUPT, &action) }.expect("sigaction");
}

/// How many of them were handled so far.
pub fn handled() -> usize {
    HANDLED.load(Ordering::SeqCst)
}

/// Tells whether SIGPIPE was sent to this thread, by blocking it: a blocked signal stays pending
/// even where it is ignored, as it is in every Rust program.
pub struct SigpipeWatch(());

impl SigpipeWatch {
    /// Starts to watch, in the thread that will write.
    pub fn start() -> Self {
        SigSet::from(Signal::SIGPIPE)
            .thread_block()
            .expect("pthread_sigmask");
        Self(())
    }

    /// Was it sent since the last time?
    pub fn has_come(&self) -> bool {
        let is_pending = Thread(gettid()).has_pending(Signal::SIGPIPE as i32);
        if is_pending {
            // Takes it, and does not wait since it is there.
            SigSet::from(Signal::SIGPIPE).wait().expect("sigwait");
        }
        is_pending
    }
}

/// Gives SIGPIPE the meaning that it has in a C program: it kills.
pub fn let_sigpipe_kill() {
    // SAFETY: the default action is no handler.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.expect("signal");
}
