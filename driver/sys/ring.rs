// SPDX-License-Identifier: GPL-2.0

//! The memory of a byte ring between one reader and one writer at a time.
//!
//! [`Ring`] keeps the two sides apart: [`Ring::lock_read`] and [`Ring::lock_write`] take different
//! locks, so a reader and a writer copy at the same time, each in its own part of the memory. What
//! one side has done reaches the other through two indices, `head` and `tail`; the arithmetic on them
//! is in `model/ring.rs`. Every byte is copied twice in all: from the writer's buffer into the ring,
//! and from there into the reader's buffer.
//!
//! Lock order: read side, then write side. Both are sleeping locks, held across user copies.

use super::atomic::{full_barrier, Acquire, AtomicU32, AtomicUsize, Relaxed, Release};
use crate::model::ring;
use crate::uapi::UNPRIVILEGED_CAPACITY_BYTES;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;
use core::slice;
use kernel::bindings;
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex, MutexGuard};

/// A byte ring whose two sides work at the same time.
///
/// # Invariants
///
/// - `memory` changes only with both locks held.
/// - `head` is stored only with the write lock held, `tail` only with the read lock held (all three
///   with both, when the memory changes).
/// - `tail..head` is at most the capacity of `memory`; those bytes are initialised, belong to the
///   holder of the read lock and are never written by anybody until `tail` has passed them.
/// - The rest of the memory belongs to the holder of the write lock.
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
}

/// What the read lock protects: `tail`, and the bytes from `tail` to `head`.
struct ReadSide;

/// What the write lock protects: `head`, and the memory without bytes.
struct WriteSide;

// SAFETY: The memory is reached only through the two locks, see the invariants.
unsafe impl Send for Ring {}
// SAFETY: As above.
unsafe impl Sync for Ring {}

/// How full a ring is, at one moment.
#[derive(Clone, Copy)]
pub struct Fill {
    /// Bytes in the ring.
    pub queued_bytes: usize,
    /// Bytes that fit.
    pub room_bytes: usize,
}

impl Ring {
    /// A ring without memory. It has no bytes and no room.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            read_lock <- new_mutex!(ReadSide, "kpipe::read"),
            write_lock <- new_mutex!(WriteSide, "kpipe::write"),
            memory: UnsafeCell::new(Memory::none()),
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            capacity: AtomicUsize::new(0),
        })
    }

    /// Locks the read side. May sleep: another reader's user copy may be waiting for a page.
    pub fn lock_read(&self) -> ReadGuard<'_> {
        let side = self.read_lock.lock();
        // SAFETY: The read lock is held.
        let (start, capacity_bytes) = unsafe { self.memory() };
        ReadGuard {
            ring: self,
            _side: side,
            start,
            capacity_bytes,
        }
    }

    /// Locks the write side. May sleep, like [`lock_read`](Self::lock_read).
    pub fn lock_write(&self) -> WriteGuard<'_> {
        let side = self.write_lock.lock();
        // SAFETY: The write lock is held.
        let (start, capacity_bytes) = unsafe { self.memory() };
        // `tail` is acquired: the reader is done with the bytes before it.
        let tail = self.tail.load(Acquire);
        WriteGuard {
            ring: self,
            _side: side,
            start,
            capacity_bytes,
            room_bytes: ring::room_bytes(self.head.load(Relaxed), tail, capacity_bytes),
            staged_bytes: 0,
        }
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
                return Fill {
                    queued_bytes,
                    // The capacity may have changed between the two reads; then nobody sleeps on
                    // this answer, because a resize wakes everybody.
                    room_bytes: capacity_bytes.saturating_sub(queued_bytes),
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

    /// Frees the memory and forgets all bytes.
    pub fn free(&self) {
        let _read = self.read_lock.lock();
        let _write = self.write_lock.lock();
        self.capacity.store(0, Release);
        self.tail.store(self.head.load(Relaxed), Release);
        // SAFETY: Both locks are held, so nobody else uses the memory.
        unsafe { *self.memory.get() = Memory::none() };
    }

    /// Start and capacity of the memory.
    ///
    /// # Safety
    ///
    /// The caller holds one of the two locks, so that the memory stays what it is.
    unsafe fn memory(&self) -> (*mut u8, usize) {
        // SAFETY: `memory` changes only with both locks held, and the caller holds one.
        let memory = unsafe { &*self.memory.get() };
        (memory.start, memory.capacity_bytes)
    }
}

/// The read side of a ring, locked.
pub struct ReadGuard<'a> {
    ring: &'a Ring,
    _side: MutexGuard<'a, ReadSide>,
    start: *mut u8,
    capacity_bytes: usize,
}

impl ReadGuard<'_> {
    /// Bytes to read. It grows under the reader's eyes, but never shrinks.
    pub fn queued_bytes(&self) -> usize {
        // `head` is acquired: the bytes before it are seen too.
        ring::queued_bytes(self.ring.head.load(Acquire), self.ring.tail.load(Relaxed))
    }

    /// Bytes that fit, with a `head` as new as can be. A writer may fill them at once.
    pub fn room_bytes(&self) -> usize {
        self.capacity_bytes - self.queued_bytes()
    }

    /// Capacity of the ring in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.capacity_bytes
    }

    /// Copies the oldest bytes out and frees their room: `most_bytes`, or all if there are less, or
    /// fewer if the user's memory cannot be written. Returns how many it should have been and how
    /// many it was.
    #[inline]
    pub fn take(&mut self, to: &mut IovIterDest<'_>, most_bytes: usize) -> Copied {
        let wanted_bytes = most_bytes.min(self.queued_bytes());
        let tail = self.ring.tail.load(Relaxed);
        let mut done_bytes = 0;
        for span in ring::spans(tail, wanted_bytes, self.capacity_bytes) {
            // SAFETY: The span lies within the memory, and within `tail..head`, which is initialised
            // and belongs to the holder of the read lock.
            let bytes =
                unsafe { slice::from_raw_parts(self.start.add(span.start), span.len_bytes) };
            let copied_bytes = to.copy_to_iter(bytes);
            done_bytes += copied_bytes;
            if copied_bytes < span.len_bytes || done_bytes == wanted_bytes {
                break;
            }
        }
        // Released: the bytes have been read before the writer may overwrite them.
        self.ring
            .tail
            .store(ring::advance(tail, done_bytes), Release);
        Copied {
            wanted_bytes,
            done_bytes,
        }
    }
}

