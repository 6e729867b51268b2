// SPDX-License-Identifier: GPL-2.0

//! What one side of a queue has moved: bytes and operations.
//!
//! `pipe.rs` has one [`Moved`] for each side and counts under the lock of that side.

use crate::sys::atomic::{AtomicU64, Relaxed};
use crate::sys::wait::WaitQueue;
use crate::uapi;

/// Bytes and operations of one side. Counted under the lock of that side, read without it.
pub struct Moved {
    bytes: AtomicU64,
    operations: AtomicU64,
}

/// Is this the first part of an operation?
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first: it counts as one operation.
    First,
    /// A later one: only its bytes count.
    Later,
}

impl Moved {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            operations: AtomicU64::new(0),
        }
    }

    /// Counts one part of an operation. The caller holds the lock of the side.
    pub fn count(&self, len_bytes: usize, part: Part) {
        // Load and store and no atomic addition: the lock keeps other writers of these away. They
        // wrap, in theory, as counters do.
        let bytes = self.bytes.load(Relaxed).wrapping_add(len_bytes as u64);
        self.bytes.store(bytes, Relaxed);
        if part == Part::First {
            let operations = self.operations.load(Relaxed).wrapping_add(1);
            self.operations.store(operations, Relaxed);
        }
    }

    /// These numbers, and those of the wait queue where this side sleeps.
    pub fn counters(&self, queue: &WaitQueue) -> uapi::Counters {
        uapi::Counters {
            bytes: self.bytes.load(Relaxed),
            operations: self.operations.load(Relaxed),
            sleeps: queue.sleeps.load(Relaxed),
            wakeups: queue.wakeups.load(Relaxed),
        }
    }

    /// Sets all of them to zero. The caller holds the lock of the side.
    pub fn reset(&self, queue: &WaitQueue) {
        for counter in [&self.bytes, &self.operations, &queue.sleeps, &queue.wakeups] {
            counter.store(0, Relaxed);
        }
    }
}
