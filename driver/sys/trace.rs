// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of `trace.h`, `events/kpipe/` in tracefs: the life of a read and of a write.
//!
//! While its event is off, a function here is one static branch: an instruction that does nothing,
//! which the kernel overwrites with a jump to switch the event on. `kernel::declare_trace!` makes the
//! same, but looks for the tracepoints in the kernel's own bindings.
//!
//! Any context, a hard interrupt too.

use super::atomic::{AtomicU64, Relaxed};
use super::wait::Processor;
use kernel::bindings;
use kernel::jump_label::static_branch_unlikely;
use kernel::macros::paste;
use kernel::prelude::*;

/// The kind of call that something is about.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// read(2) and its relatives: `KPIPE_READ`.
    Read = 0,
    /// write(2) and its relatives: `KPIPE_WRITE`.
    Write = 1,
}

/// The number of the request that began last.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The number of a request that began while the event was off.
pub const UNNUMBERED: u64 = 0;

/// Is the beginning of calls recorded? Then [`enter`] numbers them. Asked apart, so that the way of a call
/// without a number is compiled for [`UNNUMBERED`], and need not carry one along.
#[inline(always)]
pub fn is_numbering() -> bool {
    kpipe_enter_is_on()
}

/// A call begins; it asks for `len_bytes`. Returns the number of the request for the functions below.
#[cold]
pub fn enter(side: Side, queue: u32, len_bytes: usize) -> u64 {
    // It would take centuries to wrap.
    let number = LAST.fetch_add(1, Relaxed).wrapping_add(1);
    kpipe_enter(side as u8, queue as i32, number, len_bytes as u64);
    number
}

/// What to tell of the sleep of a call; `len_bytes` are still to be moved.
#[inline(always)]
pub fn sleep(side: Side, queue: u32, number: u64, len_bytes: usize) -> impl Fn(Processor) {
    move |processor| match processor {
        Processor::GivenUp => {
            if kpipe_sleep_is_on() {
                kpipe_sleep(side as u8, queue as i32, number, len_bytes as u64);
            }
        }
        Processor::Back => {
            if kpipe_awake_is_on() {
                kpipe_awake(side as u8, queue as i32, number, len_bytes as u64);
            }
        }
    }
}

/// The request `number` gives a transfer to the device.
#[inline(always)]
pub fn transfer(queue: u32, number: u64, len_bytes: usize) {
    if kpipe_transfer_is_on() {
        kpipe_transfer(queue as i32, number, len_bytes as u64);
    }
}

/// The hard interrupt handler has found the transfer done.
#[inline(always)]
pub fn interrupt(queue: u32, number: u64, len_bytes: usize) {
    if kpipe_interrupt_is_on() {
        kpipe_interrupt(queue as i32, number, len_bytes as u64);
    }
}

/// The bottom half for that transfer begins.
#[inline(always)]
pub fn bottom_half_begin(queue: u32, number: u64, len_bytes: usize) {
    if kpipe_bottom_half_begin_is_on() {
        kpipe_bottom_half_begin(queue as i32, number, len_bytes as u64);
    }
}

/// The bottom half is done with that transfer.
#[inline(always)]
pub fn bottom_half_end(queue: u32, number: u64, len_bytes: usize) {
    if kpipe_bottom_half_end_is_on() {
        kpipe_bottom_half_end(queue as i32, number, len_bytes as u64);
    }
}

/// The request `number` wakes somebody of `side`, for `len_bytes` that have come or for as much room.
#[inline(always)]
pub fn wake(side: Side, queue: u32, number: u64, len_bytes: usize) {
    if kpipe_wake_is_on() {
        kpipe_wake(side as u8, queue as i32, number, len_bytes as u64);
    }
}

/// A call ends.
#[inline(always)]
pub fn leave(side: Side, queue: u32, number: u64, result: Result<usize>) {
    if kpipe_leave_is_on() {
        let result = match result {
            Ok(len_bytes) => len_bytes as i64,
            Err(error) => error.to_errno().into(),
        };
        kpipe_leave(side as u8, queue as i32, number, result);
    }
}

/// For each tracepoint a function that tells whether it is on, and one that records an event.
macro_rules! tracepoints {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => { paste! {
        #[allow(improper_ctypes)] // An empty `lock_class_key` somewhere inside.
        extern "C" {
            // Defined in trace.c. C changes the key.
            $(static mut [<__tracepoint_ $name>]: bindings::tracepoint;)*
            $(fn [<rust_do_trace_ $name>]($($argument: $type),*);)*
        }
        $(
            #[inline(always)]
            fn [<$name _is_on>]() -> bool {
                // SAFETY: A tracepoint, with its static key, that C has defined.
                unsafe {
                    static_branch_unlikely!([<__tracepoint_ $name>], bindings::tracepoint, key)
                }
            }

            #[cold]
            fn $name($($argument: $type),*) {
                // SAFETY: Takes numbers only, and may be called in any context.
                unsafe { [<rust_do_trace_ $name>]($($argument),*) }
            }
        )*
    } };
}

// As in trace.h.
tracepoints! {
    kpipe_enter(side: u8, queue: i32, request: u64, bytes: u64);
    kpipe_sleep(side: u8, queue: i32, request: u64, bytes: u64);
    kpipe_awake(side: u8, queue: i32, request: u64, bytes: u64);
    kpipe_transfer(queue: i32, request: u64, bytes: u64);
    kpipe_interrupt(queue: i32, request: u64, bytes: u64);
    kpipe_bottom_half_begin(queue: i32, request: u64, bytes: u64);
    kpipe_bottom_half_end(queue: i32, request: u64, bytes: u64);
    kpipe_wake(side: u8, queue: i32, request: u64, bytes: u64);
    kpipe_leave(side: u8, queue: i32, request: u64, result: i64);
}
