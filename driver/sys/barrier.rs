// SPDX-License-Identifier: GPL-2.0

//! Memory barriers. `kernel::sync::barrier` has them too, but under names that changed between 7.2
//! and 7.3.

use kernel::bindings;

/// A full barrier, `smp_mb()` of `Documentation/memory-barriers.txt`: what comes before it is seen
/// by everybody before what comes after it. Any context.
pub fn smp_mb() {
    // SAFETY: No preconditions.
    unsafe { bindings::smp_mb() };
}

/// A read barrier, `smp_rmb()`: loads before it come before loads after it. Any context.
pub fn smp_rmb() {
    // SAFETY: No preconditions.
    unsafe { bindings::smp_rmb() };
}
