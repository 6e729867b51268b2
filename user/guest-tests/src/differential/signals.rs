// SPDX-License-Identifier: MIT

//! The signals of a process: two that interrupt its calls, SIGPIPE, and SIGIO.

use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc;
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signal after which a call fails.
pub const FAIL: Signal = Signal::SIGUSR1;
/// The signal after which a call goes on.
pub const RESTART: Signal = Signal::SIGUSR2;

static BROKEN: AtomicU32 = AtomicU32::new(0);

extern "C" fn on_signal(number: libc::c_int) {
    if number == libc::SIGPIPE {
        BROKEN.fetch_add(1, Ordering::SeqCst);
    }
}

/// What came, in this process and its children.
///
/// SIGIO is blocked: it interrupts no call, and is pending until it is asked for. A second one that
/// comes while one is pending is lost, so there is one or none.
pub struct Signals {
    io: SignalFd,
}

impl Signals {
    /// From now on.
    pub fn start() -> Self {
        let actions = [
            (FAIL, SigHandler::Handler(on_signal), SaFlags::empty()),
            (RESTART, SigHandler::Handler(on_signal), SaFlags::SA_RESTART),
            (
                Signal::SIGPIPE,
                SigHandler::Handler(on_signal),
                SaFlags::SA_RESTART,
            ),
            // Ignored: then a child of this process needs nobody to wait for it.
            (Signal::SIGCHLD, SigHandler::SigIgn, SaFlags::empty()),
        ];
        for (signal, handler, flags) in actions {
            let action = SigAction::new(handler, flags, SigSet::empty());
            // SAFETY: the handler only adds to an atomic, which is async-signal-safe.
            unsafe { sigaction(signal, &action) }.expect("sigaction");
        }
        let mut set = SigSet::empty();
        set.add(Signal::SIGIO);
        set.thread_block().expect("block SIGIO");
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let io = SignalFd::with_flags(&set, flags).expect("signalfd");
        Self { io }
    }

    /// Was there a SIGIO since the last time?
    pub fn take_io(&self) -> bool {
        self.io.read_signal().expect("signalfd").is_some()
    }

    /// How many SIGPIPEs were there since the last time?
    pub fn take_broken(&self) -> u32 {
        BROKEN.swap(0, Ordering::SeqCst)
    }
}
