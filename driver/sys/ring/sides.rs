// SPDX-License-Identifier: GPL-2.0

//! The two sides of a [`Ring`], locked: copying to and from user memory.

use super::{data_room_bytes, ReadSide, Ring, WriteSide};
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
        let place = unsafe { self.place() };
        ReadGuard {
            ring: self,
            side,
            place,
        }
    }

    /// Locks the write side. May sleep, like [`lock_read`](Self::lock_read).
    pub fn lock_write(&self) -> WriteGuard<'_> {
        let side = self.write_lock.lock();
        // SAFETY: The write lock is held.
        let place = unsafe { self.place() };
        // `tail` is acquired: the reader is done with the bytes before it.
        let tail = self.tail.load(Acquire);
        let room_bytes = ring::room_bytes(self.head.load(Relaxed), tail, place.capacity_bytes);
        let is_framed = self.is_framed();
        WriteGuard {
            ring: self,
            side,
            place,
            is_framed,
            room_bytes: data_room_bytes(is_framed, room_bytes),
            staged_bytes: 0,
        }
    }
}

/// The read side of a ring, locked.
pub struct ReadGuard<'a> {
    ring: &'a Ring,
    side: MutexGuard<'a, ReadSide>,
    place: Place,
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
        let room_bytes = self.place.capacity_bytes - self.queued_bytes();
        data_room_bytes(self.ring.is_framed(), room_bytes)
    }

    /// Capacity of the ring in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.place.capacity_bytes
    }

    /// Copies the oldest bytes out and frees their room: `most_bytes`, or all if there are less, or
    /// fewer if the user's memory cannot be written. In a ring of records it goes to the end of one
    /// at most.
    #[inline(always)]
    pub fn take(&mut self, to: &mut IovIterDest<'_>, most_bytes: usize) -> Taken {
        if self.ring.is_framed() {
            // SAFETY: The read lock is held, and the memory is that of the ring.
            return unsafe { take_record(self.ring, self.place, &mut self.side, to, most_bytes) };
        }
        let wanted_bytes = most_bytes.min(self.queued_bytes());
        let tail = self.ring.tail.load(Relaxed);
        // SAFETY: The read lock is held, and so many bytes are queued.
        let done_bytes = unsafe { self.place.copy_out(tail, wanted_bytes, to) };
        self.ring.release(tail, done_bytes);
        Taken {
            copied: Copied {
                wanted_bytes,
                done_bytes,
            },
            freed_bytes: done_bytes,
            is_packet: false,
        }
    }
}

/// [`ReadGuard::take`] in a ring of records. Bytes of the stream are taken one by one, a packet as a
/// whole: what does not fit into the user's buffer is discarded, and if the buffer cannot be written the
/// packet stays.
///
/// A function of its own parts and not of the guard, whose fields can so stay in registers.
///
/// # Safety
///
/// The caller holds the read lock of `ring`, `side` is what that protects, and `place` the memory.
#[cold]
unsafe fn take_record(
    ring: &Ring,
    place: Place,
    side: &mut ReadSide,
    to: &mut IovIterDest<'_>,
    most_bytes: usize,
) -> Taken {
    let tail = ring.tail.load(Relaxed);
    let (record, header_bytes) = match side.rest.len_bytes {
        0 if ring.head.load(Acquire) == tail => (Record::default(), 0),
        0 => {
            // SAFETY: The caller's contract, and a whole record is queued.
            let header = unsafe { place.load_header(tail) };
            (Record::of_header(header), HEADER_BYTES)
        }
        _ => (side.rest, 0),
    };
    let is_packet = record.kind == Kind::Packet;
    // A packet is cut by the user's buffer alone: what is cut off is lost.
    let most_bytes = if is_packet { to.len() } else { most_bytes };
    let wanted_bytes = most_bytes.min(record.len_bytes);
    let data = ring::advance(tail, header_bytes);
    // SAFETY: The caller's contract; the rest of a record is queued with all its data.
    let done_bytes = unsafe { place.copy_out(data, wanted_bytes, to) };
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
        side.records = side.records.wrapping_add(1);
    }
    side.rest = Record {
        kind: record.kind,
        len_bytes: record.len_bytes - spent_bytes,
    };
    ring.release(tail, header_bytes + spent_bytes);
    Taken {
        copied,
        freed_bytes: header_bytes + spent_bytes,
        is_packet,
    }
}

impl Ring {
    /// Gives the `len_bytes` bytes from `tail` on to the writer. The caller holds the read lock.
    #[inline(always)]
    fn release(&self, tail: u32, len_bytes: usize) {
        // Released: the bytes have been read before the writer may overwrite them.
        self.tail.store(ring::advance(tail, len_bytes), Release);
    }
}

