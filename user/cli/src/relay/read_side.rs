// SPDX-License-Identifier: MIT

//! [`ReadSide`]: the side of the relay whose queue is read, [`Sending`] with its descriptor.

use super::message::{Piece, Role, Unit, PIECE_BYTES};
use super::pump::{Machine, Side};
use super::sending::{Outcome, Sending};
use super::{Error, Result};
use kpipe::{Control, Queue, Reader, Wait};
use nix::poll::PollFlags;
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};

/// See the file's head.
#[derive(Debug)]
pub struct ReadSide {
    queue: Queue,
    /// Not before a reader there is known, and not after the end of file.
    reader: Option<Reader>,
    /// Whether it knows packets; a FIFO does not.
    is_device: bool,
    block: Vec<u8>,
    state: Sending,
}

impl ReadSide {
    /// A stream that begins when the other side is there.
    pub fn new(queue: Queue) -> Self {
        // std's hashers are seeded by chance: good enough to tell streams apart.
        let stream = RandomState::new().hash_one(std::process::id());
        Self {
            queue,
            reader: None,
            is_device: false,
            block: vec![0; PIECE_BYTES],
            state: Sending::new(stream.max(1)),
        }
    }

    /// Never waits: until the first writer came, poll(2) does not report the end of file that a read would.
    fn open(&mut self) -> Result<()> {
        let reader = self.queue.reader(Wait::Never)?;
        self.is_device = match reader.info() {
            Ok(_) => true,
            Err(kpipe::Error::NotAQueue { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        self.reader = Some(reader);
        Ok(())
    }
}

impl Side for ReadSide {
    fn role(&self) -> Role {
        Role::Sending
    }

    fn queue(&self) -> &Queue {
        &self.queue
    }

    fn machine(&mut self) -> &mut dyn Machine {
        &mut self.state
    }

    fn prepare(&mut self) -> Result<()> {
        if self.reader.is_none() && self.state.wants_to_read() {
            self.open()?;
        }
        Ok(())
    }

    fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let reader = self.reader.as_ref()?;
        self.state
            .wants_to_read()
            .then(|| (reader.as_fd(), PollFlags::POLLIN))
    }

    fn advance(&mut self, _: PollFlags) -> Result<()> {
        let Some(reader) = &mut self.reader else {
            return Ok(());
        };
        // Before the read: a packet that is there was written in this mode, unless it changes right now.
        let is_packet = self.is_device && reader.info()?.mode == kpipe::MODE_PACKET;
        match reader.read(&mut self.block) {
            Ok(0) => {
                // Who opens it from now on waits for another reader.
                self.reader = None;
                self.state.end_of_file();
            }
            Ok(length) => self.state.take(Piece {
                unit: if is_packet { Unit::Packet } else { Unit::Bytes },
                bytes: self.block[..length].into(),
            }),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(source) => {
                return Err(Error::QueueIo {
                    queue: self.queue.clone(),
                    source,
                })
            }
        }
        Ok(())
    }

    fn outcome(&self) -> Option<Outcome> {
        self.state.outcome()
    }

    /// Whoever says that it is over is the other side, so there is nothing to be told.
    fn may_leave(&self) -> bool {
        true
    }

    fn progress(&self) -> (u64, u64) {
        self.state.taken_and_acked()
    }
}
