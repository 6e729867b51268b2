// SPDX-License-Identifier: GPL-2.0

//! The memory of a byte ring between one reader and one writer at a time.
//!
//! [`Ring`] keeps the two sides apart: [`Ring::lock_read`] and [`Ring::lock_write`] take different
//! locks, so a reader and a writer copy at the same time, each in its own part of the memory. What
//! one side has done reaches the other through two indices, `head` and `tail`; the arithmetic on them
//! is in `model/ring.rs`. Every byte is copied twice in all: from the writer's buffer into the ring,
//! and from there into the reader's buffer.
//!
//! Once packets are written the ring holds records (`model/packet.rs`): [`Ring::frame`].
//!
//! In a carried ring ([`Ring::set_carried`]) there is a third index between the two: what is written
//! travels first (`ring/flight.rs`), and has arrived when `head` says so.
//!
//! Lock order: read side, then write side, then flight. The first two are sleeping locks, held across user
//! copies; the third is a spinlock that interrupt handlers take.

use super::atomic::{full_barrier, Acquire, AtomicU32, AtomicU8, AtomicUsize, Relaxed, Release};
use super::memory::Memory;
use super::spin::{new_spin_lock_irq, SpinLockIrq};
use crate::model::packet::{self, Kind, Record};
use crate::model::ring;
use crate::uapi::UNPRIVILEGED_CAPACITY_BYTES;
use core::cell::UnsafeCell;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex};

mod flight;
mod place;
mod sides;
use flight::FlightSide;
pub use flight::{Arrived, FlightGuard};
use place::Place;
pub use sides::{Mark, Published, ReadGuard};

/// Most that is copied with interrupts off: what a queue of the largest capacity for all users holds.
const MOST_IN_FLIGHT_BYTES: usize = UNPRIVILEGED_CAPACITY_BYTES as usize;

/// A byte ring whose two sides work at the same time.
///
/// # Invariants
///
/// - `memory` changes only with all three locks held, `shape` with the read and the write lock.
/// - `written` is stored only with the write lock held, `tail` only with the read lock held, and `head` only
///   with the flight lock held (or, while the ring is not carried, with the write lock).
/// - `tail..head` and `head..written` are together at most the capacity of `memory`, and initialised. While
///   the ring is not carried, `head` is `written` whenever the write lock is free.
/// - `tail..head` belongs to the holder of the read lock and is never written by anybody until `tail`
///   has passed it. `head..written` belongs to the holder of the flight lock.
/// - The rest of the memory belongs to the holder of the write lock.
/// - While it is framed, `tail..head` is what is left of the record in `ReadSide`, and then whole
///   records with their headers.
#[pin_data]
pub struct Ring {
    #[pin]
    read_lock: Mutex<ReadSide>,
    #[pin]
    write_lock: Mutex<WriteSide>,
    #[pin]
    flight_lock: SpinLockIrq<FlightSide>,
    memory: UnsafeCell<Memory>,
    written: AtomicU32,
    head: AtomicU32,
    /// Up to where those who wait for `head` have been told of it; see [`Ring::settle`].
    settled: AtomicU32,
    tail: AtomicU32,
    capacity: AtomicUsize,
    shape: AtomicU8,
}

/// A bit of `shape`: the ring holds records.
const FRAMED: u8 = 1;

/// A bit of `shape`: what is written travels before it arrives.
const CARRIED: u8 = 2;

/// What the read lock protects: `tail`, the bytes from `tail` to `head`, and these.
#[derive(Default)]
struct ReadSide {
    /// What is left of the record at `tail`, whose header is gone.
    rest: Record,
    /// Headers read, modulo 2^32.
    records: u32,
}

/// What the write lock protects: `written`, the memory without bytes, and this.
#[derive(Default)]
struct WriteSide {
    /// Headers written, modulo 2^32.
    records: u32,
}

// SAFETY: The memory is reached only through the three locks, see the invariants.
unsafe impl Send for Ring {}
// SAFETY: As above.
unsafe impl Sync for Ring {}

/// How full a ring is, at one moment.
#[derive(Clone, Copy)]
pub struct Fill {
    /// Bytes in the ring, headers of records among them.
    pub queued_bytes: usize,
    /// Bytes of data that fit.
    pub room_bytes: usize,
    /// Are there bytes that were written and have not arrived?
    pub is_in_flight: bool,
}

