// SPDX-License-Identifier: GPL-2.0

//! An interrupt with a hard handler and a thread (`request_threaded_irq()`, `kernel/irq/manage.c`).
//!
//! [`Interrupt`] calls a [`Handler`] until it is dropped. Over `kernel::bindings`, because the Rust
//! interface changed from 7.2 to 7.3, and has no handler with both halves.

use super::pci::Vector;
use core::mem;
use core::ptr;
use kernel::bindings;
use kernel::error::to_result;
use kernel::prelude::*;

/// What a hard handler says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Another device on the same line.
    NotOurs,
    /// Done.
    Handled,
    /// The thread is to go on.
    WakeThread,
}

/// Who is interrupted.
pub trait Handler: Send + Sync + 'static {
    /// The hard half, with interrupts off, and never on two processors at once: identifies,
    /// acknowledges, defers. Also called when another device on the line interrupts.
    fn interrupted(&self) -> Answer;

    /// The thread, after at least one [`Answer::WakeThread`]. May sleep.
    fn thread(&self);
}

/// A requested interrupt. Dropping it (process context) waits for what runs of it, and for all of it.
///
/// # Invariants
///
/// `number` is requested with the address of `handler` as its cookie.
pub struct Interrupt<H: Handler> {
    number: c_uint,
    handler: KBox<H>,
}

impl<H: Handler> Interrupt<H> {
    /// Requests the interrupt, shared. The handler may be called from now on, before this returns even.
    pub fn new(vector: &Vector, name: &'static CStr, handler: H) -> Result<Self> {
        let handler = KBox::new(handler, GFP_KERNEL)?;
        let cookie = ptr::from_ref::<H>(&handler).cast_mut().cast();
        // SAFETY: The name is static. The functions get the cookie, which stays where it is until
        // the interrupt is freed: in `drop`, before the box is.
        to_result(unsafe {
            bindings::request_threaded_irq(
                vector.number(),
                Some(hard::<H>),
                Some(thread::<H>),
                bindings::IRQF_SHARED as c_ulong,
                name.as_char_ptr(),
                cookie,
            )
        })?;
        // INVARIANT: Just requested.
        Ok(Self {
            number: vector.number(),
            handler,
        })
    }

    /// Waits until neither half is running. Process context, not from the thread.
    pub fn synchronize(&self) {
        // SAFETY: The number is requested.
        unsafe { bindings::synchronize_irq(self.number) };
    }
}

impl<H: Handler> Drop for Interrupt<H> {
    fn drop(&mut self) {
        let cookie = ptr::from_ref::<H>(&self.handler).cast_mut().cast();
        // SAFETY: Requested with the same cookie by the invariant, freed once.
        unsafe { bindings::free_irq(self.number, cookie) };
    }
}

/// # Safety
///
/// Called by the interrupt core with the cookie of an [`Interrupt<H>`].
unsafe extern "C" fn hard<H: Handler>(
    _number: c_int,
    cookie: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: The cookie is a handler that lives until the interrupt is freed.
    let handler = unsafe { &*cookie.cast::<H>() };
    irqreturn(match handler.interrupted() {
        Answer::NotOurs => 0,
        Answer::Handled => 1,
        Answer::WakeThread => 2,
    })
}

/// # Safety
///
/// Called by the interrupt core with the cookie of an [`Interrupt<H>`].
unsafe extern "C" fn thread<H: Handler>(
    _number: c_int,
    cookie: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: As in `hard`.
    let handler = unsafe { &*cookie.cast::<H>() };
    handler.thread();
    irqreturn(1)
}

/// `IRQ_NONE` 0, `IRQ_HANDLED` 1, `IRQ_WAKE_THREAD` 2: compared in helpers.c.
fn irqreturn(value: c_uint) -> bindings::irqreturn_t {
    // SAFETY: A number in 7.2, a struct of one number in 7.3, and one of the values that C has.
    unsafe { mem::transmute::<c_uint, bindings::irqreturn_t>(value) }
}
