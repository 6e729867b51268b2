// SPDX-License-Identifier: MIT

//! pipe(2) and pipe2(2).

use core::ffi::c_int;

use crate::contract::Entry;
use crate::device::{self, Refusal, PAIR_FLAGS};
use crate::kernel::{self, Errno};
use crate::setup;

/// pipe(2).
///
/// # Safety
/// As in libc: there must be room for two ints.
#[no_mangle]
pub unsafe extern "C" fn pipe(fds: *mut c_int) -> c_int {
    // SAFETY: the caller's promise is the same.
    unsafe { pipe2(fds, 0) }
}

/// pipe2(2).
///
/// # Safety
/// As in libc: there must be room for two ints.
#[no_mangle]
pub unsafe extern "C" fn pipe2(fds: *mut c_int, flags: c_int) -> c_int {
    let errno = kernel::errno();
    let pair = if fds.is_null() {
        Err(libc::EFAULT)
    } else {
        make(flags)
    };
    match pair {
        Ok(pair) => {
            // SAFETY: the caller promises that there is room for two ints.
            unsafe { fds.cast::<[c_int; 2]>().write_unaligned(pair) };
            kernel::set_errno(errno);
            0
        }
        Err(errno) => {
            kernel::set_errno(errno);
            -1
        }
    }
}

/// A pair of the device, or a real pipe.
fn make(flags: c_int) -> Result<[c_int; 2], Errno> {
    if !setup::get().is_active {
        return kernel::pipe2(flags);
    }
    let ledger = setup::ledger();
    if flags & !PAIR_FLAGS != 0 {
        let pipe = kernel::pipe2(flags)?;
        ledger.count(Entry::RealFlag);
        return Ok(pipe);
    }
    match device::pair(flags) {
        Ok(pair) => {
            ledger.count(Entry::Pairs);
            Ok(pair)
        }
        // What pipe(2) says when there are no descriptors left; a pipe would need them as well.
        Err(Refusal::Driver(errno @ (libc::EMFILE | libc::ENFILE))) => Err(errno),
        Err(Refusal::Driver(errno)) => {
            let pipe = kernel::pipe2(flags)?;
            ledger.set(Entry::RefusedErrno, errno.unsigned_abs().into());
            ledger.count(Entry::RealRefused);
            Ok(pipe)
        }
        Err(Refusal::NoNode(errno)) => {
            let pipe = kernel::pipe2(flags)?;
            ledger.set(Entry::NoNodeErrno, errno.unsigned_abs().into());
            ledger.count(Entry::RealNoNode);
            Ok(pipe)
        }
    }
}
