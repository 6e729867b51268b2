// SPDX-License-Identifier: GPL-2.0

//! One queue: the rules of `model/` wrapped in locks and wait queues.
//!
//! [`Pipe`] is what a FIFO's inode is to `fs/pipe.c`. `file.rs` calls it in process context.
//!
//! # Locks
//!
//! The one of [`Partners`], then the read side of the ring, then its write side; each may sleep.
//! Readers and writers never share a lock: a reader holds the read side while it copies, a writer the write side. Nobody
//! holds any of them while it waits for the queue or for a partner. No task is woken under a lock
//! that it will take first.
//!
//! # Why no wakeup is lost
//!
//! Who sleeps queues itself first and looks at the indices and counts then. Who changes an index or
//! a count stores it first and looks for sleepers then ([`WaitQueue::has_sleepers`] has the full
//! barrier). So one of the two sees the other. Wakeups are exclusive: one write wakes one reader. Who
//! was woken and leaves something behind wakes the next one (the baton; compare `wake_next_reader` in
//! `fs/pipe.c`).

use crate::counters::{Moved, Part};
use crate::model::ends::{self, poll, Access, Closed, PollView, ReadState, Wait, WriteState};
use crate::model::ring::capacity_for;
use crate::partners::Partners;
use crate::sys::atomic::{AtomicBool, AtomicUsize, Relaxed};
use crate::sys::request::Request;
use crate::sys::ring::{Mark, ReadGuard, Ring};
use crate::sys::task;
use crate::sys::wait::{new_wait_queue, PollTable, Sleep, WaitQueue};
use crate::uapi;
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;

/// A queue of bytes with any number of readers and writers.
#[pin_data]
pub struct Pipe {
    /// The N of `/dev/kpipeN`.
    index: u32,
    /// Who has the queue open.
    #[pin]
    partners: Partners,
    /// The bytes. It has memory while anybody has the queue open.
    #[pin]
    ring: Ring,
    /// Capacity in bytes of the ring's memory, now or when it is next allocated.
    capacity: AtomicUsize,
    /// Readers of an empty queue, and pollers of read ends.
    #[pin]
    readable: WaitQueue,
    /// Has anybody polled a read end since the queue was unused?
    is_polled: AtomicBool,
    /// Writers to a full queue, and pollers of write ends.
    #[pin]
    writable: WaitQueue,
    read: Moved,
    write: Moved,
}

impl Pipe {
    /// An unused queue. `capacity_bytes` is a power of two.
    pub fn new(index: u32, capacity_bytes: usize) -> impl PinInit<Self> {
        pin_init!(Self {
            index,
            partners <- Partners::new(),
            ring <- Ring::new(),
            capacity: AtomicUsize::new(capacity_bytes),
            readable <- new_wait_queue!(c"kpipe::readable"),
            is_polled: AtomicBool::new(false),
            writable <- new_wait_queue!(c"kpipe::writable"),
            read: Moved::new(),
            write: Moved::new(),
        })
    }

    /// Opens an end, as fifo(7) has it; see [`Partners::open`]. `ENOMEM`: no memory for the ring.
    pub fn open(&self, access: Access, wait: Wait) -> Result<Option<u32>> {
        let allocate = || self.ring.resize(self.capacity.load(Relaxed));
        self.partners.open(access, wait, allocate, || self.free())
    }

    /// Closes an end that [`open`](Self::open) opened. The last one takes data and memory along.
    pub fn close(&self, access: Access) {
        if self.partners.close(access, || self.free()) == Closed::LastOfItsSide {
            // End of file for every reader, a broken pipe for every writer.
            self.readable.wake_all();
            self.writable.wake_all();
        }
    }

    fn free(&self) {
        self.ring.free();
        self.is_polled.store(false, Relaxed);
    }

