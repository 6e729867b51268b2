// SPDX-License-Identifier: MIT

//! A channel of a [`Receiver`] and a [`Sender`], whatever these are.

use super::{Carries, Channel, Names, Receiver, Sender, MESSAGE_BYTES};
use crate::Wait;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Duplex {
    receiver: Receiver,
    sender: Sender,
    names: Names,
    carries: Carries,
}

impl Duplex {
    /// Both sleep from now on: they may have been opened without waiting.
    pub(super) fn boxed(
        receiver: Receiver,
        sender: Sender,
        names: Names,
        carries: Carries,
    ) -> io::Result<Box<dyn Channel>> {
        let mut channel = Self {
            receiver,
            sender,
            names,
            carries,
        };
        channel.set_wait(Wait::Block)?;
        Ok(Box::new(channel))
    }
}

impl Read for Duplex {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.receiver.read(buf)
    }
}

impl Write for Duplex {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.carries == Carries::Messages && buf.len() > MESSAGE_BYTES {
            let len = buf.len();
            let why = format!("a message of {len} bytes: at most {MESSAGE_BYTES} are allowed");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        self.sender.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sender.flush()
    }
}

impl Channel for Duplex {
    fn carries(&self) -> Carries {
        self.carries
    }

    fn names(&self) -> Names {
        self.names.clone()
    }

    fn rx(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }

    fn tx(&self) -> BorrowedFd<'_> {
        self.sender.as_fd()
    }

    fn set_wait(&mut self, wait: Wait) -> io::Result<()> {
        self.receiver.set_wait(wait)?;
        self.sender.set_wait(wait)
    }

    fn set_timeouts(
        &mut self,
        receive: Option<Duration>,
        send: Option<Duration>,
    ) -> io::Result<()> {
        self.receiver.set_timeout(receive)?;
        self.sender.set_timeout(send)
    }

    fn split(self: Box<Self>) -> io::Result<(Receiver, Sender)> {
        Ok((self.receiver, self.sender))
    }
}
