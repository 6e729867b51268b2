// SPDX-License-Identifier: MIT

//! [`Signals`]: the signals of a server as two descriptors (signalfd(2)), so that a wait for a client or
//! for bytes is also one for them, and no handler interrupts anything.

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// `SIGTERM` and `SIGINT` in one descriptor, `SIGHUP` and `SIGCHLD` in another.
///
/// The first is never read: a signal that is pending keeps it readable, for all threads and for good.
/// In a forked process both are about the signals of that process, and none is pending at first.
#[derive(Debug)]
pub struct Signals {
    stop: SignalFd,
    others: SignalFd,
}

/// What was there besides a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// `SIGHUP`.
    pub reload: bool,
    /// `SIGCHLD`: once for any number of children.
    pub children: bool,
}

impl Signals {
    /// Blocks the signals for this thread and those that it will start; before there are any.
    pub fn take_over() -> io::Result<Self> {
        let set = |signals: &[Signal]| -> io::Result<SignalFd> {
            let set: SigSet = signals.iter().copied().collect();
            set.thread_block()?;
            let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
            Ok(SignalFd::with_flags(&set, flags)?)
        };
        Ok(Self {
            stop: set(&[Signal::SIGTERM, Signal::SIGINT])?,
            others: set(&[Signal::SIGHUP, Signal::SIGCHLD])?,
        })
    }

    /// Readable once the server shall end.
    pub fn stop(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }

    /// Readable when [`Signals::take`] has something.
    pub fn others(&self) -> BorrowedFd<'_> {
        self.others.as_fd()
    }

    /// Whether the server shall end.
    pub fn is_stopped(&self) -> bool {
        let mut fds = [PollFd::new(self.stop(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Takes the other signals that are pending.
    pub fn take(&self) -> io::Result<Others> {
        let mut others = Others::default();
        loop {
            match self.others.read_signal() {
                Ok(Some(info)) => match Signal::try_from(info.ssi_signo as i32) {
                    Ok(Signal::SIGHUP) => others.reload = true,
                    _ => others.children = true,
                },
                Ok(None) => return Ok(others),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
