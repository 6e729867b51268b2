// SPDX-License-Identifier: GPL-2.0

//! The time, in any context.

use kernel::bindings;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now_ns() -> i64 {
    // SAFETY: May be called anywhere, except in NMIs; nothing here runs in one.
    unsafe { bindings::ktime_get() }
}
