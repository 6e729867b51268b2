// SPDX-License-Identifier: GPL-2.0

//! One queue: the rules of `model/` wrapped in locks and wait queues.
//!
//! [`Pipe`] is what a FIFO's inode is to `fs/pipe.c`. `file.rs` calls it in process context.
//!
//! # Locks
//!
//! `ends`, then the read side of the ring, then its write side; each may sleep. Readers and writers
//! never share a lock: a reader holds the read side while it copies, a writer the write side. Nobody
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

use crate::model::ends::{
    self, poll, Access, Closed, Ends, NoReader, Opened, PollView, ReadState, Wait, WriteState,
};
use crate::model::ring::capacity_for;
use crate::sys::atomic::{
    Acquire, AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Relaxed, Release,
};
use crate::sys::request::Request;
use crate::sys::ring::{Mark, ReadGuard, Ring};
use crate::sys::task;
use crate::sys::wait::{new_wait_queue, PollTable, Sleep, WaitQueue};
use crate::uapi;
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex, MutexGuard};

/// A queue of bytes with any number of readers and writers.
#[pin_data]
pub struct Pipe {
    /// The N of `/dev/kpipeN`.
    index: u32,
    /// Who has the queue open. Holding it also keeps the ring's memory from coming and going.
    #[pin]
    ends: Mutex<Ends>,
    /// What `ends` says, for those who look without the lock. Stored under it.
    readers: AtomicU32,
    writers: AtomicU32,
    reader_opens: AtomicU32,
    writer_opens: AtomicU32,
    /// The bytes. It has memory while `ends` counts anybody.
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
    /// Openers without a partner.
    #[pin]
    partner: WaitQueue,
    read: Moved,
    write: Moved,
}

impl Pipe {
    /// An unused queue. `capacity_bytes` is a power of two.
    pub fn new(index: u32, capacity_bytes: usize) -> impl PinInit<Self> {
        pin_init!(Self {
            index,
            ends <- new_mutex!(Ends::default(), "kpipe::ends"),
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            reader_opens: AtomicU32::new(0),
            writer_opens: AtomicU32::new(0),
            ring <- Ring::new(),
            capacity: AtomicUsize::new(capacity_bytes),
            readable <- new_wait_queue!(c"kpipe::readable"),
            is_polled: AtomicBool::new(false),
            writable <- new_wait_queue!(c"kpipe::writable"),
            partner <- new_wait_queue!(c"kpipe::partner"),
            read: Moved::new(),
            write: Moved::new(),
        })
    }

    /// Opens an end, as fifo(7) has it: waits for a partner if the access asks for one.
    ///
    /// Returns the number of writer opens up to which poll shows no `POLLHUP`, if there is one.
    /// `ENXIO`: would be a writer without readers. `ENOMEM`: no memory for the ring. `ERESTARTSYS`: a
    /// signal during the wait; the end does not count any more.
    pub fn open(&self, access: Access, wait: Wait) -> Result<Option<u32>> {
        let opened = {
            let mut ends = self.ends.lock();
            let mut after = *ends;
            let opened = after.open(access, wait)?;
            if ends.is_unused() && !after.is_unused() {
                self.ring.resize(self.capacity.load(Relaxed))?;
            }
            self.set_ends(&mut ends, after);
            opened
        };
        if self.partner.has_sleepers() {
            self.partner.wake_all();
        }
        match opened {
            Opened::Ready => Ok(None),
            Opened::ReadyBeforeFirstWriter(opens) => Ok(Some(opens)),
            Opened::AwaitWriter(opens) => {
                self.await_partner(access, || self.writer_opens.load(Acquire) != opens)
            }
            Opened::AwaitReader(opens) => {
                self.await_partner(access, || self.reader_opens.load(Acquire) != opens)
            }
        }
    }

    fn await_partner(&self, access: Access, came: impl Fn() -> bool) -> Result<Option<u32>> {
        while !came() {
            if self.partner.sleep(&came) == Sleep::Interrupted {
                let ends = self.ends.lock();
                // Under the lock nobody can come any more: a partner is not left waiting for a
                // companion that gave up.
                if !came() {
                    self.close_locked(ends, access);
                    return Err(ERESTARTSYS);
                }
            }
        }
        Ok(None)
    }

