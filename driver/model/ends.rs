// SPDX-License-Identifier: GPL-2.0

//! Who has a queue open, and what that means for open, read, write and poll.
//!
//! [`Ends`] counts the open ends as `fs/pipe.c` does. The functions below it turn such counts and
//! the fill of the ring into the one thing that an operation may do now. See fifo(7) and pipe(7).

use crate::uapi::PIPE_BUF_BYTES;

/// What a description was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`
    Read,
    /// `O_WRONLY`
    Write,
    /// `O_RDWR`: both ends at once.
    ReadWrite,
    /// Access mode 3, "ioctl only" (open(2), NOTES): looks at the queue and is no end of it.
    Observe,
}

impl Access {
    /// Is this a read end?
    pub fn reads(self) -> bool {
        matches!(self, Access::Read | Access::ReadWrite)
    }

    /// Is this a write end?
    pub fn writes(self) -> bool {
        matches!(self, Access::Write | Access::ReadWrite)
    }
}

/// May this call sleep?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Yes, until the queue lets it go on.
    Block,
    /// No: `O_NONBLOCK`, `RWF_NOWAIT`.
    Never,
}

/// What an open does without a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Of a queue with a name: it waits or, with [`Wait::Never`], does without (fifo(7)).
    Named(Wait),
    /// Of a queue without one, as through `/proc/self/fd/N` of a pipe: it does without in any case.
    Anonymous,
}

/// The open ends of one queue.
///
/// `reader_opens` and `writer_opens` count opens, not present ends, and never go down: an opener
/// that waits for its partner compares these, so that a partner that comes and goes at once still
/// releases it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Open read ends.
    pub readers: u32,
    /// Open write ends.
    pub writers: u32,
    /// Read ends ever opened, modulo 2^32.
    pub reader_opens: u32,
    /// Write ends ever opened, modulo 2^32.
    pub writer_opens: u32,
}

/// What an open that was let in does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Returns: nothing to wait for.
    Ready,
    /// Returns, with no writer seen yet: poll shows no `POLLHUP` while `writer_opens` is this.
    ReadyBeforeFirstWriter(u32),
    /// Waits until `writer_opens` differs from this.
    AwaitWriter(u32),
    /// Waits until `reader_opens` differs from this.
    AwaitReader(u32),
}

/// `O_WRONLY | O_NONBLOCK` without a reader: `ENXIO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoReader;

/// What a close leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Both sides, or the side that was closed, are still there: nobody needs to know.
    Quiet,
    /// One side is gone and the other is still there: everybody who sleeps must look again.
    LastOfItsSide,
    /// Nobody is left: data and memory go.
    LastOfAll,
}

impl Ends {
    /// Counts a new end in and says whether its opener has to wait for a partner.
    pub fn open(&mut self, access: Access, opening: Opening) -> Result<Opened, NoReader> {
        let is_nonblocking = opening == Opening::Named(Wait::Never);
        if access == Access::Write && is_nonblocking && self.readers == 0 {
            return Err(NoReader);
        }
        if access.reads() {
            self.readers += 1;
            self.reader_opens = self.reader_opens.wrapping_add(1);
        }
        if access.writes() {
            self.writers += 1;
            self.writer_opens = self.writer_opens.wrapping_add(1);
        }
        let Opening::Named(wait) = opening else {
            return Ok(Opened::Ready);
        };
        Ok(match (access, wait) {
            (Access::Read, Wait::Never) if self.writers == 0 => {
                Opened::ReadyBeforeFirstWriter(self.writer_opens)
            }
            (Access::Read, Wait::Block) if self.writers == 0 => {
                Opened::AwaitWriter(self.writer_opens)
            }
            (Access::Write, _) if self.readers == 0 => Opened::AwaitReader(self.reader_opens),
            _ => Opened::Ready,
        })
    }

    /// Counts an end out. Each successful [`open`](Self::open) is closed exactly once.
    pub fn close(&mut self, access: Access) -> Closed {
        if access.reads() {
            self.readers -= 1;
        }
        if access.writes() {
            self.writers -= 1;
        }
        match (self.readers, self.writers) {
            _ if access == Access::Observe => Closed::Quiet,
            (0, 0) => Closed::LastOfAll,
            (0, _) | (_, 0) => Closed::LastOfItsSide,
            _ => Closed::Quiet,
        }
    }

