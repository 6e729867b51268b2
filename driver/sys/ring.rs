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
//! Lock order: read side, then write side. Both are sleeping locks, held across user copies.

use super::atomic::{full_barrier, Acquire, AtomicBool, AtomicU32, AtomicUsize, Relaxed, Release};
use super::memory::Memory;
use crate::model::packet::{self, Kind, Record};
use crate::model::ring;
use core::cell::UnsafeCell;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex};

mod sides;
use sides::Place;
pub use sides::{Mark, ReadGuard};

/// A byte ring whose two sides work at the same time.
///
/// # Invariants
///
/// - `memory` and `is_framed` change only with both locks held.
/// - `head` is stored only with the write lock held, `tail` only with the read lock held (all three
///   with both, when the memory changes).
/// - `tail..head` is at most the capacity of `memory`; those bytes are initialised, belong to the
///   holder of the read lock and are never written by anybody until `tail` has passed them.
/// - The rest of the memory belongs to the holder of the write lock.
/// - While `is_framed`, `tail..head` is what is left of the record in `ReadSide`, and then whole
///   records with their headers.
#[pin_data]
pub struct Ring {
    #[pin]
    read_lock: Mutex<ReadSide>,
    #[pin]
    write_lock: Mutex<WriteSide>,
    memory: UnsafeCell<Memory>,
    head: AtomicU32,
    tail: AtomicU32,
    capacity: AtomicUsize,
    is_framed: AtomicBool,
}

/// What the read lock protects: `tail`, the bytes from `tail` to `head`, and these.
#[derive(Default)]
struct ReadSide {
    /// What is left of the record at `tail`, whose header is gone.
    rest: Record,
    /// Headers read, modulo 2^32.
    records: u32,
}

/// What the write lock protects: `head`, the memory without bytes, and this.
#[derive(Default)]
struct WriteSide {
    /// Headers written, modulo 2^32.
    records: u32,
}

// SAFETY: The memory is reached only through the two locks, see the invariants.
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
}

impl Ring {
    /// A ring without memory. It has no bytes and no room.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            read_lock <- new_mutex!(ReadSide::default(), "kpipe::read"),
            write_lock <- new_mutex!(WriteSide::default(), "kpipe::write"),
            memory: UnsafeCell::new(Memory::none()),
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            capacity: AtomicUsize::new(0),
            is_framed: AtomicBool::new(false),
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
    /// It serves those who are about to sleep until the other side moves. `head` is read before
    /// `tail`, with a full barrier, and again: the same value twice means that `tail` was read
    /// while that was the head. And a reader that stores `tail` afterwards, then looks at the sleepers
    /// and then at `head`, sees no older head than this.
    pub fn fill(&self) -> Fill {
        let mut head = self.head.load(Acquire);
        loop {
            full_barrier();
            let tail = self.tail.load(Acquire);
            let capacity_bytes = self.capacity.load(Acquire);
            full_barrier();
            let again = self.head.load(Acquire);
            if again == head {
                let queued_bytes = ring::queued_bytes(head, tail);
                // The capacity may have changed between the two reads; who sleeps on this answer hears of
                // it, because a resize wakes.
                let room_bytes = capacity_bytes.saturating_sub(queued_bytes);
                return Fill {
                    queued_bytes,
                    room_bytes: data_room_bytes(self.is_framed(), room_bytes),
                };
            }
            head = again;
        }
    }

    /// Gives the ring memory of another capacity, a power of two; queued bytes move along.
    ///
    /// `EBUSY` if they do not fit, `ENOMEM` if there is no memory; then all is as it was. May sleep.
    pub fn resize(&self, capacity_bytes: usize) -> Result {
        // Allocated before the locks are taken: reclaim may take long.
        let mut new = Memory::allocate(capacity_bytes)?;
        let _read = self.read_lock.lock();
        let _write = self.write_lock.lock();
        let tail = self.tail.load(Relaxed);
        let queued_bytes = ring::queued_bytes(self.head.load(Relaxed), tail);
        if queued_bytes > capacity_bytes {
            return Err(EBUSY);
        }
        // SAFETY: Both locks are held, so nobody else uses the memory.
        let memory = unsafe { &mut *self.memory.get() };
        for step in ring::moves(tail, queued_bytes, memory.capacity_bytes, capacity_bytes) {
            new.copy_from(memory, step);
        }
        *memory = new;
        self.capacity.store(capacity_bytes, Release);
        Ok(())
    }

    /// Makes a ring of records out of a ring of bytes, if it is none yet. Queued bytes become a part of
    /// the stream.
    pub fn frame(&self) {
        let mut read = self.read_lock.lock();
        let _write = self.write_lock.lock();
        if !self.is_framed() {
            let queued_bytes = ring::queued_bytes(self.head.load(Relaxed), self.tail.load(Relaxed));
            read.rest = Record {
                kind: Kind::Stream,
                len_bytes: queued_bytes,
            };
            self.is_framed.store(true, Relaxed);
        }
    }

    /// Is this a ring of records? Exact for those who hold a lock of the ring.
    pub fn is_framed(&self) -> bool {
        self.is_framed.load(Relaxed)
    }

    /// Bytes of data in the ring, without headers. May sleep.
    pub fn data_bytes(&self) -> usize {
        // A ring that was of records meanwhile is one still, or its tail has moved: see `free`.
        while !self.is_framed.load(Acquire) {
            let tail = self.tail.load(Acquire);
            let queued_bytes = self.fill().queued_bytes;
            if !self.is_framed.load(Acquire) && self.tail.load(Acquire) == tail {
                return queued_bytes;
            }
        }
        let read = self.read_lock.lock();
        let write = self.write_lock.lock();
        let queued_bytes = ring::queued_bytes(self.head.load(Relaxed), self.tail.load(Relaxed));
        // Nothing is left of the records if the last close came before the locks: see `free`.
        packet::data_bytes(queued_bytes, write.records.wrapping_sub(read.records))
    }

    /// Capacity of the memory in bytes; 0 without memory.
    pub fn capacity_bytes(&self) -> usize {
        self.capacity.load(Acquire)
    }

    /// Frees the memory and forgets all bytes and records.
    pub fn free(&self) {
        let mut read = self.read_lock.lock();
        let mut write = self.write_lock.lock();
        *read = ReadSide::default();
        *write = WriteSide::default();
        self.capacity.store(0, Release);
        self.tail.store(self.head.load(Relaxed), Release);
        // After the tail: `data_bytes` looks at both.
        self.is_framed.store(false, Release);
        // SAFETY: Both locks are held, so nobody else uses the memory.
        unsafe { *self.memory.get() = Memory::none() };
    }

    /// Where the memory is.
    ///
    /// # Safety
    ///
    /// The caller holds one of the two locks, so that the memory stays what it is.
    unsafe fn place(&self) -> Place {
        // SAFETY: `memory` changes only with both locks held, and the caller holds one.
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
