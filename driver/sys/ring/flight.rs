// SPDX-License-Identifier: GPL-2.0

//! What is in flight in a carried [`Ring`]: the bytes between `head` and `written`.
//!
//! They belong to whoever carries them. Its lock is a spinlock that interrupt handlers take too, so all of
//! this may be called in any context, except [`Ring::set_carried`].

use super::place::Place;
use super::sides::Mark;
use super::{Ring, CARRIED};
use crate::model::link::{Block, Link};
use crate::model::ring;
use crate::sys::atomic::{Acquire, Relaxed, Release};
use crate::sys::spin::SpinLockIrqGuard;
use core::ptr;
use kernel::prelude::*;

/// What the flight lock protects: `head`, the bytes from `head` to `written`, and these.
pub(super) struct FlightSide {
    pub(super) link: Link,
    /// Records that have arrived, modulo 2^32.
    pub(super) arrived_records: u32,
    /// Who may carry: see [`Ring::set_carried`].
    generation: u32,
}

impl FlightSide {
    pub(super) const fn new() -> Self {
        Self {
            link: Link::new(),
            arrived_records: 0,
            generation: 1,
        }
    }

    /// Forgets what is in flight, and who carried it. The next byte has the index `written`.
    pub(super) fn forget(&mut self, written: u32) {
        self.link.reset(written, 0);
        self.arrived_records = 0;
        // Wraps: nobody keeps a transfer for so many closes. Never 0, which is nobody's.
        self.generation = self.generation.wrapping_add(1).max(1);
    }
}

/// What a completed transfer brought.
#[derive(Clone, Copy)]
pub struct Arrived {
    /// Where the bytes begin that have arrived now.
    pub start: Mark,
    /// And where they end.
    pub end: Mark,
    /// How many they are. 0 if the requests in the transfer have more bytes to come.
    pub len_bytes: usize,
    /// The transfer to start next.
    pub next: Option<Block>,
}

impl Ring {
    /// Lets the bytes travel from now on, at most `most_bytes` in a transfer, or (with `None`) be there
    /// at once. `EBUSY`: the ring is not empty. May sleep.
    ///
    /// Returns the generation, without which nobody gets at what is in flight: it changes with every
    /// call and with [`free`](Ring::free), so an interrupt that comes late finds nothing.
    pub fn set_carried(&self, most_bytes: Option<usize>) -> Result<u32> {
        let read = self.read_lock.lock();
        let write = self.write_lock.lock();
        let written = self.written.load(Relaxed);
        if written != self.tail.load(Relaxed) {
            return Err(EBUSY);
        }
        let mut flight = self.flight_lock.lock();
        flight.forget(written);
        flight.link.reset(written, most_bytes.unwrap_or(0));
        flight.arrived_records = write.records;
        self.settled.store(written, Release);
        self.set_shape(CARRIED, most_bytes.is_some());
        let generation = flight.generation;
        drop(flight);
        drop(read);
        Ok(generation)
    }

    /// Do bytes travel before they arrive?
    pub fn is_carried(&self) -> bool {
        self.shape.load(Relaxed) & CARRIED != 0
    }

    /// Where the bytes end that were written last.
    pub fn written(&self) -> Mark {
        Mark(self.written.load(Relaxed))
    }

    /// Everybody has been told of all that arrived before `end`. By whoever carries.
    ///
    /// It only moves on: a bottom half of the carrier before may come here late.
    pub fn settle(&self, end: Mark) {
        let _ = self.settled.fetch_update(Release, Relaxed, |now| {
            (!ring::is_drained(end.0, now)).then_some(end.0)
        });
    }

    /// Has everything before `end` arrived, and has everybody been told? Always so in a ring that is not
    /// carried.
    pub fn is_settled(&self, end: Mark) -> bool {
        !self.is_carried() || ring::is_drained(end.0, self.settled.load(Acquire))
    }

    /// Locks what is in flight. `None`: the generation is over.
    pub fn lock_flight(&self, generation: u32) -> Option<FlightGuard<'_>> {
        let side = self.flight_lock.lock();
        if side.generation != generation {
            return None;
        }
        // SAFETY: The flight lock is held.
        let place = unsafe { self.place() };
        Some(FlightGuard {
            ring: self,
            side,
            place,
        })
    }
}

/// What is in flight in a ring, locked, with interrupts off.
pub struct FlightGuard<'a> {
    ring: &'a Ring,
    side: SpinLockIrqGuard<'a, FlightSide>,
    place: Place,
}

impl FlightGuard<'_> {
    /// The transfer in progress.
    pub fn current(&self) -> Option<Block> {
        self.side.link.current()
    }

    /// The transfer in progress is over: whole requests in it have arrived. `None`: there is none.
    pub fn complete(&mut self) -> Option<Arrived> {
        let start = self.ring.head.load(Relaxed);
        let arrival = self.side.link.complete()?;
        self.side.arrived_records = self.side.arrived_records.wrapping_add(arrival.records);
        // The link got all its indices from `publish`, so this one is not behind `written`; and it never goes
        // back. Released: what a carrier stored there is seen by the reader.
        self.ring.head.store(arrival.head, Release);
        Some(Arrived {
            start: Mark(start),
            end: Mark(arrival.head),
            len_bytes: ring::queued_bytes(arrival.head, start),
            next: arrival.next,
        })
    }

    /// The device is gone, and with it what was in flight.
    pub fn fail(&mut self) {
        self.side.link.fail();
    }

    /// Copies a transfer's bytes out of the ring. `EINVAL`: they are not in flight, or `to` has another
    /// length.
    pub fn load(&self, block: Block, to: &mut [u8]) -> Result {
        let mut at = 0;
        self.check(block, to.len())?;
        for span in ring::spans(block.start, block.len_bytes, self.place.capacity_bytes) {
            // SAFETY: The span lies within the memory and within `head..written`, which is initialised and
            // belongs to the holder of the flight lock; `to` has as many bytes as all spans.
            unsafe {
                ptr::copy_nonoverlapping(
                    self.place.start.add(span.start),
                    to.as_mut_ptr().add(at),
                    span.len_bytes,
                )
            };
            at += span.len_bytes;
        }
        Ok(())
    }

    /// Copies a transfer's bytes back into the ring. `EINVAL`: see [`load`](Self::load).
    pub fn store(&mut self, block: Block, from: &[u8]) -> Result {
        let mut at = 0;
        self.check(block, from.len())?;
        for span in ring::spans(block.start, block.len_bytes, self.place.capacity_bytes) {
            // SAFETY: As in `load`.
            unsafe {
                ptr::copy_nonoverlapping(
                    from.as_ptr().add(at),
                    self.place.start.add(span.start),
                    span.len_bytes,
                )
            };
            at += span.len_bytes;
        }
        Ok(())
    }

    /// Are these bytes in flight?
    fn check(&self, block: Block, len_bytes: usize) -> Result {
        let (head, written) = (
            self.ring.head.load(Relaxed),
            self.ring.written.load(Relaxed),
        );
        let in_flight_bytes = ring::queued_bytes(written, head);
        let before_bytes = ring::queued_bytes(block.start, head);
        let is_inside = before_bytes <= in_flight_bytes
            && block.len_bytes <= in_flight_bytes - before_bytes
            && block.len_bytes == len_bytes;
        is_inside.then_some(()).ok_or(EINVAL)
    }
}