    /// Has nobody the queue open?
    pub fn is_unused(&self) -> bool {
        self.readers == 0 && self.writers == 0
    }
}

/// What a read of at least one byte finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadState {
    /// Bytes to take.
    Data,
    /// Nothing yet: wait, or `EAGAIN`.
    Empty,
    /// Nothing, and nobody who could write: end of file. A new writer revives the queue.
    Eof,
}

/// What a read finds. `writers` must have been looked at before `queued_bytes`: a writer that
/// writes and closes in between is then seen with its data, never as a premature end of file.
pub fn read_state(writers: u32, queued_bytes: usize) -> ReadState {
    match (queued_bytes, writers) {
        (1.., _) => ReadState::Data,
        (0, 0) => ReadState::Eof,
        (0, _) => ReadState::Empty,
    }
}

/// What a write of at least one byte finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteState {
    /// Room for this many bytes of the rest, now.
    Room(usize),
    /// Too little: wait until the queue [`is_writable`], or `EAGAIN`.
    Full,
    /// Nobody who could read: `EPIPE`.
    Broken,
}

/// What a write finds: of `len_bytes` in all, `rest_bytes` are still to be written.
///
/// A write of at most [`PIPE_BUF_BYTES`] goes in whole or not at all; a longer one takes what there is.
pub fn write_state(
    readers: u32,
    room_bytes: usize,
    len_bytes: usize,
    rest_bytes: usize,
) -> WriteState {
    let least = if is_atomic(len_bytes) { len_bytes } else { 1 };
    if readers == 0 {
        WriteState::Broken
    } else if room_bytes >= least {
        WriteState::Room(room_bytes.min(rest_bytes))
    } else {
        WriteState::Full
    }
}

/// Must a write of `len_bytes` be all or nothing (`PIPE_BUF`, pipe(7))?
pub fn is_atomic(len_bytes: usize) -> bool {
    len_bytes <= PIPE_BUF_BYTES
}

/// Is a queue with this much room writable, for poll and for those who sleep in a write? Then any
/// atomic write fits. A FIFO waits until a page is free, too: a writer that were woken for every few
/// bytes would fall asleep again at once.
pub fn is_writable(room_bytes: usize) -> bool {
    room_bytes >= PIPE_BUF_BYTES
}

/// Bits of poll(2), from `include/uapi/asm-generic/poll.h`.
pub mod poll {
    /// Data to read.
    pub const IN: u32 = 0x0001;
    /// Room to write.
    pub const OUT: u32 = 0x0004;
    /// Write end without readers.
    pub const ERR: u32 = 0x0008;
    /// Read end without writers.
    pub const HUP: u32 = 0x0010;
    /// Like [`IN`].
    pub const RDNORM: u32 = 0x0040;
    /// Like [`OUT`].
    pub const WRNORM: u32 = 0x0100;
}

/// What poll looks at.
#[derive(Clone, Copy, Debug)]
pub struct PollView {
    /// Bytes in the queue.
    pub queued_bytes: usize,
    /// Bytes that fit.
    pub room_bytes: usize,
    /// Open read ends.
    pub readers: u32,
    /// Open write ends.
    pub writers: u32,
    /// Has any writer been there since this description was opened?
    pub has_seen_writer: bool,
}

/// The readiness of a description, as `pipe_poll()` in `fs/pipe.c` has it.
pub fn poll_mask(access: Access, view: PollView) -> u32 {
    let mut mask = 0;
    if access.reads() {
        if view.queued_bytes > 0 {
            mask |= poll::IN | poll::RDNORM;
        }
        if view.writers == 0 && view.has_seen_writer {
            mask |= poll::HUP;
        }
    }
    if access.writes() {
        if is_writable(view.room_bytes) {
            mask |= poll::OUT | poll::WRNORM;
        }
        if view.readers == 0 {
            mask |= poll::ERR;
        }
    }
    mask
}
