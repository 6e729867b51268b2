// SPDX-License-Identifier: MIT

//! fcntl(2): the size of a pipe, which the kernel tells of its own pipes only.

use core::ffi::{c_int, c_long};

use crate::contract::Entry;
use crate::kernel;
use crate::libc_next::{self, Fcntl};
use crate::{device, setup};

/// fcntl(2). The third argument may be absent; then it is some number that libc ignores.
///
/// # Safety
/// As in libc.
#[no_mangle]
pub unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int {
    // SAFETY: the caller's arguments, as they are.
    unsafe { control(libc_next::fcntl(), fd, command, argument) }
}

/// fcntl(2), as programs with large files call it.
///
/// # Safety
/// As in libc.
#[no_mangle]
pub unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, argument: c_long) -> c_int {
    // SAFETY: the caller's arguments, as they are.
    unsafe { control(libc_next::fcntl64(), fd, command, argument) }
}

/// # Safety
/// As for libc's fcntl().
unsafe fn control(next: Fcntl, fd: c_int, command: c_int, argument: c_long) -> c_int {
    let errno = kernel::errno();
    // SAFETY: the caller of fcntl() has promised what libc asks for.
    let answer = unsafe { next(fd, command, argument) };
    let is_size = matches!(command, libc::F_GETPIPE_SZ | libc::F_SETPIPE_SZ);
    if answer != -1 || !is_size || kernel::errno() != libc::EBADF || !setup::get().is_active {
        return answer;
    }
    // No pipe of the kernel: a queue, or the error stays.
    let Some(capacity_bytes) = device::capacity(fd) else {
        kernel::set_errno(libc::EBADF);
        return -1;
    };
    let answer = match command {
        libc::F_GETPIPE_SZ => Ok(capacity_bytes as c_int),
        // The kernel takes it as an unsigned int, too.
        _ => device::resize(fd, argument as u32),
    };
    match answer {
        Ok(capacity_bytes) => {
            setup::ledger().count(Entry::Sizes);
            kernel::set_errno(errno);
            capacity_bytes
        }
        Err(errno) => {
            kernel::set_errno(errno);
            -1
        }
    }
}
