// SPDX-License-Identifier: GPL-2.0

//! The two sides of a [`Ring`], locked: copying to and from user memory.

use super::place::Place;
use super::{data_room_bytes, ReadSide, Ring, WriteSide, CARRIED, FRAMED};
use crate::model::link::{Gone, Request};
use crate::model::packet::{Kind, Record, HEADER_BYTES};
use crate::model::ring;
use crate::sys::atomic::{Acquire, Relaxed, Release};
use crate::sys::clock;
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
        let room_bytes = ring::room_bytes(self.written.load(Relaxed), tail, place.capacity_bytes);
        let shape = self.shape.load(Relaxed);
        WriteGuard {
            ring: self,
            side,
            place,
            shape,
            room_bytes: data_room_bytes(shape & FRAMED != 0, room_bytes),
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

    /// Bytes of data that fit, with a `written` as new as can be. A writer may fill them at once.
    pub fn room_bytes(&self) -> usize {
        let (written, tail) = (
            self.ring.written.load(Acquire),
            self.ring.tail.load(Relaxed),
        );
        let room_bytes = ring::room_bytes(written, tail, self.place.capacity_bytes);
        data_room_bytes(self.ring.is_framed(), room_bytes)
    }

    /// Is everything that was ever written read? Not so while bytes are in flight.
    pub fn is_drained(&self) -> bool {
        self.ring.written.load(Acquire) == self.ring.tail.load(Relaxed)
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
    let data = ring::advance(tail, header_bytes);
    // The rest of a stream that was there before the records may still be in flight.
    let arrived_bytes = ring::queued_bytes(ring.head.load(Acquire), data);
    let wanted_bytes = most_bytes.min(record.len_bytes).min(arrived_bytes);
    // SAFETY: The caller's contract, and so many bytes have arrived.
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
    shape: u8,
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
        let end = self.ring.written.load(Relaxed);
        if self.shape & FRAMED != 0 {
            // SAFETY: The write lock is held, and there is room for a header and so many bytes.
            let (staged_bytes, copied) =
                unsafe { stage_record(self.place, end, from, wanted_bytes, kind) };
            self.staged_bytes = staged_bytes;
            return copied;
        }
        // SAFETY: The write lock is held, and there is room for so many bytes.
        let done_bytes = unsafe { self.place.copy_in(end, wanted_bytes, from) };
        self.staged_bytes = done_bytes;
        Copied {
            wanted_bytes,
            done_bytes,
        }
    }

    /// Shows the staged bytes to the reader, or sends them on their way to it, and unlocks. `number` is
    /// that of the request (see `trace.rs`). `count` is called right before, under the locks that this takes,
    /// and not if the device is gone.
    #[inline(always)]
    pub fn publish(mut self, number: u64, count: impl FnOnce()) -> Published {
        if self.shape != 0 {
            let side = &mut self.side;
            return publish_shaped(
                self.ring,
                side,
                self.shape,
                self.staged_bytes,
                number,
                count,
            );
        }
        count();
        self.ring.arrive(self.staged_bytes)
    }
}

/// [`WriteGuard::publish`] in a ring of records, or a carried one, whose write lock the caller holds.
///
/// A function of its own parts and not of the guard, whose fields can so stay in registers.
#[cold]
fn publish_shaped(
    ring: &Ring,
    side: &mut WriteSide,
    shape: u8,
    staged_bytes: usize,
    number: u64,
    count: impl FnOnce(),
) -> Published {
    if staged_bytes == 0 {
        return Published::Arrived(Mark(ring.written.load(Relaxed)));
    }
    let records = u32::from(shape & FRAMED != 0);
    let published = if shape & CARRIED == 0 {
        count();
        ring.arrive(staged_bytes)
    } else {
        let end = ring::advance(ring.written.load(Relaxed), staged_bytes);
        let mut flight = ring.flight_lock.lock();
        let submitted = flight.link.submit(Request {
            end,
            records,
            number,
            submitted_ns: clock::now_ns(),
        });
        match submitted {
            Ok(block) => {
                count();
                // Released, and under the lock of those who will read the bytes.
                ring.written.store(end, Release);
                match block {
                    Some(_) => Published::Departs(Mark(end)),
                    None => Published::Waits(Mark(end)),
                }
            }
            Err(Gone) => return Published::Gone,
        }
    };
    side.records = side.records.wrapping_add(records);
    published
}

impl Ring {
    /// Shows the staged bytes to the reader. The caller holds the write lock.
    #[inline(always)]
    fn arrive(&self, staged_bytes: usize) -> Published {
        let start = self.written.load(Relaxed);
        let end = ring::advance(start, staged_bytes);
        // First, so that it is never behind `head`.
        self.written.store(end, Release);
        // Released: the bytes are there before the reader sees that they are.
        self.head.store(end, Release);
        Published::Arrived(Mark(start))
    }
}

/// What became of bytes that were published.
#[derive(Clone, Copy)]
pub enum Published {
    /// They can be read, from this place on.
    Arrived(Mark),
    /// They are in flight, up to this place, and the caller starts the transfer:
    /// [`FlightGuard::current`](super::FlightGuard).
    Departs(Mark),
    /// They are in flight, up to this place, behind a transfer in progress.
    Waits(Mark),
    /// The device is gone, and they with it.
    Gone,
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
