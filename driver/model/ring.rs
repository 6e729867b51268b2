// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of a ring are: arithmetic on free-running indices.
//!
//! The writer's index `head` and the reader's index `tail` count all bytes that ever went in and
//! out, modulo 2^32. They are masked only to find a place in memory, so a ring that is full and one
//! that is empty look different without a flag or a wasted byte (the same scheme as
//! `include/linux/pipe_fs_i.h`). It needs a capacity that is a power of two and below 2^32.
//!
//! A region of the ring is at most two contiguous runs of memory: [`spans`].

use crate::uapi::{MAX_CAPACITY_BYTES, MIN_CAPACITY_BYTES};

/// Has the reader, now at `tail`, taken all bytes before `index`?
///
/// The distance is read as a signed number, so it wraps correctly while both are within 2^31 of each
/// other; a ring holds at most [`MAX_CAPACITY_BYTES`].
pub fn is_drained(index: u32, tail: u32) -> bool {
    tail.wrapping_sub(index) as i32 >= 0
}

/// One contiguous run of the ring's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte from the start of the memory.
    pub start: usize,
    /// Length in bytes, never 0.
    pub len_bytes: usize,
}

/// Bytes in the ring.
///
/// The subtraction wraps on purpose: the indices run freely, and only their distance has a meaning.
pub fn queued_bytes(head: u32, tail: u32) -> usize {
    head.wrapping_sub(tail) as usize
}

/// Bytes that still fit. The caller's `head` and `tail` belong together (`queued <= capacity`).
pub fn room_bytes(head: u32, tail: u32, capacity_bytes: usize) -> usize {
    capacity_bytes - queued_bytes(head, tail)
}

/// An index moved on by `len_bytes`, which wraps on purpose like the indices themselves.
pub fn advance(index: u32, len_bytes: usize) -> u32 {
    index.wrapping_add(len_bytes as u32)
}

/// The memory of the `len_bytes` bytes from `index` on: one run up to the end of the memory, and
/// perhaps another from its start. None of them is empty.
///
/// `capacity_bytes` must be a power of two, and `len_bytes` at most that.
pub fn spans(index: u32, len_bytes: usize, capacity_bytes: usize) -> impl Iterator<Item = Span> {
    let mut start = index as usize & (capacity_bytes.wrapping_sub(1));
    let mut left = len_bytes;
    core::iter::from_fn(move || {
        let len_bytes = left.min(capacity_bytes - start);
        let span = Span { start, len_bytes };
        start = 0;
        left -= len_bytes;
        (len_bytes > 0).then_some(span)
    })
}

/// One run of bytes to copy from a ring's old memory to its new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Offset in the old memory.
    pub from: usize,
    /// Offset in the new memory.
    pub to: usize,
    /// Length in bytes, never 0.
    pub len_bytes: usize,
}

/// How to carry the `len_bytes` bytes from `index` on into memory of another capacity.
///
/// The indices stay as they are, so that those who look at them without a lock never see them go
/// back; only the places behind them change.
pub fn moves(
    index: u32,
    len_bytes: usize,
    old_capacity_bytes: usize,
    new_capacity_bytes: usize,
) -> impl Iterator<Item = Move> {
    let mut index = index;
    let mut left = len_bytes;
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let from = index as usize & (old_capacity_bytes - 1);
        let to = index as usize & (new_capacity_bytes - 1);
        let len_bytes = left
            .min(old_capacity_bytes - from)
            .min(new_capacity_bytes - to);
        index = advance(index, len_bytes);
        left -= len_bytes;
        Some(Move {
            from,
            to,
            len_bytes,
        })
    })
}

/// The capacity that a queue gets when `wanted_bytes` are asked for: at least a page, rounded up to
/// a power of two, like `round_pipe_size()` in `fs/pipe.c`. `None` above [`MAX_CAPACITY_BYTES`].
pub fn capacity_for(wanted_bytes: u64) -> Option<usize> {
    if wanted_bytes > MAX_CAPACITY_BYTES {
        return None;
    }
    Some(wanted_bytes.max(MIN_CAPACITY_BYTES).next_power_of_two() as usize)
}
