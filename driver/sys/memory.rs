// SPDX-License-Identifier: GPL-2.0

//! The memory of a ring. `ring.rs` owns one per ring; allocated and freed in process context.

use crate::model::ring;
use crate::uapi::UNPRIVILEGED_CAPACITY_BYTES;
use core::ptr;
use kernel::bindings;
use kernel::prelude::*;

/// The memory itself.
///
/// # Invariants
///
/// `start` is null and `capacity_bytes` 0, or `start` points to that many bytes allocated by
/// kvmalloc, owned by this value.
pub(super) struct Memory {
    pub(super) start: *mut u8,
    pub(super) capacity_bytes: usize,
}

impl Memory {
    /// No memory.
    pub(super) const fn none() -> Self {
        // INVARIANT: The first case.
        Self {
            start: ptr::null_mut(),
            capacity_bytes: 0,
        }
    }

    /// Allocates uninitialised memory, charged to the memory cgroup of the caller. `ENOMEM` quietly
    /// if there is none.
    pub(super) fn allocate(capacity_bytes: usize) -> Result<Self> {
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
    pub(super) fn copy_from(&mut self, old: &Memory, step: ring::Move) {
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
