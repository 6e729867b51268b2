// SPDX-License-Identifier: MIT

//! How much fits: the rule of `fs/pipe.c`, which counts slots, and that of the device, which counts
//! bytes (docs/differences.md). [`super::model`] runs both; where they disagree, the subjects may.

use std::collections::VecDeque;

use kpipe_abi::uapi::PIPE_BUF_BYTES;

/// A page, and the size of a slot.
const PAGE_BYTES: usize = 4096;

/// Slots of a pipe that nobody resized (`PIPE_DEF_BUFFERS`).
const PIPE_SLOTS: usize = 16;

/// A write, or what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writing {
    /// Length of the whole write.
    pub total: usize,
    /// How many bytes of it are in.
    pub done: usize,
    /// How many bytes of it can be read from memory.
    pub good: usize,
}

/// What one side of the comparison holds.
pub trait Store: Clone {
    /// An empty one.
    fn new(capacity_bytes: usize) -> Self;
    /// Bytes in it.
    fn queued(&self) -> usize;
    /// Is it writable for poll and for sleeping writers?
    fn is_writable(&self) -> bool;
    /// Takes what fits now. `is_first`: before any sleep. Returns whether bad memory ended it.
    fn put(&mut self, writing: &mut Writing, is_first: bool) -> bool;
    /// Gives up to `len` bytes, of which `good` can be stored in memory; returns how many.
    fn take(&mut self, len: usize, good: usize) -> usize;
    /// Gives up to `len` bytes to an empty pipe of the default size.
    fn splice_out(&mut self, len: usize) -> usize;
    /// Takes the buffers of a pipe as they are, up to `limit` bytes; returns how many bytes.
    fn splice_in(&mut self, buffers: &[usize], limit: usize) -> usize;
    /// Returns whether the content fits.
    fn resize(&mut self, capacity_bytes: usize) -> bool;
}

/// The capacity that both make of a request.
pub fn capacity_for(wanted_bytes: usize) -> usize {
    wanted_bytes.max(PAGE_BYTES).next_power_of_two()
}

/// The buffers that a write of `len` bytes into an empty pipe makes.
pub fn buffers_of(len: usize) -> Vec<usize> {
    (0..len.div_ceil(PAGE_BYTES))
        .map(|page| PAGE_BYTES.min(len - page * PAGE_BYTES))
        .collect()
}

/// `struct pipe_buffer`
#[derive(Clone, Debug)]
struct Slot {
    offset: usize,
    len: usize,
    can_merge: bool,
}

/// A pipe.
#[derive(Clone, Debug)]
pub struct Slots {
    slots: VecDeque<Slot>,
    limit: usize,
}

impl Store for Slots {
    fn new(capacity_bytes: usize) -> Self {
        Self {
            slots: VecDeque::new(),
            limit: capacity_bytes / PAGE_BYTES,
        }
    }

    fn queued(&self) -> usize {
        self.slots.iter().map(|slot| slot.len).sum()
    }

    fn is_writable(&self) -> bool {
        self.slots.len() < self.limit
    }

    fn put(&mut self, writing: &mut Writing, is_first: bool) -> bool {
        let odd = writing.total % PAGE_BYTES;
        if let Some(last) = self.slots.back_mut().filter(|_| is_first && odd > 0) {
            if last.can_merge && last.offset + last.len + odd <= PAGE_BYTES {
                if writing.good < odd {
                    return true;
                }
                last.len += odd;
                writing.done += odd;
            }
        }
        while self.is_writable() && writing.done < writing.total {
            let len = PAGE_BYTES.min(writing.total - writing.done);
            if writing.good - writing.done < len {
                return true;
            }
            self.slots.push_back(Slot {
                offset: 0,
                len,
                can_merge: true,
            });
            writing.done += len;
        }
        false
    }

    fn take(&mut self, len: usize, good: usize) -> usize {
        let mut taken = 0;
        while let Some(slot) = self.slots.front_mut() {
            let chars = slot.len.min(len - taken);
            if chars == 0 || good - taken < chars {
                break;
            }
            slot.offset += chars;
            slot.len -= chars;
            taken += chars;
            if slot.len == 0 {
                self.slots.pop_front();
            }
        }
        taken
    }

    fn splice_out(&mut self, len: usize) -> usize {
        let in_reach = self.slots.iter().take(PIPE_SLOTS).map(|slot| slot.len);
        self.take(len.min(in_reach.sum()), usize::MAX)
    }

    fn splice_in(&mut self, buffers: &[usize], limit: usize) -> usize {
        let mut moved = 0;
        for &buffer in buffers {
            let len = buffer.min(limit - moved);
            if len == 0 || !self.is_writable() {
                break;
            }
            self.slots.push_back(Slot {
                offset: 0,
                len,
                // Only a buffer that is moved whole keeps the mark (`splice_pipe_to_pipe()`).
                can_merge: len == buffer,
            });
            moved += len;
        }
        moved
    }

    fn resize(&mut self, capacity_bytes: usize) -> bool {
        let limit = capacity_bytes / PAGE_BYTES;
        let fits = self.slots.len() <= limit;
        if fits {
            self.limit = limit;
        }
        fits
    }
}

/// The device's ring.
#[derive(Clone, Debug)]
pub struct Bytes {
    queued: usize,
    capacity: usize,
}

impl Store for Bytes {
    fn new(capacity_bytes: usize) -> Self {
        Self {
            queued: 0,
            capacity: capacity_bytes,
        }
    }

    fn queued(&self) -> usize {
        self.queued
    }

    fn is_writable(&self) -> bool {
        self.capacity - self.queued >= PIPE_BUF_BYTES
    }

    fn put(&mut self, writing: &mut Writing, _: bool) -> bool {
        let room = self.capacity - self.queued;
        let is_atomic = writing.total <= PIPE_BUF_BYTES;
        if room < if is_atomic { writing.total } else { 1 } {
            return false;
        }
        let wanted = room.min(writing.total - writing.done);
        let good = wanted.min(writing.good - writing.done);
        let is_torn = good < wanted;
        if !(is_torn && is_atomic) {
            self.queued += good;
            writing.done += good;
        }
        is_torn
    }

    fn take(&mut self, len: usize, good: usize) -> usize {
        let taken = self.queued.min(len).min(good);
        self.queued -= taken;
        taken
    }

    fn splice_out(&mut self, len: usize) -> usize {
        self.take(len.min(PIPE_SLOTS * PAGE_BYTES), usize::MAX)
    }

    fn splice_in(&mut self, buffers: &[usize], limit: usize) -> usize {
        let there: usize = buffers.iter().sum();
        let moved = there.min(limit).min(self.capacity - self.queued);
        self.queued += moved;
        moved
    }

    fn resize(&mut self, capacity_bytes: usize) -> bool {
        let fits = self.queued <= capacity_bytes;
        if fits {
            self.capacity = capacity_bytes;
        }
        fits
    }
}
