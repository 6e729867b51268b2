// SPDX-License-Identifier: GPL-2.0

//! Atomic integers and barriers that compile to the bare instructions.
//!
//! Drivers should use `kernel::sync::atomic`, which follows the Linux kernel memory model. But in a
//! kernel built without inlining across languages (Debian's) each of its loads and stores is a call
//! into C, and a write of 64 bytes makes about a dozen of them: a tenth of its whole cost. Here they are
//! Rust's own, on x86-64 only, where both models end in the same instructions:
//!
//! | here | in `tools/memory-model/` | x86-64 |
//! |---|---|---|
//! | `load(Relaxed)`, `store(Relaxed)` | `READ_ONCE`, `WRITE_ONCE` | `mov` |
//! | `load(Acquire)`, `store(Release)` | `smp_load_acquire`, `smp_store_release` | `mov` |
//! | `fetch_add(Relaxed)` | `atomic_fetch_add_relaxed` | `lock xadd` |
//! | [`full_barrier`] | `smp_mb` | `lock addl` |
//!
//! None of these is shared with C code.

use core::arch::asm;
use core::sync::atomic::fence;
pub use core::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicU8, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the equivalences above hold for x86-64");

/// What comes before it is seen by everybody before what comes after it. Any context.
#[inline(always)]
pub fn full_barrier() {
    // Not `fence(SeqCst)`, which becomes `mfence`: slower, see `__smp_mb()` in
    // `arch/x86/include/asm/barrier.h`.
    //
    // SAFETY: Adds nothing to a word of this task's own stack, as `__smp_mb()` does. Without `nomem`
    // the compiler moves no memory access across it.
    unsafe { asm!("lock addl $0, -4(%rsp)", options(att_syntax)) };
}

/// Loads before it come before loads and stores after it. Any context.
#[inline(always)]
pub fn load_barrier() {
    fence(Acquire);
}
