// SPDX-License-Identifier: GPL-2.0

//! A high-resolution timer that expires once for each arming, in the hard interrupt
//! (`Documentation/timers/hrtimers.rst`).
//!
//! `kernel::time::hrtimer` gives a handle for each arming, whose drop waits for the callback; a callback
//! that arms its own timer again cannot keep such a handle anywhere.

use super::spin::{new_spin_lock_irq, SpinLockIrq};
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

/// What a timer calls.
pub trait Expire: Send + Sync + Sized + 'static {
    /// The time is over. Hard interrupt: must not sleep. May arm the timer again.
    fn expired(this: &Arc<Self>);
}

/// A timer that is armed for a `T`.
#[pin_data(PinnedDrop)]
#[repr(C)] // C hands back a pointer to the first field.
pub struct Timer<T: Expire> {
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    #[pin]
    state: SpinLockIrq<State<T>>,
}

struct State<T> {
    /// For whom it is armed.
    target: Option<Arc<T>>,
    is_stopped: bool,
}

// SAFETY: `struct hrtimer` has a lock of its own and may be used on any thread; the target is `Send` and
// `Sync`.
unsafe impl<T: Expire> Send for Timer<T> {}
// SAFETY: As above.
unsafe impl<T: Expire> Sync for Timer<T> {}

impl<T: Expire> Timer<T> {
    /// A timer that is not armed.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            timer <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is memory for a timer that stays in place (it is pinned). `expired` is for
                // timers inside of a `Timer<T>`, as this one is.
                unsafe {
                    bindings::hrtimer_setup(
                        slot,
                        Some(expired::<T>),
                        bindings::CLOCK_MONOTONIC as bindings::clockid_t,
                        bindings::hrtimer_mode_HRTIMER_MODE_REL,
                    )
                }
            }),
            state <- new_spin_lock_irq!(
                State { target: None, is_stopped: false },
                "kpipe::timer"
            ),
        })
    }

    /// Calls [`Expire::expired`] of `target` after `delay_ns` nanoseconds, unless the timer is armed
    /// already or was stopped. If it does, it calls `begins` right before, under its lock. Any context.
    pub fn arm(&self, target: Arc<T>, delay_ns: u64, begins: impl FnOnce(&Arc<T>)) {
        let mut state = self.state.lock();
        if state.is_stopped || state.target.is_some() {
            drop(state);
            return;
        }
        begins(&target);
        state.target = Some(target);
        // SAFETY: The timer is initialised. Under the lock, so that `stop` comes before or after.
        unsafe {
            bindings::hrtimer_start_range_ns(
                self.timer.get(),
                delay_ns.try_into().unwrap_or(i64::MAX),
                0,
                bindings::hrtimer_mode_HRTIMER_MODE_REL,
            )
        };
    }

    /// Disarms the timer for ever, and waits until `expired` has returned. Process context.
    pub fn stop(&self) {
        let target = {
            let mut state = self.state.lock();
            state.is_stopped = true;
            state.target.take()
        };
        self.cancel();
        drop(target);
    }

    fn cancel(&self) {
        // SAFETY: The timer is initialised.
        unsafe { bindings::hrtimer_cancel(self.timer.get()) };
    }
}

#[pinned_drop]
impl<T: Expire> PinnedDrop for Timer<T> {
    fn drop(self: Pin<&mut Self>) {
        // A stopped timer does not run any more. One that is not stopped is not armed, because its target
        // keeps it.
        if !self.state.lock().is_stopped {
            self.cancel();
        }
    }
}

/// # Safety
///
/// Called by the timer core only, for a timer in a [`Timer<T>`].
unsafe extern "C" fn expired<T: Expire>(
    timer: *mut bindings::hrtimer,
) -> bindings::hrtimer_restart {
    // SAFETY: The timer is the first field of a `Timer<T>`, which waits for this function before it goes.
    let this = unsafe { &*timer.cast::<Timer<T>>() };
    let target = this.state.lock().target.take();
    if let Some(target) = target {
        T::expired(&target);
    }
    // SAFETY: HRTIMER_NORESTART is 0, in 7.2 as a number and in 7.3 in a type of its own around one.
    unsafe { core::mem::zeroed() }
}