/// The write side of a ring, locked.
pub struct WriteGuard<'a> {
    ring: &'a Ring,
    _side: MutexGuard<'a, WriteSide>,
    start: *mut u8,
    capacity_bytes: usize,
    room_bytes: usize,
    staged_bytes: usize,
}

impl WriteGuard<'_> {
    /// Bytes that fit, when the side was locked: by now there may be more, but not less.
    pub fn room_bytes(&self) -> usize {
        self.room_bytes
    }

    /// Capacity of the ring in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.capacity_bytes
    }

    /// Copies up to `most_bytes` bytes into the room behind the queued ones, invisible to the reader
    /// until [`publish`](Self::publish). Copies less if there is less room, or if the user's memory
    /// cannot be read; returns how many it should have been and how many it was.
    #[inline]
    pub fn stage(&mut self, from: &mut IovIterSource<'_>, most_bytes: usize) -> Copied {
        let wanted_bytes = most_bytes.min(self.room_bytes);
        let head = self.ring.head.load(Relaxed);
        let mut done_bytes = 0;
        for span in ring::spans(head, wanted_bytes, self.capacity_bytes) {
            // SAFETY: The span lies within the memory, and outside of `tail..head`, so it belongs to
            // the holder of the write lock. It may be uninitialised.
            let room = unsafe {
                slice::from_raw_parts_mut(
                    self.start.add(span.start).cast::<MaybeUninit<u8>>(),
                    span.len_bytes,
                )
            };
            let copied_bytes = from.copy_from_iter_raw(room).len();
            done_bytes += copied_bytes;
            if copied_bytes < span.len_bytes || done_bytes == wanted_bytes {
                break;
            }
        }
        self.staged_bytes = done_bytes;
        Copied {
            wanted_bytes,
            done_bytes,
        }
    }

    /// Shows the staged bytes to the reader, and unlocks. Returns where they begin.
    pub fn publish(self) -> Mark {
        let head = self.ring.head.load(Relaxed);
        // Released: the bytes are there before the reader sees that they are.
        self.ring
            .head
            .store(ring::advance(head, self.staged_bytes), Release);
        Mark(head)
    }
}

/// A place in the stream of bytes.
#[derive(Clone, Copy)]
pub struct Mark(u32);

/// How far a copy from or to user memory came.
#[derive(Clone, Copy)]
pub struct Copied {
    /// Bytes that should have been copied.
    pub wanted_bytes: usize,
    /// Bytes that were.
    pub done_bytes: usize,
}

impl Copied {
    /// Did it run into memory that cannot be accessed?
    pub fn is_torn(self) -> bool {
        self.done_bytes < self.wanted_bytes
    }
}

/// The memory itself.
///
/// # Invariants
///
/// `start` is null and `capacity_bytes` 0, or `start` points to that many bytes allocated by
/// kvmalloc, owned by this value.
struct Memory {
    start: *mut u8,
    capacity_bytes: usize,
}

impl Memory {
    const fn none() -> Self {
        // INVARIANT: The first case.
        Self {
            start: ptr::null_mut(),
            capacity_bytes: 0,
        }
    }

    /// Allocates uninitialised memory, charged to the memory cgroup of the caller. `ENOMEM` quietly
    /// if there is none.
    fn allocate(capacity_bytes: usize) -> Result<Self> {
        let mut flags = bindings::GFP_KERNEL_ACCOUNT | bindings::__GFP_NOWARN;
        if capacity_bytes as u64 > UNPRIVILEGED_CAPACITY_BYTES {
            // A size that only a privileged user gets: rather fail than wake the OOM killer. Not for
            // smaller ones, because it also makes kvmalloc try hard to find contiguous pages.
            flags |= 1 << bindings::___GFP_RETRY_MAYFAIL_BIT;
        }
        // SAFETY: Reallocating null is allocating.
        let start = unsafe {
            bindings::kvrealloc_node_align_noprof(
                ptr::null(),
                capacity_bytes,
                1,
                flags,
                bindings::NUMA_NO_NODE,
            )
        };
        if start.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: The second case.
        Ok(Self {
            start: start.cast(),
            capacity_bytes,
        })
    }

    /// Copies one run of bytes from `old`.
    fn copy_from(&mut self, old: &Memory, step: ring::Move) {
        assert!(step.from + step.len_bytes <= old.capacity_bytes);
        assert!(step.to + step.len_bytes <= self.capacity_bytes);
        // SAFETY: Both runs lie within their allocations, which are different ones.
        unsafe {
            ptr::copy_nonoverlapping(
                old.start.add(step.from),
                self.start.add(step.to),
                step.len_bytes,
            )
        };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: By the invariant null or an allocation of kvmalloc, which nobody else owns.
        unsafe { bindings::kvfree(self.start.cast()) };
    }
}