    /// Closes an end that [`open`](Self::open) opened. The last one takes data and memory along.
    pub fn close(&self, access: Access) {
        self.close_locked(self.ends.lock(), access);
    }

    fn close_locked(&self, mut ends: MutexGuard<'_, Ends>, access: Access) {
        let mut after = *ends;
        let closed = after.close(access);
        self.set_ends(&mut ends, after);
        if closed == Closed::LastOfAll {
            self.ring.free();
            self.is_polled.store(false, Relaxed);
        }
        drop(ends);
        if closed == Closed::LastOfItsSide {
            // End of file for every reader, a broken pipe for every writer.
            self.readable.wake_all();
            self.writable.wake_all();
        }
    }

    fn set_ends(&self, ends: &mut Ends, after: Ends) {
        *ends = after;
        self.readers.store(after.readers, Release);
        self.writers.store(after.writers, Release);
        self.reader_opens.store(after.reader_opens, Release);
        self.writer_opens.store(after.writer_opens, Release);
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
            let writers = self.writers.load(Acquire);
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
        self.writers.load(Acquire) == 0 || self.ring.has_data()
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
        self.read.count(taken_bytes);
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
            let readers = self.readers.load(Acquire);
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
                    self.write.count_more(piece.done_bytes, done_bytes == 0);
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
        self.readers.load(Acquire) == 0 || ends::is_writable(self.ring.fill().room_bytes)
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
        let (readers, writers) = (self.readers.load(Acquire), self.writers.load(Acquire));
        let writer_opens = self.writer_opens.load(Acquire);
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
        {
            let ends = self.ends.lock();
            let is_growing = capacity_bytes > self.capacity.load(Relaxed);
            let is_above_limit = capacity_bytes as u64 > uapi::UNPRIVILEGED_CAPACITY_BYTES;
            if is_growing && is_above_limit && !task::may_exceed_limits() {
                return Err(EPERM);
            }
            if !ends.is_unused() {
                self.ring.resize(capacity_bytes)?;
            }
            self.capacity.store(capacity_bytes, Relaxed);
        }
        self.writable.wake_all();
        Ok(capacity_bytes)
    }

    /// What the queue is and what it has done.
    pub fn info(&self) -> uapi::Info {
        uapi::Info {
            size: size_of::<uapi::Info>() as u32,
            version: uapi::VERSION,
            index: self.index,
            readers: self.readers.load(Relaxed),
            writers: self.writers.load(Relaxed),
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

/// Bytes and operations of one side. Counted under the lock of that side, read without it.
struct Moved {
    bytes: AtomicU64,
    operations: AtomicU64,
}

impl Moved {
    fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            operations: AtomicU64::new(0),
        }
    }

    /// A whole operation.
    fn count(&self, len_bytes: usize) {
        self.count_more(len_bytes, true);
    }

    /// Part of an operation, perhaps its first.
    fn count_more(&self, len_bytes: usize, is_first: bool) {
        if len_bytes == 0 {
            return;
        }
        // Load and store and no atomic addition: the lock keeps other writers of these away. They
        // wrap, in theory, as counters do.
        let bytes = self.bytes.load(Relaxed).wrapping_add(len_bytes as u64);
        self.bytes.store(bytes, Relaxed);
        if is_first {
            let operations = self.operations.load(Relaxed).wrapping_add(1);
            self.operations.store(operations, Relaxed);
        }
    }

    fn counters(&self, queue: &WaitQueue) -> uapi::Counters {
        uapi::Counters {
            bytes: self.bytes.load(Relaxed),
            operations: self.operations.load(Relaxed),
            sleeps: queue.sleeps.load(Relaxed),
            wakeups: queue.wakeups.load(Relaxed),
        }
    }

    fn reset(&self, queue: &WaitQueue) {
        for counter in [&self.bytes, &self.operations, &queue.sleeps, &queue.wakeups] {
            counter.store(0, Relaxed);
        }
    }
}

impl From<NoReader> for Error {
    fn from(_: NoReader) -> Error {
        ENXIO
    }
}
