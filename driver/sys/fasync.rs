// SPDX-License-Identifier: GPL-2.0

//! Signal-driven input and output: who asked for `SIGIO` by `O_ASYNC` (fcntl(2), `fs/fcntl.c`).
//!
//! Process context; [`Listeners::notify`] may be called anywhere.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ptr;
use kernel::bindings;
use kernel::prelude::*;

/// The open files that want to hear of one kind of event.
pub struct Listeners(UnsafeCell<*mut bindings::fasync_struct>);

// SAFETY: The list is changed and walked by C functions alone, which lock it.
unsafe impl Send for Listeners {}
// SAFETY: As above.
unsafe impl Sync for Listeners {}

/// What `SIGIO` tells of (`si_code` with `F_SETSIG`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `POLL_IN`: there may be data.
    Data,
    /// `POLL_OUT`: there may be room.
    Room,
}

impl Listeners {
    /// Nobody.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(ptr::null_mut()))
    }

    /// Signals everybody.
    #[inline]
    pub fn notify(&self, event: Event) {
        // SAFETY: A racing change is what READ_ONCE is for: whoever listens from now on looks first.
        if unsafe { self.0.get().read_volatile() }.is_null() {
            return;
        }
        // Macros with casts (include/uapi/asm-generic/siginfo.h), compared in helpers.c.
        let band = match event {
            Event::Data => 1,
            Event::Room => 2,
        };
        // SAFETY: The list is a valid one, and the function walks it under RCU.
        unsafe { bindings::kill_fasync(self.0.get(), bindings::SIGIO as c_int, band) };
    }
}

/// A change of `O_ASYNC` on one open file.
///
/// # Invariants
///
/// `file` is valid. `'open` is the time in which the private data of `file` lives; it is invariant, so
/// nobody can shorten it.
pub struct AsyncRequest<'open> {
    fd: c_int,
    file: *mut bindings::file,
    on: c_int,
    _open: PhantomData<fn(&'open ()) -> &'open ()>,
}

impl<'open> AsyncRequest<'open> {
    /// # Safety
    ///
    /// Arguments as for `fasync` of `struct file_operations`, and `'open` must not outlive the private
    /// data of `file`.
    pub(super) unsafe fn from_raw(fd: c_int, file: *mut bindings::file, on: c_int) -> Self {
        // INVARIANT: What the caller promises.
        Self {
            fd,
            file,
            on,
            _open: PhantomData,
        }
    }

    /// Puts the file on the list or takes it off, as asked for. `ENOMEM`: it is not on it.
    pub fn apply(&self, listeners: &'open Listeners) -> Result {
        // SAFETY: The file is valid. It leaves the list at the latest when it is released (the VFS calls
        // `fasync` once more then), and the list lives at least as long: see `PollTable::register`.
        let changed =
            unsafe { bindings::fasync_helper(self.fd, self.file, self.on, listeners.0.get()) };
        kernel::error::to_result(changed)
    }

    /// Takes the file off the list.
    pub fn revoke(&self, listeners: &'open Listeners) {
        // SAFETY: As above. Taking off does not fail.
        unsafe { bindings::fasync_helper(-1, self.file, 0, listeners.0.get()) };
    }
}
