// SPDX-License-Identifier: GPL-2.0

//! Reading a [`Pipe`]: sleeping while it is empty, taking, waking writers.

use super::{Pipe, DATA, PIECE_BYTES, ROOM};
use crate::counters::Part;
use crate::model::ends::{self, ReadState, Wait};
use crate::sys::fasync::Event;
use crate::sys::request::Request;
use crate::sys::ring::ReadGuard;
use crate::sys::trace::{self, Side, UNNUMBERED};
use crate::sys::wait::{Deadline, Processor, Sleep};
use kernel::iov::IovIterDest;
use kernel::prelude::*;

impl Pipe {
    /// read(2): takes what is there, and waits only if there is nothing.
    ///
    /// Sleeps no longer than `timeout_ns` nanoseconds, if that is not 0.
    pub fn read(
        &self,
        request: Request<'_>,
        timeout_ns: u64,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        let deadline = Deadline::after(timeout_ns);
        if trace::is_numbering() {
            return self.read_numbered(request, deadline, to);
        }
        self.take_and_tell(request, deadline, to, UNNUMBERED)
    }

    #[cold]
    #[inline(never)]
    fn read_numbered(
        &self,
        request: Request<'_>,
        deadline: Deadline,
        to: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        let number = trace::enter(Side::Read, self.index, to.len());
        self.take_and_tell(request, deadline, to, number)
    }

    #[inline(always)] // Two copies, one without a number.
    fn take_and_tell(
        &self,
        request: Request<'_>,
        deadline: Deadline,
        to: &mut IovIterDest<'_>,
        number: u64,
    ) -> Result<usize> {
        let result = self.take_or_wait(request, deadline, to, number);
        trace::leave(Side::Read, self.index, number, result);
        result
    }

    #[inline(always)]
    fn take_or_wait(
        &self,
        request: Request<'_>,
        mut deadline: Deadline,
        to: &mut IovIterDest<'_>,
        number: u64,
    ) -> Result<usize> {
        let mut was_woken = false;
        let result = loop {
            let side = self.ring.lock_read();
            // Writers first, data second: see `read_state`.
            let writers = self.partners.writers();
            match ends::read_state(writers, side.queued_bytes()) {
                ReadState::Data => break self.take(side, to, was_woken, number),
                _ if self.partners.is_gone() => break Err(ENODEV),
                ReadState::Eof if side.is_drained() => break Ok(0),
                // Empty, or the last bytes are still in flight.
                _ if request.wait() == Wait::Never => break Err(EAGAIN),
                _ => drop(side),
            }
            let sleep = match number {
                UNNUMBERED => self.sleep_for_data(&mut deadline, |_| {}),
                _ => {
                    let tell = trace::sleep(Side::Read, self.index, number, to.len());
                    self.sleep_for_data(&mut deadline, tell)
                }
            };
            match sleep {
                Sleep::Interrupted => return Err(deadline.interrupted()),
                Sleep::TimedOut => break Err(EAGAIN),
                Sleep::Woken => {
                    was_woken = true;
                    if self.ring.is_carried() {
                        self.note_awake();
                    }
                }
                Sleep::NotNeeded => {}
            }
        };
        self.room_listeners.notify(Event::Room);
        result
    }

    #[inline(never)] // Out of the way of those who need not sleep. (`cold` makes that way longer.)
    fn sleep_for_data(&self, deadline: &mut Deadline, tell: impl Fn(Processor)) -> Sleep {
        self.readable
            .sleep_and_tell(deadline, || self.is_worth_reading(), tell)
    }

    /// What a reader waits for: anything but [`ReadState::Empty`].
    fn is_worth_reading(&self) -> bool {
        let may_come = || self.partners.writers() > 0 || self.ring.is_in_flight();
        self.ring.has_data() || !may_come() || self.partners.is_gone()
    }

    /// Copies out until the user's buffer is full, the ring is empty, or a packet was taken.
    ///
    /// In pieces, so that a writer can fill the room of the first while the next is copied; and no
    /// more than a ringful (and the packet at its end), so that a fast writer cannot keep other readers
    /// out.
    #[inline(always)]
    fn take(
        &self,
        mut side: ReadGuard<'_>,
        to: &mut IovIterDest<'_>,
        was_woken: bool,
        number: u64,
    ) -> Result<usize> {
        let most_bytes = to.len().min(side.capacity_bytes());
        let mut taken_bytes = 0;
        loop {
            let piece = side.take(to, (most_bytes - taken_bytes).min(PIECE_BYTES));
            taken_bytes += piece.copied.done_bytes;
            self.tell_writers(&side, piece.freed_bytes, number);
            let is_empty = piece.copied.wanted_bytes == 0;
            let is_last = piece.is_packet || piece.copied.is_torn() || taken_bytes == most_bytes;
            if is_empty || is_last {
                break;
            }
        }
        if taken_bytes > 0 {
            self.read.count(taken_bytes, Part::First);
        }
        drop(side);
        // The baton: who was woken and leaves data behind wakes the next reader.
        if was_woken && self.ring.has_data() && self.readable.has_sleepers() {
            trace::wake(Side::Read, self.index, number, self.queued_bytes());
            self.readable.wake_one(DATA);
        }
        if taken_bytes == 0 {
            return Err(EFAULT);
        }
        Ok(taken_bytes)
    }

    /// Wakes one writer (and the pollers) if the bytes just freed made the queue writable.
    ///
    /// Called under the read lock, where no other reader moves `tail`. `head` is no older than what a
    /// sleeper has seen; so if it saw too little room, then so does this for the time before.
    fn tell_writers(&self, side: &ReadGuard<'_>, freed_bytes: usize, number: u64) {
        if self.writable.has_sleepers() {
            let room_bytes = side.room_bytes();
            let room_before_bytes = room_bytes.saturating_sub(freed_bytes);
            if ends::is_writable(room_bytes) && !ends::is_writable(room_before_bytes) {
                trace::wake(Side::Write, self.index, number, room_bytes);
                self.writable.wake_one(ROOM);
            }
        }
    }

    /// Waits until a read need not wait.
    pub fn await_data(&self, wait: Wait, timeout_ns: u64) -> Result {
        let mut deadline = Deadline::after(timeout_ns);
        while !self.is_worth_reading() {
            if wait == Wait::Never {
                return Err(EAGAIN);
            }
            match self.sleep_for_data(&mut deadline, |_| {}) {
                Sleep::Interrupted => return Err(deadline.interrupted()),
                Sleep::TimedOut => return Err(EAGAIN),
                Sleep::Woken => {
                    if self.ring.is_carried() {
                        self.note_awake();
                    }
                    // This task takes nothing yet, so the wakeup is passed on at once.
                    if self.ring.has_data() {
                        self.readable.wake_one(DATA);
                    }
                }
                Sleep::NotNeeded => {}
            }
        }
        Ok(())
    }
}
