// SPDX-License-Identifier: GPL-2.0

//! One open, or one read or write call, as the VFS hands it over.
//!
//! `kernel::fs::Kiocb` knows the position, but not the flags that say whether the call may sleep.

use crate::model::ends::{Access, Wait};
use core::marker::PhantomData;
use kernel::bindings;
use kernel::fs::file::flags::{O_DIRECT, O_NONBLOCK};
use kernel::prelude::*;

// Macros with casts, which bindgen leaves out. helpers.c compares them with the headers.
pub(super) const FMODE_READ: u32 = 1 << 0;
pub(super) const FMODE_WRITE: u32 = 1 << 1;
pub(super) const FMODE_CAN_ODIRECT: u32 = 1 << 22;
pub(super) const FMODE_NOWAIT: u32 = 1 << 27;
const IOCB_NOWAIT: c_int = 0x8;
const IOCB_NOSIGNAL: c_int = 0x100;

/// The position that `splice.rs` gives to calls in which a pipe is locked. No other call has it: the driver's
/// files are streams, and `rw_verify_area()` refuses negative ones.
pub(super) const UNDER_PIPE_LOCK: bindings::loff_t = bindings::loff_t::MIN;

/// How a file is being opened.
#[derive(Clone, Copy)]
pub struct OpenRequest {
    /// Read, write, both or neither.
    pub access: Access,
    /// `O_NONBLOCK` at open.
    pub wait: Wait,
}

impl OpenRequest {
    /// # Safety
    ///
    /// `file` must be valid and in the course of being opened by the calling task.
    pub(super) unsafe fn from_raw(file: *mut bindings::file) -> Self {
        // SAFETY: The file is valid and, while it is being opened, not shared.
        let mode = unsafe { (*file).f_mode };
        Self {
            access: match (mode & FMODE_READ != 0, mode & FMODE_WRITE != 0) {
                (true, false) => Access::Read,
                (false, true) => Access::Write,
                (true, true) => Access::ReadWrite,
                (false, false) => Access::Observe,
            },
            // SAFETY: As above.
            wait: unsafe { wait_of_file(file) },
        }
    }
}

/// One call of read, write or a relative of theirs (`struct kiocb`).
#[derive(Clone, Copy)]
pub struct Request<'a> {
    kiocb: *mut bindings::kiocb,
    _call: PhantomData<&'a bindings::kiocb>,
}

impl Request<'_> {
    /// # Safety
    ///
    /// `kiocb` must be valid, with a valid file, for the life of the result.
    pub(super) unsafe fn from_raw(kiocb: *mut bindings::kiocb) -> Self {
        Self {
            kiocb,
            _call: PhantomData,
        }
    }

    /// May this call sleep? Not with `O_NONBLOCK` (as it is now: fcntl changes it) or `RWF_NOWAIT`, nor as a
    /// part of a splice(2), which sleeps itself.
    pub fn wait(&self) -> Wait {
        if self.iocb_flags() & IOCB_NOWAIT != 0 || self.is_under_pipe_lock() {
            return Wait::Never;
        }
        // SAFETY: The kiocb and its file are valid.
        unsafe { wait_of_file((*self.kiocb).ki_filp) }
    }

    /// Is it for this call to wait until its bytes have arrived, on a queue where writes do so? A splice(2) waits
    /// after it. What io_uring(7) submits must not sleep, because it would with the lock of its ring.
    pub fn awaits_arrival(&self) -> bool {
        // SAFETY: The kiocb is valid and belongs to this call.
        let is_asynchronous = unsafe { (*self.kiocb).ki_complete.is_some() };
        let must_not_sleep = is_asynchronous && self.iocb_flags() & IOCB_NOWAIT != 0;
        !must_not_sleep && !self.is_under_pipe_lock()
    }

    /// Does the caller hold the lock of a pipe, which others wait for (`splice.rs`)?
    fn is_under_pipe_lock(&self) -> bool {
        // SAFETY: The kiocb is valid and belongs to this call.
        unsafe { (*self.kiocb).ki_pos == UNDER_PIPE_LOCK }
    }

    /// Has the file `O_DIRECT`, as it is set now? On a pipe that makes packets (pipe(2)).
    pub fn is_direct(&self) -> bool {
        // SAFETY: The kiocb and its file are valid.
        unsafe { flags_of_file((*self.kiocb).ki_filp) & O_DIRECT != 0 }
    }

    /// Does the caller want `EPIPE` without `SIGPIPE` (`RWF_NOSIGNAL`)?
    pub fn is_without_signal(&self) -> bool {
        self.iocb_flags() & IOCB_NOSIGNAL != 0
    }

    fn iocb_flags(&self) -> c_int {
        // SAFETY: The kiocb is valid and belongs to this call.
        unsafe { (*self.kiocb).ki_flags }
    }
}

/// May calls on this file sleep, as it is set now?
///
/// # Safety
///
/// `file` must be valid.
pub(super) unsafe fn wait_of_file(file: *mut bindings::file) -> Wait {
    // SAFETY: The caller's contract.
    if unsafe { flags_of_file(file) } & O_NONBLOCK != 0 {
        Wait::Never
    } else {
        Wait::Block
    }
}

/// The flags of open(2) that a file has now.
///
/// # Safety
///
/// `file` must be valid.
pub(super) unsafe fn flags_of_file(file: *mut bindings::file) -> u32 {
    // SAFETY: The file is valid. fcntl may change `f_flags` meanwhile; C reads it without a lock too.
    unsafe { (&raw const (*file).f_flags).read_volatile() }
}
