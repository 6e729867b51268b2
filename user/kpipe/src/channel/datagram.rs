// SPDX-License-Identifier: MIT

//! A server of datagrams: one socket for all clients, whose channel answers whom it heard last.

use super::listen::SocketFile;
use super::socket::names_of;
use super::{Address, Carries, Channel, Error, Listener, Names, Receiver, Result, Sender};
use crate::Wait;
use nix::sys::socket::{recvfrom, sendto, MsgFlags, SockaddrStorage};
use socket2::Socket;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// The channel itself, given out once.
#[derive(Debug)]
pub(super) struct Datagrams {
    address: Address,
    // Dropped before the socket: as long as that answers, nobody else takes the name.
    _file: Option<SocketFile>,
    socket: Socket,
    is_taken: bool,
}

impl Datagrams {
    pub(super) fn new(address: Address, socket: Socket, file: Option<SocketFile>) -> Self {
        Self {
            address,
            socket,
            _file: file,
            is_taken: false,
        }
    }
}

impl Listener for Datagrams {
    fn accept(&mut self) -> Result<Option<Box<dyn Channel>>> {
        if self.is_taken {
            return Ok(None);
        }
        let socket = self
            .socket
            .try_clone()
            .map_err(Error::io(&self.address, "dup"))?;
        let mut channel = Answering {
            socket,
            names: names_of(&self.socket, &self.address)
                .map_err(Error::io(&self.address, "getsockname"))?,
            from: None,
        };
        channel
            .set_wait(Wait::Block)
            .map_err(Error::io(&self.address, "fcntl"))?;
        self.is_taken = true;
        Ok(Some(Box::new(channel)))
    }

    fn ready(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_taken).then(|| self.socket.as_fd())
    }

    fn release(&mut self) -> Result<()> {
        self.is_taken = false;
        Ok(())
    }

    fn address(&self) -> Address {
        self.address.clone()
    }
}

/// A server's datagram socket. It answers whom the last message came from.
#[derive(Debug)]
struct Answering {
    socket: Socket,
    names: Names,
    from: Option<SockaddrStorage>,
}

impl Read for Answering {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (len, from) = recvfrom(self.socket.as_raw_fd(), buf)?;
        self.from = from;
        Ok(len)
    }
}

impl Write for Answering {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let from = self.from.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(sendto(
            self.socket.as_raw_fd(),
            buf,
            from,
            MsgFlags::MSG_NOSIGNAL,
        )?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Channel for Answering {
    fn carries(&self) -> Carries {
        Carries::Messages
    }

    fn names(&self) -> Names {
        let mut names = self.names.clone();
        if let Some(from) = &self.from {
            names.peer = from.to_string();
        }
        names
    }

    fn rx(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn tx(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn set_wait(&mut self, wait: Wait) -> io::Result<()> {
        self.socket.set_read_timeout(None)?;
        self.socket.set_write_timeout(None)?;
        self.socket.set_nonblocking(wait == Wait::Never)
    }

    fn set_timeouts(
        &mut self,
        receive: Option<Duration>,
        send: Option<Duration>,
    ) -> io::Result<()> {
        self.socket.set_nonblocking(false)?;
        self.socket.set_read_timeout(receive)?;
        self.socket.set_write_timeout(send)
    }

    fn split(self: Box<Self>) -> io::Result<(Receiver, Sender)> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
