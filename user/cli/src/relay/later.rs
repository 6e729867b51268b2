// SPDX-License-Identifier: MIT

//! [`Later`]: the result of a call that may sleep, for a loop that may not: opening a queue, connecting.

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc;
use std::thread;

/// A call in a thread of its own. Its descriptor hangs up (`POLLHUP`) when the call has returned.
///
/// Dropping it does not end the call: nothing can wake a thread out of open(2). It ends with the process.
#[derive(Debug)]
pub struct Later<T> {
    result: mpsc::Receiver<T>,
    returned: OwnedFd,
}

impl<T: Send + 'static> Later<T> {
    /// Starts the call.
    pub fn start(call: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (returned, running) = pipe2(OFlag::O_CLOEXEC)?;
        let (sender, result) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            // Nobody listens any more: then nobody wants it.
            let _ = sender.send(call());
            drop(running);
        })?;
        Ok(Self { result, returned })
    }

    /// The result, once, when it is there.
    pub fn take(&self) -> Option<T> {
        self.result.try_recv().ok()
    }
}

impl<T> AsFd for Later<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.returned.as_fd()
    }
}