impl Ring {
    /// A ring without memory. It has no bytes and no room.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            read_lock <- new_mutex!(ReadSide::default(), "kpipe::read"),
            write_lock <- new_mutex!(WriteSide::default(), "kpipe::write"),
            flight_lock <- new_spin_lock_irq!(FlightSide::new(), "kpipe::flight"),
            memory: UnsafeCell::new(Memory::none()),
            written: AtomicU32::new(0),
            head: AtomicU32::new(0),
            settled: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            capacity: AtomicUsize::new(0),
            shape: AtomicU8::new(0),
        })
    }

    /// Has the ring bytes, without a lock? `true` may be outdated when it arrives, `false` is not: a
    /// writer that publishes later sees whoever queued itself before asking.
    pub fn has_data(&self) -> bool {
        let tail = self.tail.load(Acquire);
        self.head.load(Acquire) != tail
    }

    /// Have all bytes before `mark` been read by now?
    pub fn is_drained(&self, mark: Mark) -> bool {
        ring::is_drained(mark.0, self.tail.load(Acquire))
    }

    /// How full the ring is, without a lock: exact for a moment during the call.
    ///
    /// It serves those who are about to sleep until the other side moves. `written` is read before
    /// `tail`, with a full barrier, and again: the same value twice means that `tail` was read
    /// while that was the end. And a reader that stores `tail` afterwards, then looks at the sleepers
    /// and then at `written`, sees no older end than this.
    pub fn fill(&self) -> Fill {
        let mut written = self.written.load(Acquire);
        loop {
            full_barrier();
            let tail = self.tail.load(Acquire);
            // After the tail, which never passes it.
            let head = self.head.load(Acquire);
            let capacity_bytes = self.capacity.load(Acquire);
            full_barrier();
            let again = self.written.load(Acquire);
            if again == written {
                // The capacity may have changed between the two reads; who sleeps on this answer hears of
                // it, because a resize wakes.
                let room_bytes = capacity_bytes.saturating_sub(ring::queued_bytes(written, tail));
                return Fill {
                    queued_bytes: ring::queued_bytes(head, tail),
                    room_bytes: data_room_bytes(self.is_framed(), room_bytes),
                    is_in_flight: head != written,
                };
            }
            written = again;
        }
    }

    /// Are there bytes that were written and have not arrived? Without a lock: `false` is final for
    /// what had been written before the call.
    pub fn is_in_flight(&self) -> bool {
        let written = self.written.load(Acquire);
        self.head.load(Acquire) != written
    }

    /// Gives the ring memory of another capacity, a power of two; queued bytes move along.
    ///
    /// `EBUSY` if they do not fit, or more than [`MOST_IN_FLIGHT_BYTES`] are in flight: interrupts are off while those
    /// are copied. `ENOMEM` if there is no memory. Then all is as it was. May sleep.
    pub fn resize(&self, capacity_bytes: usize) -> Result {
        // Allocated before the locks are taken: reclaim may take long.
        let mut new = Memory::allocate(capacity_bytes)?;
        let _read = self.read_lock.lock();
        let _write = self.write_lock.lock();
        let tail = self.tail.load(Relaxed);
        let written = self.written.load(Relaxed);
        if ring::queued_bytes(written, tail) > capacity_bytes {
            return Err(EBUSY);
        }
        // What has arrived is copied before the flight lock is taken, so that interrupts wait only for the
        // copy of what travels.
        let head = self.head.load(Acquire);
        if ring::queued_bytes(written, head) > MOST_IN_FLIGHT_BYTES {
            return Err(EBUSY);
        }
        {
            // SAFETY: The memory changes only with all locks held. Bytes that have arrived are written by
            // nobody while the read lock is held.
            let memory = unsafe { &*self.memory.get() };
            let arrived_bytes = ring::queued_bytes(head, tail);
            for step in ring::moves(tail, arrived_bytes, memory.capacity_bytes, capacity_bytes) {
                new.copy_from(memory, step);
            }
        }
        let flight = self.flight_lock.lock();
        // SAFETY: All three locks are held, so nobody else uses the memory.
        let memory = unsafe { &mut *self.memory.get() };
        let rest_bytes = ring::queued_bytes(written, head);
        for step in ring::moves(head, rest_bytes, memory.capacity_bytes, capacity_bytes) {
            new.copy_from(memory, step);
        }
        core::mem::swap(memory, &mut new);
        self.capacity.store(capacity_bytes, Release);
        drop(flight);
        // The old memory goes with `new`, outside of the spinlock.
        Ok(())
    }

    /// Makes a ring of records out of a ring of bytes, if it is none yet. Queued bytes become a part of
    /// the stream.
    pub fn frame(&self) {
        let mut read = self.read_lock.lock();
        let _write = self.write_lock.lock();
        if !self.is_framed() {
            // What travels is a part of it, and is taken when it has arrived.
            let queued_bytes =
                ring::queued_bytes(self.written.load(Relaxed), self.tail.load(Relaxed));
            read.rest = Record {
                kind: Kind::Stream,
                len_bytes: queued_bytes,
            };
            self.set_shape(FRAMED, true);
        }
    }

    /// Changes a bit of `shape`. The caller holds the read and the write lock.
    fn set_shape(&self, bit: u8, is_on: bool) {
        let others = self.shape.load(Relaxed) & !bit;
        self.shape
            .store(others | if is_on { bit } else { 0 }, Relaxed);
    }

    /// Is this a ring of records? Exact for those who hold a lock of the ring.
    pub fn is_framed(&self) -> bool {
        self.shape.load(Relaxed) & FRAMED != 0
    }

    /// Bytes of data in the ring, without headers. May sleep.
    pub fn data_bytes(&self) -> usize {
        if let Some(queued_bytes) = self.stream_bytes() {
            return queued_bytes;
        }
        let read = self.read_lock.lock();
        let write = self.write_lock.lock();
        self.record_bytes(&read, &write)
    }

    /// The same without waiting for a lock: with the headers, if somebody copies into or out of a ring of records.
    pub fn data_bytes_at_once(&self) -> usize {
        if let Some(queued_bytes) = self.stream_bytes() {
            return queued_bytes;
        }
        match (self.read_lock.try_lock(), self.write_lock.try_lock()) {
            (Some(read), Some(write)) => self.record_bytes(&read, &write),
            _ => self.fill().queued_bytes,
        }
    }

    /// Bytes in the ring. `None`: it is one of records.
    fn stream_bytes(&self) -> Option<usize> {
        // A ring that was of records meanwhile is one still, or its tail has moved: see `free`.
        while self.shape.load(Acquire) & FRAMED == 0 {
            let tail = self.tail.load(Acquire);
            let queued_bytes = self.fill().queued_bytes;
            if self.shape.load(Acquire) & FRAMED == 0 && self.tail.load(Acquire) == tail {
                return Some(queued_bytes);
            }
        }
        None
    }

    /// Bytes of data in a ring of records, both sides of which are locked.
    fn record_bytes(&self, read: &ReadSide, write: &WriteSide) -> usize {
        let flight = self.flight_lock.lock();
        let queued_bytes = ring::queued_bytes(self.head.load(Relaxed), self.tail.load(Relaxed));
        let records = if self.is_carried() {
            flight.arrived_records
        } else {
            write.records
        };
        // Nothing is left of the records if the last close came before the locks: see `free`.
        packet::data_bytes(queued_bytes, records.wrapping_sub(read.records))
    }

    /// Capacity of the memory in bytes; 0 without memory.
    pub fn capacity_bytes(&self) -> usize {
        self.capacity.load(Acquire)
    }

    /// Frees the memory and forgets all bytes and records.
    pub fn free(&self) {
        let mut read = self.read_lock.lock();
        let mut write = self.write_lock.lock();
        let mut memory = Memory::none();
        let mut flight = self.flight_lock.lock();
        *read = ReadSide::default();
        *write = WriteSide::default();
        let written = self.written.load(Relaxed);
        flight.forget(written);
        self.capacity.store(0, Release);
        self.head.store(written, Release);
        self.settled.store(written, Release);
        self.tail.store(written, Release);
        // After the tail: `data_bytes` looks at both.
        self.shape.store(0, Release);
        // SAFETY: All three locks are held, so nobody else uses the memory.
        core::mem::swap(unsafe { &mut *self.memory.get() }, &mut memory);
        drop(flight);
        // The old memory goes here, outside of the spinlock.
    }

    /// Where the memory is.
    ///
    /// # Safety
    ///
    /// The caller holds one of the three locks, so that the memory stays what it is.
    unsafe fn place(&self) -> Place {
        // SAFETY: `memory` changes only with all locks held, and the caller holds one.
        let memory = unsafe { &*self.memory.get() };
        Place {
            start: memory.start,
            capacity_bytes: memory.capacity_bytes,
        }
    }
}

/// Data that fits into `room_bytes` of a ring in one piece.
#[inline(always)]
fn data_room_bytes(is_framed: bool, room_bytes: usize) -> usize {
    // Out of line: rings of records are rare, and this is the way of every byte.
    #[cold]
    fn in_records(room_bytes: usize) -> usize {
        packet::data_room_bytes(room_bytes)
    }
    if is_framed {
        in_records(room_bytes)
    } else {
        room_bytes
    }
}
