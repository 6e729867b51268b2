// SPDX-License-Identifier: GPL-2.0

//! The two sides of a [`Ring`], locked: copying to and from user memory.

use super::{ReadSide, Ring, WriteSide};
use crate::model::packet::{Kind, Record, HEADER_BYTES};
use crate::model::ring;
use crate::sys::atomic::{Acquire, Relaxed, Release};
use core::mem::MaybeUninit;
use core::slice;
use kernel::iov::{IovIterDest, IovIterSource};
use kernel::sync::MutexGuard;

impl Ring {
    /// Locks the read side. May sleep: another reader's user copy may be waiting for a page.
    pub fn lock_read(&self) -> ReadGuard<'_> {
        let side = self.read_lock.lock();
        // SAFETY: The read lock is held.
        let (start, capacity_bytes) = unsafe { self.memory() };
        ReadGuard {
            ring: self,
            side,
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
        let room_bytes = ring::room_bytes(self.head.load(Relaxed), tail, capacity_bytes);
        WriteGuard {
            ring: self,
            side,
            start,
            capacity_bytes,
            room_bytes: self.data_room_bytes(room_bytes),
            staged_bytes: 0,
        }
    }
}

/// The read side of a ring, locked.
pub struct ReadGuard<'a> {
    ring: &'a Ring,
    side: MutexGuard<'a, ReadSide>,
    start: *mut u8,
    capacity_bytes: usize,
}

/// What [`ReadGuard::take`] did.
#[derive(Clone, Copy)]
pub struct Taken {
    /// How far the copy came.
    pub copied: Copied,
    /// Bytes of the ring that became free: with headers, and with what was discarded.
    pub freed_bytes: usize,
    /// Was it a packet? Then the read ends here.
    pub is_packet: bool,
}

impl ReadGuard<'_> {
    /// Bytes to read, headers of records among them. It grows under the reader's eyes, but never
    /// shrinks.
    pub fn queued_bytes(&self) -> usize {
        // `head` is acquired: the bytes before it are seen too.
        ring::queued_bytes(self.ring.head.load(Acquire), self.ring.tail.load(Relaxed))
    }

    /// Bytes of data that fit, with a `head` as new as can be. A writer may fill them at once.
    pub fn room_bytes(&self) -> usize {
        self.ring
            .data_room_bytes(self.capacity_bytes - self.queued_bytes())
    }

    /// Capacity of the ring in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.capacity_bytes
    }

    /// Copies the oldest bytes out and frees their room: `most_bytes`, or all if there are less, or
    /// fewer if the user's memory cannot be written. In a ring of records it goes to the end of one
    /// at most.
    #[inline]
    pub fn take(&mut self, to: &mut IovIterDest<'_>, most_bytes: usize) -> Taken {
        if self.ring.is_framed() {
            return self.take_record(to, most_bytes);
        }
        let wanted_bytes = most_bytes.min(self.queued_bytes());
        let tail = self.ring.tail.load(Relaxed);
        let done_bytes = self.copy_out(tail, wanted_bytes, to);
        self.release(tail, done_bytes);
        Taken {
            copied: Copied {
                wanted_bytes,
                done_bytes,
            },
            freed_bytes: done_bytes,
            is_packet: false,
        }
    }

    /// [`take`](Self::take) in a ring of records. Bytes of the stream are taken one by one, a packet as
    /// a whole: what does not fit into the user's buffer is discarded, and if the buffer cannot be
    /// written the packet stays.
    #[inline(never)]
    fn take_record(&mut self, to: &mut IovIterDest<'_>, most_bytes: usize) -> Taken {
        let tail = self.ring.tail.load(Relaxed);
        let (record, header_bytes) = match self.side.rest.len_bytes {
            0 if self.queued_bytes() == 0 => (Record::default(), 0),
            0 => (Record::of_header(self.load_header(tail)), HEADER_BYTES),
            _ => (self.side.rest, 0),
        };
        let is_packet = record.kind == Kind::Packet;
        let wanted_bytes = most_bytes.min(record.len_bytes);
        let done_bytes = self.copy_out(ring::advance(tail, header_bytes), wanted_bytes, to);
        let copied = Copied {
            wanted_bytes,
            done_bytes,
        };
        if done_bytes == 0 || (is_packet && copied.is_torn()) {
            return Taken {
                copied: Copied {
                    wanted_bytes,
                    done_bytes: 0,
                },
                freed_bytes: 0,
                is_packet,
            };
        }
        let spent_bytes = if is_packet {
            record.len_bytes
        } else {
            done_bytes
        };
        if header_bytes > 0 {
            // Counts modulo 2^32, as the writer does: only the difference has a meaning.
            self.side.records = self.side.records.wrapping_add(1);
        }
        self.side.rest = Record {
            kind: record.kind,
            len_bytes: record.len_bytes - spent_bytes,
        };
        self.release(tail, header_bytes + spent_bytes);
        Taken {
            copied,
            freed_bytes: header_bytes + spent_bytes,
            is_packet,
        }
    }

    /// Copies the `len_bytes` bytes from `index` on, which must be queued, to the user. Returns how many
    /// could be copied.
    #[inline]
    fn copy_out(&self, index: u32, len_bytes: usize, to: &mut IovIterDest<'_>) -> usize {
        let mut done_bytes = 0;
        for span in ring::spans(index, len_bytes, self.capacity_bytes) {
            // SAFETY: The span lies within the memory, and within `tail..head`, which is initialised
            // and belongs to the holder of the read lock.
            let bytes =
                unsafe { slice::from_raw_parts(self.start.add(span.start), span.len_bytes) };
            let copied_bytes = to.copy_to_iter(bytes);
            done_bytes += copied_bytes;
            if copied_bytes < span.len_bytes || done_bytes == len_bytes {
                break;
            }
        }
        done_bytes
    }

    /// The header at `index`, where a whole record is queued.
    fn load_header(&self, index: u32) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let mut at = 0;
        for span in ring::spans(index, HEADER_BYTES, self.capacity_bytes) {
            // SAFETY: As in `copy_out`.
            let bytes =
                unsafe { slice::from_raw_parts(self.start.add(span.start), span.len_bytes) };
            header[at..at + span.len_bytes].copy_from_slice(bytes);
            at += span.len_bytes;
        }
        header
    }

    /// Gives the `len_bytes` bytes from `tail` on to the writer.
    #[inline]
    fn release(&self, tail: u32, len_bytes: usize) {
        // Released: the bytes have been read before the writer may overwrite them.
        self.ring
            .tail
            .store(ring::advance(tail, len_bytes), Release);
    }
}