    /// read(2): takes what is there, and waits only if there is nothing.
    pub fn read(&self, request: Request<'_>, to: &mut IovIterDest<'_>) -> Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        let mut was_woken = false;
        loop {
            let side = self.ring.lock_read();
            // Writers first, data second: see `read_state`.
            let writers = self.partners.writers();
            match ends::read_state(writers, side.queued_bytes()) {
                ReadState::Data => return self.take(side, to, was_woken),
                ReadState::Eof => return Ok(0),
                ReadState::Empty if request.wait() == Wait::Never => return Err(EAGAIN),
                ReadState::Empty => drop(side),
            }
            match self.readable.sleep(|| self.is_worth_reading()) {
                Sleep::Interrupted => return Err(ERESTARTSYS),
                Sleep::Woken => was_woken = true,
                Sleep::NotNeeded => {}
            }
        }
    }

    /// What a reader waits for: anything but [`ReadState::Empty`].
    fn is_worth_reading(&self) -> bool {
        self.partners.writers() == 0 || self.ring.has_data()
    }

    /// Copies out until the user's buffer is full or the ring is empty.
    ///
    /// In pieces, so that a writer can fill the room of the first while the next is copied; and no
    /// more than a ringful, so that a fast writer cannot keep other readers out.
    fn take(
        &self,
        mut side: ReadGuard<'_>,
        to: &mut IovIterDest<'_>,
        was_woken: bool,
    ) -> Result<usize> {
        let most_bytes = to.len().min(side.capacity_bytes());
        let mut taken_bytes = 0;
        loop {
            let piece = side.take(to, (most_bytes - taken_bytes).min(PIECE_BYTES));
            taken_bytes += piece.done_bytes;
            self.tell_writers(&side, piece.done_bytes);
            let is_empty = piece.wanted_bytes == 0;
            if is_empty || piece.is_torn() || taken_bytes == most_bytes {
                break;
            }
        }
        if taken_bytes > 0 {
            self.read.count(taken_bytes, Part::First);
        }
        drop(side);
        // The baton: who was woken and leaves data behind wakes the next reader.
        if was_woken && self.ring.has_data() && self.readable.has_sleepers() {
            self.readable.wake_one(DATA);
        }
        if taken_bytes == 0 {
            return Err(EFAULT);
        }
        Ok(taken_bytes)
    }

    /// Wakes one writer (and the pollers) if the bytes just taken made the queue writable.
    ///
    /// Called under the read lock, where no other reader moves `tail`. `head` is no older than what a
    /// sleeper has seen; so if it saw too little room, then so does this for the time before.
    fn tell_writers(&self, side: &ReadGuard<'_>, taken_bytes: usize) {
        if self.writable.has_sleepers() {
            let room_bytes = side.room_bytes();
            let room_before_bytes = room_bytes.saturating_sub(taken_bytes);
            if ends::is_writable(room_bytes) && !ends::is_writable(room_before_bytes) {
                self.writable.wake_one(ROOM);
            }
        }
    }

    /// write(2): all of it, waiting for room; a short one in one piece.
    pub fn write(&self, request: Request<'_>, from: &mut IovIterSource<'_>) -> Result<usize> {
        let len_bytes = from.len();
        if len_bytes == 0 {
            return Ok(0);
        }
        let mut done_bytes = 0;
        let mut was_woken = false;
        let end = loop {
            // Taken anew for each piece: a fast reader cannot keep other writers out.
            let mut side = self.ring.lock_write();
            let readers = self.partners.readers();
            let rest_bytes = len_bytes - done_bytes;
            match ends::write_state(readers, side.room_bytes(), len_bytes, rest_bytes) {
                WriteState::Broken => break Err(EPIPE),
                WriteState::Full if request.wait() == Wait::Never => break Err(EAGAIN),
                WriteState::Full => {
                    drop(side);
                    match self.writable.sleep(|| self.is_worth_writing()) {
                        Sleep::Interrupted => break Err(ERESTARTSYS),
                        Sleep::Woken => was_woken = true,
                        Sleep::NotNeeded => {}
                    }
                }
                WriteState::Room(room_bytes) => {
                    let piece = side.stage(from, room_bytes.min(PIECE_BYTES));
                    if piece.is_torn() && (ends::is_atomic(len_bytes) || piece.done_bytes == 0) {
                        break Err(EFAULT);
                    }
                    let part = if done_bytes == 0 {
                        Part::First
                    } else {
                        Part::Later
                    };
                    self.write.count(piece.done_bytes, part);
                    let ringful_bytes = side.capacity_bytes();
                    let mark = side.publish();
                    self.tell_readers(mark);
                    done_bytes += piece.done_bytes;
                    if piece.is_torn() {
                        break Err(EFAULT);
                    }
                    if done_bytes == len_bytes {
                        break Ok(());
                    }
                    // A FIFO would have been full by now, and would have looked for signals.
                    if done_bytes >= ringful_bytes && task::is_signalled() {
                        break Err(ERESTARTSYS);
                    }
                }
            }
        };
        // The baton: who was woken and leaves room behind wakes the next writer.
        let leaves_room = was_woken && ends::is_writable(self.ring.fill().room_bytes);
        if leaves_room && self.writable.has_sleepers() {
            self.writable.wake_one(ROOM);
        }
        if end == Err(EPIPE) && !request.is_without_signal() {
            task::send_sigpipe();
        }
        match end {
            Err(error) if done_bytes == 0 => Err(error),
            _ => Ok(done_bytes),
        }
    }

    /// What a writer waits for once it sleeps.
    fn is_worth_writing(&self) -> bool {
        self.partners.readers() == 0 || ends::is_writable(self.ring.fill().room_bytes)
    }

    /// Wakes one reader (and the pollers) after bytes from `mark` on were written.
    ///
    /// Only if the bytes before them are gone: else somebody has been woken for those, and will pass
    /// the wakeup on. Who sleeps has seen an empty queue, so the first write after that wakes. Edge-
    /// triggered pollers, though, want to hear of every write (`poll_usage` in `fs/pipe.c`).
    fn tell_readers(&self, mark: Mark) {
        if self.readable.has_sleepers()
            && (self.ring.is_drained(mark) || self.is_polled.load(Relaxed))
        {
            self.readable.wake_one(DATA);
        }
    }

    /// Waits until a read need not wait.
    pub fn await_data(&self, wait: Wait) -> Result {
        while !self.is_worth_reading() {
            if wait == Wait::Never {
                return Err(EAGAIN);
            }
            match self.readable.sleep(|| self.is_worth_reading()) {
                Sleep::Interrupted => return Err(ERESTARTSYS),
                // This task takes nothing yet, so the wakeup is passed on at once.
                Sleep::Woken if self.ring.has_data() => self.readable.wake_one(DATA),
                Sleep::Woken | Sleep::NotNeeded => {}
            }
        }
        Ok(())
    }

    /// Waits until a write need not wait. Returns how many bytes it may have: at least one, also
    /// for a write that will fail for lack of readers.
    pub fn await_room(&self, wait: Wait) -> Result<usize> {
        while !self.is_worth_writing() {
            if wait == Wait::Never {
                return Err(EAGAIN);
            }
            match self.writable.sleep(|| self.is_worth_writing()) {
                Sleep::Interrupted => return Err(ERESTARTSYS),
                Sleep::Woken if self.is_worth_writing() => self.writable.wake_one(ROOM),
                Sleep::Woken | Sleep::NotNeeded => {}
            }
        }
        Ok(self.ring.fill().room_bytes.max(1))
    }

    /// poll(2): what is ready now. `unseen_opens` is what [`open`](Self::open) returned.
    pub fn poll<'open>(
        &'open self,
        access: Access,
        unseen_opens: Option<u32>,
        table: &PollTable<'open>,
    ) -> u32 {
        if access.reads() {
            if !self.is_polled.load(Relaxed) {
                self.is_polled.store(true, Relaxed);
            }
            self.readable.register(table);
        }
        if access.writes() {
            self.writable.register(table);
        }
        // Writers before data, as in `read_state`: no `POLLHUP` that hides a last `POLLIN`.
        // And the opens before the writers, so that the first writer is not taken for one that left.
        let writer_opens = self.partners.writer_opens();
        let (readers, writers) = (self.partners.readers(), self.partners.writers());
        let fill = self.ring.fill();
        ends::poll_mask(
            access,
            PollView {
                queued_bytes: fill.queued_bytes,
                room_bytes: fill.room_bytes,
                readers,
                writers,
                has_seen_writer: unseen_opens != Some(writer_opens),
            },
        )
    }

    /// Bytes in the queue.
    pub fn queued_bytes(&self) -> usize {
        self.ring.fill().queued_bytes
    }

    /// Sets the capacity, for now and for later opens, and returns what it became; see
    /// [`uapi::IOC_RESIZE`].
    pub fn resize(&self, wanted_bytes: u64) -> Result<usize> {
        let capacity_bytes = capacity_for(wanted_bytes).ok_or(EINVAL)?;
        self.partners.while_fixed(|is_open| {
            let is_growing = capacity_bytes > self.capacity.load(Relaxed);
            let is_above_limit = capacity_bytes as u64 > uapi::UNPRIVILEGED_CAPACITY_BYTES;
            if is_growing && is_above_limit && !task::may_exceed_limits() {
                return Err(EPERM);
            }
            if is_open {
                self.ring.resize(capacity_bytes)?;
            }
            self.capacity.store(capacity_bytes, Relaxed);
            Ok(())
        })?;
        self.writable.wake_all();
        Ok(capacity_bytes)
    }

    /// What the queue is and what it has done.
    pub fn info(&self) -> uapi::Info {
        uapi::Info {
            size: size_of::<uapi::Info>() as u32,
            version: uapi::VERSION,
            index: self.index,
            readers: self.partners.readers(),
            writers: self.partners.writers(),
            reserved: 0,
            capacity_bytes: self.capacity.load(Relaxed) as u64,
            queued_bytes: self.queued_bytes() as u64,
            read: self.read.counters(&self.readable),
            write: self.write.counters(&self.writable),
        }
    }

    /// Sets all counters to zero.
    pub fn reset_counters(&self) {
        let _read = self.ring.lock_read();
        let _write = self.ring.lock_write();
        self.read.reset(&self.readable);
        self.write.reset(&self.writable);
    }
}

/// Most bytes that are copied before the other side hears of them. Less means more overlap but
/// more looking; measured with 4 KiB to 64 KiB.
const PIECE_BYTES: usize = 16384;

/// What readers are woken for.
const DATA: u32 = poll::IN | poll::RDNORM;

/// What writers are woken for.
const ROOM: u32 = poll::OUT | poll::WRNORM;
