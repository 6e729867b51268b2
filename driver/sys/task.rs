// SPDX-License-Identifier: GPL-2.0

//! The calling task: signals to it, and what it may do. Process context only.

use kernel::bindings;
use kernel::prelude::*;

/// Sends `SIGPIPE` to the calling thread, as a write without readers does.
pub fn send_sigpipe() {
    // SAFETY: `get_current()` gives the running task, which lives at least until this call returns.
    // Process context.
    unsafe { bindings::send_sig(bindings::SIGPIPE as c_int, bindings::get_current(), 0) };
}

/// Has the calling task `CAP_SYS_RESOURCE` (capabilities(7))?
pub fn may_exceed_limits() -> bool {
    // SAFETY: Process context.
    unsafe { bindings::capable(bindings::CAP_SYS_RESOURCE as c_int) }
}

/// Is the calling task bound by the limits on pipes (`pipe_is_unprivileged_user()` in `fs/pipe.c`)?
pub fn is_unprivileged() -> bool {
    // SAFETY: Process context.
    !may_exceed_limits() && unsafe { !bindings::capable(bindings::CAP_SYS_ADMIN as c_int) }
}

/// Is a signal waiting for the calling task?
pub fn is_signalled() -> bool {
    kernel::current!().signal_pending()
}
