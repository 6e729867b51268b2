// SPDX-License-Identifier: MIT

//! fstat(2) and its family: with `kpipe exec --report-fifo` a descriptor of a numbered queue passes
//! for one of a FIFO. (The ends of a pair are FIFOs for fstat(2) by themselves.)

use core::ffi::{c_char, c_int, c_uint};

use crate::contract::Entry;
use crate::libc_next::{self, Fstat, FstatAt, Fxstat};
use crate::{device, setup};

/// A function that is given a descriptor.
macro_rules! of_descriptor {
    ($symbol:ident($($argument:ident: $kind:ty),*), $next:ident: $next_kind:ty) => {
        /// The function of libc with this name.
        ///
        /// # Safety
        /// As in libc.
        #[no_mangle]
        pub unsafe extern "C" fn $symbol($($argument: $kind,)* status: *mut libc::stat) -> c_int {
            let next: $next_kind = libc_next::$next();
            // SAFETY: the caller's arguments, as they are.
            let answer = unsafe { next($($argument,)* status) };
            if answer == 0 {
                // SAFETY: libc has succeeded, so it has filled in what is there.
                unsafe { disguise(status) };
            }
            answer
        }
    };
}

of_descriptor!(fstat(fd: c_int), fstat: Fstat);
of_descriptor!(fstat64(fd: c_int), fstat64: Fstat);
of_descriptor!(__fxstat(version: c_int, fd: c_int), fxstat: Fxstat);
of_descriptor!(__fxstat64(version: c_int, fd: c_int), fxstat64: Fxstat);

/// A function that is given a descriptor if the path is empty.
macro_rules! of_empty_path {
    ($symbol:ident, $next:ident: $next_kind:ty) => {
        /// The function of libc with this name.
        ///
        /// # Safety
        /// As in libc.
        #[no_mangle]
        pub unsafe extern "C" fn $symbol(
            fd: c_int,
            path: *const c_char,
            status: *mut libc::stat,
            flags: c_int,
        ) -> c_int {
            let next: $next_kind = libc_next::$next();
            // SAFETY: the caller's arguments, as they are.
            let answer = unsafe { next(fd, path, status, flags) };
            if answer == 0 && flags & libc::AT_EMPTY_PATH != 0 {
                // SAFETY: libc has succeeded, so both pointers were good.
                unsafe {
                    if is_empty(path) {
                        disguise(status);
                    }
                }
            }
            answer
        }
    };
}

of_empty_path!(fstatat, fstatat: FstatAt);
of_empty_path!(fstatat64, fstatat64: FstatAt);

/// statx(2), with an empty path.
///
/// # Safety
/// As in libc.
#[no_mangle]
pub unsafe extern "C" fn statx(
    fd: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    status: *mut libc::statx,
) -> c_int {
    // SAFETY: the caller's arguments, as they are.
    let answer = unsafe { libc_next::statx()(fd, path, flags, mask, status) };
    if answer == 0 && flags & libc::AT_EMPTY_PATH != 0 && setup::get().reports_fifo {
        // SAFETY: the call has succeeded, so both pointers were good; a null path is allowed and
        // means an empty one.
        let (status, is_empty) = unsafe { (&mut *status, is_empty(path)) };
        let is_character = u32::from(status.stx_mode) & libc::S_IFMT == libc::S_IFCHR;
        if is_empty && is_character && status.stx_rdev_major == setup::get().clone_major {
            status.stx_mode = (status.stx_mode & !(libc::S_IFMT as u16)) | libc::S_IFIFO as u16;
            (status.stx_rdev_major, status.stx_rdev_minor) = (0, 0);
            setup::ledger().count(Entry::Stats);
        }
    }
    answer
}

/// # Safety
/// `status` was filled in by the kernel.
unsafe fn disguise(status: *mut libc::stat) {
    if !setup::get().reports_fifo {
        return;
    }
    // SAFETY: the caller's promise.
    let status = unsafe { &mut *status };
    if device::is_queue(status) {
        status.st_mode = (status.st_mode & !libc::S_IFMT) | libc::S_IFIFO;
        status.st_rdev = 0;
        setup::ledger().count(Entry::Stats);
    }
}

/// # Safety
/// `path` is null or a string that ends with a zero.
unsafe fn is_empty(path: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    path.is_null() || unsafe { *path } == 0
}
