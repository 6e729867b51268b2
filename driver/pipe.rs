// SPDX-License-Identifier: GPL-2.0

//! One queue: the rules of `model/` wrapped in locks and wait queues.
//!
//! [`Pipe`] is what a FIFO's inode is to `fs/pipe.c`. `file.rs` calls it in process context.
//!
//! # Locks
//!
//! `ends`, then the read side of the ring, then its write side; each may sleep. Readers and writers
//! never share a lock: a reader holds the read side while it copies, a writer the write side. Nobody
//! holds any of them while it waits for the queue or for a partner, and wakeups come after the
//! release, so that the woken task does not run into the lock.
//!
//! # Why no wakeup is lost
//!
//! Who sleeps queues itself first and looks at the indices and counts then. Who changes an index or
//! a count stores it first and looks for sleepers then ([`WaitQueue::has_sleepers`] has the full
//! barrier). So one of the two sees the other. Wakeups are exclusive: one write wakes one reader. Who
//! was woken and leaves something behind, or could not use the wakeup, wakes the next one (the baton;
//! compare `wake_next_reader` in `fs/pipe.c`).

use crate::model::ends::{
    self, poll, Access, Closed, Ends, NoReader, Opened, PollView, ReadState, Wait, WriteState,
};
use crate::model::ring::capacity_for;
use crate::sys::request::Request;
use crate::sys::ring::{ReadGuard, Ring};
use crate::sys::task;
use crate::sys::wait::{new_wait_queue, Key, PollTable, Sleep, WaitQueue};
use crate::uapi;
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
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
    readers: Atomic<u32>,
    writers: Atomic<u32>,
    reader_opens: Atomic<u32>,
    writer_opens: Atomic<u32>,
    /// The bytes. It has memory while `ends` counts anybody.
    #[pin]
    ring: Ring,
    /// Capacity in bytes of the ring's memory, now or when it is next allocated.
    capacity: Atomic<usize>,
    /// Readers of an empty queue, and pollers of read ends.
    #[pin]
    readable: WaitQueue,
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
            readers: Atomic::new(0),
            writers: Atomic::new(0),
            reader_opens: Atomic::new(0),
            writer_opens: Atomic::new(0),
            ring <- Ring::new(),
            capacity: Atomic::new(capacity_bytes),
            readable <- new_wait_queue!(c"kpipe::readable"),
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
            if self.partner.sleep(0, &came) == Sleep::Interrupted {
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
            match self.read_state(|| side.queued_bytes()) {
                ReadState::Data => return self.take(side, to, was_woken),
                ReadState::Eof => return Ok(0),
                ReadState::Empty if request.wait() == Wait::Never => return Err(EAGAIN),
                ReadState::Empty => drop(side),
            }
            let is_empty = || self.read_state(|| self.ring.fill().queued_bytes) == ReadState::Empty;
            match self.readable.sleep(0, || !is_empty()) {
                Sleep::Interrupted => return Err(ERESTARTSYS),
                Sleep::Woken => was_woken = true,
                Sleep::NotNeeded => {}
            }
        }
    }

    /// What a read finds. The order matters: writers first, see [`ends::read_state`].
    fn read_state(&self, queued_bytes: impl FnOnce() -> usize) -> ReadState {
        let writers = self.writers.load(Acquire);
        ends::read_state(writers, queued_bytes())
    }

    /// Copies out until the user's buffer is full or the ring is empty.
    fn take(
        &self,
        mut side: ReadGuard<'_>,
        to: &mut IovIterDest<'_>,
        was_woken: bool,
    ) -> Result<usize> {
        let mut taken_bytes = 0;
        loop {
            let wanted_bytes = to.len().min(side.queued_bytes());
            let copied_bytes = side.take(to, wanted_bytes);
            taken_bytes += copied_bytes;
            if copied_bytes < wanted_bytes || wanted_bytes == 0 {
                break;
            }
        }
        if taken_bytes == 0 {
            // The other sleepers were not told of the data that stays.
            drop(side);
            self.pass_data_on(was_woken);
            return Err(EFAULT);
        }
        self.read.count(taken_bytes);

        // Writers sleep and poll for room up to a page, so they need to hear of it only if there was
        // less than that before. This is decided under the lock, where no other reader moves `tail`.
        let room_bytes = self.writable.has_sleepers().then(|| side.room_bytes());
        let leaves_data = side.queued_bytes() > 0;
        drop(side);
        if let Some(room_bytes) = room_bytes {
            if !ends::is_writable(room_bytes.saturating_sub(taken_bytes)) {
                self.writable.wake_one(room_key(room_bytes));
            }
        }
        if leaves_data {
            self.pass_data_on(was_woken);
        }
        Ok(taken_bytes)
    }

    /// The reader's baton: who was woken and leaves data behind wakes the next reader.
    fn pass_data_on(&self, was_woken: bool) {
        if was_woken && self.readable.has_sleepers() {
            self.readable.wake_one(DATA_KEY);
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
        let mut side = self.ring.lock_write();
        let end = loop {
            let rest_bytes = len_bytes - done_bytes;
            let readers = self.readers.load(Acquire);
            match ends::write_state(readers, side.room_bytes(), len_bytes, rest_bytes) {
                WriteState::Broken => break Err(EPIPE),
                WriteState::Room(room_bytes) => {
                    let staged_bytes = side.stage(from, room_bytes);
                    let is_torn = staged_bytes < room_bytes;
                    if is_torn && (ends::is_atomic(len_bytes) || staged_bytes == 0) {
                        break Err(EFAULT);
                    }
                    side.publish();
                    self.write.count_more(staged_bytes, done_bytes == 0);
                    done_bytes += staged_bytes;
                    if is_torn {
                        break Err(EFAULT);
                    }
                    if done_bytes == len_bytes {
                        break Ok(());
                    }
                }
                WriteState::Full { .. } if request.wait() == Wait::Never => break Err(EAGAIN),
                WriteState::Full { needed_bytes } => {
                    let room_bytes = side.room_bytes();
                    drop(side);
                    self.tell_readers(done_bytes);
                    self.pass_room_on(was_woken, room_bytes);
                    let can_go_on = || {
                        self.readers.load(Acquire) == 0
                            || self.ring.fill().room_bytes >= needed_bytes
                    };
                    match self.writable.sleep(needed_bytes as u32, can_go_on) {
                        Sleep::Interrupted if done_bytes > 0 => return Ok(done_bytes),
                        Sleep::Interrupted => return Err(ERESTARTSYS),
                        Sleep::Woken => was_woken = true,
                        Sleep::NotNeeded => {}
                    }
                    side = self.ring.lock_write();
                }
            }
        };
        let room_bytes = side.room_bytes();
        drop(side);
        self.tell_readers(done_bytes);
        self.pass_room_on(was_woken, room_bytes);
        if end == Err(EPIPE) && !request.is_without_signal() {
            task::send_sigpipe();
        }
        match end {
            Err(error) if done_bytes == 0 => Err(error),
            _ => Ok(done_bytes),
        }
    }

    /// Wakes one reader (and the pollers) if bytes were written. Also if the queue was not empty
    /// before: an edge-triggered poller hears of every write, and a second sleeper is welcome.
    fn tell_readers(&self, done_bytes: usize) {
        if done_bytes > 0 && self.readable.has_sleepers() {
            self.readable.wake_one(DATA_KEY);
        }
    }

    /// The writer's baton: who was woken and leaves room behind wakes the next writer.
    fn pass_room_on(&self, was_woken: bool, room_bytes: usize) {
        if was_woken && room_bytes > 0 && self.writable.has_sleepers() {
            self.writable.wake_one(room_key(room_bytes));
        }
    }

    /// poll(2): what is ready now. `unseen_opens` is what [`open`](Self::open) returned.
    pub fn poll<'open>(
        &'open self,
        access: Access,
        unseen_opens: Option<u32>,
        table: &PollTable<'open>,
    ) -> u32 {
        if access.reads() {
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

/// Wakes readers: there is data.
const DATA_KEY: Key = Key {
    events: poll::IN | poll::RDNORM,
    amount: u32::MAX,
};

/// Wakes writers who need no more than this room. Pollers hear only of a page: less is not `POLLOUT`,
/// and an exclusive poller would swallow what a sleeper could use.
fn room_key(room_bytes: usize) -> Key {
    Key {
        events: if ends::is_writable(room_bytes) {
            poll::OUT | poll::WRNORM
        } else {
            poll::MSG
        },
        amount: room_bytes as u32,
    }
}

/// Bytes and operations of one side. Counted under the lock of that side, read without it.
struct Moved {
    bytes: Atomic<u64>,
    operations: Atomic<u64>,
}

impl Moved {
    fn new() -> Self {
        Self {
            bytes: Atomic::new(0),
            operations: Atomic::new(0),
        }
    }

    /// A whole operation.
    fn count(&self, len_bytes: usize) {
        self.count_more(len_bytes, true);
    }

    /// Part of an operation, perhaps its first.
    fn count_more(&self, len_bytes: usize, is_first: bool) {
        // Load and store and no atomic addition: the lock keeps other writers of these away.
        let bytes = self.bytes.load(Relaxed) + len_bytes as u64;
        self.bytes.store(bytes, Relaxed);
        if is_first {
            self.operations
                .store(self.operations.load(Relaxed) + 1, Relaxed);
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