/// The write side of a ring, locked.
pub struct WriteGuard<'a> {
    ring: &'a Ring,
    side: MutexGuard<'a, WriteSide>,
    start: *mut u8,
    capacity_bytes: usize,
    room_bytes: usize,
    staged_bytes: usize,
}

impl WriteGuard<'_> {
    /// Bytes of data that fit, when the side was locked: by now there may be more, but not less.
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
    ///
    /// `kind` says what they are; a packet needs a ring of records ([`Ring::frame`]), and is all or
    /// nothing.
    #[inline]
    pub fn stage(&mut self, from: &mut IovIterSource<'_>, most_bytes: usize, kind: Kind) -> Copied {
        let wanted_bytes = most_bytes.min(self.room_bytes);
        let head = self.ring.head.load(Relaxed);
        if self.ring.is_framed() {
            return self.stage_record(from, head, wanted_bytes, kind);
        }
        let done_bytes = self.copy_in(head, wanted_bytes, from);
        self.staged_bytes = done_bytes;
        Copied {
            wanted_bytes,
            done_bytes,
        }
    }

    #[inline(never)]
    fn stage_record(
        &mut self,
        from: &mut IovIterSource<'_>,
        head: u32,
        wanted_bytes: usize,
        kind: Kind,
    ) -> Copied {
        let data = ring::advance(head, HEADER_BYTES);
        let mut copied = Copied {
            wanted_bytes,
            done_bytes: self.copy_in(data, wanted_bytes, from),
        };
        if kind == Kind::Packet && copied.is_torn() {
            copied.done_bytes = 0;
        }
        if copied.done_bytes > 0 {
            let record = Record {
                kind,
                len_bytes: copied.done_bytes,
            };
            self.store_header(head, record.header());
            self.staged_bytes = HEADER_BYTES + copied.done_bytes;
        }
        copied
    }

    /// Copies `len_bytes` bytes from the user to `index`, where there must be room for them. Returns how
    /// many could be copied.
    #[inline]
    fn copy_in(&mut self, index: u32, len_bytes: usize, from: &mut IovIterSource<'_>) -> usize {
        let mut done_bytes = 0;
        for span in ring::spans(index, len_bytes, self.capacity_bytes) {
            let copied_bytes = from.copy_from_iter_raw(self.room(span)).len();
            done_bytes += copied_bytes;
            if copied_bytes < span.len_bytes || done_bytes == len_bytes {
                break;
            }
        }
        done_bytes
    }

    fn store_header(&mut self, index: u32, header: [u8; HEADER_BYTES]) {
        let mut at = 0;
        for span in ring::spans(index, HEADER_BYTES, self.capacity_bytes) {
            for (to, byte) in self.room(span).iter_mut().zip(&header[at..]) {
                to.write(*byte);
            }
            at += span.len_bytes;
        }
    }

    /// A piece of the room behind the queued bytes.
    #[inline]
    fn room(&mut self, span: ring::Span) -> &mut [MaybeUninit<u8>] {
        // SAFETY: The span lies within the memory, and outside of `tail..head`, so it belongs to the
        // holder of the write lock, whom the result borrows. It may be uninitialised.
        unsafe {
            slice::from_raw_parts_mut(
                self.start.add(span.start).cast::<MaybeUninit<u8>>(),
                span.len_bytes,
            )
        }
    }

    /// Shows the staged bytes to the reader, and unlocks. Returns where they begin.
    pub fn publish(mut self) -> Mark {
        if self.ring.is_framed() && self.staged_bytes > 0 {
            self.side.records = self.side.records.wrapping_add(1);
        }
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
pub struct Mark(pub(super) u32);

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
