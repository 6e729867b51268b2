// SPDX-License-Identifier: GPL-2.0

//! A spinlock that interrupt handlers may take: interrupts of this processor are off while it is held
//! (`spin_lock_irqsave()`).
//!
//! Linux 7.3 has one of this name in `kernel::sync`, 7.2 has not; this serves both.

use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::lock::{Backend, Guard, Lock};

/// A lock for data shared with interrupt handlers. Nobody may sleep while holding it.
pub type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

/// [`SpinLockIrq`], held.
pub type SpinLockIrqGuard<'a, T> = Guard<'a, T, SpinLockIrqBackend>;

/// How a [`SpinLockIrq`] is taken.
pub struct SpinLockIrqBackend;

// SAFETY: `spinlock_t` gives mutual exclusion. `relock` is the default one.
unsafe impl Backend for SpinLockIrqBackend {
    type State = bindings::spinlock_t;
    /// The processor's interrupt state before.
    type GuardState = c_ulong;

    unsafe fn init(
        lock: *mut Self::State,
        name: *const c_char,
        key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: The caller's contract.
        unsafe { bindings::__spin_lock_init(lock, name, key) }
    }

    unsafe fn lock(lock: *mut Self::State) -> c_ulong {
        // SAFETY: The lock is initialised, as the caller promises. `struct raw_spinlock` is the first member of
        // `spinlock_t` (include/linux/spinlock_types.h; not so with PREEMPT_RT, see helpers.c).
        unsafe { bindings::_raw_spin_lock_irqsave(lock.cast()) }
    }

    unsafe fn unlock(lock: *mut Self::State, flags: &c_ulong) {
        // SAFETY: The lock is held, and `flags` is what `lock` returned.
        unsafe { bindings::_raw_spin_unlock_irqrestore(lock.cast(), *flags) }
    }

    unsafe fn try_lock(_lock: *mut Self::State) -> Option<c_ulong> {
        // The trait asks for it and nobody here tries; not getting the lock is always a true answer.
        None
    }

    unsafe fn assert_is_held(lock: *mut Self::State) {
        // SAFETY: The caller's contract.
        unsafe { bindings::spin_assert_is_held(lock) }
    }
}

/// Makes an initialiser for a [`SpinLockIrq`] with a lock class of its own.
macro_rules! new_spin_lock_irq {
    ($inner:expr, $name:literal) => {
        ::kernel::sync::lock::Lock::<_, $crate::sys::spin::SpinLockIrqBackend>::new(
            $inner,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_spin_lock_irq;
