// SPDX-License-Identifier: GPL-2.0

//! Memory of queues, counted per user together with that of pipes (`account_pipe_buffers()` in
//! `fs/pipe.c`). The memory cgroup is charged by the allocation itself, see `memory.rs`.
//!
//! Process context.

use super::task;
use kernel::bindings::{self, PAGE_SHIFT};
use kernel::prelude::*;

extern "C" {
    // helpers.c
    fn kpipe_current_user() -> *mut bindings::user_struct;
    fn kpipe_account(user: *mut bindings::user_struct, pages: c_long) -> c_long;
}

/// Memory that a user has for one queue. Given back when it is dropped.
///
/// # Invariants
///
/// `user` is a reference of our own, and `pages` are counted for that user.
pub struct Charge {
    user: *mut bindings::user_struct,
    pages: c_long,
}

// SAFETY: The counter is atomic and the reference counted; both on any thread.
unsafe impl Send for Charge {}

/// How much a user may have, in pages; 0 means any amount.
#[derive(Clone, Copy)]
pub struct SoftLimit(c_long);

impl SoftLimit {
    /// No limit.
    pub const NONE: Self = Self(0);

    /// A limit in bytes, 0 for none.
    pub fn of_bytes(bytes: u64) -> Self {
        Self(pages(bytes))
    }

    /// May the calling task not go beyond?
    fn forbids(self, user_pages: c_long) -> bool {
        self.0 != 0 && user_pages > self.0 && task::is_unprivileged()
    }
}

impl Charge {
    /// Charges the calling user for `bytes`, or, above the limit, for `small_bytes` at most. Returns how
    /// many it became.
    pub fn new(bytes: usize, small_bytes: usize, limit: SoftLimit) -> (Self, usize) {
        let mut charge = Self {
            // SAFETY: Process context. INVARIANT: A new reference; nothing is charged yet.
            user: unsafe { kpipe_current_user() },
            pages: 0,
        };
        if bytes <= small_bytes || !limit.forbids(charge.set(bytes)) {
            charge.set(bytes);
            return (charge, bytes);
        }
        charge.set(small_bytes);
        (charge, small_bytes)
    }

    /// Charges the same user for `bytes` instead. `EPERM`: that is more, and above the limit; nothing has
    /// changed.
    pub fn change(&mut self, bytes: usize, limit: SoftLimit) -> Result {
        let before = self.pages;
        let user_pages = self.set(bytes);
        if self.pages > before && limit.forbids(user_pages) {
            self.account(before);
            return Err(EPERM);
        }
        Ok(())
    }

    /// Charges for `bytes` whatever the limit says. Returns the pages of the user's queues and pipes.
    pub fn set(&mut self, bytes: usize) -> c_long {
        self.account(pages(bytes as u64))
    }

    fn account(&mut self, pages: c_long) -> c_long {
        // SAFETY: The user is ours by the invariant. INVARIANT: The difference makes it `pages`.
        let user_pages = unsafe { kpipe_account(self.user, pages - self.pages) };
        self.pages = pages;
        user_pages
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account(0);
        // SAFETY: Our reference, given back once.
        unsafe { bindings::free_uid(self.user) };
    }
}

/// Whole pages of `bytes`, at most the largest number.
fn pages(bytes: u64) -> c_long {
    // Shifted right at least once, so it fits.
    bytes.div_ceil(1 << PAGE_SHIFT) as c_long
}
