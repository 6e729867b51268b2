// SPDX-License-Identifier: MIT

//! [`Receiver`] and [`Sender`]: the two queues of a channel as one party sees them, each a descriptor
//! to read from or to write to.

use crate::Wait;
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{recv, send, shutdown, MsgFlags, Shutdown};
use nix::unistd;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// What a descriptor is, for the calls that sockets have and others have not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    /// read(2), write(2), and closed to say that no more will come.
    File,
    /// send(2) without a signal, shutdown(2).
    Socket,
}

/// The queue towards us. Dropping it tells the peer's next write that nobody reads.
#[derive(Debug)]
pub struct Receiver(Half);

/// The queue away from us. [`Sender::finish`] ends the peer's stream (end of file).
#[derive(Debug)]
pub struct Sender(Half);

/// Whether the other end of a queue has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partner {
    /// It has.
    Known,
    /// Perhaps not. Until the first writer came, a read would give end of file, but poll(2) does not.
    Awaited,
}

#[derive(Debug)]
struct Half {
    fd: OwnedFd,
    is: Is,
    partner: Partner,
    wait: Wait,
    /// How long one call may wait in all.
    limit: Option<Duration>,
}

impl Receiver {
    pub(super) fn new(fd: OwnedFd, is: Is, partner: Partner) -> Self {
        Self(Half::new(fd, is, partner))
    }

    /// Whether a read sleeps or fails with [`io::ErrorKind::WouldBlock`] when nothing is there.
    pub fn set_wait(&mut self, wait: Wait) -> io::Result<()> {
        self.0.set_wait(wait)
    }

    /// A read fails with [`io::ErrorKind::TimedOut`] after `limit`; `None`: it sleeps as long as it takes.
    pub fn set_timeout(&mut self, limit: Option<Duration>) -> io::Result<()> {
        self.0.set_timeout(limit)
    }
}

impl Sender {
    pub(super) fn new(fd: OwnedFd, is: Is) -> Self {
        Self(Half::new(fd, is, Partner::Known))
    }

    /// Whether a write sleeps or fails with [`io::ErrorKind::WouldBlock`] when the queue is full.
    pub fn set_wait(&mut self, wait: Wait) -> io::Result<()> {
        self.0.set_wait(wait)
    }

    /// A write fails with [`io::ErrorKind::TimedOut`] if it could hand over nothing for `limit`.
    pub fn set_timeout(&mut self, limit: Option<Duration>) -> io::Result<()> {
        self.0.set_timeout(limit)
    }

    /// Says that no more will come: the peer reads end of file, and may still answer. Merely
    /// dropping a sender says so too, but only when no copy of the descriptor is left in another
    /// process or in the receiver of the same socket.
    pub fn finish(self) -> io::Result<()> {
        match self.0.is {
            Is::File => Ok(()),
            Is::Socket => Ok(shutdown(self.0.fd.as_raw_fd(), Shutdown::Write)?),
        }
    }
}

impl Half {
    fn new(fd: OwnedFd, is: Is, partner: Partner) -> Self {
        Self {
            fd,
            is,
            partner,
            wait: Wait::Block,
            limit: None,
        }
    }

    fn set_wait(&mut self, wait: Wait) -> io::Result<()> {
        (self.wait, self.limit) = (wait, None);
        self.set_nonblocking(wait == Wait::Never)
    }

    fn set_timeout(&mut self, limit: Option<Duration>) -> io::Result<()> {
        (self.wait, self.limit) = (Wait::Block, limit);
        self.set_nonblocking(limit.is_some())
    }

    /// For send(2) and recv(2).
    fn flags(&self) -> MsgFlags {
        match (self.wait, self.limit) {
            (Wait::Block, None) => MsgFlags::MSG_NOSIGNAL,
            _ => MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        }
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        let flags = OFlag::from_bits_retain(fcntl(&self.fd, FcntlArg::F_GETFL)?);
        let mut wanted = flags;
        wanted.set(OFlag::O_NONBLOCK, nonblocking);
        if wanted != flags {
            fcntl(&self.fd, FcntlArg::F_SETFL(wanted))?;
        }
        Ok(())
    }

    /// Does `call` until it has an answer, waiting for `event` in between.
    ///
    /// O_NONBLOCK belongs to the description, which both halves of a socket share: so a half that
    /// shall sleep may find it set by the other, and one that shall not says so with each call ([`Half::flags`]).
    fn complete(
        &mut self,
        event: PollFlags,
        mut call: impl FnMut(&OwnedFd) -> nix::Result<usize>,
    ) -> io::Result<usize> {
        let end = self.limit.map(|limit| Instant::now() + limit);
        loop {
            if self.partner == Partner::Known {
                match call(&self.fd) {
                    Err(Errno::EAGAIN) if self.wait == Wait::Block => {}
                    result => return Ok(result?),
                }
            }
            let left = match (self.wait, end) {
                (Wait::Never, _) => PollTimeout::ZERO,
                (Wait::Block, None) => PollTimeout::NONE,
                (Wait::Block, Some(end)) => {
                    // Rounded up: a poll of 0 ms would spin.
                    let left =
                        end.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
                    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
                }
            };
            if poll(&mut [PollFd::new(self.fd.as_fd(), event)], left)? == 0 {
                return Err(match self.wait {
                    Wait::Never => io::ErrorKind::WouldBlock,
                    Wait::Block => io::ErrorKind::TimedOut,
                }
                .into());
            }
            self.partner = Partner::Known;
        }
    }
}

impl Read for Receiver {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (is, flags) = (self.0.is, self.0.flags());
        self.0.complete(PollFlags::POLLIN, |fd| match is {
            Is::File => unistd::read(fd, buf),
            Is::Socket => recv(fd.as_raw_fd(), buf, flags),
        })
    }
}

impl Write for Sender {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let (is, flags) = (self.0.is, self.0.flags());
        self.0.complete(PollFlags::POLLOUT, |fd| match is {
            Is::File => unistd::write(fd, buf),
            Is::Socket => send(fd.as_raw_fd(), buf, flags),
        })
    }

    /// Nothing to do: what was written is in the queue.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}
