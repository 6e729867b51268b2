// SPDX-License-Identifier: GPL-2.0

//! Who has a queue open, and the wait of an opener for its partner (fifo(7)).
//!
//! [`Partners`] wraps `model/ends.rs` in a lock and a wait queue. `pipe.rs` owns one per queue and
//! passes in what belongs to the first open and the last close. Process context; may sleep.

use crate::model::ends::{Access, Closed, Ends, NoReader, Opened, Opening};
use crate::sys::atomic::{Acquire, AtomicBool, AtomicU32, Release};
use crate::sys::wait::{new_wait_queue, Deadline, Sleep, WaitQueue};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex, MutexGuard};

/// The open ends of one queue.
#[pin_data]
pub struct Partners {
    /// Nobody who waits for a partner holds this lock.
    #[pin]
    ends: Mutex<Ends>,
    /// What `ends` says, for those who look without the lock. Stored under it.
    readers: AtomicU32,
    writers: AtomicU32,
    reader_opens: AtomicU32,
    writer_opens: AtomicU32,
    /// See [`sever`](Self::sever). Stored under the lock.
    is_gone: AtomicBool,
    /// Openers without a partner.
    #[pin]
    waiting: WaitQueue,
}

impl Partners {
    /// Of a queue that nobody has open.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            ends <- new_mutex!(Ends::default(), "kpipe::ends"),
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            reader_opens: AtomicU32::new(0),
            writer_opens: AtomicU32::new(0),
            is_gone: AtomicBool::new(false),
            waiting <- new_wait_queue!(c"kpipe::partner"),
        })
    }

    /// Counts an end in, and waits for a partner if the access asks for one.
    ///
    /// `first` is called under the lock if nobody had the queue open; if it fails, nothing happened.
    /// `announce` is called without it if this is the first end of its side, before any wait.
    /// Returns the number of writer opens up to which poll shows no `POLLHUP`, if there is one.
    ///
    /// `ENXIO`: would be a writer without readers. `ERESTARTSYS`: a signal during the wait; the end is
    /// counted out again, see [`close`](Self::close) for `last`. `ENODEV`: severed, before or meanwhile.
    pub fn open(
        &self,
        access: Access,
        opening: Opening,
        first: impl FnOnce() -> Result,
        announce: impl FnOnce(),
        last: impl FnOnce(),
    ) -> Result<Option<u32>> {
        let (opened, is_first) = {
            let mut ends = self.ends.lock();
            if self.is_gone() {
                return Err(ENODEV);
            }
            let mut after = *ends;
            let opened = after.open(access, opening)?;
            if ends.is_unused() && !after.is_unused() {
                first()?;
            }
            let is_first = (ends.readers == 0 && after.readers > 0)
                || (ends.writers == 0 && after.writers > 0);
            self.set(&mut ends, after);
            (opened, is_first)
        };
        if is_first {
            announce();
            // Whoever waits found nobody on this side, so only its first end is a partner.
            if self.waiting.has_sleepers() {
                self.waiting.wake_all();
            }
        }
        match opened {
            Opened::Ready => Ok(None),
            Opened::ReadyBeforeFirstWriter(opens) => Ok(Some(opens)),
            Opened::AwaitWriter(opens) => self.wait(access, || self.writer_opens() != opens, last),
            Opened::AwaitReader(opens) => {
                self.wait(access, || self.reader_opens.load(Acquire) != opens, last)
            }
        }
    }

    fn wait(
        &self,
        access: Access,
        came: impl Fn() -> bool,
        last: impl FnOnce(),
    ) -> Result<Option<u32>> {
        let is_over = || came() || self.is_gone();
        while !came() {
            let end = self.waiting.sleep(&mut { Deadline::NEVER }, is_over);
            if end == Sleep::Interrupted || self.is_gone() {
                let ends = self.ends.lock();
                // Nobody can come while the lock is held: either there is a partner and this open
                // succeeds, or a later one will not count on this end.
                if !came() {
                    let error = if self.is_gone() { ENODEV } else { ERESTARTSYS };
                    // Nobody on the other side sleeps and has to be told: it would be the partner.
                    self.close_locked(ends, access, last);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Counts an end out. `last` is called under the lock if nobody has the queue open any more.
    pub fn close(&self, access: Access, last: impl FnOnce()) -> Closed {
        self.close_locked(self.ends.lock(), access, last)
    }

    fn close_locked(
        &self,
        mut ends: MutexGuard<'_, Ends>,
        access: Access,
        last: impl FnOnce(),
    ) -> Closed {
        let mut after = *ends;
        let closed = after.close(access);
        self.set(&mut ends, after);
        if closed == Closed::LastOfAll {
            last();
        }
        closed
    }

    fn set(&self, ends: &mut Ends, after: Ends) {
        *ends = after;
        self.readers.store(after.readers, Release);
        self.writers.store(after.writers, Release);
        self.reader_opens.store(after.reader_opens, Release);
        self.writer_opens.store(after.writer_opens, Release);
    }

    /// The device of the queue is gone: later opens fail, and those who wait in one are to be woken. Called
    /// within [`while_fixed`](Self::while_fixed).
    pub fn sever(&self) {
        self.is_gone.store(true, Release);
    }

    /// Nobody has the queue open any more: it may be opened again. Called under the lock.
    pub fn revive(&self) {
        self.is_gone.store(false, Release);
    }

    /// Is the device of the queue gone, without a lock? It stays so until the last close.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Acquire)
    }

    /// Wakes all who wait for a partner.
    pub fn wake_all(&self) {
        self.waiting.wake_all();
    }

    /// Calls `work` with the answer to whether anybody has the queue open, which stays true until
    /// `work` returns.
    pub fn while_fixed<R>(&self, work: impl FnOnce(bool) -> R) -> R {
        let ends = self.ends.lock();
        work(!ends.is_unused())
    }

    /// Open read ends, without a lock.
    pub fn readers(&self) -> u32 {
        self.readers.load(Acquire)
    }

    /// Open write ends, without a lock.
    pub fn writers(&self) -> u32 {
        self.writers.load(Acquire)
    }

    /// Write ends ever opened, without a lock.
    pub fn writer_opens(&self) -> u32 {
        self.writer_opens.load(Acquire)
    }
}

impl From<NoReader> for Error {
    fn from(_: NoReader) -> Error {
        ENXIO
    }
}
