// SPDX-License-Identifier: GPL-2.0

//! Writing to a [`Pipe`]: sleeping while it is full, putting in, waking readers, `SIGPIPE`.

use super::{Pipe, DATA, PIECE_BYTES, ROOM};
use crate::counters::Part;
use crate::model::ends::{self, Wait, WriteState};
use crate::model::packet::{self, Kind};
use crate::sys::account::SoftLimit;
use crate::sys::atomic::Relaxed;
use crate::sys::fasync::Event;
use crate::sys::request::Request;
use crate::sys::ring::{Mark, Published};
use crate::sys::task;
use crate::sys::trace::{self, Side, UNNUMBERED};
use crate::sys::wait::{Deadline, Processor, Sleep};
use crate::uapi::SMALL_CAPACITY_BYTES;
use kernel::iov::IovIterSource;
use kernel::prelude::*;

impl Pipe {
    /// write(2): all of it, waiting for room; a short one in one piece.
    ///
    /// Sleeps no longer than `timeout_ns` nanoseconds, if that is not 0.
    pub fn write(
        &self,
        request: Request<'_>,
        timeout_ns: u64,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        if from.is_empty() {
            return Ok(0);
        }
        let deadline = Deadline::after(timeout_ns);
        if trace::is_numbering() {
            return self.write_numbered(request, deadline, from);
        }
        self.put_and_tell(request, deadline, from, UNNUMBERED)
    }

    #[cold]
    #[inline(never)]
    fn write_numbered(
        &self,
        request: Request<'_>,
        deadline: Deadline,
        from: &mut IovIterSource<'_>,
    ) -> Result<usize> {
        let number = trace::enter(Side::Write, self.index, from.len());
        self.put_and_tell(request, deadline, from, number)
    }

    #[inline(always)] // Two copies, one without a number.
    fn put_and_tell(
        &self,
        request: Request<'_>,
        mut deadline: Deadline,
        from: &mut IovIterSource<'_>,
        number: u64,
    ) -> Result<usize> {
        let mut own_end = None;
        let result = if self.is_packet(&request) {
            self.put_packets(request, &mut deadline, from, number, &mut own_end)
        } else {
            self.put_or_wait::<false>(request, &mut deadline, from, number, &mut own_end)
        };
        if self.ring.is_carried() {
            // Not the place itself, which would then never be in registers.
            let own_end = own_end.filter(|_| request.awaits_arrival());
            return self.await_own(own_end, result, &mut deadline, number);
        }
        self.data_listeners.notify(Event::Data);
        trace::leave(Side::Write, self.index, number, result);
        result
    }

    /// Does this write make packets of its bytes? `O_DIRECT` says so, and the mode of the queue.
    fn is_packet(&self, request: &Request<'_>) -> bool {
        request.is_direct() || self.is_packet_mode.load(Relaxed)
    }

    #[cold]
    fn put_packets(
        &self,
        request: Request<'_>,
        deadline: &mut Deadline,
        from: &mut IovIterSource<'_>,
        number: u64,
        own_end: &mut Option<Mark>,
    ) -> Result<usize> {
        if !self.ring.is_framed() {
            self.begin_packets()?;
        }
        self.put_or_wait::<true>(request, deadline, from, number, own_end)
    }

    /// Prepares the ring for packets. A page would be too small: a packet of `PIPE_BUF` bytes and its
    /// header do not fit.
    fn begin_packets(&self) -> Result {
        const LEAST_BYTES: usize = SMALL_CAPACITY_BYTES as usize;
        self.partners.while_fixed(|_| {
            if self.ring.capacity_bytes() < LEAST_BYTES {
                // What every user may have, whatever the soft limit says.
                self.change_capacity(LEAST_BYTES, SoftLimit::NONE)?;
            }
            self.ring.frame();
            Ok::<_, Error>(())
        })?;
        // There may be more room than before: see `resize`.
        self.writable.wake_one(0);
        Ok(())
    }

