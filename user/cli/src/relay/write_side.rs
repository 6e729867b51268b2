// SPDX-License-Identifier: MIT

//! [`WriteSide`]: the side of the relay whose queue is written, [`Receiving`] with its descriptor.

use super::later::Later;
use super::message::{Role, Unit};
use super::pump::{Machine, Side};
use super::receiving::Receiving;
use super::sending::Outcome;
use super::{Error, Result};
use kpipe::{Control, Mode, Queue, Wait, Writer};
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::PollFlags;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// See the file's head.
#[derive(Debug)]
pub struct WriteSide {
    queue: Queue,
    end: End,
    /// How the queue was last told to take writes; `None`: as it is.
    mode: Option<Mode>,
    state: Receiving,
}

/// Of the write end.
#[derive(Debug)]
enum End {
    /// Nobody is there who would write.
    Unwanted,
    /// Waits for a reader.
    Opening(Later<kpipe::Result<Writer>>),
    Open(Writer),
    Closed,
}

impl WriteSide {
    /// For whatever comes.
    pub fn new(queue: Queue) -> Self {
        Self {
            queue,
            end: End::Unwanted,
            mode: None,
            state: Receiving::default(),
        }
    }

    /// Writes what the queue takes.
    fn write(&mut self) -> Result<()> {
        while let (End::Open(writer), Some((piece, bytes))) = (&mut self.end, self.state.to_write())
        {
            let mode = match piece.unit {
                Unit::Bytes => Mode::Stream,
                Unit::Packet => Mode::Packet,
            };
            // A queue keeps the mode that a relay before this one has set.
            if self.mode != Some(mode) {
                match set_mode(writer, mode) {
                    // A FIFO, whose bytes are a stream anyway.
                    Err(Error::NoPackets { .. }) if mode == Mode::Stream => {}
                    set => set?,
                }
                self.mode = Some(mode);
            }
            match writer.write(bytes) {
                Ok(length) => self.state.wrote(length),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::Interrupted => {}
                    ErrorKind::BrokenPipe => self.close(Outcome::Gone),
                    _ => {
                        return Err(Error::QueueIo {
                            queue: self.queue.clone(),
                            source: error,
                        })
                    }
                },
            }
        }
        Ok(())
    }

    fn close(&mut self, outcome: Outcome) {
        self.end = End::Closed;
        self.state.closed(outcome);
    }
}

fn set_mode(writer: &Writer, mode: Mode) -> Result<()> {
    writer.set_mode(mode).map_err(|error| match error {
        kpipe::Error::NotAQueue { queue } => Error::NoPackets { queue },
        error => error.into(),
    })
}

impl Side for WriteSide {
    fn role(&self) -> Role {
        Role::Receiving
    }

    fn queue(&self) -> &Queue {
        &self.queue
    }

    fn machine(&mut self) -> &mut dyn Machine {
        &mut self.state
    }

    fn prepare(&mut self) -> Result<()> {
        if matches!(self.end, End::Unwanted) && self.state.is_up() {
            let queue = self.queue.clone();
            let opening = Later::start(move || queue.writer(Wait::Block));
            self.end = End::Opening(opening?);
        }
        if matches!(self.end, End::Open(_)) && self.state.is_delivered() {
            self.close(Outcome::Complete);
        }
        Ok(())
    }

    fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.end {
            End::Unwanted | End::Closed => None,
            End::Opening(opening) => Some((opening.as_fd(), PollFlags::empty())),
            // That the reader has gone (POLLERR) is reported unasked.
            End::Open(writer) => Some((
                writer.as_fd(),
                match self.state.to_write() {
                    Some(_) => PollFlags::POLLOUT,
                    None => PollFlags::empty(),
                },
            )),
        }
    }

    fn advance(&mut self, events: PollFlags) -> Result<()> {
        match &self.end {
            End::Opening(opening) => {
                if let Some(writer) = opening.take()? {
                    let writer = writer?;
                    set_nonblocking(&writer).map_err(|source| Error::QueueIo {
                        queue: self.queue.clone(),
                        source,
                    })?;
                    self.end = End::Open(writer);
                    self.state.queue_is_open();
                }
            }
            End::Open(_) if events.contains(PollFlags::POLLERR) => self.close(Outcome::Gone),
            End::Open(_) => self.write()?,
            End::Unwanted | End::Closed => {}
        }
        Ok(())
    }

    fn outcome(&self) -> Option<Outcome> {
        self.state.outcome().map(|(outcome, _)| outcome)
    }

    fn may_leave(&self) -> bool {
        self.state.outcome().is_some_and(|(_, is_told)| is_told)
    }

    fn progress(&self) -> (u64, u64) {
        self.state.came_and_delivered()
    }
}

fn set_nonblocking(writer: &Writer) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(writer, FcntlArg::F_GETFL)?);
    fcntl(writer, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
