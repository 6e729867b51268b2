// SPDX-License-Identifier: MIT

//! [`Later`]: the result of a call that may sleep, for a loop that may not: opening a queue, connecting.

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{self, TryRecvError};
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
    ///
    /// # Errors
    /// The call panicked, so that none will come.
    pub fn take(&self) -> io::Result<Option<T>> {
        match self.result.try_recv() {
            Ok(result) => Ok(Some(result)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(io::Error::other("its thread has panicked")),
        }
    }
}

impl<T> AsFd for Later<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.returned.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

    /// What is taken first: the descriptor hangs up a moment before or after it is there.
    fn taken<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let later = Later::start(call).unwrap();
        let mut fds = [PollFd::new(later.as_fd(), PollFlags::empty())];
        assert_eq!(poll(&mut fds, PollTimeout::MAX), Ok(1));
        loop {
            if let Some(result) = later.take()? {
                return Ok(result);
            }
        }
    }

    #[test]
    fn a_call_gives_its_result_or_that_it_panicked() {
        assert_eq!(taken(|| 7).unwrap(), 7);
        // As panic!() does, but without words on stderr.
        let error = taken(|| std::panic::resume_unwind(Box::new(()))).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }
}