    /// `own_end` becomes the place up to which the last bytes travel, if some do.
    #[inline(always)] // The way of every byte, and nothing of packets in it without them.
    fn put_or_wait<const IS_PACKET: bool>(
        &self,
        request: Request<'_>,
        deadline: &mut Deadline,
        from: &mut IovIterSource<'_>,
        number: u64,
        own_end: &mut Option<Mark>,
    ) -> Result<usize> {
        let kind = if IS_PACKET {
            Kind::Packet
        } else {
            Kind::Stream
        };
        let len_bytes = from.len();
        let mut done_bytes = 0;
        let mut was_woken = false;
        let end = loop {
            // Taken anew for each piece: a fast reader cannot keep other writers out.
            let mut side = self.ring.lock_write();
            let readers = self.partners.readers();
            let rest_bytes = len_bytes - done_bytes;
            // Each packet is atomic, whatever the length of the write.
            let (unit_bytes, rest_bytes) = if IS_PACKET {
                let packet_bytes = packet::next_packet_bytes(rest_bytes);
                (packet_bytes, packet_bytes)
            } else {
                (len_bytes, rest_bytes)
            };
            match ends::write_state(readers, side.room_bytes(), unit_bytes, rest_bytes) {
                // Also to who comes after the readers that left because of it.
                WriteState::Broken | WriteState::Full if self.partners.is_gone() => {
                    break Err(ENODEV)
                }
                WriteState::Broken => break Err(EPIPE),
                WriteState::Full if request.wait() == Wait::Never => break Err(EAGAIN),
                WriteState::Full => {
                    drop(side);
                    self.data_listeners.notify(Event::Data);
                    let sleep = match number {
                        UNNUMBERED => self.sleep_for_room(deadline, |_| {}),
                        _ => {
                            let tell = trace::sleep(Side::Write, self.index, number, rest_bytes);
                            self.sleep_for_room(deadline, tell)
                        }
                    };
                    match sleep {
                        Sleep::Interrupted => break Err(deadline.interrupted()),
                        Sleep::TimedOut => break Err(EAGAIN),
                        Sleep::Woken => was_woken = true,
                        Sleep::NotNeeded => {}
                    }
                }
                WriteState::Room(room_bytes) => {
                    let piece = side.stage(from, room_bytes.min(PIECE_BYTES), kind);
                    if piece.is_torn() && (ends::is_atomic(unit_bytes) || piece.done_bytes == 0) {
                        break Err(EFAULT);
                    }
                    let part = if done_bytes == 0 {
                        Part::First
                    } else {
                        Part::Later
                    };
                    let ringful_bytes = side.capacity_bytes();
                    let count = || self.write.count(piece.done_bytes, part);
                    match side.publish(number, count) {
                        Published::Arrived(mark) => {
                            self.tell_readers(mark, piece.done_bytes, number);
                        }
                        Published::Departs(end) => {
                            *own_end = Some(end);
                            self.depart();
                        }
                        Published::Waits(end) => *own_end = Some(end),
                        Published::Gone => break Err(ENODEV),
                    }
                    done_bytes += piece.done_bytes;
                    if piece.is_torn() {
                        break Err(EFAULT);
                    }
                    if done_bytes == len_bytes {
                        break Ok(());
                    }
                    // A FIFO would have been full by now, and would have looked for signals.
                    if done_bytes >= ringful_bytes && task::is_signalled() {
                        break Err(deadline.interrupted());
                    }
                }
            }
        };
        // The baton: who was woken and leaves room behind wakes the next writer.
        let leaves_room = was_woken && ends::is_writable(self.ring.fill().room_bytes);
        if leaves_room && self.writable.has_sleepers() {
            trace::wake(Side::Write, self.index, number, self.ring.fill().room_bytes);
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

    #[inline(never)] // Out of the way of those who need not sleep. (`cold` makes that way longer.)
    fn sleep_for_room(&self, deadline: &mut Deadline, tell: impl Fn(Processor)) -> Sleep {
        self.writable
            .sleep_and_tell(deadline, || self.is_worth_writing(), tell)
    }

    /// What a writer waits for once it sleeps.
    fn is_worth_writing(&self) -> bool {
        self.partners.readers() == 0
            || ends::is_writable(self.ring.fill().room_bytes)
            || self.partners.is_gone()
    }

    /// Wakes one reader (and the pollers) after bytes from `mark` on were written.
    ///
    /// Only if the bytes before them are gone: else somebody has been woken for those, and will pass
    /// the wakeup on. Who sleeps has seen an empty queue, so the first write after that wakes. Edge-
    /// triggered pollers, though, want to hear of every write (`poll_usage` in `fs/pipe.c`).
    fn tell_readers(&self, mark: Mark, len_bytes: usize, number: u64) {
        if self.is_news(mark) {
            trace::wake(Side::Read, self.index, number, len_bytes);
            self.readable.wake_one(DATA);
        }
    }

    /// Is somebody to be woken for bytes from `mark` on? See [`tell_readers`](Self::tell_readers).
    pub(super) fn is_news(&self, mark: Mark) -> bool {
        self.readable.has_sleepers() && (self.ring.is_drained(mark) || self.is_polled.load(Relaxed))
    }

    /// Waits until a write need not wait. Returns how many bytes it may have: at least one, also
    /// for a write that will fail for lack of readers. In a ring of records no more than one takes,
    /// because each needs a header.
    pub fn await_room(&self, wait: Wait, timeout_ns: u64) -> Result<usize> {
        let mut deadline = Deadline::after(timeout_ns);
        while !self.is_worth_writing() {
            if wait == Wait::Never {
                return Err(EAGAIN);
            }
            match self.sleep_for_room(&mut deadline, |_| {}) {
                Sleep::Interrupted => return Err(deadline.interrupted()),
                Sleep::TimedOut => return Err(EAGAIN),
                Sleep::Woken if self.is_worth_writing() => self.writable.wake_one(ROOM),
                Sleep::Woken | Sleep::NotNeeded => {}
            }
        }
        let room_bytes = self.ring.fill().room_bytes.max(1);
        Ok(
            if self.ring.is_framed() || self.is_packet_mode.load(Relaxed) {
                packet::next_packet_bytes(room_bytes)
            } else {
                room_bytes
            },
        )
    }
}