/// The write side of a ring, locked.
pub struct WriteGuard<'a> {
    ring: &'a Ring,
    side: MutexGuard<'a, WriteSide>,
    place: Place,
    is_framed: bool,
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
        self.place.capacity_bytes
    }

    /// Copies up to `most_bytes` bytes into the room behind the queued ones, invisible to the reader
    /// until [`publish`](Self::publish). Copies less if there is less room, or if the user's memory
    /// cannot be read; returns how many it should have been and how many it was.
    ///
    /// `kind` says what they are; a packet needs a ring of records ([`Ring::frame`]), and is all or
    /// nothing.
    #[inline(always)]
    pub fn stage(&mut self, from: &mut IovIterSource<'_>, most_bytes: usize, kind: Kind) -> Copied {
        let wanted_bytes = most_bytes.min(self.room_bytes);
        let head = self.ring.head.load(Relaxed);
        if self.is_framed {
            // SAFETY: The write lock is held, and there is room for a header and so many bytes.
            let (staged_bytes, copied) =
                unsafe { stage_record(self.place, head, from, wanted_bytes, kind) };
            self.staged_bytes = staged_bytes;
            return copied;
        }
        // SAFETY: The write lock is held, and there is room for so many bytes.
        let done_bytes = unsafe { self.place.copy_in(head, wanted_bytes, from) };
        self.staged_bytes = done_bytes;
        Copied {
            wanted_bytes,
            done_bytes,
        }
    }

    /// Shows the staged bytes to the reader, and unlocks. Returns where they begin.
    pub fn publish(mut self) -> Mark {
        if self.is_framed && self.staged_bytes > 0 {
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

/// [`WriteGuard::stage`] in a ring of records. Returns how many bytes of the ring it took as well.
///
/// # Safety
///
/// The caller holds the write lock, `place` is the memory of the ring, and from `head` on there is room for
/// a header and `wanted_bytes`.
#[cold]
unsafe fn stage_record(
    place: Place,
    head: u32,
    from: &mut IovIterSource<'_>,
    wanted_bytes: usize,
    kind: Kind,
) -> (usize, Copied) {
    let data = ring::advance(head, HEADER_BYTES);
    let mut copied = Copied {
        wanted_bytes,
        // SAFETY: The caller's contract.
        done_bytes: unsafe { place.copy_in(data, wanted_bytes, from) },
    };
    if kind == Kind::Packet && copied.is_torn() {
        copied.done_bytes = 0;
    }
    if copied.done_bytes == 0 {
        return (0, copied);
    }
    let record = Record {
        kind,
        len_bytes: copied.done_bytes,
    };
    // SAFETY: The caller's contract.
    unsafe { place.store_header(head, record.header()) };
    (HEADER_BYTES + copied.done_bytes, copied)
}

/// The memory of a ring whose lock of one side is held.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) start: *mut u8,
    pub(super) capacity_bytes: usize,
}

impl Place {
    /// Copies `len_bytes` bytes from `index` on to the user. Returns how many could be copied.
    ///
    /// # Safety
    ///
    /// The caller holds the read lock of the ring, and these bytes are queued.
    #[inline(always)]
    unsafe fn copy_out(self, index: u32, len_bytes: usize, to: &mut IovIterDest<'_>) -> usize {
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

    /// The header at `index`.
    ///
    /// # Safety
    ///
    /// As for [`copy_out`](Self::copy_out).
    unsafe fn load_header(self, index: u32) -> [u8; HEADER_BYTES] {
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

    /// Copies `len_bytes` bytes from the user to `index`. Returns how many could be copied.
    ///
    /// # Safety
    ///
    /// The caller holds the write lock of the ring, and there is room for them.
    #[inline(always)]
    unsafe fn copy_in(self, index: u32, len_bytes: usize, from: &mut IovIterSource<'_>) -> usize {
        let mut done_bytes = 0;
        for span in ring::spans(index, len_bytes, self.capacity_bytes) {
            // SAFETY: The caller's contract; nobody has another piece of the room now.
            let copied_bytes = from.copy_from_iter_raw(unsafe { self.room(span) }).len();
            done_bytes += copied_bytes;
            if copied_bytes < span.len_bytes || done_bytes == len_bytes {
                break;
            }
        }
        done_bytes
    }

    /// Puts a header to `index`.
    ///
    /// # Safety
    ///
    /// As for [`copy_in`](Self::copy_in).
    unsafe fn store_header(self, index: u32, header: [u8; HEADER_BYTES]) {
        let mut at = 0;
        for span in ring::spans(index, HEADER_BYTES, self.capacity_bytes) {
            // SAFETY: As in `copy_in`.
            let room = unsafe { self.room(span) };
            for (to, byte) in room.iter_mut().zip(&header[at..]) {
                to.write(*byte);
            }
            at += span.len_bytes;
        }
    }

    /// A piece of the room behind the queued bytes.
    ///
    /// # Safety
    ///
    /// The caller holds the write lock of the ring for `'room` and has no other piece that overlaps.
    #[inline(always)]
    unsafe fn room<'room>(self, span: ring::Span) -> &'room mut [MaybeUninit<u8>] {
        // SAFETY: The span lies within the memory, and outside of `tail..head`, so it belongs to the
        // holder of the write lock. It may be uninitialised.
        unsafe {
            slice::from_raw_parts_mut(
                self.start.add(span.start).cast::<MaybeUninit<u8>>(),
                span.len_bytes,
            )
        }
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
